"""Calibration of a run: on a split, on any devices, of one checkpoint or of several."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seisjax.calibration import temperature_of
from seisjax.commands.calibrate import calibrate
from seisjax.commands.evaluate import evaluate
from seisjax.commands.load import load
from seisjax.commands.scoring import split_batches
from seisjax.errors import UserError


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def calibration(workdir: Path) -> dict[str, Any]:
    return json.loads((workdir / "calibration.json").read_text())


def test_a_run_is_calibrated_on_any_devices(run: Path, capsys: pytest.CaptureFixture[str]):
    summary = calibrate(run, "validation", "last")
    assert "calibrate on 'validation': 36/36 windows (100 %), took" in capsys.readouterr().err  # in three passes
    values = calibration(run)
    assert values["checkpoints"] == [12]
    assert values["split"] == "validation"
    assert values["num_samples"] == 12 * 8 * 36  # each labelled sample once, though windows are twice as wide
    assert values["nll_after"] <= values["nll_before"]
    assert f"temperature {values['temperature']:.4g} for checkpoint 12" in summary
    assert (run / "figures" / "calibration.png").stat().st_size > 10_000
    assert temperature_of(run, [12]) == values["temperature"]
    said = evaluate(run, "validation", "last")
    progress = capsys.readouterr().err
    assert "evaluate 'validation': 24/24 windows (100 %), took" in progress  # the network's and the baselines'
    assert "calibration on 'validation': 12/12 windows" in progress
    scores = json.loads((run / "evaluation_validation.json").read_text())
    assert scores["loss"] == pytest.approx(values["nll_before"], rel=1e-5)  # the run's loss is the same
    rows = values["reliability"]["before"]
    right = sum(row["samples"] * row["accuracy"] for row in rows if row["samples"])
    assert right == pytest.approx(scores["accuracy"] * values["num_samples"])
    assert scores["calibration"] == pytest.approx({name: values[name] for name in scores["calibration"]})
    assert f"calibrated: temperature {values['temperature']:.4g}: NLL" in said

    config = json.loads((run / "config.json").read_text())
    config["mesh"] |= {"data": 4, "space": 2}
    (run / "config.json").write_text(json.dumps(config))
    calibrate(run, "validation", "last")
    split = calibration(run)
    assert split["temperature"] == pytest.approx(values["temperature"], rel=1e-4)
    assert [row["samples"] for row in split["reliability"]["after"]] == pytest.approx(
        [row["samples"] for row in values["reliability"]["after"]], abs=3
    )


def test_several_checkpoints_are_calibrated_as_they_are_averaged(run: Path):
    calibrate(run, "test", "9,12")
    values, members = calibration(run), load(run, "9,12")
    forwards = members.forwards(temperature_of(run, [12, 9]))
    _, batches = split_batches(members.config, members.survey, members.segmenter.mesh, "test")
    losses = []
    for batch in batches:
        labels = np.asarray(batch["labels"])
        mean = np.mean([np.asarray(forward(np.asarray(batch["image"]))) for forward in forwards], axis=0)
        losses.append(-np.log(mean[labels != 255, labels[labels != 255]]))
    batches.close()
    assert np.concatenate(losses).mean() == pytest.approx(values["nll_after"], rel=1e-5)
    assert values["checkpoints"] == [9, 12]
    with pytest.raises(UserError, match="is of checkpoint 9, 12; for 12 run"):
        temperature_of(run, [12])


def test_a_broken_calibration_is_told_before_anything_is_scored(run: Path, monkeypatch: pytest.MonkeyPatch):
    (run / "calibration.json").write_text("{}")
    monkeypatch.delattr("seisjax.commands.evaluate.run_evaluation")  # would fail otherwise than for the file
    with pytest.raises(UserError, match="calibration.json"):
        evaluate(run, "validation", "last")


def test_a_split_that_is_not_there_leaves_nothing(run: Path):
    with pytest.raises(UserError, match="choose train, validation, test"):
        calibrate(run, "nothing", "last")
    assert not (run / "calibration.json").exists()
