"""Windows a second from one volume: seisjax's stream, TensorStore alone, and PyTorch's DataLoader over other readers.

    python benchmarks/loader_peers.py --folder=/scratch --output=loader_peers.json
    python benchmarks/loader_peers.py --windows=cubes --dtypes=float32 --compressions=zstd --gigabytes=1

For each shape of window (cubes of 128^3; panels of 1024 x 1024) and each type of samples, a volume of band-limited
noise of 4 GB (float32; a quarter of it as int8) is written: as a seisjax volume in each compression, as a .npy file,
and as a chunked HDF5 file without compression. Then all readers draw windows in turns, each in a process of its own,
and hand out batches of float32. Windows are drawn anywhere; "blocks" is data.sampling=blocks. DataLoader has two
workers, as it is used; seisjax the threads that its defaults give it. TensorStore reads the windows of seisjax's
random draws, in their stored type, with two batches under way; "sequential" is the whole volume, slab after slab of
whole chunks: what decoding gives. Files are read once before, so that they come from memory where that holds them:
disks are another question. GB/s are samples in their stored type. Peers are in benchmarks/requirements.txt; what is
not installed is left out, and said. It takes about 15 GB of disk at a time.
"""

# pyright: reportMissingImports=false

import contextlib
import importlib.metadata
import math
import os
import shutil
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
SECONDS = flags.DEFINE_float("seconds", 5.0, "shortest time of a measurement")
FOLDER = flags.DEFINE_string(
    "folder", "", "where the volumes are written and removed again; empty: the temporary folder"
)
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures")

AXES = {"cubes": ("inline", "crossline", "time"), "panels": ("example", "receiver", "time")}
_SCALE = 0.03  # of int8: samples of deviation 1 then fill a third of its range
_AHEAD = 8  # batches that are not counted at the beginning of a turn: readers have read so many ahead while they rested


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
            samples = stored(noise(box.start, box.shape), case.dtype)
            statistics.update(samples[:: max(len(samples) // 4, 1)].astype(np.float32))
            volume.write("amplitude", box, samples)
        volume.set_statistics(statistics.result())
        if case.dtype == "int8":
            volume.set_attributes("amplitude", {"scale_factor": _SCALE, "missing_value": -128})


def write_peers(case: Case) -> None:
    """The same samples as .npy and, where h5py is installed, as HDF5, from the volume."""
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
            samples = volume.read("amplitude", box)
            memory[box.slices] = samples
            if dataset is not None:
                dataset[box.slices] = samples
    memory.flush()


def noise(start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Noise of deviation 1 with the spectrum of a Ricker wavelet along the last axis, as seismic samples have."""
    random = np.random.default_rng(list(start))
    length = shape[-1]
    frequency = np.fft.rfftfreq(length) / 0.1  # of the sampling rate, at which the spectrum has its peak
    spectrum = frequency**2 * np.exp(1 - frequency**2)
    values = np.fft.irfft(np.fft.rfft(random.standard_normal(shape, np.float32)) * spectrum, length)
    return (values / values.std()).astype(np.float32)


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 samples as they are stored."""
    if dtype == "float32":
        return values
    return np.clip(np.rint(values / _SCALE), -127, 127).astype(np.int8)


class Reader:
    """What workers.Worker asks for: batches from an iterator, timed."""

    def __init__(
        self, case: Case, batches: Iterator[Any], close: Callable[[], None] = lambda: None, ahead: int = _AHEAD
    ):
        self._case, self._batches, self.close, self._ahead = case, batches, close, ahead
        self.facts: dict[str, Any] = {}
        next(batches)

    def measure(self) -> float:
        """Seconds a window."""
        for _ in range(self._ahead):
            next(self._batches)
        started, count = time.perf_counter(), 0
        while count < 3 or time.perf_counter() - started < self._case.seconds:
            next(self._batches)
            count += 1
        return (time.perf_counter() - started) / count / self._case.batch_size

    def memory(self) -> dict[str, int]:
        """Nothing but what the process says."""
        return {}


def make_ours(case: Case, sampling: str) -> Reader:
    """seisjax's stream of training batches, each waited for on the device."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax

    jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[case.device])
    from seisjax import runtime
    from seisjax.config import Data
    from seisjax.data import training_batches
    from seisjax.sharding import make_mesh

    runtime.use_one_heap()
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
    """The windows of training, without labels, with the cache of the defaults."""
    from seisjax.config import Data
    from seisjax.data import WindowSource, make_sampler
    from seisjax.geometry import Box
    from seisjax.volumes import open_volume, set_cache_size

    options = Data()
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
        values = np.asarray(self._array[place], np.float32)
        if self._case.dtype == "int8":
            values *= np.float32(_SCALE)
        return torch.from_numpy(np.ascontiguousarray(values))


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
                workers[name] = stack.enter_context(Worker(make, case, *arguments))
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


def run_all(cases: Sequence[Case], names: Sequence[str], turns: int) -> list[dict[str, Any]]:
    """Each case in turn; files that the next one does not need are removed."""
    results = []
    for before, case in zip([None, *cases], cases, strict=False):
        same = before is not None and replace(before, compression=case.compression) == case
        if before is not None and not same:
            _remove(before)
        write_volume(case)
        if not same:
            write_peers(case)
        warm(case)
        results.append(compare(case, names, turns))
        print(report(results[-1]), flush=True)
    return results


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
        f"{'':<24}{'windows/s':>11}{'GB/s':>8}" + "".join(f"{'/ ' + name:>25}" for name in against),
    ]
    for name, each in seconds.items():
        rate = samples * np.dtype(case["dtype"]).itemsize / each / 1e9
        ratios = "".join(f"{seconds[other] / each:>25.2f}" for other in against)
        lines.append(f"{name:<24}{1 / each:>11.1f}{rate:>8.3f}{ratios}")
    lines += [f"left out: {name}: {why}" for name, why in result["left_out"].items()]
    return "\n".join(lines + ([result["note"]] if result["note"] else []))


def main(_: list[str]) -> None:
    folder = tempfile.mkdtemp(prefix="loader_peers-", dir=FOLDER.value or None)
    fixed = {"batch_size": BATCH.value, "workers": WORKERS.value, "device": DEVICE.value, "seconds": SECONDS.value}
    cases = [
        make_case(windows, GIGABYTES.value, SIDE.value, dtype=dtype, compression=kind, folder=folder, **fixed)
        for windows in WINDOWS.value
        for dtype in DTYPES.value
        for kind in COMPRESSIONS.value
    ]
    try:
        results = run_all(cases, CANDIDATES.value, TIMES.value)
    finally:
        shutil.rmtree(folder)
    if OUTPUT.value:
        versions = {}
        for name in ("jax", "grain", "tensorstore", "torch", "zarr", "h5py", "numpy"):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
        machine = {"cpus": os.cpu_count(), "load_average": os.getloadavg()[0]}
        for result in results:
            del result["case"]["folder"]
        write_json(
            Path(OUTPUT.value), {"date": time.strftime("%Y-%m-%d"), "versions": versions} | machine | {"cases": results}
        )


if __name__ == "__main__":
    app.run(main)
