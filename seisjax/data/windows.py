"""Which windows of a region are looked at, as pure functions of the sample's number.

A sampler has a `region`, a `window` (samples along each axis) and `draw(index, attempt)`: the box of sample number
`index`, or None past the end of a finite sampler. Attempts above 0 are asked for where a window held no label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from grain.experimental import index_shuffle

from seisjax.errors import UserError, nearest
from seisjax.geometry import Box, Lattice, Shape

_ROUNDS = 4  # of the block cipher behind index_shuffle: Grain's own number


class Sampler(Protocol):
    """What a `WindowSource` asks of a sampler."""

    @property
    def region(self) -> Box: ...

    @property
    def window(self) -> Shape: ...

    def draw(self, index: int, attempt: int = 0) -> Box | None: ...


def make_sampler(kind: str, region: Box, window: Sequence[int], *, seed: int, overhang: float) -> Sampler:
    """The endless sampler of training windows that `data.sampling` names: "uniform" or "grid"."""
    window = tuple(window)
    if kind == "uniform":
        return UniformWindows(region, window, seed, overhang)
    if kind == "grid":
        return ShuffledWindows(GridWindows(region, window), seed)
    raise UserError(f"data.sampling='{kind}': unknown{nearest(kind, ('uniform', 'grid'))}")


@dataclass(frozen=True)
class UniformWindows:
    """Windows anywhere in a region, endless.

    A start is uniform in [-m, n - w + m] along an axis of n samples, where m is `overhang` of the window's side w (0
    for a side of 1) but at most n - w: without the overhang, samples at the region's edge would hardly ever be seen,
    while a window that spans the region sees them always. Where the region is smaller than the window, the window
    stands at the region's start.
    """

    region: Box
    window: Shape
    seed: int
    overhang: float

    def __post_init__(self) -> None:
        if not 0 <= self.overhang < 1:
            raise UserError(f"data.overhang={self.overhang}: give a share of the window's side from 0 to below 1")

    def draw(self, index: int, attempt: int = 0) -> Box:
        """The box of sample `index`; it depends on the seed, the index and the attempt alone."""
        low, high = [], []
        for n, w in zip(self.region.shape, self.window, strict=True):
            margin = min(math.floor(self.overhang * w), max(n - w, 0)) if w > 1 else 0
            low.append(-margin)
            high.append(max(n - w, 0) + margin)
        offset = _generator(self.seed, index, attempt).integers(low, high, endpoint=True)
        start = tuple(int(a + o) for a, o in zip(self.region.start, offset, strict=True))
        return Box(start, self.window)


@dataclass(frozen=True)
class GridWindows:
    """The tiling of a region by windows side by side from its start, each once; the last may reach past its end."""

    region: Box
    window: Shape

    def __len__(self) -> int:
        return len(self._lattice)

    def __getitem__(self, index: int) -> Box:
        return self._lattice[index]

    def draw(self, index: int, attempt: int = 0) -> Box | None:
        """Window number `index`, None past the last."""
        return self[index] if index < len(self) else None

    @property
    def _lattice(self) -> Lattice:
        return Lattice(self.region.shape, self.window, self.window, self.region.start)


@dataclass(frozen=True)
class ShuffledWindows:
    """The windows of a grid in another random order each pass, endless; no list of them is kept.

    A window without a label is replaced by one drawn from the whole grid, so every labelled window still comes at
    least once a pass.
    """

    grid: GridWindows
    seed: int

    @property
    def region(self) -> Box:
        return self.grid.region

    @property
    def window(self) -> Shape:
        return self.grid.window

    def draw(self, index: int, attempt: int = 0) -> Box:
        """The box of sample `index`; it depends on the seed, the index and the attempt alone."""
        last = len(self.grid) - 1
        if attempt:
            return self.grid[int(_generator(self.seed, index, attempt).integers(0, last, endpoint=True))]
        turn, position = divmod(index, last + 1)
        key = int(_generator(self.seed, turn, 0).integers(0, 2**32))
        return self.grid[index_shuffle(position, last, key, _ROUNDS)]


def _generator(seed: int, index: int, attempt: int) -> np.random.Generator:
    # Philox is counter-based (Salmon et al., SC 2011): a stream of its own for each sample and attempt, at no set-up
    # cost that grows with either. The first counter word is the generator's own.
    counter = np.array([0, 0, attempt, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed % 2**128, counter=counter))
