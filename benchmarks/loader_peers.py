"""Windows a second from one volume: seisjax's stream, TensorStore alone, and PyTorch's DataLoader over other readers.

    python benchmarks/loader_peers.py --folder=/scratch --output=loader_peers.json
    python benchmarks/loader_peers.py --windows=cubes --dtypes=float32 --compressions=zstd --output=loader_peers.json

For each shape of window (cubes of 128^3; panels of 1024 x 1024) and each type of samples, a volume of band-limited
noise of 4 GB (float32; a quarter of it as int8) is written: as a seisjax volume in each compression, as a .npy file,
and as a chunked HDF5 file without compression. Then all readers draw windows in turns, each in a process of its own,
and hand out batches of samples in their stored type: as training takes them, to be decoded inside the step. Windows are
drawn anywhere; "blocks" is data.sampling=blocks. DataLoader has two workers, as it is used; seisjax the threads that
its defaults give it. TensorStore reads the windows of seisjax's random draws with two batches under way; "sequential"
is the whole volume, slab after slab of whole chunks: what decoding gives. Files are read once before, so that they come
from memory where that holds them: disks are another question. GB/s are samples in their stored type; processor time is
that of all of a reader's processes for a window, which tells more than the clock where others use the machine. Peers
are in benchmarks/requirements.txt; what is not installed is left out, and said.

The whole takes about 20 minutes on two quiet cores and 13 GB of disk at a time. The output is written after each
store; stores that stand in it from an earlier run and are not measured now are kept, so parts can be run one by one.
The table and what was asked of it come last.
"""

# pyright: reportMissingImports=false

import contextlib
import functools
import importlib.metadata
import json
import math
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from seisjax.commands.benchmark.turns import alternate, disturbed_note
from seisjax.commands.benchmark.workers import CandidateError, Worker
from seisjax.files import write_json

OURS = ("seisjax", "seisjax blocks", "tensorstore", "tensorstore sequential")
PEERS = ("zarr-python", "h5py", "memory-mapped")
WINDOWS = flags.DEFINE_list("windows", ["cubes", "panels"], "windows to draw: cubes, panels, or both")
DTYPES = flags.DEFINE_list("dtypes", ["float32", "int8"], "stored types: float32, int8, or both")
COMPRESSIONS = flags.DEFINE_list("compressions", ["zstd", "lz4", "none"], "compressions of the volume, some of these")
GIGABYTES = flags.DEFINE_float("gigabytes", 4.0, "size of the volume as float32", lower_bound=1e-6)
SIDE = flags.DEFINE_integer("side", 0, "samples along the long sides of a window; 0: 128 for cubes, 1024 for panels")
BATCH = flags.DEFINE_integer("batch_size", 8, "windows of a batch")
CANDIDATES = flags.DEFINE_list("candidates", [*OURS, *PEERS], "some of these")
DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "where seisjax and PyTorch put their batches")
WORKERS = flags.DEFINE_integer("workers", 2, "DataLoader's worker processes")
TIMES = flags.DEFINE_integer("turns", 3, "so often is each measured", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 2.0, "shortest time of a measurement")
FOLDER = flags.DEFINE_string(
    "folder", "", "where the volumes are written and removed again; empty: the temporary folder"
)
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures; those of other stores in it are kept")

AXES = {"cubes": ("inline", "crossline", "time"), "panels": ("example", "receiver", "time")}
_SCALE = 0.03  # of int8: samples of deviation 1 then fill a third of its range
_MISSING = -128  # of int8: no datum
_AHEAD = 4  # batches that are not counted at the beginning of a turn: readers have read so many ahead while they rested
_BATCHES = 4  # that are counted at least: two workers may hand out two at a time

# What is asked of the figures: a reader's windows a second, over another's, and how many times that should be at least.
TARGETS = (
    ("seisjax", "zarr-python", 2.5),
    ("seisjax", "tensorstore", 0.9),
    ("seisjax blocks", "tensorstore sequential", 0.8),
)


@dataclass(frozen=True)
class Case:
    """A volume, and how windows are drawn from it."""

    windows: str
    side: int
    shape: tuple[int, ...]
    dtype: str
    compression: str
    batch_size: int
    workers: int
    device: str
    seconds: float
    folder: str

    @property
    def window(self) -> tuple[int, ...]:
        """Sides of a window."""
        return (1 if self.windows == "panels" else self.side, self.side, self.side)

    def file(self, kind: str) -> str:
        """Where one of the copies of the volume lies."""
        return str(Path(self.folder) / f"{self.windows}-{self.dtype}.{kind}")


def make_case(windows: str, gigabytes: float, side: int = 0, **options: Any) -> Case:
    """A volume of about so many gigabytes as float32."""
    side = side or {"cubes": 128, "panels": 1024}[windows]
    samples = gigabytes * 1e9 / 4
    if windows == "panels":
        shape = (max(round(samples / side**2), 2), side, side)
    else:
        # Whole chunks of 64 along each axis, of a cube.
        edge = max(round((samples ** (1 / 3)) / 64) * 64, 2 * side)
        shape = (edge, edge, edge)
    return Case(windows, side, shape, **options)


def write_volume(case: Case) -> None:
    """The volume in the compression of the case."""
    from seisjax.geometry import Axis
    from seisjax.volumes import StreamingStatistics, create_volume

    axes = [Axis(name, np.arange(n)) for name, n in zip(AXES[case.windows], case.shape, strict=True)]
    options = {"dtype": case.dtype, "compression": case.compression, "overwrite": True}
    kind = "panels" if case.windows == "panels" else "survey"
    statistics = StreamingStatistics()
    with create_volume(case.file("zarr"), axes, kind=kind, **options) as volume:
        for box in volume.shards():
            samples = noise(box.start, box.shape, case.dtype)
            statistics.update(samples[:: max(len(samples) // 4, 1)].astype(np.float32))
            volume.write("amplitude", box, samples)
        volume.set_statistics(statistics.result())
        if case.dtype == "int8":
            volume.set_attributes("amplitude", {"scale_factor": _SCALE, "missing_value": _MISSING})


def write_peers(case: Case) -> None:
    """The same samples as .npy and, where h5py is installed, as HDF5, in the layout of the volume."""
    from seisjax.volumes import open_volume

    volume = open_volume(case.file("zarr"))
    memory = np.lib.format.open_memmap(case.file("npy"), "w+", np.dtype(case.dtype), case.shape)
    with contextlib.ExitStack() as stack:
        dataset = None
        with contextlib.suppress(ImportError):
            import h5py

            file = stack.enter_context(h5py.File(case.file("h5"), "w"))
            chunks = volume.arrays["amplitude"].chunk
            dataset = file.create_dataset("amplitude", case.shape, case.dtype, chunks=chunks)
        for box in volume.shards():
            samples = noise(box.start, box.shape, case.dtype)
            memory[box.slices] = samples
            if dataset is not None:
                dataset[box.slices] = samples
    memory.flush()


def noise(start: Sequence[int], shape: Sequence[int], dtype: str) -> np.ndarray:
    """Samples as they are stored, of noise that is another in each shard, at little cost."""
    samples = _noise(tuple(shape), dtype)
    return np.roll(samples, sum(start) // 7, axis=-2)


@functools.lru_cache(maxsize=8)
def _noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Noise of deviation 1 with the spectrum of a Ricker wavelet along the last axis, as seismic samples have."""
    length = shape[-1]
    frequency = np.fft.rfftfreq(length) / 0.1  # of the sampling rate, at which the spectrum has its peak
    spectrum = frequency**2 * np.exp(1 - frequency**2)
    white = np.random.default_rng(0).standard_normal(shape, np.float32)
    values = np.fft.irfft(np.fft.rfft(white) * spectrum, length)
    values = (values / values.std()).astype(np.float32)
    return values if dtype == "float32" else np.clip(np.rint(values / _SCALE), -127, 127).astype(np.int8)


class Reader:
    """What workers.Worker asks for: batches from an iterator, timed."""

    def __init__(
        self, case: Case, batches: Iterator[Any], close: Callable[[], None] = lambda: None, ahead: int = _AHEAD
    ):
        self._case, self._batches, self.close, self._ahead = case, batches, close, ahead
        self.facts: dict[str, Any] = {}
        self._processor: list[float] = []
        next(batches)

    def measure(self) -> float:
        """Seconds a window."""
        for _ in range(self._ahead):
            next(self._batches)
        started, processor, count = time.perf_counter(), _processor_seconds(), 0
        while count < _BATCHES or time.perf_counter() - started < self._case.seconds:
            next(self._batches)
            count += 1
        self._processor.append((_processor_seconds() - processor) / count / self._case.batch_size)
        return (time.perf_counter() - started) / count / self._case.batch_size

    def memory(self) -> dict[str, float]:
        """What was used beside time: of the processors, in its process and those it started, too."""
        return {"processor_seconds_a_window": statistics.median(self._processor)}


def _processor_seconds() -> float:
    """Processor time that this process and those it started and that still run have taken; Linux alone."""
    ticks = 0
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")


def make_ours(case: Case, sampling: str) -> Reader:
    """seisjax's stream of training batches, as the train step takes them, each waited for on the device."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax

    jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[case.device])
    from seisjax.config import Data
    from seisjax.data import training_batches
    from seisjax.sharding import make_mesh

    flags.FLAGS.mark_as_parsed()  # which Grain reads
    options = Data()
    source = _source(case, sampling)
    stream = training_batches(
        source,
        batch_size=case.batch_size,
        mesh=make_mesh(1, 1),
        space_dim=None,
        start_step=0,
        num_threads=options.num_threads,
        prefetch=options.prefetch,
        as_stored=True,
    )
    return Reader(case, map(jax.block_until_ready, stream), stream.close)


def _source(case: Case, sampling: str) -> Any:
    """The windows of training, without labels, with the heap and the cache of training."""
    from seisjax import runtime
    from seisjax.config import Data
    from seisjax.data import WindowSource, make_sampler
    from seisjax.geometry import Box
    from seisjax.volumes import open_volume, set_cache_size

    options = Data()
    runtime.use_one_heap()
    set_cache_size(options.cache_mebibytes)
    volume = open_volume(case.file("zarr"))
    sampler = make_sampler(
        sampling,
        volume=volume,
        labels=None,
        regions=[Box.whole(volume.shape)],
        window=case.window,
        seed=0,
        overhang=0.0,
        batch_size=case.batch_size,
        block_mebibytes=options.block_mebibytes,
    )
    return WindowSource(volume, None, sampler, case.window, labelled_only=False)


def make_tensorstore(case: Case) -> Reader:
    """The windows of seisjax's random draws by TensorStore, two batches under way."""
    source = _source(case, "uniform")

    def batches() -> Iterator[Any]:
        under_way: deque[list[Callable[[], np.ndarray]]] = deque()
        number = 0
        while True:
            while len(under_way) < 2:
                boxes = [source.sampler.draw(number + i).inner for i in range(case.batch_size)]
                under_way.append([source.volume.start_read("amplitude", box) for box in boxes])
                number += case.batch_size
            yield [wait() for wait in under_way.popleft()]

    return Reader(case, batches(), ahead=1)


def make_sequential(case: Case) -> Reader:
    """The whole volume, shard by shard and on from the beginning, a window's samples counted as a window."""
    from seisjax.geometry import Box, tiles

    source = _source(case, "uniform")
    volume = source.volume
    chunk = volume.arrays["amplitude"].chunk
    # As many whole chunks at a time as hold about a batch, so that no chunk is read twice.
    samples, slab = case.batch_size * math.prod(case.window), list(chunk)
    for axis in reversed(range(len(slab))):
        while math.prod(slab) < samples and slab[axis] < case.shape[axis]:
            slab[axis] = min(slab[axis] + chunk[axis], case.shape[axis])

    def read() -> Iterator[int]:
        """Samples of one slab after the other."""
        under_way: deque[Callable[[], np.ndarray]] = deque()
        while True:
            for box in tiles(Box.whole(case.shape), tuple(slab)):
                under_way.append(volume.start_read("amplitude", box))
                if len(under_way) > 2:
                    yield under_way.popleft()().size

    def batches() -> Iterator[int]:
        slabs, held = read(), 0
        while True:
            while held < samples:
                held += next(slabs)
            held -= samples
            yield samples

    return Reader(case, batches(), ahead=1)


class WindowsOf:
    """A PyTorch data set of windows anywhere in an array that each worker opens for itself."""

    def __init__(self, case: Case, kind: str) -> None:
        self._case, self._kind, self._array = case, kind, None

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Any:
        import torch

        if self._array is None:
            self._array = open_array(self._case, self._kind)
        random = np.random.default_rng([0, index])
        room = (n - w + 1 for n, w in zip(self._case.shape, self._case.window, strict=True))
        starts = [int(random.integers(n)) for n in room]
        place = tuple(slice(a, a + w) for a, w in zip(starts, self._case.window, strict=True))
        return torch.from_numpy(np.array(self._array[place]))


def open_array(case: Case, kind: str) -> Any:
    """One of the copies, to be indexed."""
    if kind == "zarr-python":
        import zarr

        return zarr.open_group(case.file("zarr"), mode="r")["amplitude"]
    if kind == "h5py":
        import h5py

        return h5py.File(case.file("h5"), "r")["amplitude"]
    return np.load(case.file("npy"), mmap_mode="r")


def make_torch(case: Case, kind: str) -> Reader:
    """PyTorch's DataLoader, in the order of the numbers, for each number stands for a random window."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Windows(WindowsOf, Dataset):
        pass

    open_array(case, kind)  # what cannot be opened is said here
    device = torch.device({"cpu": "cpu", "gpu": "cuda"}[case.device])
    pinned = case.device == "gpu"
    options: dict[str, Any] = {
        "num_workers": case.workers,
        "pin_memory": pinned,
        "persistent_workers": case.workers > 0,
    }
    if case.workers:
        options["multiprocessing_context"] = "fork"  # as DataLoader does on Linux by default
    loader = DataLoader(Windows(case, kind), case.batch_size, **options)
    batches = iter(loader)
    return Reader(case, (batch.to(device, non_blocking=pinned) for batch in batches))


def maker(name: str) -> tuple[Callable[..., Reader], tuple[Any, ...]]:
    """What makes a candidate: a function of the case, and the arguments after it."""
    known: dict[str, tuple[Callable[..., Reader], tuple[Any, ...]]] = {
        "seisjax": (make_ours, ("uniform",)),
        "seisjax blocks": (make_ours, ("blocks",)),
        "tensorstore": (make_tensorstore, ()),
        "tensorstore sequential": (make_sequential, ()),
        **{name: (make_torch, (name,)) for name in PEERS},
    }
    if name not in known:
        raise app.UsageError(f"--candidates: no '{name}'; choose from {', '.join(known)}")
    return known[name]


def compare(case: Case, names: Sequence[str], turns: int) -> dict[str, Any]:
    """Measure the readers of one case, whose files are there; a dict for JSON."""
    rows, left_out, workers = {}, {}, {}
    with contextlib.ExitStack() as stack:
        for name in names:
            make, arguments = maker(name)
            try:
                workers[name] = stack.enter_context(Worker(make, case, *arguments, huge_pages=name in OURS))
            except CandidateError as error:
                left_out[name] = str(error)
        timings = alternate(workers, turns)
        for name, worker in workers.items():
            rows[name] = {"seconds_a_window": timings[name].as_json(), **worker.memory()}
    size = sum(file.stat().st_size for file in Path(case.file("zarr")).rglob("*") if file.is_file())
    return {
        "case": asdict(case),
        "stored_bytes": size,
        "rows": rows,
        "left_out": left_out,
        "note": disturbed_note(timings),
    }


def warm(case: Case) -> None:
    """Read all files of a case once."""
    for path in (Path(case.file("zarr")), Path(case.file("npy")), Path(case.file("h5"))):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb", buffering=0) as stream:
                    while stream.read(2**24):
                        pass


def run_all(cases: Sequence[Case], names: Sequence[str], turns: int) -> Iterator[dict[str, Any]]:
    """Each case in turn; files that the next one does not need are removed."""
    for before, case in zip([None, *cases], cases, strict=False):
        same = before is not None and replace(before, compression=case.compression) == case
        if before is not None and not same:
            _remove(before)
        started = time.perf_counter()
        write_volume(case)
        if not same:
            write_peers(case)
        warm(case)
        written = time.perf_counter()
        result = compare(case, names, turns)
        result["seconds_written"] = written - started
        result["seconds_measured"] = time.perf_counter() - written
        yield result


def _remove(case: Case) -> None:
    shutil.rmtree(case.file("zarr"))
    for kind in ("npy", "h5"):
        Path(case.file(kind)).unlink(missing_ok=True)


def report(result: dict[str, Any]) -> str:
    """The result of a case for people."""
    case, rows = result["case"], result["rows"]
    samples = (1 if case["windows"] == "panels" else case["side"]) * case["side"] ** 2
    size = math.prod(case["shape"]) * np.dtype(case["dtype"]).itemsize
    seconds = {name: row["seconds_a_window"]["median"] for name, row in rows.items()}
    against = [name for name in ("zarr-python", "tensorstore", "tensorstore sequential") if name in seconds]
    sides = " x ".join(map(str, case["shape"]))
    lines = [
        f"{case['windows']} of side {case['side']} from {sides} {case['dtype']}, {case['compression']} "
        f"({result['stored_bytes'] / size:.2f} of {size / 1e9:.2f} GB)",
        f"{'':<24}{'windows/s':>11}{'GB/s':>8}{'processor ms':>14}" + "".join(f"{'/ ' + name:>25}" for name in against),
    ]
    for name, each in seconds.items():
        rate = samples * np.dtype(case["dtype"]).itemsize / each / 1e9
        ratios = "".join(f"{seconds[other] / each:>25.2f}" for other in against)
        busy = 1e3 * rows[name].get("processor_seconds_a_window", math.nan)
        lines.append(f"{name:<24}{1 / each:>11.1f}{rate:>8.3f}{busy:>14.2f}{ratios}")
    lines += [f"left out: {name}: {why}" for name, why in result["left_out"].items()]
    return "\n".join(lines + ([result["note"]] if result["note"] else []))


def verdicts(results: Sequence[dict[str, Any]]) -> str:
    """What was asked of the readers, and which store comes nearest to the memory-mapped file, for people."""
    lines = []
    for one, other, least in TARGETS:
        found = {_store(result): ratio for result in results if (ratio := _ratio(result, one, other)) is not None}
        if found:
            met = sum(ratio >= least for ratio in found.values())
            lines.append(f"{one} / {other}: at least {least} asked, met by {met} of {len(found)} stores")
            lines += [
                f"  {name:<24}{ratio:>6.2f}{'' if ratio >= least else '  short'}" for name, ratio in found.items()
            ]
    near = [(ratio, result) for result in results if (ratio := _ratio(result, "seisjax", "memory-mapped")) is not None]
    for windows in dict.fromkeys(result["case"]["windows"] for _, result in near):
        ratio, nearest = max(((r, x) for r, x in near if x["case"]["windows"] == windows), key=lambda pair: pair[0])
        lines.append(f"nearest to the memory-mapped file: {_store(nearest)}, {ratio:.2f} of its windows a second")
    return "\n".join(lines)


def _store(result: dict[str, Any]) -> str:
    return " ".join(result["case"][key] for key in ("windows", "dtype", "compression"))


def _ratio(result: dict[str, Any], one: str, other: str) -> float | None:
    """Windows a second of one reader over those of another, where both were measured."""
    rows = result["rows"]
    if one not in rows or other not in rows:
        return None
    return rows[other]["seconds_a_window"]["median"] / rows[one]["seconds_a_window"]["median"]


def save(path: Path, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the results with those of other stores that stand in the file; all of them are returned."""
    versions = {}
    for name in ("jax", "grain", "tensorstore", "torch", "zarr", "h5py", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    earlier = json.loads(path.read_text())["cases"] if path.exists() else []
    measured = {_store(result) for result in results}
    cases = [*(result for result in earlier if _store(result) not in measured), *results]
    machine = {"cpus": os.cpu_count(), "load_average": os.getloadavg()[0]}
    write_json(path, {"date": time.strftime("%Y-%m-%d"), "versions": versions} | machine | {"cases": cases})
    return cases


def main(_: list[str]) -> None:
    folder = tempfile.mkdtemp(prefix="loader_peers-", dir=FOLDER.value or None)
    fixed = {"batch_size": BATCH.value, "workers": WORKERS.value, "device": DEVICE.value, "seconds": SECONDS.value}
    cases = [
        make_case(windows, GIGABYTES.value, SIDE.value, dtype=dtype, compression=kind, folder=folder, **fixed)
        for windows in WINDOWS.value
        for dtype in DTYPES.value
        for kind in COMPRESSIONS.value
    ]
    results: list[dict[str, Any]] = []
    everything = results
    try:
        for result in run_all(cases, CANDIDATES.value, TIMES.value):
            del result["case"]["folder"]
            results.append(result)
            if OUTPUT.value:
                everything = save(Path(OUTPUT.value), results)
            print(report(result), flush=True)
    finally:
        shutil.rmtree(folder)
    print("\n".join(["", *map(report, everything), verdicts(everything)]))


if __name__ == "__main__":
    app.run(main)
