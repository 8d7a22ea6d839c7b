"""What follows an arrival: waves scattered on the way."""

import jax
import jax.numpy as jnp

from seisjax.synthetic.source import fast_length


def coda(key: jax.Array, signal: jax.Array, level, decay, interval: float) -> jax.Array:
    """The coda of arrivals (phase, receiver, sample), of the same shape; it begins with them.

    Gaussian noise of the arrival's own spectrum, whose power falls as exp(-2 t / decay) after it (Aki & Chouet 1975,
    doi:10.1029/JB080i023p03322), independent on each receiver. level: its rms at the start over the arrival's peak;
    decay and interval in s.
    """
    count = signal.shape[-1]
    scatterers = jax.random.normal(key, signal.shape) * jnp.exp(-jnp.arange(count) * interval / decay)
    peak = jnp.max(jnp.abs(signal), axis=-1, keepdims=True)
    energy = jnp.sum(signal**2, axis=-1, keepdims=True)
    size = level * peak / jnp.sqrt(jnp.where(energy > 0, energy, 1.0))
    length = fast_length(2 * count)  # so that nothing wraps around
    spectrum = jnp.fft.rfft(signal, length) * jnp.fft.rfft(size * scatterers, length)
    return jnp.fft.irfft(spectrum, length)[..., :count]
