"""Calibration as a user runs it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler]

Launch = Callable[..., subprocess.CompletedProcess[str]]


def test_calibration_writes_one_line_a_file_and_a_figure(trained: Path, launch: Launch, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    done = launch("evaluate", f"--workdir={run}", "--calibrate", "--checkpoint=last,best")
    assert done.returncode == 0, done.stderr
    values = json.loads((run / "calibration.json").read_text())
    assert done.stdout.startswith(f"temperature {values['temperature']:.4g} for checkpoint 12")
    assert len(done.stdout.splitlines()) == 1
    assert values["split"] == "validation"
    assert (run / "figures" / "calibration.png").exists()
    assert not (run / "evaluation_validation.json").exists()

    before = (run / "calibration.json").read_bytes()
    for flags, message in (
        (["--calibrate", "--checkpoint=last,800"], "'800' is not there"),
        (["--checkpoint=last,best"], "scores one checkpoint"),
    ):
        done = launch("evaluate", f"--workdir={run}", *flags)
        assert done.returncode != 0
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert (run / "calibration.json").read_bytes() == before
