"""launch/detect.py: from predicted panels to a catalogue and its scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from seisjax.commands.detect import Detection, detect
from seisjax.detection.catalogue import read_events
from seisjax.detection.events import Association
from seisjax.detection.scan import Picking
from seisjax.errors import UserError
from seisjax.geometry import Axis
from seisjax.volumes import create_volume

INTERVAL = 0.004
MEDIUM = """
from seisjax.synthetic.parameters import QUICKSTART

def get_config():
    return QUICKSTART
"""


def write_panels(
    folder: Path, *, located: bool = True, depth: float = 100.0, snr: float = 1.0
) -> tuple[Path, Path, np.ndarray]:
    """Two predicted panels over an event 1600 m below 4 x 8 receivers, and none; and the truth about them."""
    x, y = (values.ravel().astype(float) for values in np.meshgrid(np.arange(4) * 300.0, np.arange(8) * 150.0))
    places = {"x": x, "y": y, "z": np.full(32, depth)}
    distance = np.sqrt((x - 450.0) ** 2 + (y - 500.0) ** 2 + (1600.0 - depth) ** 2)
    onset = 0.1 + distance / 2000.0
    time = np.arange(500) * INTERVAL
    event = np.zeros((2, 32, 500), np.float16)
    event[0] = np.where((time >= onset[:, None]) & (time < onset[:, None] + 0.1), 0.95, 0.02)
    axes = [Axis("example", np.arange(2)), Axis("receiver", np.arange(32)), Axis("time", time * 1e3, "ms")]
    names = ["class", "example", "receiver", "time"]
    with create_volume(folder / "predicted.zarr", axes, dtype=None, kind="panels") as volume:
        volume.add_array("pred_probability", dimension_names=names, values=np.stack([1 - event, event]))
        for name, values in places.items() if located else ():
            volume.add_array(f"receiver_{name}", dimension_names=["receiver"], values=values)
    known = {"panel": [0], "origin_time": [0.1], "x": [450.0], "y": [500.0], "z": [1600.0], "snr": [snr]}
    with create_volume(folder / "truth.zarr", axes, kind="panels") as volume:
        for name, values in (known | {"first_arrival": [onset.min()]}).items():
            volume.add_array(f"event_{name}", dimension_names=["event"], values=np.array(values))
    return folder / "predicted.zarr", folder / "truth.zarr", onset


@pytest.mark.end_to_end
def test_one_command_finds_locates_and_scores(launch, tmp_path):
    predicted, truth, onset = write_panels(tmp_path)
    (tmp_path / "medium.py").write_text(MEDIUM)
    files = [f"--output={tmp_path}/events.csv", f"--picks={tmp_path}/picks.csv"]
    done = launch("detect", f"--predictions={predicted}", *files, f"--medium={tmp_path}/medium.py", f"--truth={truth}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"1 events, located, written to {tmp_path}/events.csv"
    table = read_events(tmp_path / "events.csv")
    assert table["panel"].tolist() == [0]
    assert table["time"][0] == pytest.approx(onset.min(), abs=0.02)
    assert np.hypot(table["x"][0] - 450.0, table["y"][0] - 500.0) < 60.0
    assert len((tmp_path / "picks.csv").read_text().splitlines()) == 33
    scores = json.loads((tmp_path / "events.scores.json").read_text())
    assert (scores["event_f1"], scores["false_alarms_per_hour"]) == (1.0, 0.0)
    assert scores["events"]["hours"] == pytest.approx(2 * 2.0 / 3600)
    again = launch("detect", f"--predictions={predicted}", *files)
    assert again.returncode != 0
    assert (
        again.stderr.strip()
        .splitlines()[-1]
        .endswith(f"{tmp_path}/events.csv: exists; give --overwrite, or another path")
    )


def test_without_a_medium_events_have_a_time_alone(tmp_path):
    predicted, _, onset = write_panels(tmp_path)
    summary = detect(Detection(str(predicted), tmp_path / "events.csv"))
    assert summary.startswith("1 events, not located (give --medium")
    table = read_events(tmp_path / "events.csv")
    assert table["time"][0] == pytest.approx(onset.min(), abs=0.02)
    assert np.isnan(table["x"][0])


def test_the_array_of_the_medium_serves_where_places_are_not_stored(tmp_path):
    predicted, _, _ = write_panels(tmp_path, located=False)
    with pytest.raises(UserError, match="has 128 receivers, not 32"):
        detect(Detection(str(predicted), tmp_path / "events.csv", medium="quickstart"))
    (tmp_path / "array.py").write_text(
        "from dataclasses import replace\nfrom seisjax.synthetic.parameters import QUICKSTART, ReceiverArray\n"
        "def get_config():\n    return replace(QUICKSTART, array=ReceiverArray(lines=4, stations=8))\n"
    )
    assert "located" in detect(Detection(str(predicted), tmp_path / "events.csv", medium=f"{tmp_path}/array.py"))


def test_places_of_some_receivers_alone_are_not_mixed_with_those_of_the_medium(tmp_path):
    predicted, _, _ = write_panels(tmp_path)
    shutil.rmtree(predicted / "receiver_z")
    document = json.loads((predicted / "zarr.json").read_text())
    del document["consolidated_metadata"]["metadata"]["receiver_z"]
    (predicted / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="the places of some receivers are not known"):
        detect(Detection(str(predicted), tmp_path / "events.csv", medium="quickstart"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"picking": Picking(threshold=1.5)}, "--threshold=1.5: is a probability"),
        ({"stretch": 0.0}, "--stretch=0: must be above 0"),
        ({"association": Association(moveout=-1.0)}, "--moveout=-1: must not be negative"),
        ({"medium": "quikstart"}, "did you mean 'quickstart'"),
        ({"truth": "predicted"}, "needs a volume with a table of events"),
        ({"predictions": "truth"}, "holds no probabilities"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, options, message):
    predicted, truth, _ = write_panels(tmp_path)
    named = {"predicted": str(predicted), "truth": str(truth)}
    options = {key: named.get(value, value) if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(UserError, match=message) as error:
        detect(Detection(**{"predictions": str(predicted), "output": tmp_path / "events.csv"} | options))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "events.csv").exists()


def test_no_output_replaces_another(tmp_path):
    predicted, truth, _ = write_panels(tmp_path)
    with pytest.raises(UserError, match="--picks=.*/events.csv: is the catalogue's own path"):
        detect(Detection(str(predicted), tmp_path / "events.csv", picks=tmp_path / "events.csv"))
    detect(Detection(str(predicted), tmp_path / "events.csv", truth=str(truth)))
    scores = (tmp_path / "events.scores.json").read_text()
    with pytest.raises(UserError, match="events.scores.json: exists; give --overwrite"):
        detect(Detection(str(predicted), tmp_path / "events.xml", truth=str(truth), match_tolerance=1e-6))
    assert (tmp_path / "events.scores.json").read_text() == scores
    assert not (tmp_path / "events.xml").exists()


def test_recall_is_told_of_strong_events_too(tmp_path):
    predicted, truth, _ = write_panels(tmp_path, snr=20.0)
    summary = detect(Detection(str(predicted), tmp_path / "events.csv", truth=str(truth)))
    assert "SNR 12.8-25.6: recall 1.000 of 1 events" in summary


def test_sources_must_lie_below_the_receivers(tmp_path):
    predicted, _, _ = write_panels(tmp_path, depth=1550.0)
    with pytest.raises(UserError, match="the deepest receiver lies at 1550 m; look for sources below it"):
        detect(Detection(str(predicted), tmp_path / "events.csv", medium="quickstart"))
