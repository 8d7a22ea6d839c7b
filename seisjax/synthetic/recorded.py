"""Noise from the user's own recording: a stretch of it, or random noise with its covariance in space and time."""

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.errors import UserError
from seisjax.synthetic.parameters import Noise


def prepared(what: Noise, recording: np.ndarray, num_receivers: int, num_samples: int) -> np.ndarray:
    """A recording (receiver, sample) as the generator cuts it: gaps (NaN) are 0, an average receiver has rms 1.

    Receivers keep their relations to each other. Raises UserError where it is too short, has the wrong number of
    receivers, or holds nothing.
    """
    name = f"noise.recording={what.recording}"
    if recording.ndim != 2:
        raise UserError(f"{name}: has {recording.ndim} axes; give a volume of receivers by time")
    rows, length = recording.shape
    if length < num_samples:
        raise UserError(f"{name}: {length} samples are fewer than a panel's {num_samples}; give a longer recording")
    if what.recording_rows == "same" and rows != num_receivers:
        raise UserError(
            f"{name}: has {rows} receivers, the array {num_receivers}; "
            'give one row a receiver or set noise.recording_rows="drawn"'
        )
    traces = np.where(np.isfinite(recording), recording, np.float32(0)).astype(np.float32)
    count = np.isfinite(recording).sum(axis=1)
    power = np.square(traces, dtype=np.float64).sum(axis=1) / np.maximum(count, 1)
    if not (power > 0).any():
        raise UserError(f"{name}: holds no sample other than 0; give one that recorded something")
    return traces / np.float32(np.sqrt(np.median(power[power > 0])))


def cut(key: jax.Array, recording: jax.Array | np.ndarray, num_receivers: int, num_samples: int, rows: str):
    """A random stretch of a recording: (num_receivers, num_samples).

    rows "same": every receiver's own row, all at one time. "drawn": any row at any time, for each receiver apart, so
    that nothing of how receivers go together is left.
    """
    recording = jnp.asarray(recording)
    last = recording.shape[1] - num_samples
    if rows == "same":
        start = jax.random.randint(key, (), 0, last + 1)
        return jax.lax.dynamic_slice(recording, (0, start), (num_receivers, num_samples))
    row_key, time_key = jax.random.split(key)
    row = jax.random.randint(row_key, (num_receivers,), 0, len(recording))
    start = jax.random.randint(time_key, (num_receivers,), 0, last + 1)
    return jax.vmap(lambda r, s: jax.lax.dynamic_slice(recording, (r, s), (1, num_samples))[0])(row, start)


def resembling(
    key: jax.Array,
    recording: jax.Array | np.ndarray,
    num_receivers: int,
    num_samples: int,
    length: int,
    what: Noise,
) -> jax.Array:
    """Spectrum (receiver, frequency) of Gaussian noise whose covariance in space and time is a recording's.

    After Birnie et al. 2016 (GJI 206, 1246-1260), who draw noise from covariance estimated on recorded noise. Here the
    cross-spectra are averaged over `what.recording_cuts` random stretches X_k(receiver, f), and sum g_k(f) X_k with
    independent complex normal g_k is a draw from just that average: no matrix of receivers by receivers is needed.
    Unlike the recording, the draw is stationary in time.
    """
    taper = np.sqrt(1 + np.cos(2 * np.pi * (np.arange(num_samples) + 0.5) / num_samples + np.pi)).astype(np.float32)
    taper *= np.sqrt(length / num_samples / what.recording_cuts)

    def add(total, stretch_key):
        cut_key, normal_key = jax.random.split(stretch_key)
        traces = taper * cut(cut_key, recording, num_receivers, num_samples, what.recording_rows)
        random = jax.random.normal(normal_key, (2, length // 2 + 1)) / np.sqrt(2)
        return total + jax.lax.complex(*random) * jnp.fft.rfft(traces, length), None

    zeros = jnp.zeros((num_receivers, length // 2 + 1), jnp.complex64)
    return jax.lax.scan(add, zeros, jax.random.split(key, what.recording_cuts))[0]
