"""Which blocks a worker predicts, and in what order."""

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from seisjax.geometry import Box
from seisjax.inference.blend import RunningSums
from seisjax.inference.blocks import Block, Blocks
from seisjax.inference.products import ProductsVolume

_LOOKS = 0.05  # share of the time that is given to looking what others have done of a run

T = TypeVar("T")


@dataclass(eq=False)
class Run:
    """Blocks that follow one another along the first axis and are not done yet, and what there is of them so far.

    extent: the box of all of them, and sums over it, once there is a window. made: products of blocks that are not
    complete. ended: blocks that were handed over to be written.
    """

    blocks: list[Block]
    extent: Box
    sums: RunningSums | None = None
    made: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    failed: bool = False

    def touched(self, window: Box) -> list[Block]:
        """Its blocks that share samples with a window that touches the run: the blocks differ along the first axis."""
        first, past = window.start[0], window.start[0] + window.shape[0]
        return [b for b in self.blocks if b.place.start[0] < past and first < b.place.start[0] + b.place.shape[0]]


class Work:
    """A worker's way through the blocks: whole runs in an order of its own that nobody else has begun, then one by one
    what is left by those who have, for they may be gone."""

    def __init__(self, products: ProductsVolume, runs: Sequence[Blocks], max_blocks: int):
        self.failed: dict[Block, str] = {}  # and why
        self._begin, self._ledger = products.begin, products.ledger
        done = self._ledger.done()
        left = (_without(run, done) for run in runs)
        self.left = [run for run in left if run]
        self._room = max_blocks or sum(map(len, self.left))
        self._taken: set[int] = set()
        self._next_look = 0.0

    def runs(self) -> Iterator[Run]:
        """What is to be predicted next, until all blocks are done or were taken by this worker."""
        for run in _shuffled(self.left):
            if self._begin(run[0]):
                yield from self._take(run)
        while self._room and (left := self._not_taken()):
            for block in _shuffled(left):
                yield from self._take([block])

    def _not_taken(self) -> list[Block]:
        known = self._ledger.done() | self._taken
        return [block for block in itertools.chain(*self.left) if block.number not in known]

    def _take(self, blocks: Sequence[Block]) -> Iterator[Run]:
        blocks = self._left_of(blocks)[: self._room]
        self._room -= len(blocks)
        self._taken |= {block.number for block in blocks}
        if blocks:
            yield Run(blocks, extent_of(blocks))

    def refresh(self, run: Run) -> None:
        """Leave out what other workers have done meanwhile; where the store is slow to say so, not every time."""
        if time.monotonic() >= self._next_look:
            run.blocks = self._left_of(run.blocks)

    def _left_of(self, blocks: Sequence[Block]) -> list[Block]:
        started = time.monotonic()
        done = self._ledger.among(block.number for block in blocks)
        self._next_look = time.monotonic() + (time.monotonic() - started) / _LOOKS
        return [block for block in blocks if block.number not in done]

    def fail(self, run: Run, reason: str) -> None:
        """Samples of a run could not be read: its blocks are tried one by one, then given up."""
        run.failed = True
        if len(run.blocks) == 1:
            self.failed[run.blocks[0]] = reason
            return
        self._taken -= {block.number for block in run.blocks} - run.ended
        self._room += len({block.number for block in run.blocks} - run.ended)


def extent_of(blocks: Sequence[Block]) -> Box:
    """Where blocks that follow one another lie in the survey."""
    return Box.between(blocks[0].place.start, blocks[-1].place.stop)


def _without(run: Blocks, done: set[int]) -> Sequence[Block]:
    """The blocks of a run that are not done: most runs are as they were, and are then no list of blocks."""
    return run if done.isdisjoint(run.numbers) else [block for block in run if block.number not in done]


def _shuffled(values: Sequence[T]) -> list[T]:
    return random.SystemRandom().sample(values, len(values))
