"""Statistics of arrays that no memory holds: one pass, mergeable in any order."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

_BLOCK = 2**20  # samples worked on at a time
_DROPPED = 12  # low bits of a float32 that the histogram leaves out
_BINS = 2 ** (32 - _DROPPED)
_COARSE = 128  # bins of the histogram that is kept


@dataclass(frozen=True)
class ArrayStatistics:
    """Statistics of the finite samples of an array, in its own units; `non_finite` samples were left out.

    The histogram has bins of equal width from `min` to `max`.
    """

    count: int
    non_finite: int
    mean: float
    std: float
    min: float
    max: float
    p0_5: float
    p50: float
    p99_5: float
    histogram: tuple[int, ...] = field(default=(), repr=False)

    def attributes(self) -> dict[str, Any]:
        """Array attributes: MDIO's `statsV1`, and `statistics` with what it has no place for."""
        edges = np.linspace(self.min, self.max, len(self.histogram) + 1)
        return {
            "statsV1": {
                "count": self.count,
                "sum": self.mean * self.count,
                "sumSquares": (self.std**2 + self.mean**2) * self.count,
                "min": self.min,
                "max": self.max,
                "histogram": {"binCenters": ((edges[1:] + edges[:-1]) / 2).tolist(), "counts": list(self.histogram)},
            },
            "statistics": {key: value for key, value in asdict(self).items() if key != "histogram"},
        }

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> Self | None:
        """What `attributes` wrote; None where there are no statistics."""
        if "statistics" not in attributes:
            return None
        return cls(**attributes["statistics"], histogram=tuple(attributes["statsV1"]["histogram"]["counts"]))


class StreamingStatistics:
    """Accumulates statistics over pieces of an array.

    Mean and variance are float64, pieces merged after Chan, Golub & LeVeque (1983), "Algorithms for computing the
    sample variance". Quantiles come from exact counts over the upper 20 bits of the float32 pattern, ordered as the
    numbers are: the same in whatever order pieces came, to 0.05 % of the value. The counts take 8 MiB.
    """

    def __init__(self):
        self.count = 0
        self.non_finite = 0
        self.mean = 0.0
        self.sum_of_squares = 0.0  # of the differences from the mean
        self.min, self.max = np.inf, -np.inf
        self.bins = np.zeros(_BINS, np.int64)

    def update(self, values: np.ndarray) -> None:
        """Add the samples of an array of any shape and number type; NaN and Inf are counted and left out."""
        flat = np.ravel(values)
        for start in range(0, flat.size, _BLOCK):
            with np.errstate(over="ignore"):  # float64 past float32 counts as Inf
                block = flat[start : start + _BLOCK].astype(np.float32)
            finite = block[np.isfinite(block)]
            self.non_finite += block.size - finite.size
            if finite.size:
                self._add_block(finite)

    def _add_block(self, block: np.ndarray) -> None:
        wide = block.astype(np.float64)
        mean = float(wide.mean())
        self._combine(block.size, mean, float(np.square(wide - mean).sum()))
        self.min, self.max = min(self.min, float(block.min())), max(self.max, float(block.max()))
        bins = _ordered_bits(block) >> _DROPPED
        if block.size < _BINS // 16:
            index, counts = np.unique(bins, return_counts=True)
            self.bins[index] += counts
        else:
            self.bins += np.bincount(bins, minlength=_BINS)

    def merge(self, other: "StreamingStatistics") -> None:
        """Add what `other` has seen."""
        self.non_finite += other.non_finite
        if other.count:
            self._combine(other.count, other.mean, other.sum_of_squares)
            self.min, self.max = min(self.min, other.min), max(self.max, other.max)
            self.bins += other.bins

    def _combine(self, count: int, mean: float, sum_of_squares: float) -> None:
        total, shift = self.count + count, mean - self.mean
        self.mean += shift * count / total
        self.sum_of_squares += sum_of_squares + shift**2 * self.count * count / total
        self.count = total

    def result(self) -> ArrayStatistics:
        """The statistics so far; all 0 when no finite sample was seen."""
        if not self.count:
            return ArrayStatistics(0, self.non_finite, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        used = np.flatnonzero(self.bins)
        counts, values = self.bins[used], np.clip(_bin_values(used), self.min, self.max)
        ranks = np.cumsum(counts)
        quantiles = (values[np.searchsorted(ranks, q * self.count)] for q in (0.005, 0.5, 0.995))
        histogram, _ = np.histogram(values, _COARSE, (self.min, self.max), weights=counts)
        return ArrayStatistics(
            self.count,
            self.non_finite,
            self.mean,
            float(np.sqrt(self.sum_of_squares / self.count)),
            self.min,
            self.max,
            *map(float, quantiles),
            histogram=tuple(int(n) for n in histogram),
        )


def _ordered_bits(values: np.ndarray) -> np.ndarray:
    """uint32 that are ordered as the float32 values are."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(bits >> 31 == 1, ~bits, bits | np.uint32(0x80000000))


def _bin_values(bins: np.ndarray) -> np.ndarray:
    """The value of each bin nearest to zero: exact for whole numbers below 4096, within 0.05 % otherwise."""
    low = bins.astype(np.uint32) << np.uint32(_DROPPED)
    positive = low & np.uint32(0x7FFFFFFF)
    negative = ~(low | np.uint32(2**_DROPPED - 1))
    return np.where(low >> 31 == 1, positive, negative).view(np.float32).astype(np.float64)
