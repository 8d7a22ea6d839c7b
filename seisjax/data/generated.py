"""Training batches whose panels are made on the devices: only numbers of panels and places of windows go there."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seisjax.conventions import DATA, IGNORE, SPACE
from seisjax.data.draws import Draw
from seisjax.data.pipeline import GlobalBatch
from seisjax.data.source import WindowSource
from seisjax.errors import UserError
from seisjax.geometry import Shape
from seisjax.sharding import batch_sharding, check_batch, check_extent
from seisjax.synthetic.microseismic import Panel


class GeneratedBatches(Iterator[GlobalBatch]):
    """The endless iterator of the global batches that `training_batches` would give, made on the devices.

    The windows are those that the source's sampler draws; but one without a live trace is not drawn again. A device
    makes the panels of its rows one after the other, so that it holds one of them beside the batch; devices that split
    a window each make its panel and keep their part. `next` starts the work and returns at once.

    Args:
      source: endless windows, each of one panel, of a volume whose panels `generate` makes.
      generate: (seed, number) -> Panel, to be traced.
      seed: 0 to 2^32 - 1.
      batch_size, mesh, space_dim, start_step: those of `training_batches`.

    Raises UserError where the mesh divides neither the batch nor the window, and for windows of several panels.
    """

    def __init__(
        self,
        source: WindowSource,
        generate: Callable[[Any, Any], Panel],
        seed: int,
        *,
        batch_size: int,
        mesh: Mesh,
        space_dim: int | None,
        start_step: int,
    ) -> None:
        check_batch(batch_size, mesh)
        if space_dim is not None:
            check_extent(source.padded[space_dim - 1], source.volume.axes[space_dim - 1].name, mesh)
        if source.sampler.window[0] != 1 or source.padded[0] != 1:
            raise UserError(
                f"data.window={source.sampler.window}: panels made on the device come one a window; "
                "make its first side 1, or set data.synthesis='host'"
            )
        self._sampler, self._batch_size, self._step = source.sampler, batch_size, start_step
        self._rows = NamedSharding(mesh, PartitionSpec(DATA))
        sides = (source.sampler.window, source.padded)
        self._make = _batch_maker(generate, seed, *sides, mesh, space_dim)

    def __next__(self) -> GlobalBatch:
        first = self._step * self._batch_size
        rows = np.stack([_numbers(self._sampler.draw(first + row)) for row in range(self._batch_size)])
        self._step += 1
        return self._make(jax.make_array_from_callback(rows.shape, self._rows, lambda index: rows[index]))

    def close(self) -> None:
        """Nothing is read ahead."""


def _numbers(draw: Draw | None) -> np.ndarray:
    """A draw as int32: the panel, then start, first and last + 1 sample to be seen, along receivers and time."""
    assert draw is not None, "an endless sampler"
    inner = draw.inner
    return np.array([draw.box.start[0], *draw.box.start[1:], *inner.start[1:], *inner.stop[1:]], np.int32)


def _batch_maker(
    generate: Callable[[Any, Any], Panel], seed: int, window: Shape, padded: Shape, mesh: Mesh, space_dim: int | None
) -> Callable[[jax.Array], GlobalBatch]:
    """The jitted function from the draws (batch, 7) to a batch."""
    splits = [mesh.shape[SPACE] if space_dim == dim else 1 for dim in (2, 3)]

    def row(numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        panel = generate(np.uint32(seed), numbers[0].astype(jnp.uint32))
        image = jnp.where(panel.trace_mask[:, None], panel.amplitude, jnp.nan)
        labels = jnp.where(panel.trace_mask[:, None], panel.labels, jnp.uint8(IGNORE))
        for axis, (start, first, stop) in enumerate(numbers[1:].reshape(3, 2).T):
            side = padded[axis + 1] // splits[axis]
            place = jnp.arange(side) + (jax.lax.axis_index(SPACE) * side if splits[axis] > 1 else 0)
            sample = start + place
            seen = (place < window[axis + 1]) & (sample >= first) & (sample < stop)
            seen = jnp.expand_dims(seen, 1 - axis)
            # What is outside is taken from the edge, then covered: no padded copy of the panel.
            image = jnp.where(seen, jnp.take(image, sample, axis, mode="clip"), jnp.nan)
            labels = jnp.where(seen, jnp.take(labels, sample, axis, mode="clip"), jnp.uint8(IGNORE))
        return image[None, ..., None], labels[None]

    def rows(numbers: jax.Array) -> GlobalBatch:
        image, labels = jax.lax.map(row, numbers)
        return {"image": image, "labels": labels}

    specs = {name: batch_sharding(mesh, ndim, space_dim).spec for name, ndim in (("image", 5), ("labels", 4))}
    return jax.jit(jax.shard_map(rows, mesh=mesh, in_specs=PartitionSpec(DATA), out_specs=specs, check_vma=False))
