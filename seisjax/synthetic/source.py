"""What an event radiates: moment tensor, wavelet, and what attenuation makes of it on the way."""

import jax
import jax.numpy as jnp

ONSET_LAG = 0.9  # periods of the peak frequency from the onset of a Ricker wavelet to its peak
REFERENCE_FREQUENCY = 2.5  # in peak frequencies: with less, dispersion carries energy before the travel time
PADDING = 1.0  # s after a trace's end, where arrivals that begin or end outside the window wrap to


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


def radiation(tensor: jax.Array, azimuth: jax.Array, sin: jax.Array, cos: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Far-field P and SV patterns along rays that leave at `azimuth` (radians from x to y).

    `sin`, `cos` (receiver,): take-off angle from the upward vertical. P points along the ray; SV points in the ray's
    plane, up where the ray runs towards the receiver.
    """
    outward = jnp.stack([jnp.cos(azimuth), jnp.sin(azimuth), jnp.zeros_like(azimuth)], axis=-1)
    up = jnp.array([0.0, 0.0, -1.0])
    along = sin[:, None] * outward + cos[:, None] * up
    across = -cos[:, None] * outward + sin[:, None] * up
    traction = along @ tensor
    return jnp.sum(traction * along, axis=-1), jnp.sum(traction * across, axis=-1)


def arrivals(
    amplitude: jax.Array, onset: jax.Array, t_star: jax.Array, peak_frequency, num_samples: int, interval: float
) -> jax.Array:
    """Ricker wavelets after attenuation (receiver, num_samples), exact between samples.

    amplitude, onset (s after the first sample), t_star (travel time over Q, s): (receiver,); peak_frequency in Hz;
    interval in s. An arrival whose `duration` lies outside the window is left out: it would wrap around. Constant Q,
    causal: exp(-pi f t*) with the delay (t*/pi) ln(f_ref / f) (Aki & Richards 2002, section 5.5).
    """
    length = fast_length(num_samples + round(PADDING / interval))
    f = jnp.arange(length // 2 + 1) / (length * interval)
    inside = (onset < num_samples * interval) & (onset + duration(peak_frequency, t_star) > 0)
    relative = f / peak_frequency
    wavelet = 2 / jnp.sqrt(jnp.pi) * relative**2 / peak_frequency * jnp.exp(-(relative**2)) / interval
    dispersion = jnp.log(REFERENCE_FREQUENCY / jnp.maximum(relative, 0.02)) / jnp.pi
    delay = (onset + ONSET_LAG / peak_frequency)[:, None] + t_star[:, None] * dispersion
    cycles = f * delay
    phase = -2 * jnp.pi * (cycles - jnp.round(cycles))  # whole cycles first, or float32 loses the digits that matter
    size = jnp.where(inside, amplitude, 0.0)[:, None] * wavelet * jnp.exp(-jnp.pi * f * t_star[:, None])
    return jnp.fft.irfft(jax.lax.complex(size * jnp.cos(phase), size * jnp.sin(phase)), length)[:, :num_samples]


def duration(peak_frequency, t_star: jax.Array) -> jax.Array:
    """How long an arrival lasts from its onset, s: the wavelet, and what attenuation adds to it."""
    return 2 * ONSET_LAG / peak_frequency + 2 * t_star


def fast_length(minimum: int) -> int:
    """The smallest even length of at least `minimum` that has no prime factor above 5, for quick FFTs."""
    lengths = (odd << power for odd in (1, 3, 5, 9, 15) for power in range(1, 40))
    return min(n for n in lengths if n >= minimum)
