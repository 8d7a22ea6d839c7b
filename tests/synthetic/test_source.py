"""Moment tensor, radiation pattern, wavelet and attenuation against their definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.synthetic import source
from seisjax.synthetic.parameters import WAVELETS

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
    waves = radiate(source.moment_tensor(0.0, 90.0, 0.0), [45.0, 135.0, 225.0, 315.0, 0.0, 90.0], 90.0)
    np.testing.assert_allclose(waves.p, [1, -1, 1, -1, 0, 0], atol=1e-6)  # sin(2 azimuth): lobes between two planes
    np.testing.assert_allclose(waves.sv, 0.0, atol=1e-6)
    np.testing.assert_allclose(waves.sh, [0, 0, 0, 0, 1, -1], atol=1e-6)  # cos(2 azimuth)
    thrust = source.moment_tensor(0.0, 45.0, 90.0)
    assert radiate(thrust, [0.0], 0.0).p[0] == pytest.approx(1.0, abs=1e-6)  # a thrust pushes up
    waves = radiate(thrust, [90.0, 90.0], 45.0)
    np.testing.assert_allclose(waves.p, 0.0, atol=1e-6)
    assert abs(waves.sv[0]) == pytest.approx(1.0, abs=1e-6)


def test_an_explosion_radiates_p_alone_and_alike():
    waves = radiate(source.moment_tensor(0.0, 90.0, 0.0, 1.0), [0.0, 77.0, 200.0], 130.0)
    np.testing.assert_allclose(waves.p, np.sqrt(2 / 3), rtol=1e-5)
    np.testing.assert_allclose(waves.sv, 0.0, atol=1e-6)
    np.testing.assert_allclose(waves.sh, 0.0, atol=1e-6)


ANGLES = st.floats(-360.0, 360.0)


@given(ANGLES, st.floats(0.0, 180.0), ANGLES, ANGLES, ANGLES)
@settings(max_examples=50, deadline=None)
def test_the_three_patterns_make_up_the_traction_along_the_ray(azimuth, angle, strike, dip, rake):
    tensor = source.moment_tensor(strike, dip, rake)
    waves = radiate(tensor, [azimuth], angle)
    a, i = np.deg2rad(azimuth), np.deg2rad(angle)
    ray = np.array([np.sin(i) * np.cos(a), np.sin(i) * np.sin(a), -np.cos(i)])
    traction = np.asarray(tensor, np.float64) @ ray
    np.testing.assert_allclose(sum(float(f[0]) ** 2 for f in waves), (traction**2).sum(), atol=1e-4)
    np.testing.assert_allclose(waves.p[0], ray @ traction, atol=1e-4)


def test_polarisations_are_a_right_angled_frame():
    azimuth, angle = jnp.array([0.3, 2.0, -1.0]), jnp.array([0.2, 1.5, 2.5])
    frame = np.stack(source.polarisations(azimuth, jnp.sin(angle), jnp.cos(angle)), axis=1)
    np.testing.assert_allclose(frame @ frame.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-6)


@functools.partial(jax.jit, static_argnames=("kind", "num_samples", "interval", "highest"))
def arrivals(amplitude, onset, t_star, frequency, kind, num_samples, interval, highest=np.inf, gauge=None):
    pulse = source.Pulse((kind,), 0, frequency)
    return source.arrivals(amplitude, onset, t_star, pulse, num_samples, interval, highest=highest, gauge=gauge)


def one_arrival(onset, t_star, frequency=20.0, kind="ricker", **options):
    arguments = np.ones(1), np.array([onset]), np.array([t_star]), frequency
    return np.asarray(arrivals(*arguments, kind, 512, INTERVAL, **options))[0]


def test_without_attenuation_a_ricker_wavelet_is_exact_between_samples_too():
    onset, frequency = 0.5013, 20.0
    t = np.arange(512) * INTERVAL - onset - WAVELETS["ricker"].lag / frequency
    a = (np.pi * frequency * t) ** 2
    np.testing.assert_allclose(one_arrival(onset, 0.0), (1 - 2 * a) * np.exp(-a), atol=2e-5)


def test_a_brune_wavelet_is_the_velocity_of_his_causal_source():
    frequency, onset = 10.0, 0.5
    spectrum, f = np.fft.rfft(one_arrival(onset, 0.0, frequency, "brune")), np.fft.rfftfreq(512, INTERVAL)
    delay = onset + WAVELETS["brune"].lag / frequency
    r = f / frequency
    # s exp(-s) with s = 2 pi f_c t has the spectrum 1 / (1 + i r)^2, and i r is the derivative.
    expected = 1j * r / (1 + 1j * r) ** 2 * np.exp(-((r / 2.5) ** 4)) * np.exp(-2j * np.pi * f * delay)
    scale = np.abs(spectrum).max() / np.abs(expected).max()
    np.testing.assert_allclose(spectrum[1:], scale * expected[1:], atol=0.01 * scale)


def test_an_ormsby_wavelet_is_flat_between_its_corners():
    spectrum = np.abs(np.fft.rfft(one_arrival(0.5, 0.0, 20.0, "ormsby")))
    f = np.fft.rfftfreq(512, INTERVAL)
    flat = spectrum[(f > 11) & (f < 27)]
    np.testing.assert_allclose(flat, flat.mean(), rtol=0.03)
    at_middle_of_the_ramp = np.interp(7.5, f, spectrum) / flat.mean(), np.interp(34.0, f, spectrum) / flat.mean()
    np.testing.assert_allclose(at_middle_of_the_ramp, 0.5, atol=0.05)
    assert spectrum[f > 42].max() < 0.02 * flat.mean()


@pytest.mark.parametrize("kind", WAVELETS)
@pytest.mark.parametrize("frequency", [12.0, 20.0, 35.0])
@pytest.mark.parametrize("t_star", [0.0, 0.01, 0.05, 0.15])
def test_onset_is_causal_and_the_duration_holds_the_arrival(kind, frequency, t_star):
    onset = 0.6
    energy = one_arrival(onset, t_star, frequency, kind) ** 2
    t = np.arange(512) * INTERVAL
    assert energy[t < onset].sum() < 0.01 * energy.sum()
    end = onset + source.duration(source.Pulse((kind,), 0, frequency), jnp.array(t_star))
    assert energy[(t >= onset) & (t <= end)].sum() > 0.9 * energy.sum()


@pytest.mark.parametrize("kind", WAVELETS)
def test_nothing_is_computed_where_a_wavelet_has_nothing(kind):
    frequency = 15.0
    whole = one_arrival(0.5, 0.01, frequency, kind)
    part = one_arrival(0.5, 0.01, frequency, kind, highest=frequency * WAVELETS[kind].end)
    np.testing.assert_allclose(part, whole, atol=2e-3 * np.abs(whole).max())


def test_attenuation_falls_as_exp_minus_pi_f_t_star():
    spectra = [np.abs(np.fft.rfft(one_arrival(0.5, t_star))) for t_star in (0.0, 0.02)]
    f = np.fft.rfftfreq(512, INTERVAL)
    band = (f > 8) & (f < 40)
    np.testing.assert_allclose((spectra[1] / spectra[0])[band], np.exp(-np.pi * f[band] * 0.02), rtol=0.02)


def test_a_gauge_averages_over_the_time_a_wave_takes_across_it():
    gauge = 0.024  # s: six samples
    point = one_arrival(0.5, 0.01)
    mean = np.mean([one_arrival(0.5 + lag, 0.01) for lag in (np.arange(60) + 0.5) / 60 * gauge - gauge / 2], axis=0)
    np.testing.assert_allclose(one_arrival(0.5, 0.01, gauge=np.array([gauge])), mean, atol=1e-3)
    assert np.abs(mean - point).max() > 0.1


@pytest.mark.parametrize("kind", WAVELETS)
@pytest.mark.parametrize("onset", [-3.0, -0.8, 2.05, 2.9, 3.2, 7.0])
def test_nothing_wraps_around(kind, onset):
    assert np.abs(one_arrival(onset, 0.02, kind=kind)).max() == 0.0


@pytest.mark.parametrize("kind", WAVELETS)
def test_an_arrival_cut_at_the_windows_beginning_is_soon_over(kind):
    trace = np.abs(one_arrival(-0.05, 0.02, kind=kind))
    assert trace[256:].max() < (1e-3 if kind == "ricker" else 1e-2) * trace.max()


@pytest.mark.parametrize("kind", WAVELETS)
@pytest.mark.parametrize(("frequency", "t_star"), [(20.0, 0.02), (12.0, 0.15), (3.0, 0.12)])
def test_the_tail_of_an_arrival_cut_at_the_windows_end_does_not_come_back(kind, frequency, t_star):
    """As long as some are: S that is attenuated most, and low frequencies."""
    onset, shift = 1.98, 256
    trace = one_arrival(onset, t_star, frequency, kind)
    whole = one_arrival(onset - shift * INTERVAL, t_star, frequency, kind)
    begin, scale = int((onset - 2 / frequency) / INTERVAL), np.abs(whole).max()
    assert np.abs(trace[:begin]).max() < 1e-3 * scale
    np.testing.assert_allclose(trace[begin:], whole[begin - shift : -shift], atol=0.02 * scale)


def test_an_event_has_one_of_the_wavelets():
    kinds = tuple(WAVELETS)
    for which, kind in enumerate(kinds):
        pulse = source.Pulse(kinds, jnp.array(which), 20.0)
        arguments = jnp.ones(1), jnp.array([0.5]), jnp.array([0.01])
        np.testing.assert_allclose(
            source.arrivals(*arguments, pulse, 512, INTERVAL)[0], one_arrival(0.5, 0.01, kind=kind), atol=1e-5
        )


def test_fast_length():
    assert [source.fast_length(n) for n in (1, 7, 762, 4596)] == [2, 8, 768, 4608]
