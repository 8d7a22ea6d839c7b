"""What is computed again in the backward pass: the same numbers, less memory."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seisjax.collectives import collectives
from seisjax.errors import UserError
from seisjax.models.unet import REMAT, UNet
from seisjax.sharding import batch_sharding, make_mesh, replicated
from seisjax.training.step import initializer

pytestmark = pytest.mark.quick_compiler

CHEAPER = tuple(kind for kind in REMAT if kind != "none")
needs_barriers = pytest.mark.skipif(
    tuple(map(int, jax.__version__.split(".")[:2])) < (0, 11), reason="the CPU's compiler undoes any remat before"
)
make_unet = functools.partial(UNet, 1, 2, spatial_ndim=2, base_features=2, levels=3)


def gradient_of(remat: str, split: Any = None, **options: Any) -> tuple[Any, Any]:
    """Function (params, rest, x) -> ((loss, rest), gradients) in training mode, and key -> (params, rest)."""
    init, graphdef = initializer(functools.partial(make_unet, remat=remat, **options))

    def objective(params: Any, rest: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        model = nnx.merge(graphdef, params, rest)
        model.train()
        logits = model.resolutions(x, rngs=nnx.Rngs(dropout=7), split=split)
        loss = sum((jnp.mean(jnp.tanh(y - 0.3) ** 2) for y in logits), jnp.zeros(()))
        return loss, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

    return jax.value_and_grad(objective, has_aux=True), init


def assert_alike(one: Any, other: Any, tolerance: float) -> None:
    """Each leaf, to `tolerance` of its largest value; a leaf that is nearly 0, of 1."""
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.abs(a - b).max() <= tolerance * max(np.abs(a).max(), 1e-2), jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 13, 10, 1), {"norm": "batch", "dropout": 0.2, "deep_supervision": 1, "levels": 2}),
        pytest.param((1, 8, 8, 4, 1), {"norm": "group", "spatial_ndim": 3, "levels": 2}, marks=pytest.mark.slow),
    ],
)
def test_values_gradients_and_running_statistics_stay(shape: tuple[int, ...], options: dict[str, Any]):
    x = jax.random.normal(jax.random.key(0), shape)
    function, init = gradient_of("none", **options)
    state = jax.jit(init)(jax.random.key(0))
    expected = jax.jit(function)(*state, x)
    for remat in CHEAPER:
        assert_alike(expected, jax.jit(gradient_of(remat, **options)[0])(*state, x), tolerance=1e-5)


@pytest.mark.slow
def test_a_window_over_several_devices_stays():
    """An odd number of samples a device, which is where the layout changes between resolutions."""
    x = jax.random.normal(jax.random.key(0), (2, 12, 8, 1))
    options = {"norm": "batch", "levels": 2, "activation": "gelu"}
    function, init = gradient_of("none", **options)
    state = jax.jit(init)(jax.random.key(0))
    expected = jax.jit(function)(*state, x)
    mesh = make_mesh(2, 4)
    split = batch_sharding(mesh, 4, 1)
    placed = jax.device_put((*state, x), (replicated(mesh), replicated(mesh), split))
    for remat in CHEAPER:
        compiled = jax.jit(gradient_of(remat, split, **options)[0]).lower(*placed).compile()
        assert {c.kind for c in collectives(str(compiled.as_text()))} == {"all-reduce", "collective-permute"}
        assert_alike(expected, compiled(*placed), tolerance=1e-4)


def test_each_kind_keeps_less_for_the_backward_pass():
    """What is kept between the passes, by JAX itself: the compiler may undo it, or do more."""
    kept = []
    for remat in REMAT:
        init, graphdef = initializer(functools.partial(make_unet, levels=4, remat=remat))
        params, rest = jax.eval_shape(init, jax.random.key(0))
        x = jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32)
        forward = lambda p, rest, x, graphdef=graphdef: nnx.merge(graphdef, p, rest)(x)  # noqa: E731
        pullback = jax.eval_shape(lambda *state, forward=forward: jax.vjp(forward, *state)[1], params, rest, x)
        kept.append(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback)))
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    none, block, level = (size - state for size in kept)
    assert block < 0.5 * none
    assert level < 0.7 * block


@needs_barriers
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_each_kind_takes_less_memory_than_the_one_before(dtype: Any):
    x = jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)
    memory = []
    for remat in REMAT:
        function, init = gradient_of(remat, levels=4, base_features=4, dtype=dtype)
        state = jax.eval_shape(init, jax.random.key(0))
        analysis: Any = jax.jit(function).lower(*state, x).compile().memory_analysis()
        memory.append(analysis.temp_size_in_bytes)
    assert memory[1] < 0.67 * memory[0]
    assert memory[2] < 0.97 * memory[1]


def test_an_unknown_kind_is_named():
    with pytest.raises(UserError, match=r"model.remat: unknown remat 'blok' .*did you mean 'block'"):
        make_unet(remat="blok", rngs=nnx.Rngs(0))
