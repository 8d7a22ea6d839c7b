"""Windows drawn block by block, so that hardly more is read than is used: each chunk once, while a few blocks are open.

How it goes, for one region and one direction (a part). A pass lays windows side by side over the region from a random
origin, which is on a border of chunks or (now and then, so that edges are reached) at one of the region's ends, and
groups them into blocks of equally many. Blocks that hold labels, by the label index, are shuffled; a block is a slot.
Slots of all parts take turns. `lanes` slots are open at once, each on a lane of its own, and each sample of a batch
comes from the lane of its row: rows that stand together, which one process reads, share few blocks. Lanes change
blocks one after the other. Everything is a closed form of the sample's number.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.data.draws import Blind, Draw, Turns, generator
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape
from seisjax.volumes import Volume

MIN_BLOCKS = 8  # that a batch is spread over, or one a sample where it has fewer

_OTHER_END = 1 / 8  # share of the passes whose origin is an end of the region that lies on no border of chunks
_ORIGINS = 2  # origins on borders of chunks along an axis
_NEAR = 8  # attempts that look for a label in the same block
_WITHIN = 2**32  # stands in place of an attempt where the windows of a block are shuffled
_SLACK = 1.1  # blocks are the smallest that read at most so much more than the best


class BlockWindows(Blind):
    """Windows of one or several parts, block by block, endless.

    In a pass over a part each sample of the volume comes at most once, but for windows without a label, which are
    replaced by others: of the same block at first, then of any. So it suits regions that are labelled densely. Blocks
    are as small as hardly costs more reading, and the chunks of those that are open fit in `block_mebibytes`. The cache
    that holds them should be twice as large: in passes from an end of the region that is no border of chunks, blocks
    touch more of them.

    Args:
      volume: what is read.
      labels: name of the labels; None takes every block.
      regions, windows, shares: one each part: where, sides of a window, share of the samples.
      window: sides of the samples as they are handed out.
      seed: the run's.
      batch_size: samples of a global batch.
      block_mebibytes: room for the decoded chunks of the open blocks; other room, other blocks.

    Raises UserError where the blocks do not fit the cache, or a region has too few of them.
    """

    def __init__(
        self,
        volume: Volume,
        labels: str | None,
        regions: Sequence[Box],
        windows: Sequence[Shape],
        shares: Sequence[float],
        window: Shape,
        *,
        seed: int,
        batch_size: int,
        block_mebibytes: int,
    ) -> None:
        self.window = window
        self._seed = seed
        # Small batches take turns on the lanes, so that a few batches in a row look at many blocks.
        self._span = batch_size * -(-MIN_BLOCKS // batch_size)
        self.lanes = next(n for n in range(MIN_BLOCKS, self._span + 1) if self._span % n == 0)
        self._turns = Turns(shares)
        # At most so many slots of a part are open at once.
        open_slots = [min(int(n), self.lanes) for n in self._turns.most(self.lanes)]
        labelled = None if labels is None else _LabelledChunks(volume, labels)
        chunk = volume.arrays[AMPLITUDE].chunk
        choices = [_choices(r, w, chunk) for r, w in zip(regions, windows, strict=True)]
        for parts in self._fitting(choices, volume, labels, block_mebibytes):
            self._parts = [
                _Part(lattice, number, slots, seed, labelled)
                for number, (lattice, slots) in enumerate(zip(parts, open_slots, strict=True))
            ]
            if all(part.slots for part in self._parts):
                break
        else:
            where = " with labels" if labels else ""
            raise UserError(
                f"data.sampling='blocks': a region of data.train holds fewer than {max(open_slots)} windows side by "
                f"side{where}; make it larger, data.window smaller, or use another data.sampling"
            )
        self._length = self._parts[0].lattice.length

    def draw(self, index: int, attempt: int = 0) -> Draw:
        """The window of sample `index`; it depends on the seed, the index, the attempt and the label index alone."""
        slot, position = self.slot(index)
        who, number = self._turns[slot]
        return self._parts[who].draw(number, position, index, attempt)

    def slot(self, index: int) -> tuple[int, int]:
        """The slot (block) of sample `index`, counted from the start of the run, and its place among its windows."""
        turn, row = divmod(index, self._span)
        rows = self._span // self.lanes
        lane, row = divmod(row, rows)
        # Lanes start at different places of their first slots, the first lane farthest on, so at any time the open
        # slots are as many in a row as there are lanes.
        ahead = (self.lanes - 1 - lane) * self._length // self.lanes
        step, position = divmod(turn * rows + row + ahead, self._length)
        return step * self.lanes + lane, position

    def _fitting(
        self, choices: "list[list[_Blocks]]", volume: Volume, labels: str | None, block_mebibytes: int
    ) -> "list[tuple[_Blocks, ...]]":
        """The lattices whose open blocks fit, the best first."""
        names = [AMPLITUDE] if labels is None else [AMPLITUDE, LABELS_PREFIX + labels]
        itemsize = sum(volume.arrays[name].dtype.itemsize for name in names)

        def fitting(mebibytes: int) -> list[tuple[_Blocks, ...]]:
            return _by_cost(choices, self._turns.counts, mebibytes * 2**20 / self.lanes / itemsize)

        found = fitting(block_mebibytes)
        if not found:
            enough = next(2**i for i in itertools.count(5) if fitting(2**i))
            raise UserError(
                f"data.sampling='blocks': {self.lanes} blocks open at once do not fit in data.block_mebibytes="
                f"{block_mebibytes}; set it to {enough}, data.cache_mebibytes to {2 * enough}, or make data.window "
                "smaller"
            )
        return found

    @property
    def blocks(self) -> tuple[Shape, ...]:
        """Windows along each axis of a block, for each part."""
        return tuple(part.lattice.block for part in self._parts)


class _Part:
    """The passes over a region in one direction."""

    def __init__(
        self, lattice: "_Blocks", number: int, open_slots: int, seed: int, labelled: "_LabelledChunks | None"
    ) -> None:
        self.lattice = lattice
        self._number, self._open, self._seed, self._labelled = number, open_slots, seed, labelled
        self._recent: dict[int, tuple[Shape, np.ndarray, np.ndarray]] = {}
        self._orders: dict[int, np.ndarray] = {}
        # All passes have as many slots as the poorest origin allows.
        fewest = min(len(self._blocks(origin)) for origin in lattice.all_origins())
        self.slots = open_slots * (fewest // open_slots)

    def draw(self, slot: int, position: int, index: int, attempt: int) -> Draw:
        """The window at this position of a slot, counted from the start of the run; another one in later attempts."""
        turn, place = divmod(slot, self.slots)
        origin, blocks, order = self._pass(turn)
        block, length = order[place], self.lattice.length
        if attempt == 0:
            window = self._windows(slot)[position] if length > 1 else 0
        else:
            random = generator(self._seed, index, attempt, self._number)
            block = block if attempt < _NEAR else blocks[random.integers(len(blocks))]
            window = random.integers(length)
        return Draw(self.lattice.window_box(origin, int(block), int(window)), self.lattice.region)

    def _windows(self, slot: int) -> np.ndarray:
        """The windows of a slot's block, in the order in which they are drawn."""
        found = self._orders.get(slot)
        if found is None:
            found = generator(self._seed, slot, _WITHIN, self._number).permutation(self.lattice.length)
            if len(self._orders) > 2 * self._open:
                self._orders = {}
            self._orders[slot] = found
        return found

    def _pass(self, turn: int) -> tuple[Shape, np.ndarray, np.ndarray]:
        """Origin of a pass, numbers of its blocks that may hold labels, and those of its slots."""
        found = self._recent.get(turn)
        if found is None:
            random = generator(self._seed, turn, 0, self._number)
            origin = self.lattice.origin(random)
            blocks, rounds = self._blocks(origin), self.slots // self._open
            # The slots open at once come from different strata of the lattice, so they never are the same block.
            strata = [random.permutation(stratum)[:rounds] for stratum in np.array_split(blocks, self._open)]
            found = origin, blocks, np.stack(strata, axis=1).ravel()
            if len(self._recent) > 3:  # threads may all come to this; then some work is done twice
                self._recent = {}
            self._recent[turn] = found
        return found

    def _blocks(self, origin: Shape) -> np.ndarray:
        """Numbers of the blocks from this origin that may hold labels."""
        every = np.arange(math.prod(self.lattice.counts), dtype=np.int32)
        return every if self._labelled is None else every[self._labelled.touched(self.lattice, origin)]


@dataclass(frozen=True)
class _Side:
    """One axis of a lattice of blocks: n samples from sample a, windows of w, chunks of c, m windows a block."""

    a: int
    n: int
    w: int
    c: int
    m: int

    @property
    def length(self) -> int:
        return self.m * self.w

    @property
    def count(self) -> int:
        return max(self.n // self.length, 1)

    @cached_property
    def origins(self) -> tuple[list[int], list[int]]:
        """Origins on borders of chunks, and the region's other ends, counted from its start."""
        room = max(self.n - self.count * self.length, 0)
        aligned = list(range(-self.a % self.c, room + 1, self.c))
        thinned = sorted(
            {aligned[i * (len(aligned) - 1) // (_ORIGINS - 1)] for i in range(_ORIGINS)} if aligned else ()
        )
        ends = [end for end in sorted({0, room}) if end not in thinned]
        return (thinned, ends) if thinned else (ends, [])

    @cached_property
    def chunks(self) -> tuple[float, int]:
        """Chunks that a block touches: on average over the passes, and at most in those from a border of chunks."""
        mean, most = [], []
        for origins in filter(None, self.origins):
            first = self.a + np.add.outer(origins, np.arange(min(self.count, 64)) * self.length)
            touched = -(-(first + self.length) // self.c) - first // self.c
            mean.append(touched.mean())
            most.append(int(touched.max()))
        share = _OTHER_END if len(mean) > 1 else 0.0
        return mean[0] * (1 - share) + mean[-1] * share, most[0]

    @cached_property
    def cost(self) -> float:
        """Samples read a sample used, made dear where a pass leaves out a part of the axis."""
        seen = min(self.count * self.length, self.n)
        return self.chunks[0] * self.c / min(self.length, self.n) * self.n / seen


@dataclass(frozen=True)
class _Blocks:
    """The lattices of blocks in a region, one for each origin."""

    region: Box
    sides: tuple[_Side, ...]

    @cached_property
    def block(self) -> Shape:
        """Windows along each axis of a block."""
        return tuple(side.m for side in self.sides)

    @cached_property
    def length(self) -> int:
        """Windows of a block."""
        return math.prod(self.block)

    @cached_property
    def counts(self) -> Shape:
        """Blocks along each axis."""
        return tuple(side.count for side in self.sides)

    @cached_property
    def cost(self) -> float:
        return math.prod(side.cost for side in self.sides)

    @cached_property
    def samples_open(self) -> int:
        """Samples to be kept while a block is open: those of its chunks, at most; none where it is one window."""
        if self.length == 1:
            return 0
        return math.prod(side.chunks[1] * side.c for side in self.sides)

    def all_origins(self) -> Iterator[Shape]:
        """Every origin, counted from the region's start."""
        return itertools.product(*(aligned + ends for aligned, ends in (side.origins for side in self.sides)))

    def origin(self, random: np.random.Generator) -> Shape:
        """The origin of a pass."""
        origin = []
        for side in self.sides:
            aligned, ends = side.origins
            chosen = ends if random.random() < _OTHER_END and ends else aligned
            origin.append(chosen[random.integers(len(chosen))])
        return tuple(origin)

    def window_box(self, origin: Shape, block: int, window: int) -> Box:
        """A window by the number of its block and its own in it."""
        cell, place = _unravel(block, self.counts), _unravel(window, self.block)
        start = tuple(
            side.a + o + (j * side.m + i) * side.w
            for side, o, j, i in zip(self.sides, origin, cell, place, strict=True)
        )
        return Box(start, tuple(side.w for side in self.sides))


class _LabelledChunks:
    """Which blocks touch a labelled chunk: a table of sums over the label index answers for any box."""

    def __init__(self, volume: Volume, labels: str) -> None:
        index = volume.label_index(labels)
        self._chunk = index.chunk
        sums = np.pad(index.counts.any(axis=-1).astype(np.int32), [(1, 0)] * len(index.chunk))
        for axis in range(sums.ndim):
            np.cumsum(sums, axis=axis, out=sums)
        self._sums = sums

    def touched(self, lattice: _Blocks, origin: Shape) -> np.ndarray:
        """For each block of a lattice, in C order."""
        ends = []
        for side, o, c, n in zip(lattice.sides, origin, self._chunk, self._sums.shape, strict=True):
            first = side.a + o + np.arange(side.count) * side.length
            stop = np.minimum(first + side.length, side.a + side.n)
            ends.append((first // c, np.minimum(-(-stop // c), n - 1)))
        total = np.zeros(lattice.counts, np.int64)
        for corner in itertools.product((0, 1), repeat=len(ends)):
            sign = (-1) ** (len(corner) - sum(corner))
            total += sign * self._sums[np.ix_(*(end[i] for end, i in zip(ends, corner, strict=True)))]
        return total.ravel() > 0


def _choices(region: Box, window: Shape, chunk: Shape) -> list[_Blocks]:
    """All blocks to choose from: up to four chunks long, or one window."""
    axes = []
    for a, n, w, c in zip(region.start, region.shape, window, chunk, strict=True):
        most = max(min(n, 4 * c) // w, 1)
        counts = {m for m in range(1, most + 1) if m <= 4 or m % 4 == 0 or (m * w) % c == 0 or m == most}
        # Beyond a few windows only the lengths matter that go well with the chunks: those cheaper than all shorter.
        axes.append(_cheaper([_Side(a, n, w, c, m) for m in sorted(counts)]))
    return [_Blocks(region, sides) for sides in itertools.product(*axes)]


def _cheaper(sides: list[_Side]) -> list[_Side]:
    """The sides that cost less than each shorter one, and powers of two, which fit together across directions."""
    kept, least = [], math.inf
    for side in sides:
        cost = side.cost
        if cost < least or (side.m & (side.m - 1)) == 0:
            kept.append(side)
        least = min(least, cost)
    return kept


def _by_cost(choices: list[list[_Blocks]], shares: np.ndarray, room: float) -> list[tuple[_Blocks, ...]]:
    """One lattice each part, with equally many windows a block in all: the smallest that cost little come first.

    Only blocks that fit in `room` samples; none where those that do not fit would cost less than half.
    """
    tables, unbound = ([_best_by_length(part, limit) for part in choices] for limit in (room, math.inf))
    costs, least = _costs(tables, shares), min(_costs(unbound, shares).values())
    if min(costs.values()) > 2 * least:
        return []
    best = _SLACK * min(costs.values())
    order = sorted(costs, key=lambda n: (costs[n] > best, costs[n] if costs[n] > best else n))
    return [tuple(table[n] for table in tables) for n in order]


def _costs(tables: list[dict[int, _Blocks]], shares: np.ndarray) -> dict[int, float]:
    lengths = set.intersection(*(set(table) for table in tables))
    return {n: float(np.dot(shares, [table[n].cost for table in tables])) / sum(shares) for n in lengths}


def _best_by_length(choices: list[_Blocks], room: float) -> dict[int, _Blocks]:
    """For each number of windows a block, the blocks that cost least among those that fit."""
    best: dict[int, _Blocks] = {}
    for blocks in choices:
        length = blocks.length
        if blocks.samples_open <= room and (length not in best or blocks.cost < best[length].cost):
            best[length] = blocks
    return best


def _unravel(number: int, shape: Shape) -> list[int]:
    """The place of a number in C order, as np.unravel_index has it, which takes longer for one number."""
    places = []
    for side in reversed(shape):
        number, place = divmod(number, side)
        places.append(place)
    return places[::-1]
