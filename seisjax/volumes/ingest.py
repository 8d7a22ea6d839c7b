"""SEG-Y to volume: one pass over the samples, shard column by shard column, whole shards only.

In memory are one shard column (all samples of the traces above one shard) and the trace number of every cell.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Box, tiles
from seisjax.volumes import Volume, create_volume
from seisjax.volumes.segy import SegyReader
from seisjax.volumes.segy_grid import Grid, build_grid, check_same_grid, scaled
from seisjax.volumes.statistics import StreamingStatistics

DEFAULT_AXES = {"inline": 189, "crossline": 193}
# Trace headers that are kept beside the samples, each unless it is 0 throughout: array name -> header byte.
KEPT_HEADERS = {"ffid": 9, "cdp": 21, "offset": 37, "shot_point": 197}
COORDINATES = {"cdp_x": 181, "cdp_y": 185}
_COORDINATE_SCALAR, _TRACE_CODE, _DEAD = 71, 29, 2


def ingest_segy(
    input: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    label_name: str = "facies",
    class_names: Sequence[str] = (),
    axes: Mapping[str, int] = DEFAULT_AXES,
    vertical: str = "time",
    dtype: str = "float32",
    chunk: Sequence[int] | None = None,
    shard: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Volume:
    """Make the volume `output` from a SEG-Y file; `axes` gives the header byte of each axis, slowest first.

    Samples are stored as `dtype`; float32 rounds 32-bit integers above 2^24, other types must hold every sample.
    Cells without a trace, and traces that are flagged dead (byte 29 = 2) and all zero, are masked. NaN and Inf stay in
    the volume and are counted in its statistics. `labels` is a second SEG-Y file on the same grid: whole numbers
    0 to 254, or 255 where unlabelled; below len(class_names) where names are given.
    `progress` is called with the shard columns done and their number. Returns the finished volume.
    Raises UserError, and leaves nothing behind, for whatever is wrong with files, grid, labels or storage.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(SegyReader(input))
        grid = build_grid(reader, axes, vertical)
        label_reader, label_grid = None, grid
        if labels:
            label_reader = stack.enter_context(SegyReader(labels))
            label_grid = build_grid(label_reader, axes, vertical)
            check_same_grid(grid, label_grid, str(labels))
        layout: dict[str, Any] = {"dtype": dtype, "chunk": chunk, "shard": shard}
        origin = _origin(reader, grid)
        volume = stack.enter_context(create_volume(output, grid.axes, **layout, attributes=origin, overwrite=overwrite))
        label_array = LABELS_PREFIX + label_name
        if label_reader:
            _add_labels(volume, label_array, label_reader, class_names)

        statistics, labelled = StreamingStatistics(), 0
        columns = list(tiles(Box.whole(grid.shape), (*volume.arrays[AMPLITUDE].shard[:-1], grid.shape[-1])))
        for done, column in enumerate(columns, 1):
            live = _copy_amplitude(reader, grid, volume, column, statistics)
            if label_reader:
                labelled += _copy_labels(label_reader, label_grid, volume, label_array, column, live, len(class_names))
            if progress:
                progress(done, len(columns))
        if not statistics.count:
            raise UserError(f"{input}: holds no finite sample on a live trace; nothing to ingest")
        if label_reader and not labelled:
            raise UserError(f"{labels}: labels no sample (all are {IGNORE}, or on dead traces); check the file")
        volume.set_statistics(statistics.result())
    return volume


def parse_sides(name: str, sides: Sequence[str]) -> tuple[int, ...] | None:
    """Sides of a chunk or shard as the flag `--name` gives them; None for none. Raises UserError."""
    if not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        raise UserError(f"--{name}={','.join(sides)}: not whole numbers above 0; write e.g. 64,64,64")
    return tuple(int(side) for side in sides) or None


def _origin(reader: SegyReader, grid: Grid) -> dict[str, Any]:
    """What the volume remembers of its source; the sampling interval is in ms, or in m for depth."""
    return {
        "source_file": os.path.abspath(reader.file.path),
        "header_bytes": grid.header_bytes,
        "sampling_interval": reader.file.interval,
        "sample_format": reader.file.sample_format,
        "num_traces": reader.file.num_traces,
    }


def _add_labels(volume: Volume, name: str, reader: SegyReader, class_names: Sequence[str]) -> None:
    if not name.isidentifier():
        raise UserError(f"--label_name={name.removeprefix(LABELS_PREFIX)}: not a name; use letters, digits and _")
    if len(class_names) > IGNORE:
        raise UserError(f"--class_names: {len(class_names)} names; there are at most {IGNORE} classes")
    attributes: dict[str, Any] = {"source_file": os.path.abspath(reader.file.path)}
    if class_names:
        attributes["class_names"] = [name.strip() for name in class_names]
    volume.add_array(name, "uint8", attributes=attributes)


class _Column:
    """The cells of a shard column that hold a trace: flat cell numbers and trace numbers, in file order."""

    def __init__(self, grid: Grid, column: Box):
        self.cells = Box(column.start[:-1], column.shape[:-1])
        traces = grid.trace[self.cells.slices].ravel()
        order = np.argsort(traces, kind="stable")
        self.index = order[np.count_nonzero(traces < 0) :]
        self.traces = traces[self.index]

    def spread(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Values of the traces laid out on the cells, `fill` elsewhere."""
        laid_out = np.full(self.cells.size, fill, values.dtype)
        laid_out[self.index] = values
        return laid_out.reshape(self.cells.shape)


def _copy_amplitude(
    reader: SegyReader, grid: Grid, volume: Volume, column: Box, statistics: StreamingStatistics
) -> np.ndarray:
    """Write samples, mask, coordinates and headers of one shard column; return which cells hold live traces."""
    part, dtype = _Column(grid, column), volume.arrays[AMPLITUDE].dtype
    samples = np.full((part.cells.size, column.shape[-1]), np.nan if dtype.kind == "f" else 0, dtype)
    flagged = reader.header(_TRACE_CODE, part.traces) == _DEAD
    live = np.ones(len(part.traces), bool)
    for run, values in reader.traces(part.traces):
        live[run] = ~flagged[run] | values.any(axis=1)
        kept = values[live[run]]
        statistics.update(kept)
        samples[part.index[run][live[run]]] = _as_stored(kept, dtype, reader.file.path)
    volume.write(AMPLITUDE, column, samples.reshape(column.shape))

    mask = part.spread(live, False)
    volume.write(TRACE_MASK, part.cells, mask)
    scalar = reader.header(_COORDINATE_SCALAR, part.traces)
    for name, byte in COORDINATES.items():
        _keep(volume, part, name, scaled(reader.header(byte, part.traces), scalar))
    for name, byte in KEPT_HEADERS.items():
        _keep(volume, part, name, reader.header(byte, part.traces))
    return mask


def _keep(volume: Volume, part: _Column, name: str, values: np.ndarray) -> None:
    """Write a header's values; its array is made when the first value other than 0 comes."""
    names = [axis.name for axis in volume.axes]
    if name in names or (name not in volume.arrays and not values.any()):
        return
    if name not in volume.arrays:
        volume.add_array(name, values.dtype, dimension_names=names[:-1])
    volume.write(name, part.cells, part.spread(values, np.nan if values.dtype.kind == "f" else 0))


def _as_stored(values: np.ndarray, dtype: np.dtype, path: Path) -> np.ndarray:
    """Samples in the volume's type. Raises UserError where that type does not hold them."""
    if dtype == np.float32 or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = values.astype(dtype)
    holds = np.isfinite(stored) == np.isfinite(values) if dtype.kind == "f" else stored == values
    if not np.all(holds):
        raise UserError(f"{path}: sample {values[~holds][0]} does not fit --dtype={dtype}; use --dtype=float32")
    return stored


def _copy_labels(
    reader: SegyReader, grid: Grid, volume: Volume, array: str, column: Box, live: np.ndarray, num_classes: int
) -> int:
    """Write the labels of one shard column, IGNORE where no live trace is; return how many samples are labelled."""
    part = _Column(grid, column)
    labels = np.full((part.cells.size, column.shape[-1]), IGNORE, np.uint8)
    for run, values in reader.traces(part.traces):
        wrong = (values < 0) | (values > IGNORE) | (values != np.floor(values))  # False for NaN only in the first two
        if num_classes:
            wrong |= (values >= num_classes) & (values != IGNORE)
        if wrong.any():
            trace, sample = np.argwhere(wrong)[0]
            classes = f"0 to {(num_classes or IGNORE) - 1}{' (the classes named)' if num_classes else ''}"
            raise UserError(
                f"{reader.file.path}: label {values[trace, sample]:g} (trace {part.traces[run][trace] + 1}, sample "
                f"{sample + 1}) is no class; labels are whole numbers {classes}, or {IGNORE} where unlabelled"
            )
        labels[part.index[run]] = values
    labels = labels.reshape(column.shape)
    labels[~live] = IGNORE
    volume.write(array, column, labels)
    return int(np.count_nonzero(labels != IGNORE))
