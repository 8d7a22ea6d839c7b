"""What an event radiates: moment tensor, wavelet, and what attenuation makes of it on the way."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic.parameters import WAVELETS
from seisjax.synthetic.phasors import phasor

REFERENCE_FREQUENCY = 2.5  # in peak frequencies: with less, dispersion carries energy before the travel time
PADDING = 1.0  # s after a trace's end, where arrivals that begin or end outside the window wrap to


class Radiation(NamedTuple):
    """Far-field patterns of a moment tensor along rays, each (receiver,)."""

    p: jax.Array  # along the ray
    sv: jax.Array  # in the ray's plane, up where the ray runs towards the receiver
    sh: jax.Array  # level, 90 degrees clockwise (from x towards y) of the way the ray runs


class Pulse(NamedTuple):
    """An event's wavelet."""

    kinds: tuple[str, ...]  # of seisjax.synthetic.parameters.WAVELETS, what there is to choose from
    which: int | jax.Array  # number of the kind
    frequency: float | jax.Array  # Hz: the peak of the velocity spectrum; an Ormsby wavelet's middle


def moment_tensor(strike, dip, rake, isotropic=0.0, clvd=0.0) -> jax.Array:
    """Moment tensor (3, 3) of unit size, sum(M^2) = 2, in axes x north, y east, z down.

    Angles in degrees (Aki & Richards 2002, box 4.4). `isotropic` and `clvd` are the signed shares of an explosion and
    of a vertical compensated linear vector dipole; a double couple makes up the rest.
    """
    s, d, r = jnp.deg2rad(strike), jnp.deg2rad(dip), jnp.deg2rad(rake)
    slip = jnp.stack([
        jnp.cos(r) * jnp.cos(s) + jnp.cos(d) * jnp.sin(r) * jnp.sin(s),
        jnp.cos(r) * jnp.sin(s) - jnp.cos(d) * jnp.sin(r) * jnp.cos(s),
        -jnp.sin(d) * jnp.sin(r),
    ])  # fmt: skip
    normal = jnp.stack([-jnp.sin(d) * jnp.sin(s), jnp.sin(d) * jnp.cos(s), -jnp.cos(d)])
    double_couple = jnp.outer(slip, normal) + jnp.outer(normal, slip)
    explosion = jnp.sqrt(2 / 3) * jnp.eye(3)
    dipole = jnp.sqrt(1 / 3) * jnp.diag(jnp.array([-1.0, -1.0, 2.0]))
    share = 1 - jnp.abs(isotropic) - jnp.abs(clvd)
    tensor = share * double_couple + isotropic * explosion + clvd * dipole
    return tensor * jnp.sqrt(2 / jnp.sum(tensor**2))


def polarisations(azimuth: jax.Array, sin: jax.Array, cos: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Unit vectors along P, SV and SH as `Radiation` orients them, each (receiver, 3), axes x north, y east, z down.

    Rays run at `azimuth` (radians from x to y); `sin`, `cos` (receiver,) of their angle from the upward vertical.
    """
    level = jnp.zeros_like(azimuth)
    outward = jnp.stack([jnp.cos(azimuth), jnp.sin(azimuth), level], axis=-1)
    sideways = jnp.stack([-jnp.sin(azimuth), jnp.cos(azimuth), level], axis=-1)
    up = jnp.array([0.0, 0.0, -1.0])
    along = sin[:, None] * outward + cos[:, None] * up
    across = -cos[:, None] * outward + sin[:, None] * up
    return along, across, sideways


def radiation(tensor: jax.Array, azimuth: jax.Array, sin: jax.Array, cos: jax.Array) -> Radiation:
    """Patterns along rays that leave at `azimuth` (radians), at `sin`, `cos` of the take-off angle from upwards."""
    along, *others = polarisations(azimuth, sin, cos)
    traction = along @ tensor
    return Radiation(*(jnp.sum(traction * direction, axis=-1) for direction in (along, *others)))


def arrivals(
    amplitude: jax.Array,
    onset: jax.Array,
    t_star: jax.Array,
    pulse: Pulse,
    num_samples: int,
    interval: float,
    *,
    highest: float = np.inf,
    gauge: jax.Array | None = None,
) -> jax.Array:
    """Wavelets after attenuation (..., receiver, num_samples), exact between samples.

    amplitude, onset (s after the first sample), t_star (travel time over Q, s): (..., receiver); interval in s.
    An arrival whose `duration` lies outside the window is left out: it would wrap around. Constant Q, causal:
    exp(-pi f t*) with the delay (t*/pi) ln(f_ref / f) (Aki & Richards 2002, section 5.5). `highest` in Hz: the pulse
    has nothing above. `gauge` (..., receiver): time in s that a wave takes along a fibre's gauge, over which it is
    averaged.
    """
    length = fast_length(num_samples + round(PADDING / interval))
    frequencies = np.arange(length // 2 + 1) / (length * interval)
    f = jnp.asarray(frequencies[frequencies <= highest], jnp.float32)  # the inverse transform takes the others as 0
    inside = (onset < num_samples * interval) & (onset + duration(pulse, t_star) > 0)
    relative = f / pulse.frequency
    size, lead = _spectrum(pulse, relative)
    dispersion = jnp.log(REFERENCE_FREQUENCY / jnp.maximum(relative, 0.02)) / jnp.pi
    cycles = f * onset[..., None] + (f * dispersion) * t_star[..., None] - lead
    size = jnp.where(inside, amplitude, 0.0)[..., None] * (size / interval) * jnp.exp(-jnp.pi * f * t_star[..., None])
    if gauge is not None:
        size = size * jnp.sinc(f * gauge[..., None])
    traces = jnp.fft.irfft(size * phasor(cycles), length)[..., :num_samples]
    # The tail of a late arrival may outlast the padding: nothing comes more than two periods before its onset.
    time = np.arange(num_samples, dtype=np.float32) * np.float32(interval)
    return traces * jnp.clip((time - onset[..., None]) * pulse.frequency + 2, 0.0, 1.0)


def duration(pulse: Pulse, t_star: jax.Array) -> jax.Array:
    """How long an arrival lasts from its onset, s: the wavelet, and what attenuation adds to it."""
    periods = jnp.array([WAVELETS[kind].duration for kind in pulse.kinds])
    return periods[pulse.which] / pulse.frequency + 2 * t_star


def _spectrum(pulse: Pulse, relative: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Amplitude (1/Hz) and phase (cycles) of a pulse at frequencies in units of its own; its onset lies at time 0.

    Zero-phase pulses begin before their peak, so that they are delayed; Ormsby's is made causal by taking its minimum
    phase, and Brune's by the phase of its model: their low frequencies would else come early once the high ones are
    attenuated.
    """
    spectra = {"ricker": _ricker, "ormsby": _ormsby, "brune": _brune}
    sizes, angles = zip(*(spectra[kind](relative) for kind in pulse.kinds), strict=True)
    lags = jnp.array([WAVELETS[kind].lag for kind in pulse.kinds])
    phase = jnp.stack(angles)[pulse.which] / (2 * jnp.pi)
    return jnp.stack(sizes)[pulse.which] / pulse.frequency, phase - relative * lags[pulse.which]


def _ricker(relative: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Ricker (1953), zero-phase, of unit peak."""
    return 2 / jnp.sqrt(jnp.pi) * relative**2 * jnp.exp(-(relative**2)), jnp.zeros_like(relative)


def _ormsby(relative: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Flat between two corners, linear to 0 outside of them: minimum phase, of a unit peak if it were zero-phase."""
    grid, phase = _ormsby_phase()
    return _trapezoid(relative, jnp) / _AREA, jnp.interp(relative, grid, phase)


def _brune(relative: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Particle velocity of Brune's (1970) source, i f / (1 + i f)^2, whose 1/f tail is cut off smoothly."""
    size = 4 / 3 * relative / (1 + relative**2) * jnp.exp(-((relative / 2.5) ** 4))
    return size, jnp.pi / 2 - 2 * jnp.arctan(relative)


_CORNERS = (0.25, 0.5, 1.4, 2.0)  # of the Ormsby wavelet, in peak frequencies
_AREA = _CORNERS[3] + _CORNERS[2] - _CORNERS[1] - _CORNERS[0]


def _trapezoid(relative, numpy):
    rise = (relative - _CORNERS[0]) / (_CORNERS[1] - _CORNERS[0])
    fall = (_CORNERS[3] - relative) / (_CORNERS[3] - _CORNERS[2])
    return numpy.clip(numpy.minimum(rise, fall), 0.0, 1.0)


@functools.cache
def _ormsby_phase() -> tuple[np.ndarray, np.ndarray]:
    """Minimum phase of the Ormsby amplitude spectrum by way of its cepstrum (Oppenheim & Schafer 1989, chapter 12)."""
    half = 1 << 14
    relative = np.arange(half + 1) * (32.0 / half)  # far above the corners, or the cepstrum is aliased
    amplitude = np.maximum(_trapezoid(relative, np), 1e-3)
    cepstrum = np.fft.irfft(np.log(amplitude))
    cepstrum[1:half] *= 2
    cepstrum[half + 1 :] = 0
    phase = np.fft.rfft(cepstrum).imag
    inside = relative <= _CORNERS[3]
    return relative[inside].astype(np.float32), phase[inside].astype(np.float32)


def fast_length(minimum: int) -> int:
    """The smallest even length of at least `minimum` that has no prime factor above 5, for quick FFTs."""
    lengths = (odd << power for odd in (1, 3, 5, 9, 15) for power in range(1, 40))
    return min(n for n in lengths if n >= minimum)
