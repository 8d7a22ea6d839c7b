"""What `make demo` promises, with the quickstart config as it stands."""

import json
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.end_to_end
def test_the_demo_finds_the_events(launch, repository: Path, tmp_path: Path):
    panels, run = tmp_path / "panels.zarr", tmp_path / "run"
    commands = (
        ("synthesize", "--config=quickstart", "--num_examples=200", f"--output={panels}"),
        (
            "train",
            f"--config={repository}/configs/quickstart.py",
            f"--config.data.volume={panels}",
            f"--workdir={run}",
        ),
        ("evaluate", f"--workdir={run}", "--split=test"),
    )
    for command in commands:
        result = launch(*command)
        assert result.returncode == 0, result.stderr
    noise, event = json.loads((run / "evaluation_test.json").read_text())["iou_per_class"]
    assert event >= 0.5
    assert noise >= 0.95
