"""Trivial predictors, to be scored beside a network: what a survey gives away without looking at its amplitudes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seisjax.baselines.horizons import interpolated_horizons
from seisjax.baselines.traces import LabelledTraces
from seisjax.conventions import IGNORE, LABELS_PREFIX
from seisjax.geometry import Box, grow, tiles
from seisjax.volumes import Volume

# Maps a box of samples to predicted classes, uint8 of the box's shape. The box may reach outside the volume.
Predictor = Callable[[Box], np.ndarray]

# Samples read at a time from the training part.
_TILE_SAMPLES = 2**22


def make_baselines(
    volume: Volume,
    labels: str,
    train: Sequence[Box],
    regions: Sequence[Box],
    num_classes: int,
    traces: LabelledTraces | None = None,
) -> dict[str, Predictor]:
    """Predictors that know the labels of the training part alone.

    majority_class: the most common class everywhere.
    depth_mode: at each sample of the last axis the most common class there; the majority class where the training
      part has no label at that sample.
    nearest_labelled_line: the label of the nearest training line that has one at this place, along the first axis on
      which the two are apart, over all regions of the training part; the majority class where none has. Left out if
      the parts are not apart.
    interpolated_horizons: classes between horizons that are picked on the training part's traces and laid between
      them, see baselines/horizons.py. Left out without `traces`, and where classes do not lie in one order.

    Ties go to the lower class, and to the earlier training region. Memory: a tile of labels, and for each pair of a
    training region and a region 5 bytes a sample of one face.

    Args:
      volume: holds the labels.
      labels: name of the label array, without its prefix.
      train: regions of the training part.
      regions: the part to be predicted; each box asked for lies in one of them.
      num_classes: classes that labels name (2 for a network with one sigmoid logit).
      traces: the labelled traces of `train`, where the volume is a survey.
    """
    counts = np.sum([count_by_depth(volume, labels, box, num_classes) for box in train], axis=0)
    majority = np.uint8(counts.sum(axis=0).argmax())
    by_depth = np.where(counts.any(axis=1), counts.argmax(axis=1), majority).astype(np.uint8)

    def majority_class(box: Box) -> np.ndarray:
        return np.full(box.shape, majority)

    def depth_mode(box: Box) -> np.ndarray:
        known = Box.whole(by_depth.shape)
        trace = _cut(by_depth, known, Box(box.start[-1:], box.shape[-1:]), majority)
        return np.broadcast_to(trace, box.shape)

    baselines: dict[str, Predictor] = {"majority_class": majority_class, "depth_mode": depth_mode}
    if all(split_axis(known, region) is not None for known in train for region in regions):
        lines = [[nearest_line(volume, labels, known, region) for known in train] for region in regions]

        def nearest_labelled_line(box: Box) -> np.ndarray:
            shared = [box.intersect(region).size for region in regions]
            return _nearest(lines[int(np.argmax(shared))], box, majority)

        baselines["nearest_labelled_line"] = nearest_labelled_line
    horizons = interpolated_horizons(traces, num_classes) if traces is not None else None
    if horizons is not None:
        baselines["interpolated_horizons"] = horizons
    return baselines


def count_by_depth(volume: Volume, labels: str, train: Box, num_classes: int) -> np.ndarray:
    """Labelled samples of each class in a box at each sample of the volume's last axis: int64 (samples, classes)."""
    counts = np.zeros((volume.shape[-1], num_classes), np.int64)
    lateral = tuple(range(len(train.shape) - 1))
    for tile in tiles(train, _tile_shape(volume, labels)):
        values = volume.read_labels(labels, tile)
        for k in range(num_classes):
            counts[tile.slices[-1], k] += np.count_nonzero(values == k, axis=lateral)
    return counts


def split_axis(train: Box, region: Box) -> int | None:
    """The first axis on which the boxes have no sample in common, None if there is none."""
    for axis in range(len(train.shape)):
        if train.stop[axis] <= region.start[axis] or region.stop[axis] <= train.start[axis]:
            return axis
    return None


@dataclass(frozen=True, eq=False)
class Line:
    """The labels that are nearest to a region in a training region.

    `labels` (IGNORE where there are none) and `depth`, the lines between each label and the face, stand at `face`, the
    training region's line next to the region across `axis`.
    """

    axis: int
    face: Box
    labels: np.ndarray
    depth: np.ndarray


def nearest_line(volume: Volume, labels: str, train: Box, region: Box) -> Line:
    """The labels of `train` that are nearest to `region`, along the first axis on which they are apart.

    Each sample is the first one labelled, looking from the training line next to the region inwards.
    """
    axis = split_axis(train, region)
    assert axis is not None
    after = region.start[axis] >= train.stop[axis]
    first = train.stop[axis] - 1 if after else train.start[axis]
    face = _replace(region, axis, first, 1).intersect(train)
    line = Line(axis, face, np.full(face.shape, IGNORE, np.uint8), np.zeros(face.shape, np.int32))
    tile_shape = _tile_shape(volume, labels)
    for cell in tiles(face, tile_shape) if face.size else ():
        here = cell.relative_to(face.start).slices
        part, depth = line.labels[here], line.depth[here]
        column = list(tiles(_replace(cell, axis, train.start[axis], train.shape[axis]), tile_shape))
        for tile in reversed(column) if after else column:
            values = volume.read_labels(labels, tile)
            values = np.flip(values, axis) if after else values
            nearest = np.expand_dims((values != IGNORE).argmax(axis), axis)
            missing = part == IGNORE
            depth[missing] = (nearest + (first + 1 - tile.stop[axis] if after else tile.start[axis] - first))[missing]
            part[missing] = np.take_along_axis(values, nearest, axis)[missing]
            if not (part == IGNORE).any():
                break
    return line


def _nearest(lines: Sequence[Line], box: Box, majority: np.uint8) -> np.ndarray:
    """In `box` the label of whichever line is nearest, and `majority` where none has one."""
    result = np.full(box.shape, majority)
    least = np.full(box.shape, np.inf)
    for line in lines:
        first = line.face.start[line.axis]
        place = _replace(box, line.axis, first, 1)
        labels = _cut(line.labels, line.face, place, np.uint8(IGNORE))
        away = np.abs(np.arange(box.start[line.axis], box.stop[line.axis]) - first)
        away = np.expand_dims(away, [i for i in range(len(box.shape)) if i != line.axis])
        away = np.where(labels == IGNORE, np.inf, away + _cut(line.depth, line.face, place, np.int32(0)))
        nearer = away < least
        result = np.where(nearer, labels, result)
        least = np.where(nearer, away, least)
    return result


def _tile_shape(volume: Volume, labels: str) -> tuple[int, ...]:
    chunk = volume.arrays[LABELS_PREFIX + labels].chunk
    return grow(chunk, volume.shape, _TILE_SAMPLES)


def _replace(box: Box, axis: int, start: int, side: int) -> Box:
    starts, sides = list(box.start), list(box.shape)
    starts[axis], sides[axis] = start, side
    return Box(tuple(starts), tuple(sides))


def _cut(values: np.ndarray, known: Box, box: Box, fill: np.generic) -> np.ndarray:
    """The part `box` of an array that stands at `known`; `fill` outside it."""
    result = np.full(box.shape, fill)
    common = box.intersect(known)
    if common.size:
        result[common.relative_to(box.start).slices] = values[common.relative_to(known.start).slices]
    return result
