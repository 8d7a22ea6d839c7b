"""Runs opened to be used: which checkpoints, their probabilities, and what names their weights."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from seisjax.commands.evaluate import evaluate
from seisjax.commands.load import Trained, load
from seisjax.errors import UserError

pytestmark = pytest.mark.quick_compiler


@pytest.fixture(scope="module")
def run(trained: Path) -> Trained:
    """The run with its best and its newest two checkpoints, named with repetitions."""
    return load(trained, "last,best, 9,12")


@pytest.fixture
def images(run: Trained) -> np.ndarray:
    images = 100 * np.random.default_rng(0).standard_normal((8, *run.survey.padded, 1)).astype(np.float32)
    images[:, :, -2:] = np.nan
    return images


def test_each_checkpoint_that_is_named_is_a_member_once(run: Trained):
    steps = [member.step for member in run.members]
    assert steps[0] == run.step == int(run.state["step"]) == 12
    assert len(set(steps)) == len(steps)
    assert 9 in steps
    for a, b in zip(*map(jax.tree.leaves, (run.members[0].params, run.state["average"])), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("names", ["800", "best,800", "best,", ""])
def test_what_is_not_there_is_named_in_a_line(trained: Path, names: str):
    with pytest.raises(UserError, match=r"'(800)?' is not there; choose best, last, \d+") as error:
        load(trained, names)
    assert "\n" not in str(error.value)


def test_evaluation_takes_one_checkpoint(trained: Path):
    with pytest.raises(UserError, match="scores one checkpoint"):
        evaluate(trained, "validation", "best,last")


def test_members_give_probabilities_that_a_temperature_flattens(run: Trained, images: np.ndarray):
    plain, hot = ([np.asarray(f(images)) for f in run.forwards(t)] for t in (1.0, 2.5))
    assert not np.array_equal(plain[0], plain[1])
    for p, q in zip(plain, hot, strict=True):
        assert p.shape == (8, *run.survey.padded, 3)
        assert p.dtype == q.dtype == np.float32
        np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
        tempered = p ** (1 / 2.5)
        np.testing.assert_allclose(q, tempered / tempered.sum(-1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_another_temperature_compiles_nothing(run: Trained, images: np.ndarray):
    run.forwards(1.0)[0](images)
    compiled = run.segmenter.forward._cache_size()
    run.forwards(3.7)[-1](images)
    assert run.segmenter.forward._cache_size() == compiled


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_above_zero(run: Trained, temperature: float):
    with pytest.raises(UserError, match="must be above 0"):
        run.forwards(temperature)


def test_the_network_computes_in_another_format_if_asked(trained: Path, run: Trained, images: np.ndarray):
    rounded = load(trained, "last", compute="bfloat16")
    assert rounded.config.precision.compute == "bfloat16"
    a, b = (np.asarray(which.forwards()[0](images)) for which in (run, rounded))
    assert 1e-5 < np.abs(a - b).max() < 0.1
    # The weights are the same.
    assert rounded.fingerprint == load(trained, "12").fingerprint


def test_a_fingerprint_names_all_weights(trained: Path, run: Trained):
    assert len(run.fingerprint) == 16
    last = load(trained, "last")
    assert last.fingerprint != run.fingerprint
    member = last.members[0]

    def changed(**parts: object) -> str:
        return dataclasses.replace(last, members=(member._replace(**parts),)).fingerprint

    assert changed(step=0) == last.fingerprint
    assert changed(params=jax.tree.map(lambda x: x + (x == x.max()) * 1e-3, member.params)) != last.fingerprint
    assert changed(params={"named": member.params}) != last.fingerprint


@pytest.mark.parametrize(
    ("changes", "batch_size", "mesh"),
    [
        ({"mesh": {"data": 16}}, 0, (8, 1)),
        ({"mesh": {"data": 4, "space": 4}}, 0, (2, 4)),
        ({"mesh": {"data": -1}}, 3, (3, 1)),
        ({"mesh": {"data": 4}, "evaluate": {"batch_size": 6}}, 0, (6, 1)),
        ({"mesh": {"data": 2}, "optimizer": {"accumulation": 8}}, 2, (2, 1)),  # which is of training alone
    ],
)
def test_a_run_is_used_on_other_devices(
    trained: Path, layers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict, batch_size: int, mesh
):
    workdir = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    for section, values in changes.items():
        config[section] |= values
    (workdir / "config.json").write_text(json.dumps(config))
    run = load(workdir, "last", volume=str(layers), batch_size=batch_size)
    assert tuple(run.segmenter.mesh.shape.values()) == mesh
    fits = mesh[0] == config["mesh"]["data"]
    assert [f"data={mesh[0]} x space={mesh[1]} is used" in line for line in caplog.messages] == [True] * (not fits)
