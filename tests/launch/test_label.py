"""launch/label.py as a user runs it: from a horizon in text to labels, and by launch/extract.py back to text."""

import numpy as np
import pytest

from seisjax.geometry import Axis, Box
from seisjax.interpretation.text import read_points
from seisjax.volumes import create_volume, open_volume

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler]

DEPTH = 500 + 5 * (12 + 3 * np.sin(np.indices((6, 20))[1] / 4) + 0.4 * np.indices((6, 20))[0])


@pytest.fixture
def survey(tmp_path):
    """6 x 20 traces in depth."""
    axes = [
        Axis("inline", np.arange(6)),
        Axis("crossline", np.arange(20)),
        Axis("depth", 500 + np.arange(32) * 5.0, "m"),
    ]
    with create_volume(tmp_path / "s.zarr", axes, chunk=(4, 8, 16), shard=(4, 16, 32)) as volume:
        volume.write("amplitude", Box.whole((6, 20, 32)), np.zeros((6, 20, 32), np.float32))
        for name, step in (("cdp_x", [10.0, 0.0]), ("cdp_y", [0.0, 20.0])):
            values = np.tensordot(step, np.indices((6, 20)), 1)
            volume.add_array(name, dimension_names=["inline", "crossline"], values=values)
    return tmp_path / "s.zarr"


@pytest.fixture
def horizon(tmp_path):
    """The horizon as another program wrote it."""
    rows = (
        f"INLINE : {i} XLINE : {j} {10 * i:.2f} {20 * j:.2f} {DEPTH[i, j]:.4f}" for i in range(6) for j in range(20)
    )
    path = tmp_path / "top.dat"
    path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize(("kind", "ask"), [("bands", "--along=top"), ("areas", "--below=below top")])
def test_text_to_labels_to_text(launch, survey, horizon, tmp_path, kind, ask):
    done = launch(
        "label", f"--input={survey}", f"--horizons={horizon}", f"--kind={kind}", f"--output={tmp_path}/l.zarr"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("100.00% of the samples labelled (")
    assert "launch/label.py" in str(open_volume(tmp_path / "l.zarr").arrays["labels_interpretation"].attributes)
    flags = (f"--predictions={tmp_path}/l.zarr", "--labels=interpretation", f"--horizons={tmp_path}/back.dat", ask)
    done = launch("extract", *flags)
    assert done.returncode == 0, done.stderr
    points = read_points(tmp_path / "back.dat", "horizon", "depth")
    assert points.lines.tolist() == [[i, j] for i in range(6) for j in range(20)]
    assert points.xy.tolist() == [[10 * i, 20 * j] for i in range(6) for j in range(20)]
    assert np.abs(points.z - DEPTH.ravel()).max() <= 2.5 + 1e-6


def test_bad_input_is_one_line(launch, survey, horizon, tmp_path):
    (tmp_path / "empty.csv").touch()
    for flags, message in (
        ((f"--horizons={tmp_path}/empty.csv",), "empty.csv: is empty"),
        ((f"--horizons={horizon}", "--unit=km"), "top.dat, line 1: inline 0, crossline 0, z 560"),
        ((f"--horizons={horizon}", "--kind=area"), "--kind"),
    ):
        done = launch("label", f"--input={survey}", *flags)
        assert done.returncode == 1
        assert done.stderr.startswith("label.py: error: ")
        assert len(done.stderr.splitlines()) == 1
        assert message in done.stderr
    assert open_volume(survey).label_names() == []
