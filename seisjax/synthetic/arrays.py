"""Where the receivers are."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seisjax.errors import UserError
from seisjax.synthetic.parameters import ReceiverArray


class Receivers(NamedTuple):
    """An array's receivers, in the order of a panel's rows."""

    places: np.ndarray  # float64 (receiver, 3): x north, y east, z down from the sea surface, m
    component: np.ndarray  # str (receiver,): what it measures, one of seisjax.synthetic.parameters.COMPONENTS
    azimuth: np.ndarray  # float64 (receiver,): degrees from x towards y, the direction of the fibre where it is one
    names: np.ndarray  # str (receiver,): "" where it has none


def receivers(array: ReceiverArray) -> Receivers:
    """The receivers of an array. Raises UserError."""
    return read_receivers(array.file) if array.file else vertical(_cables(array))


def vertical(places: np.ndarray) -> Receivers:
    """Receivers at `places` (receiver, 3), m, that measure the upward component and have no names."""
    count = len(places)
    return Receivers(places, np.full(count, "z"), np.zeros(count), np.full(count, ""))


def _cables(array: ReceiverArray) -> np.ndarray:
    if min(array.lines, array.stations) < 1:
        raise UserError(f"array: {array.lines} lines of {array.stations} stations; both must be at least 1")
    random = np.random.default_rng(array.seed)
    line, station = np.indices((array.lines, array.stations))
    y = (station - (array.stations - 1) / 2) * array.station_spacing
    bend = random.uniform(1500.0, 4000.0, (array.lines, 1))  # m from one bend of a cable to the next
    phase = random.uniform(0.0, 2 * np.pi, (array.lines, 1))
    x = (line - (array.lines - 1) / 2) * array.line_spacing + array.wander * np.sin(2 * np.pi * y / bend + phase)
    y = y + random.normal(0.0, 1.0, y.shape) * array.jitter
    z = array.depth + array.relief * np.sin(x / 2500.0) * np.cos(y / 3500.0)
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


def read_receivers(path: str) -> Receivers:
    """Receivers of a CSV file with a header that names x, y and z (m, z down).

    Raises UserError for a missing file or column, a value that is no number, and an empty list.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"array.file={path}: cannot read it ({error}); give a CSV file with columns x,y,z") from error
    table = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {"x", "y", "z"} <= set(table.fieldnames or ()):
        raise UserError(f"{path}: its first line must name the columns x,y,z (it has {table.fieldnames})")
    rows = []
    for row in table:
        try:
            rows.append([float(row[name]) for name in "xyz"])
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}, line {table.line_num}: x, y and z must be numbers in m") from error
    places = np.array(rows).reshape(-1, 3)
    if len(places) == 0 or not np.isfinite(places).all():
        raise UserError(f"{path}: needs at least one receiver, and finite coordinates")
    return vertical(places)
