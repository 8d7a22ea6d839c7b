"""What an array records when nothing happens."""

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic.parameters import Range
from seisjax.synthetic.source import PADDING, fast_length


def coloured(key: jax.Array, slope, num_receivers: int, num_samples: int, interval: float, low_cut: float) -> jax.Array:
    """Gaussian noise of rms 1, independent on every trace, with power spectrum f^-slope: (receiver, sample).

    interval in s; below `low_cut` (Hz) the spectrum is flat, and it falls to 0 at 0 Hz.
    """
    length, f = _frequencies(num_samples, interval)
    shape = jnp.maximum(f, low_cut) ** (-slope / 2) * -jnp.expm1(-((f / low_cut) ** 4))
    return _from_spectrum(shape * _complex_normal(key, (num_receivers, len(f))), length, num_samples)


def swell(
    key: jax.Array,
    receivers: jax.Array,
    speed,
    num_samples: int,
    interval: float,
    *,
    band: Range,
    dispersion: float,
    num_waves: int,
) -> jax.Array:
    """Surface waves of rms 1 that cross the array from all sides: (receiver, sample).

    receivers (receiver, 3) in m; `speed` (m/s) in the middle of `band` (Hz), falling as f^-dispersion. Many plane
    waves make isotropic noise, whose coherence over a distance d is J0(2 pi f d / c) (Aki 1957).
    """
    length, f = _frequencies(num_samples, interval)
    inside = np.flatnonzero((f >= band[0] / 2) & (f <= band[1] * 2))
    f_in, middle = f[inside], np.sqrt(band[0] * band[1])
    shape = np.exp(-0.5 * (np.log(f_in / middle) / np.log(band[1] / middle)) ** 2)
    slowness = (f_in / middle) ** dispersion / speed
    direction_key, spectrum_key = jax.random.split(key)
    directions = jax.random.uniform(direction_key, (num_waves,), maxval=2 * jnp.pi)
    spectra = shape * _complex_normal(spectrum_key, (num_waves, len(f_in)))

    def add_wave(total, wave):
        direction, spectrum = wave
        along = receivers[:, 0] * jnp.cos(direction) + receivers[:, 1] * jnp.sin(direction)
        cycles = along[:, None] * (f_in * slowness)
        phase = -2 * jnp.pi * (cycles - jnp.round(cycles))
        return total + spectrum * jax.lax.complex(jnp.cos(phase), jnp.sin(phase)), None

    zeros = jnp.zeros((len(receivers), len(f_in)), jnp.complex64)
    total, _ = jax.lax.scan(add_wave, zeros, (directions, spectra))
    whole = jnp.zeros((len(receivers), len(f)), jnp.complex64).at[:, inside].set(total)
    return _from_spectrum(whole, length, num_samples)


def _frequencies(num_samples: int, interval: float) -> tuple[int, np.ndarray]:
    """Length of the transform (longer than the trace, so that its two ends are not alike) and its frequencies, Hz."""
    length = fast_length(num_samples + round(PADDING / interval))
    return length, (np.arange(length // 2 + 1) / (length * interval)).astype(np.float32)


def _complex_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    real, imaginary = jax.random.normal(key, (2, *shape))
    return jax.lax.complex(real, imaginary)


def _from_spectrum(spectrum: jax.Array, length: int, num_samples: int) -> jax.Array:
    traces = jnp.fft.irfft(spectrum, length)[:, :num_samples]
    return traces / jnp.sqrt(jnp.mean(traces**2))
