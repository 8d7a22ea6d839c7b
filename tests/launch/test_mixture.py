"""A run on a stored survey, another one sampled twice as finely, and one that is made as it is read."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seisjax.config import Experiment
from seisjax.conventions import AMPLITUDE
from seisjax.geometry import Axis, Box
from seisjax.volumes import create_volume, open_volume

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler, pytest.mark.slow]

Launch = Callable[..., subprocess.CompletedProcess[str]]

GENERATOR = """
from dataclasses import replace
from seisjax.synthetic.fault_parameters import FAULTS_64, Faults, Layers

def get_config():
    faults, layers = Faults(count=(2, 3), slip=(3.0, 8.0)), Layers(horizons=2)
    return replace(FAULTS_64, shape=(8, 20, 80), sampling_interval=0.002, faults=faults, layers=layers)
"""


@pytest.fixture
def finer(layers: Path, tmp_path: Path) -> Path:
    """The survey `layers` with two samples where it has one, other lines and other units."""
    volume = open_volume(layers)
    whole, path = Box.whole(volume.shape), tmp_path / "finer.zarr"
    axes = [Axis("inline", np.arange(12)), Axis("crossline", np.arange(40)), Axis("time", np.arange(72) * 2.0, "ms")]
    with create_volume(path, axes) as other:
        twice = Box.whole((12, 40, 72))
        other.write(AMPLITUDE, twice, 30 + 1e-3 * volume.read_amplitude(whole).repeat(2, axis=-1))
        other.add_array("labels_facies", np.uint8, attributes={"class_names": volume.class_names("facies")})
        other.write("labels_facies", twice, volume.read_labels("facies", whole).repeat(2, axis=-1))
    return path


def test_a_run_on_three_surveys(
    config: Experiment, config_file: Callable[[Experiment], Path], launch: Launch, finer: Path, tmp_path: Path
):
    (tmp_path / "tiny.py").write_text(GENERATOR)
    config.model.levels, config.train.num_steps, config.optimizer.decay_steps = 2, 4, 8
    config.data.statistics_tiles, config.train.figures = 2, True
    run, file = tmp_path / "run", config_file(config)
    flags = [
        f"--config={file}",
        f"--workdir={run}",
        f"--config.data.mixture_volumes=('{finer}','synthetic:{tmp_path}/tiny.py?examples=3')",
        "--config.data.mixture_weights=(2,1,1)",
        "--config.data.mixture_train=('crossline:0-29','example:0-1')",
    ]
    done = launch("train", *flags)
    assert done.returncode == 0, done.stderr
    assert "trained 4 steps" in done.stdout
    assert len(json.loads((run / "run.json").read_text())["mixture_fingerprints"]) == 2
    assert (run / "figures" / "first_batch.png").exists()
    done = launch("train", *flags, "--config.train.num_steps=8", "--config.train.figures=False")
    assert "trained 8 steps" in done.stdout, done.stderr
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(losses).all()

    done = launch("train", *flags[:3], f"--workdir={tmp_path / 'other'}", "--config.data.mixture_weights=(2,1)")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert "config.data.mixture_weights=(2, 1): give 3 numbers" in done.stderr
    assert not (tmp_path / "other").exists()

    shutil.rmtree(finer)  # what was only trained on is not needed any more
    done = launch("evaluate", f"--workdir={run}", "--split=test")
    assert done.returncode == 0, done.stderr
    scores = json.loads((run / "evaluation_test.json").read_text())
    assert scores["num_windows"] == 12
    assert "nearest_labelled_line" in scores["baselines"]
