"""Measurements taken in turns, so that a machine's moods hit all alike; those made while it was disturbed are left out.

Before and after each measurement a small calculation of known length runs on all processors. Where it takes longer than
it takes at best, something else is at work on the machine.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

TURNS = 3
_SLACK = 1.2  # how much longer the calculation may take beside a measurement that counts
_SIDE, _TIMES = 768, 5


@dataclass(frozen=True)
class Timing:
    """One quantity, measured once a turn; `disturbed` says of each turn whether the machine was busy otherwise."""

    values: tuple[float, ...]
    disturbed: tuple[bool, ...]

    @property
    def median(self) -> float:
        """The median of the undisturbed values; of all where there are none."""
        quiet = [value for value, bad in zip(self.values, self.disturbed, strict=True) if not bad]
        return statistics.median(quiet or self.values)

    def as_json(self) -> dict[str, Any]:
        """The median with what it was taken of."""
        return {"median": self.median, "turns": list(self.values), "disturbed": list(self.disturbed)}


def alternate(
    candidates: Mapping[str, Callable[[], float]],
    turns: int,
    *,
    progress: Callable[[], None] = lambda: None,
    reference: Callable[[], float] | None = None,
) -> dict[str, Timing]:
    """What each candidate returns, once a turn, in an order that turns round with every turn.

    A candidate measures itself and returns e.g. seconds a step. `reference` is timed between them (see above).
    """
    reference = reference or _calculation
    values: dict[str, list[float]] = {name: [] for name in candidates}
    marks: dict[str, list[float]] = {name: [] for name in candidates}
    before = reference()
    for turn in range(turns):
        for name in list(candidates) if turn % 2 == 0 else reversed(list(candidates)):
            values[name].append(candidates[name]())
            after = reference()
            marks[name].append(max(before, after))
            before = after
            progress()
    quiet = _SLACK * min((min(found) for found in marks.values()), default=0.0)
    return {name: Timing(tuple(values[name]), tuple(mark > quiet for mark in marks[name])) for name in candidates}


def disturbed_note(timings: Mapping[str, Timing]) -> str:
    """A line for people where measurements were left out; "" where none were."""
    bad = sum(sum(timing.disturbed) for timing in timings.values())
    total = sum(len(timing.values) for timing in timings.values())
    lost = sum(all(timing.disturbed) for timing in timings.values())
    if not bad:
        return ""
    line = f"other work disturbed {bad} of {total} measurements, which are left out"
    return line + (f", but for {lost} rows of which no other is left" if lost else "")


def seconds_each(function: Callable[[], Any], least: float, *, least_times: int = 1) -> float:
    """Seconds a call of a function, called until `least` seconds are over and so often at least."""
    started, times = time.perf_counter(), 0
    while times < least_times or time.perf_counter() - started < least:
        function()
        times += 1
    return (time.perf_counter() - started) / times


def _calculation() -> float:
    """Seconds of a matrix product on all processors, the median of a few."""
    matrix = np.ones((_SIDE, _SIDE), np.float32)
    seconds = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        np.matmul(matrix, matrix)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
