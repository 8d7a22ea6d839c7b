"""Layers: folds never turn them over, horizons rise in order, interfaces keep their distance."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.synthetic.fault_parameters import FAULTS_64, FaultedVolume, Folds
from seisjax.synthetic.faulting import Places
from seisjax.synthetic.layering import (
    FINE,
    draw_folds,
    draw_layers,
    facies_of,
    geological_time,
    reach,
    reflections,
)

pytestmark = pytest.mark.quick_compiler

KEYS = jax.random.split(jax.random.key(0), 20)


def place(shape):
    x, y, z = (jnp.arange(n, dtype=jnp.float32) for n in shape)
    return Places(x[:, None, None], y[None, :, None], z[None, None, :])


@pytest.fixture(scope="module")
def folded():
    """Parameters of high folds, and the times of 20 volumes."""
    parameters = replace(FaultedVolume(shape=(24, 24, 40)), folds=Folds(count=(6, 6), height=(-40.0, 40.0)))
    times = jax.vmap(lambda key: geological_time(parameters, draw_folds(parameters, key), place(parameters.shape)))
    return parameters, np.asarray(jax.jit(times)(KEYS))


def test_time_rises_downwards_even_where_folds_are_high(folded):
    steps = np.diff(folded[1], axis=-1)
    assert steps.min() > 0.3
    assert steps.max() < 1.7


def test_times_stay_within_reach(folded):
    parameters, times = folded
    assert np.abs(times - np.arange(40)).max() < reach(parameters)


def test_without_folds_time_is_depth_on_a_slope():
    parameters = replace(FaultedVolume(shape=(8, 10, 40)), folds=Folds(tilt=(0.1, 0.1), count=(0, 0)))
    time = jax.jit(lambda key: geological_time(parameters, draw_folds(parameters, key), place(parameters.shape)))
    x, y, z = np.indices(parameters.shape)
    np.testing.assert_allclose(time(KEYS[0]), z - 0.1 * (x - 4) - 0.1 * (y - 5), atol=1e-5)


@pytest.fixture(scope="module")
def thick():
    """Layers at least 4 samples thick, so that each interface stands by itself in the table."""
    return replace(FAULTS_64, layers=replace(FAULTS_64.layers, least_thickness=4.0, thickness=(5.0, 6.0), horizons=3))


@pytest.fixture(scope="module")
def layered(thick):
    """The layers of 20 volumes, and what is reflected at their horizons."""

    def draw(key):
        layers = draw_layers(thick, key)
        return layers, reflections(thick, layers, layers.horizons)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(KEYS))


def test_horizons_are_strong_reflections_in_order(layered):
    layers, seen = layered
    assert (np.diff(layers.horizons, axis=-1) > 8).all()
    assert ((layers.horizons > 0) & (layers.horizons < 64)).all()
    assert (np.abs(seen) > 0.5).all()  # 0.6 to 0.9, or a little less between two points of the table


def test_an_interface_is_a_triangle_two_samples_wide_and_they_keep_apart(layered):
    for table in np.abs(layered[0].reflections):
        middle = table[FINE:-FINE]
        peaks = np.flatnonzero(
            (middle > table[FINE - 1 : -FINE - 1]) & (middle >= table[FINE + 1 : len(table) - FINE + 1])
        )
        assert (np.diff(peaks) >= 4 * FINE - 1).all()
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], (table > 0).astype(int), [0]]))))[::2]
        assert runs.max() <= 2 * FINE


def test_the_mean_thickness_is_that_asked_for():
    parameters = replace(FAULTS_64, layers=replace(FAULTS_64.layers, thickness=(40.0, 40.0), horizons=1))
    tables = np.asarray(jax.jit(jax.vmap(lambda key: draw_layers(parameters, key).reflections))(KEYS))
    starts = (np.diff((np.abs(tables) > 0).astype(int), axis=1) == 1).sum()
    assert tables.size / FINE / starts == pytest.approx(40, rel=0.15)


def test_facies_count_the_horizons_above(layered):
    layers = jax.tree.map(lambda values: values[0], layered[0])
    times = np.array([-50.0, *(layers.horizons - 1e-3), *layers.horizons, 500.0])
    found = facies_of(layers, times)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [0, 0, 1, 2, 1, 2, 3, 3])
