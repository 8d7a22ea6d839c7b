"""Which header bytes of a SEG-Y file hold its line numbers: a scan that proposes axes."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from seisjax.errors import UserError
from seisjax.geometry import Axis
from seisjax.volumes.segy import HEADER_FIELDS, SegyReader
from seisjax.volumes.segy_grid import LEAST_FILL, build_grid, progression

_SCAN_TRACES = 200_000  # at most so many traces are scanned
# Header bytes that are axes by standard or by habit, the likelier first; others are called by their byte.
_HABITS = (
    {"inline": 189, "crossline": 193},
    {"inline": 9, "crossline": 21},
    {"ffid": 9, "channel": 13},
    {"cdp": 21, "trace": 25},
    {"cdp": 21},
    {"shot": 17, "channel": 13},
)


@dataclass(frozen=True)
class Field:
    """A header field that varies: its first byte, segyio's name, least and greatest value, step, distinct values."""

    byte: int
    name: str
    first: int
    last: int
    step: int
    distinct: int


@dataclass(frozen=True)
class Proposal:
    """Axes that lay out every trace, and the share of cells they fill."""

    header_bytes: dict[str, int]
    fill: float

    def __str__(self) -> str:
        return "--axes=" + ",".join(f"{name}:{byte}" for name, byte in self.header_bytes.items())


def scan(reader: SegyReader) -> tuple[list[Field], list[Proposal]]:
    """The header fields that vary, and axes that span a grid, the best first (looks at the first 200,000 traces)."""
    values = {byte: v for byte, v in reader.headers(list(HEADER_FIELDS), _SCAN_TRACES).items() if v.min() != v.max()}
    fields, places, counts = [], {}, {}
    for byte, v in values.items():
        first, step, counts[byte] = progression(v)
        places[byte] = (v.astype(np.int64) - first) // step
        fields.append(Field(byte, HEADER_FIELDS[byte], first, int(v.max()), step, len(np.unique(v))))

    traces = min(reader.file.num_traces, _SCAN_TRACES)
    repeated = [field.byte for field in fields if field.distinct < traces]  # others tell traces apart on their own
    proposals = []
    for pair in itertools.chain(((byte,) for byte in values), itertools.combinations(repeated, 2)):
        size = math.prod(counts[byte] for byte in pair)
        if not traces <= size <= traces / LEAST_FILL:
            continue
        cells = np.ravel_multi_index([places[byte] for byte in pair], [counts[byte] for byte in pair])
        if np.bincount(cells, minlength=1).max() == 1:
            slowest_first = sorted(pair, key=lambda byte: np.count_nonzero(np.diff(values[byte])))
            proposals.append(Proposal(_named(slowest_first), traces / size))
    return fields, sorted(proposals, key=_rank)


def _named(pair: list[int]) -> dict[str, int]:
    names = next((habit for habit in _HABITS if set(habit.values()) == set(pair)), {})
    names = {byte: name for name, byte in names.items()}
    return {names.get(byte, f"byte_{byte}"): byte for byte in pair}


def _rank(proposal: Proposal) -> tuple:
    """The standard's inline and crossline first, then other habitual axes by how full their grid is, then the rest."""
    habits = [set(habit.values()) for habit in _HABITS]
    pair = set(proposal.header_bytes.values())
    habit = habits.index(pair) if pair in habits else len(habits)
    return habit > 0, habit == len(habits), -round(proposal.fill, 2), habit, -len(pair), -sum(pair)


def describe_scan(path: str) -> str:
    """What `--scan` prints: the file, the header fields that vary, axes that span a grid, the geometry of the first.

    Raises what `check_segy` raises.
    """
    with SegyReader(path) as reader:
        fields, proposals = scan(reader)
        lines = [str(reader.file), "", "header fields that vary (byte, name, values, step, distinct values):"]
        lines += [f"{f.byte:6d}  {f.name:36s} {f.first} to {f.last}, step {f.step}, {f.distinct}" for f in fields]
        lines += ["", "axes that span a grid, the likeliest first:" if proposals else "no two fields span a grid"]
        lines += [f"  {proposal}  ({proposal.fill:.1%} of the cells hold a trace)" for proposal in proposals[:5]]
        if proposals and reader.file.num_traces <= _SCAN_TRACES:
            lines += ["", f"with {proposals[0]}:", *_geometry(reader, proposals[0])]
    return "\n".join(lines)


def _geometry(reader: SegyReader, proposal: Proposal) -> list[str]:
    try:
        axes = build_grid(reader, proposal.header_bytes).axes
    except UserError as error:  # the report goes on: this is what has to be mended
        return [f"  {error}"]
    return [f"  {axis}{axis.unit and ' ' + axis.unit}, {len(axis)} in steps of {_step(axis):g}" for axis in axes]


def _step(axis: Axis) -> float:
    return float(axis.labels[1] - axis.labels[0]) if len(axis) > 1 else 0.0
