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
from seisjax.losses import DeepSupervision, Loss, class_weights, coarser_labels, make_loss, near_boundary

pytestmark = pytest.mark.quick_compiler

NAMES = ["cross_entropy", "focal", "dice", "generalized_dice", "cross_entropy+dice", "focal+generalized_dice"]


def value_of(loss, logits, labels):
    return Loss.total(loss.numerators(logits, labels), loss.denominators(labels))


@functools.lru_cache
def value_and_grad(loss):
    return jax.jit(jax.value_and_grad(functools.partial(value_of, loss)))


def example(outputs, shape=(3, 8, 10), seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (*shape, outputs)).astype(np.float32)
    labels = rng.integers(0, max(outputs, 2), shape).astype(np.uint8)
    labels[rng.random(shape) < 0.3] = IGNORE
    return jnp.asarray(logits), jnp.asarray(labels)


def plain(name, logits, labels, weights, gamma=2.0, near=None):
    """The loss sample by sample, in float64; `near` weighs each sample."""
    logits, labels, weights = np.asarray(logits, np.float64), np.asarray(labels), np.asarray(weights, np.float64)
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    valid = labels != IGNORE
    right = p[valid][np.arange(valid.sum()), labels[valid]]
    w = weights[labels[valid]] * (1.0 if near is None else near[valid])
    windows = [(q[y != IGNORE], y[y != IGNORE]) for q, y in zip(p, labels, strict=True) if (y != IGNORE).any()]
    value = 0.0
    for term in name.split("+"):
        if term == "cross_entropy":
            value += (-np.log(right) * w).sum() / w.sum()
        elif term == "focal":
            value += (-((1 - right) ** gamma) * np.log(right) * w).sum() / w.sum()
        elif term == "dice":
            value += np.mean([plain_dice(q, y, weights) for q, y in windows])
        else:
            value += np.mean([plain_generalized_dice(q, y, weights) for q, y in windows])
    return value


def plain_dice(q, y, weights):
    classes = np.unique(y)
    dice = [2 * q[y == c, c].sum() / (q[:, c].sum() + (y == c).sum()) for c in classes]
    return 1 - np.average(dice, weights=weights[classes])


def plain_generalized_dice(q, y, weights):
    volumes = {c: weights[c] / (y == c).sum() ** 2 for c in np.unique(y)}
    above = sum(v * q[y == c, c].sum() for c, v in volumes.items())
    return 1 - 2 * above / sum(v * (q[:, c].sum() + (y == c).sum()) for c, v in volumes.items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("outputs", "weights"), [(1, ()), (1, (1, 3)), (4, ()), (4, (0.5, 1, 2, 3))])
def test_equals_the_plain_sum(name, outputs, weights):
    logits, labels = example(outputs)
    labels = labels.at[1].set(jnp.where(labels[1] == 1, 0, labels[1]))  # a class that a window lacks
    loss = make_loss(name, outputs, weights)
    value, _ = value_and_grad(loss)(logits, labels)
    np.testing.assert_allclose(value, plain(name, logits, labels, weights or (1,) * max(outputs, 2)), rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.5])
def test_focal_of_any_power_and_of_certain_samples(gamma):
    logits, labels = example(3)
    loss = make_loss("focal", 3, focal_gamma=gamma)
    value, gradient = value_and_grad(loss)(logits, labels)
    np.testing.assert_allclose(value, plain("focal", logits, labels, (1, 1, 1), gamma), rtol=1e-5)
    assert np.isfinite(gradient).all()
    # Right beyond what float32 can tell from certain: no loss, and no slope that is not a number.
    value, gradient = value_and_grad(loss)(200.0 * jax.nn.one_hot(labels, 3), labels)
    assert value == 0
    assert (np.asarray(gradient) == 0).all()


def test_focal_without_focus_is_the_cross_entropy():
    logits, labels = example(3)
    focal, plain = (value_and_grad(make_loss(n, 3, (1, 2, 3), focal_gamma=0.0)) for n in ("focal", "cross_entropy"))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8),
        focal(logits, labels),
        plain(logits, labels),
    )


def near_by_hand(labels, radius):
    """Labelled samples within `radius` of one that has a labelled neighbour of another class, sample by sample."""

    def box(place, reach):
        return tuple(slice(max(i - reach, 0), i + reach + 1) for i in place)

    edge, near = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    for b, window in enumerate(labels):
        for place in np.ndindex(window.shape):
            around = window[box(place, 1)]
            edge[(b, *place)] = window[place] != IGNORE and ((around != IGNORE) & (around != window[place])).any()
        for place in np.ndindex(window.shape):
            near[(b, *place)] = window[place] != IGNORE and edge[b][box(place, radius - 1)].any()
    return near


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 17, 13), (2, 1, 12, 11), (1, 7, 8, 9)])
def test_near_a_boundary(radius, shape):
    rng = np.random.default_rng(radius)
    labels = np.cumsum(rng.random(shape) < 0.04, axis=-1).astype(np.uint8) % 3
    labels[rng.random(shape) < 0.3] = IGNORE
    expected = near_by_hand(labels, radius)
    assert expected.any()
    np.testing.assert_array_equal(jax.jit(near_boundary, static_argnums=1)(labels, radius), expected)


def test_a_boundary_has_its_radius_on_either_side_and_ignore_makes_none():
    line = jnp.asarray([[0, 0, 0, 0, 1, 1, 1, 1, IGNORE, 1, IGNORE, 0, 0]], jnp.uint8)
    np.testing.assert_array_equal(np.flatnonzero(near_boundary(line, 1)), [3, 4])
    np.testing.assert_array_equal(np.flatnonzero(near_boundary(line, 3)), [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "dice"])
def test_boundary_weights_are_those_of_a_weighted_mean(name):
    logits, labels = example(3)
    labels = jnp.where(labels != IGNORE, jnp.arange(10) // 5, labels).astype(jnp.uint8)
    loss = make_loss(name, 3, (1, 2, 3), boundary_weight=4.0, boundary_radius=2)
    near = 1 + 4.0 * near_by_hand(np.asarray(labels), 2)
    assert len(np.unique(near)) == 2
    value, _ = value_and_grad(loss)(logits, labels)
    np.testing.assert_allclose(value, plain(name, logits, labels, (1, 2, 3), near=near), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 4])
def test_what_is_ignored_changes_no_bit(name, outputs):
    logits, labels = example(outputs)
    step = value_and_grad(make_loss(name, outputs, boundary_weight=2.0))
    value, gradient = step(logits, labels)
    ignored = np.asarray(labels) == IGNORE
    assert (np.asarray(gradient)[ignored] == 0).all()
    for poison in (np.nan, np.inf, -np.inf, 3e38):
        poisoned = jnp.where(ignored[..., None], poison, logits)
        other_value, other_gradient = step(poisoned, labels)
        assert np.asarray(other_value).tobytes() == np.asarray(value).tobytes()
        assert np.asarray(other_gradient).tobytes() == np.asarray(gradient).tobytes()


def test_what_is_ignored_changes_no_bit_at_any_resolution():
    _, labels = example(3, (2, 8, 12))
    labels = labels.at[:, :, 5:9].set(IGNORE)
    logits = [example(3, (2, 8 // 2**k, 12 // 2**k), seed=k)[0] for k in range(2)]
    step = value_and_grad(DeepSupervision(make_loss("focal+generalized_dice", 3, boundary_weight=2.0), (2,)))
    value, gradients = step(logits, labels)
    ignored = [np.asarray(scale == IGNORE) for scale in (labels, coarser_labels(labels, 2, 3))]
    poisoned = [jnp.where(where[..., None], jnp.nan, x) for where, x in zip(ignored, logits, strict=True)]
    assert ignored[1].any()
    other_value, other_gradients = step(poisoned, labels)
    assert np.asarray(other_value).tobytes() == np.asarray(value).tobytes()
    for gradient, other, where in zip(gradients, other_gradients, ignored, strict=True):
        assert (np.asarray(gradient)[where] == 0).all()
        assert np.asarray(other).tobytes() == np.asarray(gradient).tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 4])
def test_nothing_labelled_gives_zero(name, outputs):
    logits, labels = example(outputs)
    loss = make_loss(name, outputs, boundary_weight=2.0)
    value, gradient = value_and_grad(loss)(logits * jnp.nan, jnp.full_like(labels, IGNORE))
    assert value == 0
    assert (np.asarray(gradient) == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_sums_of_parts_are_those_of_the_whole(name):
    logits, labels = example(4, (4, 6, 6, 5))
    labels = labels.at[0].set(IGNORE)
    loss = make_loss(name, 4, (1, 2, 3, 4), boundary_weight=2.0)
    sums = jax.jit(lambda x, y: [*loss.numerators(x, y), *loss.denominators(y)])
    whole = sums(logits, labels)
    parts = [sums(logits[i : i + 1], labels[i : i + 1]) for i in range(4)]
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
        loss = make_loss("cross_entropy+focal+dice+generalized_dice", outputs)
        value, gradient = value_and_grad(loss)(logits.astype(dtype), labels)
        assert np.isfinite(value)
        assert value.dtype == jnp.float32
        assert np.isfinite(np.asarray(gradient, np.float32)).all()


@pytest.mark.parametrize("name", NAMES)
def test_sharded_equals_one_device(name):
    logits, labels = example(4, (4, 16, 12))
    step = value_and_grad(make_loss(name, 4, boundary_weight=2.0, boundary_radius=3))
    one = step(logits, labels)
    mesh = jax.make_mesh((2, 4), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, P("data", "space"))
    logits, labels = jax.device_put((logits, labels), sharding)
    many = step(logits, labels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), one, many)
    program = step.lower(logits, labels).compile().as_text()
    assert program
    assert "all-gather" not in program


@pytest.mark.parametrize("shape", [(8, 12), (1, 7, 10), (4, 8, 6)])
def test_coarser_labels_are_the_most_common_labelled_class(shape):
    _, labels = example(3, (2, *shape))
    labels = np.asarray(labels.at[0].set(jnp.where(jnp.arange(shape[-1]) < 4, IGNORE, labels[0])))
    blocks = [1 if side == 1 else 4 for side in shape]
    got = np.asarray(jax.jit(coarser_labels, static_argnums=(1, 2))(labels, 4, 3))
    expected = np.full((2, *(-(-side // b) for side, b in zip(shape, blocks, strict=True))), IGNORE, np.uint8)
    for place in np.ndindex(*expected.shape):
        inside = (slice(n * b, (n + 1) * b) for n, b in zip(place[1:], blocks, strict=True))
        counts = np.bincount(labels[(place[0], *inside)].ravel(), minlength=256)[:3]
        if counts.any():
            expected[place] = counts.argmax()
    assert (expected == IGNORE).any()
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy+generalized_dice"])
def test_deep_supervision_is_the_weighted_mean_of_its_resolutions(name):
    loss = make_loss(name, 3, boundary_weight=3.0, boundary_radius=2)
    _, labels = example(3, (2, 8, 12))
    logits = [example(3, (2, 8 // 2**k, 12 // 2**k), seed=k)[0] for k in range(3)]
    scales = [labels, coarser_labels(labels, 2, 3), coarser_labels(labels, 4, 3)]
    losses = [make_loss(name, 3, boundary_weight=3.0, boundary_radius=r) for r in (2, 1, 1)]
    values = [value_and_grad(loss)(x, y)[0] for loss, x, y in zip(losses, logits, scales, strict=True)]
    got, _ = value_and_grad(DeepSupervision(loss, (2, 4)))(logits, labels)
    np.testing.assert_allclose(got, np.average(values, weights=[4, 2, 1]), rtol=1e-5)
    np.testing.assert_array_equal(value_and_grad(DeepSupervision(loss))(logits[:1], labels)[0], values[0])


def test_coarser_labels_of_blocks_of_any_sides():
    _, labels = example(3, (2, 6, 9))
    coarser = coarser_labels(labels, (1, 3), 3)
    assert coarser.shape == (2, 6, 3)
    for row, block in np.ndindex(6, 3):
        known = np.asarray(labels)[:, row, 3 * block : 3 * block + 3]
        for given, most in zip(known, np.asarray(coarser)[:, row, block], strict=True):
            counts = [np.count_nonzero(given == k) for k in range(3)]
            assert most == (np.argmax(counts) if any(counts) else IGNORE)


def test_coarser_labels_of_a_split_window_move_nothing():
    _, labels = example(3, (2, 32, 8))
    coarser = jax.jit(coarser_labels, static_argnums=(1, 2))
    mesh = jax.make_mesh((2, 4), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    split = jax.device_put(labels, NamedSharding(mesh, P("data", "space")))
    np.testing.assert_array_equal(coarser(split, 4, 3), coarser(labels, 4, 3))
    program = coarser.lower(split, 4, 3).compile().as_text()
    assert program
    assert not [name for name in ("all-gather", "all-to-all", "collective-permute") if name in program]


def test_deep_supervision_of_nothing_labelled_gives_zero():
    deep = DeepSupervision(make_loss("cross_entropy+dice", 3), (2,))
    logits = (jnp.full((2, 8, 8, 3), jnp.nan), jnp.full((2, 4, 4, 3), jnp.nan))
    labels = jnp.full((2, 8, 8), IGNORE, jnp.uint8)
    value, gradients = value_and_grad(deep)(logits, labels)
    assert value == 0
    assert all((np.asarray(gradient) == 0).all() for gradient in gradients)


def test_class_weights_have_a_mean_of_one_over_the_classes_that_are_there():
    assert class_weights([100, 0, 400, 50], "inverse") == pytest.approx([12 / 13, 1, 3 / 13, 24 / 13])
    root = class_weights(np.array([100, 0, 400, 25]), "inverse_sqrt")
    assert root == pytest.approx([6 / 7, 1, 3 / 7, 12 / 7])
    assert class_weights([5, 0], "none") == class_weights([0, 0], "inverse") == (1.0, 1.0)
    assert all(isinstance(weight, float) for weight in root)
    with pytest.raises(UserError, match="loss.class_weighting: unknown weighting 'invers'.*'inverse'"):
        class_weights([1, 2], "invers")


def test_counts_are_exact_beyond_what_float32_can_count():
    labels = jnp.zeros((2, 4096, 4096 + 8), jnp.uint8)
    (count,) = jax.jit(make_loss("cross_entropy", 1).denominators)(labels)
    assert float(count) == 2 * 4096 * (4096 + 8)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("dicee", (), "loss.name: unknown loss 'dicee' .did you mean 'dice'"),
        ("focal+dice+focal", (), "loss.name='focal.dice.focal': names a loss twice"),
        ("dice", (1.0, 2.0), "loss.class_weights: 2 weights for 3 classes"),
        ("dice", (1.0, -2.0, 1.0), "loss.class_weights: weights must be"),
        ("dice", (0.0, 0.0, 0.0), "loss.class_weights: weights must be"),
    ],
)
def test_bad_arguments_end_in_one_line(name, weights, message):
    with pytest.raises(UserError, match=message):
        make_loss(name, 3, weights)


@pytest.mark.parametrize("option", ["focal_gamma", "boundary_weight", "boundary_radius"])
def test_options_below_their_least_are_refused(option):
    with pytest.raises(UserError, match=f"loss.{option}: -1 is too small"):
        make_loss("focal", 3, **{option: -1})


def test_total_leaves_out_what_was_not_counted():
    total = Loss.total((jnp.float32(3), jnp.float32(5)), (jnp.float32(2), jnp.float32(0)))
    assert float(total) == 1.5


SCALE = 100


@pytest.mark.parametrize("name", ["cross_entropy+dice", "focal+generalized_dice"])
def test_what_is_ignored_under_soft_labels_changes_no_bit(name):
    logits, labels = soft_example()
    step = value_and_grad(make_loss(name, 1, label_scale=SCALE))
    poisoned = jnp.where((labels == IGNORE)[..., None], jnp.nan, logits)
    for one, other in zip(step(logits, labels), step(poisoned, labels), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    value, gradient = step(poisoned, jnp.full_like(labels, IGNORE))
    assert value == 0
    assert (np.asarray(gradient) == 0).all()


def soft_example(shape=(3, 8, 10), seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (*shape, 1)).astype(np.float32)
    labels = rng.integers(0, SCALE + 1, shape).astype(np.uint8)
    labels[rng.random(shape) < 0.3] = IGNORE
    return jnp.asarray(logits), jnp.asarray(labels)


def plain_soft(name, logits, labels, weights, gamma=2.0):
    """The loss of soft labels sample by sample, in float64."""
    labels = np.asarray(labels)
    value = 0.0
    for term in name.split("+"):
        sums, counts = 0.0, 0.0
        for z, y in zip(np.asarray(logits, np.float64)[..., 0], labels, strict=True):
            p, t = 1 / (1 + np.exp(-z[y != IGNORE])), y[y != IGNORE] / SCALE
            weight = t * weights[1] + (1 - t) * weights[0]
            entropy = -t * np.log(p) - (1 - t) * np.log(1 - p)
            pairs = [(w, q, u) for w, q, u in zip(weights, (1 - p, p), (1 - t, t), strict=True)]
            both, size = (
                np.array([f(q, u) for _, q, u in pairs])
                for f in (lambda q, u: np.minimum(q, u).sum(), lambda q, u: (q + u).sum())
            )
            if term == "cross_entropy":
                sums, counts = sums + (weight * entropy).sum(), counts + weight.sum()
            elif term == "focal":
                sums, counts = sums + (weight * np.abs(t - p) ** gamma * entropy).sum(), counts + weight.sum()
            elif term == "dice":
                sums, counts = sums + 1 - (np.asarray(weights) * 2 * both / size).sum() / sum(weights), counts + 1
            else:
                v = np.asarray(weights) / np.array([u.sum() for _, _, u in pairs]) ** 2
                sums, counts = sums + 1 - 2 * (v * both).sum() / (v * size).sum(), counts + 1
        value += sums / counts
    return value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0)])
def test_soft_labels_against_plain(name, weights):
    logits, labels = soft_example()
    loss = make_loss(name, 1, weights, label_scale=SCALE)
    value, gradient = value_and_grad(loss)(logits, labels)
    np.testing.assert_allclose(value, plain_soft(name, logits, labels, weights), rtol=1e-5)
    assert not np.asarray(gradient)[np.asarray(labels) == IGNORE].any()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", NAMES)
def test_soft_labels_of_0_and_1_are_classes(name):
    logits, labels = example(1)
    scaled = jnp.where(labels == 1, SCALE, labels).astype(jnp.uint8)
    hard, soft = make_loss(name, 1, (0.5, 2.0)), make_loss(name, 1, (0.5, 2.0), label_scale=SCALE)
    (value, gradient), (other, other_gradient) = (
        value_and_grad(hard)(logits, labels),
        value_and_grad(soft)(logits, scaled),
    )
    np.testing.assert_allclose(value, other, rtol=1e-5)
    np.testing.assert_allclose(gradient, other_gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_soft_labels_are_met_best_by_their_own_probability(name):
    _, labels = soft_example()
    labels = jnp.clip(labels, 1, None).astype(jnp.uint8)
    labels = jnp.where(labels == SCALE, SCALE - 1, labels)
    share = jnp.where(labels == IGNORE, 0.5, labels / SCALE)
    logits = jnp.log(share / (1 - share))[..., None]
    loss = make_loss(name, 1, (0.5, 2.0), label_scale=SCALE)
    best = value_of(loss, logits, labels)
    for i in range(4):
        off = 0.3 * jax.random.normal(jax.random.key(i), logits.shape)
        assert value_of(loss, logits + off, labels) > best


def test_soft_labels_add_up_over_windows():
    logits, labels = soft_example()
    loss = make_loss("cross_entropy+dice", 1, label_scale=SCALE)
    whole = value_of(loss, logits, labels)
    parts = [
        (loss.numerators(logits[i : i + 1], labels[i : i + 1]), loss.denominators(labels[i : i + 1])) for i in range(3)
    ]
    numerators, denominators = (
        [jnp.stack(x).sum() for x in zip(*(part[k] for part in parts), strict=True)] for k in (0, 1)
    )
    np.testing.assert_allclose(Loss.total(numerators, denominators), whole, rtol=1e-6)


def test_deep_supervision_takes_the_mean_of_soft_labels():
    labels = jnp.asarray(
        [[[0, 100, 50, IGNORE], [0, 100, IGNORE, IGNORE], [IGNORE] * 2 + [7, 8], [IGNORE] * 4]], jnp.uint8
    )
    deep = DeepSupervision(make_loss("cross_entropy", 1, label_scale=SCALE), (2,))
    coarse = [scaled for _, scaled in deep._scales(labels)][1]
    np.testing.assert_array_equal(coarse, [[[50, 50], [IGNORE, 8]]])


@pytest.mark.parametrize(
    ("outputs", "options", "field"),
    [
        (2, {}, "num_classes"),
        (1, {"boundary_weight": 1.0}, "boundary_weight"),
        (1, {"label_scale": 255}, "label_scale"),
    ],
)
def test_soft_labels_where_only_classes_will_do(outputs, options, field):
    with pytest.raises(UserError, match=field) as error:
        make_loss("cross_entropy", outputs, **{"label_scale": SCALE} | options)
    assert "\n" not in str(error.value)
