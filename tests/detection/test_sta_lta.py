"""STA/LTA with coincidence finds what obspy's own does."""

import numpy as np
import pytest

from seisjax.detection.matching import Truth
from seisjax.detection.sta_lta import Grid, StaLta, coincidences, detect, ratios, triggers, tune

obspy = pytest.importorskip("obspy")
INTERVAL = 0.004


@pytest.fixture(scope="module")
def panel() -> np.ndarray:
    """24 traces of 6 s: noise, and two events with a little moveout."""
    rng = np.random.default_rng(3)
    traces = rng.standard_normal((24, 1500))
    time = np.arange(1500) * INTERVAL
    for start in (2.0, 4.4):
        late = time - (start + 0.005 * np.arange(24)[:, None])
        traces += np.where(late > 0, 12 * np.exp(-late / 0.1) * np.sin(2 * np.pi * 20 * late), 0.0)
    return traces


def test_triggers_are_those_of_obspy(panel):
    from obspy.signal.trigger import trigger_onset

    ratio = ratios(panel, INTERVAL, 0.05, 0.5)
    for on, off in ((2.0, 1.0), (4.0, 1.5)):
        found = triggers(ratio, INTERVAL, on, off)
        for receiver in range(24):
            own = found.where(found.receiver == receiver)
            expected = np.array(trigger_onset(ratio[receiver], on, off)).reshape(-1, 2) * INTERVAL
            np.testing.assert_allclose(own.time, expected[:, 0], atol=1e-9)
            np.testing.assert_allclose(own.time + own.duration, expected[:, 1], atol=1e-6)


def test_coincidences_are_those_of_obspy(panel):
    from obspy import Stream, Trace
    from obspy.signal.trigger import coincidence_trigger

    stream = Stream(
        Trace(row.copy(), {"delta": INTERVAL, "network": "XX", "station": f"R{i:03d}"}) for i, row in enumerate(panel)
    )
    options = StaLta(sta=0.05, lta=0.5, on=4.0, off=1.5, min_receivers=12)
    expected = coincidence_trigger("recstalta", 4.0, 1.5, stream, 12, sta=0.05, lta=0.5)
    found = detect(panel, INTERVAL, options)
    assert len(found) == 2
    assert [event.first_arrival for event in found] == pytest.approx([e["time"].timestamp for e in expected], abs=1e-6)
    assert [event.num_receivers for event in found] == [e["coincidence_sum"] for e in expected]
    assert [event.duration for event in found] == pytest.approx([e["duration"] for e in expected], abs=1e-6)


def test_quiet_and_dead_receivers_trigger_nothing(panel):
    assert detect(np.zeros((3, 500)), INTERVAL) == []
    assert coincidences(triggers(np.zeros((3, 500)), INTERVAL, 2.0, 1.0), 1) == []
    dead = panel.copy()
    dead[:12] = np.nan
    assert StaLta(min_receivers=0.5).needed(12) == 6
    assert len(detect(dead, INTERVAL, StaLta(0.05, 0.5, 4.0, 1.5, 0.9))) == 2


def test_tuning_takes_the_best_of_the_grid(panel):
    grid = Grid(sta=(0.05, 0.2), lta=(0.5,), on=(2.0, 4.0), off=(1.5,), min_receivers=(0.05, 0.5))
    quiet = np.random.default_rng(4).standard_normal(panel.shape)
    tuned = tune([panel, quiet], [Truth.of([2.0, 4.4]), Truth.of([])], INTERVAL, grid)
    assert len(tuned.tried) == 8
    assert tuned.event_f1 == max(f1 for _, f1 in tuned.tried) == 1.0
    found = detect(panel, INTERVAL, tuned.options)
    assert [event.first_arrival for event in found] == pytest.approx([2.0, 4.4], abs=0.2)


def test_a_band_keeps_out_what_lies_below_it(panel):
    swell = panel + 20 * np.sin(2 * np.pi * 0.7 * np.arange(1500) * INTERVAL)
    plain, filtered = StaLta(0.05, 0.5, 4.0, 1.5, 0.5), StaLta(0.05, 0.5, 4.0, 1.5, 0.5, band=(8.0, 50.0))
    assert [event.first_arrival for event in detect(swell, INTERVAL, filtered)] == pytest.approx([2.0, 4.4], abs=0.1)
    assert len(detect(swell, INTERVAL, plain)) != 2
    grid = Grid(sta=(0.05,), lta=(0.5,), on=(4.0,), off=(1.5,), min_receivers=(0.5,), band=(None, (8.0, 50.0)))
    assert tune([swell], [Truth.of([2.0, 4.4])], INTERVAL, grid).options == filtered
