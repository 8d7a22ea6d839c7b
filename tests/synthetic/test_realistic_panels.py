"""Whole panels with every kind of noise, spoiled traces, onset labels and recorded noise."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.synthetic import microseismic
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.parameters import QUICKSTART, REALISTIC_NOISE, Noise, ReceiverArray, Traces

pytestmark = pytest.mark.quick_compiler

ARRAY = receivers(ReceiverArray(lines=4, stations=10, station_spacing=150.0))
LOUD = replace(REALISTIC_NOISE, interference_level=(30.0, 30.0), interference_share=1.0)
REAL = replace(
    QUICKSTART,
    num_samples=400,
    noise=LOUD,
    traces=Traces(dead=0.1, bad=0.1, flipped=0.1),
    classes="onset",
    noise_only=0.5,
)


@pytest.fixture(scope="module")
def both():
    """Panels and the records that they are made of."""
    generate = microseismic.panel_generator(REAL, ARRAY)
    key = jax.random.key(0)
    draw = jax.jit(lambda i: (generate(0, i), microseismic.simulate(REAL, ARRAY, jax.random.fold_in(key, i))))
    return [jax.tree.map(np.asarray, draw(i)) for i in range(12)]


@pytest.fixture(scope="module")
def panels(both):
    return [panel for panel, _ in both]


def test_interference_is_not_labelled_and_dead_traces_are_ignored(panels):
    present = [bool(panel.event.present) for panel in panels]
    assert {True, False} == set(present)
    assert len({float(panel.amplitude.sum()) for panel in panels}) == len(panels)
    for panel in panels:
        assert np.isfinite(panel.amplitude).all()
        live = panel.labels[panel.trace_mask]
        assert (panel.labels[~panel.trace_mask] == IGNORE).all()
        assert live.max() <= 100
        assert live.any() == panel.event.present


def test_onset_labels_peak_at_the_first_arrival(panels):
    for panel in (panel for panel in panels if panel.event.present):
        peaks = panel.labels[panel.trace_mask].argmax(axis=1)[(panel.labels[panel.trace_mask] > 90).any(axis=1)]
        assert peaks.min() * REAL.sampling_interval == pytest.approx(panel.event.first_arrival, abs=0.05)


def test_the_ratio_of_signal_to_noise_holds_under_all_noise_before_traces_go_bad(both):
    for record in (record for _, record in both if record.event.present):
        peak = np.median(np.abs(record.signal[0]).max(axis=1))
        rms = np.sort(np.sqrt((record.noise**2).mean(axis=1)))
        bad = (rms > 5 * np.median(rms)).sum()
        # Bad traces were counted by the noise that they had before, anywhere among the others.
        low, high = rms[len(rms) // 2 - 1 - bad], rms[len(rms) // 2]
        assert low <= peak / record.event.snr * 1.001
        assert peak / record.event.snr <= high * 1.001


def test_noise_comes_from_the_recording_and_receivers_it_lacks_are_dead():
    own = Noise(coloured_level=(0.0, 0.0), swell_level=(0.0, 0.0), recording="own.zarr")
    parameters = replace(REAL, noise=own, traces=Traces(gain=0.0, noise_level=0.0, dead=0.0), noise_only=1.0)
    recording = np.random.default_rng(0).normal(size=(40, 600)).astype(np.float32)
    recording[7] = np.nan
    panel = jax.jit(microseismic.panel_generator(parameters, ARRAY, recording))(0, 0)
    assert list(np.flatnonzero(~np.asarray(panel.trace_mask))) == [7]
    trace = np.asarray(panel.amplitude[3])
    fits = [np.corrcoef(trace, recording[3, start : start + 400])[0, 1] for start in range(201)]
    assert max(fits) > 0.9999
    with pytest.raises(UserError, match="39 receivers"):
        microseismic.panel_generator(parameters, ARRAY, recording[:39])
