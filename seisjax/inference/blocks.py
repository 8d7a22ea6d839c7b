"""The blocks in which a prediction is made: how large they are, and in what runs they follow one another."""

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from seisjax.geometry import Box, Shape, grow, round_up
from seisjax.inference.views import View

# Blocks of a run follow one another along the first axis, and hand on the windows that reach into the next.
_RUN = 32


@dataclass(frozen=True)
class Block:
    """A block of whole shards of the output: its number, and its place in the output and in the survey."""

    number: int
    box: Box
    place: Box


@dataclass(frozen=True)
class Layout:
    """Shards and blocks over an output of this shape, which begins at `origin` of the survey."""

    origin: Shape
    shape: Shape
    shard: Shape
    block: Shape

    @property
    def counts(self) -> Shape:
        """Blocks along each axis."""
        return tuple(-(-n // side) for n, side in zip(self.shape, self.block, strict=True))

    def blocks(self) -> "Blocks":
        """All blocks, those along the first axis one after the other."""
        return Blocks(self, range(math.prod(self.counts)))

    def runs(self) -> list["Blocks"]:
        """All blocks, in runs along the first axis."""
        blocks, length = self.blocks(), self.counts[0]
        return [run for i in range(0, len(blocks), length) for run in _parted(blocks[i : i + length])]


@dataclass(frozen=True)
class Blocks(Sequence[Block]):
    """Blocks of a layout by their numbers; each is made when it is asked for, for a volume may have very many."""

    layout: Layout
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> "Blocks": ...
    def __getitem__(self, index: int | slice) -> "Block | Blocks":
        """A block, or some of them, in their order here."""
        if isinstance(index, slice):
            return Blocks(self.layout, self.numbers[index])
        layout, number = self.layout, self.numbers[index]
        column, first = divmod(number, layout.counts[0])
        place = (first, *(int(i) for i in np.unravel_index(column, layout.counts[1:])))
        start = tuple(i * side for i, side in zip(place, layout.block, strict=True))
        box = Box(start, layout.block).intersect(Box.whole(layout.shape))
        return Block(number, box, Box(tuple(map(operator.add, start, layout.origin)), box.shape))


def _parted(column: Blocks) -> Iterator[Blocks]:
    """Runs of nearly equal length: a short one at the end would read its neighbourhood for little."""
    count = -(-len(column) // _RUN)
    length = -(-len(column) // count)
    return (column[i : i + length] for i in range(0, len(column), length))


def choose_layout(box: Box, chunk: Shape, shard: Shape, views: Sequence[View], samples: int) -> Layout:
    """Blocks of at most so many samples, one chunk thick along the first axis, for which the least is read twice.

    chunk, shard: those of the survey; a shard that is larger than a block may be is made smaller.
    """
    extent = box.shape
    shard = grow(chunk, (chunk[0], *map(min, shard[1:], extent[1:])), samples)
    around = [map(operator.add, map(operator.sub, v.lattice.window, v.lattice.stride), v.context) for v in views]
    reach = list(map(max, zip(*around, strict=True)))
    reach = [round_up(samples, side) for samples, side in zip(reach, chunk, strict=True)]  # chunks are read whole
    room = samples // min(shard[0], extent[0])

    def read_again(sides: Sequence[int]) -> float:
        """Samples read for one of the block, across the axes above the first."""
        along = zip(sides, extent[1:], reach[1:], strict=True)
        return math.prod(1.0 if side >= n else (side + 2 * r) / side for side, n, r in along)

    choices = (_sides(n, s) for n, s in zip(extent[1:], shard[1:], strict=True))
    best = min(
        (sides for sides in itertools.product(*choices) if math.prod(map(min, sides, extent[1:])) <= room),
        key=lambda sides: (read_again(sides), [-side for side in reversed(sides)]),
        default=shard[1:],
    )
    return Layout(box.start, extent, shard, (shard[0], *best))


def _sides(extent: int, shard: int) -> list[int]:
    """Sides of whole shards to choose from: the longest, and fewer than a hundred below it."""
    sides = range(shard, round_up(extent, shard) + 1, shard)
    return [*sides[:: max(len(sides) // 64, 1)], sides[-1]]
