"""Sums of overlapping windows over one block of output, and what is made of them."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from seisjax.conventions import IGNORE
from seisjax.geometry import Box, Shape, grow, tiles
from seisjax.inference.views import View

_PIECE = 2**16  # samples that a thread works on at a time: what is in between stays in the processor's cache
_threads = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))


class BlockSums:
    """Weighted sums over one block of what was predicted of each sample, float64.

    Windows must come in the same order whatever the blocks: then no sum depends on the block. `rows`: numbers a sample,
    the classes' probabilities first; `views`: lattices of windows that are averaged.
    """

    def __init__(self, block: Box, rows: int, views: int):
        self.block = block
        self._sums = np.zeros((rows, *block.shape))
        self._has_data = np.zeros(block.shape, bool)
        self._views = views

    def add(self, view: View, window: Box, image: np.ndarray, values: np.ndarray) -> None:
        """Add a window's values (*window, rows); its image (*window) tells where there are data (not NaN)."""
        part = window.intersect(self.block)
        inside, here = part.relative_to(window.start).slices, part.relative_to(self.block.start).slices
        axes = zip(view.profiles, window.start, inside, strict=True)
        profiles = [profile[start][side] for profile, start, side in axes]
        image, values = image[inside], values[inside]
        has_data, sums = self._has_data[here], self._sums[(slice(None), *here)]

        def add_piece(piece: tuple[slice, ...]) -> None:
            sides = (profile[side] for profile, side in zip(profiles, piece, strict=True))
            weights = functools.reduce(np.multiply.outer, sides)
            has_data[piece] |= np.isfinite(image[piece])
            for k, total in enumerate(sums):
                total[piece] += weights * values[(*piece, k)]

        _in_pieces(part.shape, add_piece)

    def mean(self, box: Box) -> np.ndarray:
        """The rows (rows, *box), float32, of a box in the block; NaN where there are no data.

        Rounding to float32 takes away what the float64 sums lost: equal probabilities stay as they are, to the bit.
        """
        here = box.relative_to(self.block.start).slices
        has_data, sums = self._has_data[here], self._sums[(slice(None), *here)]
        mean = np.full(sums.shape, np.nan, np.float32)

        def divide(piece: tuple[slice, ...]) -> None:
            for total, result in zip(sums, mean, strict=True):
                np.divide(total[piece], self._views, out=result[piece], where=has_data[piece], casting="same_kind")

        _in_pieces(box.shape, divide)
        return mean


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
