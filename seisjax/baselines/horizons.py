"""Facies between interpreted lines, by hand: horizons picked on the lines and laid between, amplitudes unseen.

Facies that lie upon one another in one order are known by the depths at which one gives way to the next. In each
labelled trace these are counted off: a facies is as thick as its samples are many, wherever in the trace they lie. So a
trace that shows a facies twice, as where a reverse fault repeats it, is first put in order, as if it had never been
faulted; a facies that is not there has no thickness, and its top and base are one.
"""

from collections.abc import Callable

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import KDTree

from seisjax.baselines.traces import LabelledTraces, lateral_places
from seisjax.conventions import IGNORE
from seisjax.geometry import Box

Surface = Callable[[np.ndarray], np.ndarray]  # places (n, lateral axes) to depths (n, horizons), samples

_IN_ORDER = 0.5  # share of the labelled traces that must show their classes in one order


def interpolated_horizons(traces: LabelledTraces, num_classes: int) -> Callable[[Box], np.ndarray] | None:
    """The predictor of what lies between horizons that are interpolated from labelled traces.

    Horizons are linear within the triangles of a Delaunay triangulation of the labelled traces at the border of
    what is labelled, and beyond the hull of these as deep as in the nearest one. None where this means nothing: no
    trace is labelled, or fewer than half of the traces show their classes in one order (faults, salt, channels).
    Memory: 8 bytes each trace of the border and class, twice.
    """
    if not len(traces.border):
        return None
    parts = [(places, *_layers(_filled(labels), num_classes)) for places, labels in traces.border_labels()]
    places, thickness, depth, changes = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = _stacking_order(depth)
    present = thickness > 0
    in_order = (changes == present.sum(axis=1) - 1) & _rising(depth[:, order])
    if in_order.mean() < _IN_ORDER:
        return None
    # Above horizon k lie the first k + 1 classes of the order.
    surface = _surface(places, np.cumsum(thickness[:, order[:-1]], axis=1, dtype=np.float64))

    def predict(box: Box) -> np.ndarray:
        horizons = surface(lateral_places(box))
        # A horizon at n samples lies between samples n - 1 and n.
        samples = np.arange(box.start[-1], box.stop[-1]) + 0.5
        rank = np.zeros((len(horizons), len(samples)), np.uint8)
        for k in range(horizons.shape[1]):
            rank += samples > horizons[:, k : k + 1]
        return order.astype(np.uint8)[rank].reshape(box.shape)

    return predict


def _filled(labels: np.ndarray) -> np.ndarray:
    """Traces (n, samples) with the nearest label down the trace where there is none, the upper one of two as near."""
    sample = np.arange(labels.shape[1])
    known = labels != IGNORE
    above = np.maximum.accumulate(np.where(known, sample, -(2 * len(sample))), axis=1)
    below = np.minimum.accumulate(np.where(known, sample, 3 * len(sample))[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(sample - above <= below - sample, above, below)
    return np.take_along_axis(labels, nearest, axis=1)


def _layers(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of traces (n, samples): each class's samples int32 and mean depth (n, classes), and how often the class changes.

    The mean depth of a class that is not there is NaN.
    """
    thickness = np.stack([np.count_nonzero(labels == k, axis=1) for k in range(num_classes)], axis=1).astype(np.int32)
    sums = np.stack([(labels == k) @ np.arange(labels.shape[1]) for k in range(num_classes)], axis=1)
    depth = np.where(thickness > 0, sums / np.maximum(thickness, 1), np.nan)
    return thickness, depth, np.count_nonzero(labels[:, 1:] != labels[:, :-1], axis=1)


def _stacking_order(depth: np.ndarray) -> np.ndarray:
    """The classes that are there, from the uppermost down, by their mean depths (traces, classes), NaN where absent.

    A class comes before another where it lies above it in more of the traces that hold both; those that lie above most
    others come first (Copeland's method), and of equals the one that is shallower on average.
    """
    above = np.stack([np.count_nonzero(depth[:, k : k + 1] < depth, axis=0) for k in range(depth.shape[1])])
    lead = np.sign(above - above.T).sum(axis=1)
    present = np.flatnonzero(np.isfinite(depth).any(axis=0))
    mean = np.nanmean(depth[:, present], axis=0)
    return present[np.lexsort((mean, -lead[present]))]


def _rising(depth: np.ndarray) -> np.ndarray:
    """Whether the mean depths of each trace rise from class to class, those that are absent left out."""
    deepest = np.fmax.accumulate(depth, axis=1)
    return np.logical_not(np.any(depth[:, 1:] < deepest[:, :-1], axis=1))


def _surface(places: np.ndarray, depths: np.ndarray) -> Surface:
    """Depths (traces, horizons) at places (traces, lateral axes), laid between them."""
    tree = KDTree(places)
    spread = np.linalg.matrix_rank(places - places[0])
    within = LinearNDInterpolator(places, depths) if spread == places.shape[1] > 1 else None

    def surface(asked: np.ndarray) -> np.ndarray:
        beyond = depths[tree.query(asked)[1]]
        if within is None:
            return beyond
        found = within(asked)
        return np.where(np.isnan(found), beyond, found)

    return surface
