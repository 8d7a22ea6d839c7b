"""Small surveys, a function that stands for a network, and predictions of both."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.geometry import Axis, Box
from seisjax.inference import Cutting, Outcome, Task, predict_volume
from seisjax.volumes import Volume, create_volume

SHAPE = (13, 14, 22)
WINDOW = (6, 8, 10)
CHUNK = (4, 4, 8)
NAMES = ("inline", "crossline", "time")
CUTTING = [field.name for field in dataclasses.fields(Cutting)]
TASK = [field.name for field in dataclasses.fields(Task)]
_numbers = itertools.count()


def new_url() -> str:
    return f"memory://predict-{next(_numbers)}/"


def make_survey(
    values: np.ndarray, *, live: np.ndarray | None = None, chunk: tuple[int, ...] = CHUNK, url: str | Path = ""
) -> Volume:
    names = ("offset", *NAMES)[-values.ndim :]
    axes = [Axis(name, 100 + 2 * np.arange(n)) for name, n in zip(names, values.shape, strict=True)]
    volume = create_volume(url or new_url(), axes, chunk=chunk, shard=chunk)
    for name, array in (("amplitude", values), ("trace_mask", live)):
        if array is not None:
            for box in volume.shards(name):
                volume.write(name, box, array[box.slices])
    if live is not None:
        volume.add_array(
            "cdp_x", dimension_names=NAMES[:-1], values=np.arange(live.size, dtype=float).reshape(live.shape)
        )
    return volume.finish()


@jax.jit
def whole_window(images: jax.Array) -> jax.Array:
    """Two classes; every sample depends on the whole window (as under a group norm) and on its place in it."""
    known = jnp.where(jnp.isnan(images), 0.0, images)
    axes = tuple(range(1, images.ndim - 1))
    normed = (known - known.mean(axes, keepdims=True)) / (known.std(axes, keepdims=True) + 1e-3)
    logit = normed + 0.3 * jnp.roll(normed, 1, axes[-1]) + jnp.linspace(0, 1, images.shape[-2])[:, None]
    return jax.nn.softmax(jnp.concatenate([logit, -logit], -1), -1)


def make_task(volume: Volume, **changes: Any) -> Task:
    """A task with `changes` of its fields and those of its cutting; others are passed over."""
    cutting = {"window": WINDOW, "padded": (8, 8, 12), "multiple": 2, "overlap": 0.4}
    task = {"box": Box.whole(volume.shape), "batch_size": 3, "num_classes": 2, "block_bytes": 2**30}
    task["probability_dtype"] = "float32"
    cutting |= {name: value for name, value in changes.items() if name in CUTTING}
    task |= {name: value for name, value in changes.items() if name in TASK}
    return Task(volume=volume, cutting=Cutting(**cutting), **task)


def run_prediction(
    volume: Volume, forward: Callable[[np.ndarray], Any] = whole_window, output: str | Path = "", **changes: Any
) -> Outcome:
    """The outcome of a prediction; `changes`: of the task, and what predict_volume takes."""
    options = {name: value for name, value in changes.items() if name not in (*CUTTING, *TASK, "forwards")}
    forwards = changes.get("forwards", [forward])
    return predict_volume(make_task(volume, **changes), forwards, str(output or new_url()), **options)


@pytest.fixture(scope="session")
def forward() -> Callable[[np.ndarray], jax.Array]:
    """`whole_window`."""
    return whole_window


@pytest.fixture(scope="session")
def survey() -> Callable[..., Volume]:
    """`make_survey`."""
    return make_survey


@pytest.fixture(scope="session")
def task() -> Callable[..., Task]:
    """`make_task`."""
    return make_task


@pytest.fixture(scope="session")
def predict() -> Callable[..., Outcome]:
    """`run_prediction`."""
    return run_prediction


@pytest.fixture(scope="session")
def predicted() -> Callable[..., Volume]:
    """The finished volume of `run_prediction`."""

    def finished(*arguments: Any, **options: Any) -> Volume:
        outcome = run_prediction(*arguments, **options)
        assert outcome.volume is not None
        return outcome.volume

    return finished


@pytest.fixture(scope="session")
def contents() -> Callable[[Volume], dict[str, np.ndarray]]:
    """All products of a prediction."""

    def read(volume: Volume) -> dict[str, np.ndarray]:
        names = [name for name in volume.arrays if name.startswith("pred_")]
        return {name: volume.read(name, Box.whole(volume.arrays[name].shape)) for name in names}

    return read


@pytest.fixture(scope="session")
def values() -> np.ndarray:
    """Amplitudes of a survey of no even sides."""
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture(scope="session")
def volume(values: np.ndarray) -> Volume:
    """A survey of them."""
    return make_survey(values)
