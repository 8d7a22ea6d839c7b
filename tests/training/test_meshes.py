"""The train step on meshes of devices: what they tell one another, what each holds, and that all end up alike."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seisjax import sharding
from seisjax.augment import Augmentation
from seisjax.collectives import collectives
from seisjax.conventions import IGNORE
from seisjax.losses import make_loss
from seisjax.models.unet import UNet
from seisjax.normalization import Normalization
from seisjax.training import step as steps
from seisjax.training.optimizer import make_optimizer, make_schedule
from seisjax.training.state import init_state

WIDE = (1, 32, 24)
CUBE = (16, 8, 8)
# Of which 8 devices hold an odd number of samples along their longest side.
ODD, ODD_CUBE = (1, 24, 20), (24, 8, 8)
BOUNDS = {"none": 1e-5, "batch": 1e-5, "group": 1e-4, "instance": 1e-4}
GATHERING = ("all-gather", "all-to-all")
# Each kind of change that leaves a sample on its axis; of flips any.
SCALING: dict[str, Any] = {"polarity": 0.5, "gain": 0.2, "noise": 0.1, "depth_gain": 0.2}


@dataclass(frozen=True)
class Step:
    """A train step compiled for a mesh, and what starts it."""

    compiled: Any
    init: Any
    batch: dict[str, jax.sharding.NamedSharding]

    def collectives(self):
        return collectives(self.compiled.as_text())

    def temporary_bytes(self):
        return self.compiled.memory_analysis().temp_size_in_bytes


@functools.cache
def compiled_step(
    mesh=(1, 1),
    window=WIDE,
    size=8,
    axis=None,
    norm="group",
    base=4,
    levels=2,
    classes=3,
    loss="cross_entropy",
    boundary_weight=0.0,
    deep_supervision=0,
    accumulation=1,
    augment=Augmentation(),  # noqa: B008
    normalization=Normalization(clip=5.0),  # noqa: B008
    average=0.0,
    vertical_position=False,
    **model,
):
    """The step on a mesh of (data, space) devices that splits the window's axis `axis`: its first longer than 1."""
    ndim = sum(side > 1 for side in window)
    axis = len(window) - ndim if axis is None else axis
    options: dict[str, Any] = {"spatial_ndim": ndim, "base_features": base, "levels": levels, "norm": norm}
    make_unet = functools.partial(
        UNet, 1 + vertical_position, classes, deep_supervision=deep_supervision, **options, **model
    )
    init, graphdef = steps.initializer(make_unet)
    optimizer = make_optimizer(make_schedule("cosine", 1e-3, 0, 1000), 1e-4, 1.0)
    devices = sharding.make_mesh(*mesh)
    split = sharding.batch_sharding(devices, ndim + 2, axis + 1 - (len(window) - ndim)) if mesh[1] > 1 else None
    step = steps.make_train_step(
        steps.Network(graphdef, window, normalization, vertical_position, split),
        make_loss(loss, classes, boundary_weight=boundary_weight),
        optimizer,
        lambda images, labels, valid, indices: augment(images, labels, valid, 0, indices),
        max(classes, 2),
        accumulation,
        jax.random.key(1),
        deep_supervision=[2**k for k in range(1, deep_supervision + 1)],
        average=average,
    )
    everywhere = sharding.replicated(devices)
    batch = {
        "image": sharding.batch_sharding(devices, len(window) + 2, axis + 1),
        "labels": sharding.batch_sharding(devices, len(window) + 1, axis + 1),
    }
    shapes = {
        "image": jax.ShapeDtypeStruct((size, *window, 1), jnp.float32),
        "labels": jax.ShapeDtypeStruct((size, *window), jnp.uint8),
    }
    make_state = functools.partial(
        init_state, init_parameters=init, optimizer=optimizer, num_classes=max(classes, 2), average=average
    )
    jitted = jax.jit(step, in_shardings=(everywhere, batch), out_shardings=everywhere, donate_argnums=0)
    state = jax.eval_shape(make_state, jax.random.key(0))
    return Step(jitted.lower(state, shapes).compile(), jax.jit(make_state, out_shardings=everywhere), batch)


def make_batch(number, window, size=8):
    """Layers in noise, padded at an end; a fifth of the samples is not labelled."""
    rng = np.random.default_rng(number)
    labels = (np.cumsum(rng.random((size, *window)) < 0.1, -1) % 3).astype(np.uint8)
    images = (labels + rng.normal(0, 0.5, labels.shape)).astype(np.float32)[..., None]
    labels[rng.random(labels.shape) > 0.8] = IGNORE
    labels[:, -1:, -2:], images[:, -1:, -2:] = IGNORE, np.nan
    return {"image": images, "labels": labels}


def parameters_after(step, window, seed=0, number=20):
    """The parameters after so many steps from a seed, as numpy arrays."""
    state = step.init(jax.random.key(seed))
    for k in range(number):
        state, _ = step.compiled(state, jax.device_put(make_batch(1000 * seed + k, window), step.batch))
    return jax.tree.map(np.asarray, state["params"])


def relative(a, b):
    """Norm of the difference over the norm of the first."""
    a, b = (jax.tree.map(lambda x: x.astype(np.float64), tree) for tree in (a, b))
    return float(optax.tree.norm(jax.tree.map(np.subtract, a, b)) / optax.tree.norm(a))


def parameter_bytes(step):
    return sum(leaf.size * 4 for leaf in jax.tree.leaves(jax.eval_shape(step.init, jax.random.key(0))["params"]))


def kinds_and_bytes(step):
    return [(one.kind, one.bytes) for one in step.collectives()]


EVERYTHING: dict[str, dict[str, Any]] = {
    "sections": {
        "mesh": (1, 8),
        "window": ODD,
        "size": 4,
        "loss": "focal+generalized_dice",
        "boundary_weight": 2.0,
        "deep_supervision": 1,
        "accumulation": 2,
        "augment": Augmentation(flip_axes=(1, 2), frequency=0.3, **SCALING),
        "normalization": Normalization("window"),
        "average": 0.9,
        "dropout": 0.2,
        "vertical_position": True,
        "activation": "gelu",
    },
    "cubes": {
        "mesh": (2, 4),
        "window": (12, 8, 8),
        "norm": "batch",
        "loss": "cross_entropy+dice",
        "deep_supervision": 1,
        "accumulation": 2,
        "augment": Augmentation(flip_axes=(0, 1, 2), **SCALING),
        "normalization": Normalization("trace", robust=True),
        "activation": "gelu",
    },
}


@pytest.mark.quick_compiler
@pytest.mark.parametrize("name", ["sections", pytest.param("cubes", marks=pytest.mark.slow)])
def test_split_windows_are_never_gathered(name):
    """All that works on windows at once, where devices hold an odd number of rows."""
    kinds = {one.kind for one in compiled_step(**EVERYTHING[name]).collectives()}
    assert kinds == {"all-reduce", "collective-permute"}


ACROSS: dict[str, Any] = {"axis": 2, "window": WIDE}
SPLIT: dict[str, dict[str, Any]] = {
    **{norm: {"norm": norm} for norm in BOUNDS},
    **{loss: {"loss": loss} for loss in ("dice", "generalized_dice", "focal+dice")},
    "boundaries": {"boundary_weight": 3.0},
    "one logit": {"classes": 1},
    "deep supervision": {"levels": 3, "deep_supervision": 2},
    "accumulation": {"accumulation": 4},
    "accumulated rows": {"accumulation": 2, "mesh": (4, 2), "size": 8},
    "vertical position": {"vertical_position": True} | ACROSS,
    "depth gain": {"augment": Augmentation(depth_gain=0.2)} | ACROSS,
    "flips": {"augment": Augmentation(flip_axes=(1, 2))} | ACROSS,
    "time": {"augment": Augmentation(time_shift=2.0, time_stretch=0.1, frequency=0.3)},
    "normalised traces": {"normalization": Normalization("trace")} | ACROSS,
    "gain control": {"normalization": Normalization("trace", robust=True, agc=9)},
    "bfloat16": {"dtype": jnp.bfloat16},
    "cubes in bfloat16": {"dtype": jnp.bfloat16, "window": ODD_CUBE},
    "dropout": {"dropout": 0.3},
    "even": {"window": WIDE},
    "five levels": {"levels": 5, "window": (1, 80, 48), "size": 2},
    "remat by block": {"levels": 3, "remat": "block"},
    "remat by level": {"levels": 3, "remat": "level"},
    "cubes": {"window": ODD_CUBE, "levels": 3},
    "cubes across": {"window": (8, 24, 8), "axis": 1},
    "cubes in depth": {"window": (8, 8, 24), "axis": 2, "norm": "instance"},
    "even cubes": {"window": CUBE},
}


@pytest.mark.quick_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", SPLIT)
def test_each_option_keeps_windows_split(name):
    """Where devices hold an odd number of rows, too: at the finest resolution, or only at coarser ones."""
    options = {"mesh": (1, 8), "size": 4, "window": ODD} | SPLIT[name]
    kinds = {one.kind for one in compiled_step(**options).collectives()}
    assert kinds == {"all-reduce", "collective-permute"}


@pytest.mark.quick_compiler
def test_dropped_traces_gather_one_number_a_trace_and_no_more():
    step = compiled_step((1, 8), size=4, augment=Augmentation(trace_dropout=0.2))
    gathered = [one for one in step.collectives() if one.kind in GATHERING]
    assert sum(one.bytes for one in gathered) <= 4 * 4 * WIDE[1]


@pytest.mark.quick_compiler
@pytest.mark.parametrize("norm", ["group", pytest.param("batch", marks=pytest.mark.slow)])
def test_split_batches_reduce_the_gradient_once(norm):
    step = compiled_step((8, 1), norm=norm)
    gradient = parameter_bytes(step)
    found = sorted((size for _, size in kinds_and_bytes(step)), reverse=True)
    assert {kind for kind, _ in kinds_and_bytes(step)} == {"all-reduce"}
    moments = 4 * 1024 if norm == "batch" else 64
    assert gradient <= sum(found) <= gradient + moments


@pytest.mark.quick_compiler
def test_split_batches_split_the_work():
    one, many = (compiled_step(mesh).compiled.cost_analysis()["flops"] for mesh in ((1, 1), (8, 1)))
    assert many < 1.1 * one / 8


@pytest.mark.slow
@pytest.mark.quick_compiler
def test_a_split_window_takes_its_share_of_work_and_memory():
    options = {"window": (1, 256, 256), "size": 1, "levels": 3, "classes": 1}
    one, many = (compiled_step((1, devices), **options) for devices in (1, 8))
    assert many.compiled.cost_analysis()["flops"] < 1.1 * one.compiled.cost_analysis()["flops"] / 8
    whole = parameter_bytes(one)  # the gradient is whole on every device
    assert many.temporary_bytes() - whole < 1.2 * (one.temporary_bytes() - whole) / 8


@pytest.mark.quick_compiler
@pytest.mark.slow
@pytest.mark.parametrize("receivers", [4096, 3520])
def test_the_papers_network_on_a_panel_split_over_devices(receivers):
    """7 levels, 7.8 million parameters, 4096 samples; compiled only. Of 3520 receivers each of 8 devices holds 440, and
    55 at the fourth resolution: an odd number."""
    options = {"window": (1, receivers, 4096), "size": 1, "base": 8, "levels": 7, "classes": 1}
    temporary = {}
    for devices in (1, 2, 4, 8):
        step = compiled_step((1, devices), **options)
        temporary[devices] = step.temporary_bytes()
        assert temporary[devices] <= 1.2 / devices * temporary[1]
        assert not [one for one in step.collectives() if one.kind in GATHERING]
        compiled_step.cache_clear()
    assert parameter_bytes(step) == 4 * 7_781_777
    reduced = [one.bytes for one in step.collectives() if one.kind == "all-reduce"]
    assert 31e6 < max(reduced) < 31.5e6


def loss_and_gradient_norm(step, window, size=8):
    """Of the first step. Adam itself would not notice a gradient of which every value is doubled."""
    metrics = step.compiled(step.init(jax.random.key(0)), jax.device_put(make_batch(0, window, size), step.batch))[1]
    return [float(metrics["loss"]), float(metrics["gradient_norm"])]


@pytest.mark.quick_compiler
@pytest.mark.parametrize("name", ["sections", pytest.param("cubes", marks=pytest.mark.slow)])
def test_split_windows_have_the_gradient_of_whole_ones(name):
    options = EVERYTHING[name]
    window, size = options["window"], options.get("size", 8)
    split = loss_and_gradient_norm(compiled_step(**options), window, size)
    whole = loss_and_gradient_norm(compiled_step(**options | {"mesh": (1, 1)}), window, size)
    assert split == pytest.approx(whole, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("window", "levels"), [(WIDE, 2), (CUBE, 2), (ODD, 3), (ODD_CUBE, 3)], ids=str)
@pytest.mark.parametrize("norm", BOUNDS)
def test_twenty_steps_end_alike_on_every_mesh(norm, window, levels):
    """With a smooth activation: where a sample lies on the kink of a ReLU to within rounding, its sums on another mesh
    may put it on the other side, and what Adam makes of the other gradient is no matter of rounding any more."""
    options = {"norm": norm, "window": window, "levels": levels, "activation": "gelu"}
    one = compiled_step((1, 1), **options)
    parameters, first = parameters_after(one, window), loss_and_gradient_norm(one, window)
    for mesh in ((1, 8), (2, 4), (4, 2), (8, 1)):
        step = compiled_step(mesh, **options)
        assert relative(parameters, parameters_after(step, window)) < BOUNDS[norm], mesh
        assert loss_and_gradient_norm(step, window) == pytest.approx(first, rel=1e-4), mesh
