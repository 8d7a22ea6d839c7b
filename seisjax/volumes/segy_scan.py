"""Which header bytes of a SEG-Y survey hold its line numbers: a scan that proposes axes and says why."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from seisjax.conventions import VERTICAL_UNITS
from seisjax.errors import UserError
from seisjax.geometry import Axis
from seisjax.volumes.segy import HEADER_FIELDS, TraceList, text_header
from seisjax.volumes.segy_grid import (
    DEAD,
    DELAY,
    DELAY_SCALAR,
    LEAST_FILL,
    TRACE_CODE,
    Grid,
    build_grid,
    listed,
    scaled,
)

_SCAN_TRACES = 200_000  # at most so many traces are searched for axes
_FEW_TRACES = 5000  # enough to see that most pairs of fields do not tell traces apart
_FEW_DUPLICATES = 0.1  # of the traces; more are taken for gathers
_SAMPLE_TRACES = 64  # traces whose samples are looked at
_NAMES = {9: "ffid", 13: "channel", 17: "shot", 21: "cdp", 25: "trace", 37: "offset", 189: "inline", 193: "crossline"}
# Header bytes that are axes by standard or by habit, the likelier first; the first few are a stack or its gathers.
_HABITS = (
    {"inline": 189, "crossline": 193},
    {"inline": 189, "crossline": 193, "offset": 37},
    {"inline": 189, "crossline": 193, "trace": 25},
    {"inline": 9, "crossline": 21},
    {"ffid": 9, "channel": 13},
    {"shot": 17, "channel": 13},
    {"cdp": 21, "offset": 37},
    {"cdp": 21, "trace": 25},
    {"cdp": 21},
)
_NUM_STANDARD = 3
_COORDINATES = {"cdp_x, cdp_y": (181, 185), "source x, y": (73, 77), "receiver x, y": (81, 85)}
_COORDINATE_SCALAR = 71


@dataclass(frozen=True)
class Field:
    """A header field that varies: its first byte, segyio's name, least and greatest value, step, distinct values."""

    byte: int
    name: str
    first: int
    last: int
    step: int
    distinct: int

    @property
    def count(self) -> int:
        """Steps from the first to the last value, both included."""
        return (self.last - self.first) // self.step + 1


@dataclass(frozen=True)
class Proposal:
    """Axes that lay out the traces, slowest first: what they span, `shared` traces in cells that hold one already."""

    header_bytes: dict[str, int]
    fields: tuple[Field, ...] = field(repr=False)
    num_traces: int
    shared: int

    def __str__(self) -> str:
        return "--axes=" + ",".join(f"{name}:{byte}" for name, byte in self.header_bytes.items())

    @property
    def size(self) -> int:
        """Cells."""
        return math.prod(one.count for one in self.fields)

    @property
    def fill(self) -> float:
        """The share of cells that hold a trace."""
        return (self.num_traces - self.shared) / self.size

    @property
    def reasons(self) -> str:
        """In words: which changes how fast, what they span, how many cells are filled."""
        pace = [""] if len(self.fields) == 1 else [" changes slowest,", *[""] * (len(self.fields) - 2), " fastest,"]
        text = ""
        for name, one, how in zip(self.header_bytes, self.fields, pace, strict=True):
            absent = f" ({one.count - one.distinct} between them absent)" if one.count > one.distinct else ""
            text += f"{name}:{one.byte}{how} {one.distinct} values {one.first} to {one.last} step {one.step}{absent}; "
        text += f"{self.num_traces - self.shared} of {self.size} cells filled"
        return text + (f", {self.shared} traces share a cell with another" if self.shared else "")


def scan(traces: TraceList) -> tuple[list[Field], list[Proposal]]:
    """The header fields that vary, and axes that span a grid, the best first (looks at the first 200,000 traces)."""
    values, fields = _varying(traces), {}
    places: dict[int, np.ndarray] = {}
    for byte, v in values.items():
        distinct = np.unique(v).astype(np.int64)
        step = int(np.gcd.reduce(np.diff(distinct)))
        places[byte] = (v.astype(np.int64) - distinct[0]) // step
        fields[byte] = Field(byte, HEADER_FIELDS[byte], int(distinct[0]), int(distinct[-1]), step, len(distinct))
    num_traces = min(traces.num_traces, _SCAN_TRACES)
    proposals = []
    for chosen, is_habit in _candidates(fields, num_traces):
        shape = [fields[byte].count for byte in chosen]
        size = math.prod(shape)
        if size > max(num_traces / LEAST_FILL, 1000) or (size < num_traces and not is_habit):
            continue
        few = np.ravel_multi_index([places[byte][:_FEW_TRACES] for byte in chosen], shape)
        if not is_habit and len(np.unique(few)) < len(few):
            continue
        cells = np.ravel_multi_index([places[byte] for byte in chosen], shape)
        shared = num_traces - int(np.count_nonzero(np.bincount(cells)))
        if shared and not is_habit:
            continue
        slowest_first = sorted(chosen, key=lambda byte: np.count_nonzero(np.diff(values[byte])))
        spans = tuple(fields[byte] for byte in slowest_first)
        proposals.append(Proposal(_named(slowest_first), spans, num_traces, shared))
    return list(fields.values()), sorted(proposals, key=_rank)


def _varying(traces: TraceList) -> dict[int, np.ndarray]:
    stop = min(traces.num_traces, _SCAN_TRACES)
    values = {byte: np.empty(stop, np.int32) for byte in HEADER_FIELDS}
    for part, block in traces.blocks(list(HEADER_FIELDS), stop):
        for byte in values:
            values[byte][part] = block[byte]
    return {byte: v for byte, v in values.items() if v.min() != v.max()}


def _candidates(fields: Mapping[int, Field], num_traces: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Header bytes that may be axes together, and whether they are so by habit."""
    habits = [tuple(habit.values()) for habit in _HABITS if set(habit.values()) <= set(fields)]
    yield from ((habit, True) for habit in habits)
    repeated = [byte for byte, one in fields.items() if one.distinct < num_traces]  # others tell traces apart alone
    known = [set(habit) for habit in habits]
    for chosen in itertools.chain(((byte,) for byte in fields), itertools.combinations(repeated, 2)):
        if set(chosen) not in known:
            yield chosen, False


def _named(chosen: Sequence[int]) -> dict[str, int]:
    habit = next((habit for habit in _HABITS if set(habit.values()) == set(chosen)), {})
    names = _NAMES | {byte: name for name, byte in habit.items()}
    return {names.get(byte, f"byte_{byte}"): byte for byte in chosen}


def _rank(proposal: Proposal) -> tuple:
    """The standard's inline and crossline first, then other habitual axes by how full their grid is, then the rest;
    what leaves many traces in one cell comes last."""
    habits = [set(habit.values()) for habit in _HABITS]
    chosen = set(proposal.header_bytes.values())
    habit = habits.index(chosen) if chosen in habits else len(habits)
    many = proposal.shared > _FEW_DUPLICATES * proposal.num_traces
    fullness = (-round(proposal.fill, 2), habit) if habit >= _NUM_STANDARD else (0, habit)
    return many, habit >= _NUM_STANDARD, habit == len(habits), *fullness, -len(chosen), -sum(chosen)


def describe_proposal(traces: TraceList, refused: Mapping[str, int]) -> str:
    """The best axes and why, in one line; "" where nothing spans a grid but those that were `refused`."""
    _, proposals = scan(traces)
    if not proposals or proposals[0].header_bytes == refused:
        return ""
    best = proposals[0]
    return f"the scan proposes {best}{_duplicates_flag(best.shared)} ({best.reasons})"


def describe_scan(paths: str | Sequence[str], vertical: str = "time", interval: float | None = None) -> str:
    """What `--scan` prints: the files, the header fields that vary, axes that span a grid and why, the geometry that
    the first gives, what else there is to know, and the flags to ingest with.

    Raises what `check_segy` raises.
    """
    with TraceList([paths] if isinstance(paths, str) else paths, interval) as traces:
        fields, proposals = scan(traces)
        lines = [str(file) + "".join(f"\n  {note}" for note in file.notes) for file in traces.files]
        lines += ["", "header fields that vary (byte, name, values, step, distinct values):"]
        lines += [f"{f.byte:6d}  {f.name:36s} {f.first} to {f.last}, step {f.step}, {f.distinct}" for f in fields]
        lines += ["", "axes that span a grid, the likeliest first:" if proposals else "no two fields span a grid"]
        for proposal in proposals[:5]:
            lines += [f"  {proposal}", f"      {proposal.reasons}"]
        if proposals:
            lines += ["", f"with {proposals[0]}:", *_geometry(traces, proposals[0], vertical, interval)]
        lines += ["", *_headers(traces, VERTICAL_UNITS[vertical]), *_samples(traces)]
        depths = [line for line in text_header(traces.files[0]).splitlines() if "DEPTH" in line and "TIME" not in line]
        if depths and vertical == "time":
            lines.append(
                f'the text header speaks of depth ("{" ".join(depths[0].split())}"): --vertical=depth if it is'
            )
        if proposals:
            shared = _duplicates_flag(proposals[0].shared)
            step = f" --interval={interval:g}" if interval else ""
            lines += ["", f"to ingest: {proposals[0]} --vertical={vertical}{shared}{step}"]
    return "\n".join(lines)


def _duplicates_flag(shared: int) -> str:
    return " --duplicates=first|last|mean" if shared else ""


def _geometry(traces: TraceList, proposal: Proposal, vertical: str, interval: float | None) -> list[str]:
    try:
        grid = build_grid(traces, proposal.header_bytes, vertical, duplicates="first", interval=interval)
    except UserError as error:  # the report goes on: this is what has to be mended
        return [f"  {error}"]
    lines = [f"  {axis}{axis.unit and ' ' + axis.unit}, {len(axis)} in steps of {_step(axis):g}" for axis in grid.axes]
    size = math.prod(grid.shape[:-1])
    lines.append(f"  {grid.num_filled} of {size} cells hold a trace ({grid.num_filled / size:.1%})")
    if grid.num_filled < size:
        lines += [f"  {line}" for line in _gaps(grid)]
    if grid.num_shared:
        lines.append(f"  {grid.num_shared} traces share a cell with an earlier one:{_duplicates_flag(grid.num_shared)}")
    return lines


def _gaps(grid: Grid) -> Iterator[str]:
    """Lines of each axis without any trace."""
    absent = [np.ones(length, bool) for length in grid.shape[:-1]]
    for first in range(0, len(grid.keys), 1 << 20):
        cells = np.unravel_index(grid.keys[first : first + (1 << 20)] // grid.num_traces, grid.shape[:-1])
        for lines, place in zip(absent, cells, strict=True):
            lines[place] = False
    for axis, lines in zip(grid.axes, absent, strict=False):
        if lines.any():
            yield f"no trace at all on {np.count_nonzero(lines)} of {axis}: {listed(axis.labels[lines])}"


def _headers(traces: TraceList, unit: str) -> Iterator[str]:
    """Delay, coordinates and their scalar, dead traces: over the whole survey."""
    bytes_read = [TRACE_CODE, DELAY, DELAY_SCALAR, _COORDINATE_SCALAR, *itertools.chain(*_COORDINATES.values())]
    scalars: set[int] = set()
    low, high = dict.fromkeys(bytes_read, math.inf), dict.fromkeys(bytes_read, -math.inf)
    dead = 0
    for _, values in traces.blocks(bytes_read):
        scalar = values[_COORDINATE_SCALAR]
        scalars |= set(np.unique(scalar).tolist())
        dead += int(np.count_nonzero(values[TRACE_CODE] == DEAD))
        for byte in (DELAY, *itertools.chain(*_COORDINATES.values())):
            real = scaled(values[byte], values[DELAY_SCALAR] if byte == DELAY else scalar)
            low[byte], high[byte] = min(low[byte], real.min()), max(high[byte], real.max())
    one = low[DELAY] == high[DELAY]
    yield f"start of the traces (byte 109): {low[DELAY]:g} {'' if one else f'to {high[DELAY]:g} '}{unit}" + (
        "" if one else ", differing: one axis holds them all"
    )
    yield f"traces flagged dead (byte 29 = 2): {dead}"
    yield f"coordinate scalar (byte 71): {', '.join(map(str, sorted(scalars)[:5]))}"
    for name, (x, y) in _COORDINATES.items():
        if not any((low[x], high[x], low[y], high[y])):
            yield f"{name} (bytes {x}, {y}): all zero" + (", so no map of the survey" if x == 181 else "")
        else:
            yield f"{name} (bytes {x}, {y}): {low[x]:.8g} to {high[x]:.8g}, {low[y]:.8g} to {high[y]:.8g}"


def _samples(traces: TraceList) -> list[str]:
    """Range of the samples of a few traces, evenly spread."""
    chosen = np.unique(np.linspace(0, traces.num_traces - 1, _SAMPLE_TRACES).astype(np.int64))
    values = np.concatenate([values.ravel() for _, values in traces.traces(chosen)])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [f"samples of {len(chosen)} traces: none is a number"]
    return [
        f"samples of {len(chosen)} traces ({traces.dtype}): {finite.min():g} to {finite.max():g}, "
        f"{np.mean(values == 0):.1%} zero, {len(values) - len(finite)} not finite"
    ]


def _step(axis: Axis) -> float:
    return float(axis.labels[1] - axis.labels[0]) if len(axis) > 1 else 0.0
