"""A run that begins from another, and one that begins from a file of that, as a user starts them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from seisjax.config import Experiment

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler, pytest.mark.slow]


def test_a_run_begins_from_a_run_and_another_from_its_file(
    launch: Callable[..., subprocess.CompletedProcess[str]],
    config: Experiment,
    config_file: Callable[[Experiment], Path],
    trained: Path,
    tmp_path: Path,
) -> None:
    config.model.levels, config.train.num_steps, config.data.validation = 2, 2, ""
    file = config_file(config)

    def train(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return launch("train", f"--config={file}", f"--workdir={tmp_path / name}", *flags)

    done = train("b", f"--config.train.init_from={trained}", "--config.optimizer.encoder_rate=0.1")
    assert done.returncode == 0, done.stderr
    done = launch("export", f"--workdir={tmp_path / 'b'}", f"--output={tmp_path / 'b.seisjax'}", "--platforms=cpu")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "b.seisjax.md").read_text()
    assert "Began with the parameters (all) of `run`, checkpoint" in card
    flags = [f"--config.train.init_from={tmp_path / 'b.seisjax'}", "--config.train.init_part=encoder"]
    done = train("c", *flags)
    assert done.returncode == 0, done.stderr
    init = json.loads((tmp_path / "c" / "run.json").read_text())["init"]
    assert (init["run"], init["checkpoint"], init["fresh"]) == ("b", 2, ["2_up_0", "3_head"])

    refused = train("d", *flags, "--config.model.base_features=8")
    assert refused.returncode != 0
    assert refused.stderr.strip().count("\n") == 0
    assert "has model.base_features=4, this run 8; set the same, or leave train.init_from out" in refused.stderr
    assert not (tmp_path / "d").exists()
