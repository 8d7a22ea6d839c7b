"""Prediction of continuous recordings by a run that was trained on panels."""

from pathlib import Path

import numpy as np
import pytest

from seisjax.checkpoint import Checkpoints
from seisjax.commands.predict import plan_prediction, predict
from seisjax.commands.predictor import Prediction
from seisjax.commands.train import train
from seisjax.config import Experiment
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.training import workdir as folder
from seisjax.volumes import StreamingStatistics, Volume, create_volume, open_volume

pytestmark = pytest.mark.quick_compiler

START = "2020-01-02T03:04:05.000000Z"


def make_panels(path: Path) -> Path:
    """24 panels of 8 receivers x 32 samples at 4 ms: a burst whose samples are class 1."""
    rng, shape = np.random.default_rng(0), (24, 8, 32)
    axes = [Axis("example", np.arange(24)), Axis("receiver", np.arange(8)), Axis("time", np.arange(32) * 4, "ms")]
    labels = np.zeros(shape, np.uint8)
    for panel in labels:
        first = rng.integers(4, 24)
        panel[:, first : first + 6] = 1
    amplitude = (rng.normal(size=shape) + 8 * labels * np.cos(np.arange(32))).astype(np.float32)
    statistics = StreamingStatistics()
    statistics.update(amplitude)
    with create_volume(path, axes, kind="panels") as volume:
        volume.add_array("labels_event", np.uint8, attributes={"class_names": ["noise", "event"]})
        for box in volume.shards():
            volume.write("amplitude", box, amplitude[box.slices])
            volume.write("labels_event", box, labels[box.slices])
        volume.write("trace_mask", Box.whole(shape[:2]), np.ones(shape[:2], bool))
        volume.set_statistics(statistics.result())
    return path


def make_recording(path: Path, receivers: int, samples: int, interval: float = 4.0) -> Path:
    """Noise with a burst in its middle, a gap, and a dead receiver."""
    amplitude = np.random.default_rng(1).normal(size=(receivers, samples)).astype(np.float32)
    amplitude[:, samples // 2 : samples // 2 + 6] += 8 * np.cos(np.arange(12, 18))
    amplitude[0, 2:5] = np.nan
    axes = [Axis("receiver", np.arange(receivers)), Axis("time", np.arange(samples) * interval, "ms")]
    names = [f"XX.{i}..HHZ" for i in range(receivers)]
    attributes = {"start_time": START, "receiver_names": names, "sampling_interval": interval}
    with create_volume(path, axes, kind="recording", attributes=attributes) as volume:
        volume.write("amplitude", Box.whole((receivers, samples)), amplitude)
        volume.write("trace_mask", Box.whole((receivers,)), np.arange(receivers) != 1)
        for i, axis in enumerate("xyz"):
            places = np.arange(receivers) * (i + 1.0)
            volume.add_array(f"receiver_{axis}", dimension_names=["receiver"], values=places)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on windows of whole panels."""
    place = tmp_path_factory.mktemp("panels")
    config = Experiment()
    config.data.volume = str(make_panels(place / "panels.zarr"))
    config.data.labels = "event"
    config.data.window = (1, 8, 32)
    config.data.batch_size = 4
    config.data.train, config.data.validation = "example:0-15", "example:16-23"
    config.data.split_gap = 0
    config.model.base_features, config.model.levels, config.model.num_classes = 4, 3, 2
    config.optimizer.warmup_steps, config.optimizer.learning_rate = 2, 1e-2
    config.train.num_steps, config.train.evaluate_every, config.train.checkpoint_every = 80, 80, 80
    config.train.log_every, config.train.figures = 40, False
    config.mesh.data = 1
    train(config, place / "run", "train")
    return place / "run"


def request(source: Path, output: Path, **changes: object) -> Prediction:
    options = {
        "region": "", "checkpoint": "last", "statistics": "training", "blend": "linear", "tta": False, "segy": None,
        "segy_template": None, "resample": False, "overwrite": False, "command": "predict",
    }  # fmt: skip
    return Prediction(input=str(source), output=str(output), **(options | changes))  # pyright: ignore


def probability(volume: Volume) -> np.ndarray:
    info = volume.arrays["pred_probability"]
    return volume.read("pred_probability", Box.whole(info.shape)).astype(np.float32)


@pytest.mark.parametrize(("receivers", "samples"), [(5, 100), (12, 20), (3, 20)])
def test_a_recording_is_predicted_whatever_its_size(run: Path, tmp_path: Path, receivers: int, samples: int):
    source = make_recording(tmp_path / "recording.zarr", receivers, samples)
    predict(run, request(source, tmp_path / "out.zarr"))
    out = open_volume(tmp_path / "out.zarr")
    assert (out.kind, out.shape) == ("recording", (receivers, samples))
    found = probability(out)
    assert found.shape == (2, receivers, samples)
    recorded = np.isfinite(open_volume(source).read_amplitude(Box.whole(out.shape)))
    np.testing.assert_array_equal(np.isfinite(found[0]), recorded)
    assert not recorded[1].any()
    np.testing.assert_allclose(found.sum(axis=0)[recorded], 1, atol=2e-3)
    burst = found[1, 2:, samples // 2 : samples // 2 + 6].mean()
    assert burst > 0.5 > found[1, 2:, : samples // 2 - 4].mean()
    assert out.attributes["start_time"] == START
    assert len(out.attributes["receiver_names"]) == receivers
    np.testing.assert_array_equal(out.read("receiver_z", Box.whole((receivers,))), 3.0 * np.arange(receivers))


def test_a_region_keeps_its_receivers_names_and_the_recordings_clock(run: Path, tmp_path: Path):
    source = make_recording(tmp_path / "recording.zarr", 8, 64)
    predict(run, request(source, tmp_path / "out.zarr", region="receiver:2-4,time:80-160"))
    out = open_volume(tmp_path / "out.zarr")
    assert out.attributes["receiver_names"] == ["XX.2..HHZ", "XX.3..HHZ", "XX.4..HHZ"]
    assert (out.attributes["start_time"], out.axes[1].labels[0]) == (START, 80)  # start_time is that of 0 ms
    np.testing.assert_array_equal(out.read("receiver_x", Box.whole((3,))), [2, 3, 4])


def test_another_sampling_interval_is_refused_or_resampled(run: Path, tmp_path: Path):
    source = make_recording(tmp_path / "fast.zarr", 8, 200, interval=2.0)
    with pytest.raises(UserError, match=r"fast\.zarr: has a sample every 2 ms, the run .* every 4 ms; give --resample"):
        predict(run, request(source, tmp_path / "out.zarr"))
    assert not (tmp_path / "out.zarr").exists()
    resampled = request(source, tmp_path / "out.zarr", resample=True)
    assert "8 x 100 samples" in plan_prediction(run, resampled)
    predict(run, resampled)
    out = open_volume(tmp_path / "out.zarr")
    np.testing.assert_array_equal(out.axes[1].labels, np.arange(100) * 4)
    assert out.attributes["sampling_interval"] == 4.0
    assert np.isfinite(probability(out)[:, 2:]).all()
    with pytest.raises(UserError, match="--segy: .* is resampled"):
        predict(run, request(source, tmp_path / "o.zarr", resample=True, segy=str(tmp_path / "o.segy")))
    same = make_recording(tmp_path / "same.zarr", 8, 40)
    predict(run, request(same, tmp_path / "same_out.zarr", resample=True))  # nothing to do


def test_the_interval_is_in_the_checkpoints_record(run: Path):
    checkpoints = Checkpoints(run / folder.CHECKPOINTS)
    try:
        assert checkpoints.record(checkpoints.steps[-1])["sampling_interval"] == 4.0
    finally:
        checkpoints.close()


def test_other_axes_are_refused(run: Path, tmp_path: Path):
    axes = [Axis("inline", np.arange(8)), Axis("time", np.arange(32) * 4, "ms")]
    with create_volume(tmp_path / "line.zarr", axes) as volume:
        volume.write("amplitude", Box.whole((8, 32)), np.ones((8, 32), np.float32))
        volume.write("trace_mask", Box.whole((8,)), np.ones(8, bool))
    with pytest.raises(UserError, match="has the axes inline, time; the run was trained on example, receiver, time"):
        predict(run, request(tmp_path / "line.zarr", tmp_path / "out.zarr"))
