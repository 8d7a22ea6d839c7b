"""From picks to events: which picks belong together, when and, where receivers' places are known, where it happened.

With places, candidates are scored by how many receivers have a pick when they should (back-projection of picks): nodes
of a grid under the array, each with its travel times, against plane waves, which cross the array but are no events.
The best candidate takes its picks away, and the rest is searched again. Without places, picks that have no neighbour
with a like onset are dropped, and the densest stretch of time is taken first.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seisjax.detection.location import Locator, Nodes
from seisjax.detection.picks import P, Picks, S, receivers_needed

PLANE = 1.2  # a plane wave that explains so many times the picks of the best event is taken for what it is
_ENTRIES = 4_000_000  # differences between picks and nodes that are held at once
_ENOUGH = 1500  # picks to search with


@dataclass(frozen=True)
class Association:
    """What makes picks an event."""

    min_receivers: float = 0.1  # receivers with a pick: a share of the live ones, or from 1 on their number
    fewest: int = 4  # but never fewer: so many arrival times are needed for a place and an origin time
    tolerance: float = 0.1  # s that an onset may lie off the moveout: speeds, statics and picks are not exact
    window: float = 1.0  # s from an event's first onset to its last; of use where receivers' places are not known
    moveout: float = 0.0  # s between onsets of neighbours on the receiver axis, at most; likewise; 0: do not look
    max_events: int = 1000  # of one panel or stretch

    def needed(self, live: int) -> int:
        """Receivers that an event must be seen on."""
        return max(receivers_needed(self.min_receivers, live), min(self.fewest, live))


class Event(NamedTuple):
    """An event as it was found. What is not known is NaN."""

    first_arrival: float  # s after the first sample: the earliest P onset on any receiver
    origin_time: float  # s after the first sample, may be negative
    x: float  # m, in the receivers' coordinates
    y: float  # m
    z: float  # m
    num_receivers: int  # that have a pick of its first wave
    num_picks: int
    probability: float  # mean over its picks
    rms: float  # root of the mean squared residual of its picks, s
    picks: Picks  # its first onset on each receiver (P), then S onsets where they are known


class Group(NamedTuple):
    """Picks that belong together: an event, or a plane wave or what else is none (None)."""

    event: Event | None
    taken: np.ndarray  # positions of the picks that are accounted for
    begin: float  # s after the first sample


def associate(
    picks: Picks, live: int, seconds: float, options: Association = Association(), locator: Locator | None = None
) -> list[Event]:
    """The events that picks belong to, in order of their first arrival.

    live: receivers that record; seconds: length of the record. Where picks are dense, an event needs five standard
    deviations more of them than would come together by chance. locator: travel times to the receivers, where their
    places are known.
    """
    found = [group.event for group in groups(picks, live, seconds, options, locator) if group.event]
    return sorted(found, key=lambda event: event.first_arrival)


def groups(
    picks: Picks, live: int, seconds: float, options: Association = Association(), locator: Locator | None = None
) -> list[Group]:
    """As `associate`, also telling which picks were taken, and by what; the best supported group comes first."""
    needed, left, found = options.needed(live), np.arange(picks.number), []
    search = _Search(locator, options, seconds) if locator else _Coincidence(options, seconds)
    while len(left) >= needed and len(found) < options.max_events:
        event, taken = search.next(picks.where(left), needed)
        if not taken.any():
            break
        begin = event.first_arrival if event else float(picks.time[left[taken]].min())
        found.append(Group(event, left[taken], begin))
        left = left[~taken]
    return found


def by_chance(others: float, width: float, seconds: float) -> float:
    """So many picks may lie within `width` s by chance, where `others` lie in the rest of a record of `seconds`."""
    mean = others * width / max(seconds - width, width)
    return float(mean + 5 * np.sqrt(mean))


class _Search:
    """Events under an array whose places are known."""

    def __init__(self, locator: Locator, options: Association, seconds: float):
        self.locator, self.options, self.seconds = locator, options, seconds
        self.nodes, self.waves = locator.grid(options.tolerance), locator.plane_waves(options.tolerance)
        reach = float(np.ptp(self.nodes.times))
        steps = int(np.ceil(locator.p_doubt * reach / (2 * options.tolerance)))
        self.scales = 1 + locator.p_doubt * np.linspace(-1, 1, 2 * steps + 1)

    def next(self, picks: Picks, needed: int) -> tuple[Event | None, np.ndarray]:
        """The best supported event (None where it was none), and the picks that are accounted for."""
        tolerance = self.options.tolerance
        usable = picks.where(picks.phase != S)
        start = max((_best_node(usable, self.nodes, scale, tolerance) for scale in self.scales), default=_NOTHING)
        wave = _best_node(usable, self.waves, 1.0, tolerance)
        count = max(start.count, wave.count)
        if count < max(needed, by_chance(usable.number - count, 2 * tolerance, self.seconds)):
            return None, np.zeros(picks.number, bool)
        if wave.count > PLANE * start.count:
            expected = wave.origin + self.waves.times[wave.node]
            return None, _around(picks, expected, 2 * tolerance, 4 * tolerance)
        fit = Fit(self.nodes.places[start.node], start.scale, start.origin)
        fit = refine(picks, fit, self.locator, self.locator.spacing(tolerance) / 2, tolerance)
        if self._is_plane(usable, fit):
            return None, _around(picks, self._p_times(fit), 2 * tolerance, 4 * tolerance)
        return self._event(picks, fit, needed)

    def _p_times(self, fit: "Fit") -> np.ndarray:
        return fit.origin + fit.scale * self.locator.times(fit.place[None])[0].astype(np.float64)

    def _is_plane(self, picks: Picks, fit: "Fit") -> bool:
        """Whether a straight front leaves clearly smaller residuals than the event does.

        A twentieth of the tolerance is allowed for: under a small array the fronts of events are straight too.
        """
        tolerance = self.options.tolerance
        residual = picks.time - self._p_times(fit)[picks.receiver]
        near = np.abs(residual) <= 3 * tolerance
        places = self.locator.receivers[picks.receiver[near], :2].astype(np.float64)
        straight = _plane_residual(places, picks.time[near], tolerance)
        costs = [float(np.minimum(np.abs(r) / tolerance, 1).sum()) for r in (straight, residual[near])]
        return costs[0] + 0.05 * near.sum() < 0.7 * costs[1]

    def _event(self, picks: Picks, fit: "Fit", needed: int) -> tuple[Event | None, np.ndarray]:
        tolerance, p_times = self.options.tolerance, self._p_times(fit)
        residual = picks.time - p_times[picks.receiver]
        p_picks = _one_each(picks, np.where(picks.phase == S, np.inf, residual), tolerance)
        taken = _around(picks, p_times, 2 * tolerance, 4 * tolerance) & (picks.phase != S)
        s_picks, s_taken = self._s_waves(picks, ~taken & (picks.phase != P), fit, needed)
        taken |= s_taken
        if len(p_picks) < needed:
            return None, taken
        offset = self.locator.centre
        earliest = p_picks[np.argsort(p_times[picks.receiver[p_picks]])][: max(3, len(p_picks) // 20)]
        used = picks.where(np.append(p_picks, s_picks))
        named = used._replace(phase=np.repeat([P, S], [len(p_picks), len(s_picks)]).astype(np.int8))
        event = Event(
            # Speeds are not exactly known: what the nearest receivers' picks are off moves the earliest onset too.
            first_arrival=float(p_times.min() + np.median(residual[earliest])),
            origin_time=float(fit.origin),
            x=float(fit.place[0] + offset[0]),
            y=float(fit.place[1] + offset[1]),
            z=float(fit.place[2]),
            num_receivers=len(p_picks),
            num_picks=used.number,
            probability=float(used.probability.mean()),
            rms=float(np.sqrt(np.mean(residual[p_picks] ** 2))),
            picks=named,
        )
        return event, taken

    def _s_waves(self, picks: Picks, free: np.ndarray, fit: "Fit", needed: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of an event's S picks among those that are free (mask), and a mask of what S accounts for."""
        none = np.zeros(0, np.int64), np.zeros(picks.number, bool)
        if not self.locator.ground.s or not free.any():
            return none
        tolerance, travel = self.options.tolerance, self.locator.times(fit.place[None], "S")[0].astype(np.float64)
        count, scale = _s_scale(picks.where(free), fit.origin, travel, self.locator.s_doubt, 2 * tolerance)
        times = fit.origin + scale * travel
        taken = free & _around(picks, times, 3 * tolerance, 4 * tolerance)
        unnamed = picks.where(taken & (picks.phase != S))
        # What looks like S of this event may be P of the next one.
        rival = max((_best_node(unnamed, self.nodes, scale, tolerance) for scale in self.scales), default=_NOTHING)
        if count < needed / 2 or rival.count > count:
            return none
        return _one_each(picks, np.where(taken, picks.time - times[picks.receiver], np.inf), 2 * tolerance), taken


def _plane_residual(places: np.ndarray, time: np.ndarray, tolerance: float) -> np.ndarray:
    """Residuals (pick,) of the straight front through picks at places (pick, 2): least absolute, by reweighting."""
    columns = np.column_stack([np.ones(len(time)), places / 1e3])
    residual = time - np.median(time)
    for _ in range(10):
        weight = 1 / np.sqrt(np.abs(residual) + 0.01 * tolerance)
        solution = np.linalg.lstsq(columns * weight[:, None], time * weight, rcond=None)[0]
        residual = time - columns @ solution
    return residual


class Fit(NamedTuple):
    """Where and when, relative to the array's centre, and what P travel times are multiplied by."""

    place: np.ndarray  # (3,) m
    scale: float
    origin: float  # s


def refine(picks: Picks, start: Fit, locator: Locator, step: np.ndarray, tolerance: float) -> Fit:
    """The place, scale and origin time near `start` that leave the least sum of truncated residuals, coarse to fine.

    P (and unnamed) picks within 3 tolerances of the start count, and named S picks that come within as much of their
    doubtful time. Origin time, and the scale of S travel times within its doubt, are medians, so that picks that are
    far off change neither.
    """
    expected = start.origin + start.scale * locator.times(start.place[None])[0].astype(np.float64)
    near = (picks.phase != S) & (np.abs(picks.time - expected[picks.receiver]) <= 3 * tolerance)
    p = _thinned(picks.where(near))
    s = _thinned(_s_near(picks, start, locator, 3 * tolerance))
    moves = np.stack(np.meshgrid(*([[-1.0, 0.0, 1.0]] * 4), indexing="ij"), axis=-1).reshape(-1, 4)
    low, high = np.append(locator.low, 1 - locator.p_doubt), np.append(locator.high, 1 + locator.p_doubt)
    size = np.append(step, locator.p_doubt / 4)
    best, finest = np.append(start.place, start.scale), size / 20
    origin = start.origin
    for _ in range(40):
        tried = np.clip(best + moves * size, low, high)
        cost, origins = _misfit(tried, p, s, locator, tolerance)
        cost[len(moves) // 2] -= 1e-9  # stay where nothing is won
        k = int(np.argmin(cost))
        best, origin = tried[k], float(origins[k])
        if k == len(moves) // 2:
            size = size / 2
            if (size <= finest).all():
                break
    return Fit(best[:3], float(best[3]), origin)


def _s_near(picks: Picks, start: Fit, locator: Locator, slack: float) -> Picks:
    """Named S picks that may be of the event at `start`: those of others in the record would take the median away."""
    if not locator.ground.s:
        return Picks.none()
    travel = locator.times(start.place[None], "S")[0].astype(np.float64)[picks.receiver]
    off = np.abs(picks.time - start.origin - travel)
    return picks.where((picks.phase == S) & (off <= locator.s_doubt * travel + slack))


def _misfit(tried: np.ndarray, p: Picks, s: Picks, locator: Locator, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Sum of truncated residuals, in tolerances, and origin time of places and scales (candidate, 4)."""
    late = p.time - tried[:, 3:] * locator.times(tried[:, :3])[:, p.receiver]
    origin = np.median(late, axis=1)
    cost = np.minimum(np.abs(late - origin[:, None]) / tolerance, 1).sum(axis=1)
    if s.number:
        travel, lag = locator.times(tried[:, :3], "S")[:, s.receiver], s.time - origin[:, None]
        scale = np.clip(np.median(lag / travel, axis=1), 1 - locator.s_doubt, 1 + locator.s_doubt)
        cost += np.minimum(np.abs(lag - scale[:, None] * travel) / (2 * tolerance), 1).sum(axis=1)
    return cost, origin


class _Start(NamedTuple):
    count: float  # picks that agree
    origin: float  # s
    node: int
    scale: float


_NOTHING = _Start(0.0, 0.0, 0, 1.0)


def _best_node(picks: Picks, nodes: Nodes, scale: float, tolerance: float) -> _Start:
    """The node and origin time for which most picks come when they should, within about a tolerance.

    Origin times of all picks are counted in bins one tolerance wide, two neighbours together.
    """
    if not picks.number:
        return _NOTHING
    thin = _thinned(picks)
    weight = picks.number / thin.number
    lowest = thin.time.min() - scale * nodes.times.max()
    width = int((thin.time.max() - scale * nodes.times.min() - lowest) / tolerance) + 2
    block, best = max(_ENTRIES // max(thin.number, width), 1), _NOTHING
    for k in range(0, len(nodes.times), block):
        origin = thin.time - lowest - scale * nodes.times[k : k + block, thin.receiver]
        bins = (origin / tolerance).astype(np.int64) + width * np.arange(len(origin))[:, None]
        counts = np.bincount(bins.ravel(), minlength=width * len(origin)).reshape(-1, width)
        pairs = counts[:, :-1] + counts[:, 1:]
        place = int(np.argmax(pairs))
        node, at = divmod(place, width - 1)
        if pairs[node, at] * weight > best.count:
            best = _Start(float(pairs[node, at] * weight), float(lowest + (at + 1) * tolerance), k + node, scale)
    return best


def _thinned(picks: Picks) -> Picks:
    """At most so many picks, evenly taken: enough to search with."""
    return picks.where(np.arange(0, picks.number, -(-picks.number // _ENOUGH))) if picks.number > _ENOUGH else picks


def _around(picks: Picks, expected: np.ndarray, before: float, after: float) -> np.ndarray:
    """Picks (mask) near the times expected at their receivers (receiver,); what comes right after is the coda."""
    late = picks.time - expected[picks.receiver]
    return (late >= -before) & (late <= after)


def _one_each(picks: Picks, residual: np.ndarray, tolerance: float) -> np.ndarray:
    """Positions of the picks within the tolerance, on each receiver the one with the smallest residual."""
    near = np.flatnonzero(np.abs(residual) <= tolerance)
    near = near[np.lexsort((np.abs(residual[near]), picks.receiver[near]))]
    return near[np.unique(picks.receiver[near], return_index=True)[1]]


def _s_scale(picks: Picks, origin: float, travel: np.ndarray, doubt: float, tolerance: float) -> tuple[int, float]:
    """How many picks agree with S at best, and what S travel times (receiver,) are multiplied by for it."""
    if not picks.number:
        return 0, 1.0
    steps = int(np.ceil(doubt * float(np.median(travel)) / tolerance))
    scales = 1 + doubt * np.linspace(-1, 1, 2 * steps + 1)
    off = picks.time - origin - scales[:, None] * travel[picks.receiver]
    counts = (np.abs(off) <= tolerance).sum(axis=1)
    return int(counts.max()), float(scales[np.argmax(counts)])


class _Coincidence:
    """Events on receivers whose places are not known: many onsets in little time."""

    def __init__(self, options: Association, seconds: float):
        self.options, self.seconds = options, seconds

    def next(self, picks: Picks, needed: int) -> tuple[Event | None, np.ndarray]:
        """The densest stretch of time as an event, and the picks that are accounted for."""
        usable = picks.where((picks.phase != S) & self._has_neighbours(picks))
        usable = usable.where(np.argsort(usable.time, kind="stable"))
        time, window, none = usable.time, self.options.window, np.zeros(picks.number, bool)
        if not len(time):
            return None, none
        counts = np.searchsorted(time, time + window, "right") - np.arange(len(time))
        start = int(np.argmax(counts))
        if counts[start] < max(needed, by_chance(usable.number - counts[start], window, self.seconds)):
            return None, none
        inside = usable.where(np.arange(start, start + counts[start]))
        # A stray pick may come before: the event begins where onsets crowd.
        crowd = np.searchsorted(inside.time, inside.time + window / 10, "right") - np.arange(inside.number)
        begin = inside.time[np.argmax(crowd >= max(2, inside.number // 20))]
        inside = usable.where((time >= begin) & (time <= begin + window))
        first = inside.where(np.unique(inside.receiver, return_index=True)[1])
        taken = (picks.time >= min(begin, time[start])) & (picks.time <= begin + window)
        if first.number < needed:
            return None, taken
        event = Event(
            first_arrival=float(begin),
            **dict.fromkeys(("origin_time", "x", "y", "z", "rms"), float("nan")),
            num_receivers=first.number,
            num_picks=first.number,
            probability=float(first.probability.mean()),
            picks=first,
        )
        return event, taken

    def _has_neighbours(self, picks: Picks) -> np.ndarray:
        """Whether at least two of the six nearest receivers have an onset that the moveout allows."""
        if not self.options.moveout:
            return np.ones(picks.number, bool)
        span = float(np.ptp(picks.time)) + 1 if picks.number else 1.0
        zero = picks.time.min() if picks.number else 0.0
        stride = 2 * span + 8 * self.options.moveout
        keys = picks.receiver * stride + picks.time - zero
        ordered = np.sort(keys)
        count = np.zeros(picks.number, np.int64)
        for apart in (-3, -2, -1, 1, 2, 3):
            wanted, slack = keys + apart * stride, abs(apart) * self.options.moveout
            count += np.searchsorted(ordered, wanted + slack, "right") > np.searchsorted(ordered, wanted - slack)
        return count >= 2
