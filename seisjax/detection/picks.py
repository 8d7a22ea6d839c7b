"""Picks: when waves reach single receivers, read from probabilities."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

# Which wave a pick is of. ANY: the classes do not tell P from S.
ANY, P, S = 0, 1, 2


class Picks(NamedTuple):
    """Arrivals on single receivers, arrays of one length, in order of receiver and time unless it says otherwise."""

    receiver: np.ndarray  # int32: position along the receiver axis
    time: np.ndarray  # float64: onset, s after the first sample
    probability: np.ndarray  # float32: the highest over the pick's duration
    duration: np.ndarray  # float32: how long the probability stays above the threshold, s
    phase: np.ndarray  # int8: ANY, P or S

    @classmethod
    def none(cls) -> "Picks":
        """No picks."""
        return cls(*(np.zeros(0, dtype) for dtype in _DTYPES))

    def where(self, chosen: np.ndarray) -> "Picks":
        """The picks of a mask, or at these positions, in that order."""
        return Picks(*(values[chosen] for values in self))

    @property
    def number(self) -> int:
        """How many picks there are."""
        return len(self.receiver)


_DTYPES = (np.int32, np.float64, np.float32, np.float32, np.int8)


def join_picks(parts: Iterable[Picks]) -> Picks:
    """All picks of several lists, one after the other."""
    columns = zip(*(tuple(part) for part in (Picks.none(), *parts)), strict=True)
    return Picks(*(np.concatenate(values).astype(dtype) for values, dtype in zip(columns, _DTYPES, strict=True)))


def receivers_needed(share: float, live: int) -> int:
    """Receivers that are at least a `share` of the live ones; from 1 on `share` is their number itself."""
    number = share * live if share < 1 else share
    return max(int(np.ceil(round(number, 9))), 1)  # 0.07 of 100 is 7.000000000000001


class Runs(NamedTuple):
    """Stretches of samples that hold, trace after trace; arrays of one length."""

    receiver: np.ndarray
    start: np.ndarray  # first sample
    stop: np.ndarray  # one past the last


def runs(holds: np.ndarray, join: int = 0) -> Runs:
    """The stretches of samples that are True in `holds` (receiver, sample).

    Stretches of a trace that at most `join` samples part are one.
    """
    edges = np.zeros((holds.shape[0], holds.shape[1] + 1), np.int8)
    edges[:, :-1] = holds
    edges[:, 1:] -= holds
    receiver, start = np.nonzero(edges == 1)
    stop = np.nonzero(edges == -1)[1]  # as many a trace, in the same order
    if join > 0 and len(start):
        first = np.ones(len(start), bool)
        first[1:] = (receiver[1:] != receiver[:-1]) | (start[1:] - stop[:-1] > join)
        last = np.append(first[1:], True)
        receiver, start, stop = receiver[first], start[first], stop[last]
    return Runs(receiver, start, stop)


def find_picks(
    probability: np.ndarray,
    interval: float,
    *,
    threshold: float = 0.5,
    phase: int = ANY,
    peaks: bool = False,
    join: float = 0.04,
    min_duration: float = 0.0,
    start: float = 0.0,
) -> Picks:
    """Picks of one class.

    Args:
      probability: (receiver, sample), NaN where there are no data.
      interval: sampling interval, s.
      threshold: a pick is a stretch of samples whose probability is at least so much.
      phase: ANY, P or S, as the class says.
      peaks: the class is a bump around the onset, as with Gaussian onset labels: the onset is where it is highest.
        Otherwise the class lasts from the onset on, and the onset is where the probability crosses the threshold.
      join: stretches of a trace that are parted by at most so many s are one pick.
      min_duration: shorter picks are left out, s.
      start: time of the first sample, s; added to the picks' times.

    Onsets lie between samples: crossings are interpolated linearly, peaks by a parabola through ln(probability), exact
    for a Gaussian. A stretch that begins with the trace has its onset at the first sample.
    """
    values = np.nan_to_num(np.asarray(probability, np.float32), nan=0.0)
    found = runs(values >= threshold, round(join / interval))
    duration = (found.stop - found.start) * interval
    found = Runs(*(column[duration >= min_duration] for column in found))
    if not len(found.start):
        return Picks.none()
    highest, place = _highest(values, found)
    onset = _peaks(values, found.receiver, place) if peaks else _crossings(values, found, threshold)
    return Picks(
        receiver=found.receiver.astype(np.int32),
        time=start + onset * interval,
        probability=highest,
        duration=((found.stop - found.start) * interval).astype(np.float32),
        phase=np.full(len(onset), phase, np.int8),
    )


def _highest(values: np.ndarray, found: Runs) -> tuple[np.ndarray, np.ndarray]:
    """The highest value of each run, and the first sample that has it."""
    flat, width = np.append(values.ravel(), 0.0).astype(np.float32), values.shape[1]
    begin, end = found.receiver * width + found.start, found.receiver * width + found.stop
    highest = np.maximum.reduceat(flat, np.stack([begin, end], axis=1).ravel())[::2]
    length = end - begin
    run = np.repeat(np.arange(len(begin)), length)
    sample = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length) + begin[run]
    candidates = np.flatnonzero(flat[sample] == highest[run])
    first = candidates[np.unique(run[candidates], return_index=True)[1]]
    return highest, sample[first] - found.receiver * width


def _crossings(values: np.ndarray, found: Runs, threshold: float) -> np.ndarray:
    """Where the probability reaches the threshold before each run, in samples."""
    before = values[found.receiver, np.maximum(found.start - 1, 0)].astype(np.float64)
    at = values[found.receiver, found.start].astype(np.float64)
    rise = np.where(found.start > 0, at - before, 0.0)
    return found.start - np.divide(at - threshold, rise, out=np.zeros_like(rise), where=rise > 0)


def _peaks(values: np.ndarray, receiver: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The top of the parabola through ln(value) at a peak and its two neighbours, in samples."""
    last = values.shape[1] - 1
    inner = (place > 0) & (place < last)
    around = np.stack([values[receiver, np.clip(place + k, 0, last)] for k in (-1, 0, 1)]).astype(np.float64)
    left, middle, right = np.log(np.maximum(around, 1e-6))
    bend = left - 2 * middle + right
    shift = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=inner & (bend < 0))
    return place + np.clip(shift, -0.5, 0.5)
