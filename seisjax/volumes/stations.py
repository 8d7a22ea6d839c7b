"""Where receivers stand: a table of stations."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seisjax.conventions import WGS84
from seisjax.errors import UserError

_NAMES = ("name", "station")
_LOCAL = ("x", "y", "z")
_ELEVATIONS = {"elevation": 1.0, "elevation_m": 1.0, "elevation_km": 1000.0}  # column: m of one
_HIGH = 10.0  # stations that are all lower than so many m, yet kilometres apart, have elevations in km, as a rule


@dataclass(frozen=True)
class Stations:
    """A table of stations in its own order: names, and places (station, 3) in m, x north, y east, z down.

    `origin`: latitude and longitude (degrees) of x = y = 0 where the table was one of latitudes and longitudes.
    """

    path: str
    names: list[str]
    places: np.ndarray
    origin: dict[str, float] | None

    def rows(self, receivers: Sequence[Sequence[str]]) -> list[int]:
        """For each receiver the row of the first of its names that is there; UserError that lists those without."""
        known = {name: row for row, name in reversed(list(enumerate(self.names)))}
        found = [next((known[name] for name in names if name in known), -1) for names in receivers]
        missing = list(dict.fromkeys(names[-1] for names, row in zip(receivers, found, strict=True) if row < 0))
        if missing:
            few = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
            raise UserError(f"{self.path}: has no station {few}; add a row for each, by station code or full name")
        return found


def read_stations(path: str) -> Stations:
    """Read a CSV of stations: column `name` or `station`, and x, y, z or latitude, longitude, elevation.

    x, y, z are m, z down. Latitude and longitude (degrees, WGS84) become m north (x) and east (y) in the plane that
    touches the ellipsoid at the stations' mean; z is the elevation (m; `elevation_km`: km) with the other sign.
    Upper and lower case are alike. Raises UserError for missing columns and values that are no numbers.
    """
    rows = _read_rows(path)
    columns = set(rows[0])
    named = next((column for column in _NAMES if column in columns), None)
    elevation = next((column for column in _ELEVATIONS if column in columns), "elevation")
    globe = ("latitude", "longitude", elevation)
    wanted = next((names for names in (_LOCAL, globe) if columns.issuperset(names)), None)
    if named is None or wanted is None:
        lacks = "no column name" if named is None else "neither the columns x, y, z nor latitude, longitude, elevation"
        raise UserError(f"{path}: has {lacks} (but: {', '.join(columns - {''})}); name its columns in the first line")
    numbers = np.array([[_number(path, row, i, column) for column in wanted] for i, row in enumerate(rows)])
    names, origin = [row[named] for row in rows], None
    if wanted is not _LOCAL:
        if np.abs(numbers[:, 0]).max() > 90 or np.abs(numbers[:, 1]).max() > 360:
            raise UserError(f"{path}: latitudes reach past 90 or longitudes past 360 degrees; check the columns")
        numbers[:, 2] *= -_ELEVATIONS[elevation]
        latitude, longitude = (float(value) for value in numbers[:, :2].mean(axis=0))
        numbers[:, :2] = local_metres(numbers[:, 0], numbers[:, 1], latitude, longitude)
        origin = {"latitude": latitude, "longitude": longitude}
        if elevation == "elevation":
            _check_elevations(path, numbers)
    return Stations(path, names, numbers, origin)


def local_metres(latitudes: Any, longitudes: Any, latitude: float, longitude: float) -> np.ndarray:
    """Degrees (WGS84) to m north and east (place, 2) of an origin, in the plane that touches the ellipsoid there."""
    lat, lon = np.radians(latitudes), np.radians(longitudes)
    lat0, lon0 = math.radians(latitude), math.radians(longitude)
    x, y, z = (a - b for a, b in zip(_geocentric(lat, lon), _geocentric(lat0, lon0), strict=True))
    outward = np.cos(lon0) * x + np.sin(lon0) * y
    north = np.cos(lat0) * z - np.sin(lat0) * outward
    return np.stack([north, np.cos(lon0) * y - np.sin(lon0) * x], axis=-1)


def _geocentric(lat: Any, lon: Any) -> tuple[Any, Any, Any]:
    axis, squared = WGS84
    normal = axis / np.sqrt(1 - squared * np.sin(lat) ** 2)
    across = normal * np.cos(lat)
    return across * np.cos(lon), across * np.sin(lon), normal * (1 - squared) * np.sin(lat)


def _check_elevations(path: str, places: np.ndarray) -> None:
    """Raise UserError for elevations that look like km."""
    heights = -places[:, 2]
    apart = np.ptp(places[:, :2], axis=0).max()
    if len(places) > 2 and np.any(heights != np.rint(heights)) and np.abs(heights).max() < _HIGH and apart > 1000:
        raise UserError(
            f"{path}: elevations from {heights.min():g} to {heights.max():g} of stations {apart / 1000:.0f} km apart; "
            "call the column elevation_km if they are km, elevation_m if they are m"
        )


def _read_rows(path: str) -> list[dict[str, str]]:
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in file if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a CSV of stations as --stations") from error
    rows = [
        {(key or "").strip().lower(): (value or "").strip() for key, value in row.items() if isinstance(value, str)}
        for row in csv.DictReader(lines)
    ]
    if not rows:
        raise UserError(f"{path}: holds no station; give a CSV whose first line names its columns")
    return rows


def _number(path: str, row: Mapping[str, str], index: int, column: str) -> float:
    try:
        value = float(row.get(column, ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}: station {index + 1} has {column}='{row.get(column, '')}'; write a number")
    return value
