"""How far predicted boundaries between classes lie from the true ones, along each trace."""

import numpy as np

from seisjax.conventions import IGNORE


class BoundaryError:
    """Distances from every true boundary to the nearest predicted one of the same kind, summed over traces.

    A boundary lies between two neighbouring samples of a trace (the last axis) that both are labelled and differ in
    class; its kind is the ordered pair (class above, class below). Where a trace holds no predicted boundary of that
    kind between labelled samples, the true one is missed. Only a histogram is kept, so sums over windows and processes
    are exact; a boundary between two windows is not seen.
    """

    def __init__(self, trace_length: int):
        """`trace_length`: samples that a trace of an update has at most."""
        self.counts = np.zeros(trace_length + 1, np.int64)  # by distance in samples; the last entry: missed

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add traces: two uint8 arrays of one shape (..., samples); truth may hold IGNORE."""
        length, missed = truth.shape[-1], len(self.counts) - 1
        predicted = np.where(truth == IGNORE, IGNORE, predicted)
        wanted = _boundary_keys(truth.reshape(-1, length))
        found = np.sort(_boundary_keys(predicted.reshape(-1, length)))
        far = np.iinfo(np.int64).max // 2
        found = np.concatenate([[-far], found, [far]])
        place = np.searchsorted(found, wanted)
        distance = np.minimum(found[place] - wanted, wanted - found[place - 1])
        self.counts += np.bincount(np.where(distance < length, distance, missed), minlength=missed + 1)

    def result(self) -> dict[str, float | None]:
        """`mean`, `median`, `p90` (samples, over the boundaries found) and `missed` (share of the true ones).

        A quantile q is the smallest distance within which at least the share q of the boundaries lies. None where
        there is nothing to take it of.
        """
        counts, missed = self.counts[:-1], int(self.counts[-1])
        found = int(counts.sum())
        if not found:
            return {"mean": None, "median": None, "p90": None, "missed": 1.0 if missed else None}
        cumulative = np.cumsum(counts)
        return {
            "mean": float(counts @ np.arange(len(counts))) / found,
            "median": int(np.searchsorted(cumulative, 0.5 * found)),
            "p90": int(np.searchsorted(cumulative, 0.9 * found)),
            "missed": missed / (found + missed),
        }


def _boundary_keys(traces: np.ndarray) -> np.ndarray:
    """One int64 per boundary in (N, L) traces: trace and kind first, then the sample.

    Keys of one trace and kind differ by less than L, all others by more, so the nearest key tells both whether there is
    a match and how far it is.
    """
    above, below = traces[:, :-1], traces[:, 1:]
    trace, sample = np.nonzero((above != below) & (above != IGNORE) & (below != IGNORE))
    kind = above[trace, sample].astype(np.int64) * 256 + below[trace, sample]
    return (trace * 256**2 + kind) * (2 * traces.shape[1]) + sample
