"""Objects, horizons and sticks as text, a part of the rows in memory at a time; `text` reads it again."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from seisjax.errors import UserError
from seisjax.files import beside
from seisjax.geometry import Axis
from seisjax.interpretation.components import Pieces
from seisjax.interpretation.field import Grid, Line, Measure, labels_at

Columns = Sequence[Sequence[str]]
_ROWS = 2**16  # that are in memory as text
_DIGITS = 3  # after the point of a metre


def write_table(path: Path, names: Sequence[str], parts: Iterable[Columns]) -> None:
    """Write a CSV file of these columns, part by part. Raises UserError where it cannot be written."""
    with beside(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(",".join(map(quoted, names)) + "\n")
        for columns in parts:
            file.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))


def write_lines(path: Path, parts: Iterable[Iterable[str]]) -> None:
    """Write a text file of these lines, part by part. Raises UserError where it cannot be written."""
    with beside(path) as partial, partial.open("w", encoding="utf-8") as file:
        for lines in parts:
            file.writelines(line + "\n" for line in lines)


def check_charisma(flag: str, path: Path, names: Sequence[str], has_map: bool) -> None:
    """Raise UserError where a volume over the axes `names` cannot be written as a Charisma file."""
    remedy = "end the name in .csv for a table"
    if list(names) != ["inline", "crossline"]:
        axes = ", ".join(names)
        raise UserError(f"--{flag}={path}: text lines have inlines and crosslines, the volume has {axes}; {remedy}")
    if not has_map:
        raise UserError(f"--{flag}={path}: text lines have x and y, and the volume has no cdp_x and cdp_y; {remedy}")


def charisma_horizon(columns: Columns) -> Iterator[str]:
    """Charisma 3D interpretation lines of columns that begin with inline, crossline, x, y and z."""
    for inline, crossline, *xyz in zip(*columns[:5], strict=True):
        yield f"INLINE : {inline} XLINE : {crossline} {' '.join(xyz)}"


def charisma_sticks(columns: Columns) -> Iterator[str]:
    """Charisma fault sticks of the columns fault, stick, inline, crossline, x, y and z."""
    for fault, stick, inline, crossline, *xyz in zip(*columns, strict=True):
        yield f"INLINE- {inline} {crossline} {' '.join(xyz)} {fault.replace(' ', '_')} {stick}"


def quoted(text: str) -> str:
    """A field of CSV (RFC 4180)."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text


def numbers(values: np.ndarray, digits: int = 6) -> list[str]:
    """Numbers as text, at most so many digits after the point; empty for NaN."""
    values = np.asarray(values)
    if values.dtype.kind in "iub":
        return [str(value) for value in values.tolist()]
    rounded = (np.round(values.astype(np.float64), digits) + 0.0).tolist()  # minus zero becomes zero
    return ["" if v != v else f"{v:.{digits}f}".rstrip("0").rstrip(".") for v in rounded]


def object_columns(axes: Sequence[Axis], places: Grid | Line | None, measure: Measure) -> list[str]:
    """Names of the columns of `object_rows`."""
    names = ["object", "class", "samples", measure.column]
    for axis in axes:
        names += [f"{axis.name}_min", f"{axis.name}_max", f"{axis.name}_centre"]
    return names + (["cdp_x_centre", "cdp_y_centre"] if places else [])


def object_rows(
    table: Pieces, class_name: str, axes: Sequence[Axis], places: Grid | Line | None, measure: Measure
) -> Iterator[Columns]:
    """Text of the objects' rows: number, class, samples, size, the ends and the mean place along each axis, in its
    labels, and the mean place in map coordinates. `places` is over the axes above the vertical."""
    for begin in range(0, len(table.size), _ROWS):
        part = table.where(np.arange(begin, min(begin + _ROWS, len(table.size))))
        columns = [
            numbers(np.arange(begin, begin + len(part.size)) + 1),
            [quoted(class_name)] * len(part.size),
            numbers(part.size),
            numbers(part.size * measure.factor, _DIGITS),
        ]
        for i, axis in enumerate(axes):
            labels = np.asarray(axis.labels)
            columns += [numbers(labels[part.low[:, i]]), numbers(labels[part.high[:, i]])]
            columns.append(numbers(labels_at(axis, part.centre[:, i])))
        if places:
            columns += [numbers(column, _DIGITS) for column in places.places(part.centre[:, :-1]).T]
        yield columns
