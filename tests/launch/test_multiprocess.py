"""Training and evaluation as a run of several processes on this machine."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seisjax.commands.calibrate import SplitPasses
from seisjax.commands.evaluate import evaluate
from seisjax.commands.load import load
from seisjax.commands.train import train
from seisjax.config import Experiment, to_dict

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler]


def metrics(workdir: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """The lines of metrics.jsonl by step and split, without what the clock says; a torn last line is left out."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    found = {(row.pop("step"), row.pop("split")): {k: v for k, v in row.items() if k != "time"} for row in rows}
    assert len(found) == len(rows), "a line came twice"
    return found


def check_alike(a: dict[Any, dict[str, Any]], b: dict[Any, dict[str, Any]]) -> None:
    """The same lines to rounding: sums over other devices come in another order."""
    assert a.keys() == b.keys()
    for line in a:
        for name, value in a[line].items():
            np.testing.assert_allclose(
                np.array(b[line][name], float), np.array(value, float), rtol=1e-3, atol=1e-4, err_msg=f"{line} {name}"
            )


def distance(a: Any, b: Any) -> float:
    """||a - b|| / ||a|| over all leaves."""
    pairs = list(zip(*(map(np.asarray, jax.tree.leaves(tree)) for tree in (a, b)), strict=True))
    return float((sum(((x - y) ** 2).sum() for x, y in pairs) / sum((x**2).sum() for x, _ in pairs)) ** 0.5)


@pytest.fixture
def small(config: Experiment) -> Experiment:
    """A run whose every step is validated and saved, so that steps take a while."""
    config.model.base_features, config.model.levels, config.model.dropout = 2, 2, 0.0
    config.model.norm, config.optimizer.learning_rate, config.optimizer.decay_steps = "batch", 1e-3, 100
    config.train.log_every = config.train.evaluate_every = config.train.checkpoint_every = 1
    config.model.activation, config.mesh.data = "gelu", 4  # smooth: rounding stays small where a ReLU has its kink
    return config


@pytest.mark.slow
def test_a_termination_of_one_process_stops_all_and_other_processes_go_on(
    small: Experiment, config_file: Callable[[Experiment], Path], start_processes, tmp_path: Path
):
    small.train.num_steps = 100_000
    run, flags = tmp_path / "run", [f"--config={config_file(small)}", "--stopped_status=75"]
    processes = start_processes(2, "train", *flags, f"--workdir={run}", devices=2)
    while not metrics(run):
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [75, 75], outputs
    stopped = max(step for step, _ in metrics(run))
    assert f"stopped at step {stopped} (SIGTERM, Ctrl-C or a preemption notice" in outputs[0][0]
    assert "stopped" not in outputs[1][0]

    # One process of as many devices goes on where two stopped, and it is as if it had run alone.
    alone, small.train.num_steps = tmp_path / "alone", stopped + 2
    for workdir in (run, alone):
        assert f"trained {stopped + 2} steps" in train(small, workdir, "").summary
    check_alike(metrics(alone), metrics(run))
    assert len(metrics(run)) == 2 * (stopped + 2)
    assert distance(*(load(workdir, "last").state["params"] for workdir in (alone, run))) <= 1e-5


TRAIN_AND_EVALUATE = """
import json
from pathlib import Path
import numpy as np
from seisjax.commands.calibrate import SplitPasses
from seisjax.commands.evaluate import evaluate
from seisjax.commands.load import load
from seisjax.commands.train import train
from seisjax.config import from_dict
from seisjax.errors import UserError

config, workdir = from_dict(json.loads(sys.argv[4])), Path(sys.argv[5])
print(train(config, workdir, "").stopped)
evaluate(workdir, "test", "last")
sums = SplitPasses(load(workdir, "last"), "validation", 1, lambda *windows: None)(*[np.array([0.5, 2.0])] * 2)
print(json.dumps({name: values.tolist() for name, values in sums.items()}))
config.optimizer.learning_rate *= 1 + int(sys.argv[3])
try:
    train(config, workdir, "")
except UserError as error:
    print(error)
"""


def test_windows_split_between_processes_are_trained_scored_and_drawn(small: Experiment, processes, tmp_path: Path):
    small.train.num_steps, small.train.figures = 3, True
    small.train.evaluate_every = small.train.checkpoint_every = 0
    small.mesh.data, small.mesh.space, small.mesh.space_axis = 1, 2, "time"  # so that traces are cut
    small.augment.noise = 0.0
    run, alone = tmp_path / "run", tmp_path / "alone"
    first, second = processes(2, TRAIN_AND_EVALUATE, json.dumps(to_dict(small)), run, timeout=500)
    assert "False" in first
    assert "process 1 has another one than process 0" in first
    assert "process 1 has another one than process 0" in second
    for name in ("first_batch.png", "augmentation.png", "curves.png", "validation_0000003.png", "test.png"):
        assert (run / "figures" / name).stat().st_size > 10_000

    small.mesh.space, small.mesh.space_axis, small.train.figures = 1, "", False
    train(small, alone, "")
    check_alike(metrics(alone), metrics(run))
    assert distance(*(load(workdir, "last").state["params"] for workdir in (alone, run))) <= 1e-5
    evaluate(alone, "test", "last")
    sums = SplitPasses(load(alone, "last"), "validation", 1, lambda *windows: None)(*[np.array([0.5, 2.0])] * 2)
    for output in (first, second):
        shared = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
        assert np.sum(shared["samples"], axis=-1).tolist() == [12 * 8 * 36] * 2
        np.testing.assert_allclose(shared["nll"], sums["nll"], rtol=1e-3, atol=1.0)
    whole, split = (json.loads((workdir / "evaluation_test.json").read_text()) for workdir in (alone, run))
    assert split["baselines"] == whole["baselines"]
    assert [bin["samples"] for bin in split["by_distance"]] == [bin["samples"] for bin in whole["by_distance"]]
    assert np.sum(split["confusion_matrix"]) == np.sum(whole["confusion_matrix"])
    assert split["boundary_error"] == pytest.approx(whole["boundary_error"], abs=0.02)


LOOK = """
import hashlib
from pathlib import Path
import jax
import numpy as np
from seisjax import distributed, experiment
from seisjax.checkpoint import Checkpoints
from seisjax.data import training_batches

def digest(tree):
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(distributed.gathered(tree))[0]:
        hashed.update(f"{path} {leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    return hashed.hexdigest()

def look(config, workdir):
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 70.0))
    checkpoints = Checkpoints(workdir / "checkpoints", writes=False)
    state = checkpoints.restore(checkpoints.latest, experiment.abstract_state(segmenter))
    batches = training_batches(
        experiment.training_source(config, survey),
        batch_size=config.data.batch_size,
        mesh=mesh,
        space_dim=experiment.space_axis(config, survey) + 1,
        start_step=checkpoints.latest,
        num_threads=2,
        prefetch=2,
    )
    batch = next(batches)
    found = {"step": checkpoints.latest, "state": digest(state), "batch": digest(batch)}
    metrics = distributed.gathered(segmenter.train_step(state, batch)[1])
    batches.close()
    checkpoints.close()
    return found, {name: float(value) for name, value in metrics.items()}
"""
look: dict[str, Any] = {}
exec(LOOK, look)

SAVE_AND_LOOK = (
    LOOK
    + """
import json
from seisjax.commands.train import train
from seisjax.config import from_dict

config, workdir = from_dict(json.loads(sys.argv[4])), Path(sys.argv[5])
train(config, workdir, "")
print(json.dumps(look(config, workdir)))
"""
)


@pytest.mark.slow
def test_four_processes_save_and_any_mesh_goes_on(small: Experiment, processes, tmp_path: Path):
    """Cubes that the levels do not divide; a device holds 12, 6 or 3 of the 24 samples they are padded to."""
    small.data.window, small.mesh.space_axis = (5, 14, 23), "time"
    small.train.num_steps, small.optimizer.shard = 3, True
    small.train.evaluate_every = small.train.checkpoint_every = 0
    small.mesh.data, small.mesh.space = 4, 2
    outputs = processes(4, SAVE_AND_LOOK, json.dumps(to_dict(small)), tmp_path / "run", devices=2, timeout=500)
    saved, metrics = json.loads(next(line for line in outputs[0].splitlines() if line.startswith("[")))
    assert saved["step"] == 3
    for small.mesh.data, small.mesh.space in ((1, 1), (1, 8), (2, 4)):
        found, others = look["look"](small, tmp_path / "run")
        assert found == saved
        assert others == pytest.approx(metrics, rel=1e-4)
