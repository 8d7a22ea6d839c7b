"""Meshes over eight virtual devices, and what does not fit on them."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from seisjax import sharding
from seisjax.errors import UserError


@pytest.mark.parametrize(
    ("data", "space", "shape"), [(-1, 1, (8, 1)), (-1, 4, (2, 4)), (2, 4, (2, 4)), (1, 1, (1, 1)), (2, 2, (2, 2))]
)
def test_mesh_takes_what_is_asked_for(data, space, shape):
    mesh = sharding.make_mesh(data, space)
    assert tuple(mesh.shape.values()) == shape
    assert mesh.axis_names == ("data", "space")
    assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)


def test_mesh_of_chosen_devices():
    chosen = jax.devices()[2:4]
    assert set(sharding.make_mesh(-1, 1, chosen).devices.flat) == set(chosen)


@pytest.mark.parametrize(("data", "space"), [(16, 1), (4, 4), (-1, 3), (0, 1), (-2, 1), (1, 0)])
def test_mesh_that_does_not_fit_is_one_line(data, space):
    with pytest.raises(UserError, match=r"^mesh[^\n]*$"):
        sharding.make_mesh(data, space)


def test_batch_and_space_are_split():
    mesh = sharding.make_mesh(2, 4)
    split = sharding.batch_sharding(mesh, 4, space_dim=2)
    assert split.spec == PartitionSpec("data", None, "space", None)
    array = jax.device_put(jnp.zeros((4, 3, 8, 1)), split)
    assert array.addressable_shards[0].data.shape == (2, 3, 2, 1)
    assert sharding.batch_sharding(mesh, 3).spec == PartitionSpec("data", None, None)
    assert jax.device_put(jnp.zeros(5), sharding.replicated(mesh)).addressable_shards[7].data.shape == (5,)


def test_batch_must_divide():
    mesh = sharding.make_mesh(8, 1)
    sharding.check_batch(16, mesh)
    with pytest.raises(UserError, match="12 windows .* mesh.data=8; use a multiple of 8 .8 or 16"):
        sharding.check_batch(12, mesh)
    with pytest.raises(UserError, match="multiple of 8 .8."):
        sharding.check_batch(4, mesh)


def test_extent_must_divide():
    mesh = sharding.make_mesh(2, 4)
    sharding.check_extent(64, "time", mesh)
    with pytest.raises(UserError, match="mesh.space=4 .* 66 samples .* time"):
        sharding.check_extent(66, "time", mesh)
