"""Where the traces of a SEG-Y file lie: axes from header bytes.

Line numbers may rise in any step, lines and traces may be missing; what has no trace is masked in the volume.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seisjax.conventions import VERTICAL_AXES
from seisjax.errors import UserError, nearest
from seisjax.geometry import Axis, Shape
from seisjax.volumes.segy import HEADER_FIELDS, SegyReader

# A grid with fewer traces than this share of its cells is taken for wrong header bytes.
LEAST_FILL = 0.05
_UNITS = {"time": "ms", "depth": "m"}
_DELAY, _DELAY_SCALAR, _TRACE_CODE, _DEAD = 109, 215, 29, 2


@dataclass(frozen=True)
class Grid:
    """The cells of a survey: `axes` end with the vertical one; `trace` holds each cell's trace number, -1 for none."""

    axes: tuple[Axis, ...]
    header_bytes: dict[str, int]
    trace: np.ndarray

    @property
    def shape(self) -> Shape:
        """Samples along every axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def mask(self) -> np.ndarray:
        """Which cells hold a trace."""
        return self.trace >= 0


def parse_axes(text: str) -> dict[str, int]:
    """Header bytes of axes written `inline:189,crossline:193`, slowest first. Raises UserError."""
    axes: dict[str, int] = {}
    for part in filter(str.strip, text.split(",")):
        name, _, byte = (word.strip() for word in part.partition(":"))
        if not byte.isdecimal() or name in axes:
            raise UserError(f"--axes={text}: cannot read '{part.strip()}'; write name:header byte, e.g. inline:189")
        axes[name] = int(byte)
    return axes


def build_grid(reader: SegyReader, header_bytes: Mapping[str, int], vertical: str = "time") -> Grid:
    """Lay the file's traces out on the axes that `header_bytes` names, slowest first (name -> first byte, from 1).

    Raises UserError: unknown bytes or names, a constant axis, two traces in one cell, traces that span no grid.
    """
    path = reader.file.path
    _check_axes(header_bytes, vertical)
    values = reader.headers([*header_bytes.values(), _DELAY])
    lines = {name: progression(values[byte]) for name, byte in header_bytes.items()}
    for name, (first, _, count) in lines.items():
        if count == 1 and reader.file.num_traces > 1:
            raise UserError(
                f"{path}: --axes {name}:{header_bytes[name]} is {first} in all {reader.file.num_traces} traces; "
                "name a byte that varies, or leave the axis out (--scan proposes axes)"
            )
    size = math.prod(count for _, _, count in lines.values())
    if size > 1000 and size * LEAST_FILL > reader.file.num_traces:
        raise UserError(
            f"{path}: {_spans(lines, header_bytes)} makes {size} cells for {reader.file.num_traces} traces, at most "
            f"{reader.file.num_traces / size:.1%} filled; these header bytes span no grid (--scan proposes axes)"
        )
    cells = np.zeros(reader.file.num_traces, np.int64)
    for name, (first, step, count) in lines.items():
        cells = cells * count + (values[header_bytes[name]].astype(np.int64) - first) // step
    axes = [Axis(name, first + step * np.arange(count, dtype=np.int32)) for name, (first, step, count) in lines.items()]
    trace = _place(path, _spans(lines, header_bytes), axes, cells)
    return Grid((*axes, _vertical_axis(reader, values[_DELAY], vertical)), dict(header_bytes), trace)


def check_same_grid(grid: Grid, other: Grid, path: str) -> None:
    """Raise UserError unless `other`, read from `path`, has the axes of `grid`."""
    for axis, found in zip(grid.axes, other.axes, strict=True):
        same_length = len(axis) == len(found)
        if not same_length or not np.allclose(axis.labels, found.labels, rtol=0, atol=1e-3):
            raise UserError(
                f"{path}: {found} ({len(found)}) where the survey has {axis} ({len(axis)}); "
                "labels must lie on the survey's own grid"
            )


def _check_axes(header_bytes: Mapping[str, int], vertical: str) -> None:
    if vertical not in _UNITS:
        raise UserError(f"--vertical={vertical}: unknown{nearest(vertical, _UNITS)}")
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


def progression(values: np.ndarray) -> tuple[int, int, int]:
    """First, step and count of the shortest arithmetic progression that holds all values."""
    unique = np.unique(values).astype(np.int64)
    step = int(np.gcd.reduce(np.diff(unique))) if len(unique) > 1 else 1
    return int(unique[0]), step, int(unique[-1] - unique[0]) // step + 1


def _spans(lines: Mapping[str, tuple[int, int, int]], header_bytes: Mapping[str, int]) -> str:
    return " x ".join(
        f"{name} (byte {header_bytes[name]}: {count} lines, {first} to {first + step * (count - 1)})"
        for name, (first, step, count) in lines.items()
    )


def _place(path: Path, spans: str, axes: list[Axis], cells: np.ndarray) -> np.ndarray:
    """Trace number of every cell of the grid."""
    shape, number = tuple(len(axis) for axis in axes), np.arange(len(cells))
    trace = np.full(math.prod(shape), -1, np.int64)
    trace[cells] = number
    shared = np.flatnonzero(trace[cells] != number)
    if len(shared):
        one = int(shared[0])
        place = np.unravel_index(cells[one], shape)
        where = ", ".join(f"{axis.name} {axis.labels[i]}" for axis, i in zip(axes, place, strict=True))
        raise UserError(
            f"{path}: {len(cells)} traces lie in {len(cells) - len(shared)} of {len(trace)} cells, {spans}; traces "
            f"{one + 1} and {trace[cells[one]] + 1} are both {where}: wrong header bytes, duplicates, or not stacked "
            "(--scan proposes axes)"
        )
    return trace.reshape(shape)


def _vertical_axis(reader: SegyReader, delays: np.ndarray, vertical: str) -> Axis:
    """Time in ms or depth in m: from the delay (byte 109) on, in steps of the sampling interval."""
    if delays.min() != delays.max():
        delays = delays[reader.headers([_TRACE_CODE])[_TRACE_CODE] != _DEAD]
    if not len(delays) or delays.min() != delays.max():
        raise UserError(
            f"{reader.file.path}: traces start at different times (byte 109: {delays.min(initial=0)} to "
            f"{delays.max(initial=0)}); shift them to one start first"
        )
    scalar = int(reader.header(_DELAY_SCALAR, np.array([0]))[0])
    labels = scaled(delays[:1], np.array([scalar])) + np.arange(reader.file.num_samples) * reader.file.interval
    whole = np.array_equal(labels, np.round(labels))
    return Axis(vertical, labels.astype(np.int32) if whole else labels, _UNITS[vertical])


def scaled(values: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    """Header values times their SEG-Y scalar, float64: negative scalars divide, 0 is 1."""
    scalars = scalars.astype(np.float64)
    factors = np.where(scalars < 0, -1 / np.where(scalars == 0, 1, scalars), np.where(scalars == 0, 1, scalars))
    return values * factors
