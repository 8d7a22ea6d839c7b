"""Noise spectra and coherence against what was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import j0

from seisjax.synthetic import noise

INTERVAL = 0.004  # s


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_coloured_noise_has_the_slope_and_rms(slope):
    traces = np.asarray(noise.coloured(jax.random.key(1), slope, 64, 1000, INTERVAL, low_cut=1.0))
    assert np.sqrt((traces**2).mean()) == pytest.approx(1.0, rel=1e-4)
    f = np.fft.rfftfreq(1000, INTERVAL)
    power = (np.abs(np.fft.rfft(traces * np.hanning(1000))) ** 2).mean(axis=0)
    band = (f > 5) & (f < 100)
    fitted = np.polyfit(np.log(f[band]), np.log(power[band]), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.08)
    correlation = np.corrcoef(traces[:8])
    assert np.abs(correlation - np.eye(8)).max() < 0.6  # traces are independent


def test_swell_noise_is_coherent_as_isotropic_waves_are():
    frequency, speed = 3.0, 420.0
    distance = np.array([0.0, 20.0, 40.0, 60.0, 90.0])
    receivers = jnp.stack([distance, 0 * distance, 0 * distance], axis=-1)

    def one(key):
        band = (1.5, 6.0)
        return noise.swell(key, receivers, speed, 1024, INTERVAL, band=band, dispersion=0.0, num_waves=48)

    traces = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 150)))
    f = np.fft.rfftfreq(1024, INTERVAL)
    spectra = np.fft.rfft(traces * np.hanning(1024))[..., np.argmin(np.abs(f - frequency))]
    coherence = (spectra * spectra[:, :1].conj()).mean(axis=0).real / (np.abs(spectra) ** 2).mean()
    np.testing.assert_allclose(coherence, j0(2 * np.pi * frequency * distance / speed), atol=0.15)
    power = (np.abs(np.fft.rfft(traces * np.hanning(1024))) ** 2).mean(axis=(0, 1))
    assert power[(f > 0.7) & (f < 10)].sum() > 0.97 * power.sum()
