"""Runs on several surveys: what their plan, record and scores say, and what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from seisjax import experiment
from seisjax.commands.benchmark import loader
from seisjax.commands.evaluate import evaluate
from seisjax.commands.export import export_run
from seisjax.commands.plan import plan
from seisjax.commands.train import train
from seisjax.config import Experiment, validate
from seisjax.conventions import AMPLITUDE
from seisjax.data import MixedSource
from seisjax.errors import UserError
from seisjax.files import read_json
from seisjax.geometry import Axis, Box
from seisjax.inference import load_artifact
from seisjax.volumes import StreamingStatistics, create_volume, open_volume

pytestmark = pytest.mark.quick_compiler

GENERATOR = """
from dataclasses import replace
from seisjax.synthetic.fault_parameters import FAULTS_64, Faults, Layers

def get_config(interval="0.002"):
    faults, layers = Faults(count=(2, 3), slip=(3.0, 8.0)), Layers(horizons=2)
    return replace(FAULTS_64, shape=(8, 20, 80), sampling_interval=float(interval), faults=faults, layers=layers)
"""


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of 8 x 20 traces of 80 samples with three facies, all made as they are read."""
    path = tmp_path_factory.mktemp("generator") / "tiny.py"
    path.write_text(GENERATOR)
    return f"synthetic:{path}?seed=3"


@pytest.fixture(scope="session")
def louder(layers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The survey `layers` in other units, with more inlines ahead, and labels of another name."""
    volume = open_volume(layers)
    path, whole = tmp_path_factory.mktemp("louder") / "louder.zarr", Box.whole(volume.shape)
    axes = [Axis("inline", np.arange(12)), *volume.axes[1:]]
    amplitude = 500 + 40 * volume.read_amplitude(whole)
    statistics = StreamingStatistics()
    statistics.update(amplitude)
    with create_volume(path, axes, chunk=(4, 16, 36), shard=(12, 32, 36)) as other:
        other.write(AMPLITUDE, whole, amplitude)
        other.set_statistics(statistics.result())
        other.add_array("labels_rock", np.uint8, attributes={"class_names": ["upper", "middle", "lower"]})
        other.write("labels_rock", whole, volume.read_labels("facies", whole))
    return path


@pytest.fixture
def mixed(config: Experiment, louder: Path) -> Experiment:
    """Two surveys, 70 to 30."""
    config.data.mixture_volumes, config.data.mixture_labels = (str(louder),), ("rock",)
    config.data.mixture_weights, config.data.mixture_train = (0.7, 0.3), ("crossline:300-330",)
    config.augment.flip_axes, config.augment.noise = (), 0.0
    return config


def test_each_survey_is_normalised_by_its_own_statistics(mixed: Experiment):
    mixed.data.mixture_train = (mixed.data.train,)
    survey = experiment.open_survey(mixed)
    fit = experiment.fit(mixed, survey)
    ((center, scale),) = fit.others
    np.testing.assert_allclose((center, scale), (500 + 40 * fit.mean, 40 * fit.std), rtol=1e-4)
    source = experiment.fitted_source(mixed, experiment.training_source(mixed, survey), fit)
    assert isinstance(source, MixedSource)
    batch = source.read(range(200))
    other = np.zeros(200, bool)
    other[[row for row, _ in source.by_survey(range(200))[1]]] = True
    assert other.sum() == 60
    for images in (batch["image"][other], batch["image"][~other]):
        normalised = (images - fit.mean) / fit.std
        assert abs(np.nanmean(normalised)) < 0.1
        assert abs(np.nanstd(normalised) - 1) < 0.1


@pytest.mark.parametrize("robust", [False, True])
def test_windows_and_traces_by_themselves_need_no_units(mixed: Experiment, robust: bool):
    mixed.data.normalization, mixed.data.robust = "trace", robust
    survey = experiment.open_survey(mixed)
    fit = experiment.fit(mixed, survey)
    source = experiment.fitted_source(mixed, experiment.training_source(mixed, survey), fit)
    assert np.nanmax(np.abs(source.read(range(20))["image"])) < 1000


def test_class_weights_are_those_of_what_is_drawn(mixed: Experiment):
    mixed.loss.class_weighting = "inverse"
    survey = experiment.open_survey(mixed)
    shares = []
    for volume, name, box in (
        (survey.volume, "facies", survey.regions["train"][0]),
        (survey.others[0].volume, "rock", survey.others[0].regions[0]),
    ):
        counts = np.bincount(volume.read_labels(name, box).ravel(), minlength=3)
        shares.append(counts / counts.sum())
    rarity = 1 / (0.7 * shares[0] + 0.3 * shares[1])
    np.testing.assert_allclose(experiment.fit(mixed, survey).class_weights, rarity / rarity.mean())


def test_balanced_draws_mix_with_what_is_only_made(mixed: Experiment, generator: str):
    mixed.data.sampling, mixed.data.class_shares = "balanced", (0.0, 1.0, 1.0)
    mixed.data.mixture_volumes += (generator + "&examples=1",)
    mixed.data.mixture_labels, mixed.data.mixture_weights = ("rock", "facies"), ()
    mixed.data.mixture_train = ("crossline:300-330", "inline:0-5")
    survey = experiment.open_survey(mixed)
    made = survey.others[1].volume
    assert made.shape == (8, 20, 40)  # 80 samples of 2 ms
    source = experiment.training_source(mixed, survey)
    assert isinstance(source, MixedSource)
    batch = source.read(range(24))
    rows = {who: [row for row, _ in rows] for who, rows in source.by_survey(range(24)).items()}
    assert rows == {who: list(range(who, 24, 3)) for who in range(3)}
    for row in range(24):
        assert np.isfinite(batch["image"][row]).any()
        assert (batch["labels"][row] < 3).any()
        if row not in rows[2]:
            assert (np.isin(batch["labels"][row], (1, 2))).any()


def test_the_plan_tells_of_all_surveys(mixed: Experiment, generator: str):
    mixed.data.mixture_volumes += (generator + "&examples=5",)
    mixed.data.mixture_labels, mixed.data.mixture_weights = ("rock", "facies"), (2.0, 1.0, 1.0)
    mixed.data.mixture_train = ("crossline:300-330", "")
    mixed.model.levels = 2
    text = plan(mixed)
    assert text.count("and of 25 % of the windows") == 2
    assert "trained on: inline:0-11,crossline:300-330,time:0-140, labels 'rock'" in text
    assert "resampled from 2 to 4 ms" in text
    # Half of a batch's 8 windows of 16 x 36 samples are of the 20 crosslines of 12 inlines.
    assert f"one pass    {12 * 20 * 36 / (4 * 16 * 36):.1f} steps" in text
    assert "panels being made" in text


@pytest.mark.slow
def test_the_stages_of_each_survey_are_measured(mixed: Experiment, generator: str):
    mixed.data.mixture_volumes += (generator + "&examples=1",)
    mixed.data.mixture_labels, mixed.data.mixture_weights = ("rock", "facies"), (2.0, 1.0, 1.0)
    mixed.data.mixture_train = ("crossline:300-330", "inline:0-5")
    mixed.model.levels, mixed.data.cache_mebibytes = 2, 0  # all is fetched again
    report = loader.measure(mixed, turns=1, seconds=0.02)
    assert list(report["seconds"]) == list(loader.MEANING)
    assert not report["made"]
    surveys = report["surveys"]
    assert [one["share"] for one in surveys] == [0.5, 0.25, 0.25]
    stages = ["fetch", "fetch + decode", "read"]
    assert [list(one["seconds"]) for one in surveys] == [stages, stages, stages[1:]]  # the last one is made, not stored
    assert [one["made"] for one in surveys] == [False, False, True]
    assert [one["fetched_a_batch"] > 0 for one in surveys] == [True, True, False]
    # What is read of all is what is read of each: float32 and uint8 of 8 windows of 16 x 36, where they are not padded.
    assert 0 < report["used_a_batch"] <= 5 * 8 * 16 * 36
    assert all(0 < one["used_a_batch"] <= 5 * 8 * 16 * 36 * one["share"] for one in surveys)
    lines = loader.table(report).splitlines()
    assert [line.rpartition(" ")[2] for line in lines if "% of them" in line] == [one["volume"] for one in surveys]
    assert json.loads(json.dumps(report)) == report


def test_the_survey_that_holds_up_the_others_is_named(mixed: Experiment):
    def survey(volume: str, made: bool, **medians: float):
        return {"volume": volume, "made": made, "seconds": {name: {"median": x} for name, x in medians.items()}}

    stored = survey("far.zarr", False, fetch=3.0, **{"fetch + decode": 4.0})
    made = survey("synthetic:mine.py", True, **{"fetch + decode": 5.0})
    report = {
        "seconds": {name: {"median": 1.0} for name in ("stream", "step", "fetch + decode")},
        "waiting_share": 0.5,
        "made": False,
        "surveys": [stored, made],
        "fetched_a_batch": 1.0,
        "used_a_batch": 1.0,
        "parts": {"reading": 3.0, "decoding": 2.0, "host work": 0.1, "transfer": 0.1, "step": 1.0},
    }
    assert loader._verdict(mixed, report)[0] == "reading of far.zarr"
    report["parts"]["decoding"] = 5.0
    bottleneck, change = loader._verdict(mixed, report)
    assert bottleneck == "making panels of synthetic:mine.py"
    assert change == "panels stored by launch/synthesize.py"  # they cannot be made on the device
    report["parts"]["host work"] = 6.0
    assert loader._verdict(mixed, report)[0] == "host work"


def set_fields(config: Experiment, **fields: object) -> Experiment:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"mixture_weights": (1.0,)},
            r"data\.mixture_weights=\(1\.0,\): give 2 numbers .* one for config\.data\.volume",
        ),
        ({"mixture_weights": (1.0, -1.0)}, r"give 2 numbers of at least 0, not all 0"),
        ({"mixture_weights": (0.0, 0.0)}, r"give 2 numbers of at least 0, not all 0"),
        ({"mixture_volumes": ()}, r"data\.mixture_train=.* give one for each of the 0"),
        (
            {"mixture_train": ("", "")},
            r"data\.mixture_train=.* give one for each of the 1 config\.data\.mixture_volumes",
        ),
        ({"mixture_labels": ("a", "b")}, r"data\.mixture_labels=.* give one for each of the 1"),
        ({"mixture_labels_volumes": ("a", "b")}, r"data\.mixture_labels_volumes=.* give one for each of the 1"),
        ({"synthesis": "device"}, r"data\.synthesis='device': .* cannot be mixed .* set it to 'host'"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(mixed: Experiment, fields: dict[str, object], message: str):
    validate(mixed)
    with pytest.raises(UserError, match=message):
        validate(set_fields(mixed, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixture_volumes": ("/nowhere.zarr",)}, r"data\.mixture_volumes\[0\]: /nowhere\.zarr: no volume here"),
        ({"mixture_labels": ("rocks",)}, r"has no labels 'rocks' .did you mean 'rock'.*; set data\.mixture_labels"),
        ({"mixture_train": ("crossline:1-9",)}, r"data\.mixture_volumes\[0\]=.*louder\.zarr: .*no crossline between 1"),
        ({"window": (1, 16, 36), "mixture_labels_volumes": ("/nowhere.zarr",)}, r"mixture_volumes\[0\]=.*: /nowhere"),
    ],
)
def test_surveys_that_do_not_fit_are_refused(mixed: Experiment, fields: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        experiment.open_survey(set_fields(mixed, **fields))


def test_classes_that_the_network_does_not_know_are_refused(mixed: Experiment, louder: Path, tmp_path: Path):
    shutil.copytree(louder, tmp_path / "more.zarr")
    with open_volume(tmp_path / "more.zarr") as volume:
        labels = volume.read_labels("rock", Box.whole(volume.shape)) + 1
        volume.add_array("labels_more", np.uint8)
        volume.write("labels_more", Box.whole(volume.shape), labels)
    changed = set_fields(mixed, mixture_volumes=(str(tmp_path / "more.zarr"),), mixture_labels=("more",))
    with pytest.raises(
        UserError, match=r"mixture_volumes\[0\]: .*more.zarr: labels 'more' hold class 3.*num_classes=4"
    ):
        experiment.open_survey(changed)


def test_weights_by_class_need_labels_that_can_be_counted(mixed: Experiment, generator: str):
    mixed.loss.class_weighting = "inverse"
    changed = set_fields(
        mixed, mixture_volumes=(generator,), mixture_labels=("facies",), mixture_train=("example:0-9",)
    )
    with pytest.raises(
        UserError, match=r"mixture_volumes\[0\]=synthetic:.*: loss\.class_weighting='inverse': needs the"
    ):
        experiment.open_survey(changed)


def test_a_run_keeps_to_the_surveys_it_began_with(
    mixed: Experiment, louder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = tmp_path / "copy.zarr"
    shutil.copytree(louder, copy)
    mixed.data.mixture_volumes = (str(copy),)
    mixed.model.levels, mixed.data.validation, mixed.train.num_steps = 2, "", 2
    train(mixed, tmp_path / "run", "train")
    export_run(tmp_path / "run", tmp_path / "m.seisjax", "last", platforms=["cpu"])
    (known,) = read_json(tmp_path / "run" / "run.json")["mixture_fingerprints"]
    assert load_artifact(tmp_path / "m.seisjax").metadata["training"]["mixture_fingerprints"] == [known]
    card = (tmp_path / "m.seisjax.md").read_text()
    assert f"- Mixed with `copy.zarr`, labels `rock`, fingerprint `{known}`." in card
    mixed.train.num_steps = 3
    with pytest.raises(UserError, match=r"another data\.mixture_weights \(was \[0\.7, 0\.3\], now \[0\.5, 0\.5\]\)"):
        train(set_fields(mixed, mixture_weights=(0.5, 0.5)), tmp_path / "run", "train")
    with open_volume(copy) as volume:
        other = open_volume(mixed.data.volume).statistics
        assert other is not None
        volume.set_statistics(other)
    with pytest.raises(UserError, match=r"data\.mixture_volumes\[0\]=.*copy\.zarr: has changed since the run began"):
        train(mixed, tmp_path / "run", "train")
    shutil.rmtree(copy)  # what was only trained on is not needed to judge
    assert "test: 12 windows, checkpoint 2" in evaluate(tmp_path / "run", "test", "last")
