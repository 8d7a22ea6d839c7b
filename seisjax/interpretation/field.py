"""From samples to the field: what a trace covers, where it stands, and what a sample's size is called."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seisjax.geometry import Axis

LENGTHS = ("mm", "cm", "m", "km", "in", "ft", "yd", "mi")


@dataclass(frozen=True, eq=False)
class Grid:
    """Traces on a regular grid in map coordinates: x and y grow by `steps` (axis, 2) with each trace of an axis."""

    origin: np.ndarray
    steps: np.ndarray

    @property
    def cell(self) -> float:
        """Area that a trace stands for."""
        return float(abs(np.linalg.det(self.steps)))

    def places(self, index: np.ndarray) -> np.ndarray:
        """x and y, (row, 2), of places in traces from the volume's first (row, axis)."""
        return self.origin + index @ self.steps

    def index(self, xy: np.ndarray) -> np.ndarray:
        """Places in traces, (row, axis), of x and y (row, 2): what `places` gives back."""
        return np.linalg.solve(self.steps.T, (xy - self.origin).T).T


@dataclass(frozen=True, eq=False)
class Line:
    """Traces along a line, straight or not: their numbers, x and y (trace, 2)."""

    numbers: np.ndarray
    xy: np.ndarray

    @property
    def cell(self) -> float:
        """Length that a trace stands for: the median distance of neighbours."""
        distance = np.hypot(*np.diff(self.xy, axis=0).T) / np.diff(self.numbers)
        return float(np.median(distance))

    def places(self, index: np.ndarray) -> np.ndarray:
        """x and y, (row, 2), of places in traces from the volume's first (row, 1)."""
        return np.stack([np.interp(index[:, 0], self.numbers, column) for column in self.xy.T], axis=-1)


def fit_places(index: np.ndarray, xy: np.ndarray) -> Grid | Line | None:
    """Where traces stand: index (trace, axis) and map coordinates (trace, 2) of some of them, of a line: of all.

    None where they do not lie on a grid of parallelograms, or on top of one another.
    """
    axes = index.shape[1]
    if axes == 1 and len(index) > 1:
        order = np.argsort(index[:, 0])
        line = Line(index[order, 0], xy[order])
        return line if line.cell > 0 else None
    if axes != 2 or len(index) < 3:
        return None
    unknown = np.concatenate([np.ones((len(index), 1)), index], axis=1)
    origin = xy.mean(axis=0)  # map coordinates are large numbers
    fitted, _, rank, _ = np.linalg.lstsq(unknown, xy - origin)
    grid = Grid(origin + fitted[0], fitted[1:])
    if rank < 3 or not grid.cell > 0:
        return None
    worst = np.abs(grid.places(index) - xy).max()
    return grid if worst < 0.5 * np.hypot(*grid.steps.T).min() else None


@dataclass(frozen=True)
class Measure:
    """What a sample covers: `factor` of what the table's column `column` counts."""

    factor: float
    column: str


def measure(axes: Sequence[Axis], places: Grid | Line | None, unit: str = "m") -> Measure:
    """The measure of a volume's samples; `axes` without examples, the vertical last, `unit` of the map coordinates.

    volume_m3 or area_m2 where the vertical is a length too, volume_m2_ms or area_m_ms where it is time. Where nothing
    says how far apart traces are they are counted: size_trace_ms.
    """
    *across, vertical = axes
    interval, last = (step(vertical), vertical.unit) if vertical.unit else (1.0, "sample")
    if places is not None:
        cell = places.cell
    elif across and all(axis.unit in LENGTHS and axis.unit == across[0].unit for axis in across):
        cell, unit = float(np.prod([step(axis) for axis in across])), across[0].unit
    else:
        return Measure(interval, f"size_trace_{last}")
    kind = {1: "area", 2: "volume"}.get(len(across), "size")
    if last == unit:
        return Measure(cell * interval, f"{kind}_{unit}{len(axes)}")
    return Measure(cell * interval, f"{kind}_{unit}{len(across) if len(across) > 1 else ''}_{last}")


def step(axis: Axis) -> float:
    """Mean distance of an axis's labels, in its unit."""
    labels = np.asarray(axis.labels, np.float64)
    return float(labels[-1] - labels[0]) / (len(labels) - 1) if len(labels) > 1 else 1.0


def labels_at(axis: Axis, position: np.ndarray) -> np.ndarray:
    """Coordinate labels at places between samples, beyond the ends by the mean step; NaN stays NaN."""
    inside = np.clip(position, 0, len(axis) - 1)
    known = np.asarray(axis.labels, np.float64)
    return np.interp(inside, np.arange(len(axis)), known) + (position - inside) * step(axis)


def index_at(axis: Axis, labels: np.ndarray) -> np.ndarray:
    """Places between samples of coordinate labels, what `labels_at` gives back; beyond the ends by the mean step."""
    known = np.asarray(axis.labels, np.float64)
    inside = np.clip(labels, known[0], known[-1])
    return np.interp(inside, known, np.arange(len(axis))) + (labels - inside) / step(axis)
