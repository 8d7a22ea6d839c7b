"""SEG-Y out: the headers of a template with the samples of a volume."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from seisjax.conventions import TRACE_MASK
from seisjax.errors import UserError, nearest
from seisjax.geometry import Box, tiles
from seisjax.volumes import Volume
from seisjax.volumes.segy import FORMAT_BYTE, FORMATS, IBM_FLOAT, IEEE_FLOAT, TRACE_HEADER, SegyFile, SegyReader, runs
from seisjax.volumes.segy_grid import Grid, build_grid


def write_segy(
    volume: Volume,
    array_name: str,
    box: Box,
    path: str | Path,
    template: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the traces of `box` as SEG-Y: the template's headers byte for byte, the array's samples.

    The template (default: the file that was ingested) lies on the volume's grid. Its traces outside the box are left
    out, the order of the others is kept. The sample-format code becomes 5 (IEEE float) where the template's format
    cannot hold every value of the array's type. Dead traces are zeros.
    Raises UserError: a box that cuts the vertical axis, a template that is missing or of another grid, an output that
    exists, a write that fails; nothing is left behind then.
    """
    template, path = Path(template or volume.attributes.get("source_file", "")), Path(path)
    _check(volume, array_name, box, path, template, overwrite)
    with SegyReader(template) as reader:
        grid = build_grid(reader, volume.attributes["header_bytes"], volume.axes[-1].name)
    trace = _traces_of(volume, box, grid, template)
    source = reader.file
    target = replace(source, sample_format=_format_for(volume.arrays[array_name].dtype, source.sample_format))
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with template.open("rb") as read, partial.open("wb") as write:
            write.write(_file_header(read.read(source.start), target, int(np.count_nonzero(trace >= 0))))
            _write_traces(volume, array_name, box, trace, (read.fileno(), source), (write.fileno(), target), progress)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); check its folder and space") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _check(volume: Volume, array_name: str, box: Box, path: Path, template: Path, overwrite: bool) -> None:
    if array_name not in volume.arrays:
        raise UserError(f"{volume.url}: has no array '{array_name}'{nearest(array_name, volume.arrays)}")
    if tuple(volume.arrays[array_name].dimension_names) != tuple(axis.name for axis in volume.axes):
        raise UserError(f"{volume.url}: '{array_name}' has other axes than the survey; SEG-Y holds one value a sample")
    vertical = volume.axes[-1]
    if box.start[-1] != 0 or box.shape[-1] != len(vertical):
        raise UserError(f"SEG-Y holds whole traces: the region must span {vertical}; leave {vertical.name} out of it")
    if "header_bytes" not in volume.attributes:
        raise UserError(f"{volume.url}: was not made from SEG-Y, so no template's traces can be found for it")
    if not template.is_file():
        raise UserError(f"{template}: no such SEG-Y template; name the ingested file's place (--segy_template)")
    if path.exists() and (not overwrite or path.samefile(template)):
        raise UserError(f"{path}: exists; choose another path for the SEG-Y output")


def _traces_of(volume: Volume, box: Box, grid: Grid, template: Path) -> np.ndarray:
    """The template's trace number at each cell of the box, -1 where it has none."""
    places = []
    for axis, found, part in zip(volume.axes[:-1], grid.axes[:-1], box.slices[:-1], strict=True):
        _, _, place = np.intersect1d(axis.labels[part], found.labels, return_indices=True)
        places.append(place)
        if len(place) < part.stop - part.start:
            raise UserError(f"{template}: has {found} where {axis} is needed; name a template on the volume's grid")
    vertical, found = volume.axes[-1], grid.axes[-1]
    if len(vertical) != len(found) or not np.allclose(vertical.labels, found.labels, rtol=0, atol=1e-3):
        raise UserError(
            f"{template}: has {found} ({len(found)}) where {vertical} ({len(vertical)}) is needed; "
            "name a template on the volume's grid"
        )
    trace = grid.trace[np.ix_(*places)]
    lacking = np.count_nonzero(_live(volume, Box(box.start[:-1], box.shape[:-1])) & (trace < 0))
    if lacking or not np.any(trace >= 0):
        raise UserError(f"{template}: lacks {lacking} traces of the region; name a template that holds all of them")
    return trace


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


def _write_traces(
    volume: Volume,
    array_name: str,
    box: Box,
    trace: np.ndarray,
    source: tuple[int, SegyFile],
    target: tuple[int, SegyFile],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Shard column by shard column; `source` and `target` are file descriptors with their layout."""
    (read, before), (write, after) = source, target
    kept = np.sort(trace[trace >= 0])
    columns = list(tiles(box, (*volume.arrays[array_name].shard[:-1], box.stop[-1])))
    for done, column in enumerate(columns, 1):
        cells = Box(column.start[:-1], column.shape[:-1])
        numbers = trace[cells.relative_to(box.start[:-1]).slices].ravel()
        order = np.argsort(numbers, kind="stable")[np.count_nonzero(numbers < 0) :]
        samples = volume.read(array_name, column).reshape(-1, column.shape[-1])[order]
        samples[~_live(volume, cells).ravel()[order]] = 0
        records = np.empty(len(order), _record(after))
        records["header"] = _headers(read, before, numbers[order])
        records["samples"] = _encode(samples, after.sample_format).view(records.dtype["samples"])[:, 0]
        place = np.searchsorted(kept, numbers[order])
        for run in runs(place):
            _write_all(write, records[run].tobytes(), after.start + int(place[run.start]) * after.trace_bytes)
        if progress:
            progress(done, len(columns))


def _record(layout: SegyFile) -> np.dtype:
    """One trace as it stands in a file."""
    return np.dtype([("header", f"V{TRACE_HEADER}"), ("samples", f"V{layout.trace_bytes - TRACE_HEADER}")])


def _headers(file: int, layout: SegyFile, numbers: np.ndarray) -> np.ndarray:
    """Trace headers as they stand in the file, for rising trace numbers."""
    headers = np.empty(len(numbers), f"V{TRACE_HEADER}")
    for run in runs(numbers):
        count, first = run.stop - run.start, int(numbers[run.start])
        data = os.pread(file, count * layout.trace_bytes, layout.start + first * layout.trace_bytes)
        headers[run] = np.frombuffer(data, _record(layout))["header"]
    return headers


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
