"""How receivers differ, and which are spoiled."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.synthetic import effects
from seisjax.synthetic.parameters import QUICKSTART, Traces

PLACES = np.random.default_rng(0).uniform(-3000.0, 3000.0, (4000, 3))


def drawn(**change):
    parameters = replace(QUICKSTART, traces=Traces(**change))
    return jax.tree.map(np.asarray, effects.receiver_effects(parameters, PLACES, jax.random.key(1)))


def test_gains_and_levels_are_log_normal():
    what = drawn()
    for values, sigma in ((what.gain, 0.2), (what.noise_level, 0.35)):
        assert values.shape == (4000, 1)
        assert np.log(values).std() == pytest.approx(sigma, rel=0.05)
        assert np.log(values).mean() == pytest.approx(0.0, abs=0.03)


def test_statics_have_a_random_and_a_smooth_part():
    assert drawn(static_smooth=0.0).static.std() == pytest.approx(0.004, rel=0.05)
    smooth = drawn(static_random=0.0).static
    assert np.abs(smooth).max() == pytest.approx(0.008, rel=0.01)
    near = np.linalg.norm(PLACES[:, None, :2] - PLACES[None, :50, :2], axis=-1)
    pairs = np.argwhere((near < 50.0) & (near > 0))
    assert np.abs(smooth[pairs[:, 0]] - smooth[pairs[:, 1]]).max() < 0.008 * 2 * np.pi * 50.0 / 2600.0 * 1.01


def test_shares_of_dead_and_flipped_receivers():
    what = drawn(dead=0.1, flipped=0.05)
    assert (~what.alive).mean() == pytest.approx(0.1, abs=0.015)
    assert (what.gain < 0).mean() == pytest.approx(0.05, abs=0.01)
    np.testing.assert_array_equal(np.abs(what.gain), drawn().gain)


def test_bad_traces_have_their_own_noise_and_others_none():
    background = jnp.ones((4000, 200))
    spoiled = jax.jit(lambda key: effects.spoiled(Traces(bad=0.02), background, 0.5, key))
    added = np.stack([np.asarray(spoiled(key)) for key in jax.random.split(jax.random.key(0), 5)]) - 1.0
    bad = np.any(added, axis=-1)
    assert bad.mean() == pytest.approx(0.02, abs=0.005)
    assert added[bad].std() == pytest.approx(8.0 * 0.5, rel=0.02)
    assert np.abs(np.corrcoef(added[bad][:20]) - np.eye(20)).mean() < 0.1
    assert not np.array_equal(bad[0], bad[1])


def test_a_few_receivers_may_be_bad_too():
    background = jnp.zeros((3, 50))
    assert effects.spoiled(Traces(bad=0.0), background, 1.0, jax.random.key(0)) is background
    spoiled = jax.jit(lambda key: effects.spoiled(Traces(bad=0.9), background, 1.0, key))
    bad = np.any([spoiled(key) for key in jax.random.split(jax.random.key(0), 50)], axis=-1)
    assert bad.mean() == pytest.approx(0.9, abs=0.1)
