"""Surveys in `.npy`, `.npz` and HDF5 files: one array, its axes counted from 0 or named by 1-D arrays beside it."""

import contextlib
import math
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import h5py
import numpy as np

from seisjax.conventions import VERTICAL_AXES, VERTICAL_UNITS
from seisjax.errors import UserError, nearest, note
from seisjax.geometry import Axis, Box, Shape
from seisjax.volumes.readers import Column

_NAMES = {2: ("trace",), 3: ("inline", "crossline"), 4: ("inline", "crossline", "offset")}


class ArrayReader:
    """One array of a file as a survey. `read(box)` gives samples, `beside(name)` a 1-D array or None."""

    array_attributes: Mapping[str, Mapping[str, Any]] = {}

    def __init__(
        self,
        name: str,
        shape: Shape,
        dtype: np.dtype,
        read: Callable[[Box], np.ndarray],
        beside: Callable[[str], np.ndarray | None],
        close: Callable[[], None],
        *,
        axes: Mapping[str, Any] | None,
        vertical: str,
        interval: float | None,
        like: Sequence[Axis] | None = None,
    ):
        self.name = name
        self._read, self._close = read, close
        if dtype.kind not in "fiub":
            raise UserError(f"{name}: holds {dtype}; amplitudes and labels are numbers")
        self.dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
        self.axes = _make_axes(name, shape, axes, vertical, interval, beside, like)
        self.attributes: dict[str, Any] = {
            "source_file": os.path.abspath(name),
            "num_traces": math.prod(shape[:-1]),
        }
        steps = np.unique(np.diff(self.axes[-1].labels))
        if len(steps) == 1 and self.axes[-1].unit:
            self.attributes["sampling_interval"] = float(steps[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def column(self, cells: Box) -> Column:
        """The traces above `cells`; a trace that is NaN throughout is dead."""
        box = Box((*cells.start, 0), (*cells.shape, len(self.axes[-1])))
        with reading(self.name):
            samples = np.array(self._read(box), self.dtype, order="C")
        live = np.ones(cells.shape, bool)
        if self.dtype.kind == "f":
            doubtful = np.isnan(samples[..., 0])
            live[doubtful] = ~np.isnan(samples[doubtful]).all(axis=-1)
        return Column(samples, live)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Faults of the disk or of a file's own library as one clear line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{name}: cannot be read ({error}); check the file and its permissions") from error


def split_dataset(path: str, dataset: str) -> tuple[str, str]:
    """File and array of `file.h5:/group/array`; `dataset` where the path names none."""
    if not os.path.exists(path) and ":" in path:
        file, _, name = path.rpartition(":")
        if os.path.exists(file):
            return file, name
    return path, dataset


def open_npy(path: str, **options: Any) -> ArrayReader:
    """Open a `.npy` file. Raises UserError."""
    with reading(path), Path(path).open("rb") as file:
        shape, fortran, dtype = _npy_header(file)
        offset = file.tell()

    def read(box: Box) -> np.ndarray:
        # Mapped anew for every piece: pages that were read do not add up.
        return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")[box.slices]

    return ArrayReader(path, shape, dtype, read, lambda _: None, lambda: None, **options)


def open_npz(path: str, dataset: str = "", **options: Any) -> ArrayReader:
    """Open an array of an `.npz` file; a compressed one is unpacked into a temporary file first. Raises UserError."""
    with reading(path), zipfile.ZipFile(path) as archive:
        members = {}
        for member in archive.infolist():
            with archive.open(member) as file:
                members[member.filename.removesuffix(".npy")] = (member, *_npy_header(file))
    name = _choose(path, dataset, {key: (shape, dtype) for key, (_, shape, _, dtype) in members.items()})
    member, shape, fortran, dtype = members[name]
    unpacked = None
    with reading(path):
        if member.compress_type == zipfile.ZIP_STORED:
            source, start = path, _data_offset(path, member)
        else:
            unpacked = tempfile.NamedTemporaryFile(suffix=".npy")  # noqa: SIM115 (closed by the reader)
            with zipfile.ZipFile(path) as archive, archive.open(member) as file:
                shutil.copyfileobj(file, unpacked, 2**24)
            unpacked.flush()
            source, start = unpacked.name, 0
        with Path(source).open("rb") as file:
            file.seek(start)
            _npy_header(file)
            offset = file.tell()

    def read(box: Box) -> np.ndarray:
        return np.memmap(source, dtype, "r", offset, shape, "F" if fortran else "C")[box.slices]

    def beside(key: str) -> np.ndarray | None:
        if key not in members or len(members[key][1]) != 1:
            return None
        with np.load(path) as arrays:
            return arrays[key]

    return ArrayReader(
        f"{path}:{name}", shape, dtype, read, beside, unpacked.close if unpacked else _nothing, **options
    )


def open_hdf5(path: str, dataset: str = "", **options: Any) -> ArrayReader:
    """Open a dataset of an HDF5 file; its dimension scales name the axes where `axes` does not. Raises UserError."""
    with reading(path):
        file = h5py.File(path, "r")
        found: dict[str, h5py.Dataset] = {}
        file.visititems(lambda key, item: found.update({key: item}) if isinstance(item, h5py.Dataset) else None)
    try:
        name = _choose(path, dataset.strip("/"), {key: (item.shape, item.dtype) for key, item in found.items()})
        array, folder = found[name], name.rpartition("/")[0]

        def beside(key: str) -> np.ndarray | None:
            item = found.get(f"{folder}/{key}".strip("/"), found.get(key.strip("/")))
            return item[:] if item is not None and item.ndim == 1 else None

        scales = [_scale_name(array.dims[i]) for i in range(array.ndim)]
        if not options.get("axes") and all(scales[:-1]):
            options["axes"] = {scale.rpartition("/")[-1]: scale for scale in scales[:-1]}
        return ArrayReader(
            f"{path}:/{name}", array.shape, array.dtype, lambda box: array[box.slices], beside, file.close, **options
        )
    except BaseException:
        file.close()
        raise


def _nothing() -> None:
    pass


def _scale_name(dimension: Any) -> str:
    return dimension[0].name.strip("/") if len(dimension) else ""


def _npy_header(file: IO[bytes]) -> tuple[Shape, bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _data_offset(path: str, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: after its local header, whose names may be longer than the directory's."""
    with Path(path).open("rb") as file:
        file.seek(member.header_offset + 26)
        return member.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))


def _choose(path: str, wanted: str, arrays: Mapping[str, tuple[Shape, np.dtype]]) -> str:
    """The array that is asked for, else the only one of most dimensions."""
    if wanted:
        if wanted not in arrays:
            raise UserError(f"{path}: holds no array '{wanted}'{nearest(wanted, arrays)}; give another --dataset")
        return wanted
    numbers = {key: len(shape) for key, (shape, dtype) in arrays.items() if dtype.kind in "fiub" and len(shape) > 1}
    best = [key for key, ndim in numbers.items() if ndim == max(numbers.values())]
    if len(best) != 1:
        raise UserError(
            f"{path}: which of its arrays? ({', '.join(best) or 'none has two axes'}); name one by --dataset"
        )
    return best[0]


def _make_axes(
    path: str,
    shape: Shape,
    axes: Mapping[str, Any] | None,
    vertical: str,
    interval: float | None,
    beside: Callable[[str], np.ndarray | None],
    like: Sequence[Axis] | None,
) -> tuple[Axis, ...]:
    """Axes of an array: `axes` maps names, slowest first, to the 1-D array of their labels ("": by the axis's name)."""
    like = like if like and len(like) == len(shape) else None
    if len(shape) < 2:
        raise UserError(f"{path}: has the shape {shape}; a survey has two axes or more, the samples of a trace last")
    if interval is not None and not (interval > 0 and math.isfinite(interval)):
        raise UserError(f"--interval={interval:g}: must be above 0, in {VERTICAL_UNITS.get(vertical, 'ms')}")
    if not axes and like:
        axes, vertical = dict.fromkeys((axis.name for axis in like[:-1]), ""), like[-1].name
    if not axes:
        if len(shape) not in _NAMES:
            raise UserError(
                f"{path}: has {len(shape)} axes; name those above the samples, e.g. --axes=inline,crossline"
            )
        axes = dict.fromkeys(_NAMES[len(shape)], "")
    if len(axes) != len(shape) - 1:
        raise UserError(
            f"{path}: has axes of {shape}; --axes must name {len(shape) - 1}, all but the last, each by another name"
        )
    if vertical not in VERTICAL_UNITS and not like:
        raise UserError(f"--vertical={vertical}: unknown{nearest(vertical, VERTICAL_UNITS)}")
    made: list[Axis] = []
    for (name, source), count in zip([*axes.items(), (vertical, "")], shape, strict=True):
        if not name.isidentifier() or (name in VERTICAL_AXES and name != vertical):
            raise UserError(f"--axes: '{name}' cannot name an axis of {path}; use letters, e.g. inline")
        given = interval if name == vertical else None  # overrules the file
        labels = None if given else _labels(path, name, str(source or ""), count, beside)
        if labels is None and like and len(like[len(made)]) == count:
            made.append(like[len(made)])
            continue
        unit = ""
        if name == vertical:
            labels = np.round(np.arange(count) * given, 9) if given else labels
            unit = VERTICAL_UNITS.get(vertical, "") if labels is not None else ""
            if labels is None:
                note(f"{path}: does not say its sampling interval: {name} is in sample numbers; give --interval")
        made.append(Axis(name, np.arange(count, dtype=np.int32) if labels is None else labels, unit))
    return tuple(made)


def _labels(path: str, name: str, source: str, count: int, beside: Callable[[str], np.ndarray | None]) -> Any:
    """The 1-D array of an axis's labels, or None where there is none and none was named."""
    labels = beside(source or name)
    if labels is None and source:
        raise UserError(
            f"{path}: --axes={name}:{source} names no 1-D array of the file; leave ':{source}' out or mend it"
        )
    if labels is None or (len(labels) != count and not source):
        return None
    if len(labels) != count or labels.dtype.kind not in "fiu" or not np.all(np.diff(labels) > 0):
        raise UserError(
            f"{path}: labels of axis '{name}' must be {count} rising numbers; choose another array by --axes"
        )
    return labels
