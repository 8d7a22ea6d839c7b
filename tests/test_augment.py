"""Augmentation: a pure function of seed and place, image and labels together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P  # noqa: N817

from seisjax.augment import augment
from seisjax.conventions import IGNORE

EVERYTHING = {"flip_axes": (0, 1), "polarity": 0.5, "gain": 0.3, "noise": 0.4}


@functools.cache
def jitted(**options):
    return jax.jit(functools.partial(augment, seed=5, **options))


def changed(batch, **options):
    images, labels, valid, indices = batch
    return jitted(**options)(images, labels, valid, indices=indices)


@pytest.fixture
def batch():
    """32 samples whose labels count the samples along the window, with a corner that holds no data."""
    shape = (32, 6, 8)
    labels = np.broadcast_to(np.arange(48, dtype=np.uint8).reshape(6, 8), shape).copy()
    images = labels[..., None].astype(np.float32) + 1
    valid = np.ones_like(images, bool)
    images[:, :2, 6:], labels[:, :2, 6:], valid[:, :2, 6:] = 0, IGNORE, False
    return jnp.asarray(images), jnp.asarray(labels), jnp.asarray(valid), jnp.arange(100, 132, dtype=jnp.uint32)


def test_without_options_nothing_changes(batch):
    images, labels = changed(batch)
    np.testing.assert_array_equal(images, batch[0])
    np.testing.assert_array_equal(labels, batch[1])


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_flips_move_image_and_labels_together_along_allowed_axes(batch, axes):
    images, labels = (np.asarray(x) for x in changed(batch, flip_axes=axes))
    np.testing.assert_array_equal(images[..., 0], np.where(labels == IGNORE, 0, labels + 1.0))
    seen = {label.tobytes() for label in labels}
    allowed = {np.flip(batch[1][0], axis).tobytes() for axis in [(), *((a,) for a in axes), tuple(axes)]}
    assert seen == allowed


def test_polarity_and_gain_act_on_whole_windows(batch):
    images, labels = changed(batch, polarity=0.5)
    ratio = np.asarray(images / jnp.where(batch[2], batch[0], 1))[:, -1]
    assert set(np.unique(ratio)) == {-1, 1}
    assert (ratio == ratio[:, :1]).all()
    np.testing.assert_array_equal(labels, batch[1])
    scaled, _ = changed(batch, gain=0.5)
    ratio = np.asarray(scaled / jnp.where(batch[2], batch[0], 1))[:, -1, :, 0]
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones(8), rtol=1e-5)
    assert 0.3 < np.log(ratio[:, 0]).std() < 0.7


def test_no_data_stays_zero(batch):
    images, labels = changed(batch, **EVERYTHING)
    assert (np.asarray(images)[np.asarray(labels) == IGNORE] == 0).all()


def test_noise_is_white_and_of_random_level():
    images = jnp.zeros((16, 64, 64, 1))
    labels = jnp.zeros((16, 64, 64), jnp.uint8)
    noisy, _ = changed((images, labels, jnp.ones_like(images, bool), jnp.arange(16)), noise=0.5)
    deviation = np.asarray(noisy).std((1, 2, 3))
    assert 0.2 < np.sqrt((deviation**2).mean()) < 0.9
    assert len(np.unique(deviation)) == 16


def test_a_sample_does_not_depend_on_its_batch(batch):
    whole = changed(batch, **EVERYTHING)
    order = np.random.default_rng(0).permutation(32)[:8]
    some = changed(tuple(x[order] for x in batch), **EVERYTHING)
    for a, b in zip(whole, some, strict=True):
        np.testing.assert_array_equal(a[order], b)


def test_switching_one_change_on_leaves_the_others(batch):
    _, with_flips_alone = changed(batch, flip_axes=(0, 1))
    _, with_all = changed(batch, **EVERYTHING)
    np.testing.assert_array_equal(with_flips_alone, with_all)


@pytest.mark.parametrize(("mesh_shape", "spec"), [((8, 1), P("data")), ((2, 4), P("data", None, "space"))])
def test_devices_do_not_matter(batch, mesh_shape, spec):
    mesh = jax.make_mesh(mesh_shape, ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    *arrays, indices = batch
    put = jax.device_put(tuple(arrays), NamedSharding(mesh, spec))
    one = changed(batch, **EVERYTHING)
    many = changed((*put, jax.device_put(indices, NamedSharding(mesh, P("data")))), **EVERYTHING)
    np.testing.assert_array_equal(one[1], many[1])
    np.testing.assert_allclose(one[0], many[0], rtol=1e-6, atol=1e-6)
