"""How far do parameters drift apart when a run is laid out on other devices? Twenty steps for each norm and activation.

    python benchmarks/mesh_rounding.py --output=mesh_rounding.json

Each seed draws a network and its batches; the step is taken on one device, and on eight that split the batch, the
windows, or both. Compared are all parameters, as the norm of the difference over the norm. Virtual devices of this
machine's processor, so that what differs is the order of sums alone. Learning rate and warm-up are the defaults.
"""

import functools
import importlib.metadata
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from absl import app, flags

from seisjax import sharding
from seisjax.config import Experiment
from seisjax.conventions import IGNORE
from seisjax.files import write_json
from seisjax.losses import make_loss
from seisjax.models.unet import UNet
from seisjax.normalization import Normalization
from seisjax.training import step as steps
from seisjax.training.optimizer import make_optimizer, make_schedule
from seisjax.training.state import init_state

SEEDS = flags.DEFINE_integer("seeds", 12, "networks, each with batches of its own")
STEPS = flags.DEFINE_integer("steps", 20, "steps of each")
NORMS = flags.DEFINE_list("norms", ["none", "group", "instance", "batch"], "model.norm, one or more")
ACTIVATIONS = flags.DEFINE_list("activations", ["relu", "gelu"], "model.activation, one or more")
WARMUP = flags.DEFINE_integer("warmup_steps", -1, "optimizer.warmup_steps; -1: the default")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the result")

MESHES = ((8, 1), (1, 8), (2, 4))
WINDOW, SIZE, CLASSES = (1, 32, 24), 8, 3


def compiled_step(norm: str, activation: str, mesh: tuple[int, int]) -> Callable[[int], Any]:
    """The function seed -> parameters after the steps, on a mesh of (data, space) devices."""
    devices, options = sharding.make_mesh(*mesh), Experiment().optimizer
    make_unet = functools.partial(
        UNet, 1, CLASSES, spatial_ndim=2, base_features=8, levels=3, norm=norm, activation=activation
    )
    warmup = options.warmup_steps if WARMUP.value < 0 else WARMUP.value
    schedule = make_schedule(options.schedule, options.learning_rate, warmup, 1000)
    optimizer = make_optimizer(schedule, options.weight_decay, options.clip_norm)
    init, graphdef = steps.initializer(make_unet)
    network = steps.Network(graphdef, WINDOW, Normalization(), split=sharding.batch_sharding(devices, 4, 1))
    loss = make_loss("cross_entropy", CLASSES)
    augment: Any = lambda images, labels, valid, indices: (images, labels)  # noqa: E731
    step = steps.make_train_step(network, loss, optimizer, augment, CLASSES, 1, jax.random.key(0))
    everywhere = sharding.replicated(devices)
    lying = {name: sharding.batch_sharding(devices, n, 2) for name, n in (("image", 5), ("labels", 4))}
    jitted = jax.jit(step, in_shardings=(everywhere, lying), out_shardings=everywhere, donate_argnums=0)
    start = functools.partial(init_state, init_parameters=init, optimizer=optimizer, num_classes=CLASSES)
    first = jax.jit(start, out_shardings=everywhere)

    def run(seed: int) -> Any:
        state = first(jax.random.key(seed))
        for batch in batches(seed):
            state, _ = jitted(state, jax.device_put(batch, lying))
        return jax.tree.map(np.asarray, state["params"])

    return run


def batches(seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Layers in noise; a fifth of the samples is not labelled."""
    random = np.random.default_rng(seed)
    for _ in range(STEPS.value):
        labels = (np.cumsum(random.random((SIZE, *WINDOW)) < 0.1, -1) % CLASSES).astype(np.uint8)
        images = (labels + random.normal(0, 0.5, labels.shape)).astype(np.float32)[..., None]
        labels[random.random(labels.shape) > 0.8] = IGNORE
        yield {"image": images, "labels": labels}


def relative(a: Any, b: Any) -> float:
    """Norm of the difference over the norm of the first."""
    a, b = (jax.tree.map(lambda x: x.astype(np.float64), tree) for tree in (a, b))
    return float(optax.tree.norm(jax.tree.map(np.subtract, a, b)) / optax.tree.norm(a))


def measure(norm: str, activation: str) -> list[dict[str, Any]]:
    """A row a mesh: the relative differences from one device, a seed each."""
    seeds = range(SEEDS.value)
    run = compiled_step(norm, activation, (1, 1))
    alone = [run(seed) for seed in seeds]
    rows = []
    for mesh in MESHES:
        run = compiled_step(norm, activation, mesh)
        differences = [relative(one, run(seed)) for seed, one in zip(seeds, alone, strict=True)]
        rows.append({"norm": norm, "activation": activation, "data": mesh[0], "space": mesh[1]} | spread(differences))
    return rows


def spread(differences: list[float]) -> dict[str, Any]:
    """Their median, the largest, and all of them."""
    return {"median": statistics.median(differences), "largest": max(differences), "differences": differences}


def table(rows: list[dict[str, Any]]) -> str:
    """One line a row."""
    lines = [f"{'norm':<10}{'activation':<12}{'data x space':<14}{'median':>9}{'largest':>9}"]
    lines += [
        f"{r['norm']:<10}{r['activation']:<12}{r['data']} x {r['space']:<10}{r['median']:>9.0e}{r['largest']:>9.0e}"
        for r in rows
    ]
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Measure, print, write."""
    del argv
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    rows = [row for norm in NORMS.value for activation in ACTIVATIONS.value for row in measure(norm, activation)]
    print(table(rows))
    if OUTPUT.value:
        settings = {"seeds": SEEDS.value, "steps": STEPS.value, "warmup_steps": WARMUP.value, "window": list(WINDOW)}
        versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}
        result = {"date": time.strftime("%Y-%m-%d"), "versions": versions, "settings": settings, "rows": rows}
        write_json(Path(OUTPUT.value), result)


if __name__ == "__main__":
    app.run(main)
