"""Training batches that are made on the devices: only numbers of examples and places of windows go there."""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seisjax.conventions import DATA, IGNORE, LABELS_PREFIX, SPACE
from seisjax.data.draws import Draw
from seisjax.data.pipeline import GlobalBatch
from seisjax.data.source import WindowSource
from seisjax.errors import UserError
from seisjax.geometry import Axis, Shape
from seisjax.sharding import batch_sharding, check_batch, check_extent
from seisjax.synthetic import MakeWindow


class GeneratedBatches(Iterator[GlobalBatch]):
    """The endless iterator of the global batches that `training_batches` would give, made on the devices.

    The windows are those that the source's sampler draws; but one without a live trace is not drawn again. A device
    makes its windows one after the other, so that it holds one of them beside the batch; devices that split a window
    each make their part, or a panel of which they keep their part.

    Args:
      source: endless windows, each of one example, of a virtual volume.
      windows: (name of a label array, sides of a window along an example's axes) -> what makes it; the virtual volume's
        `examples.window`.
      batch_size, mesh, space_dim, start_step: those of `training_batches`.

    Raises UserError where the mesh divides neither the batch nor the window, and for windows of several examples.
    """

    def __init__(
        self,
        source: WindowSource,
        windows: Callable[[str, Sequence[int]], MakeWindow],
        *,
        batch_size: int,
        mesh: Mesh,
        space_dim: int | None,
        start_step: int,
    ) -> None:
        check_batch(batch_size, mesh)
        axes, window, padded = source.volume.axes, source.sampler.window, source.padded
        if space_dim is not None:
            check_extent(padded[space_dim - 1], axes[space_dim - 1].name, mesh)
        check_one_example(axes, window)
        leading = axes[0].name == "example"
        self._sampler, self._batch_size, self._step, self._leading = source.sampler, batch_size, start_step, leading
        self._rows = NamedSharding(mesh, PartitionSpec(DATA))
        assert source.labels is not None, "training windows have labels"
        sides = (window[leading:], padded[leading:])
        self._make = _batch_maker(windows, LABELS_PREFIX + source.labels, *sides, leading, mesh, space_dim)

    def __next__(self) -> GlobalBatch:
        first = self._step * self._batch_size
        rows = np.stack([_numbers(self._sampler.draw(first + row), self._leading) for row in range(self._batch_size)])
        self._step += 1
        return self._make(jax.make_array_from_callback(rows.shape, self._rows, lambda index: rows[index]))

    def close(self) -> None:
        """Nothing is read ahead."""


def check_one_example(axes: Sequence[Axis], window: Sequence[int]) -> None:
    """Raise UserError for windows of several examples."""
    if axes[0].name == "example" and window[0] != 1:
        raise UserError(
            f"data.window={tuple(window)}: examples made on the device come one a window; "
            "make its first side 1, or set data.synthesis='host'"
        )


def _numbers(draw: Draw | None, leading: bool) -> np.ndarray:
    """A draw as int32: the example, then start, first and last + 1 sample to be seen, each along the other axes."""
    assert draw is not None, "an endless sampler"
    inner, number = draw.inner, draw.box.start[0] if leading else 0
    places = (side[leading:] for side in (draw.box.start, inner.start, inner.stop))
    return np.array([number, *(side for place in places for side in place)], np.int32)


def _batch_maker(
    windows: Callable[[str, Sequence[int]], MakeWindow],
    label: str,
    window: Shape,
    padded: Shape,
    leading: bool,
    mesh: Mesh,
    space_dim: int | None,
) -> Callable[[jax.Array], GlobalBatch]:
    """The jitted function from the draws (batch, numbers) to a batch; window, padded: without the examples' axis."""
    ndim, first_dim = len(window), 1 + leading
    splits = [mesh.shape[SPACE] if space_dim == first_dim + axis else 1 for axis in range(ndim)]
    sides = tuple(side // parts for side, parts in zip(padded, splits, strict=True))
    make = windows(label, sides)

    def row(numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        starts, firsts, stops = numbers[1:].reshape(3, ndim)
        parts = [jax.lax.axis_index(SPACE) * side if n > 1 else 0 for side, n in zip(sides, splits, strict=True)]
        image, labels = make(numbers[0].astype(jnp.uint32), [starts[axis] + parts[axis] for axis in range(ndim)])
        for axis, side in enumerate(sides):
            place = jnp.arange(side) + parts[axis]
            sample = starts[axis] + place
            seen = (place < window[axis]) & (sample >= firsts[axis]) & (sample < stops[axis])
            seen = jnp.expand_dims(seen, [other for other in range(ndim) if other != axis])
            image, labels = jnp.where(seen, image, jnp.nan), jnp.where(seen, labels, jnp.uint8(IGNORE))
        return (image[None, ..., None], labels[None]) if leading else (image[..., None], labels)

    def rows(numbers: jax.Array) -> GlobalBatch:
        image, labels = jax.lax.map(row, numbers)
        return {"image": image, "labels": labels}

    ndims = {"image": ndim + first_dim + 1, "labels": ndim + first_dim}
    specs = {name: batch_sharding(mesh, count, space_dim).spec for name, count in ndims.items()}
    return jax.jit(jax.shard_map(rows, mesh=mesh, in_specs=PartitionSpec(DATA), out_specs=specs, check_vma=False))
