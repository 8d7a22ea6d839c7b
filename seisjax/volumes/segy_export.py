"""SEG-Y out: the headers of a template with the samples of a volume."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seisjax.conventions import TRACE_MASK
from seisjax.errors import UserError, nearest
from seisjax.files import beside
from seisjax.geometry import Box, tiles
from seisjax.volumes import Volume
from seisjax.volumes.segy import (
    FORMAT_BYTE,
    FORMATS,
    IBM_FLOAT,
    IEEE_FLOAT,
    TRACE_HEADER,
    SegyFile,
    TraceList,
    file_header,
    runs,
)
from seisjax.volumes.segy_grid import DELAY, DELAY_SCALAR, Grid, build_grid
from seisjax.volumes.segy_remote import is_remote

# What a volume has to know of its source for its traces to be found in a template.
SEGY_ATTRIBUTES = ("source_file", "source_files", "header_bytes", "sampling_interval", "interval_overruled")


def write_segy(
    volume: Volume,
    array_name: str,
    box: Box,
    path: str | Path,
    template: str | Path | None = None,
    *,
    index: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the traces of `box` as SEG-Y: the template's headers byte for byte, the array's samples.

    index: of an array with an axis before the volume's (the class of probabilities), which of its parts.

    The template (default: the file that was ingested) lies on the volume's grid; of a survey made from several files it
    is one of them, and gives its own traces. Traces outside the box are left out, the order of the others is kept;
    traces that share a cell all get its samples, and each gets those from its own start (byte 109) on. The code of the
    sample format becomes 5 (IEEE float) where the template's format cannot hold every value of the array's type. Dead
    traces are zeros.
    Raises UserError: a box that cuts the vertical axis, a template that is missing or of another grid, an output that
    exists, a write that fails; nothing is left behind then.
    """
    path, samples = Path(path), _Samples(volume, array_name, index)
    samples.check()
    template = check_segy(volume, box, path, template, overwrite=overwrite)
    with _open_template(volume, template) as traces:
        vertical = volume.axes[-1].name
        options: dict[str, Any] = {"onto": volume.axes, "interval": traces.interval}  # one that is odd fits no axis
        grid = build_grid(traces, volume.attributes["header_bytes"], vertical, **options)
        source = traces.files[0]
        target = replace(source, sample_format=_format_for(samples.dtype, source.sample_format))
        columns = list(tiles(box, (*samples.shard[:-1], box.stop[-1])))
        kept = _kept_traces(volume, columns, traces, grid)
        with beside(path) as partial, partial.open("wb") as write:
            write.write(_file_header(file_header(source), target, len(kept)))
            for done, column in enumerate(columns, 1):
                _write_column(samples, column, (traces, grid, kept), (write.fileno(), target))
                if progress:
                    progress(done, len(columns))


def _template(volume: Volume, template: str | Path | None) -> str:
    """The file whose headers are taken."""
    several = volume.attributes.get("source_files")
    if not template and several:
        raise UserError(
            f"{volume.url}: was made from {len(several)} SEG-Y files; name the one to write anew (--segy_template)"
        )
    return os.fspath(template or volume.attributes.get("source_file", ""))


def check_segy(
    volume: Volume, box: Box, path: Path, template: str | Path | None = None, *, overwrite: bool = False
) -> str:
    """The template that `write_segy` takes. Raises UserError where it is seen beforehand that it cannot write."""
    template = _template(volume, template)
    vertical = volume.axes[-1]
    if box.start[-1] != 0 or box.shape[-1] != len(vertical):
        raise UserError(f"SEG-Y holds whole traces: the region must span {vertical}; leave {vertical.name} out of it")
    if "header_bytes" not in volume.attributes:
        raise UserError(f"{volume.url}: was not made from SEG-Y, so no template's traces can be found for it")
    if not is_remote(template) and not os.path.isfile(template):
        raise UserError(f"{template}: no such SEG-Y template; name the ingested file's place (--segy_template)")
    if path.exists() and (not overwrite or (not is_remote(template) and path.samefile(template))):
        raise UserError(f"{path}: exists; choose another path for the SEG-Y output")
    _open_template(volume, template).close()
    return template


def _open_template(volume: Volume, template: str) -> TraceList:
    """The template, with the sampling interval that overruled its headers when the survey was ingested."""
    known = volume.attributes
    return TraceList([template], known["sampling_interval"] if known.get("interval_overruled") else None)


@dataclass(frozen=True)
class _Samples:
    """An array of a volume, or one part of an array with an axis before the volume's: what SEG-Y gets."""

    volume: Volume
    name: str
    index: int | None

    def check(self) -> None:
        """Raise UserError unless there is one value for each sample of the volume."""
        volume = self.volume
        if self.name not in volume.arrays:
            raise UserError(f"{volume.url}: has no array '{self.name}'{nearest(self.name, volume.arrays)}")
        names = volume.arrays[self.name].dimension_names[self.index is not None :]
        if tuple(names) != tuple(axis.name for axis in volume.axes):
            raise UserError(
                f"{volume.url}: '{self.name}' has other axes than the survey; SEG-Y holds one value a sample"
            )

    @property
    def shard(self) -> tuple[int, ...]:
        """Sides of its shards along the volume's axes."""
        return self.volume.arrays[self.name].shard[self.index is not None :]

    @property
    def dtype(self) -> np.dtype:
        """The type of what it stands for: float32 where it is stored with a scale."""
        array = self.volume.arrays[self.name]
        return np.dtype("f4") if "scale_factor" in array.attributes else array.dtype

    def values(self, box: Box) -> np.ndarray:
        """What it stands for; what is missing is 0."""
        part = box if self.index is None else Box((self.index, *box.start), (1, *box.shape))
        scaled = "scale_factor" in self.volume.arrays[self.name].attributes
        values = (self.volume.read_scaled if scaled else self.volume.read)(self.name, part)
        if values.dtype.kind == "f":
            values[np.isnan(values)] = 0
        return values.reshape(box.shape)


def _kept_traces(volume: Volume, columns: Sequence[Box], traces: TraceList, grid: Grid) -> np.ndarray:
    """The template's traces in the columns, rising. Raises UserError where it is no template for them."""
    known, template, wanted, found = volume.attributes, traces.name, volume.axes[-1], grid.own_vertical
    is_part = (template if is_remote(template) else os.path.abspath(template)) in known.get("source_files", ())
    same = len(wanted) == len(found) and np.allclose(wanted.labels, found.labels, rtol=0, atol=1e-3)
    if not same and not (is_part and np.isin(found.labels, wanted.labels).all()):
        raise UserError(
            f"{template}: has {found} ({len(found)}) where {wanted} ({len(wanted)}) is needed; "
            "name a template on the volume's grid"
        )
    chosen, lacking, first = [], 0, ""
    for column in columns:
        cells = Box(column.start[:-1], column.shape[:-1])
        place, numbers = grid.traces(cells)
        chosen.append(numbers)
        lacks = _live(volume, cells).ravel()
        lacks[place] = False
        if lacks.any() and not first:
            cell = np.array(np.unravel_index(np.argmax(lacks), cells.shape)) + cells.start
            first = ", ".join(f"{axis.name} {axis.labels[i]}" for axis, i in zip(volume.axes, cell, strict=False))
        lacking += np.count_nonzero(lacks)
    kept = np.sort(np.concatenate(chosen))
    if not len(kept) or (lacking and not is_part):
        raise UserError(
            f"{template}: lacks {lacking} traces of the region{first and f', the first at {first}'}; "
            "name a template on the volume's grid"
        )
    return kept


def _live(volume: Volume, cells: Box) -> np.ndarray:
    """Which cells hold data; all where the volume has no mask."""
    return volume.read(TRACE_MASK, cells) if TRACE_MASK in volume.arrays else np.ones(cells.shape, bool)


def _format_for(dtype: np.dtype, template_format: int) -> int:
    """The template's format if it holds every value of the type, else IEEE float."""
    if template_format == IBM_FLOAT:
        exact = dtype.kind in "iub" and dtype.itemsize <= 2  # 21 bits of mantissa at least, no NaN
    else:
        exact = np.can_cast(dtype, FORMATS[template_format][1], "safe")
    return template_format if exact else IEEE_FLOAT


def _file_header(header: bytes, target: SegyFile, num_traces: int) -> bytes:
    """Text and binary header with the format code and, where rev. 2 states it, the number of traces."""
    patched = bytearray(header)
    patched[FORMAT_BYTE - 1 : FORMAT_BYTE + 1] = target.sample_format.to_bytes(2, "big")
    if patched[3500] >= 2 and any(patched[3512:3520]):
        patched[3512:3520] = num_traces.to_bytes(8, "big")
    return bytes(patched)


def _write_column(
    samples: _Samples, column: Box, source: tuple[TraceList, Grid, np.ndarray], target: tuple[int, SegyFile]
) -> None:
    """The traces of one shard column; `source`: the template's traces, those to write; `target`: a file descriptor."""
    (traces, grid, kept), (write, layout) = source, target
    cells = Box(column.start[:-1], column.shape[:-1])
    place, numbers = grid.traces(cells)
    delays = traces.fields(numbers, (DELAY, DELAY_SCALAR))
    shift = grid.shifts(delays[DELAY], delays[DELAY_SCALAR])  # -1: dead, and beside the axis
    block = samples.values(column).reshape(cells.size, -1)
    block[~_live(samples.volume, cells).ravel()] = 0
    written = np.zeros((len(place), layout.num_samples), block.dtype)
    for start in np.unique(shift[shift >= 0]):
        at = shift == start
        written[at] = block[place[at], start : start + layout.num_samples]
    records = np.empty(
        len(place), [("header", f"V{TRACE_HEADER}"), ("samples", f"V{layout.trace_bytes - TRACE_HEADER}")]
    )
    records["header"] = traces.readers[0].raw_headers(numbers).view(records.dtype["header"])[:, 0]
    records["samples"] = _encode(written, layout.sample_format).view(records.dtype["samples"])[:, 0]
    position = np.searchsorted(kept, numbers)
    for run in runs(position):
        _write_all(write, records[run].tobytes(), layout.start + int(position[run.start]) * layout.trace_bytes)


def _write_all(file: int, data: bytes, offset: int) -> None:
    """pwrite may write less than asked for."""
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _encode(samples: np.ndarray, sample_format: int) -> np.ndarray:
    """Big-endian samples of a SEG-Y format."""
    if sample_format == IBM_FLOAT:
        return ibm_float(samples)
    return np.ascontiguousarray(samples, FORMATS[sample_format][1].newbyteorder(">"))


def ibm_float(values: np.ndarray) -> np.ndarray:
    """Big-endian IBM floats, `>u4`: sign, power of 16 (excess 64), 24-bit fraction in [1/16, 1); 0 is all zeros."""
    mantissa, exponent = np.frexp(np.abs(values.astype(np.float64)))
    power = -(-exponent // 4)
    fraction = np.round(np.ldexp(mantissa, exponent - 4 * power + 24)).astype(np.uint32)
    word = (np.signbit(values).astype(np.uint32) << 31) | ((power + 64).astype(np.uint32) << 24) | fraction
    return np.where(fraction == 0, 0, word).astype(">u4")
