"""Horizons as maps, and what they label: a band around each, or the areas between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import KDTree, QhullError

from seisjax.conventions import IGNORE
from seisjax.errors import UserError, note
from seisjax.interpretation.field import labels_at
from seisjax.interpretation.frame import Frame
from seisjax.interpretation.text import Points

_ON_TRACE = 0.25  # of the way to the next trace: map coordinates are rounded
_AROUND = 4  # times what is filled: points that far from a gap enter its triangles
_SAME = 1e-3  # samples: picks that far apart are one
_BACKGROUND = 0


@dataclass(frozen=True, eq=False)
class Horizon:
    """A horizon over the traces of a survey."""

    name: str
    path: str
    position: np.ndarray  # (inline, crossline) float64: samples from the first, NaN where there is no pick
    row: np.ndarray  # (inline, crossline) int64: line of the file that a pick comes from; 0: interpolated


def map_horizon(
    points: Points,
    frame: Frame,
    *,
    unit: str = "",
    fill: float = 0,
    duplicates: str = "refuse",
    outside: str = "refuse",
) -> Horizon:
    """The picks of a horizon on the traces that they lie on.

    unit: see `Frame.index`. fill: traces without a pick, but with one no farther than so many traces, get one by linear
    interpolation over the triangles (Delaunay) of all points. duplicates: of picks of one trace that differ, "refuse",
    or take the "first", the "last" or the "mean". outside: "refuse" points beyond the survey, or "skip" them.
    Raises UserError for what is refused, and where no point lies on a trace.
    """
    index = frame.index(points, unit)
    index, row = _inside(points, index, frame, outside)
    position, origin = np.full(frame.shape[:2], np.nan), np.zeros(frame.shape[:2], np.int64)
    nearest = np.rint(index[:, :2]).astype(np.int64)
    on = np.asarray(np.abs(index[:, :2] - nearest).max(axis=1) <= _ON_TRACE)
    if not on.all() and not fill:
        if not on.any():
            raise UserError(f"{points.path}: no point lies on a trace of {frame.url}; give --fill to interpolate")
        note(f"{points.path}: {np.count_nonzero(~on)} of {len(on)} points lie between traces and were left out")
    traces = np.asarray(np.ravel_multi_index(tuple(nearest[on].T), position.shape))
    traces, samples, rows = _one_a_trace(points.path, traces, index[on, 2], row[on], frame, duplicates)
    position.ravel()[traces], origin.ravel()[traces] = samples, rows
    if fill:
        _fill(position, index, fill)
    return Horizon(Path(points.path).stem, points.path, position, origin)


def _inside(points: Points, index: np.ndarray, frame: Frame, outside: str) -> tuple[np.ndarray, np.ndarray]:
    """The points inside the survey and their lines in the file."""
    beyond = np.maximum(-0.5 - index, index - (np.array(frame.shape) - 0.5)).max(axis=1)  # samples
    inside = np.asarray(beyond <= 0)
    if not inside.all() and (outside == "refuse" or not inside.any()):
        first = int(np.flatnonzero(~inside)[0])
        many = np.count_nonzero(~inside)
        remedy = "give --outside=skip to leave them out" if inside.any() else "check --unit and the line numbers"
        raise UserError(
            f"{points.at(first)}: {_place(points, first)} lies outside {frame.url} ({frame}), like {many} of "
            f"{len(inside)} points; {remedy}"
        )
    return index[inside], points.row[inside]


def _place(points: Points, i: int) -> str:
    pair = points.lines if points.lines is not None else points.xy
    assert pair is not None
    names = ("inline", "crossline") if points.lines is not None else ("x", "y")
    first, second = (f"{name} {value:.10g}" for name, value in zip(names, pair[i], strict=True))
    return f"{first}, {second}, z {points.z[i]:.10g}"


def _one_a_trace(
    path: str, traces: np.ndarray, samples: np.ndarray, rows: np.ndarray, frame: Frame, duplicates: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One pick for each trace that has any: its number, sample and line of the file."""
    order = np.argsort(traces, kind="stable")
    traces, samples, rows = traces[order], samples[order], rows[order]
    found, first, count = np.unique(traces, return_index=True, return_counts=True)
    differs = (traces[1:] == traces[:-1]) & (np.abs(np.diff(samples)) > _SAME)
    if duplicates == "refuse" and differs.any():
        i = int(np.flatnonzero(differs)[0])
        inline, crossline = (int(part) for part in np.unravel_index(traces[i], frame.shape[:2]))
        values = " and ".join(f"{value:.10g}" for value in labels_at(frame.vertical, samples[i : i + 2]))
        raise UserError(
            f"{path}, lines {rows[i]} and {rows[i + 1]}: inline {frame.axes[0].labels[inline]:g}, crossline "
            f"{frame.axes[1].labels[crossline]:g} stands there with {values} {frame.unit}; mend it, or give "
            "--duplicates=first, last or mean"
        )
    chosen = first + count - 1 if duplicates == "last" else first
    values = np.add.reduceat(samples, first) / count if duplicates == "mean" and len(first) else samples[chosen]
    return found, values, rows[chosen]


def _fill(position: np.ndarray, index: np.ndarray, most: float) -> None:
    """Interpolate where there is no pick, but a point no farther than `most` traces."""
    empty = np.argwhere(np.isnan(position))
    distance, _ = KDTree(index[:, :2]).query(empty, distance_upper_bound=most * (1 + 1e-9))
    near = empty[np.isfinite(distance)]
    if not len(near):
        return
    # Triangles around the gaps alone: those of a whole survey take long.
    distance, _ = KDTree(near).query(index[:, :2], distance_upper_bound=_AROUND * most)
    around = index[np.isfinite(distance)]
    try:
        surface = LinearNDInterpolator(around[:, :2], around[:, 2])
    except QhullError:  # all points on one line: there is nothing between them
        return
    position[tuple(near.T)] = surface(near)


def check_order(horizons: Sequence[Horizon], frame: Frame) -> None:
    """Raise UserError where a horizon lies above one that is named before it."""
    for i, upper in enumerate(horizons):
        for lower in horizons[i + 1 :]:
            above = lower.position < upper.position - _SAME
            if not above.any():
                continue
            at = tuple(int(part) for part in np.argwhere(above)[0])
            inline, crossline = (frame.axes[i].labels[at[i]] for i in range(2))
            z = [labels_at(frame.vertical, horizon.position[at]) for horizon in (lower, upper)]
            line = f", line {lower.row[at]}" if lower.row[at] else ""
            raise UserError(
                f"{lower.path}{line}: at inline {inline:g}, crossline {crossline:g} it lies at {z[0]:.10g} "
                f"{frame.unit}, above {upper.path} at {z[1]:.10g}; they cross on {np.count_nonzero(above)} traces: "
                "mend them, or give --horizons from the top down"
            )


def band_labels(positions: np.ndarray, samples: np.ndarray, width: float, first: int, background: bool) -> np.ndarray:
    """Labels (trace, sample) uint8 of bands around horizons: `first` and so on, of two that overlap the nearer one.

    Args:
      positions: (horizon, trace) in samples, NaN where there is no pick.
      samples: (sample,) numbers of the samples to label.
      width: of a band, in samples: it holds those from width / 2 above the pick to just less than that below it.
      background: whether the rest of a trace on which every horizon is picked is class 0; else it is IGNORE.
    """
    shape = (positions.shape[1], len(samples))
    labels = np.full(shape, IGNORE, np.uint8)
    if background:
        labels[~np.isnan(positions).any(axis=0)] = _BACKGROUND
    nearest = np.full(shape, np.inf)
    for number, position in enumerate(positions, first):
        below = samples - position[:, None]
        taken = (below >= -width / 2) & (below < width / 2) & (np.abs(below) < nearest)
        labels[taken], nearest[taken] = number, np.abs(below)[taken]
    return labels


def area_labels(positions: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Labels (trace, sample) uint8 of the areas between horizons: 0 above the first, i below horizon number i.

    A sample at a pick lies below it. Where a pick is missing, samples that may lie on either side of it are IGNORE.
    positions: (horizon, trace) in samples, from the top down, NaN where there is no pick; samples: (sample,) numbers.
    """
    count = len(positions)
    shape = (positions.shape[1], len(samples))
    above, below = np.zeros(shape, np.int16), np.full(shape, count, np.int16)
    for number in range(count):
        above[positions[number][:, None] <= samples] = number + 1
    for number in reversed(range(count)):
        below[positions[number][:, None] > samples] = number
    return np.where(above == below, above, IGNORE).astype(np.uint8)
