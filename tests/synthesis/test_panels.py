"""What panels take from files: recorded noise."""

from dataclasses import replace

import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.synthesis import Panels, load_parameters
from seisjax.synthesis.panels import read_recording
from seisjax.synthetic.parameters import QUICKSTART, Noise, ReceiverArray, Traces
from seisjax.volumes import create_volume


def write_recording(path, shape=(6, 400), step=4.0, unit="ms"):
    axes = [Axis("receiver", np.arange(shape[0])), Axis("time", np.arange(shape[1]) * step, unit)]
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with create_volume(path, axes, chunk=shape, shard=shape) as volume:
        volume.write("amplitude", Box.whole(shape), values)
    return values


def test_noise_comes_from_the_recording(tmp_path):
    recording = write_recording(tmp_path / "noise.zarr")
    noise = Noise(recording=str(tmp_path / "noise.zarr"), coloured_level=(0.0, 0.0), swell_level=(0.0, 0.0))
    parameters = replace(
        QUICKSTART,
        array=ReceiverArray(lines=2, stations=3),
        num_samples=96,
        noise=noise,
        noise_only=1.0,
        traces=Traces(gain=0.0, noise_level=0.0, dead=0.0, bad=0.0, flipped=0.0),
    )
    panel = np.asarray(Panels(parameters, 0).panel(3).amplitude)
    matches = [
        start
        for start in range(400 - 96 + 1)
        if all(np.corrcoef(panel[r], recording[r, start : start + 96])[0, 1] > 0.999 for r in range(6))
    ]
    assert len(matches) == 1
    other = write_recording(tmp_path / "other.zarr", shape=(6, 500))
    assert other.shape != recording.shape
    changed = replace(parameters, noise=replace(noise, recording=str(tmp_path / "other.zarr")))
    assert Panels(changed, 0).fingerprint != Panels(parameters, 0).fingerprint


@pytest.mark.parametrize(("step", "unit"), [(0.004, "s"), (4.0, ""), (4000.0, "us")])
def test_a_recording_counts_time_in_its_own_unit(tmp_path, step, unit):
    values = write_recording(tmp_path / "noise.zarr", step=step, unit=unit)
    np.testing.assert_array_equal(read_recording(str(tmp_path / "noise.zarr"), 0.004), values)


def test_recordings_that_do_not_suit_are_one_line(tmp_path, monkeypatch):
    write_recording(tmp_path / "slow.zarr", step=8.0)
    with pytest.raises(UserError, match=r"noise\.recording=.*slow.zarr: sampled every 0.008 s, the panels every 0.004"):
        read_recording(str(tmp_path / "slow.zarr"), 0.004)
    write_recording(tmp_path / "deep.zarr", unit="m")
    with pytest.raises(UserError, match=r"noise\.recording=.*deep.zarr: axis time: counts in m"):
        read_recording(str(tmp_path / "deep.zarr"), 0.004)
    with pytest.raises(UserError, match="no volume"):
        read_recording(str(tmp_path / "none.zarr"), 0.004)
    monkeypatch.setattr("seisjax.synthesis.panels._MOST_RECORDING", 2**20 - 1)
    write_recording(tmp_path / "long.zarr", shape=(2, 2**17))
    with pytest.raises(UserError, match="1 MiB as float32"):
        read_recording(str(tmp_path / "long.zarr"), 0.004)
    axes = [Axis("example", np.arange(2)), Axis("receiver", np.arange(2)), Axis("time", np.arange(4) * 4.0, "ms")]
    with create_volume(tmp_path / "panels.zarr", axes, kind="panels") as volume:
        volume.write("amplitude", Box((0, 0, 0), (1, 2, 4)), np.zeros((1, 2, 4), np.float32))
    with pytest.raises(UserError, match="axes example, receiver, time"):
        read_recording(str(tmp_path / "panels.zarr"), 0.004)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "own.py: defines no get_config"),
        ("def get_config(): pass", "must return Microseismic, not NoneType"),
        ("def get_config(): return KeyError['get_config']", "TypeError: .*; mend the file"),
        ("def get_config(", "SyntaxError: .*; mend the file"),
    ],
)
def test_files_of_parameters_that_are_wrong_are_one_line(tmp_path, text, message):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_parameters(f"{tmp_path}/own.py")
    assert "\n" not in str(error.value)
