"""The columns of a volume that is made: what is written of each, and how much of it is held at a time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX, RECEIVER_PLACES, SECTIONS_PREFIX, TRACE_MASK
from seisjax.errors import UserError, WrongDataError, nearest
from seisjax.geometry import Box, Shape, grow, round_up, tiles
from seisjax.volumes import metadata as zarr
from seisjax.volumes.creating import check_compression, check_dtype, check_layout, create_volume
from seisjax.volumes.ledger import Ledger
from seisjax.volumes.quantization import Encoding, Errors
from seisjax.volumes.readers import Column, SurveyReader, shape_of
from seisjax.volumes.staging import SharedStaging
from seisjax.volumes.statistics import Moments
from seisjax.volumes.volume import Volume
from seisjax.volumes.volume_reader import LabelsReader, VolumeReader

COLUMN = 2**26  # samples of a shard column that are held at a time
PIECE = 2**28  # bytes that are asked of a reader at a time
_BLOCK = 2**20  # samples worked on at a time
_SAYS = "not 0: "  # noted of headers that are not 0 throughout
_SECTION = (256, 512)  # longest chunk of a copy for sections: across, and down


@dataclass
class Labels:
    """Labels that become the array `array`."""

    array: str
    reader: SurveyReader
    class_names: list[str]

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What is known of them: names of their classes, and what a volume that they come from says."""
        read = LABELS_PREFIX + self.reader.label if isinstance(self.reader, LabelsReader) else self.array
        known = dict(self.reader.array_attributes.get(read, {}))
        if len(known.get("class_colors", ())) != len(self.class_names):
            known.pop("class_colors", None)
        return known | ({"class_names": self.class_names} if self.class_names else {})


class Survey:
    """Amplitudes and labels on one grid, and how they are laid out."""

    def __init__(self, reader: SurveyReader | None, labels: list[Labels], dtype: str, sections: Sequence[str]):
        check_dtype(dtype)
        self.reader, self.labels = reader, labels
        if reader is None and not labels:
            raise UserError("--input: missing; give the survey file, or --labels alone for a volume of labels")
        base = reader or labels[0].reader
        self.array_attributes = base.array_attributes
        self.name, self.axes, self.shape = base.name, base.axes, shape_of(base)
        if 0 in self.shape:
            sides = " x ".join(f"{len(axis)} {axis.name}" for axis in self.axes)
            raise UserError(f"{self.name}: holds no sample ({sides}); give a file with one along each axis")
        self.attributes = dict(base.attributes)
        self.kind = self.attributes.pop("kind", "survey")
        self.wanted = np.dtype(dtype)
        self.sections = list(sections)
        names = [axis.name for axis in self.axes]
        if len(set(self.sections)) < len(self.sections):
            raise UserError(f"--sections={','.join(self.sections)}: an axis stands twice; name each once")
        for axis in self.sections:
            if axis not in names or len(names) < 3:
                raise UserError(f"--sections={axis}: {self.name} has no such sections{nearest(axis, names)}")

    def lay_out(self, chunk: Sequence[int] | None, shard: Sequence[int] | None, compression: str) -> None:
        """Fix compression, chunk and shard; by default shards are so narrow that a shard column fits in memory."""
        check_layout(self.axes, chunk, shard)
        check_compression(compression)
        self.compression = compression
        default_chunk, default_shard = zarr.default_layout(self.shape, self.kind)
        self.chunk, self.shard = zarr.clip_layout(self.shape, chunk or default_chunk, shard or default_shard)
        for given, c, n in zip(shard or (), self.chunk, self.shape, strict=False):
            if given % c and given < n:
                chunks, shards = (",".join(map(str, sides)) for sides in (self.chunk, self.shard))
                raise UserError(f"--shard: {given} is not made of whole chunks ({chunks}); give e.g. --shard={shards}")
        while shard is None and math.prod(self.shard[:-1]) * self.shape[-1] > COLUMN:
            sides = [s if s > c else 0 for s, c in zip(self.shard[:-1], self.chunk, strict=False)]
            if not any(sides):
                break
            widest = int(np.argmax(sides))
            side = round_up(-(-sides[widest] // 2), self.chunk[widest])
            self.shard = tuple(side if i == widest else s for i, s in enumerate(self.shard))
        self.columns = list(tiles(Box.whole(self.shape), (*self.shard[:-1], self.shape[-1])))

    def section_chunk(self, axis: str) -> Shape:
        """The chunk of a copy for sections: 1 along `axis`; sides that divide the shard."""
        longest = [_SECTION[0]] * (len(self.axes) - 1) + [_SECTION[1]]
        names = [a.name for a in self.axes]
        sides = [next(s // k for k in range(1, s + 1) if s % k == 0 and s // k <= most)
                 for s, most in zip(self.shard, longest, strict=True)]  # fmt: skip
        return tuple(1 if name == axis else side for name, side in zip(names, sides, strict=True))

    def create(self, output: str, encoding: Encoding | None, staging: SharedStaging | None) -> Volume:
        """Start the volume, or open what other processes have started of it."""
        layout = {"chunk": self.chunk, "shard": self.shard, "compression": self.compression}
        layout |= {"kind": self.kind, "attributes": self.attributes}
        volume = create_volume(output, self.axes, dtype=None, **layout, staging=staging, shared=True)
        arrays: list[tuple[str, np.dtype, Any, dict[str, Any]]] = []
        if encoding:
            attributes = {**self.array_attributes.get(AMPLITUDE, {}), **encoding.attributes()}
            arrays.append((AMPLITUDE, encoding.dtype, encoding.missing, attributes))
        for one in self.labels:
            source = {"source_file": one.reader.attributes.get("source_file", one.reader.name)}
            arrays.append((one.array, np.dtype(np.uint8), IGNORE, source | dict(one.attributes)))
        for name, dtype, fill, attributes in arrays:
            volume.add_array(name, dtype, fill=fill, attributes=attributes)
            for axis in self.sections:
                chunk = self.section_chunk(axis)
                copy = f"{SECTIONS_PREFIX}{axis}_{name}"
                volume.add_array(copy, dtype, fill=fill, attributes=attributes, chunk=chunk, shard=self.shard)
        if encoding:
            volume.add_array(TRACE_MASK, bool, dimension_names=[axis.name for axis in self.axes][:-1], fill=True)
        if isinstance(self.reader, VolumeReader):
            for info, values in self.reader.companions():
                names = info.dimension_names
                volume.add_array(info.name, dimension_names=names, values=values, attributes=info.attributes)
        return volume

    def add_header(self, volume: Volume, name: str, dtype: Any) -> None:
        """Start an array over the traces, or open what another process has started."""
        if name not in volume.arrays:
            names, attributes = [axis.name for axis in self.axes][:-1], self.array_attributes.get(name)
            volume.add_array(name, dtype, dimension_names=names, attributes=attributes)


def scan_column(reader: SurveyReader, ledger: Ledger, column: Box) -> tuple[Moments, bool]:
    """Moments of the samples of a column, and whether all are whole numbers."""
    moments, whole = Moments.of(np.zeros(0, np.float32)), True
    for piece in _pieces(_cells(column), reader):
        read = reader.column(piece)
        rows, live = read.samples.reshape(-1, read.samples.shape[-1]), read.live.ravel()
        for block in _blocks(rows):
            values = rows[block] if live[block].all() else rows[block][live[block]]
            moments = moments.merge(ledger.statistics.update(values))
            whole = whole and bool(np.all((values == np.rint(values)) | ~np.isfinite(values)))
    return moments, whole


def write_column(survey: Survey, volume: Volume, encoding: Encoding | None, ledger: Ledger, column: Box) -> np.ndarray:
    """Write all arrays of a shard column; return what is noted of it."""
    live, moments, errors = None, Moments.of(np.zeros(0, np.float32)), Errors()
    if survey.reader and encoding:
        live, moments, errors = _write_amplitude(survey, volume, encoding, ledger, column)
    labelled = [_write_labels(survey, volume, one, column, live) for one in survey.labels]
    num_live = 0 if live is None else np.count_nonzero(live)
    return np.concatenate([moments.array(), errors.array(), [num_live, *labelled]])


def _write_amplitude(
    survey: Survey, volume: Volume, encoding: Encoding, ledger: Ledger, column: Box
) -> tuple[np.ndarray, Moments, Errors]:
    """Write samples, mask, coordinates and headers; return which cells hold live traces, and what was seen."""
    reader, cells = survey.reader, _cells(column)
    assert reader is not None
    live, headers = np.zeros(cells.shape, bool), {}
    moments, errors = Moments.of(np.zeros(0, np.float32)), Errors()
    for part in _parts(survey, column):
        stored = None
        for piece in _pieces(cells, reader):
            read, place = reader.column(piece), piece.relative_to(cells.start).slices
            live[place] = read.live
            for name, values in read.headers.items():
                headers.setdefault(name, np.zeros(cells.shape, values.dtype))[place] = values
            if piece == cells and part == column and read.samples.dtype == encoding.dtype:
                stored = read.samples
            elif stored is None:
                stored = np.empty(part.shape, encoding.dtype)
            taken = _encode(reader.name, encoding, read, part, stored[place], ledger)
            moments, errors = moments.merge(taken[0]), errors.merge(taken[1])
            del read
        _write(survey, volume, AMPLITUDE, part, stored)
    volume.write(TRACE_MASK, cells, live)
    for name, values in headers.items():
        _keep(survey, volume, ledger, name, cells, values)
    return live, moments, errors


def _encode(
    name: str, encoding: Encoding, read: Column, part: Box, stored: np.ndarray, ledger: Ledger
) -> tuple[Moments, Errors]:
    """Fill `stored` with the samples of `part`; return what was seen of them."""
    moments, errors = Moments.of(np.zeros(0, np.float32)), Errors()
    depth = slice(part.start[-1], part.stop[-1])
    rows, live = read.samples.reshape(-1, read.samples.shape[-1]), read.live.ravel()
    target = stored.reshape(-1, stored.shape[-1], copy=False)
    for block in _blocks(rows):
        values, there = rows[block, depth], live[block]
        coded = encoding.encode(values, name)
        if not there.all():
            coded = np.where(there[:, None], coded, np.array(encoding.missing, encoding.dtype))
            values = values[there]
        target[block] = coded
        decoded = encoding.decode(coded if there.all() else coded[there])
        moments = moments.merge(ledger.statistics.update(decoded))
        if encoding.lossy:
            errors = errors.merge(Errors.between(values, decoded, encoding))
    return moments, errors


def _write_labels(survey: Survey, volume: Volume, labels: Labels, column: Box, live: np.ndarray | None) -> int:
    """Write the labels of a column, IGNORE where no live trace is; return how many samples are labelled."""
    cells, labelled = _cells(column), 0
    for part in _parts(survey, column):
        stored = np.empty(part.shape, np.uint8)
        for piece in _pieces(cells, labels.reader):
            read, place = labels.reader.column(piece), piece.relative_to(cells.start).slices
            there = (read.live if live is None else read.live & live[place]).ravel()
            rows = read.samples.reshape(-1, read.samples.shape[-1])
            target = stored[place].reshape(-1, part.shape[-1], copy=False)
            for block in _blocks(rows):
                values = rows[block, part.start[-1] : part.stop[-1]]
                _check_labels(labels, values, read.live.ravel()[block], piece, block.start, part.start[-1])
                target[block] = IGNORE
                known = there[block, None] if values.dtype.kind != "f" else there[block, None] & ~np.isnan(values)
                np.copyto(target[block], values, where=known, casting="unsafe")
                labelled += int(np.count_nonzero(target[block] != IGNORE))
            del read
        _write(survey, volume, labels.array, part, stored)
    return labelled


def _check_labels(
    labels: Labels, values: np.ndarray, live: np.ndarray, cells: Box, first_row: int, first_sample: int
) -> None:
    """Raise WrongDataError for the first label that is no class."""
    count = 0 if "label_scale" in labels.attributes else len(labels.class_names)  # shares of 1, or classes
    if values.dtype == np.uint8 and not count:
        return
    wrong = (values < 0) | (values > IGNORE)
    if values.dtype.kind == "f":
        wrong |= (values != np.floor(values)) & ~np.isnan(values)
    if count:
        wrong |= (values >= count) & (values != IGNORE)
    wrong &= live[:, None]
    if not wrong.any():
        return
    row, sample = np.argwhere(wrong)[0]
    place = [a + i for a, i in zip(cells.start, np.unravel_index(first_row + row, cells.shape), strict=True)]
    labels_there = zip(labels.reader.axes, [*place, first_sample + sample], strict=True)
    where = ", ".join(f"{axis.name} {axis.labels[i]}" for axis, i in labels_there)
    classes = f"0 to {(count or IGNORE) - 1}{' (the classes named)' if count else ''}"
    raise WrongDataError(
        f"{labels.reader.name}: label {values[row, sample]:g} ({where}) is no class; "
        f"labels are whole numbers {classes}, or {IGNORE} or NaN where unlabelled"
    )


def _write(survey: Survey, volume: Volume, array: str, part: Box, values: np.ndarray | None) -> None:
    """Write an array and its copies."""
    for name in (array, *(f"{SECTIONS_PREFIX}{axis}_{array}" for axis in survey.sections)):
        volume.write(name, part, values)


def _keep(survey: Survey, volume: Volume, ledger: Ledger, name: str, cells: Box, values: np.ndarray) -> None:
    """Write a header's values, and note it, and whether it says anything."""
    if name in [axis.name for axis in volume.axes]:
        return
    survey.add_header(volume, name, values.dtype)
    ledger.names.add(f"{name}:{values.dtype.name}")
    if name in RECEIVER_PLACES or np.nan_to_num(values).any():  # 0 is a place
        ledger.names.add(f"{_SAYS}{name}")
    volume.write(name, cells, values)


def finish_headers(survey: Survey, volume: Volume, noted: Sequence[str]) -> None:
    """Take over the headers that all processes have noted; those that are 0 throughout are taken out again."""
    for name, dtype in (text.split(":") for text in noted if not text.startswith(_SAYS)):
        if f"{_SAYS}{name}" in noted:
            survey.add_header(volume, name, dtype)
        else:
            volume.remove_array(name)


def _cells(column: Box) -> Box:
    return Box(column.start[:-1], column.shape[:-1])


def _parts(survey: Survey, column: Box) -> Iterator[Box]:
    """A shard column, or where that is too large its parts along the vertical, of whole shards."""
    shards = max(COLUMN // (math.prod(column.shape[:-1]) * survey.shard[-1]), 1)
    return tiles(column, (*survey.shard[:-1], shards * survey.shard[-1]))


def _pieces(cells: Box, reader: SurveyReader) -> Iterator[Box]:
    """Cells whose traces are asked of the reader at a time, contiguous in C order."""
    traces = max(PIECE // (reader.dtype.itemsize * len(reader.axes[-1])), 1)
    shape = grow((1,) * len(cells.shape), cells.shape, traces)
    for piece in tiles(Box.whole(cells.shape), shape):
        yield replace(piece, start=tuple(a + b for a, b in zip(cells.start, piece.start, strict=True)))


def _blocks(rows: np.ndarray) -> Iterator[slice]:
    """Rows worked on at a time."""
    step = max(_BLOCK // max(rows.shape[-1], 1), 1)
    for first in range(0, len(rows), step):
        yield slice(first, min(first + step, len(rows)))
