"""Interpretation as text: CSV with a header, and Charisma files, which Petrel writes and reads and OpendTect imports.

A line is a point: of Charisma 3D interpretation lines (horizons) `INLINE : 1001 XLINE : 2001 x y z`, of Charisma fault
sticks `INLINE- 1001 2001 x y z name stick`. Numbers are parted by blanks; nothing says their units.
"""

import csv
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seisjax.conventions import AXIS_ALIASES
from seisjax.errors import UserError, nearest

# Columns of CSV, beside those of the place and of z, by what the file holds: those it must have, and those it may.
TEXT_COLUMNS = {"horizon": ((), ()), "fault": (("stick",), ("fault",)), "polygon": (("polygon", "class"), ())}
UNITS = {"time": {"us": 1e-3, "ms": 1.0, "s": 1e3}, "depth": {"m": 1.0, "km": 1e3, "ft": 0.3048}}
_ALIASES = AXIS_ALIASES | {"cdp_x": "x", "cdp_y": "y"}
_VERTICAL = re.compile(r"(time|depth|z)(?:_([a-z]+))?")
_UNDEFINED = 1e29  # OpendTect writes 1e30 where there is no pick
_COMMENTS = ("#", "!")

_LINE = r"\s*[:=-]*\s*([^\s:=-]\S*)\s+"
_XYZ = r"(\S+)\s+(\S+)\s+(\S+)"
_CHARISMA = {
    "horizon": re.compile(rf"INLINE{_LINE}(?:XLINE|CROSSLINE){_LINE}{_XYZ}(?:\s.*)?", re.I),
    "fault": re.compile(rf"INLINE{_LINE}(?:(?:XLINE|CROSSLINE){_LINE}|(?!X|C)(\S+)\s+){_XYZ}\s+(\S.*?)\s+(\d+)", re.I),
}
_FORMS = {
    "horizon": "INLINE : 1001 XLINE : 2001 x y z (Charisma 3D interpretation lines)",
    "fault": "INLINE- 1001 2001 x y z name stick (Charisma fault sticks)",
}


@dataclass(frozen=True, eq=False)
class Points:
    """The points of a file, in its order."""

    path: str
    lines: np.ndarray | None  # (point, 2) float64: inline and crossline numbers, where the file has them
    xy: np.ndarray | None  # (point, 2) float64: map coordinates, where the file has them
    z: np.ndarray  # (point,) float64
    unit: str  # of z, "" where the file does not say
    row: np.ndarray  # (point,) int64: line of the file, from 1
    text: dict[str, list[str]] = field(default_factory=dict)  # other columns: fault, stick, polygon, class
    rounded: bool = False  # x and y say more than the line numbers: those of Charisma fault sticks are whole

    def __len__(self) -> int:
        return len(self.z)

    def at(self, i: int) -> str:
        """What messages call a point."""
        return f"{self.path}, line {self.row[i]}"


Split = Callable[[str], tuple[list[float], list[str]]]


def read_points(path: str | Path, kind: str, vertical: str) -> Points:
    """The points of a `kind` ("horizon", "fault" or "polygon") in a file of a survey in `vertical` ("time" or "depth").

    CSV is told by the commas of its first line. Lines that begin with # or ! are comments; points without z (empty,
    nan, 1e30) are left out. Raises UserError, with the line, for what is no such file, and for one without points.
    """
    rows = _rows(str(path))
    first = next(rows, None)
    if first is None:
        raise UserError(f"{path}: is empty; give a file of {kind} points")
    number, text = first
    if "," in text:
        columns = _Columns.of(f"{path}, line {number}", _cells(text), kind, vertical)
        return _collect(str(path), rows, columns.split, columns)
    if text.count(";") > 1:  # where a decimal is written with a comma
        raise UserError(f"{path}, line {number}: columns are parted by ';'; part them by commas, decimals by points")
    if kind not in _CHARISMA:
        raise UserError(f"{path}, line {number}: is no CSV header; name the columns of {kind} points, commas between")

    def split(text: str) -> tuple[list[float], list[str]]:
        match = _CHARISMA[kind].fullmatch(text)
        if match is None:
            raise ValueError(f"is not {_FORMS[kind]}; give such a file, or CSV with a header")
        found = [group for group in match.groups() if group is not None]
        return [_number(cell) for cell in found[:5]], found[5:]

    texts = ["fault", "stick"] if kind == "fault" else []
    columns = _Columns([0, 1], [2, 3], 4, "", texts, [])
    return _collect(str(path), _and(first, rows), split, columns, rounded=kind == "fault")


@dataclass(frozen=True)
class _Columns:
    """Which of a line's numbers are what: places in the list that `split` gives; `names` and `cells` of its texts."""

    lines: list[int]
    xy: list[int]
    z: int
    unit: str
    names: list[str]
    cells: list[int]  # of CSV: the columns of the numbers, then those of the texts
    count: int = 0  # of CSV: columns

    @classmethod
    def of(cls, where: str, header: Sequence[str], kind: str, vertical: str) -> "_Columns":
        """The columns of a CSV header. Raises UserError for one that lacks something."""
        names = [_ALIASES.get(name, name) for name in (cell.lower() for cell in header)]
        has = f"it has {', '.join(header)}"
        places = [[names.index(n) for n in pair] if set(pair) <= set(names) else [] for pair in _PLACES]
        if not any(places):
            raise UserError(f"{where}: no columns inline and crossline, nor x and y; {has}")
        matches = {i: match for i, name in enumerate(names) if (match := _VERTICAL.fullmatch(name))}
        fitting = [i for i, match in matches.items() if match[1] in (vertical, "z")]
        if len(fitting) != 1:
            wanted = f"{vertical}_{'ms' if vertical == 'time' else 'm'}"
            hint = nearest(wanted, names) if not fitting else ""
            raise UserError(f"{where}: must have one column {wanted}, {vertical} or z{hint}; {has}")
        unit = matches[fitting[0]][2] or ""
        if unit and unit not in UNITS[vertical]:
            raise UserError(f"{where}: '{header[fitting[0]]}': the unit is none of {', '.join(UNITS[vertical])}")
        needed, allowed = TEXT_COLUMNS[kind]
        for name in needed:
            if name not in names:
                raise UserError(f"{where}: no column '{name}'{nearest(name, names)}; {has}")
        texts = [name for name in (*needed, *allowed) if name in names]
        numbers = [*places[0], *places[1], fitting[0]]
        first, second = (len(place) for place in places)
        return cls(
            list(range(first)), list(range(first, first + second)), first + second, unit, texts,
            numbers + [names.index(name) for name in texts], len(header),
        )  # fmt: skip

    def split(self, text: str) -> tuple[list[float], list[str]]:
        """Numbers and texts of a line of CSV. Raises ValueError for a line that is not like the header."""
        cells = _cells(text)
        if len(cells) != self.count:
            raise ValueError(f"has {len(cells)} columns where the header has {self.count}")
        taken = [cells[i] for i in self.cells]
        numbers = [_number(cell) for cell in taken[: self.z]]
        return [*numbers, _number(taken[self.z] or "nan")], taken[self.z + 1 :]


_PLACES = (("inline", "crossline"), ("x", "y"))


def _collect(
    path: str, rows: Iterator[tuple[int, str]], split: Split, columns: _Columns, *, rounded: bool = False
) -> Points:
    values, numbers, texts = array("d"), array("q"), [[] for _ in columns.names]
    for number, text in rows:
        try:
            cells, words = split(text)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        if not abs(cells[columns.z]) < _UNDEFINED:
            continue
        values.extend(cells)
        numbers.append(number)
        for column, word in zip(texts, words, strict=True):
            column.append(word)
    if not numbers:
        raise UserError(f"{path}: holds no points; give at least one line with a number for z")
    table = np.frombuffer(values).reshape(len(numbers), -1)
    row = np.frombuffer(numbers, np.int64)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise UserError(f"{path}, line {row[bad[0]]}: a point without a place; give numbers")
    lines, xy = (table[:, at] if at else None for at in (columns.lines, columns.xy))
    if lines is not None and xy is not None and not lines.any():
        lines = None  # written by a program that knows no line numbers
    text = dict(zip(columns.names, texts, strict=True))
    return Points(path, lines, xy, table[:, columns.z], columns.unit, row, text, rounded)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"'{cell}' is no number") from None


def _rows(path: str) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are neither empty nor a comment."""
    try:
        with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if text and not text.startswith(_COMMENTS):
                    yield number, text
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _and(first: tuple[int, str], rows: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rows


def _cells(text: str) -> Sequence[str]:
    cells = next(csv.reader([text])) if '"' in text else text.split(",")
    return [cell.strip() for cell in cells]
