"""Where the points of an interpretation lie among the samples of a survey."""

from dataclasses import dataclass

import numpy as np

from seisjax.conventions import VERTICAL_AXES, VERTICAL_UNITS
from seisjax.errors import UserError, note
from seisjax.geometry import Axis, Shape
from seisjax.interpretation.field import Grid, index_at
from seisjax.interpretation.text import UNITS, Points

_AXES = ("inline", "crossline")


@dataclass(frozen=True, eq=False)
class Frame:
    """The samples of a survey: `grid` is where its traces stand in map coordinates, None where it does not say."""

    url: str
    axes: tuple[Axis, ...]  # inline, crossline, time or depth
    grid: Grid | None = None

    def __post_init__(self) -> None:
        """Raises UserError for axes that are not those of a 3-D survey."""
        names = [axis.name for axis in self.axes]
        if tuple(names[:2]) != _AXES or names[2:] not in ([name] for name in VERTICAL_AXES):
            raise UserError(
                f"{self.url}: has the axes {', '.join(names)}; an interpretation needs inline, crossline, time or depth"
            )

    @property
    def shape(self) -> Shape:
        """Samples along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def vertical(self) -> Axis:
        """The axis of the samples."""
        return self.axes[-1]

    @property
    def unit(self) -> str:
        """Unit of the vertical axis."""
        return self.vertical.unit or VERTICAL_UNITS[self.vertical.name]

    def index(self, points: Points, unit: str = "") -> np.ndarray:
        """Places of points in samples from the survey's first, (point, 3) float64; they may lie outside.

        Line numbers count, where a file has both, unless it says that they are rounded. unit: of z where the file does
        not say; the survey's unless given. Raises UserError for map coordinates of a survey that has none.
        """
        better_xy = points.rounded and points.xy is not None and self.grid is not None
        if points.lines is None or better_xy:
            across = self._from_map(points)
        else:
            inline, crossline = self.axes[:2]
            across = np.stack([index_at(inline, points.lines[:, 0]), index_at(crossline, points.lines[:, 1])], axis=1)
            self._compare(points, across)
        return np.concatenate([across, self._samples(points, unit)[:, None]], axis=1)

    def _from_map(self, points: Points) -> np.ndarray:
        if self.grid is None:
            raise UserError(
                f"{points.at(0)}: has map coordinates alone, and {self.url} has no cdp_x and cdp_y on a regular grid "
                "to turn them into line numbers; give inline and crossline"
            )
        assert points.xy is not None
        return self.grid.index(points.xy)

    def _compare(self, points: Points, across: np.ndarray) -> None:
        """Tell where a file's line numbers and map coordinates do not go together in this survey."""
        if self.grid is None or points.xy is None:
            return
        apart = np.median(np.hypot(*(self.grid.places(across) - points.xy).T))
        if apart > np.hypot(*self.grid.steps.T).max():
            note(
                f"{points.path}: x and y lie {apart:.0f} (median) from where {self.url} has these inlines and "
                "crosslines; the line numbers were taken"
            )

    def _samples(self, points: Points, unit: str) -> np.ndarray:
        known = UNITS[self.vertical.name]
        unit = points.unit or unit or self.unit
        for name in (unit, self.unit):
            if name not in known and unit != self.unit:
                raise UserError(f"{points.path}: {name} is no unit of {self.vertical.name} ({', '.join(known)})")
        z = points.z if unit == self.unit else points.z * (known[unit] / known[self.unit])
        if z.max() < 0 <= self.vertical.labels[0]:
            note(f"{points.path}: z is negative throughout, and was taken as counted upwards")
            z = -z
        return index_at(self.vertical, z)

    def __str__(self) -> str:
        return ", ".join(map(str, self.axes)) + f" {self.unit}"
