"""Sums of overlapping windows over one block of output, and what is made of them."""

import numpy as np

from seisjax.conventions import IGNORE
from seisjax.geometry import Box


class BlockSums:
    """Weighted sums of class probabilities over one block, float64.

    Every sample gets its windows in the order of `add`; in lattice order, its sum does not depend on the block.
    """

    def __init__(self, block: Box, num_classes: int):
        self.block = block
        self._sums = np.zeros((num_classes, *block.shape))
        self._weights = np.zeros(block.shape)
        self._has_data = np.zeros(block.shape, bool)

    def add(self, window: Box, image: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> None:
        """Add a window's probabilities (*window, classes); its image (*window) tells where there are data (not NaN)."""
        part = window.intersect(self.block)
        inside, here = part.relative_to(window.start).slices, part.relative_to(self.block.start).slices
        weights = weights[inside]
        self._weights[here] += weights
        self._has_data[here] |= np.isfinite(image[inside])
        for k, sums in enumerate(self._sums):
            sums[here] += weights * probabilities[(*inside, k)]

    def probabilities(self, box: Box) -> np.ndarray:
        """Mean probabilities (classes, *box) float32 of a box in the block; NaN where there are no data.

        Rounding to float32 takes away what the float64 sums lost: equal probabilities stay as they are, to the bit.
        """
        here = box.relative_to(self.block.start).slices
        mean = np.empty((len(self._sums), *box.shape), np.float32)
        with np.errstate(invalid="ignore"):  # 0 / 0 where no window was added
            for sums, result in zip(self._sums, mean, strict=True):
                np.divide(sums[here], self._weights[here], out=result, dtype=np.float64, casting="same_kind")
        np.copyto(mean, np.float32(np.nan), where=~self._has_data[here])
        return mean


def most_probable(probabilities: np.ndarray) -> np.ndarray:
    """The class of the highest probability (the lower one of equals), uint8; IGNORE where it is NaN."""
    classes = probabilities.argmax(axis=0).astype(np.uint8)
    classes[np.isnan(probabilities[0])] = IGNORE
    return classes


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy of (classes, ...) probabilities in nats, float32: 0 is certain, ln(classes) knows nothing."""
    total = np.zeros(probabilities.shape[1:], np.float32)
    for p in probabilities:
        total -= p * np.log(np.maximum(p, np.finfo(np.float32).tiny))
    return total
