"""The device mesh, and how arrays lie on it."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from seisjax.conventions import DATA, SPACE
from seisjax.errors import UserError


def make_mesh(data: int, space: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of `data` x `space` devices: `data` splits the batch, `space` splits a window.

    Args:
      data: devices along the batch; -1 takes all that `space` leaves.
      space: devices along the split axis of a window.
      devices: which devices; None takes all of the run. With one process the first data * space of them are used.

    Raises UserError where the devices cannot be laid out so.
    """
    devices = list(jax.devices() if devices is None else devices)
    if space < 1 or (data < 1 and data != -1):
        raise UserError(f"mesh: data={data}, space={space}; give numbers of at least 1 (or mesh.data=-1)")
    if data == -1:
        data, rest = divmod(len(devices), space)
        if rest:
            raise UserError(f"mesh.space={space} does not divide the {len(devices)} devices; choose one that does")
    if data * space > len(devices):
        raise UserError(f"mesh: data={data} x space={space} needs {data * space} devices, there are {len(devices)}")
    used = devices[: data * space]
    if {d.process_index for d in used} != {d.process_index for d in devices}:
        raise UserError(f"mesh: data={data} x space={space} leaves processes without a device; use all {len(devices)}")
    return jax.make_mesh((data, space), (DATA, SPACE), axis_types=(AxisType.Auto,) * 2, devices=used)


def batch_sharding(mesh: Mesh, array_ndim: int, space_dim: int | None = None) -> NamedSharding:
    """Sharding of an array whose first dimension is the batch, split along `space_dim` too unless that is None."""
    spec: list[str | None] = [DATA] + [None] * (array_ndim - 1)
    if space_dim is not None:
        spec[space_dim] = SPACE
    return NamedSharding(mesh, PartitionSpec(*spec))


def batch_shardings(mesh: Mesh, window_ndim: int, space_dim: int | None = None) -> dict[str, NamedSharding]:
    """`batch_sharding` of a batch's "image" (B, *window, channels) and "labels" (B, *window)."""
    return {
        "image": batch_sharding(mesh, window_ndim + 2, space_dim),
        "labels": batch_sharding(mesh, window_ndim + 1, space_dim),
    }


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of an array that every device holds whole: parameters, metrics."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch(batch_size: int, mesh: Mesh, field: str = "data.batch_size") -> None:
    """Raise UserError, that names the field, unless the batch can be split evenly over the mesh's data axis."""
    devices = mesh.shape[DATA]
    if batch_size < 1 or batch_size % devices:
        below = batch_size // devices * devices
        fits = f"{below} or {below + devices}" if below > 0 else f"{devices}"
        raise UserError(
            f"{field}: {batch_size} windows cannot be split over mesh.data={devices}; "
            f"use a multiple of {devices} ({fits}) or another mesh.data"
        )


def check_extent(extent: int, axis: str, mesh: Mesh) -> None:
    """Raise UserError unless a window's padded side `extent` along `axis` can be split over the mesh's space axis."""
    devices = mesh.shape[SPACE]
    if extent % devices:
        raise UserError(
            f"mesh.space={devices} does not divide the window's {extent} samples (padded) along {axis}; "
            "choose another mesh.space, mesh.space_axis or data.window"
        )
