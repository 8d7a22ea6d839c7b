"""Whole runs on panels that nobody stored."""

import json
from pathlib import Path

import numpy as np
import pytest

from seisjax.commands.evaluate import evaluate
from seisjax.commands.plan import plan
from seisjax.commands.train import train
from seisjax.config import Experiment
from seisjax.errors import UserError

pytestmark = pytest.mark.quick_compiler

GENERATOR = """
from dataclasses import replace
from seisjax.synthetic.parameters import QUICKSTART, Noise, ReceiverArray, Traces

def get_config():
    array = ReceiverArray(lines=2, stations=7, station_spacing=150.0)
    noise, traces = Noise(swell_level=(0.0, 0.0)), Traces(dead=0.2)
    return replace(QUICKSTART, array=array, num_samples=96, noise_only=0.3, noise=noise, traces=traces)
"""


@pytest.fixture
def synthetic(config: Experiment, tmp_path: Path) -> Experiment:
    """Panels of 14 receivers and 96 samples, one device, 4 steps."""
    (tmp_path / "tiny.py").write_text(GENERATOR)
    config.data.volume = f"synthetic:{tmp_path}/tiny.py?seed=4&examples=200000"
    config.data.labels = "event"
    config.data.window = (1, 14, 96)
    config.data.overhang = 0.0
    config.data.split_gap = 0
    config.data.train, config.data.validation, config.data.test = "example:0-99999", "", "example:100000-100007"
    config.data.statistics_tiles = 8
    config.augment.flip_axes = ()
    config.model.num_classes = 1
    config.model.levels = 2
    config.evaluate.baselines = False
    config.train.num_steps = config.train.checkpoint_every = 4
    return config


def losses(workdir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_panels_made_on_host_and_device_train_alike(synthetic: Experiment, tmp_path: Path):
    train(synthetic, tmp_path / "host", "train")
    assert "8 windows" in evaluate(tmp_path / "host", "test", "last")
    synthetic.data.synthesis, synthetic.mesh.data = "device", 2
    train(synthetic, tmp_path / "device", "train")
    np.testing.assert_allclose(losses(tmp_path / "device"), losses(tmp_path / "host"), rtol=1e-3)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.sampling", "balanced", r"data\.sampling='balanced': .* set data\.sampling='uniform'"),
        ("loss.class_weighting", "inverse", r"loss\.class_weighting='inverse': .* set loss\.class_weights"),
        ("evaluate.baselines", True, r"all 100000 panels of data\.train; set evaluate\.baselines=False"),
        ("data.window", (2, 14, 96), r"data\.window=\(2, 14, 96\): examples made on the device come one a window"),
        ("data.volume", None, r"data\.synthesis='device': .* needs data\.volume='synthetic:"),
    ],
)
def test_what_needs_all_panels_is_refused(synthetic: Experiment, layers: Path, field: str, value, message: str):
    part, name = field.split(".")
    setattr(getattr(synthetic, part), name, value)
    if field == "data.volume":
        synthetic.data.volume, synthetic.data.labels, synthetic.data.synthesis = str(layers), "facies", "device"
        synthetic.data.window, synthetic.data.train, synthetic.data.validation = (1, 16, 32), "inline:100-109", ""
        synthetic.data.test = ""
    if field == "data.window":
        synthetic.data.synthesis = "device"
    with pytest.raises(UserError, match=message):
        plan(synthetic)
