"""Boxes, regions, tilings and lattices: whole-number geometry, numpy only.

Everything here counts samples from the volume's origin; coordinate labels appear in `Axis`, in `sampling` and in the
text of regions alone.
"""

import bisect
import functools
import itertools
import math
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from seisjax.conventions import SECONDS, VERTICAL_UNITS
from seisjax.errors import UserError, nearest

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """An axis-aligned box of samples: `start` (may be negative) and `shape` (a side of 0 makes it empty)."""

    start: Shape
    shape: Shape

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Self:
        """The box of an array of this shape."""
        return cls((0,) * len(shape), tuple(shape))

    @classmethod
    def between(cls, start: Sequence[int], stop: Sequence[int]) -> Self:
        """The box [start, stop); sides that would be negative are 0."""
        return cls(tuple(start), tuple([max(b - a, 0) for a, b in zip(start, stop, strict=True)]))

    @property
    def stop(self) -> Shape:
        """First sample past the box, along each axis."""
        return tuple(map(operator.add, self.start, self.shape))

    @property
    def size(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Index of the box in an array whose origin is the volume's. Start must not be negative."""
        return tuple(map(slice, self.start, self.stop))

    def intersect(self, other: Self) -> Self:
        """The samples of both boxes; empty (size 0) where they do not meet."""
        return self.between(
            tuple(map(max, self.start, other.start)),
            tuple(map(min, self.stop, other.stop)),
        )

    def contains(self, other: Self) -> bool:
        """Whether every sample of `other` is in this box."""
        return all(
            a <= c and c + m <= a + n
            for a, n, c, m in zip(self.start, self.shape, other.start, other.shape, strict=True)
        )

    def relative_to(self, origin: Sequence[int]) -> Self:
        """The same box counted from `origin`."""
        return type(self)(tuple(map(operator.sub, self.start, origin)), self.shape)


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a volume: its name, a rising 1-D array of coordinate labels, their unit ("" for line numbers)."""

    name: str
    labels: np.ndarray
    unit: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def __str__(self) -> str:
        return f"{self.name}:{_number(self.labels[0])}-{_number(self.labels[-1])}"


def sampling(axis: Axis) -> tuple[float, float]:
    """Sampling interval and time of the first sample, s, of a time axis; without a unit it is in ms.

    Raises UserError where it is no time or uneven.
    """
    unit = axis.unit or VERTICAL_UNITS["time"]
    if unit not in SECONDS:
        raise UserError(f"axis {axis.name}: counts in {unit}, not in {', '.join(SECONDS)}; give a recording over time")
    seconds = np.asarray(axis.labels, np.float64) * SECONDS[unit]
    steps = np.diff(seconds)
    if not len(steps) or steps.min() <= 0 or np.ptp(steps) > 1e-3 * steps.min():
        raise UserError(f"axis {axis.name}: its samples are not evenly spaced; resample the recording")
    return float((seconds[-1] - seconds[0]) / len(steps)), float(seconds[0])


def _number(label: float) -> str:
    # All digits, so that the text names this very label, and no exponent, which a region cannot hold.
    return np.format_float_positional(float(label), trim="-")


_SLACK = 1e-6  # of a step, by which a label may miss what is written: sums of floats do
_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)"
_PART = re.compile(rf"\s*([A-Za-z_]\w*)\s*:\s*({_NUMBER})(?:\s*-\s*({_NUMBER}))?\s*")


def parse_region(text: str, axes: Sequence[Axis]) -> Box:
    """The box that a region in coordinate labels names: `inline:1075-1088,crossline:1000-1199`, both ends included.

    An axis that is not named is taken whole, and so is everything by an empty text.
    Raises UserError for a malformed part, an unknown or repeated axis, a reversed range, and one that holds no label of
    its axis.
    """
    start, stop = [0] * len(axes), [len(axis) for axis in axes]
    names = [axis.name for axis in axes]
    seen: set[str] = set()
    for part in filter(str.strip, text.split(",")):
        match = _PART.fullmatch(part)
        if match is None:
            raise UserError(f"region '{text}': cannot read '{part.strip()}'; write axis:first-last, e.g. {axes[0]}")
        name, first, last = match.group(1), match.group(2), match.group(3) or match.group(2)
        if name not in names:
            raise UserError(f"region '{text}': the volume has no axis '{name}'{nearest(name, names)}")
        if float(first) > float(last):
            raise UserError(f"region '{text}': '{part.strip()}' is reversed; write {name}:{last}-{first}")
        if name in seen:
            raise UserError(f"region '{text}': axis '{name}' stands twice; name each axis once")
        seen.add(name)
        axis, i = axes[names.index(name)], names.index(name)
        slack = _SLACK * float(np.diff(axis.labels).min()) if len(axis) > 1 else 0.0
        start[i] = int(np.searchsorted(axis.labels, float(first) - slack, side="left"))
        stop[i] = int(np.searchsorted(axis.labels, float(last) + slack, side="right"))
        if start[i] >= stop[i]:
            raise UserError(f"region '{text}': no {name} between {first} and {last}; it has {axis}")
    return Box.between(start, stop)


def format_region(box: Box, axes: Sequence[Axis]) -> str:
    """The region text of a non-empty box inside the volume; `parse_region` gives the box back."""
    ends = zip(axes, box.start, box.stop, strict=True)
    return ",".join(f"{a.name}:{_number(a.labels[i])}-{_number(a.labels[j - 1])}" for a, i, j in ends)


def parse_regions(text: str, axes: Sequence[Axis]) -> tuple[Box, ...]:
    """The boxes that regions parted by `;` name: `inline:1-20;inline:300,crossline:5-9`. An empty text takes all.

    Raises UserError as `parse_region` does, and for regions that share samples.
    """
    texts = [part.strip() for part in text.split(";") if part.strip()] or [""]
    boxes = tuple(parse_region(part, axes) for part in texts)
    for (text_a, a), (text_b, b) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        common = a.intersect(b)
        if common.size:
            raise UserError(
                f"regions '{text_a}' and '{text_b}' share {format_region(common, axes)}; "
                "give regions of one split that have no sample in common"
            )
    return boxes


def format_regions(boxes: Sequence[Box], axes: Sequence[Axis]) -> str:
    """The text of several regions; `parse_regions` gives the boxes back."""
    return ";".join(format_region(box, axes) for box in boxes)


def check_disjoint(regions: Mapping[str, Sequence[Box]], gap: Sequence[int], axes: Sequence[Axis]) -> None:
    """Prove that no two splits come nearer than `gap` samples.

    Along some axis at least gap[axis] samples lie between each region of one split and each of another. Raises
    UserError that names the two splits and what lies between them.
    """
    for (name_a, boxes_a), (name_b, boxes_b) in itertools.combinations(regions.items(), 2):
        for a, b in itertools.product(boxes_a, boxes_b):
            _check_apart(f"data.{name_a}", a, f"data.{name_b}", b, gap, axes)


def _check_apart(name_a: str, a: Box, name_b: str, b: Box, gap: Sequence[int], axes: Sequence[Axis]) -> None:
    between = [max(a.start[i] - b.stop[i], b.start[i] - a.stop[i]) for i in range(len(axes))]
    if any(distance >= max(g, 0) for distance, g in zip(between, gap, strict=True)):
        return
    common = a.intersect(b)
    over, across = (
        any(x.start[i] <= y.start[i] and y.stop[i] <= x.stop[i] and x.shape[i] > y.shape[i] for i in range(len(axes)))
        for x, y in ((a, b), (b, a))
    )
    if common.size and over and across:
        raise UserError(
            f"{name_a} and {name_b} cross: {format_region(a, axes)} and {format_region(b, axes)} overlap in "
            f"{format_region(common, axes)}, where lines of one direction run through all lines of the other; "
            "part the splits along one axis"
        )
    i = int(np.argmax(between))
    what = f"overlap by {-between[i]}" if between[i] < 0 else f"are parted by only {between[i]}"
    raise UserError(
        f"{name_a} and {name_b} {what} along {axes[i].name} where {gap[i]} must lie between them; "
        "move a region apart or lower data.split_gap"
    )


def section_windows(
    window: Sequence[int], directions: Sequence[str], axes: Sequence[Axis], field: str = "data.directions"
) -> tuple[Shape, ...]:
    """The window that cuts sections across each of the axes `directions`: the long sides keep their order.

    With no directions it is the window itself. field: what messages call the directions. Raises UserError for an axis
    that is unknown or named twice, for a window that is no section (one side of 1) of a volume of 3 axes, and for one
    longer than the volume.
    """
    if not directions:
        return (tuple(window),)
    names = [axis.name for axis in axes]
    for name in directions:
        if name not in names:
            raise UserError(f"{field}: the volume has no axis '{name}'{nearest(name, names)}")
    if len(set(directions)) < len(directions):
        raise UserError(f"{field}={tuple(directions)}: an axis stands twice; name each once")
    long = [side for side in window if side > 1]
    if len(axes) != 3 or len(window) != 3 or len(long) != 2:
        raise UserError(
            f"{field}: sections of data.window={tuple(window)} cannot be cut in several directions; give "
            "exactly one side of 1 on a volume of 3 axes"
        )
    windows = []
    for name in directions:
        sides = list(long)
        sides.insert(names.index(name), 1)
        for axis, side in zip(axes, sides, strict=True):
            if side > len(axis):
                raise UserError(
                    f"{field}: a section across {name} has {side} samples along {axis.name}, the volume only "
                    f"{len(axis)}; make data.window smaller or leave {name} out"
                )
        windows.append(tuple(sides))
    return tuple(windows)


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `value`."""
    return -(-value // multiple) * multiple


def padded_window(window: Sequence[int], multiple: int | Sequence[int]) -> Shape:
    """Window sides rounded up to a `multiple`, one for all or one each; sides of 1 (sections) stay."""
    pairs = zip(window, for_each(multiple, window), strict=True)
    return tuple(side if side == 1 else round_up(side, m) for side, m in pairs)


def for_each(value: int | Sequence[int], window: Sequence[int]) -> Shape:
    """A number for each side of a window, of one for all of them or one each."""
    return (value,) * len(window) if isinstance(value, int) else tuple(value)


def put_back(window: Sequence[int], long: Sequence[int], other: int = 1) -> Shape:
    """A number for each side of a window: those of its sides longer than 1 are `long`, in their order."""
    values = iter(long)
    return tuple(next(values) if side > 1 else other for side in window)


def section_axis(window: Sequence[int]) -> int | None:
    """The axis across which a window is a section, the last one with a side of 1; None where it is none."""
    return next((axis for axis in reversed(range(len(window))) if window[axis] == 1), None)


def factors(strides: Sequence[Sequence[int]], ndim: int) -> tuple[Shape, ...]:
    """Of each of a network's resolutions, the finest first, how many samples of the window one of its samples spans
    along each axis; strides: from one resolution to the next."""
    columns = (zip((1,) * ndim, *strides[:level], strict=True) for level in range(len(strides) + 1))
    return tuple(tuple(map(math.prod, column)) for column in columns)


def tiles(box: Box, tile: Sequence[int]) -> Iterator[Box]:
    """The pieces into which the grid of `tile`-sized cells anchored at the volume's origin cuts `box`, in C order."""
    ranges = (range(a // t, -(-b // t)) for a, b, t in zip(box.start, box.stop, tile, strict=True))
    for index in itertools.product(*ranges):
        cell = Box(tuple(i * t for i, t in zip(index, tile, strict=True)), tuple(tile))
        yield cell.intersect(box)


def grow(unit: Sequence[int], extent: Sequence[int], limit: int) -> Shape:
    """A shape of whole units, at least one, that holds at most `limit` samples if it can: as many units as `extent`
    needs along the last axis, then along the one before it, and so on."""
    room = limit // math.prod(map(min, unit, extent))
    shape = list(unit)
    for i in reversed(range(len(unit))):
        needed = -(-extent[i] // unit[i])
        shape[i] = unit[i] * max(min(needed, room), 1)
        room //= needed
    return tuple(shape)


@dataclass(frozen=True)
class Lattice:
    """Windows of one size at multiples of `stride` from `origin`, as many as cover `shape` samples from there.

    The last window along an axis may reach past the end. With `multiple`, which divides the strides, it is drawn back
    until it does so by less than that. A window's place does not depend on what is asked for, so neither does its
    result.
    """

    shape: Shape
    window: Shape
    stride: Shape
    origin: Shape = ()
    multiple: Shape = ()

    @property
    def counts(self) -> Shape:
        """Windows along each axis."""
        return tuple(-(-max(n - w, 0) // s) + 1 for n, w, s in zip(self.shape, self.window, self.stride, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def __getitem__(self, index: int) -> Box:
        """Window number `index`, in C order."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        places = (int(i) for i in np.unravel_index(index, self.counts))
        return Box(tuple(starts[i] for starts, i in zip(self.starts, places, strict=True)), self.window)

    def touching(self, box: Box) -> Iterator[Box]:
        """The windows that share a sample with `box`, in C order."""
        return (Box(start, self.window) for start in itertools.product(*self._places(box)))

    def count(self, box: Box) -> int:
        """How many windows share a sample with `box`."""
        return math.prod(map(len, self._places(box)))

    def hull(self, box: Box) -> Box:
        """The smallest box that holds all windows that share a sample with `box`; empty where there is none."""
        places = self._places(box)
        if not all(places):
            return Box(box.start, (0,) * len(self.shape))
        stop = (starts[-1] + side for starts, side in zip(places, self.window, strict=True))
        return Box.between([starts[0] for starts in places], tuple(stop))

    def _places(self, box: Box) -> list[list[int]]:
        """Along each axis, where the windows that share a sample with `box` start."""
        return [
            starts[bisect.bisect_right(starts, a - w) : bisect.bisect_left(starts, b)]
            for starts, a, b, w in zip(self.starts, box.start, box.stop, self.window, strict=True)
        ]

    @functools.cached_property
    def starts(self) -> tuple[list[int], ...]:
        """Where windows start along each axis."""
        origin = self.origin or (0,) * len(self.shape)
        multiple = self.multiple or self.stride
        return tuple(
            [o + min(i * s, round_up(max(n - w, 0), m)) for i in range(count)]
            for o, s, n, w, m, count in zip(
                origin, self.stride, self.shape, self.window, multiple, self.counts, strict=True
            )
        )


def lattice_stride(window: Sequence[int], overlap: float, multiple: int | Sequence[int]) -> Shape:
    """Stride of a prediction lattice: the window less the overlap, a multiple of `multiple`, which is one for all sides
    or one each; 1 for sides of 1."""
    pairs = zip(window, for_each(multiple, window), strict=True)
    strides = (max(int(side * (1 - overlap)) // m, 1) * m for side, m in pairs)
    return tuple(1 if side == 1 else min(s, side) for side, s in zip(window, strides, strict=True))
