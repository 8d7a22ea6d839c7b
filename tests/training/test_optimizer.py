"""Learning rates, decay and clipping; moments that are split over devices."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from seisjax import experiment
from seisjax.checkpoint import Checkpoints
from seisjax.collectives import collectives
from seisjax.config import Experiment
from seisjax.conventions import DATA
from seisjax.models.parts import PARTS, named, part_of, parts
from seisjax.sharding import make_mesh
from seisjax.training.optimizer import make_optimizer, make_schedule, shard_moments


def test_cosine_rises_to_the_peak_and_ends_at_zero():
    rate = make_schedule("cosine", 1.0, warmup_steps=4, decay_steps=20)
    assert [float(rate(step)) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert float(rate(12)) == pytest.approx(0.5)
    assert float(rate(20)) == pytest.approx(0.0, abs=1e-7)


def test_constant_stays_after_the_rise():
    rate = make_schedule("constant", 0.1, warmup_steps=0, decay_steps=5)
    assert [float(rate(step)) for step in (0, 3, 100)] == pytest.approx([0.1] * 3)


def test_warm_up_longer_than_the_run_still_trains():
    rate = make_schedule("cosine", 1.0, warmup_steps=100, decay_steps=5)
    assert all(np.isfinite(float(rate(step))) and float(rate(step)) > 0 for step in range(5))


def test_decay_spares_scales_and_biases():
    params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    optimizer = make_optimizer(lambda step: 0.1, weight_decay=0.5, clip_norm=0.0)
    zeros = {"kernel": jnp.zeros((2, 2)), "scale": jnp.zeros(2)}
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    assert np.all(np.asarray(updates["kernel"]) < 0)
    assert np.all(np.asarray(updates["scale"]) == 0)


def test_a_kernel_is_split_along_its_longest_dimension_that_divides():
    shapes = {"kernel": (3, 3, 8, 16), "up": (16, 8), "first": (3, 3, 1, 6), "scale": (16,), "count": ()}
    leaves = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    specs = {name: place.spec for name, place in shard_moments(leaves, make_mesh(4, 2)).items()}
    assert specs["kernel"] == PartitionSpec(None, None, None, DATA)
    assert specs["up"] == PartitionSpec(DATA, None)
    assert all(not any(specs[name]) for name in ("first", "scale", "count"))
    assert not any(shard_moments(leaves, make_mesh(1, 8))["kernel"].spec)


def bytes_on_a_device(tree: Any) -> int:
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
@pytest.mark.quick_compiler
def test_split_moments_train_alike_and_move_between_layouts(config: Experiment, tmp_path: Path):
    config.data.batch_size, config.mesh.data, config.mesh.space = 4, 4, 2
    config.model.levels, config.model.norm, config.model.activation = 2, "batch", "gelu"
    config.optimizer.learning_rate = 1e-3
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.standard_normal((4, *survey.padded, 1)).astype(np.float32),
        "labels": rng.integers(0, 3, (4, *survey.padded)).astype(np.uint8),
    }
    states, steps, targets = [], [], []
    for config.optimizer.shard in (False, True):
        segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 1.0))
        targets.append(experiment.abstract_state(segmenter))
        state = segmenter.init()
        steps.append(segmenter.train_step.lower(state, batch).compile())  # pyright: ignore[reportFunctionMemberAccess]
        placed = jax.device_put(batch, steps[-1].input_shardings[0][1])
        for _ in range(3):
            state, _ = steps[-1](state, placed)
        states.append(state)
    whole, split = ([np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(state["params"])] for state in states)
    distance = sum(((a - b) ** 2).sum() for a, b in zip(whole, split, strict=True)) / sum((a**2).sum() for a in whole)
    assert distance**0.5 <= 1e-5

    kernels = sum(leaf.size * 4 for leaf in jax.tree.leaves(states[0]["params"]) if leaf.ndim > 1)
    moments, shards = (bytes_on_a_device(state["optimizer"]) for state in states)
    assert moments - shards > 0.7 * 2 * kernels * 3 / 4  # two moments of which one of four parts is left
    without, found = (collectives(step.as_text()) for step in steps)
    assert not [c for c in without if c.kind == "all-gather"]
    assert sum(c.bytes for c in found if c.kind == "all-gather") <= kernels  # the new parameters, once
    reduced = [sum(c.bytes for c in step if c.kind == "all-reduce") for step in (without, found)]
    assert reduced[1] < 1.1 * reduced[0]

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step, (state, target) in enumerate(zip(states, reversed(targets), strict=True), 1):
        checkpoints.save(step, state, {})
        checkpoints.wait()
        moved = checkpoints.restore(step, target)
        jax.tree.map(np.testing.assert_array_equal, moved, state)
        jax.tree.map(lambda leaf, wanted: leaf.sharding == wanted.sharding or pytest.fail("layout"), moved, target)
    checkpoints.close()


def of_parts(value: float) -> dict[str, Any]:
    """Parameters in blocks of every part."""
    names = ("0_down_0", "1_bottleneck", "2_up_0", "3_head", "4_head_1")
    return {"blocks": {name: {"kernel": jnp.full((2, 2), value), "bias": jnp.full(2, value)} for name in names}}


def test_rates_of_parts_scale_their_updates_and_nothing_else():
    options = {"schedule": make_schedule("constant", 0.1, 2, 0), "weight_decay": 0.5, "clip_norm": 1.0}
    rates = {"encoder": 0.25, "decoder": 1.0, "head": 4.0}
    usual, scaled = make_optimizer(**options), make_optimizer(**options, part_rates=rates)
    params, states = of_parts(1.0), [optimizer.init(of_parts(1.0)) for optimizer in (usual, scaled)]
    for step in range(3):
        gradients = jax.tree.map(lambda x, step=step: (step - 0.7) * jnp.arange(x.size).reshape(x.shape), params)
        expected, states[0] = usual.update(gradients, states[0], params)
        found, states[1] = scaled.update(gradients, states[1], params)
        factors = jax.tree.map(lambda part: rates[part], parts(params))
        expected = jax.tree.map(lambda update, factor: update * factor, expected, factors)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_part_of_rate_0_is_frozen_without_moments():
    rates = {"encoder": 0.0, "decoder": 1.0, "head": 0.0}
    optimizer = make_optimizer(lambda step: 0.1, 0.5, 1.0, rates)
    state = optimizer.init(of_parts(1.0))
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) == 2 * 6  # two moments of 2_up_0
    updates, _ = optimizer.update(of_parts(2.0), state, of_parts(1.0))
    for name, update in named(updates).items():
        assert bool(np.any(np.asarray(update))) == (part_of(name) == "decoder"), name


def test_parts_that_all_learn_alike_change_nothing():
    alike = make_optimizer(lambda step: 0.1, 0.5, 1.0, dict.fromkeys(PARTS, 1.0))
    usual = make_optimizer(lambda step: 0.1, 0.5, 1.0)
    assert jax.tree.structure(alike.init(of_parts(1.0))) == jax.tree.structure(usual.init(of_parts(1.0)))
