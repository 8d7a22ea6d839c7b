"""Panels: randomness, signal-to-noise ratio, labels, dead traces."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.synthetic import microseismic
from seisjax.synthetic.arrays import receivers, vertical
from seisjax.synthetic.parameters import PRM, QUICKSTART, Medium, Noise, ReceiverArray, Source, Traces

ARRAY = ReceiverArray(lines=4, stations=8, station_spacing=150.0)
PLACES = receivers(ARRAY)
CALM = Noise(swell_level=(0.0, 0.0))
TINY = replace(QUICKSTART, array=ARRAY, num_samples=300, noise_only=0.3, traces=Traces(dead=0.1), noise=CALM)
# P and S both arrive in the window, and every panel holds an event.
BOTH = replace(
    TINY,
    num_samples=400,
    noise=Noise(swell_waves=4),
    phases=("P", "S"),
    classes="phase",
    s=Medium((550.0, 650.0), (0.5, 0.6), (30.0, 80.0)),
    source=Source(depth=(800.0, 1000.0)),
    first_arrival=(0.05, 0.1),
    noise_only=0.0,
    snr=(1.7, 1.7),
)


@pytest.fixture(scope="module")
def generate():
    return jax.jit(microseismic.panel_generator(TINY, PLACES))


@pytest.fixture(scope="module")
def records():
    simulate = jax.jit(lambda i: microseismic.simulate(BOTH, PLACES, jax.random.fold_in(jax.random.key(0), i)))
    return [jax.tree.map(np.asarray, simulate(i)) for i in range(4)]


def label(parameters, record):
    return np.asarray(microseismic.label(parameters, record))


def test_a_panel_is_a_function_of_seed_and_index(generate):
    same = jax.tree.map(np.array_equal, generate(3, 5), generate(3, 5))
    assert all(jax.tree.leaves(same))
    for other in (generate(3, 6), generate(4, 5)):
        assert not np.array_equal(generate(3, 5).amplitude, other.amplitude)


def test_vmap_equals_the_loop(generate):
    together = jax.jit(jax.vmap(microseismic.panel_generator(TINY, PLACES), in_axes=(None, 0)))(0, np.arange(3))
    for i in range(3):
        alone = generate(0, i)
        np.testing.assert_allclose(together.amplitude[i], alone.amplitude, atol=1e-3)
        assert (np.asarray(together.labels[i]) != np.asarray(alone.labels)).mean() < 1e-3
        np.testing.assert_allclose(together.event.snr[i], alone.event.snr, rtol=1e-5)


def test_panels_are_finite_scaled_and_clipped(generate):
    panel = jax.tree.map(np.asarray, generate(0, 1))
    assert panel.amplitude.shape == panel.labels.shape == (32, 300)
    assert panel.amplitude.dtype == np.float32
    assert panel.labels.dtype == np.uint8
    assert np.abs(panel.amplitude).max() <= TINY.clip
    spread = 1.4826 * np.median(np.abs(panel.amplitude), axis=1)
    np.testing.assert_allclose(spread[panel.trace_mask], 1.0, rtol=1e-4)


def test_the_ratio_of_signal_to_noise_is_the_one_asked_for(records):
    for record in records:
        peak = np.median(np.abs(record.signal[0]).max(axis=1))
        rms = np.sqrt(np.median((record.noise**2).mean(axis=1)))
        assert peak / rms == pytest.approx(1.7, rel=0.02)
        assert record.event.snr == pytest.approx(1.7, rel=1e-5)


def test_ratios_are_drawn_log_uniformly_and_some_panels_hold_noise_alone(generate):
    panels = [jax.tree.map(np.asarray, generate(1, i)) for i in range(200)]
    present = np.array([panel.event.present for panel in panels])
    assert (~present).mean() == pytest.approx(TINY.noise_only, abs=0.1)
    drawn = np.log([panel.event.snr for panel in panels if panel.event.present])
    assert drawn.min() >= np.log(0.999)
    assert drawn.max() <= np.log(3.001)
    assert drawn.mean() == pytest.approx(np.log(3) / 2, abs=0.1)
    for panel in panels:
        found = (panel.labels == 1).any()
        assert found == panel.event.present
        assert panel.event.present or panel.event.snr == 0


@pytest.mark.quick_compiler
def test_an_event_that_most_receivers_miss_is_none():
    """Whose median P amplitude is 0, so that no factor brings it to a signal-to-noise ratio."""
    far = receivers(ReceiverArray(lines=2, stations=6, station_spacing=5000.0))
    parameters = replace(TINY, num_samples=150, first_arrival=(0.1, 0.3), noise_only=0.0, traces=Traces(dead=0.0))
    panel = jax.tree.map(np.asarray, jax.jit(microseismic.panel_generator(parameters, far))(0, 0))
    assert np.isfinite(panel.amplitude).all()
    assert not panel.labels.any()
    assert (bool(panel.event.present), float(panel.event.snr)) == (False, 0.0)


def test_labels_cover_the_arrivals_from_their_onset(records):
    time = np.arange(BOTH.num_samples) * BOTH.sampling_interval
    for record in records:
        labels = label(BOTH, record)
        for number, signal in enumerate(record.signal, start=1):
            assert (signal**2 * (labels == number)).sum() > 0.85 * (signal**2).sum() > 0
        for onset, trace in zip(record.onset[0], labels, strict=True):
            first = time[trace == 1]
            assert len(first) == 0 or 0 <= first[0] - onset <= BOTH.sampling_interval + 1e-6
        assert (record.onset[1] > record.onset[0]).all()  # S is slower


def test_phases_and_events_label_the_same_samples(records):
    phases, events = label(BOTH, records[0]), label(replace(BOTH, classes="event"), records[0])
    assert set(np.unique(phases)) == {0, 1, 2}
    assert set(np.unique(events)) == {0, 1}
    np.testing.assert_array_equal(phases > 0, events > 0)


def test_arrivals_far_below_the_noise_have_no_label(records):
    record = records[0]
    strong = np.abs(record.signal).max(axis=-1) > np.sqrt((record.noise**2).mean(axis=-1))
    labels = label(replace(BOTH, label_floor=1.0), record)
    assert strong.any()
    assert not strong.all()
    np.testing.assert_array_equal(labels.any(axis=1), strong.any(axis=0))


def test_dead_traces_are_masked_zero_and_ignored(generate):
    panels = [jax.tree.map(np.asarray, generate(2, i)) for i in range(20)]
    dead = np.array([~panel.trace_mask for panel in panels])
    assert dead.mean() == pytest.approx(TINY.traces.dead, abs=0.05)
    for panel in panels:
        assert np.abs(panel.amplitude[~panel.trace_mask]).sum() == 0
        assert (panel.labels[~panel.trace_mask] == IGNORE).all()
        assert (panel.labels[panel.trace_mask] != IGNORE).all()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"snr": (3.0, 1.0)}, "snr"),
        ({"snr": (0.0, 1.0)}, "snr"),
        ({"source": Source(depth=(np.nan, 2.0))}, "source.depth"),
        ({"noise_only": 1.5}, "noise_only"),
        ({"phases": ("S",)}, "phases"),
        ({"classes": "events"}, "event"),
        ({"p": Medium((1500.0, 1600.0), (0.0, 0.1), (50.0, 60.0))}, "p.gradient"),
        ({"sampling_interval": 0.02}, "source.frequency.*ricker.*Nyquist"),
        ({"sampling_interval": 0.004, "source": Source(frequency=(10.0, 40.0))}, "source.frequency.*brune.*Nyquist"),
        ({"source": Source(wavelets=("ormsby",), frequency=(90.0, 130.0))}, "source.frequency.*ormsby.*Nyquist"),
        ({"source": Source(wavelets=("klauder",))}, "source.wavelets"),
        ({"source": Source(wavelets=())}, "source.wavelets"),
        ({"source": Source(frequency=(0.0, 10.0))}, "source.frequency"),
        ({"first_arrival": (0.1, 1.0)}, "first_arrival.*outside the panel"),
        ({"first_arrival": (-0.1, 0.5)}, "first_arrival.*outside the panel"),
        ({"model": "layers"}, "model=layers"),
        ({"layers": 0}, "layers=0"),
        ({"water_depth": -10.0}, "water_depth"),
    ],
)
def test_bad_parameters_are_named(change, field):
    with pytest.raises(UserError, match=field):
        replace(PRM, **change)


def test_sources_above_receivers_and_negative_speeds_are_refused():
    with pytest.raises(UserError, match="source.depth"):
        microseismic.panel_generator(replace(TINY, source=Source(depth=(100.0, 200.0))), PLACES)
    steep = np.array([[0.0, 0.0, -900.0], [100.0, 0.0, 900.0]])
    with pytest.raises(UserError, match="s.speed"):
        microseismic.panel_generator(replace(TINY, water_depth=0.0), vertical(steep))


def test_receivers_above_the_sea_floor_are_refused_where_there_is_water():
    high = vertical(PLACES.places - [0.0, 0.0, 500.0])
    with pytest.raises(UserError, match=r"water_depth=128: receiver \d+ lies at -37.* above the sea floor"):
        microseismic.panel_generator(TINY, high)
    microseismic.panel_generator(replace(TINY, water_depth=0.0), high)  # on land they are right


def test_quickstart_has_two_to_six_percent_of_positives():
    generate = jax.jit(microseismic.panel_generator(QUICKSTART, receivers(QUICKSTART.array)))
    labels = np.stack([generate(0, i).labels for i in range(30)])
    assert labels.shape[1:] == (128, 512)
    assert 0.02 < (labels == 1).mean() < 0.06
