"""Windows of regions that do not look at labels: uniform, side by side, and shuffled. Pure functions of the number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from seisjax.data.draws import Blind, Draw, Sampler, Turns, generator, shuffled
from seisjax.errors import UserError
from seisjax.geometry import Box, Lattice, Shape


def start_range(extent: int, side: int, overhang: float) -> tuple[int, int]:
    """First and last place of a window's start along an axis of a region, counted from the region's own.

    The start is in [-m, n - w + m] along n samples, where m is `overhang` of the window's side w (0 for a side of 1)
    but at most n - w: without the overhang, samples at the region's edge would hardly ever be seen, while a window
    that spans the region sees them always. Where the region is smaller than the window, the window stands at the
    region's start.
    """
    room = max(extent - side, 0)
    margin = min(math.floor(overhang * side), room) if side > 1 else 0
    return -margin, room + margin


def check_overhang(overhang: float) -> None:
    """Raise UserError unless the overhang is a share."""
    if not 0 <= overhang < 1:
        raise UserError(f"data.overhang={overhang}: give a share of the window's side from 0 to below 1")


@dataclass(frozen=True)
class UniformWindows(Blind):
    """Windows anywhere in a region, endless; how far they may reach past it is told by `start_range`."""

    region: Box
    window: Shape
    seed: int
    overhang: float
    part: int = 0

    def __post_init__(self) -> None:
        check_overhang(self.overhang)

    def draw(self, index: int, attempt: int = 0) -> Draw:
        """The window of sample `index`; it depends on the seed, the part, the index and the attempt alone."""
        random = generator(self.seed, index, attempt, self.part)
        # One number after the other: the same as all at once, which takes NumPy longer.
        start = [a + int(random.integers(m, n)) for a, (m, n) in zip(self.region.start, self._offsets, strict=True)]
        return Draw(Box(tuple(start), self.window), self.region)

    @cached_property
    def _offsets(self) -> list[tuple[int, int]]:
        """First place of a window's start along each axis, and the one past the last."""
        sides = zip(self.region.shape, self.window, strict=True)
        return [(low, high + 1) for low, high in (start_range(n, w, self.overhang) for n, w in sides)]


class GridWindows(Blind):
    """The tiling of regions by windows side by side from each one's start, each window once, region after region.

    The last window along an axis may reach past its region's end.
    """

    def __init__(self, regions: Sequence[Box], window: Sequence[int]) -> None:
        self.regions = tuple(regions)
        self.window: Shape = tuple(window)
        self._lattices = [Lattice(r.shape, self.window, self.window, r.start) for r in self.regions]

    def __len__(self) -> int:
        return sum(map(len, self._lattices))

    def __getitem__(self, index: int) -> Draw:
        if index < 0:
            raise IndexError(index)
        for region, lattice in zip(self.regions, self._lattices, strict=True):
            if index < len(lattice):
                return Draw(lattice[index], region)
            index -= len(lattice)
        raise IndexError(index)

    def draw(self, index: int, attempt: int = 0) -> Draw | None:
        """Window number `index`, None past the last."""
        return self[index] if index < len(self) else None


@dataclass(frozen=True)
class ShuffledWindows(Blind):
    """The windows of a grid in another random order each pass, endless; no list of them is kept.

    A window without a label is replaced by one drawn from the whole grid, so every labelled window still comes at
    least once a pass.
    """

    grid: GridWindows
    seed: int
    part: int = 0

    @property
    def window(self) -> Shape:
        return self.grid.window

    def draw(self, index: int, attempt: int = 0) -> Draw:
        """The window of sample `index`; it depends on the seed, the part, the index and the attempt alone."""
        count = len(self.grid)
        if attempt:
            return self.grid[int(generator(self.seed, index, attempt, self.part).integers(count))]
        turn, position = divmod(index, count)
        return self.grid[shuffled(position, count, generator(self.seed, turn, 0, self.part))]


@dataclass(frozen=True)
class Mixture(Blind):
    """Several samplers that take turns; each one counts its own samples, so it sees every number once."""

    samplers: Sequence[Sampler]
    turns: Turns
    window: Shape

    def draw(self, index: int, attempt: int = 0) -> Draw | None:
        """The window of sample `index`."""
        who, number = self.turns[index]
        return self.samplers[who].draw(number, attempt)
