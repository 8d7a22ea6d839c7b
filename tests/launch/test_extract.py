"""launch/extract.py as a user runs it, on what launch/predict.py wrote."""

import csv

import numpy as np
import pytest

from seisjax.geometry import Axis, Box
from seisjax.volumes import create_volume, open_volume

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler]


@pytest.fixture
def predicted(tmp_path):
    """Two layers on 6 x 20 traces, and a body in the lower one."""
    classes = np.zeros((6, 20, 32), np.uint8)
    classes[:, :, 12:] = 1
    classes[2:4, 5:9, 20:25] = 2
    axes = [Axis("inline", np.arange(6)), Axis("crossline", np.arange(20)), Axis("depth", np.arange(32) * 5.0, "m")]
    with create_volume(tmp_path / "p.zarr", axes, dtype=None, chunk=(4, 8, 16), shard=(4, 16, 32)) as volume:
        volume.add_array("pred_class", fill=255, values=classes, attributes={"class_names": ["upper", "lower", "body"]})
        for name, step in (("cdp_x", [10.0, 0.0]), ("cdp_y", [0.0, 20.0])):
            values = np.tensordot(step, np.indices((6, 20)), 1)
            volume.add_array(name, dimension_names=["inline", "crossline"], values=values)
    return tmp_path / "p.zarr"


def test_objects_and_a_horizon_of_one_command(launch, predicted, tmp_path):
    done = launch(
        *("extract", f"--predictions={predicted}", "--class=body", f"--objects={tmp_path}/o.zarr"),
        *(f"--table={tmp_path}/o.csv", f"--horizons={tmp_path}/h.csv", "--between=upper,lower"),
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("1 object of body, the largest of 40 samples")
    assert second.startswith("120 of 120 traces picked, 0 of them ambiguous")
    volume = open_volume(tmp_path / "o.zarr")
    assert volume.read("object_id", Box((2, 5, 20), (2, 4, 5))).tolist() == np.ones((2, 4, 5)).tolist()
    assert "launch/extract.py" in volume.attributes["objects"]["command"]
    with (tmp_path / "o.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["volume_m3"]) == 40 * 10 * 20 * 5
    with (tmp_path / "h.csv").open() as file:
        assert {row["depth_m"] for row in csv.DictReader(file)} == {"57.5"}


def test_bad_input_is_one_line(launch, predicted, tmp_path):
    for flags, message in (
        ((f"--objects={tmp_path}/o.zarr", "--class=bodi"), "did you mean 'body'?"),
        ((f"--objects={tmp_path}/o.zarr", "--class=body", "--threshold=0.5"), "holds no probabilities; leave it out"),
    ):
        done = launch("extract", f"--predictions={predicted}", *flags)
        assert done.returncode == 1
        assert done.stderr.startswith("extract.py: error: ")
        assert len(done.stderr.splitlines()) == 1
        assert message in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.zarr"]
