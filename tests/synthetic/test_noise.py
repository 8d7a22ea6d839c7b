"""Noise kinds against what they are said to be: spectra, coherence, moveout."""

from dataclasses import fields, replace

import jax
import numpy as np
import pytest
from scipy.special import j0

from seisjax.errors import UserError
from seisjax.synthetic import noise
from seisjax.synthetic.parameters import REALISTIC_NOISE, WHITE_NOISE, Microseismic, Noise, Source

pytestmark = pytest.mark.quick_compiler

INTERVAL = 0.004  # s
GRID = noise.time_grid(1000, INTERVAL)
SILENCE = Noise(coloured_level=(0.0, 0.0), swell_level=(0.0, 0.0))
UNIT = (1.0, 1.0)
LINE = np.stack([50.0 * np.arange(24), np.zeros(24), np.full(24, 130.0)], axis=-1)  # along x
PLANE = np.random.default_rng(0).uniform(-1500.0, 1500.0, (60, 3)) * [1, 1, 0] + [0, 0, 130.0]


def draws(what, places, count, num_samples=1000):
    one = jax.jit(lambda key: noise.background(what, places, num_samples, INTERVAL, key))
    return np.stack([one(key) for key in jax.random.split(jax.random.key(1), count)])


def power_spectrum(traces):
    """Frequencies, and mean power over all but the last axis."""
    f = np.fft.rfftfreq(traces.shape[-1], INTERVAL)
    power = np.abs(np.fft.rfft(traces * np.hanning(traces.shape[-1]))) ** 2
    return f, power.reshape(-1, len(f)).mean(axis=0)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_coloured_noise_has_the_slope_and_rms(slope):
    what = replace(SILENCE, coloured_level=(2.0, 2.0), slope=(slope, slope))
    band = noise.coloured(jax.random.key(1), what, np.zeros((64, 3)), GRID)
    traces = np.asarray(noise.transform([band], 64, GRID))
    assert np.sqrt((traces**2).mean()) == pytest.approx(2.0, rel=1e-4)
    f, power = power_spectrum(traces)
    inside = (f > 5) & (f < 100)
    assert np.polyfit(np.log(f[inside]), np.log(power[inside]), 1)[0] == pytest.approx(-slope, abs=0.08)
    correlation = np.corrcoef(traces[:8])
    assert np.abs(correlation - np.eye(8)).max() < 0.6  # traces are independent


def test_white_noise_is_white_down_to_0_hz():
    traces = draws(WHITE_NOISE, PLANE, 4)
    f, power = power_spectrum(traces)
    for low, high in ((0.5, 2.0), (2.0, 20.0), (20.0, 80.0), (80.0, 120.0)):
        assert power[(f > low) & (f < high)].mean() == pytest.approx(power[2:-2].mean(), rel=0.1)
    assert traces.std() == pytest.approx(1.0, rel=0.01)
    lagged = (traces[..., 1:] * traces[..., :-1]).mean()
    assert abs(lagged) < 0.01


def test_correlated_noise_has_the_covariance_asked_for():
    what = replace(SILENCE, coloured_level=UNIT, slope=(0.0, 0.0), correlation_length=200.0)
    traces = draws(what, LINE, 4)
    covariance = np.einsum("nrt,nst->rs", traces, traces) / traces[:, 0].size
    distance = np.abs(LINE[:, None, 0] - LINE[None, :, 0])
    np.testing.assert_allclose(covariance, np.exp(-distance / 200.0), atol=0.1)
    stationary = (traces[..., :500] ** 2).mean() / (traces[..., 500:] ** 2).mean()
    assert stationary == pytest.approx(1.0, abs=0.1)


def test_receivers_at_one_place_may_be_correlated():
    what = replace(SILENCE, coloured_level=UNIT, correlation_length=200.0)
    traces = draws(what, np.zeros((3, 3)), 1)[0]
    assert np.corrcoef(traces).min() > 0.999


def test_swell_noise_is_coherent_as_isotropic_waves_are():
    frequency, speed = 3.0, 420.0
    distance = np.array([0.0, 20.0, 40.0, 60.0, 90.0])
    places = np.stack([distance, 0 * distance, 0 * distance], axis=-1)
    traces = draws(replace(SILENCE, swell_level=UNIT, swell_speed=(speed, speed), swell_dispersion=0.0), places, 150)
    f, power = power_spectrum(traces)
    spectra = np.fft.rfft(traces * np.hanning(1000))[..., np.argmin(np.abs(f - frequency))]
    coherence = (spectra * spectra[:, :1].conj()).mean(axis=0).real / (np.abs(spectra) ** 2).mean()
    np.testing.assert_allclose(coherence, j0(2 * np.pi * frequency * distance / speed), atol=0.15)
    assert power[(f > 0.7) & (f < 10)].sum() > 0.97 * power.sum()


def wavenumbers(traces, frequency):
    """Power over the angular wavenumber along a line of 50 m (rad/m) at one frequency, mean over panels."""
    f = np.fft.rfftfreq(traces.shape[-1], INTERVAL)
    spectra = np.fft.rfft(traces * np.hanning(traces.shape[-1]))[..., np.argmin(np.abs(f - frequency))]
    k = np.linspace(-0.06, 0.06, 241)
    x = 50.0 * np.arange(traces.shape[1])
    return k, (np.abs(spectra @ np.exp(1j * np.outer(x, k))) ** 2)


def test_waves_through_water_keep_their_band_speed_and_side():
    what = replace(SILENCE, water_level=UNIT, water_spread=0.0, water_speed=(1490.0, 1490.0))
    traces = draws(what, LINE, 60)
    f, power = power_spectrum(traces)
    assert power[(f > 4) & (f < 60)].sum() > 0.97 * power.sum()
    assert traces.std() == pytest.approx(1.0, rel=0.1)
    k, peaks = wavenumbers(traces, 14.0)
    slowness = k[np.argmax(peaks, axis=1)] / (2 * np.pi * 14.0)  # along the line: cos(side) / speed
    assert np.abs(slowness).max() == pytest.approx(1 / 1490.0, rel=0.1)
    # Without spread there is one plane wave: all traces are one trace, delayed.
    spectra = np.fft.rfft(traces * np.hanning(1000))[..., np.argmin(np.abs(f - 14.0))]
    one_way = peaks.max(axis=1) / np.sum(np.abs(spectra) ** 2, axis=1) / len(LINE)
    assert np.median(one_way) > 0.98


def test_a_platform_hums_in_tones_that_fall_off_with_distance():
    what = replace(
        SILENCE,
        platform_level=UNIT,
        platform_tone=(10.0, 10.0),
        platform_harmonics=3,
        platform_distance=(500.0, 500.0),
        platform_modulation_rate=(0.5, 0.5),
        platform_speed=(1490.0, 1490.0),
    )
    traces = draws(what, PLANE, 8, num_samples=2000)
    f, power = power_spectrum(traces)
    near_tones = np.any(np.abs(f[:, None] - np.array([10.0, 20.0, 30.0])) < 1.0, axis=1)
    assert power[near_tones].sum() > 0.999 * power.sum()
    for tone in (10.0, 20.0, 30.0):
        assert power[np.abs(f - tone) < 0.2].max() > 1e4 * np.median(power)
    assert np.sqrt((traces**2).mean()) == pytest.approx(1.0, rel=0.02)
    for panel in traces:
        # The loudest receivers point to the platform, 500 m from the middle; sizes are as 1/R from there.
        size = panel.std(axis=1)
        angles = np.linspace(0, 2 * np.pi, 721)
        candidates = 500.0 * np.stack([np.cos(angles), np.sin(angles)], axis=-1) + PLANE[:, :2].mean(axis=0)
        offset = np.linalg.norm(PLANE[None, :, :2] - candidates[:, None], axis=-1)
        spread = np.std(np.log(np.hypot(offset, 130.0) * size), axis=1)
        assert spread.min() < 0.03


def test_a_platforms_tones_have_moveout_and_a_slow_modulation():
    what = replace(
        SILENCE,
        platform_level=UNIT,
        platform_tone=(10.0, 10.0),
        platform_harmonics=1,
        platform_distance=(9e5, 9e5),  # so far that waves are plane
        platform_modulation=0.5,
        platform_modulation_rate=(0.5, 0.5),
        platform_speed=(1490.0, 1490.0),
    )
    traces = draws(what, LINE, 40, num_samples=2000)
    k, peaks = wavenumbers(traces, 10.0)
    assert np.abs(k[np.argmax(peaks, axis=1)]).max() == pytest.approx(2 * np.pi * 10.0 / 1490.0, rel=0.1)
    windows = (traces[:, 0].reshape(40, -1, 25) ** 2).mean(axis=-1) ** 0.5  # 0.1 s: one period of the tone
    np.testing.assert_allclose(windows.max(axis=1) / windows.min(axis=1), 1.5 / 0.5, rtol=0.1)


def test_interference_crosses_the_array_at_its_speed_with_its_peak():
    what = replace(
        SILENCE,
        coloured_level=UNIT,
        slope=(0.0, 0.0),
        interference_level=(300.0, 300.0),
        interference_share=1.0,
        interference_speed=(1600.0, 1600.0),
        interference_width=(0.4, 0.4),
    )
    traces = draws(what, LINE, 40)
    peak = np.abs(traces).max(axis=(1, 2))
    assert np.median(peak) == pytest.approx(300.0, rel=0.1)
    k, peaks = wavenumbers(traces, 15.0)
    assert np.abs(k[np.argmax(peaks, axis=1)]).max() == pytest.approx(2 * np.pi * 15.0 / 1600.0, rel=0.1)
    what = replace(what, interference_share=0.4)
    shots = jax.jit(lambda key: noise.interference(key, what, LINE[:1], GRID).spectrum)
    found = [np.any(shots(key)) for key in jax.random.split(jax.random.key(0), 150)]
    assert np.mean(found) == pytest.approx(0.4, abs=0.12)


def test_high_frequencies_of_interference_come_first():
    what = replace(
        SILENCE,
        coloured_level=UNIT,
        interference_level=(1e3, 1e3),
        interference_share=1.0,
        interference_frequency=(20.0, 20.0),
        interference_width=(0.4, 0.4),
        interference_delay=(0.3, 0.3),
    )
    length = GRID.length
    band = jax.jit(lambda key: noise.interference(key, what, LINE[:1], GRID))(jax.random.key(3))
    trace = np.asarray(noise.transform([noise.Band(1, band.spectrum)], 1, GRID))[0]
    trace = np.roll(trace, length // 2 - np.argmax(np.abs(trace)))
    f, t = np.fft.rfftfreq(length, INTERVAL), np.arange(length) * INTERVAL
    spectrum = np.fft.rfft(trace)

    def arrival(frequency):
        part = np.fft.irfft(spectrum * np.exp(-0.5 * ((f - frequency) / 2.0) ** 2), length) ** 2
        return (t * part).sum() / part.sum()

    expected = 0.3 * 20.0 * (1 / 14.0 - 1 / 28.0)  # s, between the two group delays
    assert arrival(14.0) - arrival(28.0) == pytest.approx(expected, abs=0.03)


def test_spikes_are_single_samples_at_the_rate_asked_for():
    what = replace(SILENCE, coloured_level=(1e-3, 1e-3), spike_level=(5.0, 25.0), spike_rate=0.5)
    traces = draws(what, LINE, 10)
    found = np.abs(traces) > 1.0
    assert found.sum() / (traces.size * INTERVAL) == pytest.approx(0.5, rel=0.15)
    sizes = np.abs(traces[found])
    assert sizes.min() > 4.9
    assert sizes.mean() == pytest.approx(15.0, rel=0.1)
    assert (traces[found] > 0).mean() == pytest.approx(0.5, abs=0.1)


def test_bursts_are_short_and_on_a_few_traces():
    what = replace(
        SILENCE,
        coloured_level=(1e-3, 1e-3),
        burst_level=(4.0, 4.0),
        bursts=1,
        burst_traces=(3.0, 3.0),
        burst_duration=(0.05, 0.05),
        burst_frequency=(20.0, 20.0),
    )
    places = np.concatenate([LINE, LINE])
    for panel in draws(what, places, 10):
        loud = np.flatnonzero(np.abs(panel).max(axis=1) > 0.1)
        assert 1 <= len(loud) <= 7
        assert np.ptp(loud) == len(loud) - 1  # neighbours
        assert np.abs(panel).max() <= 4.1
        times = np.flatnonzero(np.abs(panel[loud]).max(axis=0) > 0.1) * INTERVAL
        assert np.ptp(times) < 0.4


@pytest.mark.parametrize("kind", [noise.swell, noise.water, noise.interference])
def test_the_array_may_lie_anywhere(kind):
    what = replace(REALISTIC_NOISE, interference_share=1.0)
    spectra = [kind(jax.random.key(2), what, places, GRID).spectrum for places in (PLANE, PLANE + [4e5, 6e6, 0.0])]
    np.testing.assert_allclose(*spectra, atol=1e-3 * np.abs(spectra[0]).max())


def test_what_is_off_is_not_computed():
    def size(what):
        background = lambda key: noise.background(what, PLANE, 200, INTERVAL, key)  # noqa: E731
        return len(str(jax.make_jaxpr(background)(jax.random.key(0))))

    least = size(WHITE_NOISE)
    for level in (field.name for field in fields(Noise) if field.name.endswith("_level")):
        if level not in ("coloured_level", "recording_level"):
            assert size(replace(WHITE_NOISE, **{level: UNIT})) > least
            assert size(replace(WHITE_NOISE, **{level: (0.0, 0.0)})) == least


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"coloured_level": (0.0, 0.0), "swell_level": (0.0, 0.0)}, "noise.coloured_level"),
        ({"water_level": (-1.0, 1.0)}, "noise.water_level"),
        ({"water_level": UNIT, "water_band": (8.0, 200.0)}, "noise.water_band"),
        ({"platform_level": UNIT, "platform_harmonics": 40}, "noise.platform_tone"),
        ({"burst_level": UNIT, "burst_frequency": (100.0, 130.0)}, "noise.burst_frequency"),
        ({"swell_band": (0.0, 2.0)}, "noise.swell_band"),
        ({"swell_band": (3.0, 3.0)}, "noise.swell_band=.*no width"),
        ({"water_level": UNIT, "water_band": (9.0, 9.0)}, "noise.water_band=.*no width"),
        ({"swell_speed": (0.0, 2.0)}, "noise.swell_speed"),
        ({"spike_rate": -0.1}, "noise.spike_rate"),
        ({"recording_use": "copy"}, "noise.recording_use"),
    ],
)
def test_bad_noise_is_named(change, field):
    with pytest.raises(UserError, match=field):
        Microseismic(noise=Noise(**change), sampling_interval=INTERVAL, source=Source(frequency=(12.0, 20.0)))


@pytest.mark.parametrize("band", [(0.01, 0.02), (3.01, 3.011)])
def test_a_band_that_holds_none_of_the_panels_frequencies_is_refused(band):
    with pytest.raises(UserError, match="make panels longer"):
        noise.swell(jax.random.key(0), Noise(swell_band=band), PLANE, GRID)


def test_a_band_of_one_frequency_is_noise_of_it_alone():
    frequency = GRID.frequency[40]
    first, spectrum = noise.swell(jax.random.key(0), Noise(swell_band=(frequency, 1.0001 * frequency)), PLANE, GRID)
    power = np.abs(spectrum) ** 2
    assert first + power.sum(axis=0).argmax() == 40
    np.testing.assert_allclose(power[:, 40 - first].sum() / power.sum(), 1.0, rtol=1e-6)
