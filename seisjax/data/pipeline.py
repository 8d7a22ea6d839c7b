"""From samples to global batches on the devices: threads that read ahead, by Grain.

A guide to the indices: step k of the run works on the global batch of samples [k * batch_size, (k + 1) * batch_size);
a process reads the rows of it that its own devices hold. So the position in the data is the step, whatever the number
of processes, devices and threads.
"""

import sys

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from seisjax.data.source import Batch, WindowSource
from seisjax.sharding import batch_sharding, check_batch, check_extent

GlobalBatch = dict[str, jax.Array]


def training_batches(
    source: WindowSource,
    *,
    batch_size: int,
    mesh: Mesh,
    space_dim: int | None,
    start_step: int,
    num_threads: int,
    prefetch: int,
) -> grain.DatasetIterator:
    """The endless iterator of global batches from step `start_step` on; call its `close()` when done.

    Args:
      source: an endless source of samples.
      batch_size: windows of a global batch.
      mesh: devices; the batch is split along its `data` axis.
      space_dim: dimension of the batch arrays (1 is the window's first axis) split along the mesh's `space` axis;
        None splits none.
      start_step: number of the first batch.
      num_threads: reading threads; all reads of a batch are under way together, so few are needed.
      prefetch: batches read ahead on the host, which bounds its memory; one more waits on the devices.

    A batch is {"image": float32 (B, *padded, 1), "labels": uint8 (B, *padded)}.
    Raises UserError where the mesh divides neither the batch nor the window.
    """
    return _batches(source, batch_size, mesh, space_dim, start_step, sys.maxsize, num_threads, prefetch)


def evaluation_batches(
    source: WindowSource,
    *,
    batch_size: int,
    mesh: Mesh,
    space_dim: int | None,
    num_threads: int,
    prefetch: int,
) -> grain.DatasetIterator:
    """The iterator over the samples of a finite source, each once; what the last batch lacks is NaN and IGNORE alone.

    Arguments, batches and errors are those of `training_batches`.
    """
    num_batches = -(-len(source) // batch_size)
    return _batches(source, batch_size, mesh, space_dim, 0, num_batches, num_threads, prefetch)


def _batches(source, batch_size, mesh, space_dim, start_step, num_batches, num_threads, prefetch):
    check_batch(batch_size, mesh)
    if space_dim is not None:
        check_extent(source.padded[space_dim - 1], source.volume.axes[space_dim - 1].name, mesh)
    place = _Placement(batch_size, source.padded, mesh, space_dim)
    steps = grain.MapDataset.source(_LocalBatches(source, batch_size, place.rows, start_step, num_batches))
    # Elements are whole batches here, so both numbers count batches; more threads than places would idle.
    options = grain.ReadOptions(num_threads=min(num_threads, prefetch), prefetch_buffer_size=prefetch)
    batches = steps.to_iter_dataset(options).map(place)
    return iter(grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=1))


class _LocalBatches:
    """Grain source: element j is this process's rows of the global batch of step `start_step` + j."""

    def __init__(
        self, source: WindowSource, batch_size: int, rows: np.ndarray, start_step: int, num_batches: int
    ) -> None:
        self._source = source
        self._batch_size = batch_size
        self._rows = rows
        self._start_step = start_step
        self._num_batches = num_batches

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> Batch:
        first = (self._start_step + int(index)) * self._batch_size
        return self._source.read([first + int(row) for row in self._rows])


class _Placement:
    """Puts the rows of this process on its devices, as its part of the global arrays."""

    def __init__(self, batch_size: int, padded: tuple[int, ...], mesh: Mesh, space_dim: int | None) -> None:
        self._shapes = {"image": (batch_size, *padded, 1), "labels": (batch_size, *padded)}
        self._shardings = {n: batch_sharding(mesh, len(shape), space_dim) for n, shape in self._shapes.items()}
        self.rows = self._held(0)
        self._slab = {} if space_dim is None else {space_dim: self._held(space_dim)}

    def __call__(self, batch: Batch) -> GlobalBatch:
        return {name: self._place(name, array) for name, array in batch.items()}

    def _place(self, name: str, array: np.ndarray) -> jax.Array:
        for dim, held in self._slab.items():
            if len(held) < array.shape[dim]:
                array = array.take(held, axis=dim)
        return jax.make_array_from_process_local_data(self._shardings[name], array, self._shapes[name])

    def _held(self, dim: int) -> np.ndarray:
        """Positions along a dimension of the batch that the devices of this process hold, in rising order."""
        shape = self._shapes["labels"]
        held = np.zeros(shape[dim], bool)
        for index in self._shardings["labels"].addressable_devices_indices_map(shape).values():
            if index is not None:
                held[index[dim]] = True
        return np.flatnonzero(held)
