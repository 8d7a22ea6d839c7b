"""Sums of overlapping windows, and what is made of them."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from seisjax.conventions import IGNORE
from seisjax.geometry import Box, Shape, grow, tiles
from seisjax.inference.views import View

_PIECE = 2**16  # samples that a thread works on at a time: what is in between stays in the processor's cache
_threads = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))


class RunningSums:
    """Weighted sums, float64, of what was predicted of each sample of a box, for as many planes as windows are deep.

    Windows come in the order of their first planes, and otherwise in the same order whatever the box: then no sum
    depends on the box. Planes that no window reaches any more are taken out with `means`, then left with `pass_to`.
    """

    def __init__(self, box: Box, depth: int, rows: int, views: int):
        """depth: planes of the deepest window. rows: numbers a sample, the classes' probabilities first. views:
        lattices of windows that are averaged."""
        self.box = box
        self.first = box.start[0]  # of the planes that windows may reach, and there are `depth` of them
        self.depth = min(depth, box.shape[0])
        self._sums = np.zeros((rows, self.depth, *box.shape[1:]))  # plane i lies at i % depth
        self._has_data = np.zeros(self._sums.shape[1:], bool)
        self._views = views

    def add(self, view: View, window: Box, image: np.ndarray, values: np.ndarray) -> None:
        """Add a window's values (*window, rows); its image (*window) tells where there are data (not NaN)."""
        for part in self._rounds(window.intersect(self.box)):
            inside = part.relative_to(window.start).slices
            axes = zip(view.profiles, window.start, inside, strict=True)
            profiles = [profile[start][side] for profile, start, side in axes]
            self._add(self._here(part), profiles, image[inside], values[inside])

    def _add(
        self, here: tuple[slice, ...], profiles: Sequence[np.ndarray], image: np.ndarray, values: np.ndarray
    ) -> None:
        has_data, sums = self._has_data[here], self._sums[(slice(None), *here)]

        def add_piece(piece: tuple[slice, ...]) -> None:
            sides = (profile[side] for profile, side in zip(profiles, piece, strict=True))
            weights = functools.reduce(np.multiply.outer, sides)
            has_data[piece] |= np.isfinite(image[piece])
            for k, total in enumerate(sums):
                total[piece] += weights * values[(*piece, k)]

        _in_pieces(image.shape, add_piece)

    def means(self, box: Box, use: Callable[[Box, np.ndarray], None]) -> None:
        """Call `use` with the pieces of some of the planes that windows may reach, and with their rows (rows, *piece):
        float32, NaN where there are no data. Several threads do so at a time.

        Rounding to float32 takes away what the float64 sums lost: equal probabilities stay as they are, to the bit.
        """
        for part in self._rounds(box):
            here = self._here(part)
            self._divide(part, self._has_data[here], self._sums[(slice(None), *here)], use)

    def _divide(
        self, part: Box, has_data: np.ndarray, sums: np.ndarray, use: Callable[[Box, np.ndarray], None]
    ) -> None:
        def divide(piece: tuple[slice, ...]) -> None:
            rows = np.full((len(sums), *has_data[piece].shape), np.nan, np.float32)
            for k, total in enumerate(sums):
                np.divide(total[piece], self._views, out=rows[k, ...], where=has_data[piece], casting="same_kind")
            start = tuple(a + side.start for a, side in zip(part.start, piece, strict=True))
            use(Box(start, rows.shape[1:]), rows)

        _in_pieces(part.shape, divide)

    def pass_to(self, plane: int) -> None:
        """No window reaches planes before this one any more."""
        for number in range(self.first, min(plane, self.first + self.depth)):
            self._sums[:, number % self.depth] = 0
            self._has_data[number % self.depth] = False
        self.first = max(self.first, plane)

    def _rounds(self, box: Box) -> Iterator[Box]:
        """The parts of a box whose planes lie one after the other."""
        return tiles(box, (self.depth, *(max(side, 1) for side in box.stop[1:])))

    def _here(self, part: Box) -> tuple[slice, ...]:
        first = part.start[0] % self.depth
        sides = part.relative_to(self.box.start).slices
        return (slice(first, first + part.shape[0]), *sides[1:])


class Members:
    """Mean and spread of what several predictions say of one window, without keeping them (Welford 1962)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = np.zeros(())

    def add(self, probabilities: np.ndarray) -> None:
        """Take in a member's probabilities (*window, classes)."""
        self._count += 1
        if self._count == 1:  # as most predictions have it: no copy
            self._mean = probabilities
            return
        change = probabilities - np.asarray(self._mean, np.float64)
        self._mean = self._mean + change / self._count
        self._squares = self._squares + change * (probabilities - self._mean)

    def values(self, spread: bool) -> np.ndarray:
        """The mean (*window, classes); with `spread` a last row, the members' variance summed over the classes."""
        if not spread:
            return self._mean
        variance = (self._squares / self._count).sum(-1, keepdims=True) * np.ones((*self._mean.shape[:-1], 1))
        return np.concatenate([self._mean, variance], axis=-1)


def most_probable(probabilities: np.ndarray) -> np.ndarray:
    """The class of the highest probability (the lower one of equals), uint8; IGNORE where it is NaN."""
    best, *others = probabilities
    classes = np.zeros(best.shape, np.uint8)
    for k, p in enumerate(others, 1):  # many times as fast as argmax over the first axis
        classes[p > best] = k
        best = np.maximum(best, p)
    classes[np.isnan(best)] = IGNORE
    return classes


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy of (classes, ...) probabilities in nats, float32: 0 is certain, ln(classes) knows nothing."""
    total = np.zeros(probabilities.shape[1:], np.float32)
    for p in probabilities:
        total -= p * np.log(np.maximum(p, np.finfo(np.float32).tiny))
    return total


def _in_pieces(shape: Shape, work: Callable[[tuple[slice, ...]], None]) -> None:
    """Work on the pieces of an array of this shape, which have no sample in common, on several cores."""
    pieces = [piece.slices for piece in tiles(Box.whole(shape), grow((1,) * len(shape), shape, _PIECE))]
    if len(pieces) == 1:
        work(pieces[0])
    else:
        list(_threads.map(work, pieces))  # NumPy lets other threads run; a list, for what is raised is to be seen
