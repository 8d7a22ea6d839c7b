"""Learning rates, decay and clipping."""

import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.training.optimizer import make_optimizer, make_schedule


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
