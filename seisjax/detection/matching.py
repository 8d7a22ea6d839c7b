"""Scores of events: which detections are events of the truth, and how well."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seisjax.detection.picks import Picks
from seisjax.metrics import ratio

TOLERANCE = 0.2  # s between a detection and the first arrival of the event that it finds


class Truth(NamedTuple):
    """The events that happened in a panel, arrays of one length."""

    first_arrival: np.ndarray  # s after the panel's first sample: the earliest P onset on a live receiver
    x: np.ndarray  # m
    y: np.ndarray  # m
    z: np.ndarray  # m
    snr: np.ndarray

    @classmethod
    def of(cls, first_arrival: Any, x: Any = np.nan, y: Any = np.nan, z: Any = np.nan, snr: Any = np.nan) -> "Truth":
        """Events at these first arrivals; what is not known is NaN."""
        time = np.atleast_1d(np.asarray(first_arrival, np.float64))
        return cls(time, *(np.broadcast_to(np.asarray(v, np.float64), time.shape) for v in (x, y, z, snr)))


def match_times(truth: ArrayLike, found: ArrayLike, tolerance: float = TOLERANCE) -> np.ndarray:
    """Pairs (pair, 2) of positions in `truth` and `found`: one to one, at most `tolerance` apart.

    There are as many pairs as there can be, and of all such choices they lie nearest together in sum. On a line some
    best choice never crosses (crossed pairs can be swapped without making either the longest or the sum longer), so a
    dynamic programme over both lists in order of time finds it.
    """
    a, b = np.asarray(truth, np.float64), np.asarray(found, np.float64)
    rows, columns = np.argsort(a, kind="stable"), np.argsort(b, kind="stable")
    pairs: list[tuple[int, int]] = []
    for i, j in _clusters(a[rows], b[columns], tolerance):
        pairs += [(i.start + p, j.start + q) for p, q in _match(a[rows[i]], b[columns[j]], tolerance)]
    order = np.array(pairs, np.int64).reshape(-1, 2)
    return np.stack([rows[order[:, 0]], columns[order[:, 1]]], axis=1)


def _clusters(a: np.ndarray, b: np.ndarray, tolerance: float) -> Iterable[tuple[slice, slice]]:
    """Parts of two sorted lists that no pair joins."""
    both = np.sort(np.concatenate([a, b]))
    if not len(both):
        return
    cuts = np.flatnonzero(np.diff(both) > tolerance)
    for low, high in zip(np.append(both[0], both[cuts + 1]), np.append(both[cuts], both[-1]), strict=True):
        i, j = (slice(int(np.searchsorted(times, low)), int(np.searchsorted(times, high, "right"))) for times in (a, b))
        if i.stop > i.start and j.stop > j.start:
            yield i, j


def _match(a: np.ndarray, b: np.ndarray, tolerance: float) -> list[tuple[int, int]]:
    """Best pairs of two sorted lists. best[i][j]: (pairs, -sum of distances) of the first i and j of them."""
    best = [[(0, 0.0)] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            best[i][j] = max(best[i - 1][j], best[i][j - 1])
            distance = abs(float(a[i - 1] - b[j - 1]))
            if distance <= tolerance:
                count, total = best[i - 1][j - 1]
                best[i][j] = max(best[i][j], (count + 1, total - distance))
    pairs, i, j = [], len(a), len(b)
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


class EventScores:
    """Counts over panels, or stretches of a recording, that add up to the scores of a detector."""

    def __init__(self, tolerance: float = TOLERANCE):
        self.tolerance = tolerance
        self.hours = 0.0
        self.num_false = 0
        self._snr: list[float] = []  # of every event of the truth
        self._found: list[bool] = []
        self._onset_errors: list[float] = []
        self._location_errors: list[tuple[float, float]] = []  # m along the horizontal, and down

    def add(self, truth: Truth, found: Sequence[Any], seconds: float) -> None:
        """Take in the events of one panel of `seconds`: what happened, and the detections.

        A detection is anything with a `first_arrival` (s after the panel's first sample); where it also has x, y and
        z (m) and the truth has them, they are compared.
        """
        times = np.array([event.first_arrival for event in found], np.float64)
        pairs = match_times(truth.first_arrival, times, self.tolerance)
        self.hours += seconds / 3600
        self.num_false += len(found) - len(pairs)
        self._snr += [float(value) for value in truth.snr]
        self._found += np.isin(np.arange(len(truth.snr)), pairs[:, 0]).tolist()
        for i, j in pairs:
            self._onset_errors.append(float(times[j] - truth.first_arrival[i]))
            dx, dy, dz = (getattr(found[j], name, np.nan) - getattr(truth, name)[i] for name in "xyz")
            if np.isfinite([dx, dy, dz]).all():
                self._location_errors.append((float(np.hypot(dx, dy)), abs(float(dz))))

    def result(self) -> dict[str, Any]:
        """The scores; None where they are not defined.

        `event_precision`, `event_recall`, `event_f1`, `false_alarms_per_hour`, `onset_error_s` (median distance of
        first arrivals), and `events`: the counts, `onset_bias_s` (median of found less true), and the medians
        `epicentre_error_m` and `depth_error_m`.
        """
        matched, num_events = sum(self._found), len(self._found)
        num_found = matched + self.num_false
        horizontal, vertical = np.array(self._location_errors).reshape(-1, 2).T
        return {
            "event_precision": ratio(matched, num_found),
            "event_recall": ratio(matched, num_events),
            "event_f1": ratio(2 * matched, num_found + num_events),
            "false_alarms_per_hour": ratio(self.num_false, self.hours),
            "onset_error_s": _median(np.abs(self._onset_errors)),
            "events": {
                "num_events": num_events,
                "num_detections": num_found,
                "num_matched": matched,
                "hours": self.hours,
                "tolerance_s": self.tolerance,
                "onset_bias_s": _median(self._onset_errors),
                "epicentre_error_m": _median(horizontal),
                "depth_error_m": _median(vertical),
            },
        }

    def recall_by_snr(self, edges: Sequence[float]) -> list[dict[str, Any]]:
        """For each bin [edges[i], edges[i + 1]) of the signal-to-noise ratio: its bounds, events and recall."""
        snr, found = np.array(self._snr), np.array(self._found, bool)
        bins = []
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            inside = (snr >= low) & ((snr < high) | ((high == edges[-1]) & (snr == high)))
            count = int(inside.sum())
            bins.append({"snr": [low, high], "num_events": count, "recall": ratio(int(found[inside].sum()), count)})
        return bins


class PickScores:
    """Counts over panels that add up to the scores of single picks, against those that the labels hold."""

    _BINS = 2000  # of the distribution of errors, so that memory does not grow

    def __init__(self, tolerance: float = TOLERANCE):
        self.tolerance = tolerance
        self.num_true = self.num_found = 0
        self._errors = np.zeros(self._BINS, np.int64)

    def add(self, truth: Picks, found: Picks) -> None:
        """Take in the picks of one panel. Those on one receiver that are each other's nearest may match."""
        self.num_true += truth.number
        self.num_found += found.number
        if not truth.number or not found.number:
            return
        low = min(truth.time.min(), found.time.min())
        stride = max(truth.time.max(), found.time.max()) - low + 2 * self.tolerance
        a, b = (np.sort(picks.receiver * stride + picks.time - low) for picks in (truth, found))
        nearest_b, nearest_a = _nearest(a, b), _nearest(b, a)
        mutual = nearest_a[nearest_b] == np.arange(len(a))
        error = np.abs(b[nearest_b] - a)[mutual]
        place = (error[error <= self.tolerance] / self.tolerance * self._BINS).astype(np.int64)
        self._errors += np.bincount(np.minimum(place, self._BINS - 1), minlength=self._BINS)

    def result(self) -> dict[str, Any]:
        """`pick_precision`, `pick_recall`, and `pick_error_s`, the median distance; None where not defined."""
        matched = int(self._errors.sum())
        middle = int(np.searchsorted(np.cumsum(self._errors), matched / 2))
        return {
            "pick_precision": ratio(matched, self.num_found),
            "pick_recall": ratio(matched, self.num_true),
            "pick_error_s": (middle + 0.5) / self._BINS * self.tolerance if matched else None,
        }


def _nearest(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Position in `among` (sorted) of what is nearest to each value."""
    right = np.clip(np.searchsorted(among, values), 1, max(len(among) - 1, 1))
    right = np.minimum(right, len(among) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(values - among[left] <= among[right] - values, left, right)


def _median(values: Any) -> float | None:
    return float(np.median(values)) if len(values) else None
