"""From samples to global batches on the devices, by Grain: as many as are wanted are read ahead.

Where TensorStore does all the work, batches are begun and waited for by whoever takes them: its threads read on without
one of ours, and nobody waits for Python's lock. Where Python makes, decodes or joins samples, threads do it.

A guide to the indices: step k of the run works on the global batch of samples [k * batch_size, (k + 1) * batch_size);
a process reads the rows of it that its own devices hold and, where the mesh splits windows, of each row the slab that
they hold. So the position in the data is the step, whatever the number of processes, devices and threads.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from seisjax.data.mixture import MixedSource
from seisjax.data.source import Batch, WindowSource
from seisjax.geometry import Box, Shape
from seisjax.sharding import batch_shardings, check_batch, check_extent

GlobalBatch = dict[str, jax.Array]


def training_batches(
    source: WindowSource | MixedSource,
    *,
    batch_size: int,
    mesh: Mesh,
    space_dim: int | None,
    start_step: int,
    num_threads: int,
    prefetch: int,
    as_stored: bool = False,
) -> grain.DatasetIterator:
    """The endless iterator of global batches from step `start_step` on; call its `close()` when done.

    Args:
      source: an endless source of samples.
      batch_size: windows of a global batch.
      mesh: devices; the batch is split along its `data` axis.
      space_dim: dimension of the batch arrays (1 is the window's first axis) split along the mesh's `space` axis;
        None splits none.
      start_step: number of the first batch.
      num_threads: threads that make or decode samples, at most one a batch that is read ahead; where TensorStore does
        all the work there are none.
      prefetch: batches under way or read ahead on the host, which bounds its memory.
      as_stored: leave it to the device to decode samples: see `WindowSource.read`, and `training.step.decode`.

    A batch is {"image": float32 (B, *padded, 1), "labels": uint8 (B, *padded)}.
    Raises UserError where the mesh divides neither the batch nor the window.
    """
    start = partial(source.start, as_stored=True) if as_stored else source.start
    num_threads = 0 if as_stored and source.reads_alone else num_threads
    return _batches(source, start, batch_size, mesh, space_dim, start_step, sys.maxsize, num_threads, prefetch)


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
    return _batches(source, source.start, batch_size, mesh, space_dim, 0, num_batches, num_threads, prefetch)


def _batches(source, start, batch_size, mesh, space_dim, start_step, num_batches, num_threads, prefetch):
    check_batch(batch_size, mesh)
    if space_dim is not None:
        check_extent(source.padded[space_dim - 1], source.volume.axes[space_dim - 1].name, mesh)
    place = _Placement(batch_size, source.padded, mesh, space_dim)
    threads = min(num_threads, prefetch)  # elements are whole batches, so more of them would idle
    batches = _LocalBatches(start, batch_size, place.blocks, start_step, num_batches, 0 if threads else prefetch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch if threads else 0)
    return iter(grain.MapDataset.source(batches).to_iter_dataset(options).map(place))


@dataclass(frozen=True)
class _Block:
    """Rows of the global batch (rising), and the part of each that devices of this process hold."""

    rows: tuple[int, ...]
    part: Box


class _LocalBatches:
    """Grain source: element j is what this process holds of the batch of step `start_step` + j, block by block, begun
    to be read; each block is called to wait for it. Whoever asks for j begins the `ahead` elements after it too."""

    def __init__(
        self,
        start: Callable[[Sequence[int], Box], Callable[[], Batch]],
        batch_size: int,
        blocks: Sequence[_Block],
        start_step: int,
        num_batches: int,
        ahead: int,
    ) -> None:
        self._start = start
        self._batch_size = batch_size
        self._blocks = blocks
        self._start_step = start_step
        self._num_batches = num_batches
        self._ahead = ahead
        self._begun: dict[int, list[Callable[[], Batch]]] = {}

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> list[Callable[[], Batch]]:
        if not self._ahead:
            return self._begin(index)
        for number in range(index, min(index + 1 + self._ahead, self._num_batches)):
            if number not in self._begun:
                self._begun[number] = self._begin(number)
        return self._begun.pop(index)

    def _begin(self, index: int) -> list[Callable[[], Batch]]:
        first = (self._start_step + int(index)) * self._batch_size
        return [self._start([first + row for row in block.rows], block.part) for block in self._blocks]


class _Placement:
    """Waits for what this process holds of a batch and puts it on its devices, as its share of the global arrays."""

    def __init__(self, batch_size: int, padded: Shape, mesh: Mesh, space_dim: int | None) -> None:
        self._shape = (batch_size, *padded)
        self._shardings = batch_shardings(mesh, len(padded), space_dim)
        held = self._shardings["labels"].addressable_devices_indices_map(self._shape).values()
        boxes = {_key(index): self._box(index) for index in held if index is not None}
        self.blocks = _blocks(list(boxes.values()))
        self._constants: dict[str, jax.Array] = {}
        self._places = {key: self._place(box) for key, box in boxes.items()}

    def __call__(self, reads: list[Callable[[], Batch]]) -> GlobalBatch:
        batches = [read() for read in reads]
        return {name: self._put(name, [batch[name] for batch in batches]) for name in self._shardings}

    def _put(self, name: str, arrays: Sequence[np.ndarray]) -> jax.Array:
        if name in self._constants:
            return self._constants[name]
        shape = (*self._shape, *arrays[0].shape[len(self._shape) :])
        put = jax.make_array_from_callback(shape, self._shardings[name], partial(self._cut, arrays))
        if not arrays[0].flags.writeable:  # labels of a source that has none: once is enough
            self._constants[name] = put
        return put

    def _cut(self, arrays: Sequence[np.ndarray], index: tuple[slice, ...] | None) -> np.ndarray:
        """What the device at this index of the global array holds."""
        assert index is not None, "a device of this process"
        block, slices = self._places[_key(index[: len(self._shape)])]
        return arrays[block][slices]

    def _place(self, box: Box) -> tuple[int, tuple[slice, ...]]:
        """The block that holds a device's box of the batch, and where."""
        part = Box(box.start[1:], box.shape[1:])
        for number, block in enumerate(self.blocks):
            if box.start[0] in block.rows:  # a row is in one block alone
                first = block.rows.index(box.start[0])
                return number, (slice(first, first + box.shape[0]), *part.relative_to(block.part.start).slices)
        raise ValueError(f"{box}: no device of this process holds it")

    def _box(self, index: tuple[slice, ...]) -> Box:
        ends = (side.indices(n)[:2] for side, n in zip(index, self._shape, strict=True))
        return Box.between(*zip(*ends, strict=True))


def _key(index: tuple[slice, ...]) -> tuple[tuple[int | None, int | None], ...]:
    return tuple((side.start, side.stop) for side in index)


def _blocks(held: Sequence[Box]) -> list[_Block]:
    """What to read for devices that hold these boxes of a batch: for each row one part, the hull of its boxes.

    Devices hold the same rows or have none in common. Rows with the same part make one block; there are several only
    where the processes divide neither the rows nor the windows of the mesh evenly.
    """
    hulls: dict[tuple[int, int], Box] = {}
    for box in held:
        rows, part = (box.start[0], box.stop[0]), Box(box.start[1:], box.shape[1:])
        known = hulls.get(rows, part)
        start, stop = map(min, known.start, part.start), map(max, known.stop, part.stop)
        hulls[rows] = Box.between(tuple(start), tuple(stop))
    blocks: dict[Box, list[int]] = {}
    for rows in sorted(hulls):
        blocks.setdefault(hulls[rows], []).extend(range(*rows))
    return [_Block(tuple(rows), part) for part, rows in blocks.items()]
