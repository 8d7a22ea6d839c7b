"""The coda of arrivals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.synthetic.coda import coda

INTERVAL, ONSET, COUNT = 0.01, 200, 2000


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    """A short pulse of 8 Hz, (1, 400, sample), of another size on each receiver."""
    time = (np.arange(COUNT) - ONSET) * INTERVAL
    pulse = np.where(time >= 0, np.sin(2 * np.pi * 8 * time) * np.exp(-time / 0.1), 0.0)
    return (np.linspace(0.1, 10, 400)[:, None] * pulse)[None].astype(np.float32)


def test_it_follows_the_arrival_and_decays(signal: np.ndarray):
    level, decay = 0.3, 2.0
    made = np.asarray(coda(jax.random.key(0), jnp.asarray(signal), level, decay, INTERVAL))[0]
    peak = np.abs(signal[0]).max(axis=-1)
    rms = np.sqrt(np.mean((made / peak[:, None]) ** 2, axis=0))
    assert rms[: ONSET - 1].max() < 1e-5
    early, late = rms[ONSET + 40 : ONSET + 80].mean(), rms[ONSET + 340 : ONSET + 380].mean()
    assert early == pytest.approx(level * np.exp(-0.5 / decay), rel=0.1)
    assert late / early == pytest.approx(np.exp(-3.0 / decay), rel=0.1)


def test_it_has_the_arrivals_spectrum(signal: np.ndarray):
    made = np.asarray(coda(jax.random.key(0), jnp.asarray(signal), 0.3, 2.0, INTERVAL))[0]
    frequency = np.fft.rfftfreq(COUNT, INTERVAL)
    power = np.mean(np.abs(np.fft.rfft(made / np.abs(signal[0]).max(axis=-1, keepdims=True))) ** 2, axis=0)
    smooth = np.convolve(power, np.ones(9) / 9, "same")
    assert frequency[smooth.argmax()] == pytest.approx(8, abs=1)


def test_nothing_has_no_coda():
    assert not np.asarray(coda(jax.random.key(0), jnp.zeros((2, 3, 100)), 0.3, 2.0, INTERVAL)).any()
