"""A SEG-Y survey, in one file or several, read column by column: stacks, lines and gathers."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from seisjax.errors import UserError, note
from seisjax.geometry import Axis, Box
from seisjax.volumes.metadata import unit_attributes
from seisjax.volumes.readers import Column
from seisjax.volumes.segy import TraceList
from seisjax.volumes.segy_grid import (
    DEAD,
    DELAY,
    DELAY_SCALAR,
    TRACE_CODE,
    Grid,
    build_grid,
    check_axes,
    scaled,
)
from seisjax.volumes.segy_remote import is_remote
from seisjax.volumes.segy_scan import describe_proposal

DEFAULT_AXES = {"inline": 189, "crossline": 193}
# Trace headers that are kept beside the samples, each unless it is 0 throughout: array name -> header byte.
KEPT_HEADERS = {"ffid": 9, "cdp": 21, "offset": 37, "shot_point": 197}
COORDINATES = {"cdp_x": 181, "cdp_y": 185}
# Of gathers also these, under MDIO's names: where the source and the receiver (the group) stood.
GATHER_HEADERS = {"shot": 17, "channel": 13}
GATHER_COORDINATES = {"source_coord_x": 73, "source_coord_y": 77, "group_coord_x": 81, "group_coord_y": 85}
_GATHER_AXES = ("ffid", "shot", "channel", "offset")  # the name of such an axis ...
_GATHER_BYTES = (13, 17, 37)  # ... or its header byte makes a survey one of gathers
_COORDINATE_SCALAR = 71
_MEAN_BYTES = 1 << 26  # of sums in memory while duplicates are averaged


def open_segy(
    paths: Sequence[str],
    axes: Mapping[str, int] | None,
    vertical: str,
    duplicates: str = "refuse",
    interval: float | None = None,
) -> "SegySurvey":
    """Open SEG-Y files or URLs as one survey; `axes` gives the header byte of each axis, slowest first.

    Without `axes`: inline (byte 189) and crossline (193), where they span a grid. `vertical` is "time" (ms) or "depth"
    (m, or ft where the binary header says so). Traces that share a cell are refused, or the "first" or "last" of them
    in the order of the files stands for it, or their "mean" (float32); then the array `fold` says how many there are.
    Those flagged dead (byte 29 = 2) count only where there is no other.
    `interval` (ms, m or ft) overrules the files' headers. Use as a context manager.
    Raises UserError, one line, for whatever is wrong with files or grid.
    """
    check_axes(axes or DEFAULT_AXES, vertical, duplicates)
    with ExitStack() as stack:
        traces = stack.enter_context(TraceList(paths, interval))
        for file in traces.files:
            for odd in file.notes:
                note(f"{file.path}: {odd}")
        wanted = axes or DEFAULT_AXES
        options: dict[str, Any] = {"duplicates": duplicates, "interval": interval, "also": [*_kept(wanted).values()]}
        try:
            grid = build_grid(traces, wanted, vertical, **options)
        except UserError as error:
            proposal = describe_proposal(traces, wanted) if axes is None else ""
            if not proposal:
                raise
            raise UserError(f"{error}; without --axes it is taken for a 3-D stack: {proposal}") from error
        stack.pop_all()
    return SegySurvey(traces, grid, duplicates, interval is not None)


def _kept(axes: Mapping[str, int]) -> dict[str, int]:
    """The headers to keep for a survey of these axes: array name -> header byte."""
    kept = {**COORDINATES, **KEPT_HEADERS}
    if any(name in _GATHER_AXES or byte in _GATHER_BYTES for name, byte in axes.items()):
        kept |= {**GATHER_COORDINATES, **GATHER_HEADERS}
    return {name: byte for name, byte in kept.items() if name not in axes}


class SegySurvey:
    """A `SurveyReader` of SEG-Y files; made by `open_segy`. Not to be used by two threads at once."""

    def __init__(self, traces: TraceList, grid: Grid, duplicates: str, overruled: bool):
        """Takes over `traces` and closes them; `overruled`: the sampling interval is not the files' own."""
        self._traces, self.grid, self._duplicates, self._overruled = traces, grid, duplicates, overruled
        self._kept = {name: byte for name, byte in _kept(grid.header_bytes).items() if byte in grid.filled}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._traces.__exit__(*exception)

    @property
    def name(self) -> str:
        """The files, comma between."""
        return self._traces.name

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Slowest first, the vertical last: from the earliest start of a trace to the last sample."""
        return self.grid.axes

    @property
    def dtype(self) -> np.dtype:
        """Holds every sample of every file; float32 for the mean of duplicates, and where cells have no sample before
        or after their trace's own."""
        averaged = self._duplicates == "mean" and self.grid.num_shared
        padded = len(self.axes[-1]) > self._traces.num_samples
        return np.dtype("f4") if averaged or padded else self._traces.dtype

    @property
    def array_attributes(self) -> dict[str, dict[str, Any]]:
        """The unit of the coordinates, where the files tell."""
        unit = self._traces.files[0].length_unit
        lengths = (*COORDINATES, *GATHER_COORDINATES, "offset")
        return dict.fromkeys(lengths, unit_attributes(unit)) if unit else {}

    @property
    def attributes(self) -> dict[str, Any]:
        """Source, header bytes, sampling interval (ms, m or ft), sample format(s), number of traces, duplicates."""
        files = self._traces.files
        paths = [file.path if is_remote(file.path) else os.path.abspath(file.path) for file in files]
        formats = [file.sample_format for file in files]
        found: dict[str, Any] = {
            "header_bytes": dict(self.grid.header_bytes),
            "sampling_interval": self._traces.interval,
            "sample_format": formats[0] if len(set(formats)) == 1 else formats,
            "num_traces": self._traces.num_traces,
        }
        found |= {"source_file": paths[0]} if len(paths) == 1 else {"source_files": paths}
        if self.grid.num_shared:
            found |= {"duplicates": self._duplicates, "num_duplicates": self.grid.num_shared}
        if self._overruled:
            found["interval_overruled"] = True
        return found

    def column(self, cells: Box) -> Column:
        """The traces above `cells`, a box over all axes but the last, which lies inside the survey."""
        place, numbers = self.grid.traces(cells)
        fields = {TRACE_CODE, DELAY, DELAY_SCALAR, _COORDINATE_SCALAR, *self._kept.values()}
        headers = self._traces.fields(numbers, sorted(fields))
        dead = headers[TRACE_CODE] == DEAD
        shift = self.grid.shifts(headers[DELAY], headers[DELAY_SCALAR])
        lead = _leaders(place, dead, last=self._duplicates == "last")
        samples = np.full((cells.size, len(self.axes[-1])), np.nan if self.dtype.kind == "f" else 0, self.dtype)
        live = np.zeros(cells.size, bool)
        sound = np.bincount(place[~dead], minlength=cells.size)
        averaged = (sound[place] > 1) & ~dead if self._duplicates == "mean" else np.zeros(len(place), bool)
        single = lead[~averaged[lead]]
        for run, values in self._traces.traces(numbers[single]):
            which = single[run]
            alive = (~dead[which] | values.any(axis=1)) & (shift[which] >= 0)
            _lay(samples, place[which][alive], shift[which][alive], values[alive])
            live[place[which][alive]] = True
        self._average(samples, place, numbers, shift, averaged)
        live[place[averaged]] = True
        return Column(
            samples.reshape(*cells.shape, -1), live.reshape(cells.shape), self._headers(cells, place, lead, headers)
        )

    def _average(
        self, samples: np.ndarray, place: np.ndarray, numbers: np.ndarray, shift: np.ndarray, chosen: np.ndarray
    ) -> None:
        """The mean over the chosen traces of each cell, sample by sample, of what is not NaN; a few cells at a time."""
        shared = np.unique(place[chosen])
        many = max(_MEAN_BYTES // (16 * samples.shape[1]), 1)
        for group in (shared[first : first + many] for first in range(0, len(shared), many)):
            members = np.flatnonzero(chosen & np.isin(place, group))
            sums, counts = np.zeros((2, len(group), samples.shape[1]))
            for run, values in self._traces.traces(numbers[members]):
                rows, shifts = np.searchsorted(group, place[members[run]]), shift[members[run]]
                there = ~np.isnan(values)
                for start in np.unique(shifts):
                    part, at = slice(start, start + values.shape[1]), shifts == start
                    with np.errstate(invalid="ignore"):  # the sum of Inf and -Inf
                        np.add.at(sums[:, part], rows[at], np.where(there[at], values[at], 0))
                    np.add.at(counts[:, part], rows[at], there[at])
            with np.errstate(invalid="ignore", divide="ignore"):
                samples[group] = sums / counts

    def _headers(
        self, cells: Box, place: np.ndarray, lead: np.ndarray, headers: Mapping[int, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What is kept of the headers of the traces that stand for their cells, and the fold."""
        kept = {}
        for name, byte in self._kept.items():
            values, fill = headers[byte][lead], 0.0
            if name in COORDINATES or name in GATHER_COORDINATES:
                values, fill = scaled(values, headers[_COORDINATE_SCALAR][lead]), np.nan
            laid_out = np.full(cells.size, fill, values.dtype)
            laid_out[place[lead]] = values
            kept[name] = laid_out.reshape(cells.shape)
        if self.grid.num_shared:
            kept["fold"] = np.bincount(place, minlength=cells.size).astype(np.int32).reshape(cells.shape)
        return kept


def _leaders(place: np.ndarray, dead: np.ndarray, last: bool) -> np.ndarray:
    """The traces that stand for their cells, rising: the first (last) not flagged dead, else the first (last)."""
    number = np.arange(len(place))
    order = np.lexsort((-number if last else number, dead, place))
    first = np.diff(place[order], prepend=-1) != 0
    return np.sort(order[first])


def _lay(samples: np.ndarray, place: np.ndarray, shift: np.ndarray, values: np.ndarray) -> None:
    """Put traces into their cells, each from its own first sample on."""
    for start in np.unique(shift):
        at = shift == start
        samples[place[at], start : start + values.shape[1]] = values[at]
