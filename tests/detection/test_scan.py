"""Predicted volumes are searched in pieces, and pieces change nothing."""

import numpy as np
import pytest

from seisjax.detection import scan
from seisjax.detection.events import Association
from seisjax.detection.picks import ANY, P, S, join_picks
from seisjax.detection.scan import Picking, Predictions, Wave, scan_panels, scan_recording, stretch_samples, waves_of
from seisjax.errors import UserError
from seisjax.geometry import Axis
from seisjax.volumes import create_volume, open_volume

SOURCE = np.array([4.3e5 + 800.0, 6.5e6 + 900.0, 1700.0])
NAMES = {"class_names": ["noise", "event"]}


COMPACT = {"scale_factor": 1 / 254, "missing_value": 255}


def write_predictions(url, probability, interval, places=None, first=0.0, attributes=None, compact=False):
    """Probabilities (class, [example,] receiver, sample) as predict.py writes them, `compact`: in bytes."""
    *examples, receivers, samples = probability.shape[1:]
    axes = [Axis("example", np.arange(7, 7 + n)) for n in examples]
    axes += [Axis("receiver", np.arange(receivers)), Axis("time", first + np.arange(samples) * interval * 1e3, "ms")]
    kind = "panels" if examples else "recording"
    with create_volume(url, axes, dtype=None, kind=kind, attributes=attributes or {}) as volume:
        names = ["class", *(axis.name for axis in axes)]
        values = probability.astype(np.float16)
        if compact:
            values = np.where(np.isnan(probability), 255, np.round(254 * probability)).astype(np.uint8)
        attributes = NAMES | (COMPACT if compact else {})
        volume.add_array("pred_probability", dimension_names=names, values=values, attributes=attributes)
        for name, column in zip("xyz", () if places is None else places.T, strict=False):
            volume.add_array(f"receiver_{name}", dimension_names=["receiver"], values=column)
    return open_volume(url)


@pytest.fixture(scope="module")
def recording(make, places, tmp_path_factory):
    """40 s with events every 3 s or so, wherever the seams may be, and a receiver that is dead."""
    picks = [make.event_picks(places, SOURCE, start)[0] for start in (-0.5, 3.1, 6.05, 9.2, 17.9, 21.0, 29.6, 35.0)]
    probability = make.probabilities(join_picks(picks), len(places), 10000)
    probability[:, 5] = np.nan
    path = tmp_path_factory.mktemp("recording") / "predicted.zarr"
    return Predictions(write_predictions(path, probability, make.interval, places)), picks


@pytest.mark.parametrize("stretch", [5.0, 7.3, 12.0, 100.0])
def test_each_event_of_a_recording_comes_once(recording, locator, stretch):
    predictions, picks = recording
    parts = list(scan_recording(predictions, Picking(), Association(), locator, stretch))
    events = [one.event for part in parts for one in part]
    assert (len(parts) > 1) == (stretch < 40.0)
    assert [event.first_arrival for event in events] == pytest.approx([p.time.min() for p in picks], abs=0.01)
    assert {event.num_receivers for event in events} == {119}
    assert {one.panel for part in parts for one in part} == {None}


def test_stretches_are_bounded_by_memory_and_by_the_length_of_events(recording, locator, monkeypatch):
    predictions, _ = recording
    assert stretch_samples(predictions, Association(), None, 8.0) == 2000
    monkeypatch.setattr(scan, "_BYTES", 4 * 120 * 1000)
    assert stretch_samples(predictions, Association(), None, 8.0) == 1000
    assert stretch_samples(predictions, Association(), locator, 8.0) == round(2 * locator.span / predictions.interval)


def test_without_places_too(recording):
    predictions, picks = recording
    for stretch in (3.0, 100.0):
        parts = scan_recording(predictions, Picking(), Association(), None, stretch)
        found = [one.event.first_arrival for part in parts for one in part]
        assert found == pytest.approx([p.time.min() for p in picks], abs=0.05)


def test_probabilities_in_bytes_are_read_as_what_they_stand_for(make, places, locator, tmp_path):
    (picks,) = make.event_picks(places, SOURCE, 0.4)
    probability = make.probabilities(picks, len(places), 500)
    probability[:, 5] = np.nan
    predictions = Predictions(write_predictions(tmp_path / "p.zarr", probability, make.interval, places, compact=True))
    np.testing.assert_allclose(predictions.read(0, 500), probability[1:], atol=0.5 / 254)
    ((found,),) = scan_recording(predictions, Picking(), Association(), locator)
    assert found.event.first_arrival == pytest.approx(picks.time.min(), abs=0.01)
    assert found.event.num_receivers == 119


def test_panels_are_searched_one_by_one(make, places, locator, tmp_path):
    (picks,) = make.event_picks(places, SOURCE, 0.4)
    event = make.probabilities(picks, len(places), 500)
    noise = np.stack([np.ones_like(event[0]), np.zeros_like(event[0])])
    volume = write_predictions(
        tmp_path / "p.zarr", np.stack([noise, event], axis=1), make.interval, places, first=1000.0
    )
    predictions = Predictions(volume)
    np.testing.assert_array_equal(predictions.places, places)
    first, second = scan_panels(predictions, Picking(), Association(), locator)
    assert first == []
    (found,) = second
    assert found.panel == 8
    assert found.event.first_arrival == pytest.approx(1.0 + picks.time.min(), abs=0.01)


def test_classes_are_known_by_their_names():
    assert waves_of(["noise", "P", "S"], 3) == [Wave(1, P, False), Wave(2, S, False)]
    assert waves_of(["noise", "event"], 2) == [Wave(1, ANY, False)]
    assert waves_of(["noise", "onset"], 2) == [Wave(1, ANY, True)]
    assert waves_of([], 2) == [Wave(1, ANY, False)]
    assert waves_of(["noise", "event"], 2, label_scale=100) == [Wave(1, ANY, True)]


def test_volumes_that_hold_no_predicted_records_are_refused(layers):
    with pytest.raises(UserError, match="holds no probabilities"):
        Predictions(open_volume(layers))
