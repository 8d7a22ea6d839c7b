"""A predicted volume as it is read again: by class, in boxes, and where its traces stand."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from seisjax.conventions import IGNORE, PRED_CLASS, PRED_PROBABILITY, TRACE_MASK
from seisjax.errors import UserError, nearest
from seisjax.geometry import Axis, Box, tiles
from seisjax.interpretation.field import Grid, Line, fit_places
from seisjax.volumes import open_volume
from seisjax.volumes.metadata import unit_of

_EXAMPLE = "example"
_TILES = 12  # of the map coordinates that the grid is fitted to


class Predicted:
    """Classes, and probabilities where they are stored, as launch/predict.py writes them."""

    def __init__(self, url: str):
        """Raises UserError for what is no such volume."""
        self.volume = open_volume(url)
        names = tuple(axis.name for axis in self.volume.axes)
        info = self.volume.arrays.get(PRED_CLASS)
        if info is None or info.dimension_names != names:
            raise UserError(f"{url}: holds no predicted classes; give what launch/predict.py wrote")
        self.layout = info
        probabilities = self.volume.arrays.get(PRED_PROBABILITY)
        self.has_probabilities = probabilities is not None
        self._names = list(info.attributes.get("class_names", ()))
        if probabilities is not None:
            self._names += [f"class {i}" for i in range(len(self._names), probabilities.shape[0])]

    @property
    def apart(self) -> list[int]:
        """Axes whose neighbours have nothing to do with one another: examples."""
        return [i for i, axis in enumerate(self.volume.axes) if axis.name == _EXAMPLE]

    def number_of(self, flag: str, name: str) -> int:
        """The class of this name, or of this number. Raises UserError that names the flag."""
        return class_number(flag, name, self._names, len(self._names) or IGNORE)

    def name_of(self, number: int) -> str:
        """A class's name."""
        return self._names[number] if number < len(self._names) else f"class {number}"

    def probability(self, number: int, box: Box) -> np.ndarray:
        """float32 probabilities of a class in `box`, NaN where there are no data; of classes alone 1 and 0."""
        if not self.has_probabilities:
            classes = self.volume.read(PRED_CLASS, box)
            return np.where(classes == 255, np.float32(np.nan), (classes == number).astype(np.float32))
        return self.volume.read_scaled(PRED_PROBABILITY, Box((number, *box.start), (1, *box.shape)))[0]

    def members(self, number: int, threshold: float | None) -> Callable[[Box], np.ndarray]:
        """What reads where a class is: as it was predicted, or where its probability is at least `threshold`."""
        if threshold is None:
            return lambda box: self.volume.read(PRED_CLASS, box) == number
        return lambda box: self.probability(number, box) >= threshold

    def places(self) -> tuple[Grid | Line | None, str]:
        """Where the traces stand, None where cdp_x and cdp_y do not say, and the unit of that."""
        across = self.volume.axes[:-1]
        arrays = [self.volume.arrays.get(f"cdp_{c}") for c in "xy"]
        if any(info is None or info.dimension_names != tuple(a.name for a in across) for info in arrays):
            return None, "m"
        whole = list(tiles(Box.whole(self.volume.shape[:-1]), arrays[0].shard if arrays[0] else ()))
        chosen = whole if len(across) == 1 else [whole[i] for i in sorted(set(_spread(len(whole), _TILES)))]
        index, xy = zip(*(self._live_places(box) for box in chosen), strict=True)
        unit = unit_of(arrays[0].attributes if arrays[0] else {}) or "m"
        return fit_places(np.concatenate(index), np.concatenate(xy)), unit

    def _live_places(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Index (trace, axis) and map coordinates (trace, 2) of the live traces in `box`."""
        xy = np.stack([self.volume.read(f"cdp_{c}", box).astype(np.float64) for c in "xy"], axis=-1)
        live = self.live(box) & np.isfinite(xy).all(axis=-1)
        return (np.argwhere(live) + box.start).astype(np.float64), xy[live]

    def live(self, box: Box) -> np.ndarray:
        """Which traces of `box`, of axes above the vertical, hold data."""
        if TRACE_MASK not in self.volume.arrays:
            return np.ones(box.shape, bool)
        return self.volume.read(TRACE_MASK, box)

    def trace_arrays(self) -> list[str]:
        """Arrays that say something of traces or receivers: over some of the axes above the vertical."""
        above = {axis.name for axis in self.volume.axes[:-1]}
        arrays = self.volume.arrays.values()
        return [i.name for i in arrays if i.dimension_names and set(i.dimension_names) <= above and i.name not in above]

    def axes_without_examples(self) -> list[Axis]:
        """The axes that have a measure."""
        return [axis for i, axis in enumerate(self.volume.axes) if i not in self.apart]


def class_number(flag: str, name: str, names: Sequence[str], count: int) -> int:
    """The class of this name, or of this number below `count`. Raises UserError that names the flag."""
    if name in names:
        return list(names).index(name)
    if name.isdecimal() and int(name) < count:
        return int(name)
    raise UserError(f"--{flag}={name}: there is no such class{nearest(name, names)}")


def _spread(number: int, most: int) -> list[int]:
    """At most so many of `number` places, from the first to the last."""
    return [round(i) for i in np.linspace(0, number - 1, min(number, most))]


class ReadAhead:
    """`read` for boxes that are asked for in a known order: the next one is read while one is worked on."""

    def __init__(self, read: Callable[[Box], np.ndarray], boxes: Sequence[Box]):
        self._read, self._next = read, dict(zip(boxes, boxes[1:], strict=False))
        self._under_way: dict[Box, Future[np.ndarray]] = {}
        self._thread = ThreadPoolExecutor(1, "read ahead")

    def __call__(self, box: Box) -> np.ndarray:
        """The samples of a box."""
        pending = self._under_way.pop(box, None)
        following = self._next.get(box)
        values = pending.result() if pending else self._read(box)
        if following is not None:
            self._under_way[following] = self._thread.submit(self._read, following)
        return values

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._thread.shutdown(cancel_futures=True)
