"""Windows of several surveys in one stream, each survey with its share, its own statistics and its own axes.

The main survey, number 0, defines axes, sampling interval and window, and the units that amplitudes are handed out in.
The others only add training windows.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np

from seisjax.conventions import IGNORE
from seisjax.data.draws import Turns
from seisjax.data.label_counts import check_labelled
from seisjax.data.source import Batch, WindowSource
from seisjax.data.splits import check_window, split_gaps
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape, check_disjoint, parse_regions
from seisjax.volumes import Volume
from seisjax.volumes.resampling import sampling_interval
from seisjax.volumes.targets import at_interval


@dataclass(frozen=True)
class Member:
    """A survey that training windows are drawn from beside the main one.

    volume: resampled where its interval is another than the main one's; fingerprint: of the volume as it is stored.
    labels: their name; regions: where windows lie. window, padded: the sides along its own axes, of which there may be
    one more or one fewer in front than the main survey has, with a side of 1.
    """

    volume: Volume
    fingerprint: str
    labels: str
    regions: tuple[Box, ...]
    window: Shape
    padded: Shape


def make_member(
    volume: Volume,
    labels: str,
    train: str,
    *,
    main: Volume,
    splits: dict[str, tuple[Box, ...]],
    window: Shape,
    padded: Shape,
    split_gap: int,
    directions: Sequence[str],
) -> Member:
    """A member from a volume with its labels; `train`: regions of it, parted by ";", or "" for all of it.

    main, splits, window, padded, split_gap, directions: those of the main survey.
    Raises UserError for other axes, an interval that cannot be compared, a volume smaller than the window, regions that
    cannot be read or hold no label, and, where it is the main survey once more, regions that reach into its validation
    or test.
    """
    fingerprint = volume.fingerprint
    window, padded = _fit_sides(volume, main, window, padded, directions)
    if fingerprint == main.fingerprint:
        _check_held_out(volume, train, main, splits, split_gaps(main, window, split_gap, directions))
    volume = _at_interval_of(main, volume)
    check_window(volume, window)
    regions = parse_regions(train, volume.axes)
    check_labelled(volume, labels, {"mixture_train": regions})
    return Member(volume, fingerprint, labels, regions, window, padded)


def _fit_sides(
    volume: Volume, main: Volume, window: Shape, padded: Shape, directions: Sequence[str]
) -> tuple[Shape, Shape]:
    """Window and padded window along the volume's own axes."""
    names, known = ([axis.name for axis in each.axes] for each in (volume, main))
    if names == known:
        return window, padded
    if not directions and names[1:] == known:
        return (1, *window), (1, *padded)
    if not directions and names == known[1:] and window[0] == 1:
        return window[1:], padded[1:]
    exactly = "; with data.directions none may be more or fewer" if directions else ""
    raise UserError(
        f"has the axes {', '.join(names)}; data.volume has {', '.join(known)}; mix surveys on axes of the same "
        f"names{exactly}"
    )


def _at_interval_of(main: Volume, volume: Volume) -> Volume:
    """The volume, resampled to the main one's sampling interval where it has another."""
    last, own = main.axes[-1], volume.axes[-1]
    wanted, found = sampling_interval(last), sampling_interval(own)
    if (wanted is None) != (found is None):
        who, other = ("it", "data.volume") if found is None else ("data.volume", "it")
        known = f"{found or wanted:.9g} {own.unit if found else last.unit}"
        raise UserError(
            f"{who} has no even sampling interval with a unit along {last.name}, {other} has a sample every {known}; "
            "store both with an interval"
        )
    if last.unit != own.unit and wanted is not None:
        raise UserError(f"counts its {own.name} in {own.unit}, data.volume in {last.unit}; store both in one unit")
    return volume if wanted is None else at_interval(volume, wanted, resample=True)


def _check_held_out(
    volume: Volume, train: str, main: Volume, splits: dict[str, tuple[Box, ...]], gaps: Sequence[int]
) -> None:
    """Raise UserError where regions of what is the main survey once more reach into its validation or test."""
    held_out = {name: boxes for name, boxes in splits.items() if name != "train"}
    if not held_out:
        return
    if volume.shape != main.shape:
        raise UserError("is data.volume with other axes; its validation and test cannot be kept apart from it")
    try:
        check_disjoint(held_out | {"mixture_train": parse_regions(train, volume.axes)}, gaps, main.axes)
    except UserError as error:
        raise UserError(f"has the axes and statistics of data.volume and counts as the same survey: {error}") from error


class MixedSource:
    """The endless source of training windows of several surveys; see `WindowSource`, whose samples it hands out.

    Which survey sample i comes from, and which of that survey's own samples it is, are a closed form of i: surveys take
    turns as evenly as their shares allow (`Turns`), and each counts its own samples, so it sees each of them once.
    Images come in the units of the first survey: those of the others are scaled and shifted as `in_units_of_first`
    says.

    Args:
      sources: one each survey, the main one first; their samples have the same sides but for a leading side of 1.
      turns: of the surveys.
    """

    reads_alone = False  # samples are brought to the units of the first survey

    def __init__(self, sources: Sequence[WindowSource], turns: Turns) -> None:
        self.sources, self._turns = tuple(sources), turns
        self._scales: tuple[tuple[float, float], ...] = ((1.0, 0.0),) * len(self.sources)
        self.volume, self.padded, self.labels = sources[0].volume, sources[0].padded, sources[0].labels

    def in_units_of_first(self, moments: Sequence[tuple[float, float]]) -> Self:
        """The source with images of every survey in the units of the first one.

        moments: centre and scale (above 0) of each survey's training part; the first survey's is where the others'
        come to lie. So what normalises by that one normalises each survey by its own.
        """
        (center, scale), mixed = moments[0], copy.copy(self)
        factors = [scale / own for _, own in moments]
        shifts = [center - own * factor for (own, _), factor in zip(moments, factors, strict=True)]
        # The first survey's own samples keep their bits.
        mixed._scales = ((1.0, 0.0), *list(zip(factors, shifts, strict=True))[1:])
        return mixed

    def by_survey(self, indices: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
        """Of each survey that comes up: place among `indices`, and number among the survey's own samples."""
        found: dict[int, list[tuple[int, int]]] = {}
        for row, index in enumerate(indices):
            who, number = self._turns[index]
            found.setdefault(who, []).append((row, number))
        return found

    def __getitem__(self, index: int) -> Batch:
        """Sample number `index`."""
        return {name: array[0] for name, array in self.read([index]).items()}

    def place(self, index: int) -> tuple[Volume, Box]:
        """The survey of sample number `index` and where it lies there; see `WindowSource.place`."""
        who, number = self._turns[index]
        return self.sources[who].place(number)

    def start(self, indices: Sequence[int], part: Box | None = None) -> Callable[[], Batch]:
        """`read`, for whoever asks for batches under way: they are put together in the thread that calls this."""
        batch = self.read(indices, part)
        return lambda: batch

    def read(self, indices: Sequence[int], part: Box | None = None) -> Batch:
        """The samples of these numbers, or a part of each, as `WindowSource.read` gives them; surveys are read at once.

        Raises UserError, that names the survey, where no window with a label is found.
        """
        part = Box.whole(self.padded) if part is None else part
        image = np.empty((len(indices), *part.shape, 1 + 2 * self.sources[0].neighbours), np.float32)
        labels = np.full((len(indices), *part.shape), IGNORE, np.uint8)
        rows = self.by_survey(indices)

        def fill(who: int) -> None:
            source, (factor, shift) = self.sources[who], self._scales[who]
            batch = _named(source, [number for _, number in rows[who]], _with_axes(part, len(source.padded)))
            for (row, _), values, known in zip(rows[who], batch["image"], batch["labels"], strict=True):
                np.multiply(values.reshape(image[row].shape), factor, out=image[row])
                image[row] += shift
                labels[row] = known.reshape(part.shape)

        with ThreadPoolExecutor(len(rows), "surveys") as threads:
            list(threads.map(fill, rows))
        return {"image": image, "labels": labels}

    @property
    def bytes_used(self) -> int:
        """Bytes, as stored arrays count them, of the samples that were handed out so far by this process."""
        return sum(source.bytes_used for source in self.sources)


def _with_axes(part: Box, count: int) -> Box:
    """The part of a sample with so many axes: one more in front, or one fewer."""
    if count < len(part.shape):
        return Box(part.start[-count:], part.shape[-count:])
    more = count - len(part.shape)
    return Box((0,) * more + part.start, (1,) * more + part.shape)


def _named(source: WindowSource, numbers: Sequence[int], part: Box) -> Batch:
    try:
        return source.read(numbers, part)
    except UserError as error:
        where = "" if source.volume.url in str(error) else f"{source.volume.url}: "
        raise UserError(f"{where}{error}") from error
