"""Where the traces of a volume stand, and arrays over its traces."""

import numpy as np

from seisjax.conventions import TRACE_MASK
from seisjax.geometry import Box, tiles
from seisjax.interpretation.field import Grid, Line, fit_places
from seisjax.volumes import Volume
from seisjax.volumes.metadata import unit_of

_TILES = 12  # of the map coordinates that the grid is fitted to


def trace_places(volume: Volume) -> tuple[Grid | Line | None, str]:
    """Where the traces stand, None where cdp_x and cdp_y do not say, and the unit of that."""
    across = volume.axes[:-1]
    arrays = [volume.arrays.get(f"cdp_{c}") for c in "xy"]
    if any(info is None or info.dimension_names != tuple(a.name for a in across) for info in arrays):
        return None, "m"
    whole = list(tiles(Box.whole(volume.shape[:-1]), arrays[0].shard if arrays[0] else ()))
    chosen = whole if len(across) == 1 else [whole[i] for i in sorted(set(_spread(len(whole), _TILES)))]
    index, xy = zip(*(_live_places(volume, box) for box in chosen), strict=True)
    unit = unit_of(arrays[0].attributes if arrays[0] else {}) or "m"
    return fit_places(np.concatenate(index), np.concatenate(xy)), unit


def live_traces(volume: Volume, box: Box) -> np.ndarray:
    """Which traces of `box`, of axes above the vertical, hold data."""
    if TRACE_MASK not in volume.arrays:
        return np.ones(box.shape, bool)
    return volume.read(TRACE_MASK, box)


def trace_arrays(volume: Volume) -> list[str]:
    """Arrays that say something of traces or receivers: over some of the axes above the vertical."""
    above = {axis.name for axis in volume.axes[:-1]}
    arrays = volume.arrays.values()
    return [i.name for i in arrays if i.dimension_names and set(i.dimension_names) <= above and i.name not in above]


def copy_array(source: Volume, target: Volume, name: str) -> None:
    """Copy a coordinate array or mask, shard by shard."""
    info = source.arrays[name]
    attributes = {key: value for key, value in info.attributes.items() if key != "coordinates"}
    target.add_array(name, info.dtype, dimension_names=info.dimension_names, attributes=attributes)
    for tile in tiles(Box.whole(info.shape), target.arrays[name].shard):
        target.write(name, tile, source.read(name, tile))


def _live_places(volume: Volume, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Index (trace, axis) and map coordinates (trace, 2) of the live traces in `box`."""
    xy = np.stack([volume.read(f"cdp_{c}", box).astype(np.float64) for c in "xy"], axis=-1)
    live = live_traces(volume, box) & np.isfinite(xy).all(axis=-1)
    return (np.argwhere(live) + box.start).astype(np.float64), xy[live]


def _spread(number: int, most: int) -> list[int]:
    """At most so many of `number` places, from the first to the last."""
    return [round(i) for i in np.linspace(0, number - 1, min(number, most))]
