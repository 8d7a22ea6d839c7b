"""A volume as a survey to ingest: for another type, other chunks, copies for sections, or somebody else's store."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from seisjax.conventions import AMPLITUDE, INDEX_PREFIX, LABELS_PREFIX, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes.metadata import ArrayInfo
from seisjax.volumes.readers import Column
from seisjax.volumes.volume import Volume

_LAYOUT = ("axes", "chunk", "shard", "compression")  # what the new volume says of itself
_KEPT = ("unitsV1", "units", "long_name", "standard_name", "class_colors", "label_scale", "interpretation")
_SMALL = 2**24  # samples of an array that is carried over whole


class _Reader:
    """What readers of a volume share: the traces above some cells, and nothing to close."""

    def __init__(self, volume: Volume):
        self.volume = volume
        self.axes: tuple[Axis, ...] = volume.axes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def array_attributes(self) -> dict[str, dict[str, Any]]:
        """What each array knows that does not depend on how its numbers are stored."""
        arrays = self.volume.arrays.values()
        return {info.name: {key: info.attributes[key] for key in _KEPT if key in info.attributes} for info in arrays}

    def _traces(self, cells: Box) -> Box:
        """All samples above `cells`."""
        return Box((*cells.start, 0), (*cells.shape, len(self.axes[-1])))


class VolumeReader(_Reader):
    """The amplitudes of a volume: float32, or whole numbers as they are where they have no scale."""

    def __init__(self, volume: Volume):
        super().__init__(volume)
        self.name = volume.url
        info = volume.arrays[AMPLITUDE]
        scaled = {"scale_factor", "add_offset", "missing_value"} & set(info.attributes)
        self.dtype = info.dtype if info.dtype.kind in "iu" and not scaled else np.dtype(np.float32)
        self.attributes: dict[str, Any] = {k: v for k, v in volume.attributes.items() if k not in _LAYOUT}
        self.attributes.setdefault("source_file", volume.url)

    def column(self, cells: Box) -> Column:
        """The traces above `cells`; without a trace mask, one that is NaN throughout is dead."""
        box = self._traces(cells)
        if self.dtype == np.float32:
            samples = self.volume.read_amplitude(box)
        else:
            samples = np.array(self.volume.read(AMPLITUDE, box))
        live = _live(self.volume, cells)
        if TRACE_MASK not in self.volume.arrays and self.dtype == np.float32:
            doubtful = np.isnan(samples[..., 0])
            live[doubtful] = ~np.isnan(samples[doubtful]).all(axis=-1)
        headers = {info.name: self.volume.read(info.name, cells) for info in self._headers()}
        return Column(samples, live, headers)

    def _headers(self) -> Iterator[ArrayInfo]:
        """Numbers of every trace, e.g. coordinates."""
        names = tuple(axis.name for axis in self.axes)
        for info in self.volume.arrays.values():
            if (
                info.dimension_names == names[:-1]
                and info.name not in (TRACE_MASK, *names)
                and info.dtype.kind in "iuf"
            ):
                yield info

    def companions(self) -> Iterator[tuple[ArrayInfo, np.ndarray]]:
        """Small arrays over other dimensions, such as the places of receivers or a table of events."""
        names = tuple(axis.name for axis in self.axes)
        headers = {info.name for info in self._headers()}
        for info in self.volume.arrays.values():
            over = set(info.dimension_names)
            known = info.name in (*names, TRACE_MASK) or info.name in headers or info.name.startswith(INDEX_PREFIX)
            if not known and names[-1] not in over and over and np.prod(info.shape) <= _SMALL:
                yield info, self.volume.read(info.name, Box.whole(info.shape))


class LabelsReader(_Reader):
    """One label array of a volume, as a survey of uint8 classes."""

    def __init__(self, volume: Volume, label: str):
        super().__init__(volume)
        self.label = label
        self.name = f"{volume.url}/{LABELS_PREFIX}{label}"
        self.dtype = np.dtype(np.uint8)
        self.attributes: dict[str, Any] = {"source_file": volume.url}

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their values."""
        return self.volume.class_names(self.label)

    def column(self, cells: Box) -> Column:
        """The labels above `cells`, IGNORE where there is none."""
        box = self._traces(cells)
        return Column(self.volume.read_labels(self.label, box), _live(self.volume, cells))


def amplitude_or_labels(volume: Volume, label: str) -> VolumeReader | LabelsReader:
    """What of a volume is meant by labels: the array `labels_<label>`, the only label array, or the amplitudes."""
    names = volume.label_names()
    if label in names or len(names) == 1:
        return LabelsReader(volume, label if label in names else names[0])
    if names or AMPLITUDE not in volume.arrays:
        raise UserError(
            f"{volume.url}: holds no labels '{label}' (but: {', '.join(names) or 'none'}); give --label_name"
        )
    return VolumeReader(volume)


def _live(volume: Volume, cells: Box) -> np.ndarray:
    if TRACE_MASK not in volume.arrays:
        return np.ones(cells.shape, bool)
    return volume.read(TRACE_MASK, cells).astype(bool)
