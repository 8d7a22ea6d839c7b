"""Losses: against plain formulations, sums that add up, the ignore contract bit for bit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P  # noqa: N817

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.losses import Loss, make_loss

NAMES = ["cross_entropy", "dice", "cross_entropy+dice"]


def value_of(loss, logits, labels):
    return loss.total(loss.numerators(logits, labels), loss.denominators(labels))


@functools.lru_cache
def value_and_grad(loss):
    return jax.jit(jax.value_and_grad(functools.partial(value_of, loss)))


def example(outputs, shape=(3, 8, 10), seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (*shape, outputs)).astype(np.float32)
    labels = rng.integers(0, max(outputs, 2), shape).astype(np.uint8)
    labels[rng.random(shape) < 0.3] = IGNORE
    return jnp.asarray(logits), jnp.asarray(labels)


def plain(name, logits, labels, weights):
    """The loss sample by sample, in float64."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    value = 0.0
    if "cross_entropy" in name:
        valid = labels != IGNORE
        true = labels[valid]
        w = np.asarray(weights)[true]
        value += (-np.log(p[valid][np.arange(len(true)), true]) * w).sum() / w.sum()
    if "dice" in name:
        windows = []
        for q, y in zip(p, labels, strict=True):
            q, y = q[y != IGNORE], y[y != IGNORE]
            classes = np.unique(y)
            dice = [2 * q[y == c, c].sum() / (q[:, c].sum() + (y == c).sum()) for c in classes]
            if len(classes):
                windows.append(1 - np.average(dice, weights=np.asarray(weights)[classes]))
        value += np.mean(windows)
    return value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("outputs", "weights"), [(1, ()), (1, (1, 3)), (4, ()), (4, (0.5, 1, 2, 3))])
def test_equals_the_plain_sum(name, outputs, weights):
    logits, labels = example(outputs)
    labels = labels.at[1].set(jnp.where(labels[1] == 1, 0, labels[1]))  # a class that a window lacks
    loss = make_loss(name, outputs, weights)
    value, _ = value_and_grad(loss)(logits, labels)
    np.testing.assert_allclose(value, plain(name, logits, labels, weights or (1,) * max(outputs, 2)), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 4])
def test_what_is_ignored_changes_no_bit(name, outputs):
    logits, labels = example(outputs)
    step = value_and_grad(make_loss(name, outputs))
    value, gradient = step(logits, labels)
    ignored = np.asarray(labels) == IGNORE
    assert (np.asarray(gradient)[ignored] == 0).all()
    for poison in (np.nan, np.inf, -np.inf, 3e38):
        poisoned = jnp.where(ignored[..., None], poison, logits)
        other_value, other_gradient = step(poisoned, labels)
        assert np.asarray(other_value).tobytes() == np.asarray(value).tobytes()
        assert np.asarray(other_gradient).tobytes() == np.asarray(gradient).tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 4])
def test_nothing_labelled_gives_zero(name, outputs):
    logits, labels = example(outputs)
    value, gradient = value_and_grad(make_loss(name, outputs))(logits * jnp.nan, jnp.full_like(labels, IGNORE))
    assert value == 0
    assert (np.asarray(gradient) == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_sums_of_parts_are_those_of_the_whole(name):
    logits, labels = example(4, (4, 6, 6, 5))
    labels = labels.at[0].set(IGNORE)
    loss = make_loss(name, 4, (1, 2, 3, 4))
    whole = [*loss.numerators(logits, labels), *loss.denominators(labels)]
    parts = [
        [*loss.numerators(logits[i : i + 1], labels[i : i + 1]), *loss.denominators(labels[i : i + 1])]
        for i in range(4)
    ]
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, rtol=1e-5)
    assert all(scalar.dtype == jnp.float32 and scalar.shape == () for scalar in whole)


def test_only_windows_with_labels_count_in_dice():
    logits, labels = example(3)
    loss = make_loss("dice", 3)
    assert float(loss.denominators(labels.at[1].set(IGNORE))[0]) == 2


@pytest.mark.parametrize("outputs", [1, 4])
def test_extreme_and_half_precision_logits_stay_finite(outputs):
    _, labels = example(outputs)
    logits = jnp.where(jnp.arange(10)[None, None, :, None] % 2 == 0, 1e4, -1e4) * jnp.ones((3, 8, 10, outputs))
    for dtype in (jnp.float32, jnp.bfloat16):
        value, gradient = value_and_grad(make_loss("cross_entropy+dice", outputs))(logits.astype(dtype), labels)
        assert np.isfinite(value)
        assert value.dtype == jnp.float32
        assert np.isfinite(np.asarray(gradient, np.float32)).all()


@pytest.mark.parametrize("name", NAMES)
def test_sharded_equals_one_device(name):
    logits, labels = example(4, (4, 16, 12))
    step = value_and_grad(make_loss(name, 4))
    one = step(logits, labels)
    mesh = jax.make_mesh((2, 4), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, P("data", "space"))
    many = step(jax.device_put(logits, sharding), jax.device_put(labels, sharding))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), one, many)


def test_counts_are_exact_beyond_what_float32_can_count():
    labels = jnp.zeros((2, 4096, 4096 + 8), jnp.uint8)
    (count,) = jax.jit(make_loss("cross_entropy", 1).denominators)(labels)
    assert float(count) == 2 * 4096 * (4096 + 8)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("dicee", (), "loss.name: unknown loss 'dicee' .did you mean 'dice'"),
        ("dice", (1.0, 2.0), "loss.class_weights: 2 weights for 3 classes"),
        ("dice", (1.0, -2.0, 1.0), "loss.class_weights: weights must be"),
        ("dice", (0.0, 0.0, 0.0), "loss.class_weights: weights must be"),
    ],
)
def test_bad_arguments_end_in_one_line(name, weights, message):
    with pytest.raises(UserError, match=message):
        make_loss(name, 3, weights)


def test_total_leaves_out_what_was_not_counted():
    total = Loss.total((jnp.float32(3), jnp.float32(5)), (jnp.float32(2), jnp.float32(0)))
    assert float(total) == 1.5
