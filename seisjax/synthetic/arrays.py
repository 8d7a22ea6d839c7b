"""Where the receivers are, and what they measure."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seisjax.errors import UserError, nearest
from seisjax.synthetic.parameters import COMPONENTS, ReceiverArray


class Receivers(NamedTuple):
    """An array's receivers, in the order of a panel's rows."""

    places: np.ndarray  # float64 (receiver, 3): x north, y east, z down from the sea surface, m
    component: np.ndarray  # str (receiver,): what it measures, one of seisjax.synthetic.parameters.COMPONENTS
    azimuth: np.ndarray  # float64 (receiver,): of a fibre's direction there, degrees from x towards y; 0 elsewhere
    names: np.ndarray  # str (receiver,): "" where it has none


def receivers(array: ReceiverArray) -> Receivers:
    """The receivers of an array. Raises UserError."""
    if array.file:
        return read_receivers(array.file)
    if array.kind == "das":
        return _fibre(array)
    places = _cables(array) if array.kind == "cables" else _star(array)
    rows = len(array.components)
    component = np.tile(np.array(array.components), len(places))
    return vertical(np.repeat(places, rows, axis=0))._replace(component=component)


def vertical(places: np.ndarray) -> Receivers:
    """Receivers at `places` (receiver, 3), m, that measure the upward component and have no names."""
    count = len(places)
    return Receivers(places, np.full(count, "z"), np.zeros(count), np.full(count, ""))


def _cables(array: ReceiverArray) -> np.ndarray:
    random = np.random.default_rng(array.seed)
    line, station = np.indices((array.lines, array.stations))
    y = (station - (array.stations - 1) / 2) * array.station_spacing
    bend = random.uniform(1500.0, 4000.0, (array.lines, 1))  # m from one bend of a cable to the next
    phase = random.uniform(0.0, 2 * np.pi, (array.lines, 1))
    x = (line - (array.lines - 1) / 2) * array.line_spacing + array.wander * np.sin(2 * np.pi * y / bend + phase)
    y = y + random.normal(0.0, 1.0, y.shape) * array.jitter
    return _on_the_ground(array, x, y)


def _star(array: ReceiverArray) -> np.ndarray:
    """Arms at equal angles, from the middle outwards; the middle itself is free, for there is the well."""
    arm, station = np.indices((array.lines, array.stations))
    azimuth = np.deg2rad(array.azimuth + 360.0 * arm / array.lines)
    distance = (station + 1) * array.station_spacing
    return _on_the_ground(array, distance * np.cos(azimuth), distance * np.sin(azimuth))


def _fibre(array: ReceiverArray) -> Receivers:
    """Straight legs, each turning right by 90 degrees; a channel stands in the middle of its own piece of fibre."""
    azimuth = np.repeat(array.azimuth + 90.0 * np.arange(array.lines), array.stations)
    angle = np.deg2rad(azimuth)
    steps = array.station_spacing * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    x, y = (np.cumsum(steps, axis=0) - steps / 2).T
    places = _on_the_ground(array, x - x.mean(), y - y.mean())
    return vertical(places)._replace(component=np.full(len(places), "strain"), azimuth=azimuth)


def _on_the_ground(array: ReceiverArray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    z = array.depth + array.relief * np.sin(x / 2500.0) * np.cos(y / 3500.0)
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


def read_receivers(path: str) -> Receivers:
    """Receivers of a CSV file with a header that names x, y and z (m, z down), one row a receiver.

    Further columns where there are: `component` (one of COMPONENTS; empty: z), `azimuth` (of a fibre's direction,
    degrees from x towards y; a receiver of strain must have one), `name`.

    Raises UserError for a missing file or column, a value that is no number, an unknown component, and an empty list.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"array.file={path}: cannot read it ({error}); give a CSV file with columns x,y,z") from error
    table = csv.DictReader(text.splitlines(), skipinitialspace=True)
    missing = [name for name in "xyz" if name not in (table.fieldnames or ())]
    if missing:
        found = ",".join(table.fieldnames or ()) or "nothing"
        raise UserError(f"{path}: its first line must name the columns x,y,z; {','.join(missing)} missing from {found}")
    rows = [_receiver(row, f"{path}, line {table.line_num}") for row in table]
    if not rows:
        raise UserError(f"{path}: needs at least one receiver")
    places, component, azimuth, names = zip(*rows, strict=True)
    return Receivers(np.array(places), np.array(component), np.array(azimuth), np.array(names))


def _receiver(row: Mapping[str, str | None], where: str) -> tuple[list[float], str, float, str]:
    """Place, component, azimuth and name of a row; `where` it stands, for errors."""
    place = [_number(row[name], f"{where}: {name}") for name in "xyz"]
    component = (row.get("component") or "z").strip().lower()
    if component not in COMPONENTS:
        raise UserError(f"{where}: component={component}: unknown{nearest(component, COMPONENTS)}")
    azimuth = row.get("azimuth") or ("" if component == "strain" else "0")
    return place, component, _number(azimuth, f"{where}: azimuth"), (row.get("name") or "").strip()


def _number(text: str | None, what: str) -> float:
    try:
        value = float(text or "")
    except ValueError as error:
        raise UserError(f"{what}={text or ''}: must be a number") from error
    if not np.isfinite(value):
        raise UserError(f"{what}={text}: must be finite")
    return value
