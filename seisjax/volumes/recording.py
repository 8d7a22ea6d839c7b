"""Recordings of receivers: what was recorded when, put on one grid of times and read some receivers at a time."""

import datetime
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from seisjax.conventions import RECEIVER_PLACES
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes.filtering import Band, bandpass, check_band
from seisjax.volumes.readers import Column
from seisjax.volumes.resampling import resample, same_interval
from seisjax.volumes.stations import Stations, read_stations

_ALIGNED = 0.01  # samples by which two stretches may miss one common grid and yet be on it
_SAME = 1e-3  # samples by which a time may miss an old sample and yet be its time: headers are rounded
_SPARSE, _LONG = 1e-3, 10**6  # a grid of so many samples of which less is recorded is a mistake


@dataclass(frozen=True)
class Piece:
    """An unbroken stretch of samples in the file `source`: its first in ns since 1970 (UTC), the interval in s."""

    start: int
    interval: float
    size: int
    source: str


@dataclass(frozen=True)
class Receiver:
    """One channel of a station: its name and the names it may have in a table of stations (the last: its station's).

    `component`: z, n, e, hydrophone, strain, 1, 2, ... or "" where unknown.
    """

    name: str
    aliases: tuple[str, ...]
    component: str
    pieces: tuple[Piece, ...]


# A stretch of a receiver, read: the receiver's name, ns since 1970, the interval in s, its samples.
Stretch = tuple[str, int, float, np.ndarray]


@dataclass(frozen=True)
class Grid:
    """The times that all receivers are put on: the first in ns since 1970 (UTC), the interval in s, their number."""

    start: int
    interval: float
    size: int

    def position(self, start: int) -> float:
        """A time in samples of the grid."""
        return (start - self.start) * 1e-9 / self.interval

    def place(self, start: int) -> int:
        """The sample nearest to a time; the earlier one of two."""
        return math.ceil(self.position(start) - 0.5 - 1e-6)


def snap_interval(rate: float) -> float:
    """The interval (s) of a rate (Hz) that a file keeps in 32 bits: whole microseconds where it is meant to be."""
    micros = round(1e6 / rate)
    return micros * 1e-6 if micros and same_interval(1e6 / rate, micros) else 1 / rate


def common_grid(receivers: Sequence[Receiver], rate: float | None) -> Grid:
    """The grid from the first sample recorded to the last, at `rate` (Hz) or that of all receivers.

    Raises UserError for mixed rates without `rate`, and for files so far apart that hardly a sample would be recorded.
    """
    pieces = list({id(p): p for receiver in receivers for p in receiver.pieces}.values())
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise UserError(f"--resample={rate:g}: must be a rate above 0 Hz")
    interval = snap_interval(rate) if rate else _only_interval(receivers)
    start = min(piece.start for piece in pieces)
    if rate:
        end = max(piece.start + (piece.size - 1) * piece.interval * 1e9 for piece in pieces)
        size = math.floor((end - start) * 1e-9 / interval + 1e-6) + 1
    else:
        grid = Grid(start, interval, 1)
        size = max(grid.place(piece.start) + piece.size for piece in pieces)
    recorded = sum(piece.size * piece.interval for piece in pieces)
    if size > _LONG and recorded < _SPARSE * size * interval:
        first, last = (min(pieces, key=_start), max(pieces, key=_start))
        raise UserError(
            f"{first.source} and {last.source}: begin {iso(first.start)} and {iso(last.start)}, and hardly a sample "
            "between them is recorded; ingest them apart"
        )
    return Grid(start, interval, size)


def _start(piece: Piece) -> int:
    return piece.start


def _only_interval(receivers: Iterable[Receiver]) -> float:
    found: dict[float, str] = {}
    for receiver in receivers:
        for piece in receiver.pieces:
            known = piece.interval in found or any(same_interval(piece.interval, other) for other in found)
            if not known:
                found[piece.interval] = f"{receiver.name or 'a receiver'} of {piece.source}"
    if len(found) > 1:
        rates = ", ".join(f"{1 / interval:g} Hz ({where})" for interval, where in sorted(found.items()))
        raise UserError(f"sampling rates differ: {rates}; give --resample=HZ, or ingest them apart")
    return next(iter(found))


def iso(nanoseconds: int) -> str:
    """ns since 1970 as ISO 8601, UTC, to the microsecond, or the nanosecond where that is not 0."""
    seconds, rest = divmod(nanoseconds, 10**9)
    start = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{start.isoformat()}.{rest:09d}".removesuffix("000") + "Z"


def describe_receivers(name: str, receivers: Sequence[Receiver]) -> str:
    """Lines for people, one a receiver: rate, first and last sample, stretches, seconds missing between them."""
    lines = [f"{name}: {len(receivers)} receivers"]
    rates = set()
    for receiver in receivers:
        first, last = (pick(receiver.pieces, key=lambda p: p.start) for pick in (min, max))
        end = max(p.start + round((p.size - 1) * p.interval * 1e9) for p in receiver.pieces)
        rates |= {f"{1 / piece.interval:.9g}" for piece in receiver.pieces}
        stretches = f"{len(receiver.pieces)} stretch{'es'[: 2 * (len(receiver.pieces) > 1)]}"
        lines.append(
            f"  {receiver.name} {1 / last.interval:.9g} Hz, {iso(first.start)} to {iso(end)}, {stretches}, "
            f"{_missing(receiver):.3f} s missing"
        )
    if len(rates) > 1:
        lines.append(f"  rates of {', '.join(sorted(rates, key=float))} Hz: give --resample=HZ, or ingest them apart")
    return "\n".join(lines)


def _missing(receiver: Receiver) -> float:
    """Seconds between stretches in which nothing was recorded."""
    total, reached = 0.0, None
    for piece in sorted(receiver.pieces, key=lambda p: p.start):
        if reached is not None and piece.start - reached > 0.5e9 * piece.interval:
            total += (piece.start - reached) * 1e-9
        reached = max(reached or 0, piece.start + round(piece.size * piece.interval * 1e9))
    return total


def lay(stretches: Sequence[Stretch], grid: Grid, exact: bool) -> np.ndarray:
    """float32 samples of the grid from a receiver's stretches; NaN where nothing was recorded.

    Every stretch goes to its nearest samples; with `exact` it is resampled to the grid's own times. Where stretches
    overlap the one that began first stands.
    """
    row = np.full(grid.size, np.nan, np.float32)
    ordered = sorted(stretches, key=lambda stretch: stretch[1])
    if not exact:
        for _, start, _, values in ordered:
            _fill(row, grid.place(start), values)
        return row
    for start, interval, values in _runs(ordered):
        ratio, begin = grid.interval / interval, grid.position(start)
        first = max(math.ceil(begin - 0.5 / ratio), 0)
        stop = min(math.floor(begin + (len(values) - 0.5) / ratio) + 1, grid.size)
        positions = (np.arange(first, stop) - begin) * ratio
        positions = np.where(np.abs(positions - np.rint(positions)) < _SAME, np.rint(positions), positions)
        _fill(row, first, resample(values[None], positions, ratio)[0])
    return row


def _fill(row: np.ndarray, first: int, values: np.ndarray) -> None:
    """Write values from sample `first` on where the row has none."""
    values = values[max(-first, 0) : max(len(row) - first, 0)]
    part = row[max(first, 0) : max(first, 0) + len(values)]
    np.copyto(part, values, where=np.isnan(part), casting="unsafe")


def _runs(ordered: Sequence[Stretch]) -> Iterator[tuple[int, float, np.ndarray]]:
    """Stretches of one interval whose samples fall on one grid, joined, so that no seam is resampled as an end."""
    groups: list[list[tuple[int, Stretch]]] = []
    for stretch in ordered:
        for group in groups:
            _, (_, start, interval, _) = group[0]
            place = (stretch[1] - start) * 1e-9 / interval
            if same_interval(stretch[2], interval) and abs(place - round(place)) < _ALIGNED:
                group.append((round(place), stretch))
                break
        else:
            groups.append([(0, stretch)])
    for group in groups:
        _, (_, start, interval, _) = group[0]
        values = np.full(max(place + len(stretch[3]) for place, stretch in group), np.nan, np.float32)
        for place, stretch in group:
            _fill(values, place, stretch[3])
        yield start, interval, values


class RecordingReader:
    """Receivers as a survey of the axes receiver and time (ms from the first sample); formats supply `_read`.

    A sample that nobody recorded is NaN. `receiver_shift` (s; not there where it is 0 for all) is how far a receiver's
    samples were moved to the grid, later = above 0: at most half an interval. Its greatest where stretches differ.
    """

    dtype = np.dtype(np.float32)
    array_attributes: Mapping[str, Mapping[str, Any]] = {}

    def __init__(
        self,
        inputs: Sequence[str],
        receivers: Sequence[Receiver],
        attributes: dict[str, Any],
        *,
        stations: str = "",
        rate: float | None = None,
        band: Band | None = None,
    ):
        """`receivers` in their order, which `stations` (a table's path) may change; `rate`: Hz to be resampled to;
        `band`: what frequencies (Hz) are let through, afterwards."""
        self.name = inputs[0] if len(inputs) == 1 else f"{inputs[0]} and {len(inputs) - 1} more"
        table = read_stations(stations) if stations else None
        self._places = np.full((len(receivers), 3), np.nan)
        if table:
            receivers, self._places = _in_order_of(table, receivers)
        self.receivers, self._exact = list(receivers), rate is not None
        self.grid = common_grid(receivers, rate)
        if band:
            check_band(band, self.grid.interval)
        self._band = band
        interval = round(self.grid.interval * 1000, 9)  # ms
        times = np.round(np.arange(self.grid.size) * interval, 6)
        whole = np.array_equal(times, np.rint(times))
        self.axes = (
            Axis("receiver", np.arange(len(receivers), dtype=np.int32)),
            Axis("time", times.astype(np.int64) if whole else times, "ms"),
        )
        self.attributes: dict[str, Any] = {
            "kind": "recording",
            "start_time": iso(self.grid.start),
            "sampling_interval": interval,
            "receiver_names": [receiver.name for receiver in receivers],
            "receiver_components": [receiver.component for receiver in receivers],
            "source_files": [os.path.abspath(path) for path in inputs],
            **({"origin": table.origin} if table and table.origin else {}),
            **({"bandpass": list(band)} if band else {}),
            **attributes,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _read(self, source: str, receivers: Sequence[Receiver]) -> Iterator[Stretch]:
        """What the file `source` holds of some receivers."""
        raise NotImplementedError

    def _headers(self, rows: slice) -> dict[str, np.ndarray]:
        """Further numbers of some receivers."""
        del rows
        return {}

    def column(self, cells: Box) -> Column:
        """All samples of some receivers; one without a sample is dead."""
        (rows,) = cells.slices
        chosen = self.receivers[rows]
        found: dict[str, list[Stretch]] = {receiver.name: [] for receiver in chosen}
        for source in dict.fromkeys(piece.source for receiver in chosen for piece in receiver.pieces):
            for stretch in self._read(source, [r for r in chosen if any(p.source == source for p in r.pieces)]):
                found[stretch[0]].append(stretch)
        samples = np.empty((len(chosen), self.grid.size), np.float32)
        for row, receiver in zip(samples, chosen, strict=True):
            row[:] = lay(found.pop(receiver.name), self.grid, self._exact)
        if self._band:
            samples = bandpass(samples, self.grid.interval, self._band)
        headers = self._headers(rows)
        if np.isfinite(self._places).any():
            headers |= dict(zip(RECEIVER_PLACES, self._places[rows].T, strict=True))
        if not self._exact:
            headers["receiver_shift"] = np.array([self._shift(receiver) for receiver in chosen])
        return Column(samples, np.asarray(np.isfinite(samples).any(axis=1)), headers)

    def _shift(self, receiver: Receiver) -> float:
        moved = [self.grid.place(p.start) - self.grid.position(p.start) for p in receiver.pieces]
        return round(max(moved, key=abs) * self.grid.interval, 9)


def _in_order_of(table: Stations, receivers: Sequence[Receiver]) -> tuple[list[Receiver], np.ndarray]:
    """Receivers in a table's order (those of one row stay in theirs), and their places."""
    rows = table.rows([receiver.aliases for receiver in receivers])
    order = np.argsort(rows, kind="stable")
    return [receivers[i] for i in order], table.places[np.asarray(rows)[order]]
