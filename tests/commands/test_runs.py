"""Whole runs in this process: resuming, devices, accumulation, labels, scores."""

import dataclasses
import json
import time
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seisjax import experiment
from seisjax.commands.evaluate import evaluate
from seisjax.commands.load import load
from seisjax.commands.plan import plan
from seisjax.commands.scoring import run_evaluation
from seisjax.commands.train import train
from seisjax.config import Experiment
from seisjax.data import training_batches
from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.reporting import figures
from seisjax.training.state import averaged
from seisjax.volumes import create_volume, open_volume

pytestmark = pytest.mark.quick_compiler


def by_name(params: Any) -> dict[str, np.ndarray]:
    """Parameters by name."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def parameters(workdir: Path, checkpoint: str = "last") -> dict[str, np.ndarray]:
    """The parameters of a run's checkpoint by name."""
    return by_name(load(workdir, checkpoint).state["params"])


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """||a - b|| / ||a|| over all parameters."""
    difference = sum(float(((a[name] - b[name]).astype(np.float64) ** 2).sum()) for name in a)
    return (difference / sum(float((value.astype(np.float64) ** 2).sum()) for value in a.values())) ** 0.5


def lines(workdir: Path) -> list[dict]:
    """The metrics of a run, without what depends on the clock."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


def one_step(config: Experiment, steps: int) -> dict[str, np.ndarray]:
    """Parameters after some steps of the train step alone, on the mesh that the config asks for.

    Also what Adam would hide, the norm of the first gradient, as if it was a parameter.
    """
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 70.0))
    state = segmenter.init()
    batches = training_batches(
        experiment.training_source(config, survey),
        batch_size=config.data.batch_size,
        mesh=mesh,
        space_dim=experiment.space_axis(config, survey) + 1,
        start_step=0,
        num_threads=2,
        prefetch=2,
    )
    norms = []
    for _ in range(steps):
        state, metrics = segmenter.train_step(state, next(batches))
        norms.append(np.asarray(metrics["gradient_norm"]))
    batches.close()
    return by_name(state["params"]) | {"first_gradient": norms[0]}


@pytest.fixture
def config(config: Experiment) -> Experiment:
    """Two levels: most of the time of these tests goes to the compiler, by the level."""
    config.model.levels = 2
    return config


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The places above the rows of figures of windows, by the figure's name."""
    found: dict[str, list[str]] = {}
    for name in ("first_batch", "panels"):
        draw = getattr(figures, name)

        def keeping(path: Path, *arrays: np.ndarray, draw: Any = draw, **options: Any) -> None:
            found[path.stem] = options["places"]
            draw(path, *arrays, **options)

        monkeypatch.setattr(figures, name, keeping)
    return found


def test_a_run_learns_and_leaves_what_the_contract_names(
    config: Experiment, tmp_path: Path, places: dict[str, list[str]]
):
    config.train.figures = True
    ended = train(config, tmp_path / "run", "train")
    assert "trained 12 steps" in ended.summary
    rows = lines(tmp_path / "run")
    logged = [row for row in rows if row["split"] == "train"]
    assert [row["step"] for row in logged] == [2, 4, 6, 8, 10, 12]
    assert logged[-1]["loss"] < 0.8 * logged[0]["loss"]
    assert [row["step"] for row in rows if row["split"] == "validation"] == [6, 12]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert {"command", "versions", "git_commit", "devices", "data_fingerprint"} <= run.keys()
    for name in ("first_batch.png", "augmentation.png", "curves.png", "validation_0000012.png"):
        assert (tmp_path / "run" / "figures" / name).stat().st_size > 10_000
    assert places["validation_0000012"][1] == "inline 101, crossline 322-329, time 0-140 ms"
    assert len(places["first_batch"]) == 4
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_evaluation_has_the_contracts_keys_and_exact_counts(config: Experiment, tmp_path: Path):
    train(config, tmp_path / "run", "train")
    evaluate(tmp_path / "run", "test", "best")
    result = json.loads((tmp_path / "run" / "evaluation_test.json").read_text())
    for name in ("iou", "precision", "recall", "f1"):
        assert len(result[f"{name}_per_class"]) == 3
        assert f"mean_{name}" in result
    assert {"loss", "accuracy", "num_windows"} <= result.keys()
    assert set(result["baselines"]) == {
        "majority_class",
        "depth_mode",
        "nearest_labelled_line",
        "interpolated_horizons",
    }
    # 12 inlines, 8 crosslines (half a window), 36 samples: each labelled sample counts once.
    assert result["num_windows"] == 12
    for scores in (result, *result["baselines"].values()):
        assert np.sum(scores["confusion_matrix"]) == 12 * 8 * 36
        bins = scores["by_distance"]
        assert np.sum([bin["confusion_matrix"] for bin in bins], axis=0).tolist() == scores["confusion_matrix"]
        # The training part ends at crossline 319: 13 to 16 lines, and 17 to 20.
        assert [(bin["above"], bin["to"], bin["samples"]) for bin in bins] == [(8, 16, 1728), (16, 32, 1728)]
    assert (tmp_path / "run" / "figures" / "test_by_distance.png").stat().st_size > 10_000


def test_stopped_and_resumed_equals_unbroken(config: Experiment, tmp_path: Path):
    train(config, tmp_path / "unbroken", "train")
    # 3 is between two log steps: what was summed until then must not be lost.
    for stop in (3, 7, 12):
        config.train.num_steps = stop
        config.optimizer.decay_steps = 12
        train(config, tmp_path / "broken", "train")
    a, b = parameters(tmp_path / "unbroken"), parameters(tmp_path / "broken")
    # The same schedule by another name, so that only the stops differ.
    assert all(np.array_equal(a[name], b[name]) for name in a)
    wanted = [row for row in lines(tmp_path / "unbroken") if row["split"] == "train"]
    got = {row["step"]: row for row in lines(tmp_path / "broken") if row["split"] == "train"}
    assert got[12] == wanted[-1]


def test_a_validation_that_was_owed_is_noted_of_the_checkpoint_that_is_there(
    config: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workdir, config.train.num_steps = tmp_path / "run", 1
    with monkeypatch.context() as patch:
        patch.setattr("seisjax.commands.train.StopNotice.reached", lambda self: "told to")
        assert train(config, workdir, "train").stopped
    before = {file: file.stat().st_mtime_ns for file in (workdir / "checkpoints").rglob("*") if file.is_file()}
    for _ in range(2):  # once is enough
        assert not train(config, workdir, "train").stopped
        assert [(row["split"], row["step"]) for row in lines(workdir)] == [("train", 1), ("validation", 1)]
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())


@pytest.mark.parametrize(
    ("norm", "bound", "meshes"),
    [
        pytest.param("none", 1e-5, [(8, 1)], marks=pytest.mark.slow),
        ("batch", 1e-5, [(8, 1), (2, 4)]),
        ("group", 1e-4, [(8, 1)]),  # at 8 features the finest level of it is an instance norm
        pytest.param("instance", 1e-4, [(8, 1)], marks=pytest.mark.slow),
    ],
)
def test_eight_devices_train_as_one(config: Experiment, norm: str, bound: float, meshes: list[tuple[int, int]]):
    config.model.norm, config.model.dropout, config.optimizer.learning_rate = norm, 0.0, 1e-3
    config.model.activation = "gelu"  # smooth: rounding stays small where a ReLU has its kink
    # Sides that the levels do not divide, and 9 samples of the padded window for each of 4 devices.
    config.data.window, config.mesh.space_axis = (1, 15, 35), "time"
    one = one_step(config, steps=20)
    for config.mesh.data, config.mesh.space in meshes:
        assert distance(one, one_step(config, steps=20)) <= bound


@pytest.mark.slow
def test_accumulation_remat_and_bfloat16_train_alike(config: Experiment):
    config.model.dropout, config.model.activation, config.optimizer.learning_rate = 0.0, "gelu", 1e-3
    config.loss.name = "cross_entropy+dice"
    plain = one_step(config, steps=3)
    config.optimizer.accumulation = 4
    assert distance(plain, one_step(config, steps=3)) <= 1e-5
    config.optimizer.accumulation, config.model.remat = 1, "block"
    assert distance(plain, one_step(config, steps=3)) <= 1e-5
    config.precision.compute = "bfloat16"
    rounded = one_step(config, steps=3)
    assert {value.dtype for value in rounded.values()} == {np.dtype(np.float32)}
    assert 1e-5 < distance(plain, rounded) < 0.02


def test_three_dimensional_windows_train(config: Experiment, tmp_path: Path):
    config.data.window = (8, 16, 32)
    config.data.batch_size = 2
    config.model.vertical_position = True
    config.train.num_steps = 2
    assert "trained 2 steps" in train(config, tmp_path / "run", "train").summary


@pytest.mark.slow
def test_windows_are_padded_as_far_as_asked(config: Experiment, tmp_path: Path):
    config.data.pad_to = (1, 24, 40)
    config.train.num_steps = 2
    survey = experiment.open_survey(config)
    sample = experiment.training_source(config, survey)[0]
    assert sample["image"].shape == (1, 24, 40, 1)
    assert np.isnan(sample["image"][:, 16:]).all()
    assert (sample["labels"][:, :, 36:] == 255).all()
    train(config, tmp_path / "run", "train")
    evaluate(tmp_path / "run", "test", "last")
    result = json.loads((tmp_path / "run" / "evaluation_test.json").read_text())
    assert np.sum(result["confusion_matrix"]) == 12 * 8 * 36
    assert "(8, 1, 24, 40, 1)" in plan(config)


@pytest.fixture
def onsets(config: Experiment, tmp_path: Path) -> Experiment:
    """Soft labels of the horizon between the first two layers: 100 times a Gaussian of 2 samples' deviation."""
    survey = open_volume(config.data.volume)
    facies = survey.read("labels_facies", Box.whole(survey.shape))
    onset = (facies == 0).sum(-1, keepdims=True)
    labels = np.round(100 * np.exp(-((np.arange(36) - onset) ** 2) / 8)).astype(np.uint8)
    with create_volume(tmp_path / "onsets.zarr", survey.axes, dtype=None, chunk=(4, 16, 36)) as volume:
        volume.add_array(
            "labels_onset", values=labels, attributes={"class_names": ["none", "onset"], "label_scale": 100}
        )
    config.data.labels, config.data.labels_volume = "onset", str(tmp_path / "onsets.zarr")
    config.model.num_classes, config.loss.name = 1, "cross_entropy+dice"
    return config


@pytest.mark.slow
def test_soft_labels_train_and_count_as_classes_from_one_half_on(onsets: Experiment, tmp_path: Path):
    onsets.model.deep_supervision, onsets.train.figures = 1, True
    onsets.train.num_steps = 24
    train(onsets, tmp_path / "run", "train")
    logged = [row["loss"] for row in lines(tmp_path / "run") if row["split"] == "train"]
    assert logged[-1] < 0.8 * logged[0]
    evaluate(tmp_path / "run", "test", "last")
    result = json.loads((tmp_path / "run" / "evaluation_test.json").read_text())
    truth = np.sum(result["confusion_matrix"], axis=1)
    assert truth.tolist() == [12 * 8 * 31, 12 * 8 * 5]  # five samples of an onset have a probability of 1/2 or more
    assert load(tmp_path / "run", "last").record["label_scale"] == 100


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.num_classes", 2, "set model.num_classes=1"),
        ("data.sampling", "balanced", "set data.sampling='uniform'"),
        ("loss.class_weighting", "inverse", "set loss.class_weights"),
        ("loss.boundary_weight", 2.0, "set loss.boundary_weight=0"),
        ("data.label_scale", 50, "one is 100; set data.label_scale=100"),
        ("data.label_scale", 0, "hold class 100"),
    ],
)
def test_soft_labels_where_only_classes_will_do(onsets: Experiment, field: str, value: object, message: str):
    section, name = field.split(".")
    setattr(getattr(onsets, section), name, value)
    with pytest.raises(UserError, match=message) as error:
        experiment.open_survey(onsets)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_all_that_helps_with_few_labels_trains_resumes_and_is_used(config: Experiment, tmp_path: Path):
    """Balanced draws over two regions, robust traces, every augmentation, a weighted deep loss, averaging."""
    config.data.sampling, config.data.class_shares = "balanced", (1.0, 2.0, 1.0)
    config.data.train, config.data.train_weights = (
        "inline:100-103,crossline:300-319;inline:108,crossline:300-319",
        (1, 1),
    )
    config.data.normalization, config.data.robust = "trace", True
    config.augment.time_shift, config.augment.time_stretch, config.augment.warp = 2.0, 0.1, 1.0
    config.augment.trace_dropout, config.augment.frequency, config.augment.depth_gain = 0.2, 0.3, 0.3
    config.loss.name, config.loss.class_weighting = "focal+generalized_dice", "inverse_sqrt"
    config.loss.boundary_weight, config.model.deep_supervision = 2.0, 1
    config.optimizer.average = 0.9
    train(config, tmp_path / "unbroken", "train")
    config.optimizer.decay_steps = 12
    for stop in (7, 12):
        config.train.num_steps = stop
        train(config, tmp_path / "broken", "train")
    whole, broken = (load(tmp_path / name, "last") for name in ("unbroken", "broken"))
    for a, b in zip(*(jax.tree.leaves(averaged(run.state)) for run in (whole, broken)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(whole.record["fit"]["class_weights"]) == 3
    assert distance(*(by_name(whole.state[key]) for key in ("params", "average"))) > 1e-4
    evaluate(tmp_path / "unbroken", "test", "last")
    scores = json.loads((tmp_path / "unbroken" / "evaluation_test.json").read_text())
    # What is scored is the average: the network itself, put in its place, scores otherwise.
    itself = dataclasses.replace(whole, state=whole.state | {"average": whole.state["params"]})
    other, _ = run_evaluation(config, itself.survey, itself.segmenter, itself.state, "test", baselines=False)
    assert other["loss"] != scores["loss"]


@pytest.mark.parametrize("sampling", ["uniform", "grid", "balanced", "blocks"])
def test_sections_in_several_directions_train_together(config: Experiment, tmp_path: Path, sampling: str):
    config.data.window, config.data.directions = (1, 8, 8), ("inline", "crossline", "time")
    config.data.sampling, config.augment.noise, config.data.split_gap = sampling, 0.0, 0
    config.train.num_steps = 4
    assert "trained 4 steps" in train(config, tmp_path / "run", "train").summary


def test_labels_of_another_volume_train_alike(config: Experiment, tmp_path: Path):
    survey = open_volume(config.data.volume)
    labels = survey.read("labels_facies", Box.whole(survey.shape))
    with create_volume(tmp_path / "labels.zarr", survey.axes, dtype=None, chunk=(4, 16, 36)) as volume:
        volume.add_array("labels_picked", values=labels, attributes={"class_names": survey.class_names("facies")})
    own = one_step(config, steps=2)
    config.data.labels, config.data.labels_volume = "picked", str(tmp_path / "labels.zarr")
    other = one_step(config, steps=2)
    assert all(np.array_equal(own[name], other[name]) for name in own)


def test_plan_writes_nothing_and_names_the_numbers(config: Experiment):
    text = plan(config)
    assert "(8, 1, 16, 36, 1)" in text
    assert "parameters" in text
    assert "data.window = [1, 16, 36]" in text


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.validation", "crossline:318-325", "overlap"),
        ("data.window", (1, 64, 36), "crossline"),
        ("data.window", (1, 16), "3 axes"),
        ("data.window", (1, 1, 36), "longer than 1"),
        ("data.batch_size", 6, "mesh.data=4"),
        ("data.labels", "faces", "did you mean 'facies'"),
        ("data.volume", "nowhere.zarr", "nowhere.zarr"),
        ("model.num_classes", 2, "class 2"),
        ("model.norm", "grup", "did you mean 'group'"),
        ("augment.flip_axes", ("xline",), "xline"),
        ("mesh.space_axis", "depth", "depth"),
        ("optimizer.accumulation", 3, "accumulation"),
        ("loss.class_weights", (1.0,), "class_weights"),
        ("data.train_weights", (1.0, 2.0), "train_weights"),
        ("data.directions", ("inline", "xline"), "xline"),
        ("data.labels_volume", "nowhere.zarr", "nowhere.zarr"),
        ("train.num_steps", 0, "train.num_steps"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(
    config: Experiment, tmp_path: Path, field: str, value: object, message: str
):
    section, name = field.split(".")
    setattr(getattr(config, section), name, value)
    config.mesh.data = 4
    with pytest.raises(UserError, match=message) as error:
        train(config, tmp_path / "run", "train")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_survey_without_labels_is_told_where_to_get_some(config: Experiment, tmp_path: Path):
    survey = open_volume(config.data.volume)
    with create_volume(tmp_path / "bare.zarr", survey.axes) as volume:
        volume.write("amplitude", Box.whole(survey.shape), np.ones(survey.shape, np.float32))
    config.data.volume = str(tmp_path / "bare.zarr")
    with pytest.raises(UserError, match=r"bare.zarr: has no labels at all; .*ingest.py --labels.* data.labels_volume$"):
        experiment.open_survey(config)


def test_a_workdir_of_another_config_is_refused_by_name(config: Experiment, tmp_path: Path):
    config.train.num_steps, config.optimizer.decay_steps = 2, 12  # the step of the other runs, compiled already
    train(config, tmp_path / "run", "train")
    before = (tmp_path / "run" / "config.json").read_bytes()
    config.seed, config.data.window = 1, (1, 8, 36)
    with pytest.raises(UserError, match=r"seed \(was 0, now 1\), data.window") as error:
        train(config, tmp_path / "run", "train")
    assert "\n" not in str(error.value)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(config: Experiment, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds files but no run"):
        train(config, tmp_path, "train")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_other_checkpoints_is_left_alone(config: Experiment, tmp_path: Path):
    (tmp_path / "checkpoints" / "epoch").mkdir(parents=True)
    (tmp_path / "checkpoints" / "epoch" / "model.pt").write_text("weights")
    with pytest.raises(UserError, match="holds files but no run"):
        train(config, tmp_path, "train")


def test_what_the_network_refuses_leaves_no_folder(config: Experiment, tmp_path: Path):
    config.mesh.space, config.augment.warp = 2, 1.0
    with pytest.raises(UserError, match="augment.warp"):
        train(config, tmp_path / "run", "train")
    assert not (tmp_path / "run").exists()


def test_a_start_that_was_ended_can_be_made_again(config: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    config.train.num_steps = 1
    with monkeypatch.context() as patch:
        patch.setattr("seisjax.training.workdir.write_run_record", end)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", "train")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoints"]
    assert "trained 1 steps" in train(config, tmp_path / "run", "train").summary


def test_a_trace_ends_with_the_launch(
    config: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    config.train.num_steps, config.train.profile_steps = 1, 5
    train(config, tmp_path / "run", "train")
    assert "train.profile_steps: nothing will be traced" in caplog.text
    monkeypatch.setattr("seisjax.commands.train._PROFILE_FROM", 1)
    config.train.num_steps = 3
    train(config, tmp_path / "run", "train")
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


def test_the_time_allowed_begins_with_the_launch(config: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    later = types.SimpleNamespace(monotonic=lambda: time.monotonic() + 3600)  # the data took an hour to open
    monkeypatch.setattr("seisjax.stopping.time", later)
    config.train.max_minutes = 30.0
    assert train(config, tmp_path / "run", "train").summary.startswith("stopped at step 1 (train.max_minutes is over")


def test_a_loss_that_explodes_names_the_step(config: Experiment, tmp_path: Path):
    config.optimizer.learning_rate, config.optimizer.clip_norm, config.model.norm = 1e30, 0.0, "none"
    with pytest.raises(UserError, match=r"not finite at step \d"):
        train(config, tmp_path / "run", "train")
