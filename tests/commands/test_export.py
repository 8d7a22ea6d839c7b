"""A run in one file: what it predicts, what it says of itself, and what it refuses."""

import itertools
import json
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml

from seisjax.commands.evaluate import evaluate
from seisjax.commands.export import export_run
from seisjax.commands.load import load
from seisjax.errors import UserError
from seisjax.files import read_json, write_json
from seisjax.geometry import Axis, Box
from seisjax.inference import Artifact, Cutting, Task, load_artifact, predict_volume
from seisjax.inference.card import model_card
from seisjax.volumes import create_volume, open_volume

AXES = ("inline", "crossline", "time")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def file(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "layers.seisjax"
    summary = export_run(trained, path, "best", licence="CC-BY-4.0")
    assert "for cpu, cuda, tpu; differs from the run by at most" in summary
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> Artifact:
    return load_artifact(file)


@pytest.fixture(scope="module")
def amplitude(layers: Path) -> np.ndarray:
    volume = open_volume(str(layers))
    return volume.read("amplitude", Box.whole(volume.shape))


@pytest.fixture(scope="module")
def predicted(trained: Path, amplitude: np.ndarray) -> np.ndarray:
    """The probabilities that the run itself gives its volume."""
    run = load(trained, "best")
    config = run.config
    task = Task(
        volume=run.survey.volume,
        box=Box.whole(amplitude.shape),
        cutting=Cutting(run.survey.window, run.survey.padded, 2 ** (config.model.levels - 1), config.predict.overlap),
        batch_size=8,
        num_classes=3,
        block_bytes=2**30,
        probability_dtype="float32",
    )
    volume = predict_volume(task, run.forwards(), f"memory://exported-{next(_numbers)}").volume
    assert volume is not None
    return volume.read("pred_probability", Box.whole((3, *amplitude.shape)))


def test_an_array_gets_the_probabilities_that_the_run_gives(
    model: Artifact, amplitude: np.ndarray, predicted: np.ndarray
):
    p = model.predict(amplitude, sampling_interval=4.0, axes=AXES)
    assert p.shape == (3, *amplitude.shape)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, predicted, rtol=0, atol=1e-6)


def test_any_batch_and_any_size(model: Artifact, amplitude: np.ndarray):
    part = amplitude[:3, :21]
    p, q = (model.predict(part, sampling_interval=4, axes=list(AXES), batch_size=size) for size in (3, 8))
    np.testing.assert_allclose(p, q, rtol=0, atol=1e-6)
    assert np.isfinite(model.predict(amplitude[:1, :5, :7], sampling_interval=4, axes=AXES)).all()


def test_a_single_section_may_lack_the_axis_of_sections(model: Artifact, amplitude: np.ndarray, predicted: np.ndarray):
    p = model.predict(amplitude[4], sampling_interval=4, axes=AXES[1:])
    np.testing.assert_allclose(p, predicted[:, 4], rtol=0, atol=1e-6)


def test_what_is_no_number_gets_none(model: Artifact, amplitude: np.ndarray):
    holes = amplitude.copy()
    holes[0], holes[5, 7, 9] = np.nan, np.inf
    p = model.predict(holes, sampling_interval=4, axes=AXES)
    np.testing.assert_array_equal(np.isnan(p), np.broadcast_to(~np.isfinite(holes), p.shape))


def test_a_volume_gets_them_too(model: Artifact, layers: Path, predicted: np.ndarray, tmp_path: Path):
    volume = model.predict_volume(
        str(layers), str(tmp_path / "p.zarr"), region="inline:100-103", probability_dtype="float32"
    )
    assert volume.shape == (4, 40, 36)
    found = volume.read("pred_probability", Box.whole((3, *volume.shape)))
    np.testing.assert_allclose(found, predicted[:, :4], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(volume.read("pred_class", Box.whole(volume.shape)), found.argmax(0))
    assert volume.arrays["pred_class"].attributes["class_names"] == ["upper", "middle", "lower"]
    provenance = volume.attributes["prediction"]
    assert provenance["run"] == "run"
    assert provenance["weights"] == model.fingerprint
    assert provenance["input"] == str(layers)


def test_it_says_what_it_is(model: Artifact, trained: Path):
    told = model.metadata
    assert (model.window, model.padded, model.stride) == ((1, 16, 36), (1, 16, 36), (1, 8, 18))
    assert (model.axes, model.unit, model.sampling_interval) == (AXES, "ms", 4.0)
    assert model.class_names == ["upper", "middle", "lower"]
    assert len(set(model.class_colors)) == 3
    assert told["licence"] == "CC-BY-4.0"
    assert told["temperature"] == 1
    assert told["receptive_radius"] is None  # group norm
    run = told["run"]
    assert (run["name"], run["weights"]) == ("run", load(trained, "best").fingerprint)
    assert run["regions"]["train"] == "inline:100-111,crossline:300-319,time:0-140"
    assert run["config"]["model"]["levels"] == 2
    assert "jax" in run["versions"]


def test_a_batch_is_split_over_the_devices(model: Artifact):
    images = np.random.default_rng(0).normal(size=(8, *model.padded, 1)).astype(np.float32)
    (forward,) = model.forwards()
    split, alone = forward(images), forward(images[:1])
    assert len(split.sharding.device_set) == len(jax.local_devices()) == 8
    np.testing.assert_allclose(split[:1], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling_interval": 2.0}, "sampling_interval=2.0: the run was trained on a sample every 4 ms"),
        (
            {"axes": ("crossline", "inline", "time")},
            "has the axes crossline, inline, time; the run was trained on inline",
        ),
        ({"axes": ("inline", "time")}, "the array has 3 axes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(model: Artifact, amplitude: np.ndarray, options: dict, message: str):
    with pytest.raises(UserError, match=message) as error:
        model.predict(amplitude, **({"sampling_interval": 4.0, "axes": AXES} | options))
    assert "\n" not in str(error.value)


def test_volumes_that_do_not_fit_are_refused(model: Artifact, tmp_path: Path):
    def volume(interval: float, unit: str) -> str:
        axes = [Axis(n, np.arange(k)) for n, k in zip(AXES[:2], (4, 20), strict=True)]
        url = f"memory://unfit-{next(_numbers)}"
        with create_volume(url, [*axes, Axis("time", np.arange(40) * interval, unit)]) as made:
            made.write("amplitude", Box.whole(made.shape), np.ones(made.shape))
        return url

    output = tmp_path / "p.zarr"
    for url, message in ((volume(2, "ms"), "a sample every 2 ms"), (volume(4, "s"), "counts its time in s")):
        with pytest.raises(UserError, match=message):
            model.predict_volume(url, str(output))
    with pytest.raises(UserError, match="sees whole windows"):
        model.predict_volume(volume(4, "ms"), str(output), blend="crop")
    assert not output.exists()
    assert model.predict_volume(volume(2, "ms"), str(output), resample=True).shape == (4, 20, 20)


def front_matter(card: str) -> dict:
    """What hubs read of a card."""
    return yaml.safe_load(card.split("---\n")[1])


def test_its_card_says_what_is_known_and_no_more(file: Path, model: Artifact):
    card = file.with_name("layers.seisjax.md").read_text()
    assert card == model.card()
    head = front_matter(card)
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == (
        "cc-by-4.0",
        "seisjax",
        "image-segmentation",
    )
    assert "model-index" not in head
    for told in (
        "into 3 classes: upper, middle, lower",
        "Licence: CC-BY-4.0.",
        'load_artifact("layers.seisjax")',
        "| sampling interval | 4 ms |",
        f"(centre {model.metadata['normalisation']['center']:.6g}, ",
        f"{model.metadata['parameters']:,} parameters, computing in float32: base features 4, levels 2, num classes 3",
        "Data: `survey.zarr`, labels `facies`",
        "Region of train: `inline:100-111,crossline:300-319,time:0-140`",
        "steps of 8 windows, on 8 x cpu",
        "None: this checkpoint had not been scored",
        f"jax {jax.__version__}",
        model.metadata["run"]["weights"],
    ):
        assert told in card, told
    assert str(file.parent) not in card


def test_a_card_names_the_other_volumes_of_a_mixture(model: Artifact):
    told = dict(model.metadata)
    training = told["training"] | {"other_volumes": ["a.zarr", "b.zarr"], "mixture_fingerprints": ["01ab", "23cd"]}
    card = model_card(told | {"training": training}, "m.seisjax")
    first = f"- Data: `survey.zarr`, labels `facies`, fingerprint `{told['run']['data_fingerprint']}`.\n"
    others = "- Mixed with `{}`, labels `facies`, fingerprint `{}`.\n".format
    assert first + others("a.zarr", "01ab") + others("b.zarr", "23cd") in card
    del training["mixture_fingerprints"]  # as in files of before
    older = "- Mixed with `a.zarr`, labels `facies`.\n- Mixed with `b.zarr`, labels `facies`.\n"
    assert first + older in model_card(told | {"training": training}, "m.seisjax")


def test_a_card_holds_the_scores_of_its_checkpoint_alone(trained: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "run")
    evaluate(tmp_path / "run", "test", "last")
    scores = read_json(tmp_path / "run" / "evaluation_test.json")
    calibration = {"temperature": 1.25, "num_samples": 10, "nll_before": 0.5, "nll_after": 0.4}
    write_json(tmp_path / "run" / "evaluation_test.json", scores | {"calibration": calibration})
    write_json(tmp_path / "run" / "evaluation_validation.json", scores | {"checkpoint": 3})
    export_run(tmp_path / "run", tmp_path / "m.seisjax", "last", licence="ask Ann: research only", platforms=["cpu"])
    card = (tmp_path / "m.seisjax.md").read_text()
    head = front_matter(card)
    assert (head["license"], head["license_name"]) == ("other", "ask Ann: research only")
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test"
    found = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert found == {"mean_iou": scores["mean_iou"], "accuracy": scores["accuracy"], "f1": scores["mean_f1"]}
    rows = {line.split(" | ")[0]: line for line in card.splitlines()}
    for name, row in {"this network": scores, **scores["baselines"]}.items():
        values = [row[kind] for kind in ("mean_iou", "accuracy", "mean_f1")] + row["iou_per_class"]
        expected = " | ".join("-" if value is None else f"{value:.4f}" for value in values)
        assert rows[f"| {name.replace('_', ' ')}"] == f"| {name.replace('_', ' ')} | {expected} |"
    assert "Calibration: temperature 1.25, num samples 10, nll before 0.5, nll after 0.4." in card
    assert "Split `validation`" not in card


def changed(file: Path, path: Path, change: dict | None = None, model: bytes | None = None) -> Path:
    """A copy with other metadata or another model."""
    with zipfile.ZipFile(file) as archive:
        metadata, old = json.loads(archive.read("metadata.json")), archive.read("model.bin")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata | (change or {})))
        archive.writestr("model.bin", old if model is None else model)
    return path


def test_files_that_are_none_are_refused_in_a_line(file: Path, tmp_path: Path):
    whole = file.read_bytes()
    (tmp_path / "half").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (tmp_path / "flipped").write_bytes(flipped)
    (tmp_path / "text").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other", "w") as archive:
        archive.writestr("a.txt", "b")
    for path, message in (
        (tmp_path / "half", "damaged"),
        (tmp_path / "flipped", "damaged"),
        (tmp_path / "text", "damaged, or no file"),
        (tmp_path / "other", "damaged, or no file"),
        (tmp_path / "missing", "cannot be read"),
        (tmp_path, "cannot be read"),
        (changed(file, tmp_path / "new", {"format_version": 3}), "has format 3, this seisjax reads up to 2"),
        (changed(file, tmp_path / "foreign", {"format": "x"}), "no file of launch/export.py"),
        (changed(file, tmp_path / "changed", model=b"else"), "is not what metadata.json tells of"),
        (
            changed(file, tmp_path / "later", {"sha256": sha256(b"else").hexdigest()}, b"else"),
            r"jax \S+ cannot read it",
        ),
    ):
        with pytest.raises(UserError, match=message) as error:
            load_artifact(path)
        assert "\n" not in str(error.value)


def test_another_platform_is_told(trained: Path, tmp_path: Path):
    summary = export_run(trained, tmp_path / "m.seisjax", "last", platforms=["cuda"])
    assert "not compared with the run" in summary
    with pytest.raises(UserError, match="is made for cuda, and this process computes on cpu"):
        load_artifact(tmp_path / "m.seisjax").predict(np.ones((1, 20, 36)), sampling_interval=4, axes=AXES)


@pytest.mark.parametrize(
    ("checkpoint", "options", "message"),
    [
        ("best,last", {}, "one file holds one checkpoint"),
        ("best", {"platforms": ["cpu", "gpu"]}, "--platforms=cpu,gpu: choose from cpu, cuda"),
        ("best", {"platforms": []}, "--platforms=: choose from cpu, cuda"),
        ("best", {"calibrated": True}, "calibration.json: is not there"),
    ],
)
def test_bad_requests_leave_nothing(trained: Path, tmp_path: Path, checkpoint: str, options: dict, message: str):
    with pytest.raises(UserError, match=message):
        export_run(trained, tmp_path / "m.seisjax", checkpoint, **options)
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_is_kept(file: Path, trained: Path, tmp_path: Path):
    shutil.copy(file, tmp_path / "m.seisjax")
    with pytest.raises(UserError, match="exists"):
        export_run(trained, tmp_path / "m.seisjax", "last")
    assert (tmp_path / "m.seisjax").read_bytes() == file.read_bytes()


def test_the_temperature_is_inside(trained: Path, model: Artifact, amplitude: np.ndarray, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("seisjax.commands.export.temperature_of", lambda workdir, steps: 2.0)
    export_run(trained, tmp_path / "m.seisjax", "best", calibrated=True, platforms=["cpu"])
    images = amplitude[:1, :16, :, None][None]
    warm = load_artifact(tmp_path / "m.seisjax")
    assert warm.metadata["temperature"] == 2
    (plain,), (tempered,) = model.forwards(), warm.forwards()
    p, q = np.asarray(plain(images)), np.asarray(tempered(images))
    np.testing.assert_allclose(q, p**0.5 / (p**0.5).sum(-1, keepdims=True), rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match="temperature"):
        warm.forwards(1.5)


def test_the_same_run_gives_the_same_file(file: Path, trained: Path, tmp_path: Path):
    export_run(trained, tmp_path / "again.seisjax", "best", licence="CC-BY-4.0")
    assert (tmp_path / "again.seisjax").read_bytes() == file.read_bytes()


def test_the_function_names_no_file_of_this_machine(file: Path, repository: Path):
    with zipfile.ZipFile(file) as archive:
        assert str(repository).encode() not in archive.read("model.bin")
