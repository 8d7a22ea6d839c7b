"""The classic that networks are compared with: STA/LTA triggers on each trace, and their coincidence (by obspy)."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from seisjax.detection.matching import TOLERANCE, EventScores, Truth
from seisjax.detection.picks import ANY, Picks, receivers_needed, runs
from seisjax.errors import UserError


@dataclass(frozen=True)
class StaLta:
    """Recursive STA/LTA (Withers et al. 1998) on every trace, and how many receivers must trigger together."""

    sta: float = 0.1  # short-term average, s
    lta: float = 1.0  # long-term average, s
    on: float = 3.0  # ratio that switches a trigger on
    off: float = 1.5  # ratio below which it switches off
    min_receivers: float = 0.1  # share of the live receivers, or from 1 on their number
    band: tuple[float, float] | None = None  # Hz; traces are filtered to it before (Butterworth, 4 corners, causal)

    def needed(self, live: int) -> int:
        """Receivers that must trigger together."""
        return receivers_needed(self.min_receivers, live)


class Coincidence(NamedTuple):
    """Triggers that overlap in time, as a detection."""

    first_arrival: float  # s after the first sample: the earliest trigger
    duration: float  # s
    num_receivers: int


@dataclass(frozen=True)
class Grid:
    """What `tune` tries, every combination whose `off` is below `on` and `sta` below `lta`."""

    sta: tuple[float, ...] = (0.05, 0.1, 0.2)
    lta: tuple[float, ...] = (0.5, 1.0, 2.0)
    on: tuple[float, ...] = (2.0, 2.5, 3.0, 4.0, 5.0, 7.0)
    off: tuple[float, ...] = (1.0, 1.5, 2.0)
    min_receivers: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
    band: tuple[tuple[float, float] | None, ...] = (None,)  # give the band of the events where noise has another


@dataclass
class Tuned:
    """The best settings on the panels that they were tuned on, and the scores of all that were tried."""

    options: StaLta
    event_f1: float
    tried: list[tuple[StaLta, float]] = field(default_factory=list)


def ratios(
    traces: np.ndarray, interval: float, sta: float, lta: float, band: tuple[float, float] | None = None
) -> np.ndarray:
    """Recursive STA/LTA of traces (receiver, sample), float32: obspy's, 0 for the first `lta` s. NaN counts as 0.

    sta, lta and interval in s; traces are filtered to `band` (Hz) before. Raises UserError without obspy.
    """
    short, long = max(round(sta / interval), 1), max(round(lta / interval), 2)
    recursive_sta_lta, bandpass = _obspy()
    traces = np.nan_to_num(np.asarray(traces, np.float64))
    if band:
        traces = np.asarray(bandpass(traces, *band, df=1 / interval, corners=4))
    return np.stack([recursive_sta_lta(trace, short, long) for trace in traces]).astype(np.float32)


def _obspy():
    try:
        from obspy.signal.filter import bandpass
        from obspy.signal.trigger import recursive_sta_lta
    except ImportError as error:
        raise UserError("STA/LTA needs obspy; run pip install 'seisjax[passive]'") from error
    return recursive_sta_lta, bandpass


def triggers(ratio: np.ndarray, interval: float, on: float, off: float) -> Picks:
    """Triggers of ratios (receiver, sample), as picks: what `obspy.signal.trigger.trigger_onset` finds.

    A trigger begins with the first sample of at least `on` in a stretch of at least `off`, and lasts to its end; its
    `probability` is the highest ratio over 1 + itself, so that it lies below 1.
    """
    over = runs(ratio >= off)
    begins = runs(ratio >= on)
    if not len(begins.start):
        return Picks.none()
    width = ratio.shape[1] + 1
    stretch = np.searchsorted(over.receiver * width + over.start, begins.receiver * width + begins.start, "right") - 1
    stretch, first = np.unique(stretch, return_index=True)  # one trigger a stretch
    receiver, start, stop = begins.receiver[first], begins.start[first], over.stop[stretch]
    flat = np.append(ratio.ravel(), 0.0)
    ends = np.stack([receiver * ratio.shape[1] + start, receiver * ratio.shape[1] + stop], axis=1)
    peak = np.maximum.reduceat(flat, ends.ravel())[::2]
    return Picks(
        receiver=receiver.astype(np.int32),
        time=start * interval,
        probability=(peak / (1 + peak)).astype(np.float32),
        duration=((stop - 1 - start) * interval).astype(np.float32),
        phase=np.full(len(start), ANY, np.int8),
    )


def coincidences(picks: Picks, needed: int) -> list[Coincidence]:
    """Triggers that overlap, one with the next, on at least `needed` receivers, in order of time.

    As `obspy.signal.trigger.coincidence_trigger` counts them: A overlaps B, B overlaps C makes ABC.
    """
    if not picks.number:
        return []
    order = np.lexsort((picks.receiver, picks.time))
    on, off, receiver = picks.time[order], (picks.time + picks.duration)[order], picks.receiver[order]
    reach = np.maximum.accumulate(off)
    first = np.flatnonzero(np.append(True, on[1:] > reach[:-1]))
    found = []
    for a, b in zip(first, np.append(first[1:], len(on)), strict=True):
        if b - a >= needed and (count := len(np.unique(receiver[a:b]))) >= needed:
            found.append(Coincidence(float(on[a]), float(reach[b - 1] - on[a]), count))
    return found


def detect(traces: np.ndarray, interval: float, options: StaLta = StaLta()) -> list[Coincidence]:
    """The events that STA/LTA with network coincidence finds in a panel.

    traces: (receiver, sample), of receivers that are dead all NaN or all 0; interval in s. Raises UserError without
    obspy.
    """
    ratio = ratios(traces, interval, options.sta, options.lta, options.band)
    picks = triggers(ratio, interval, options.on, options.off)
    return coincidences(picks, options.needed(_live(traces)))


def tune(
    panels: Iterable[np.ndarray],
    truth: Sequence[Truth],
    interval: float,
    grid: Grid = Grid(),
    tolerance: float = TOLERANCE,
) -> Tuned:
    """The settings of highest event F1 on panels whose events are known.

    panels: arrays (receiver, sample), taken one after the other; truth: the events of each. Of settings that score
    alike the first of the grid's order is taken.
    """
    windows = [one for one in itertools.product(grid.sta, grid.lta, grid.band) if one[0] < one[1]]
    levels = [pair for pair in itertools.product(grid.on, grid.off) if pair[1] < pair[0]]
    scores = {
        StaLta(sta, lta, on, off, share, band): EventScores(tolerance)
        for (sta, lta, band), (on, off), share in itertools.product(windows, levels, grid.min_receivers)
    }
    for traces, events in zip(panels, truth, strict=True):
        seconds, live = traces.shape[1] * interval, _live(traces)
        for sta, lta, band in windows:
            ratio = ratios(traces, interval, sta, lta, band)
            for on, off in levels:
                found = coincidences(triggers(ratio, interval, on, off), 1)
                for share in grid.min_receivers:
                    options = StaLta(sta, lta, on, off, share, band)
                    needed = options.needed(live)
                    scores[options].add(events, [f for f in found if f.num_receivers >= needed], seconds)
    tried = [(options, score.result()["event_f1"] or 0.0) for options, score in scores.items()]
    return Tuned(*max(tried, key=lambda pair: pair[1]), tried)


def _live(traces: np.ndarray) -> int:
    """Receivers that record something."""
    return int((np.nan_to_num(traces) != 0).any(axis=1).sum())
