"""Trivial predictors, to be scored beside a network: what a survey gives away without looking at its amplitudes."""

from collections.abc import Callable

import numpy as np

from seisjax.conventions import IGNORE, LABELS_PREFIX
from seisjax.geometry import Box, grow, tiles
from seisjax.volumes import Volume

# Maps a box of samples to predicted classes, uint8 of the box's shape. The box may reach outside the volume.
Predictor = Callable[[Box], np.ndarray]

# Samples read at a time from the training part.
_TILE_SAMPLES = 2**22


def make_baselines(volume: Volume, labels: str, train: Box, region: Box, num_classes: int) -> dict[str, Predictor]:
    """Predictors that know the labels of the training part alone.

    majority_class: the most common class everywhere.
    depth_mode: at each sample of the last axis the most common class there; the majority class where the training
      part has no label at that sample.
    nearest_labelled_line: along the first axis on which `train` and `region` are apart, the label of the nearest
      training line that has one at this place; the majority class where none has. Left out if they are not apart.

    Ties go to the lower class. Memory: a tile of labels and one face of the region.

    Args:
      volume: holds the labels.
      labels: name of the label array, without its prefix.
      train: the training part.
      region: the part to be predicted.
      num_classes: classes that labels name (2 for a network with one sigmoid logit).
    """
    counts = count_by_depth(volume, labels, train, num_classes)
    majority = np.uint8(counts.sum(axis=0).argmax())
    by_depth = np.where(counts.any(axis=1), counts.argmax(axis=1), majority).astype(np.uint8)

    def majority_class(box: Box) -> np.ndarray:
        return np.full(box.shape, majority)

    def depth_mode(box: Box) -> np.ndarray:
        known = Box(train.start[-1:], train.shape[-1:])
        trace = _cut(by_depth, known, Box(box.start[-1:], box.shape[-1:]), majority)
        return np.broadcast_to(trace, box.shape)

    baselines: dict[str, Predictor] = {"majority_class": majority_class, "depth_mode": depth_mode}
    axis = split_axis(train, region)
    if axis is not None:
        line, face = nearest_line(volume, labels, train, region, axis)
        line[line == IGNORE] = majority

        def nearest_labelled_line(box: Box) -> np.ndarray:
            return np.broadcast_to(_cut(line, face, _replace(box, axis, face.start[axis], 1), majority), box.shape)

        baselines["nearest_labelled_line"] = nearest_labelled_line
    return baselines


def count_by_depth(volume: Volume, labels: str, train: Box, num_classes: int) -> np.ndarray:
    """Labelled samples of each class at each sample of the last axis: int64 (train.shape[-1], num_classes)."""
    counts = np.zeros((train.shape[-1], num_classes), np.int64)
    lateral = tuple(range(len(train.shape) - 1))
    for tile in tiles(train, _tile_shape(volume, labels)):
        values = volume.read_labels(labels, tile)
        rows = slice(tile.start[-1] - train.start[-1], tile.stop[-1] - train.start[-1])
        for k in range(num_classes):
            counts[rows, k] += np.count_nonzero(values == k, axis=lateral)
    return counts


def split_axis(train: Box, region: Box) -> int | None:
    """The first axis on which the boxes have no sample in common, None if there is none."""
    for axis in range(len(train.shape)):
        if train.stop[axis] <= region.start[axis] or region.stop[axis] <= train.start[axis]:
            return axis
    return None


def nearest_line(volume: Volume, labels: str, train: Box, region: Box, axis: int) -> tuple[np.ndarray, Box]:
    """The labels that are nearest to `region` along `axis` in `train`, and the box (one thick) where they stand.

    Each sample is the first one labelled, looking from the training line next to the region inwards; IGNORE where no
    line is labelled there.
    """
    after = region.start[axis] >= train.stop[axis]
    first = train.stop[axis] - 1 if after else train.start[axis]
    face = _replace(region, axis, first, 1).intersect(train)
    line = np.full(face.shape, IGNORE, np.uint8)
    if not face.size:
        return line, face
    tile_shape = _tile_shape(volume, labels)
    for cell in tiles(face, tile_shape):
        part = line[cell.relative_to(face.start).slices]
        column = list(tiles(_replace(cell, axis, train.start[axis], train.shape[axis]), tile_shape))
        for tile in reversed(column) if after else column:
            values = volume.read_labels(labels, tile)
            values = np.flip(values, axis) if after else values
            nearest = np.expand_dims((values != IGNORE).argmax(axis), axis)
            found = np.take_along_axis(values, nearest, axis)
            part[...] = np.where(part == IGNORE, found, part)
            if not (part == IGNORE).any():
                break
    return line, face


def _tile_shape(volume: Volume, labels: str) -> tuple[int, ...]:
    chunk = volume.arrays[LABELS_PREFIX + labels].chunk
    return grow(chunk, volume.shape, _TILE_SAMPLES)


def _replace(box: Box, axis: int, start: int, side: int) -> Box:
    starts, sides = list(box.start), list(box.shape)
    starts[axis], sides[axis] = start, side
    return Box(tuple(starts), tuple(sides))


def _cut(values: np.ndarray, known: Box, box: Box, fill: np.uint8) -> np.ndarray:
    """The part `box` of an array that stands at `known`; `fill` outside it."""
    result = np.full(box.shape, fill, np.uint8)
    common = box.intersect(known)
    if common.size:
        result[common.relative_to(box.start).slices] = values[common.relative_to(known.start).slices]
    return result
