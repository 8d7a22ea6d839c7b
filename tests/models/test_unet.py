"""The UNet: its size, its layers against plain formulations, any input, precision, sharding."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P  # noqa: N817

from seisjax.collectives import collectives
from seisjax.errors import UserError
from seisjax.geometry import factors
from seisjax.models.initialize import init_parameters, parameter_count
from seisjax.models.layers import NORMS, BatchNorm, GroupNorm, UpConvolution, beside, max_pool
from seisjax.models.unet import UNet, receptive_radius
from seisjax.sharding import batch_sharding, make_mesh

pytestmark = pytest.mark.quick_compiler

make_unet = functools.partial(UNet, spatial_ndim=2, base_features=4, levels=2)


def pure(model):
    """Graph definition, parameters and the rest of a model as pure dicts."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(rest)


def loss_and_gradient(graphdef, split=None):
    """A function (params, rest, x) -> ((loss, rest), gradients) in training mode."""

    def objective(params, rest, x):
        model = nnx.merge(graphdef, params, rest)
        model.train()
        y = model(x, rngs=nnx.Rngs(dropout=7), split=split)
        rest = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))
        return jnp.mean(jnp.tanh(y - 0.3) ** 2), rest

    return jax.value_and_grad(objective, has_aux=True)


def relative(a, b):
    """Norm of the difference of two trees over the norm of the first."""
    norm = lambda tree: np.sqrt(sum(float((np.asarray(x, np.float64) ** 2).sum()) for x in jax.tree.leaves(tree)))  # noqa: E731
    return norm(jax.tree.map(lambda x, y: np.asarray(x, np.float64) - np.asarray(y, np.float64), a, b)) / norm(a)


@pytest.mark.parametrize(("norm", "count"), [("none", 7_779_241), ("group", 7_781_777), ("batch", 7_781_777)])
def test_parameter_count_of_the_reference_network(norm, count):
    shapes = nnx.eval_shape(lambda: UNet(1, 1, spatial_ndim=2, base_features=8, levels=7, norm=norm, rngs=nnx.Rngs(0)))
    assert parameter_count(nnx.state(shapes, nnx.Param)) == count


def test_block_names_sort_along_the_path_and_keys_are_text():
    _, params, _ = pure(make_unet(1, 2, rngs=nnx.Rngs(0)))
    assert list(params["blocks"]) == sorted(params["blocks"])
    assert list(params["blocks"]) == ["0_down_0", "1_bottleneck", "2_up_0", "3_head"]
    assert all(isinstance(key.key, str) for path, _ in jax.tree_util.tree_leaves_with_path(params) for key in path)


@pytest.mark.parametrize("norm", sorted(NORMS))
def test_biases_stand_only_where_no_norm_follows(norm):
    _, params, _ = pure(make_unet(1, 2, norm=norm, rngs=nnx.Rngs(0)))
    assert ("bias" in params["blocks"]["0_down_0"]["conv_0"]) == (norm == "none")
    assert "bias" in params["blocks"]["3_head"]


def test_deep_supervision_adds_heads_alone_and_leaves_the_rest_as_it_was():
    shape = (2, 13, 20, 1)
    x = jax.random.normal(jax.random.key(0), shape)
    plain, deep = (make_unet(1, 3, levels=4, deep_supervision=n, rngs=nnx.Rngs(0)) for n in (0, 3))
    (_, params, _), (_, more, _) = pure(plain), pure(deep)
    assert list(more["blocks"]) == sorted(more["blocks"])
    assert set(more["blocks"]) - set(params["blocks"]) == {"4_head_1", "4_head_2", "4_head_3"}
    jax.tree.map(np.testing.assert_array_equal, params["blocks"], {n: more["blocks"][n] for n in params["blocks"]})
    logits = jax.jit(deep.resolutions)(x)
    assert [y.shape for y in logits] == [(2, 13, 20, 3), (2, 7, 10, 3), (2, 4, 5, 3), (2, 2, 3, 3)]
    assert all(y.dtype == jnp.float32 for y in logits)
    np.testing.assert_array_equal(jax.jit(deep.__call__)(x), jax.jit(plain.__call__)(x))


def test_more_deep_supervision_than_levels_is_refused():
    with pytest.raises(UserError, match="model.deep_supervision: model.levels=2 has 1 coarser"):
        make_unet(1, 2, deep_supervision=2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("field", ["norm", "activation"])
def test_unknown_names_are_refused(field):
    with pytest.raises(UserError, match=f"model.{field}: unknown"):
        functools.partial(make_unet, **{field: "grup"})(1, 2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (8, 12), (1, 5, 9), (4, 4, 8)])
def test_any_size_in_both_dimensions(shape):
    model = make_unet(2, 3, spatial_ndim=len(shape), rngs=nnx.Rngs(0))
    logits = jax.jit(model.__call__)(jnp.ones((2, *shape, 2)))
    assert logits.shape == (2, *shape, 3)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()


@settings(max_examples=25, deadline=None)
@given(data=st.data(), ndim=st.integers(2, 3), levels=st.integers(1, 4))
def test_any_kernels_and_strides_keep_the_size(data, ndim, levels):
    """Of the window, and of each coarser resolution what its strides leave of it."""
    numbers = lambda values: st.tuples(*[st.sampled_from(values)] * ndim)  # noqa: E731
    kernels = data.draw(st.lists(numbers((1, 3)), min_size=levels, max_size=levels))
    strides = data.draw(st.lists(numbers((1, 2)), min_size=levels - 1, max_size=levels - 1))
    sides = data.draw(st.tuples(*[st.integers(1, 40)] * ndim))
    options = {"spatial_ndim": ndim, "base_features": 2, "levels": levels, "deep_supervision": levels - 1}

    def logits(x):
        return UNet(1, 2, **options, kernels=kernels, strides=strides, rngs=nnx.Rngs(0)).resolutions(x)

    got = jax.eval_shape(logits, jax.ShapeDtypeStruct((2, *sides, 1), jnp.float32))
    spans = factors(strides, ndim)
    assert [y.shape for y in got] == [
        (2, *(-(-a // b) for a, b in zip(sides, by, strict=True)), 2) for by in spans[: len(got)]
    ]


def test_strides_of_two_and_kernels_of_three_are_the_network_of_before():
    options = {"spatial_ndim": 3, "levels": 3}
    plain = make_unet(1, 2, **options, rngs=nnx.Rngs(0))
    named = make_unet(1, 2, **options, kernels=((3,) * 3,) * 3, strides=((2,) * 3,) * 2, rngs=nnx.Rngs(0))
    jax.tree.map(np.testing.assert_array_equal, pure(named)[1], pure(plain)[1])
    x = jax.random.normal(jax.random.key(0), (2, 5, 8, 7, 1))
    np.testing.assert_array_equal(jax.jit(named.__call__)(x), jax.jit(plain.__call__)(x))


def test_an_axis_that_is_never_looked_along_is_a_batch_of_sections():
    """Kernels and strides of 1 along the first axis: the network sees each section for itself."""
    flat = {"kernels": ((1, 3, 3),) * 2, "strides": ((1, 2, 2),)}
    volume = make_unet(1, 2, spatial_ndim=3, norm="none", **flat, rngs=nnx.Rngs(0))
    section = make_unet(1, 2, norm="none", rngs=nnx.Rngs(0))
    params = jax.tree.map(lambda x, like: x.reshape(like.shape), pure(volume)[1], pure(section)[1])
    nnx.update(section, params)
    x = jax.random.normal(jax.random.key(0), (1, 3, 8, 12, 1))
    np.testing.assert_allclose(volume(x)[0], section(x[0]), atol=1e-5)


@pytest.mark.parametrize(("field", "wrong"), [("kernels", ((3, 3),)), ("strides", ((2, 2, 2),))])
def test_kernels_and_strides_that_do_not_fit_are_refused(field, wrong):
    with pytest.raises(UserError, match=f"model.{field}"):
        functools.partial(make_unet, **{field: wrong})(1, 2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("strides", [(), ((1, 2),), ((2, 1),)])
def test_padding_is_that_of_zeros_at_the_end(strides):
    model = make_unet(1, 2, strides=strides, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (1, 7, 13, 1))
    call = jax.jit(model.__call__)
    short = [-n % by for n, by in zip((7, 13), (strides or ((2, 2),))[0], strict=True)]
    padded = call(jnp.pad(x, ((0, 0), (0, short[0]), (0, short[1]), (0, 0))))
    np.testing.assert_allclose(call(x), padded[:, :7, :13], atol=1e-5)


STRIDES = [(2, 2), (2, 2, 2), (2, 1), (1, 2, 2), (1, 1, 2)]


@pytest.mark.parametrize("strides", STRIDES)
def test_max_pool_equals_a_pooling_window(strides):
    x = jax.random.normal(jax.random.key(0), (2, *(4, 6, 8)[: len(strides)], 3))
    window = (1, *strides, 1)
    plain = lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")  # noqa: E731
    pool = functools.partial(max_pool, strides=strides)
    np.testing.assert_array_equal(pool(x), plain(x))
    weights = jax.random.normal(jax.random.key(1), pool(x).shape)
    gradients = (jax.grad(lambda x, f=f: (f(x) * weights).sum())(x) for f in (pool, plain))
    np.testing.assert_allclose(*gradients, rtol=1e-6)


@pytest.mark.parametrize("strides", STRIDES)
def test_max_pool_shares_the_gradient_among_equals_and_keeps_one_byte_a_result(strides):
    x = jax.random.randint(jax.random.key(0), (2, *(4, 6, 8)[: len(strides)], 3), 0, 3).astype(jnp.float32)
    parts = lambda sides: (n for side, by in zip(sides, strides, strict=True) for n in (side // by, by))  # noqa: E731
    plain = lambda x: x.reshape(2, *parts(x.shape[1:-1]), 3).max(tuple(range(2, 2 * len(strides) + 1, 2)))  # noqa: E731
    y, backward = jax.vjp(functools.partial(max_pool, strides=strides), x)
    weights = jax.random.normal(jax.random.key(1), y.shape)
    np.testing.assert_allclose(backward(weights)[0], jax.vjp(plain, x)[1](weights)[0], rtol=1e-6)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(backward)) == y.size


def test_max_pool_loses_no_gradient_where_a_compiler_rounds_twice():
    """Compiled, what is pooled is computed anew for each use, and rounded as each use has it."""
    norm, x = GroupNorm(8, 4), jax.random.normal(jax.random.key(0), (4, 16, 10, 8))
    weights = jax.random.normal(jax.random.key(1), (4, 8, 5, 8))
    gradient = jax.grad(lambda x: (max_pool(norm(x), (2, 2)) * weights).sum())
    assert relative(gradient(x), jax.jit(gradient)(x)) < 1e-5


@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("mesh", [(1, 1), (8, 1), (2, 4)], ids=str)
@pytest.mark.parametrize("strides", [(2, 2), (1, 2, 2)])
def test_max_pool_has_one_gradient_on_every_mesh_and_within_remat(strides, mesh, again):
    """Bit for bit, with equals in most blocks, and devices tell one another nothing."""
    x = jax.random.randint(jax.random.key(0), (8, *(16, 16, 4)[: len(strides)], 3), 0, 3).astype(jnp.float32)
    weights = jax.random.normal(jax.random.key(1), max_pool(x, strides).shape)

    def gradient(x, weights, again=again):
        pool = lambda x: max_pool(2 * nnx.relu(x - 1), strides)  # noqa: E731
        pool = jax.checkpoint(pool) if again else pool
        return jax.grad(lambda x: (pool(x) * weights).sum())(x)

    places = [batch_sharding(make_mesh(*mesh), x.ndim, 1)] * 2
    compiled = jax.jit(gradient, in_shardings=places, out_shardings=places[0]).lower(x, weights).compile()
    assert not collectives(compiled.as_text())
    found = compiled(*jax.device_put((x, weights), tuple(places)))
    assert len(found.sharding.device_set) == math.prod(mesh)
    np.testing.assert_array_equal(found, jax.jit(functools.partial(gradient, again=False))(x, weights))


@pytest.mark.parametrize("strides", [(2, 2), (2, 2, 2), (1, 2, 2), (2, 1)])
def test_up_convolution_equals_a_transposed_convolution(strides):
    ndim = len(strides)
    layer = UpConvolution(3, 5, strides=strides, use_bias=True, dtype=jnp.dtype(jnp.float32))
    plain = nnx.ConvTranspose(3, 5, strides, strides=strides, padding="VALID", rngs=nnx.Rngs(0))
    kernel, bias = jax.random.normal(jax.random.key(0), plain.kernel.shape), jnp.arange(5.0)
    x = jax.random.normal(jax.random.key(1), (2, *(3, 4, 2)[:ndim], 3))
    taps = kernel.transpose(ndim, *range(ndim), ndim + 1)
    # Without `transpose_kernel`, Flax lays its taps down mirrored.
    layer.kernel[...] = jnp.flip(taps, range(1, ndim + 1)).reshape(3, -1)
    plain.kernel[...] = kernel
    nnx.update(layer, {"bias": bias})
    nnx.update(plain, {"bias": bias})
    np.testing.assert_allclose(jax.jit(layer.__call__)(x), jax.jit(plain.__call__)(x), atol=1e-5)


def test_beside_equals_a_concatenation_and_so_does_its_gradient():
    a, b = (jax.random.normal(jax.random.key(i), (2, 4, 3, features)) for i, features in enumerate((3, 2)))
    weights = jnp.arange(5.0)

    def joined(join):
        return jax.jit(lambda a, b: (join(a, b), jax.grad(lambda a, b: (join(a, b) * weights).sum(), (0, 1))(a, b)))

    found, expected = (joined(join)(a, b) for join in (beside, lambda a, b: jnp.concatenate([a, b], axis=-1)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_group_norm_equals_flax():
    groups = 2
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 8, 5, 6))
    scale = jnp.arange(1.0, 7)
    ours, plain = GroupNorm(6, groups), nnx.GroupNorm(6, groups, epsilon=1e-5, rngs=nnx.Rngs(0))
    nnx.update(ours, {"scale": scale})
    nnx.update(plain, {"scale": scale})
    np.testing.assert_allclose(ours(x), plain(x), atol=2e-5)
    gradients = (jax.jit(jax.grad(lambda x, m=m: jnp.sin(m(x)).sum()))(x) for m in (ours, plain))
    np.testing.assert_allclose(*gradients, atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_norms_keep_their_precision_far_from_zero(norm):
    """A mean of 1000 deviations: all that is lost is what float32 itself does not hold of the input."""
    x = 1000 + jax.random.normal(jax.random.key(0), (2, 64, 64, 4))
    exact = np.asarray(x, np.float64)
    axes = {"batch": (0, 1, 2), "group": (1, 2, 3), "instance": (1, 2)}[norm]
    exact = (exact - exact.mean(axes, keepdims=True)) / np.sqrt(exact.var(axes, keepdims=True) + 1e-5)
    layer = {"batch": BatchNorm(4), "group": GroupNorm(4, 1), "instance": GroupNorm(4, 4)}[norm]
    y = np.asarray(layer(x), np.float64)
    np.testing.assert_allclose(y.std(axes), exact.std(axes), rtol=1e-5)
    np.testing.assert_allclose(y, exact, atol=5e-4)


def test_batch_norm_remembers_the_mean_of_the_batches():
    layer = BatchNorm(3)
    batches = [jax.random.normal(jax.random.key(i), (4, 6, 3)) * (i + 1) + i for i in range(3)]
    for batch in batches:
        y = layer(batch)
        np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(layer.mean[...], np.mean([b.mean((0, 1)) for b in batches], axis=0), rtol=1e-4)
    np.testing.assert_allclose(layer.var[...], np.mean([b.var((0, 1)) for b in batches], axis=0), rtol=1e-4)
    layer.eval()
    before = layer.mean[...]
    expected = (batches[0] - layer.mean[...]) / np.sqrt(layer.var[...] + 1e-5)
    np.testing.assert_allclose(layer(batches[0]), expected, atol=1e-4)
    np.testing.assert_array_equal(before, layer.mean[...])


def test_dropout_acts_in_training_alone():
    model = make_unet(1, 2, dropout=0.5, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
    model.eval()
    still = model(x)
    model.train()
    one, same, other = (model(x, rngs=nnx.Rngs(dropout=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, still)


def test_bfloat16_keeps_float32_parameters_statistics_and_logits():
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 1))
    outputs = []
    for dtype in (jnp.float32, jnp.bfloat16):
        model = make_unet(1, 2, norm="batch", dtype=dtype, rngs=nnx.Rngs(0))
        model.eval()
        outputs.append(jax.jit(model.__call__)(x))
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(model, (nnx.Param, nnx.BatchStat))))
    assert outputs[1].dtype == jnp.float32
    assert 1e-5 < relative(*outputs) < 0.05


@pytest.mark.parametrize(
    ("norm", "data", "space", "axis", "sides", "strides"),
    [
        ("none", 8, 1, 1, (32, 48), ()),
        ("batch", 2, 4, 2, (32, 48), ()),
        ("group", 1, 8, 1, (32, 48), ()),
        # Odd shares, of all resolutions or of the coarser ones: 3 and 5 samples a device, 6.
        ("group", 1, 8, 1, (24, 16), ()),
        pytest.param("none", 1, 8, 2, (16, 40), (), marks=pytest.mark.slow),
        pytest.param("batch", 1, 8, 2, (8, 48), (), marks=pytest.mark.slow),
        pytest.param("instance", 2, 4, 1, (12, 16), (), marks=pytest.mark.slow),
        ("batch", 1, 8, 1, (24, 4, 8), ((1, 2, 2), (2, 1, 2))),
    ],
)
def test_sharded_equals_one_device(norm, data, space, axis, sides, strides):
    """Loss, gradient and running statistics; no activation is gathered."""
    options = {"norm": norm, "levels": 3, "activation": "gelu", "dropout": 0.2, "spatial_ndim": len(sides)}
    options["strides"] = strides
    graphdef, params, rest = pure(make_unet(1, 2, **options, rngs=nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(0), (8, *sides, 1))
    (loss, rest_one), gradient = jax.jit(loss_and_gradient(graphdef))(params, rest, x)
    mesh = jax.make_mesh((data, space), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    split = NamedSharding(mesh, P("data", *[("space" if i == axis else None) for i in range(1, x.ndim)]))
    sharded, everywhere = jax.device_put(x, split), NamedSharding(mesh, P())
    function = jax.jit(loss_and_gradient(graphdef, split), out_shardings=everywhere)
    compiled = function.lower(params, rest, sharded).compile()
    (loss_many, rest_many), gradient_many = compiled(params, rest, sharded)
    np.testing.assert_allclose(loss, loss_many, rtol=1e-5)
    for kernel, kernel_many in zip(*map(jax.tree.leaves, (gradient, gradient_many)), strict=True):
        np.testing.assert_allclose(kernel, kernel_many, atol=1e-4 * np.abs(kernel).max())
    if norm == "batch":
        assert relative(rest_one, rest_many) < 1e-5
    assert {one.kind for one in collectives(compiled.as_text() or "")} <= {"all-reduce", "collective-permute"}


def test_parameters_are_drawn_by_fan_in_and_the_same_when_sharded():
    shapes = nnx.to_pure_dict(
        nnx.state(nnx.eval_shape(lambda: make_unet(1, 2, base_features=16, rngs=nnx.Rngs(0))), nnx.Param)
    )
    init = functools.partial(init_parameters, shapes)
    params = jax.jit(init)(jax.random.key(3))
    kernel = params["blocks"]["1_bottleneck"]["conv_1"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 32)), rtol=0.02)
    np.testing.assert_allclose(params["blocks"]["2_up_0"]["up"]["kernel"].std(), np.sqrt(1 / 32), rtol=0.05)
    norm = params["blocks"]["0_down_0"]["norm_0"]
    assert (norm["scale"] == 1).all()
    assert (norm["bias"] == 0).all()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.jit(init, out_shardings=NamedSharding(mesh, P()))(jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, params, sharded)


def test_init_parameters_gives_running_statistics_their_start():
    model = make_unet(1, 2, norm="batch", rngs=nnx.Rngs(0))
    _, params, rest = pure(model)
    jax.tree.map(np.testing.assert_array_equal, init_parameters(rest, jax.random.key(0)), rest)
    key = nnx.Rngs(0).params()
    jax.tree.map(np.testing.assert_array_equal, init_parameters(params, key), params)


@pytest.mark.parametrize(
    ("kernels", "strides", "expected"),
    [((3,), (), 2), ((3, 3), (2,), 9), ((3, 3, 3), (2, 2), 23), ((1, 3, 3), (1, 2), 9), ((3, 1, 3), (2, 1), 9)],
)
def test_receptive_radius_is_what_a_change_reaches(kernels, strides, expected):
    sides = {"kernels": [(side, 3) for side in kernels], "strides": [(by, 2) for by in strides]}
    options = {"base_features": 8, "levels": len(kernels), "norm": "none", "activation": "gelu"}
    model = UNet(1, 1, spatial_ndim=2, **options, **sides, rngs=nnx.Rngs(0))
    size, radius = 64, receptive_radius(**sides)[0]
    assert radius == expected
    reach = 0
    slope = jax.jit(jax.grad(lambda x, middle: model(x)[0, middle].sum()))
    for middle in range(28, 28 + math.prod(strides)):
        gradient = slope(jnp.zeros((1, size, 4, 1)), middle)
        touched = np.flatnonzero(np.abs(gradient).max((0, 2, 3)))
        reach = max(reach, middle - touched[0], touched[-1] - middle)
    assert reach == radius
