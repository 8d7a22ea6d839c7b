"""Statistics of arrays that no memory holds: one pass, mergeable in any order."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any, Self

import numpy as np

_BLOCK = 2**20  # samples worked on at a time
_MAX_KEYS = 2**17  # bins of the counts that quantiles are taken from
_COARSE = 128  # bins of the histogram that is kept
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class ArrayStatistics:
    """Statistics of the finite samples of an array, in its own units; `non_finite` samples were left out.

    The histogram has bins of equal width from `min` to `max`. `mad` is the median absolute deviation; `zeros`,
    `at_min` and `at_max` count the samples that are 0, the least and the greatest value. None: not recorded.
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
    # Left out of `repr`, from which fingerprints are made: stores of an earlier day keep theirs.
    mad: float | None = field(default=None, repr=False)
    zeros: int | None = field(default=None, repr=False)
    at_min: int | None = field(default=None, repr=False)
    at_max: int | None = field(default=None, repr=False)

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
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Self | None:
        """What `attributes` wrote, today or on an earlier day; None where there are no statistics."""
        if "statistics" not in attributes:
            return None
        return cls(**attributes["statistics"], histogram=tuple(attributes["statsV1"]["histogram"]["counts"]))


@dataclass(frozen=True)
class Moments:
    """Counts, mean, spread and range of samples; `sum_of_squares` is of the differences from the mean."""

    count: int
    non_finite: int
    mean: float
    sum_of_squares: float
    min: float
    max: float
    at_min: int
    at_max: int

    @classmethod
    def of(cls, values: np.ndarray, non_finite: int = 0) -> Self:
        """Of finite float32 values, worked out in float64."""
        if not values.size:
            return cls(0, non_finite, 0.0, 0.0, np.inf, -np.inf, 0, 0)
        wide = values.astype(np.float64)
        mean, low, high = float(wide.mean()), values.min(), values.max()
        wide -= mean
        spread = float(np.square(wide, out=wide).sum())
        at_min, at_max = (int(np.count_nonzero(values == limit)) for limit in (low, high))
        return cls(values.size, non_finite, mean, spread, float(low), float(high), at_min, at_max)

    def merge(self, other: Self) -> Self:
        """Of both."""
        count, non_finite = self.count + other.count, self.non_finite + other.non_finite
        if not self.count or not other.count:
            return replace(other if other.count else self, non_finite=non_finite)
        shift = other.mean - self.mean
        low, high = min(self.min, other.min), max(self.max, other.max)
        return type(self)(
            count,
            non_finite,
            self.mean + shift * (other.count / count),
            self.sum_of_squares + other.sum_of_squares + shift**2 * self.count * (other.count / count),
            low,
            high,
            sum(m.at_min for m in (self, other) if m.min == low),
            sum(m.at_max for m in (self, other) if m.max == high),
        )

    def array(self) -> np.ndarray:
        """The fields as float64: exact for counts below 2^53."""
        return np.array(astuple(self), np.float64)

    @classmethod
    def from_array(cls, values: np.ndarray) -> Self:
        """What `array` was made of."""
        count, non_finite, mean, spread, low, high, at_min, at_max = np.asarray(values, np.float64).tolist()
        return cls(int(count), int(non_finite), mean, spread, low, high, int(at_min), int(at_max))


_NOTHING = Moments.of(np.zeros(0, np.float32))


class StreamingStatistics:
    """Accumulates statistics over pieces of an array.

    Mean and variance are float64, pieces merged after Chan, Golub & LeVeque (1983), "Algorithms for computing the
    sample variance": equal bit for bit where pieces and their order are. All else depends on the samples alone.

    Quantiles come from exact counts over the upper bits of the float32 patterns, ordered as the numbers are: as many
    bits as leave at most 2^17 different patterns. Up to 2^17 different values are thus held as they are; beyond, the
    bins follow the data, and a quantile is interpolated inside its bin. Threads may update one object together; it
    takes 6 MiB, 40 MiB while it counts.
    """

    def __init__(self):
        self.moments = _NOTHING
        self._dropped = 0  # low bits of the patterns that the keys leave out
        self._keys = np.zeros(0, np.uint32)  # sorted
        self._counts = np.zeros(0, np.int64)
        self._waiting: list[np.ndarray] = []  # keys that are not counted yet: counting many at once costs less
        self._lock = threading.RLock()

    @property
    def count(self) -> int:
        """Finite samples so far."""
        return self.moments.count

    def update(self, values: np.ndarray) -> Moments:
        """Add the samples of an array of any shape and number type; NaN and Inf are counted and left out.

        Returns the moments of these samples alone, for `set_moments`.
        """
        flat, moments = np.ravel(values), _NOTHING
        for start in range(0, flat.size, _BLOCK):
            with np.errstate(over="ignore"):  # float64 past float32 counts as Inf
                block = flat[start : start + _BLOCK].astype(np.float32, copy=False)
            finite = np.isfinite(block)
            found = block if finite.all() else block[finite]
            moments = moments.merge(Moments.of(found, block.size - found.size))
            if found.size:
                self._add_bits(_ordered_bits(found))
        with self._lock:
            self.moments = self.moments.merge(moments)
        return moments

    def _add_bits(self, bits: np.ndarray) -> None:
        with self._lock:
            bits >>= np.uint32(self._dropped)
            self._waiting.append(bits)
            if sum(map(len, self._waiting)) >= _BLOCK:
                self._count_waiting()

    def merge(self, other: "StreamingStatistics") -> None:
        """Add what `other` has seen."""
        self.moments = self.moments.merge(other.moments)
        self._count_waiting()
        other._count_waiting()
        self._coarsen(other._dropped - self._dropped)
        self._add_keys(*_coarser(other._keys, other._counts, self._dropped - other._dropped))

    def _count_waiting(self) -> None:
        if self._waiting:
            keys, self._waiting = np.concatenate(self._waiting), []
            self._add_keys(*_count(keys))

    def _add_keys(self, keys: np.ndarray, counts: np.ndarray) -> None:
        """Add counts of sorted keys, then drop bits until few enough keys are left."""
        place = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), bool)
        inside = place < len(self._keys)
        known[inside] = self._keys[place[inside]] == keys[inside]
        self._counts[place[known]] += counts[known]
        if not known.all():
            self._keys = np.insert(self._keys, place[~known], keys[~known])
            self._counts = np.insert(self._counts, place[~known], counts[~known])
        while len(self._keys) > _MAX_KEYS:
            self._coarsen(1)

    def _coarsen(self, bits: int) -> None:
        if bits > 0:
            self._keys, self._counts = _coarser(self._keys, self._counts, bits)
            self._dropped += bits

    def state(self) -> dict[str, np.ndarray]:
        """What was seen, as arrays for a file: `moments` (float64) and the counts (`dropped`, `keys`, `counts`)."""
        self._count_waiting()
        return {
            "moments": self.moments.array(),
            "dropped": np.array([self._dropped]),
            "keys": self._keys.copy(),
            "counts": self._counts.copy(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> Self:
        """What `state` was taken from."""
        made = cls()
        made.moments = Moments.from_array(state["moments"])
        made._dropped = int(np.ravel(state["dropped"])[0])
        made._keys = np.array(state["keys"], np.uint32)
        made._counts = np.array(state["counts"], np.int64)
        return made

    def set_moments(self, pieces: Iterable[Moments | np.ndarray]) -> None:
        """Replace the moments by those of the pieces, merged in the order given.

        The pieces are what each `update` returned (or its `array()`), or `state()["moments"]` of parts. However the
        samples came in, mean and deviation are then the same bits.
        Raises ValueError where the pieces do not hold as many samples as were seen.
        """
        moments = _NOTHING
        for piece in pieces:
            moments = moments.merge(piece if isinstance(piece, Moments) else Moments.from_array(piece))
        if moments.count != self.count:
            raise ValueError(f"pieces of {moments.count} samples where {self.count} were seen")
        self.moments = moments

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Rising values (float64) and how many samples lie at each; the middle of a bin stands for what it holds."""
        self._count_waiting()
        low, high = self._edges(self._keys)
        return (low.astype(np.float64) + high) / 2, self._counts.copy()

    def quantile(self, share: float) -> float:
        """The value below which `share` of the samples lie, as numpy.quantile (linear); NaN where there are none."""
        if not self.count:
            return float("nan")
        rank = share * (self.count - 1)
        below = int(rank)
        low, high = self._at_rank(below), self._at_rank(min(below + 1, self.count - 1))
        return low + (high - low) * (rank - below)

    def _at_rank(self, rank: int) -> float:
        """The sample of a rank, counted from 0: spread evenly over its bin where that holds several values."""
        if rank < self.moments.at_min:
            return self.moments.min
        if rank >= self.count - self.moments.at_max:
            return self.moments.max
        self._count_waiting()
        ranks = np.cumsum(self._counts)
        i = int(np.searchsorted(ranks, rank, side="right"))
        low, high = self._edges(self._keys[i : i + 1])
        within = (rank - (ranks[i] - self._counts[i]) + 0.5) / self._counts[i]
        return float(low[0] + (high[0] - low[0]) * within)

    def _edges(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest value of each bin, as far as samples go."""
        patterns = keys << np.uint32(self._dropped)
        limits = (_from_ordered_bits(p) for p in (patterns, patterns | np.uint32((1 << self._dropped) - 1)))
        low, high = (np.clip(edge, self.moments.min, self.moments.max) for edge in limits)
        return low, high

    def median_absolute_deviation(self) -> float:
        """Median of the distances from the median; NaN where there are no samples."""
        if not self.count:
            return float("nan")
        self._count_waiting()
        middle = self.quantile(0.5)
        edges, shares = np.stack(self._edges(self._keys), -1).ravel(), np.cumsum(self._counts) / self.count
        shares = np.stack([np.concatenate([[0.0], shares[:-1]]), shares], -1).ravel()

        def within(distance: float) -> float:
            # Past both ends of a bin of one value, its whole share counts.
            ends = np.nextafter([middle - distance, middle + distance], [-np.inf, np.inf])
            low, high = np.interp(ends, edges, shares, left=0.0, right=1.0)
            return high - low

        low, high = 0.0, max(middle - self.moments.min, self.moments.max - middle)
        if within(low) >= 0.5:
            return 0.0
        while high - low > 1e-9 * high:
            half = (low + high) / 2
            low, high = (low, half) if within(half) >= 0.5 else (half, high)
        return float(np.float32(high))

    def result(self) -> ArrayStatistics:
        """The statistics so far; all 0 when no finite sample was seen."""
        self._count_waiting()
        seen = self.moments
        if not seen.count:
            return ArrayStatistics(0, seen.non_finite, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (), 0.0, 0, 0, 0)
        low, high = self._edges(self._keys)
        histogram, _ = np.histogram((low + high) / 2, _COARSE, (seen.min, seen.max), weights=self._counts)
        return ArrayStatistics(
            seen.count,
            seen.non_finite,
            seen.mean,
            float(np.sqrt(seen.sum_of_squares / seen.count)),
            seen.min,
            seen.max,
            *map(self.quantile, (0.005, 0.5, 0.995)),
            histogram=tuple(int(n) for n in histogram),
            mad=self.median_absolute_deviation(),
            zeros=int(self._counts[(low <= 0) & (high >= 0)].sum()),
            at_min=seen.at_min,
            at_max=seen.at_max,
        )


def _ordered_bits(values: np.ndarray) -> np.ndarray:
    """uint32 that are ordered as the float32 values are."""
    bits = np.ascontiguousarray(values).view(np.int32)
    # All bits of a negative number flip, the sign alone of a positive one.
    return (bits ^ ((bits >> np.int32(31)) | np.int32(-(2**31)))).view(np.uint32)


def _from_ordered_bits(bits: np.ndarray) -> np.ndarray:
    """float64 values of `_ordered_bits`; what float32 holds with fewer bits than usual is 0."""
    values = np.where(bits >> 31 == 1, bits ^ np.uint32(0x80000000), ~bits).view(np.float32).astype(np.float64)
    return np.where(np.abs(values) < _TINY, 0.0, values)


def _count(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different keys in order, and how often each is there."""
    # Counted in the pages of the number line (by the upper 14 bits) that are used, where these are not too many.
    bits = max(int(keys.max()).bit_length() - 14, 0)
    pages = np.flatnonzero(np.bincount(keys >> np.uint32(bits)))
    if len(pages) << bits <= 2 * keys.size:
        place = np.zeros(pages[-1] + 1, np.uint32)
        place[pages] = (np.arange(len(pages)) - pages) << bits  # how far each page moves, modulo 2^32
        counts = np.bincount(keys + place[keys >> np.uint32(bits)])
        used = np.flatnonzero(counts)
        return (used + ((pages - np.arange(len(pages))) << bits)[used >> bits]).astype(np.uint32), counts[used]
    keys.sort()
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.diff(starts, append=keys.size)


def _coarser(keys: np.ndarray, counts: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted keys without their lowest bits, and their counts."""
    if bits <= 0 or not len(keys):
        return keys, counts
    keys = keys >> np.uint32(bits)
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[first], np.add.reduceat(counts, first)
