"""Horizons: where one class gives way to another down a trace, to a fraction of a sample."""

from typing import NamedTuple

import numpy as np

BYTES_PER_SAMPLE = 40  # of the traces that are searched at a time: probabilities, differences, runs


class Picks(NamedTuple):
    """One pick a trace: arrays of one length."""

    position: np.ndarray  # float64: samples from the first one; NaN where no class gives way to the other
    confidence: np.ndarray  # float32: contrast of the crossing that was chosen, 0 to 1; NaN where there is none
    crossings: np.ndarray  # int32: how many there were to choose from


def pick_horizon(above: np.ndarray, below: np.ndarray) -> Picks:
    """Where `below` overtakes `above` down each trace: probabilities (trace, sample), NaN where there are no data.

    A crossing lies between two samples with below < above and then below >= above, where the two are, together, more
    probable than all other classes: at the zero of the line through the two differences. Its contrast is the smaller of
    the largest difference in the stretch above it, up to the crossing before, and that in the stretch below. Of several
    crossings the one of highest contrast is taken, of equal ones the uppermost.
    """
    difference = below - above
    side = np.where(np.isfinite(difference), np.where(difference >= 0, 1, -1), 0).astype(np.int8)
    trace, upper = np.nonzero((side[:, :-1] == -1) & (side[:, 1:] == 1))
    first, second = difference[trace, upper], difference[trace, upper + 1]
    share = first / (first - second)
    both = [above[trace, k] + below[trace, k] for k in (upper, upper + 1)]
    contrast = _contrast(difference, side, trace, upper)
    holds = (both[0] + share * (both[1] - both[0]) > 0.5) & (contrast > 0)
    return _highest(len(above), trace[holds], (upper + share.astype(np.float64))[holds], contrast[holds])


def _contrast(difference: np.ndarray, side: np.ndarray, trace: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The smaller of the largest differences in the stretches that each crossing parts."""
    if not len(trace):
        return np.zeros(0, np.float32)
    begins = np.ones(side.shape, bool)
    begins[:, 1:] = side[:, 1:] != side[:, :-1]
    highest = np.maximum.reduceat(np.abs(np.nan_to_num(difference)).ravel(), np.flatnonzero(begins))
    stretch = np.cumsum(begins, dtype=np.int32) - 1
    place = trace * side.shape[1] + upper
    return np.minimum(highest[stretch[place]], highest[stretch[place + 1]])


def _highest(traces: int, trace: np.ndarray, position: np.ndarray, contrast: np.ndarray) -> Picks:
    """Of each trace's crossings, in order of trace and position, the one of highest contrast."""
    order = np.lexsort((position, -contrast, trace))
    found, first = np.unique(trace[order], return_index=True)
    chosen = order[first]
    picks = Picks(
        np.full(traces, np.nan),
        np.full(traces, np.nan, np.float32),
        np.bincount(trace, minlength=traces).astype(np.int32),
    )
    picks.position[found] = position[chosen]
    picks.confidence[found] = contrast[chosen]
    return picks


def pick_band(inside: np.ndarray) -> Picks:
    """The middle of a class's band down each trace: probabilities (trace, sample) of the class, NaN where no data are.

    A band is a stretch of samples with a probability of half and more between two of less; its edges lie where the line
    through the probabilities is one half, and the pick half-way between them. A band that the trace's end or missing
    data cut has no pick. Its contrast is the smallest of the largest distances from one half, twice that, in it and in
    the stretches above and below. Of several bands the one of highest contrast is taken, of equal ones the uppermost.
    """
    difference = 2 * inside - 1
    side = np.where(np.isfinite(difference), np.where(difference >= 0, 1, -1), 0).astype(np.int8)
    if side.shape[1] < 2:
        none = np.zeros(0)
        return _highest(len(inside), none.astype(np.int64), none, none.astype(np.float32))
    edges = []
    for here, there in ((-1, 1), (1, -1)):
        trace, upper = np.nonzero((side[:, :-1] == here) & (side[:, 1:] == there))
        first, second = difference[trace, upper], difference[trace, upper + 1]
        place = upper + (first / (first - second)).astype(np.float64)
        edges.append((trace, place, upper, _contrast(difference, side, trace, upper)))
    top, base = _paired(side, *((trace, upper) for trace, _, upper, _ in edges))
    (trace, above, _, clear), (_, below, _, clear_below) = edges
    contrast = np.minimum(clear[top], clear_below[base])
    holds = contrast > 0
    return _highest(len(inside), trace[top][holds], ((above[top] + below[base]) / 2)[holds], contrast[holds])


def _paired(
    side: np.ndarray, tops: tuple[np.ndarray, np.ndarray], bases: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Which tops and bases, (trace, sample above) each in order, bound the same stretch: nothing changes in between."""
    changes = np.cumsum(np.append(0, (side[:, 1:] != side[:, :-1]).ravel()))
    width = side.shape[1] - 1
    numbers = [changes[trace * width + upper + 1] for trace, upper in (tops, bases)]  # changes so far, this one too
    _, top, base = np.intersect1d(numbers[0] + 1, numbers[1], assume_unique=True, return_indices=True)
    same = tops[0][top] == bases[0][base]
    return top[same], base[same]
