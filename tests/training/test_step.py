"""The train step: parts equal the whole, nothing labelled changes nothing, ignored samples reach no gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seisjax.conventions import IGNORE
from seisjax.losses import make_loss
from seisjax.models.unet import UNet, receptive_radius
from seisjax.training import step as steps
from seisjax.training.optimizer import make_optimizer
from seisjax.training.state import averaged, init_state

pytestmark = pytest.mark.quick_compiler

WINDOW = (16, 24)
KEY = jax.random.key(3)


def plain_augment(images, labels, valid, indices):
    return jnp.where(valid, images, 0.0), labels


def normalization(images):
    return jnp.nan_to_num(images / 2.0, nan=0.0)


def make_run(
    *,
    loss="cross_entropy",
    norm="none",
    levels=2,
    window=WINDOW,
    deep_supervision=0,
    average=0.0,
    accumulation=1,
    optimizer=None,
    augment=plain_augment,
    dropout=0.0,
    activation="relu",
    **options,
):
    """The state before the first step, and the jitted step, for three classes."""
    make_unet = functools.partial(
        UNet,
        *(1, 3),
        spatial_ndim=sum(side > 1 for side in window),
        base_features=4,
        levels=levels,
        norm=norm,
        dropout=dropout,
        deep_supervision=deep_supervision,
        activation=activation,
    )
    init, graphdef = steps.initializer(make_unet)
    optimizer = optimizer or make_optimizer(lambda step: 1e-2, 1e-4, 1.0)
    step = steps.make_train_step(
        steps.Network(graphdef, window, normalization),
        make_loss(loss, 3, (1.0, 2.0, 0.5), **options),
        optimizer,
        augment,
        3,
        accumulation,
        KEY,
        deep_supervision=[2**k for k in range(1, deep_supervision + 1)],
        average=average,
    )
    state = jax.jit(lambda: init_state(KEY, init, optimizer, 3, average=average))()
    return state, jax.jit(step)


def make_batch(size=8, window=WINDOW, labelled=0.6, seed=0):
    rng = np.random.default_rng(seed)
    labels = (np.cumsum(rng.random((size, *window)) < 0.1, -1) % 3).astype(np.uint8)
    images = (labels + rng.normal(0, 0.5, labels.shape)).astype(np.float32)[..., None]
    images[rng.random(images.shape) < 0.02] = np.nan
    labels[rng.random(labels.shape) > labelled] = IGNORE
    return {"image": images, "labels": labels}


def gradient_of(state, step, batch):
    """Loss and gradients, as a step of plain gradient descent at rate 1 shows them."""
    new, metrics = step(state, batch)
    return metrics["loss"], jax.tree.map(jnp.subtract, state["params"], new["params"])


def relative(a, b):
    return float(optax.tree.norm(jax.tree.map(jnp.subtract, a, b)) / optax.tree.norm(a))


def assert_same_bits(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


@pytest.mark.parametrize(
    ("loss", "norm", "deep_supervision"),
    [
        ("cross_entropy+dice", "none", 1),
        pytest.param("focal", "none", 0, marks=pytest.mark.slow),
        pytest.param("generalized_dice", "none", 0, marks=pytest.mark.slow),
        pytest.param("focal+dice", "group", 0, marks=pytest.mark.slow),
    ],
)
def test_accumulation_equals_the_large_batch(loss, norm, deep_supervision):
    batch = make_batch()
    batch["labels"][[0, 4]] = IGNORE  # windows, and a part of four, without a label
    batch["labels"][2, :, 5:] = IGNORE
    options = {"loss": loss, "norm": norm, "deep_supervision": deep_supervision, "boundary_weight": 3.0}
    options["activation"] = "gelu"  # smooth: rounding stays small where a ReLU has its kink
    (value, gradient), (other_value, other_gradient) = (
        gradient_of(*make_run(accumulation=parts, optimizer=optax.sgd(1.0), **options), batch) for parts in (1, 4)
    )
    np.testing.assert_allclose(value, other_value, rtol=1e-6)
    assert relative(gradient, other_gradient) < 1e-6


def test_a_batch_without_a_label_changes_nothing_but_the_step():
    state, step = make_run(
        loss="focal+generalized_dice", norm="batch", deep_supervision=1, average=0.9, dropout=0.2, boundary_weight=1.0
    )
    state, metrics = step(state, make_batch())
    assert metrics["loss"] > 0
    new, metrics = step(state, make_batch(labelled=0.0, seed=1))
    assert metrics["loss"] == 0
    assert metrics["gradient_norm"] == 0
    assert int(new["step"]) == 2
    for name in ("params", "average", "optimizer", "rest"):
        assert_same_bits(state[name], new[name])


def test_labels_that_the_augmentation_moves_out_count_no_more():
    def empty_the_second_half(images, labels, valid, indices):
        images, labels = plain_augment(images, labels, valid, indices)
        return images, jnp.where((indices % 8 < 4)[:, None, None], labels, IGNORE)

    batch = make_batch()
    without = batch | {"labels": np.where((np.arange(8) < 4)[:, None, None], batch["labels"], IGNORE).astype(np.uint8)}
    options = {"loss": "cross_entropy+dice", "optimizer": optax.sgd(1.0)}
    value, gradient = gradient_of(*make_run(augment=empty_the_second_half, **options), batch)
    other_value, other_gradient = gradient_of(*make_run(**options), without)
    np.testing.assert_allclose(value, other_value, rtol=1e-6)
    assert relative(gradient, other_gradient) < 1e-6


def test_only_labels_decide_what_ignored_samples_do():
    """Images that no labelled sample sees change neither loss nor gradient by a bit."""
    window, levels = (32, 64), 2
    batch = make_batch(2, window)
    reach = receptive_radius(((3, 3),) * levels, ((2, 2),) * (levels - 1))[1]
    batch["labels"][:, :, 20:] = IGNORE
    batch["labels"][1] = IGNORE
    other = {name: value.copy() for name, value in batch.items()}
    other["image"][0, :, 20 + reach :] *= -3.0
    other["image"][1] = np.nan
    assert 20 + reach < window[1]
    run = make_run(loss="focal+dice", levels=levels, window=window, optimizer=optax.sgd(1.0), boundary_weight=2.0)
    value, gradient = gradient_of(*run, batch)
    assert value > 0
    assert_same_bits((value, gradient), gradient_of(*run, other))


@pytest.mark.parametrize("norm", ["group", pytest.param("none", marks=pytest.mark.slow)])
def test_a_window_without_a_label_changes_no_bit(norm):
    run = make_run(loss="cross_entropy+generalized_dice", norm=norm, deep_supervision=1, optimizer=optax.sgd(1.0))
    batch = make_batch(4)
    batch["labels"][2] = IGNORE
    other = batch | {"image": batch["image"].copy()}
    other["image"][2] = 7 * np.random.default_rng(5).normal(size=(*WINDOW, 1))
    assert_same_bits(gradient_of(*run, batch), gradient_of(*run, other))


def test_the_average_follows_the_parameters():
    state, step = make_run(average=0.25)
    assert_same_bits(state["average"], state["params"])
    expected = jax.tree.map(np.asarray, state["params"])
    for number, keep in enumerate((1 / 10, 2 / 11, 0.25, 0.25)):
        state, _ = step(state, make_batch(seed=number))
        expected = jax.tree.map(lambda a, p, k=keep: k * a + (1 - k) * np.asarray(p), expected, state["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state["average"], expected)
    assert averaged(state) is state["average"]


def test_an_average_changes_nothing_else_and_without_one_there_is_none():
    (state, step), (other, other_step) = (make_run(optimizer=optax.sgd(1.0), average=decay) for decay in (0.0, 0.9))
    assert set(other) - set(state) == {"average"}
    assert averaged(state) is state["params"]
    (value, gradient), (other_value, other_gradient) = (
        gradient_of(*run, make_batch()) for run in ((state, step), (other, other_step))
    )
    np.testing.assert_allclose(value, other_value, rtol=1e-6)
    assert relative(gradient, other_gradient) < 1e-6
    assert "average" not in step(state, make_batch())[0]


def test_a_donated_state_with_an_average_is_not_given_twice():
    state, step = make_run(average=0.9)
    state, _ = jax.jit(step, donate_argnums=0)(state, make_batch())
    assert int(state["step"]) == 1


def test_deep_supervision_trains_its_heads_on_sections_of_a_volume():
    window = (1, 16, 24)
    state, step = make_run(window=window, levels=3, deep_supervision=2)
    new, metrics = step(state, make_batch(4, window))
    assert np.isfinite(metrics["loss"])
    for head in ("3_head", "4_head_1", "4_head_2"):
        assert not np.array_equal(state["params"]["blocks"][head]["kernel"], new["params"]["blocks"][head]["kernel"])


def test_evaluation_and_prediction_know_nothing_of_deep_supervision():
    batch = {name: jnp.asarray(value) for name, value in make_batch(4).items()}
    results = []
    for deep_supervision in (0, 2):
        make_unet = functools.partial(
            UNet, 1, 3, spatial_ndim=2, base_features=4, levels=3, deep_supervision=deep_supervision
        )
        init, graphdef = steps.initializer(make_unet)
        network = steps.Network(graphdef, WINDOW, normalization)
        params, rest = jax.jit(init)(KEY)
        evaluate = jax.jit(steps.make_evaluate_step(network, make_loss("focal+dice", 3), 3))
        forward = jax.jit(steps.make_forward(network))
        results.append((evaluate(params, rest, batch), forward(params, rest, batch["image"], jnp.float32(1))))
    assert_same_bits(*results)
    assert results[0][0]["numerators"].shape == (2,)
