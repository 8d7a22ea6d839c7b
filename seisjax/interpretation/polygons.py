"""Polygons drawn on sections, and the samples inside; and polygons around samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from matplotlib.path import Path

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.interpretation.frame import Frame
from seisjax.interpretation.text import Points

BACKGROUND = "background"  # the class of what an interpretation leaves over, and of holes in polygons
_ON_LINE = 0.25  # of the way to the next line


@dataclass(frozen=True, eq=False)
class Polygon:
    """A polygon on the section number `line` across `axis` (0: an inline, 1: a crossline) of a survey."""

    axis: int
    line: int
    outline: np.ndarray  # (point, 2) in samples: along the section, and down
    number: int  # its class

    def inside(self, box: Box) -> tuple[Box, np.ndarray] | None:
        """The part of the polygon's section in `box`, and which of its samples, boolean, are inside; None for none."""
        if not box.start[self.axis] <= self.line < box.stop[self.axis]:
            return None
        start, stop = list(box.start), list(box.stop)
        start[self.axis], stop[self.axis] = self.line, self.line + 1
        section = Box.between(start, stop)
        low, high = self.outline.min(axis=0), self.outline.max(axis=0)
        along = 1 - self.axis
        for i, axis in enumerate((along, 2)):
            start[axis] = max(start[axis], int(np.ceil(low[i])))
            stop[axis] = min(stop[axis], int(np.floor(high[i])) + 1)
        part = Box.between(start, stop)
        found = np.zeros(section.shape, bool)
        if part.size:
            sides = [np.arange(part.start[axis], part.stop[axis]) for axis in (along, 2)]
            places = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
            found[part.relative_to(section.start).slices] = (
                Path(self.outline).contains_points(places).reshape(part.shape)
            )
        return section, found


def polygons_of(points: Points, index: np.ndarray, frame: Frame, number_of: Callable[[str, str], int]) -> list[Polygon]:
    """The polygons of a file, in its order; `index` are the places of its points, `Frame.index`.

    number_of: the number of a class, from what messages call the point and its name. Raises UserError for a polygon of
    fewer than three points, of several classes, not on one line, or on none of the survey's.
    """
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(points.text["polygon"]):
        groups.setdefault(name, []).append(i)
    found = []
    for name, rows in groups.items():
        where, places = points.at(rows[0]), index[rows]
        if len(np.unique(places, axis=0)) < 3:
            raise UserError(f"{where}: polygon {name} has fewer than three points; give more or take it out")
        classes = {points.text["class"][i] for i in rows}
        if len(classes) > 1:
            raise UserError(f"{where}: polygon {name} is of the classes {', '.join(sorted(classes))}; give it one")
        spread = np.ptp(places[:, :2], axis=0)
        axis = int(spread.argmin())
        if spread[axis] > 2 * _ON_LINE:
            raise UserError(f"{where}: polygon {name} does not lie on one inline or crossline; draw it on one")
        line = round(float(places[:, axis].mean()))
        if not 0 <= line < frame.shape[axis] or np.abs(places[:, axis] - line).max() > 2 * _ON_LINE:
            raise UserError(f"{where}: polygon {name} lies on no {frame.axes[axis].name} of {frame.url} ({frame})")
        if not (places[:, 2].max() >= 0 and places[:, 2].min() <= frame.shape[2] - 1):
            raise UserError(f"{where}: polygon {name} lies above or below {frame.url} ({frame}); check --unit")
        found.append(Polygon(axis, line, places[:, [1 - axis, 2]], number_of(where, classes.pop())))
    return found


def outlines_of(mask: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """Rings (corner, 2) around the samples of a mask (place, sample), half-way to their neighbours, and whether each is
    the rim of a hole; the larger ones first, so that painting them one after the other gives the mask back."""
    padded = np.pad(mask, 1).astype(np.float32)
    rings = []
    for line in contour_generator(z=padded).lines(0.5):
        ring = np.asarray(line)[:-1, ::-1] - 1  # its last corner is its first
        after = np.roll(ring, -1, axis=0)
        before = np.roll(ring, 1, axis=0)
        turns = _cross(ring - before, after - ring) != 0
        area = _cross(ring, after).sum() / 2
        rings.append((area, ring[turns]))
    rings.sort(key=lambda pair: -abs(pair[0]))
    return [(ring, bool(area > 0)) for area, ring in rings]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
