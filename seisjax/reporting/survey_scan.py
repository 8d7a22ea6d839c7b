"""What a report tells of a volume, gathered as a stream: traces, amplitudes, spectrum, classes, a few sections."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from grain.experimental import index_shuffle

from seisjax.conventions import AMPLITUDE, IGNORE, SECONDS, TRACE_MASK
from seisjax.geometry import Axis, Box, Lattice, Shape, tiles
from seisjax.volumes import LabelIndex, StreamingStatistics, Volume

_BLOCK = 2**22  # samples or cells held at a time
_PLANE = 2**18  # samples of a section held at a time: the chunks that it cuts through are decoded as a whole
_SEGMENT = 2048  # samples of a trace that one spectrum takes
_MAX_TRACES = 1024  # of a tile, that enter the spectrum
_MAX_SIDE = 1200  # cells or samples drawn along a side; a longer one is thinned
_KILOMETRES = {"km": 1.0, "m": 1e-3, "ft": 0.3048e-3}

_COORDINATES = tuple(
    f"{what}_{axis}" for what in ("cdp", "source_coord", "group_coord", "source", "receiver") for axis in "xy"
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Traces:
    """Where traces are. `cells` is over the first two axes (of a line: one), thinned by `steps`: traces a cell."""

    count: int
    live: int
    cells: np.ndarray
    steps: tuple[int, int]
    of: str  # "fold" or "trace_mask", "" where the volume has neither
    middle: Shape  # of the live traces, along each axis above the vertical
    places: dict[str, tuple[np.ndarray, np.ndarray]]  # of what ("cdp"): x, y of the first cell of each group, or NaN


@dataclass(frozen=True, eq=False)
class Amplitudes:
    """Of a sample of tiles: statistics of live traces, and the mean amplitude spectrum (empty where none was found)."""

    statistics: StreamingStatistics
    frequency: np.ndarray
    spectrum: np.ndarray
    unit: str
    tiles: int
    of_tiles: int
    traces: int  # of the tiles; a trace counts in each tile that it runs through
    empty: int  # those without a datum


@dataclass(frozen=True, eq=False)
class Plane:
    """A section along two axes: values thinned by `steps`, transposed so that they are (horizontal, vertical)."""

    axes: tuple[Axis, Axis]
    where: str
    steps: tuple[int, int]
    amplitude: np.ndarray | None
    labels: dict[str, np.ndarray] = field(default_factory=dict)


def scan_traces(volume: Volume) -> Traces:
    """Read the trace mask, fold and coordinates of a volume block by block."""
    shape = volume.shape[:-1]
    sides = (*shape, 1)[:2]
    steps = (math.ceil(sides[0] / _MAX_SIDE), math.ceil(sides[1] / _MAX_SIDE))
    groups = tuple(math.ceil(n / s) for n, s in zip(sides, steps, strict=True))
    cells = np.zeros(groups)
    along = [np.zeros(n, np.int64) for n in shape]
    of = next((name for name in ("fold", TRACE_MASK) if _is_trace_wise(volume, name)), "")
    places = {name: np.full(groups, np.nan) for name in _COORDINATES if _is_trace_wise(volume, name)}
    for box in _blocks(Box.whole(shape), _BLOCK):
        live = volume.read(TRACE_MASK, box) if TRACE_MASK in volume.arrays else np.ones(box.shape, bool)
        for i, counts in enumerate(along):
            counts[box.slices[i]] += live.sum(axis=tuple(j for j in range(live.ndim) if j != i))
        values = volume.read(of, box) * live if of == "fold" else live
        rows, columns = (np.arange(a, b) for a, b in zip((*box.start, 0)[:2], (*box.stop, 1)[:2], strict=True))
        plane = values.reshape(len(rows), len(columns), -1)
        np.add.at(cells, np.ix_(rows // steps[0], columns // steps[1]), plane.sum(axis=-1))
        first = [numbers % step == 0 for numbers, step in zip((rows, columns), steps, strict=True)]
        group = np.ix_(rows[first[0]] // steps[0], columns[first[1]] // steps[1])
        there = plane[..., 0][np.ix_(*first)] > 0
        for name, grid in places.items():
            values = volume.read(name, box).reshape(plane.shape)[..., 0][np.ix_(*first)]
            grid[group] = np.where(there, values, np.nan)
    in_group = [np.bincount(np.arange(n) // s) for n, s in zip(sides, steps, strict=True)]
    middle = tuple(_weighted_median(counts) for counts in along)
    live = int(along[0].sum()) if along else 1
    return Traces(math.prod(shape), live, cells / np.outer(*in_group), steps, of, middle, _pairs(volume, places))


def _pairs(volume: Volume, places: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Coordinates x and y that belong together, also those along one axis alone; what is 0 throughout is left out."""
    names = {axis.name for axis in volume.axes[:-1]}
    for name in _COORDINATES:
        info = volume.arrays.get(name)
        if info and name not in places and len(info.shape) == 1 and info.dimension_names[0] in names:
            places[name] = volume.read(name, Box.whole(info.shape))
    pairs = {n[:-2]: (x, places.get(f"{n[:-1]}y", np.zeros_like(x))) for n, x in places.items() if n.endswith("x")}
    return {name: (x, y) for name, (x, y) in pairs.items() if max(_greatest(x), _greatest(y)) > 0}


def _greatest(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0))


def scan_amplitudes(volume: Volume, max_tiles: int, progress: Progress | None = None) -> Amplitudes:
    """Read at most `max_tiles` tiles, a fixed random choice: a chunk wide, up to 2048 samples long."""
    info, length = volume.arrays[AMPLITUDE], min(volume.shape[-1], _SEGMENT)
    sides = [*map(min, info.chunk[:-1], volume.shape[:-1]), length]
    while math.prod(sides) > _BLOCK and max(sides[:-1], default=1) > 1:
        widest = int(np.argmax(sides[:-1]))
        sides[widest] = -(-sides[widest] // 2)
    grid = Lattice(volume.shape, tuple(sides), tuple(sides))
    chosen: Sequence[int] = range(len(grid))
    if len(grid) > max_tiles:
        chosen = sorted(index_shuffle(i, len(grid) - 1, 0, 4) for i in range(max_tiles))
    statistics, spectrum, count = StreamingStatistics(), np.zeros(length // 2 + 1), 0
    seen, empty = 0, 0
    for done, i in enumerate(chosen, start=1):
        values = volume.read_amplitude(grid[i].intersect(Box.whole(volume.shape)))
        traces = values.reshape(-1, values.shape[-1])
        dead = np.isnan(traces).all(axis=1)
        seen, empty, traces = seen + len(traces), empty + int(dead.sum()), traces[~dead]
        statistics.update(traces)
        if values.shape[-1] == length:
            added, sum_of = _spectra(traces)
            count, spectrum = count + added, spectrum + sum_of
        if progress:
            progress(done, len(chosen))
    step, unit = _sampling(volume.axes[-1])
    frequency = np.fft.rfftfreq(length, step)
    if not count or length < 4:
        frequency = spectrum = np.zeros(0)
    return Amplitudes(statistics, frequency, spectrum / max(count, 1), unit, len(chosen), len(grid), seen, empty)


def _spectra(traces: np.ndarray) -> tuple[int, np.ndarray]:
    """How many traces are not of one value, and the sum of their amplitude spectra under a Hann taper."""
    traces = np.nan_to_num(traces[:: -(-len(traces) // _MAX_TRACES) or 1])
    traces = traces[np.ptp(traces, axis=1) > 0]
    taper = np.hanning(traces.shape[1]).astype(np.float32)
    # About the mean under the taper, which thus leaves nothing at frequency 0.
    traces = (traces - (traces @ taper / max(float(taper.sum()), 1.0))[:, None]) * taper
    return len(traces), np.abs(np.fft.rfft(traces, axis=1)).sum(axis=0, dtype=np.float64)


def _sampling(axis: Axis) -> tuple[float, str]:
    """The sampling interval in seconds, kilometres or samples, and the unit of what a spectrum is over."""
    step = abs(float(axis.labels[-1] - axis.labels[0])) / max(len(axis) - 1, 1)
    for units, unit in ((SECONDS, "Hz"), (_KILOMETRES, "1/km")):
        if axis.unit in units and step:
            return step * units[axis.unit], unit
    return 1.0, "cycles a sample"


def scan_planes(volume: Volume, names: Sequence[str], traces: Traces) -> list[Plane]:
    """The section across each axis through the middle of what is labelled, else of the live traces.

    Of more than three axes, sections along the last axis and each other one.
    """
    ndim = len(volume.shape)
    at = (*traces.middle, volume.shape[-1] // 2)
    for name in names:
        found = _labelled_middle(volume, name)
        if found:
            at = found
            break
    pairs = [(i, ndim - 1) for i in reversed(range(ndim - 1))] + ([(0, 1)] if ndim > 2 else [])
    return [_read_plane(volume, names, pair, at) for pair in pairs]


def _labelled_middle(volume: Volume, name: str) -> Shape | None:
    """A labelled sample near the middle of the labelled part, on lines that hold many; None where nothing is."""
    index: LabelIndex = volume.label_index(name)
    counts = index.counts.sum(axis=-1, dtype=np.int64)
    if not counts.any():
        return None
    middle = [
        _weighted_median(counts.sum(axis=tuple(j for j in range(counts.ndim) if j != i))) for i in range(counts.ndim)
    ]
    full = np.argwhere(counts >= counts.max() / 2)
    chunk = full[np.argmin(np.square(full - middle).sum(axis=1))]
    box = Box(tuple(int(i) * c for i, c in zip(chunk, index.chunk, strict=True)), index.chunk)
    box = box.intersect(Box.whole(volume.shape))
    labelled = volume.read_labels(name, box) != IGNORE
    at = []
    for i, start in enumerate(box.start):
        lines = labelled.sum(axis=tuple(j for j in range(labelled.ndim) if j != i))
        good = np.flatnonzero(lines >= 0.9 * lines.max())
        at.append(start + int(good[len(good) // 2]))
    return tuple(at)


def _read_plane(volume: Volume, names: Sequence[str], pair: tuple[int, int], at: Shape) -> Plane:
    start = tuple(0 if i in pair else at[i] for i in range(len(at)))
    shape = tuple(volume.shape[i] if i in pair else 1 for i in range(len(at)))
    steps = tuple(math.ceil(n / _MAX_SIDE) if i in pair else 1 for i, n in enumerate(volume.shape))

    def thinned(read: Callable[[Box], np.ndarray], dtype: type) -> np.ndarray:
        values = np.zeros([-(-n // s) for n, s in zip(shape, steps, strict=True)], dtype)
        for box in _blocks(Box(start, shape), _PLANE, steps):
            place = box.relative_to(start)
            target = tuple(slice(a // s, -(-b // s)) for a, b, s in zip(place.start, place.stop, steps, strict=True))
            values[target] = read(box)[tuple(slice(None, None, s) for s in steps)]
        return values.reshape([values.shape[i] for i in pair])

    axes = (volume.axes[pair[0]], volume.axes[pair[1]])
    others = [
        f"{axis.name} {axis.labels[at[i]]:g} {axis.unit}".rstrip()
        for i, axis in enumerate(volume.axes)
        if i not in pair
    ]
    amplitude = thinned(volume.read_amplitude, np.float32) if AMPLITUDE in volume.arrays else None
    labels = {
        name: thinned(lambda box, name=name: volume.read_labels(name, box), np.uint8)  # type: ignore[misc]
        for name in names
    }
    return Plane(axes, ", ".join(others), (steps[pair[0]], steps[pair[1]]), amplitude, labels)


def _blocks(box: Box, limit: int, multiple: Shape = ()) -> Iterator[Box]:
    """Parts of a box of at most `limit` samples, each side a multiple of `multiple` but at the end."""
    multiple = multiple or (1,) * len(box.shape)
    sides = list(box.shape)
    while math.prod(sides) > limit:
        widest = int(np.argmax([n / m for n, m in zip(sides, multiple, strict=True)]))
        m = multiple[widest]
        if sides[widest] <= m:
            break
        sides[widest] = -(-sides[widest] // (2 * m)) * m
    return tiles(box, tuple(max(side, 1) for side in sides))


def _weighted_median(counts: np.ndarray) -> int:
    total = int(counts.sum())
    return int(np.searchsorted(np.cumsum(counts), total / 2)) if total else len(counts) // 2


def _is_trace_wise(volume: Volume, name: str) -> bool:
    return name in volume.arrays and volume.arrays[name].shape == volume.shape[:-1]
