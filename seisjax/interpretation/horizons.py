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
