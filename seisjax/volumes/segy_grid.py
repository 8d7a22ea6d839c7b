"""Where the traces of a SEG-Y survey lie: axes from header bytes.

Line numbers may rise in any step, lines and traces may be missing, several traces may share a cell, and traces may
start at different times. In memory are 8 bytes a trace (16 for a grid of three or four axes while it is made).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seisjax.conventions import VERTICAL_AXES, VERTICAL_UNITS
from seisjax.errors import UserError, nearest
from seisjax.geometry import Axis, Box, Shape
from seisjax.volumes.segy import HEADER_FIELDS, INTERVAL_BYTE, TraceList

# A grid with fewer traces than this share of its cells is taken for wrong header bytes.
LEAST_FILL = 0.05
DELAY, DELAY_SCALAR, TRACE_CODE, DEAD = 109, 215, 29, 2
COORDINATES = (73, 77, 81, 85, 181, 185)  # header bytes of x and y of source, receiver and midpoint
DUPLICATES = ("refuse", "first", "last", "mean")

_MOST_TRACES = 2**29  # cell and trace number must fit one 64-bit integer
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Grid:
    """The cells of a survey: `axes` end with the vertical one, which spans all traces, each from its own start on.

    A trace has `num_samples` samples `interval` apart; `own_vertical` is the axis that the traces themselves span.
    `keys` tells the traces of every cell: cell * num_traces + trace, rising, int64. `num_filled` cells hold a trace.
    `filled` are the header bytes, of those asked for, that are other than 0 somewhere.
    """

    axes: tuple[Axis, ...]
    own_vertical: Axis
    header_bytes: dict[str, int]
    interval: float
    num_samples: int
    num_traces: int
    keys: np.ndarray
    num_filled: int
    filled: frozenset[int] = frozenset()

    @property
    def shape(self) -> Shape:
        """Samples along every axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def num_shared(self) -> int:
        """Traces that share their cell with an earlier one."""
        return len(self.keys) - self.num_filled

    def traces(self, cells: Box) -> tuple[np.ndarray, np.ndarray]:
        """The traces above a box of cells in file order: the flat number of each one's cell in the box, its number."""
        rows = np.zeros(1, np.int64)  # first cell of every row of the box
        ends = [*cells.stop[:-1], cells.start[-1] + 1]
        for length, start, stop in zip(self.shape, cells.start, ends, strict=False):
            rows = (rows[:, None] * length + np.arange(start, stop)).ravel()
        begin = np.searchsorted(self.keys, rows * self.num_traces)
        end = np.searchsorted(self.keys, (rows + cells.shape[-1]) * self.num_traces)
        counts = end - begin
        at = np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        cell, trace = np.divmod(self.keys[at], self.num_traces)
        row = np.repeat(np.arange(len(rows)), counts)
        place = row * cells.shape[-1] + cell - rows[row]
        order = np.argsort(trace)
        return place[order], trace[order]

    def shifts(self, delays: np.ndarray, scalars: np.ndarray) -> np.ndarray:
        """First sample of traces on the vertical axis by bytes 109 and 215; -1 where they lie beside the axis."""
        away = (scaled(delays, scalars) - float(self.axes[-1].labels[0])) / self.interval
        shift = np.rint(away)
        inside = (np.abs(away - shift) < 1e-3) & (shift >= 0) & (shift + self.num_samples <= len(self.axes[-1]))
        return np.where(inside, shift, -1).astype(np.int64)


def parse_axes(text: str) -> dict[str, int]:
    """Header bytes of axes written `inline:189,crossline:193`, slowest first. Raises UserError."""
    axes: dict[str, int] = {}
    for part in filter(str.strip, text.split(",")):
        name, _, byte = (word.strip() for word in part.partition(":"))
        if not byte.isdecimal() or name in axes:
            raise UserError(f"--axes={text}: cannot read '{part.strip()}'; write name:header byte, e.g. inline:189")
        axes[name] = int(byte)
    return axes


def build_grid(
    traces: TraceList,
    header_bytes: Mapping[str, int],
    vertical: str = "time",
    *,
    duplicates: str = "refuse",
    interval: float | None = None,
    also: Sequence[int] = (),
    onto: Sequence[Axis] | None = None,
) -> Grid:
    """Lay traces out on the axes that `header_bytes` names, slowest first (name -> first byte, from 1).

    `also`: header bytes to tell of whether they are filled. `interval` overrules trace headers that contradict it.
    `onto`: lay them out on these axes; traces beside them are left out.
    Raises UserError: unknown bytes or names, a constant axis, traces that span no grid, two traces in one cell unless
    `duplicates` is other than "refuse", starts that lie on no common vertical axis.
    """
    check_axes(header_bytes, vertical, duplicates)
    seen = _Survey(traces, header_bytes, also, interval)
    own_vertical = _vertical_axis(traces, seen.starts(), vertical)
    if onto:
        axes = tuple(onto)
    else:
        lines = {name: progression(lowest, highest, step) for name, (lowest, highest, step) in seen.spans.items()}
        _check_lines(traces, header_bytes, lines)
        horizontal = (Axis(name, first + step * np.arange(count)) for name, (first, step, count) in lines.items())
        axes = tuple(Axis(axis.name, axis.labels.astype(np.int32)) for axis in horizontal)
        axes += (own_vertical,)
    keys = seen.keys(axes[:-1])
    changes = sum(int(np.count_nonzero(np.diff(cells))) for _, cells in _cells(keys, traces.num_traces))
    filled = frozenset(byte for byte in also if seen.filled[byte])
    sizes = traces.interval, traces.num_samples, traces.num_traces
    grid = Grid(axes, own_vertical, dict(header_bytes), *sizes, keys, changes + bool(len(keys)), filled)
    if grid.num_shared and duplicates == "refuse" and not onto:
        raise UserError(_shared(traces, grid))
    return grid


class _Survey:
    """One pass over the headers: the values on each axis, and what else the grid has to know."""

    def __init__(self, traces: TraceList, header_bytes: Mapping[str, int], also: Sequence[int], interval: float | None):
        if traces.num_traces > _MOST_TRACES:
            raise UserError(f"{traces.name}: {traces.num_traces} traces; at most {_MOST_TRACES}: ingest it in parts")
        self.header_bytes = header_bytes
        self._packed = [np.empty((traces.num_traces, 2), np.int32) for _ in range(-(-len(header_bytes) // 2))]
        self.spans: dict[str, tuple[int, int, int]] = {}
        self.filled = dict.fromkeys(also, False)
        self._starts: dict[bool, set[tuple[int, int]]] = {True: set(), False: set()}  # by whether a trace is dead
        fields = {*header_bytes.values(), *also, DELAY, DELAY_SCALAR, TRACE_CODE, INTERVAL_BYTE}
        for part, values in traces.blocks(sorted(fields)):
            if interval is None:
                _check_interval(traces, part.start, values[INTERVAL_BYTE])
            for number, (name, byte) in enumerate(header_bytes.items()):
                self._packed[number // 2][part, number % 2] = values[byte]
                self.spans[name] = _widened(self.spans.get(name), values[byte])
            for byte in also:
                self.filled[byte] |= bool(values[byte].any())
            starts = np.stack([values[TRACE_CODE] == DEAD, values[DELAY], values[DELAY_SCALAR]], axis=1)
            changes = starts[np.flatnonzero(np.any(np.diff(starts, axis=0, prepend=starts[:1] - 1), axis=1))]
            for dead, delay, scalar in np.unique(changes, axis=0).tolist():
                self._starts[bool(dead)].add((delay, scalar))

    def starts(self) -> np.ndarray:
        """Distinct starts of the traces that are not flagged dead (of all, where all are), rising."""
        delays, scalars = np.array(sorted(self._starts[False] or self._starts[True])).T
        return np.unique(scaled(delays, scalars))

    def keys(self, axes: Sequence[Axis]) -> np.ndarray:
        """`Grid.keys`, made in place of the first two axes' values; they cannot be had twice."""
        num_traces = len(self._packed[0])
        keys = self._packed[0].view(np.int64)[:, 0]
        for first in range(0, num_traces, _BLOCK):
            part = slice(first, min(first + _BLOCK, num_traces))
            cells, on_axes = np.zeros(part.stop - first, np.int64), np.ones(part.stop - first, bool)
            for number, axis in enumerate(axes):
                values = self._packed[number // 2][part, number % 2].astype(np.int64)
                place = np.minimum(np.searchsorted(axis.labels, values), len(axis) - 1)
                on_axes &= axis.labels[place] == values
                cells = cells * len(axis) + place
            keys[part] = np.where(on_axes, cells * num_traces + np.arange(first, part.stop), -1)
        del self._packed[1:]
        keys.sort()
        return keys[np.searchsorted(keys, 0) :]


def _check_interval(traces: TraceList, first: int, intervals: np.ndarray) -> None:
    wanted = round(traces.interval * 1000)
    other = np.flatnonzero((intervals != 0) & ((intervals & 0xFFFF) != wanted))
    if len(other):
        one = first + int(other[0])
        raise UserError(
            f"{traces.files[traces.file_of(one)].path}: its headers disagree, sampling interval "
            f"{(int(intervals[other[0]]) & 0xFFFF) / 1000:g} in trace {traces.describe(one)} (byte {INTERVAL_BYTE}), "
            f"{traces.interval:g} in the binary header (byte 3217); say which holds (--interval={traces.interval:g})"
        )


def _widened(span: tuple[int, int, int] | None, values: np.ndarray) -> tuple[int, int, int]:
    """Least and greatest value, and the greatest common divisor of all differences, of `span` and `values`."""
    lowest, highest, step = span or (int(values[0]), int(values[0]), 0)
    away = np.abs(values.astype(np.int64) - lowest)
    step = math.gcd(step, int(np.gcd.reduce(away)))
    return min(lowest, int(values.min())), max(highest, int(values.max())), step


def progression(lowest: int, highest: int, step: int) -> tuple[int, int, int]:
    """First, step and count of the shortest arithmetic progression; a step of 0 is that of a single value."""
    step = step or 1
    return lowest, step, (highest - lowest) // step + 1


def check_axes(header_bytes: Mapping[str, int], vertical: str, duplicates: str) -> None:
    """Raise UserError unless these can be axes."""
    if vertical not in VERTICAL_UNITS:
        raise UserError(f"--vertical={vertical}: unknown{nearest(vertical, VERTICAL_UNITS)}")
    if duplicates not in DUPLICATES:
        raise UserError(f"--duplicates={duplicates}: unknown{nearest(duplicates, DUPLICATES)}")
    if not header_bytes:
        raise UserError("--axes: names no axis; write name:header byte, e.g. inline:189,crossline:193")
    for name, byte in header_bytes.items():
        if byte not in HEADER_FIELDS:
            close = min(HEADER_FIELDS, key=lambda known: abs(known - byte))
            raise UserError(f"--axes {name}:{byte}: no trace header field starts at byte {byte} (nearest: {close})")
        if not name.isidentifier() or name in VERTICAL_AXES:
            raise UserError(f"--axes {name}:{byte}: '{name}' cannot name this axis; use letters, e.g. inline")
    if len(set(header_bytes.values())) < len(header_bytes):
        raise UserError("--axes: one header byte stands for two axes; name a byte for each")
    if len(header_bytes) > 4:
        raise UserError(f"--axes: {len(header_bytes)} axes; at most four header bytes make a grid")


def _check_lines(traces: TraceList, header_bytes: Mapping[str, int], lines: Mapping[str, tuple[int, int, int]]) -> None:
    """Raise UserError for a constant axis, and for more cells than the traces can be meant to fill."""
    for name, (first, _, count) in lines.items():
        byte = header_bytes[name]
        if count == 1 and traces.num_traces > 1:
            zero = "these coordinates are all zero; " if first == 0 and byte in COORDINATES else ""
            raise UserError(
                f"{traces.name}: --axes {name}:{byte} is {first} in all {traces.num_traces} traces; {zero}"
                "name a byte that varies, or leave the axis out (--scan proposes axes)"
            )
    size = math.prod(count for _, _, count in lines.values())
    if size > 1000 and size * LEAST_FILL > traces.num_traces:
        raise UserError(
            f"{traces.name}: {_spans(lines, header_bytes)} makes {size} cells for {traces.num_traces} traces, at most "
            f"{traces.num_traces / size:.1%} filled: {size - traces.num_traces} or more are missing"
            f"{_absent(traces, header_bytes, lines)}; these header bytes span no grid (--scan proposes axes)"
        )


def _absent(traces: TraceList, header_bytes: Mapping[str, int], lines: Mapping[str, tuple[int, int, int]]) -> str:
    """Which lines have no trace at all: `, inline 13, 14, 15 and 40 more`; looks at axes of up to a million lines."""
    present = {name: np.zeros(count, bool) for name, (_, _, count) in lines.items() if count <= 1_000_000}
    for _, values in traces.blocks([header_bytes[name] for name in present]) if present else ():
        for name, there in present.items():
            first, step, _ = lines[name]
            there[(values[header_bytes[name]].astype(np.int64) - first) // step] = True
    text = ""
    for name, there in present.items():
        first, step, _ = lines[name]
        text += f", {name} {listed(first + step * np.flatnonzero(~there))}" if not there.all() else ""
    return text


def listed(numbers: np.ndarray, most: int = 3) -> str:
    """The first few numbers and how many more there are."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most].tolist())) + more


def _spans(lines: Mapping[str, tuple[int, int, int]], header_bytes: Mapping[str, int]) -> str:
    return " x ".join(
        f"{name} (byte {header_bytes[name]}: {count} lines, {first} to {first + step * (count - 1)})"
        for name, (first, step, count) in lines.items()
    )


def _cells(keys: np.ndarray, num_traces: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cell numbers of the keys, block by block; each begins with the last of the one before."""
    for first in range(0, len(keys), _BLOCK):
        begin = max(first - 1, 0)
        yield begin, keys[begin : first + _BLOCK] // num_traces


def where(grid: Grid, cell: int) -> str:
    """A cell in coordinate labels: `inline 2, crossline 6`."""
    place = np.unravel_index(cell, grid.shape[:-1])
    return ", ".join(f"{axis.name} {axis.labels[i]}" for axis, i in zip(grid.axes, place, strict=False))


def _shared(traces: TraceList, grid: Grid) -> str:
    """What is said of several traces in one cell."""
    same = (begin + np.flatnonzero(np.diff(cells) == 0) for begin, cells in _cells(grid.keys, grid.num_traces))
    at = int(next(found for found in same if len(found))[0])
    cell, first = divmod(int(grid.keys[at]), grid.num_traces)
    second = int(grid.keys[at + 1]) % grid.num_traces
    size = math.prod(grid.shape[:-1])
    both = f"traces {traces.describe(first)} and {traces.describe(second)} are both {where(grid, cell)}"
    one, other = traces.file_of(first), traces.file_of(second)
    count = f"{grid.num_traces} traces lie in {grid.num_filled} of {size} cells"
    if one != other:
        return (
            f"{traces.files[one].path} and {traces.files[other].path} overlap: {count}; {both}; "
            "leave one file out, or choose with --duplicates=first|last|mean"
        )
    spans = " x ".join(f"{axis} (byte {grid.header_bytes[axis.name]})" for axis in grid.axes[:-1])
    return (
        f"{traces.files[one].path}: {count}, {spans}; {both}: wrong header bytes or not stacked (--scan proposes "
        "axes), or duplicates (--duplicates=first|last|mean)"
    )


def _vertical_axis(traces: TraceList, starts: np.ndarray, vertical: str) -> Axis:
    """Time in ms or depth in m: from the earliest start (byte 109) to the last sample, in steps of the interval."""
    interval = traces.interval
    away = (starts - starts[0]) / interval
    odd = np.flatnonzero(np.abs(away - np.rint(away)) >= 1e-3)
    if len(odd):
        raise UserError(
            f"{traces.name}: traces start at {starts[0]:g} and at {starts[odd[0]]:g} {VERTICAL_UNITS[vertical]} "
            f"(byte 109), no whole number of sampling intervals ({interval:g}) apart; resample them to one grid first"
        )
    count = traces.num_samples + round(float(away[-1]))
    if traces.num_samples < LEAST_FILL * count:
        raise UserError(
            f"{traces.name}: traces of {traces.num_samples} samples start at {starts[0]:g} to {starts[-1]:g} "
            f"{VERTICAL_UNITS[vertical]} (byte 109), which makes an axis of {count} samples; mend the delays"
        )
    labels = np.round(starts[0] + np.arange(count) * interval, 9)  # 9.9, as one writes it, not 9.899999999999999
    whole = np.array_equal(labels, np.round(labels))
    unit = (traces.files[0].length_unit if vertical == "depth" else "") or VERTICAL_UNITS[vertical]
    return Axis(vertical, labels.astype(np.int32) if whole else labels, unit)


def scaled(values: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    """Header values times their SEG-Y scalar, float64: negative scalars divide, 0 is 1."""
    scalars = np.asarray(scalars, np.float64)
    factors = np.where(scalars < 0, -1 / np.where(scalars == 0, 1, scalars), np.where(scalars == 0, 1, scalars))
    return values * factors
