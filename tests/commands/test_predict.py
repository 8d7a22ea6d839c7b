"""Predictions by a run: what decides on the result is told from what was, and what cannot be is refused in a line."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seisjax import runtime
from seisjax.commands import predictor
from seisjax.commands.load import load
from seisjax.commands.predict import plan_prediction, predict
from seisjax.commands.predictor import Prediction
from seisjax.errors import UserError
from seisjax.inference import Cutting, predict_volume
from seisjax.inference.ledger import FOLDER
from seisjax.normalization import Normalization
from seisjax.volumes import open_volume

pytestmark = pytest.mark.quick_compiler

COMMAND = "launch/predict.py --workdir=runs/layers --region=inline:100-105"


def request(output: Path, **options: Any) -> Prediction:
    """Half of the survey, in three blocks."""
    defaults = {"input": None, "output": str(output), "region": "inline:100-105", "command": COMMAND}
    return Prediction(**defaults | {"block_mebibytes": 1} | options)


@pytest.fixture(scope="module")
def finished(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prediction by the run."""
    output = tmp_path_factory.mktemp("predicted") / "prediction.zarr"
    assert "2 of 2 blocks" in predict(trained, request(output))
    return output


@pytest.fixture(scope="module")
def begun(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that was stopped after a block."""
    output = tmp_path_factory.mktemp("predicted") / "prediction.zarr"
    summary = predict(trained, request(output, max_blocks=1))
    assert "1 of 2 blocks" in summary
    assert "give the same command again" in summary
    return output


def another_input(layers: Path, folder: Path) -> str:
    """A survey on the same grid, one sample of which differs, with statistics of its own."""
    shutil.copytree(layers, folder)
    document = json.loads((folder / "zarr.json").read_text())
    text = json.dumps(document)
    std = open_volume(layers).statistics.std
    assert repr(std) in text
    (folder / "zarr.json").write_text(text.replace(repr(std), repr(std * 1.01)))
    return str(folder)


def with_config(trained: Path, run: Path, config: dict[str, dict[str, Any]]) -> None:
    """A copy of the run whose config says something else."""
    shutil.copytree(trained, run)
    values = json.loads((run / "config.json").read_text())
    for part, fields in config.items():
        values[part] |= fields
    (run / "config.json").write_text(json.dumps(values))


# What is changed: options of the request, or what stands in a copy of the run's config; and what the message names.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]], str]] = {
    "weights": ({"checkpoint": "9"}, {}, "weights=.* of checkpoint 12, now .* of checkpoint 9; training has gone on"),
    "two checkpoints": ({"checkpoint": "9,best", "products": ("class", "probability", "entropy")}, {}, "weights="),
    "precision": ({"precision": "bfloat16"}, {}, "weights=.* in bfloat16"),
    "statistics": ({"statistics": "own"}, {}, 'statistics={"scope": "training"'),
    "temperature": ({"calibrated": True}, {}, "temperature=1.0, now it is 2.0"),
    "region": ({"region": "inline:100-106"}, {}, "--region=inline:100-105,.*now it is inline:100-106"),
    "window": ({}, {"data": {"window": (1, 18, 36)}}, r"window=\[\[1, 16, 36\]"),
    "overlap": ({"overlap": 0.25}, {}, "predict.overlap=0.5, now it is 0.25"),
    "products": ({"products": ("class",)}, {}, r"--products=\[\"class\", \"probability\", \"entropy\"\], now"),
    "dtype": ({"probability_dtype": "uint8"}, {}, "predict.probability_dtype=float16, now it is uint8"),
    "blend": ({"blend": "uniform"}, {}, "--blend=linear, now it is uniform"),
    "directions": ({"directions": ("inline",)}, {}, r"--directions=\[\], now"),
    "tta": ({"tta": True, "products": ("class", "probability", "entropy")}, {}, r"--tta=\[\], now it is \[1\]"),
    "batch": ({"batch_size": 4}, {}, "predict.batch_size=8, now it is 4"),
    "code": ({}, {}, "code=.*now it is another"),
    "input": ({"input": "another"}, {}, "input="),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_what_decides_on_the_result_is_refused_by_name(
    trained: Path, layers: Path, finished: Path, begun: Path, tmp_path: Path, monkeypatch, changed: str
):
    options, config, message = CHANGES[changed]
    options, run = dict(options), trained
    if config:
        run = tmp_path / "run"
        with_config(trained, run, config)
    if "input" in options:
        options["input"] = another_input(layers, tmp_path / "another.zarr")
    if "calibrated" in options:
        monkeypatch.setattr(predictor, "temperature_of", lambda workdir, steps: 2.0)
    if changed == "code":
        monkeypatch.setattr(runtime, "code_version", lambda: "another")
    before = (finished / FOLDER / "plan.json").read_bytes()
    for output in (finished, begun) if changed == "weights" else (finished,):
        with pytest.raises(UserError, match=message) as error:
            predict(run, request(output, **options))
        assert "\n" not in str(error.value)
        assert "--overwrite to start anew" in str(error.value)
    assert (finished / FOLDER / "plan.json").read_bytes() == before


def test_what_does_not_decide_on_the_result_is_no_difference(trained: Path, layers: Path, finished: Path):
    same = {"input": str(layers), "checkpoint": str(load(trained, "best").step), "verify": True, "command": "another"}
    assert "nothing was left to do" in predict(trained, request(finished, **same))


def test_every_block_tells_whence_it_comes(trained: Path, layers: Path, finished: Path):
    run, records = load(trained, "best"), list((finished / FOLDER / "blocks").iterdir())
    told = open_volume(finished).attributes["prediction"]
    assert told["run"] == str(trained)
    assert (told["checkpoint"], told["weights"]) == (run.step, run.fingerprint)
    assert told["input"] == str(layers)
    assert told["data_fingerprint"] == open_volume(layers).fingerprint
    assert told["code"] == runtime.code_version()
    plan = json.loads((finished / FOLDER / "plan.json").read_text())["wanted"]
    assert plan["weights"] == f"{told['weights']} of checkpoint {told['checkpoint']}"
    assert plan["input"] == told["data_fingerprint"]
    assert len(records) == 2
    for path in records:
        record = json.loads(path.read_text())
        assert record["command"] == told["command"] == COMMAND
        assert record["region"].startswith("inline:")
        assert record["time"].startswith("20")
        assert {place.split(" at ")[0] for place in record["shards"]} == {
            "pred_class", "pred_probability", "pred_entropy",
        }  # fmt: skip


def test_a_plan_tells_what_is_done_then(trained: Path, tmp_path: Path):
    asked = request(tmp_path / "prediction.zarr", tta=True)
    text = plan_prediction(trained, asked)
    assert not list(tmp_path.iterdir())
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["region"] == "inline:100-105,crossline:300-339,time:0-140 (6 x 40 x 36 samples)"
    assert lines["windows"].startswith(f"{6 * 4} of (1, 16, 36), stride (1, 8, 18), 8 at a time")
    assert lines["blocks"] == "2 of up to 4 x 40 x 36 samples"
    assert lines["computed"] == "each window 2 times in 1.00 runs of blocks, each sample 3.2 times"
    assert lines["read"].startswith("each byte 1.00 times, 0.0 MiB")
    assert re.match(r"[\d:.]+ .*on 8 x cpu, [\d.]+ ms a window", lines["time"])
    assert lines["disk"] == "0.1 MiB before compression"

    opened, seen = predictor.open_predictor(trained, asked), []
    (network,) = opened.forwards

    def counting(images: np.ndarray) -> jax.Array:
        seen.append(np.isfinite(images).any(axis=(1, 2, 3, 4)).sum())
        return network(images)

    predict_volume(opened.task(asked), [counting], asked.output)
    assert sum(seen) == 2 * 6 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"products": ("class", "clas")}, "--products: no 'clas'; choose from class, probability, entropy, spread"),
        ({"products": ("spread",)}, "--products=spread: one network has none; give --tta or several --checkpoint"),
        ({"overlap": 1.0}, "--overlap=1.0: must be at least 0 and below 1"),
        ({"directions": ("inlin",)}, r"--directions: the volume has no axis 'inlin' \(did you mean 'inline'"),
        (
            {"directions": ("time",)},
            "--directions: a section across time has 16 samples along inline, the volume only 12",
        ),
        ({"blend": "crop"}, "--blend=crop: .* sees whole windows .*use --blend=linear"),
        ({"region": "inlin:3"}, "the volume has no axis 'inlin'"),
        ({"checkpoint": "77"}, "--checkpoint=77: '77' is not there; choose best, last"),
        ({"calibrated": True}, "calibration.json: is not there"),
        ({"input": "nowhere.zarr"}, "nowhere.zarr: no volume here"),
        ({"segy": "out.segy"}, "was not made from SEG-Y"),
        ({"segy": "out.segy", "segy_product": "middle", "products": ("class",)}, "--segy_product=middle: needs"),
        ({"segy": "out.segy", "segy_product": "midle"}, "did you mean 'middle'"),
    ],
)
def test_bad_requests_are_one_line_and_leave_nothing(
    trained: Path, layers: Path, tmp_path: Path, options: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message) as error:
        predict(trained, request(tmp_path / "prediction.zarr", **options))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_mirrored_windows_need_training_on_them(trained: Path, tmp_path: Path):
    run = tmp_path / "run"
    with_config(trained, run, {"augment": {"flip_axes": ()}})
    with pytest.raises(UserError, match=r"--tta: training mirrored no axis .*leave --tta out"):
        predict(run, request(tmp_path / "prediction.zarr", tta=True))


def test_windows_are_cropped_only_where_the_network_sees_no_whole_window(trained: Path):
    run = load(trained, "best")

    def radius(norm: str, position: bool = False, **normalization: Any) -> tuple[int, ...] | None:
        model = dataclasses.replace(run.config.model, norm=norm, vertical_position=position)
        network = dataclasses.replace(run.segmenter.network, normalization=Normalization(**normalization))
        segmenter = dataclasses.replace(run.segmenter, network=network)
        config = dataclasses.replace(run.config, model=model)
        return dataclasses.replace(run, config=config, segmenter=segmenter).receptive_radius

    assert radius("none") == radius("batch") == (0, 9, 9)
    assert radius("none", agc=7) == (0, 9, 12)
    assert radius("group") is radius("instance") is None
    assert radius("none", scope="window") is radius("batch", scope="trace") is radius("none", position=True) is None


def test_windows_too_small_for_their_halo_are_refused(layers: Path):
    cutting = Cutting((1, 16, 36), (1, 16, 36), 2, 0.5, "crop", 9)
    with pytest.raises(UserError, match="--blend=crop: 9 samples .* of 16 nothing remains.*at least 20") as error:
        cutting.views(open_volume(layers).axes)
    assert "\n" not in str(error.value)
