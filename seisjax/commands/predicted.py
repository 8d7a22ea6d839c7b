"""A predicted volume as it is read again: by class, in boxes."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from seisjax.conventions import IGNORE, LABELS_PREFIX, PRED_CLASS, PRED_PROBABILITY
from seisjax.errors import UserError, nearest
from seisjax.geometry import Axis, Box
from seisjax.volumes import open_volume

_EXAMPLE = "example"


class Predicted:
    """Classes, and probabilities where they are stored, as launch/predict.py writes them; or labels in their place."""

    def __init__(self, url: str, labels: str = ""):
        """labels: name of the labels that stand for the classes. Raises UserError for what is no such volume."""
        self.volume = open_volume(url)
        names = tuple(axis.name for axis in self.volume.axes)
        self._labels = labels
        info = self.volume.arrays.get(LABELS_PREFIX + labels if labels else PRED_CLASS)
        if labels and info is None:
            hint = nearest(labels, self.volume.label_names())
            raise UserError(f"--labels={labels}: {url} holds no labels of that name{hint}")
        if info is None or info.dimension_names != names:
            raise UserError(f"{url}: holds no predicted classes; give what launch/predict.py wrote, or --labels=NAME")
        self.layout = info
        probabilities = None if labels else self.volume.arrays.get(PRED_PROBABILITY)
        self.has_probabilities = probabilities is not None
        self._names = list(info.attributes.get("class_names", ()))
        if probabilities is not None:
            self._names += [f"class {i}" for i in range(len(self._names), probabilities.shape[0])]

    @property
    def apart(self) -> list[int]:
        """Axes whose neighbours have nothing to do with one another: examples."""
        return [i for i, axis in enumerate(self.volume.axes) if axis.name == _EXAMPLE]

    @property
    def num_classes(self) -> int:
        """How many classes have a name or probabilities."""
        return len(self._names)

    def number_of(self, flag: str, name: str) -> int:
        """The class of this name, or of this number. Raises UserError that names the flag."""
        return class_number(flag, name, self._names, len(self._names) or IGNORE)

    def name_of(self, number: int) -> str:
        """A class's name."""
        return self._names[number] if number < len(self._names) else f"class {number}"

    def classes(self, box: Box) -> np.ndarray:
        """uint8 classes in `box`, IGNORE where there is none."""
        return self.volume.read_labels(self._labels, box) if self._labels else self.volume.read(PRED_CLASS, box)

    def probability(self, number: int, box: Box) -> np.ndarray:
        """float32 probabilities of a class in `box`, NaN where there are no data; of classes alone 1 and 0."""
        if not self.has_probabilities:
            classes = self.classes(box)
            return np.where(classes == IGNORE, np.float32(np.nan), (classes == number).astype(np.float32))
        return self.volume.read_scaled(PRED_PROBABILITY, Box((number, *box.start), (1, *box.shape)))[0]

    def members(self, number: int, threshold: float | None) -> Callable[[Box], np.ndarray]:
        """What reads where a class is: as it was predicted, or where its probability is at least `threshold`."""
        if threshold is None:
            return lambda box: self.classes(box) == number
        return lambda box: self.probability(number, box) >= threshold

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
