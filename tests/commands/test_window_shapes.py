"""Whole runs of networks whose windows are no plain sections: with neighbours, and with strides of their own."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from seisjax import experiment
from seisjax.commands.evaluate import evaluate
from seisjax.commands.export import export_run
from seisjax.commands.load import load
from seisjax.commands.plan import abstract_batch, plan
from seisjax.commands.predict import predict
from seisjax.commands.predictor import Prediction
from seisjax.commands.train import train
from seisjax.config import Experiment, multiples_of
from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.inference import Cutting, Task, predict_volume
from seisjax.volumes import open_volume
from seisjax.volumes.targets import fit_window

pytestmark = pytest.mark.quick_compiler


def thick(config: Experiment) -> Experiment:
    """Windows of 4 inlines, along which nothing is pooled before the second level, and never further than to 2."""
    config.data.window = (4, 12, 36)
    config.data.train = "crossline:300-319"
    config.augment.flip_axes = ("inline", "crossline")
    config.model.levels = 3
    config.model.strides, config.model.kernels = "1,2,2;2,2,2", "1,3,3;1,3,3"
    config.model.deep_supervision = 2
    return config


def beside(config: Experiment) -> Experiment:
    """Sections of either direction with a neighbour on either side."""
    config.data.window = (1, 8, 36)
    config.data.directions = ("inline", "crossline")
    config.data.neighbours = 1
    config.augment.flip_axes, config.augment.noise = ("inline", "crossline"), 0.0
    config.model.levels = 2
    config.model.vertical_position = True
    return config


def run(config: Experiment, workdir: Path) -> Path:
    config.train.num_steps = config.train.evaluate_every = config.train.checkpoint_every = 3
    config.train.figures = bool(config.data.neighbours)
    config.model.base_features = 2
    train(config, workdir, "train")
    return workdir


@pytest.fixture(scope="module", params=[thick, beside], ids=["thick", "beside"])
def workdir(
    request: pytest.FixtureRequest, new_config: Callable[[], Experiment], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return run(request.param(new_config()), tmp_path_factory.mktemp("shapes") / "run")


def test_a_run_trains_is_evaluated_predicts_and_is_exported(workdir: Path, tmp_path: Path):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert lines
    assert all(np.isfinite(line["loss"]) for line in lines)
    evaluate(workdir, "test", "best")
    scores = json.loads((workdir / "evaluation_test.json").read_text())
    assert 0 <= scores["mean_iou"] <= 1
    assert scores["baselines"]["depth_mode"]["mean_iou"] > 0
    volume = load(workdir, "best").survey.volume
    found = []
    predict(workdir, Prediction(None, str(tmp_path / "run.zarr"), probability_dtype="float32", tta=True))
    export_run(workdir, tmp_path / "file.seisjax", "best", platforms=("cpu",))
    options = {"probability_dtype": "float32", "tta": True}
    predict(tmp_path / "file.seisjax", Prediction(volume.url, str(tmp_path / "file.zarr"), **options))
    for name in ("run", "file"):
        predicted = open_volume(tmp_path / f"{name}.zarr")
        found.append(predicted.read("pred_probability", Box.whole((3, *volume.shape))))
        assert np.isfinite(found[-1]).all()
    np.testing.assert_allclose(*found, rtol=0, atol=1e-5)


def test_what_is_predicted_is_what_the_network_says_of_each_section(config: Experiment, tmp_path: Path):
    config = beside(config)
    config.data.window, config.data.directions = (1, 40, 36), ()  # a window is a whole section
    config.data.train, config.data.validation, config.data.test = "inline:100-105", "", ""
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, 8)
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 70.0))
    state = segmenter.init()

    def forward(images: np.ndarray) -> jax.Array:
        return segmenter.forward(state["params"], state["rest"], images, np.float32(1))

    cutting = Cutting(survey.window, survey.padded, multiples_of(config), neighbours=1)
    options = {"num_classes": 3, "block_bytes": 2**20, "probability_dtype": "float32", "products": ("probability",)}
    task = Task(survey.volume, Box.whole(survey.volume.shape), cutting, 8, **options)
    predicted = predict_volume(task, [forward], str(tmp_path / "out.zarr")).volume
    assert predicted is not None
    amplitude = survey.volume.read("amplitude", Box.whole((12, 40, 36)))
    wide = np.pad(amplitude, ((1, 1), (0, 0), (0, 0)), constant_values=np.nan)
    images = np.stack([wide[k : k + 12] for k in range(3)], axis=-1)[:, None]
    expected = [np.asarray(forward(images[rows]))[:, 0] for rows in (slice(0, 8), slice(4, 12))]
    expected = np.concatenate([expected[0], expected[1][4:]])
    found = predicted.read("pred_probability", Box.whole((3, 12, 40, 36)))
    np.testing.assert_allclose(found, np.moveaxis(expected, -1, 0), rtol=0, atol=1e-6)


def test_neighbours_that_weigh_nothing_change_nothing(config: Experiment):
    """A network whose first kernel is 0 for them says what the plain one does."""
    said, plain = [], {}
    for neighbours in (0, 1):
        config.data.neighbours = neighbours
        survey = experiment.open_survey(config)
        mesh = experiment.make_mesh(config, survey, 8)
        segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 70.0))
        batch = experiment.training_source(config, survey).read(range(8))
        state = segmenter.init()
        if neighbours:
            params = jax.tree.map(lambda x: x, plain)  # a copy of the tree
            first = params["blocks"]["0_down_0"]["conv_0"]
            first["kernel"] = jax.numpy.pad(first["kernel"], ((0, 0), (0, 0), (1, 1), (0, 0)))
            state = state | {"params": params}
        plain = state["params"]
        said.append(segmenter.forward(state["params"], state["rest"], batch["image"], np.float32(1)))
    np.testing.assert_allclose(*said, rtol=0, atol=1e-6)


@pytest.mark.parametrize("space_axis", ["inline", pytest.param("time", marks=pytest.mark.slow)])
def test_devices_that_share_sections_out_train_as_one(config: Experiment, space_axis: str):
    """Sections across crosslines with a neighbour on either side, split along either of their sides: the batch is the
    same, and the first step tells the same of it."""
    config = beside(config)
    config.data.directions, config.data.window = ("crossline",), (12, 1, 36)
    config.augment.flip_axes, config.mesh.space_axis = ("crossline",), space_axis
    config.model.activation, config.model.dropout = "gelu", 0.0
    batches, told = [], []
    for config.mesh.data, config.mesh.space in ((1, 1), (2, 2), (1, 4)):
        survey = experiment.open_survey(config)
        mesh = experiment.make_mesh(config, survey, config.data.batch_size)
        segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 70.0))
        source = experiment.training_source(config, survey)
        with contextlib.closing(experiment.training_stream(config, survey, source, mesh, 0)) as stream:
            batch = next(stream)
        assert len(batch["image"].sharding.device_set) == mesh.size
        batches.append(jax.device_get(batch))
        metrics = segmenter.train_step(segmenter.init(), batch)[1]
        told.append([float(metrics[name]) for name in ("loss", "gradient_norm")])
    assert batches[0]["image"].shape[-1] == 3
    assert np.isfinite(batches[0]["image"]).any(axis=(0, 1, 2, 3)).all()
    for batch, each in zip(batches[1:], told[1:], strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, batches[0])
        assert each == pytest.approx(told[0], rel=1e-4)


def test_the_plan_counts_the_channels(config: Experiment):
    config = beside(config)
    assert abstract_batch(config, experiment.open_survey(config))["image"].shape == (8, 1, 8, 36, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": (4, 8, 36)}, "config.data.neighbours=1: sections have neighbours"),
        ({"synthesis": "device"}, "data.synthesis='host'"),
    ],
)
def test_neighbours_that_there_are_not_are_refused(config: Experiment, change: dict, message: str):
    config = beside(config)
    config.data = dataclasses.replace(config.data, directions=(), **change)
    with pytest.raises(UserError, match=message) as error:
        plan(config)
    assert "\n" not in str(error.value)


def test_a_line_alone_has_no_neighbours(config: Experiment):
    axes, window = ["inline", "crossline", "time"], (1, 8, 36)
    with pytest.raises(UserError, match="has the axes crossline, time; the run was trained on inline"):
        fit_window(axes[1:], axes, window, window, "line.zarr", 1)
    assert fit_window(axes[1:], axes, window, window, "line.zarr") == ((8, 36), (8, 36))
    examples = fit_window(axes, ["example", *axes], (1, *window), (1, *window), "survey.zarr", 1)
    assert examples == (window, window)
