"""Faults as sticks: surfaces lofted between them, bands of labels around those, and sticks through labelled samples.

All places are in samples from the volume's first, and so are distances: a trace counts as much as a sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.interpretation.text import Points

_LONGEST = 16.0  # samples of a triangle's side: what is searched around it is small
_ROUNDING = 1e-9
_BATCH = 64  # triangles worked on at a time
_TOLERANCE = 1.0  # samples from a stick to the points that it leaves out; they are uncertain by half a sample


@dataclass(frozen=True, eq=False)
class Fault:
    """The sticks of a fault, (point, 3) each, ordered along it and all in one direction."""

    name: str
    sticks: list[np.ndarray]


def faults_of(points: Points, index: np.ndarray) -> list[Fault]:
    """The faults of a file, in its order; `index` are the places of its points, `Frame.index`.

    Points of a stick are in their order in the file; fault and stick number say which belong together.
    Raises UserError for a stick with a single place.
    """
    names = points.text.get("fault", ["fault"] * len(points))
    groups: dict[str, dict[str, list[int]]] = {}
    for i, (name, stick) in enumerate(zip(names, points.text["stick"], strict=True)):
        groups.setdefault(name, {}).setdefault(stick, []).append(i)
    faults = []
    for name, sticks in groups.items():
        found = []
        for stick, rows in sticks.items():
            places = index[rows]
            places = places[np.append(True, np.abs(np.diff(places, axis=0)).max(axis=1) > 0)]
            if len(places) < 2:
                raise UserError(
                    f"{points.at(rows[0])}: stick {stick} of {name} has one point; give it another or take it out"
                )
            found.append(places)
        faults.append(Fault(name, _ordered(found)))
    return faults


def _ordered(sticks: list[np.ndarray]) -> list[np.ndarray]:
    """Sticks along the direction in which their middles spread most on the map, each turned like the one before."""
    middles = np.stack([stick.mean(axis=0) for stick in sticks])
    middles -= middles.mean(axis=0)
    if np.abs(middles[:, :2]).max() > 0.5:  # else one below the other, drawn on horizontal slices
        middles = middles[:, :2]
    along = middles @ np.linalg.svd(middles, full_matrices=False)[2][0]
    ordered: list[np.ndarray] = []
    for i in np.argsort(along, kind="stable"):
        stick = sticks[i]
        if ordered:
            ends, before = stick[[0, -1]], ordered[-1][[0, -1]]
            if np.linalg.norm(ends - before, axis=1).sum() > np.linalg.norm(ends[::-1] - before, axis=1).sum():
                stick = stick[::-1]
        ordered.append(stick)
    return ordered


def triangles_of(fault: Fault) -> np.ndarray:
    """The surface through a fault's sticks: triangles (triangle, corner, 3) with sides of at most 16 samples.

    Points of two consecutive sticks that divide their lengths alike face each other. A fault of one stick is the stick.
    """
    if len(fault.sticks) == 1:
        (stick,) = fault.sticks
        triangles = np.stack([stick[:-1], stick[1:], stick[1:]], axis=1)
    else:
        triangles = np.concatenate([_loft(a, b) for a, b in zip(fault.sticks, fault.sticks[1:], strict=False)])
    return _split(triangles)


def _loft(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    shares = [_shares(stick) for stick in (first, second)]
    common = np.unique(np.concatenate(shares))
    a, b = (
        np.stack([np.interp(common, share, column) for column in stick.T], axis=1)
        for share, stick in zip(shares, (first, second), strict=True)
    )
    return np.concatenate([np.stack([a[:-1], b[:-1], a[1:]], axis=1), np.stack([b[:-1], b[1:], a[1:]], axis=1)])


def _shares(stick: np.ndarray) -> np.ndarray:
    """The part of a stick's length before each of its points."""
    length = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(stick, axis=0), axis=1)))
    return length / length[-1]


def _split(triangles: np.ndarray) -> np.ndarray:
    """Triangles halved across their longest side until none is longer than `_LONGEST`."""
    done = []
    while len(triangles):
        sides = np.linalg.norm(np.roll(triangles, -1, axis=1) - triangles, axis=2)  # from each corner to the next
        longest = sides.argmax(axis=1)
        small = sides.max(axis=1) <= _LONGEST
        done.append(triangles[small])
        turn = (longest[~small, None] + np.arange(3)) % 3
        a, b, c = np.moveaxis(np.take_along_axis(triangles[~small], turn[..., None], axis=1), 1, 0)
        middle = (a + b) / 2
        triangles = np.concatenate([np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)])
    return np.concatenate(done)


class Surface:
    """Triangles of all faults, and which samples lie near them."""

    def __init__(self, faults: Sequence[Fault], width: float):
        """width: of the band around the surface, in samples."""
        self.reach = width / 2
        self.triangles = np.concatenate([triangles_of(fault) for fault in faults])
        a, b, c = np.moveaxis(self.triangles, 1, 0)
        normals = np.cross(b - a, c - a)
        self._normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), _ROUNDING)
        self._low = np.ceil(self.triangles.min(axis=1) - self.reach).astype(np.int64)
        self._high = np.floor(self.triangles.max(axis=1) + self.reach).astype(np.int64)

    def near(self, box: Box) -> np.ndarray:
        """Which samples of a box lie no farther than half the width from the surface, boolean."""
        found = np.zeros(box.shape, bool)
        start, stop = np.array(box.start), np.array(box.stop)
        touched = ((self._low < stop) & (self._high >= start)).all(axis=1)
        chosen = np.flatnonzero(touched)
        for first in range(0, len(chosen), _BATCH):
            rows, places = self._near_planes(chosen[first : first + _BATCH], start, stop)
            close = distances(places, self.triangles[rows]) <= self.reach
            found[tuple((places[close] - start).T)] = True
        return found

    def _near_planes(self, batch: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a triangle and a sample (pair, 3) of the box [start, stop) that lies near its plane and its box."""
        low, high = np.maximum(self._low[batch], start), np.minimum(self._high[batch] + 1, stop)
        normals, shape = self._normals[batch], (len(batch), 1, 1, 1)
        height = -(self.triangles[batch, 0] * normals).sum(axis=1).reshape(shape)
        for axis, sides in enumerate(np.ix_(*map(np.arange, (high - low).max(axis=0)))):
            height = height + (low[:, axis].reshape(shape) + sides) * normals[:, axis].reshape(shape)
        pairs = np.argwhere(np.abs(height) <= self.reach + _ROUNDING)
        row, places = pairs[:, 0], low[pairs[:, 0]] + pairs[:, 1:]
        inside = (places < high[row]).all(axis=1)
        return batch[row[inside]], places[inside]


def distances(places: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance (place,) of each place (place, 3) from a triangle of its own (place, corner, 3), or a mere segment."""
    edges = np.roll(triangles, -1, axis=1) - triangles
    normals = np.cross(edges[:, 0], edges[:, 1])
    area = np.linalg.norm(normals, axis=1)
    best = np.full(len(places), np.inf)
    over = area > 1e-6  # whether a place lies right above the triangle
    for corner, edge in zip(np.moveaxis(triangles, 1, 0), np.moveaxis(edges, 1, 0), strict=True):
        away = places - corner
        share = np.clip(_dot(away, edge) / np.maximum(_dot(edge, edge), 1e-30), 0, 1)
        np.minimum(best, np.linalg.norm(away - share[:, None] * edge, axis=1), out=best)
        over &= _dot(away, np.cross(normals, edge)) >= 0
    best[over] = np.abs(_dot(places[over] - triangles[over, 0], normals[over])) / area[over]
    return best


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)


def sticks_through(across: np.ndarray, sample: np.ndarray) -> list[np.ndarray]:
    """Sticks, (point, 2) each, through the samples of an object on one section: from the top down, or across it.

    across, sample: (n,) whole numbers. Each connected piece (corners too) gives a stick: the middle of its samples in
    every row, or in every trace where it is longer across than down, and of those points the few that keep within a
    sample of all (Douglas & Peucker 1973). Pieces of a single row give none.
    """
    origin = np.array([across.min(), sample.min()])
    mask = np.zeros((int(np.ptp(across)) + 1, int(np.ptp(sample)) + 1), bool)
    mask[across - origin[0], sample - origin[1]] = True
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=labels)
    sticks = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        piece = labels[rows, columns] == number
        corner = origin + (rows.start, columns.start)
        steep = piece.shape[1] >= piece.shape[0]
        lines = piece.T if steep else piece  # one of the stick's points each
        if len(lines) < 2:
            continue
        middle = (lines * np.arange(lines.shape[1])).sum(axis=1) / lines.sum(axis=1)
        stick = np.stack([middle, np.arange(len(lines))] if steep else [np.arange(len(lines)), middle], axis=1)
        sticks.append(_simplified(stick) + corner)
    return sticks


def _simplified(stick: np.ndarray) -> np.ndarray:
    """The ends of a stick, and those of its points without which it would lie farther than `_TOLERANCE` off."""
    kept = np.zeros(len(stick), bool)
    kept[[0, -1]] = True
    parts = [(0, len(stick) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        chord = stick[last] - stick[first]
        away = stick[first + 1 : last] - stick[first]
        distance = np.abs(away[:, 0] * chord[1] - away[:, 1] * chord[0]) / np.linalg.norm(chord)
        farthest = int(distance.argmax())
        if distance[farthest] > _TOLERANCE:
            middle = first + 1 + farthest
            kept[middle] = True
            parts += [(first, middle), (middle, last)]
    return stick[kept]
