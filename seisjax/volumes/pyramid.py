"""A volume at half its samples, at a quarter and so on, for looking at it from afar.

Level k lies under NAME/pyramid/k and is a whole volume of its own: whatever opens volumes opens it.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from seisjax.conventions import IGNORE, INDEX_PREFIX, LABELS_PREFIX, PRED_CLASS, SECTIONS_PREFIX
from seisjax.geometry import Axis, Box, Shape, tiles
from seisjax.volumes.ahead import read_ahead
from seisjax.volumes.creating import create_volume
from seisjax.volumes.metadata import ArrayInfo
from seisjax.volumes.store import Store
from seisjax.volumes.volume import Volume

FOLDER = "pyramid"
_SEPARATE = ("example",)  # axes whose neighbours have nothing to do with one another
_KEPT = ("prediction", "predicted_from", "start_time")  # attributes of a volume that hold for its levels too
_CELL_ATTRIBUTES = ("statsV1", "statistics", "coordinates")  # attributes of an array that do not
_AHEAD = 4  # chunks that are read while one is worked on

Reduce = Callable[[np.ndarray], np.ndarray]


def write_pyramid(volume: Volume, levels: int) -> int:
    """Write a volume's `levels` coarser levels beside its arrays, and return how many there are.

    All samples must have been written; whether the volume is finished yet makes no difference. Processes that do this
    at the same time write the same.
    A level has half the samples of the one below it along every axis that is longer there than one chunk, examples
    excepted; there are fewer levels where no axis is. A sample stands for a cell of (2, 2, ...) below it, fewer at the
    ends: classes and other whole numbers are the most frequent of them (of equals the lowest; IGNORE where all are),
    probabilities, amplitudes and all other measures are the mean of those that hold data, masks are True where any is.
    Labels of an axis are those of the cells' middles, so that pictures of all levels lie on one another. The attribute
    `pyramid` names the level and, for each axis, how many samples of the volume one of its own spans.
    In memory are one shard of an array and a few chunks. Raises UserError when the storage fails.
    """
    found = [volume]
    factor = [1] * len(volume.axes)
    for level in range(1, levels + 1):
        below = found[-1]
        sides = _sides(below)
        if max(sides) == 1:
            break
        factor = [f * side for f, side in zip(factor, sides, strict=True)]
        found.append(_write_level(volume, below, sides, level, factor))
    _describe(volume, found[1:])
    return len(found) - 1


def _sides(volume: Volume) -> Shape:
    """Samples of a cell along each axis."""
    chunks = zip(volume.axes, volume.attributes["chunk"], strict=True)
    return tuple(2 if len(axis) > chunk and axis.name not in _SEPARATE else 1 for axis, chunk in chunks)


def _describe(volume: Volume, levels: Sequence[Volume]) -> None:
    """The group that holds the levels: a Zarr group of no arrays, which names them."""
    named = [{"path": str(i + 1), **level.attributes["pyramid"]} for i, level in enumerate(levels)]
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"levels": named}}
    if levels:
        Store(_place(volume)).write_json("zarr.json", group)


def _place(volume: Volume, level: int | str = "") -> str:
    return f"{volume.place.rstrip('/')}/{FOLDER}/{level}".rstrip("/")


def _write_level(volume: Volume, below: Volume, sides: Shape, level: int, factor: Sequence[int]) -> Volume:
    names = [axis.name for axis in below.axes]
    coarse = create_volume(
        _place(volume, level),
        [_coarser(axis, side) for axis, side in zip(below.axes, sides, strict=True)],
        dtype=None,
        chunk=volume.attributes["chunk"],
        shard=volume.attributes["shard"],
        kind=volume.kind,
        attributes={name: volume.attributes[name] for name in _KEPT if name in volume.attributes}
        | {"pyramid": {"level": level, "factor": dict(zip(names, factor, strict=True))}},
        shared=True,
    )
    with coarse:
        for name, info in below.arrays.items():
            if not name.startswith((INDEX_PREFIX, SECTIONS_PREFIX)) and set(info.dimension_names) & set(names):
                _write_array(below, coarse, info, dict(zip(names, sides, strict=True)))
    return coarse


def _coarser(axis: Axis, side: int) -> Axis:
    """The axis of cells of `side` samples; the middle of one that is not full is where a full one's would be."""
    labels = np.asarray(axis.labels)
    if side == 1:
        return axis
    missing = -len(labels) % side
    beyond = labels[-1] + (labels[-1] - labels[-2]) * np.arange(1, missing + 1)
    middles = np.concatenate([labels, beyond]).reshape(-1, side).mean(axis=1)
    whole = labels.dtype.kind in "iu" and np.array_equal(middles, np.rint(middles))
    return Axis(axis.name, middles.astype(np.int64) if whole else middles, axis.unit)


def _write_array(below: Volume, coarse: Volume, info: ArrayInfo, side_of: dict[str, int]) -> None:
    """Write an array of a level, shard by shard; the array of an axis is there already."""
    if info.name in coarse.arrays:
        return
    sides = tuple(side_of.get(name, 1) for name in info.dimension_names)
    missing = _missing(info)
    coarse.add_array(
        info.name,
        info.dtype,
        dimension_names=info.dimension_names,
        shape=[-(-n // side) for n, side in zip(info.shape, sides, strict=True)],
        fill=missing,
        attributes={key: value for key, value in info.attributes.items() if key not in _CELL_ATTRIBUTES},
    )
    added = coarse.arrays[info.name]
    reduce = _reduction(info, missing)
    for shard in coarse.shards(info.name):
        values = np.empty(shard.shape, info.dtype)
        for cells, fine in _read_ahead(below, info, tiles(shard, added.chunk), sides):
            values[cells.relative_to(shard.start).slices] = reduce(_members(fine, sides))
        coarse.write(info.name, shard, values)


def _read_ahead(
    below: Volume, info: ArrayInfo, chunks: Iterator[Box], sides: Shape
) -> Iterator[tuple[Box, np.ndarray]]:
    """Each box of cells with the samples below it."""
    whole = Box.whole(info.shape)

    def finer(cells: Box) -> Box:
        start, shape = (tuple(a * b for a, b in zip(part, sides, strict=True)) for part in (cells.start, cells.shape))
        return Box(start, shape).intersect(whole)

    return read_ahead(((cells, below.start_read(info.name, finer(cells))) for cells in chunks), _AHEAD + 1)


def _members(values: np.ndarray, sides: Shape) -> np.ndarray:
    """The samples of every cell, (samples of a cell, *cells).

    What a cell lacks along an axis is what it has there once more, which changes neither mean nor most frequent.
    """
    lacking = [(0, -n % side) for n, side in zip(values.shape, sides, strict=True)]
    values = np.pad(values, lacking, mode="edge")
    corners = itertools.product(*(range(side) for side in sides))
    return np.stack([values[tuple(slice(a, None, s) for a, s in zip(c, sides, strict=True))] for c in corners])


def _missing(info: ArrayInfo) -> Any:
    """The value of an array's samples that hold no data; None where all do, or NaN says so."""
    is_class = info.name == PRED_CLASS or info.name.startswith(LABELS_PREFIX)
    values = np.atleast_1d(info.attributes.get("missing_value", [IGNORE] if is_class else []))
    return values[0].item() if len(values) and info.dtype.kind in "iu" else None


def _reduction(info: ArrayInfo, missing: Any) -> Reduce:
    """What makes one sample of the samples of a cell, (samples of a cell, *cells) -> (*cells)."""
    measures = "scale_factor" in info.attributes or "label_scale" in info.attributes
    if info.dtype.kind == "b":
        return lambda members: np.logical_or.reduce(members, axis=0)
    if info.dtype.kind == "f" or measures:
        return lambda members: _mean(members, missing)
    return lambda members: _most_frequent(members, missing)


def _mean(members: np.ndarray, missing: Any) -> np.ndarray:
    """The mean of the members that hold data, in their type; `missing` (NaN for floats) where none does."""
    floats = members.dtype.kind == "f"
    wide = np.float32 if members.dtype.itemsize <= 2 or members.dtype == np.float32 else np.float64
    total = np.zeros(members.shape[1:], wide)
    count = np.zeros(members.shape[1:], np.uint8)
    for member in members:
        known = np.isfinite(member) if floats else (member != missing if missing is not None else np.True_)
        np.add(total, member, out=total, where=known, casting="unsafe")
        count += known
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is none
        total /= count
    if floats:
        return total.astype(members.dtype)
    rounded = np.rint(np.where(count > 0, total, 0 if missing is None else missing))
    return rounded.astype(members.dtype)


def _most_frequent(members: np.ndarray, missing: Any) -> np.ndarray:
    """The value that most of the members have (of equals the lowest); `missing` counts where there is nothing else."""
    best, most = members[0].copy(), np.zeros(members.shape[1:], np.uint8)
    for value in members:
        count = (members == value).sum(axis=0, dtype=np.uint8)
        if missing is not None:
            count[value == missing] = 0
        better = (count > most) | ((count == most) & (value < best) & (count > 0))
        np.copyto(best, value, where=better)
        np.copyto(most, count, where=better)
    return best
