"""Moment tensor, radiation pattern, wavelet and attenuation against their definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.synthetic import source

INTERVAL = 0.004  # s


def test_moment_tensor_of_a_vertical_strike_slip_fault():
    np.testing.assert_allclose(
        source.moment_tensor(0.0, 90.0, 0.0), [[0, 1, 0], [1, 0, 0], [0, 0, 0]], atol=1e-6
    )  # Aki & Richards, box 4.4


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.3, -0.2), (-1.0, 0.0), (0.0, 1.0)])
def test_moment_tensor_is_symmetric_and_of_unit_size(shares):
    tensor = np.asarray(source.moment_tensor(33.0, 61.0, -120.0, *shares))
    np.testing.assert_allclose(tensor, tensor.T, atol=1e-6)
    assert (tensor**2).sum() == pytest.approx(2.0, rel=1e-5)
    if shares == (0.0, 0.0):
        assert np.trace(tensor) == pytest.approx(0.0, abs=1e-6)
        assert np.linalg.det(tensor) == pytest.approx(0.0, abs=1e-6)


def radiate(tensor, azimuth, angle):
    azimuth = jnp.deg2rad(jnp.asarray(azimuth))
    angle = jnp.full_like(azimuth, np.deg2rad(angle))
    return jax.jit(source.radiation)(tensor, azimuth, jnp.sin(angle), jnp.cos(angle))


def test_polarity_flips_across_nodal_planes():
    p, sv = radiate(source.moment_tensor(0.0, 90.0, 0.0), [45.0, 135.0, 225.0, 315.0, 0.0, 90.0], 90.0)
    np.testing.assert_allclose(p, [1, -1, 1, -1, 0, 0], atol=1e-6)  # sin(2 azimuth): lobes between the two planes
    np.testing.assert_allclose(sv, 0.0, atol=1e-6)
    thrust = source.moment_tensor(0.0, 45.0, 90.0)
    p, _ = radiate(thrust, [0.0], 0.0)
    assert p[0] == pytest.approx(1.0, abs=1e-6)  # a thrust pushes up
    p, sv = radiate(thrust, [90.0, 90.0], 45.0)
    np.testing.assert_allclose(p, 0.0, atol=1e-6)
    assert abs(sv[0]) == pytest.approx(1.0, abs=1e-6)


def test_an_explosion_radiates_p_alone_and_alike():
    p, sv = radiate(source.moment_tensor(0.0, 90.0, 0.0, 1.0), [0.0, 77.0, 200.0], 130.0)
    np.testing.assert_allclose(p, np.sqrt(2 / 3), rtol=1e-5)
    np.testing.assert_allclose(sv, 0.0, atol=1e-6)


@functools.partial(jax.jit, static_argnames=("num_samples", "interval"))
def arrivals(amplitude, onset, t_star, frequency, num_samples, interval):
    return source.arrivals(amplitude, onset, t_star, frequency, num_samples, interval)


def one_arrival(onset, t_star, frequency=20.0):
    return np.asarray(arrivals(np.ones(1), np.array([onset]), np.array([t_star]), frequency, 512, INTERVAL))[0]


def test_without_attenuation_it_is_a_ricker_wavelet_between_samples_too():
    onset, frequency = 0.5013, 20.0
    t = np.arange(512) * INTERVAL - onset - source.ONSET_LAG / frequency
    a = (np.pi * frequency * t) ** 2
    np.testing.assert_allclose(one_arrival(onset, 0.0), (1 - 2 * a) * np.exp(-a), atol=2e-5)


@pytest.mark.parametrize("frequency", [12.0, 20.0, 35.0])
@pytest.mark.parametrize("t_star", [0.0, 0.01, 0.05, 0.15])
def test_onset_is_causal_and_the_duration_holds_the_arrival(frequency, t_star):
    onset = 0.6
    energy = one_arrival(onset, t_star, frequency) ** 2
    t = np.arange(512) * INTERVAL
    assert energy[t < onset].sum() < 0.01 * energy.sum()
    end = onset + source.duration(frequency, jnp.array(t_star))
    assert energy[(t >= onset) & (t <= end)].sum() > 0.9 * energy.sum()


def test_attenuation_falls_as_exp_minus_pi_f_t_star():
    spectra = [np.abs(np.fft.rfft(one_arrival(0.5, t_star))) for t_star in (0.0, 0.02)]
    f = np.fft.rfftfreq(512, INTERVAL)
    band = (f > 8) & (f < 40)
    np.testing.assert_allclose((spectra[1] / spectra[0])[band], np.exp(-np.pi * f[band] * 0.02), rtol=0.02)


@pytest.mark.parametrize("onset", [-3.0, -0.8, 2.05, 2.9, 3.2, 7.0])
def test_nothing_wraps_around(onset):
    assert np.abs(one_arrival(onset, 0.02)).max() == 0.0


@pytest.mark.parametrize("onset", [-0.05, 1.98])
def test_an_arrival_cut_by_the_window_keeps_its_own_side(onset):
    trace = np.abs(one_arrival(onset, 0.02))
    far = trace[256:] if onset < 0 else trace[:256]
    assert far.max() < 1e-3 * trace.max()


def test_fast_length():
    assert [source.fast_length(n) for n in (1, 7, 762, 4596)] == [2, 8, 768, 4608]
