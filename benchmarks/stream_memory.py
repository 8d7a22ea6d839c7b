"""Does the stream's memory depend on the volume's size? Streams windows out of a logical volume of any size.

    python benchmarks/stream_memory.py --gigabytes=750 --output=stream_memory.json

The volume is made of hard links to a few real shards of noise and layered labels, so it takes little room on disk while
each window is found, read, decoded and masked as in a real survey. (The few files stay in the page cache: what is
measured is the work of the host, not the disk.) Prints the time to the first batch, resident memory along the way,
bytes read and used, and samples/s. Linux only: memory comes from /proc.
"""

import itertools
import json
import math
import multiprocessing
import os
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import tensorstore as ts
from absl import app, flags

from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.data import WindowSource, make_sampler, training_batches
from seisjax.geometry import Axis, Box
from seisjax.runtime import use_one_heap
from seisjax.sharding import make_mesh
from seisjax.volumes import Volume, bytes_read, create_volume, open_volume, set_cache_size

GIGABYTES = flags.DEFINE_float("gigabytes", 750.0, "logical size of the amplitudes, 1e9 bytes")
SHARD = flags.DEFINE_list("shard", ["256", "256", "512"], "sides of a shard, samples")
CHUNK = flags.DEFINE_list("chunk", ["64", "64", "64"], "sides of a chunk, samples")
DISTINCT = flags.DEFINE_integer("distinct", 4, "shards that are really written")
WINDOW = flags.DEFINE_list("window", ["128", "128", "128"], "sides of a window, samples")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "windows a batch")
STEPS = flags.DEFINE_integer("steps", 500, "batches drawn")
THREADS = flags.DEFINE_integer("num_threads", 4, "reading threads")
PREFETCH = flags.DEFINE_integer("prefetch", 2, "batches read ahead")
CACHE = flags.DEFINE_integer("cache_mebibytes", 256, "decoded chunks kept, MiB")
OUTPUT = flags.DEFINE_string("output", "", "JSON file to write")

LABELS = "facies"
CLASSES = 6
SHARDS_DOWN = 3  # along the vertical


def build_volume(folder: Path, gigabytes: float, shard: list[int], chunk: list[int], distinct: int) -> str:
    """Make the logical volume in `folder`; returns its path."""
    wanted = gigabytes * 1e9 / (4 * math.prod(shard))
    lines = max(math.ceil(math.sqrt(wanted / SHARDS_DOWN)), 1)
    grid = (math.ceil(wanted / SHARDS_DOWN / lines), lines, SHARDS_DOWN)
    names, units = ("inline", "crossline", "time"), ("", "", "ms")
    lengths = [n * s for n, s in zip(grid, shard, strict=True)]
    axes = [Axis(name, np.arange(n), unit) for name, n, unit in zip(names, lengths, units, strict=True)]
    path = folder / "logical.zarr"
    with create_volume(path, axes, chunk=chunk, shard=shard) as volume:
        volume.add_array(LABELS_PREFIX + LABELS, np.uint8)
        for number, index in enumerate(itertools.islice(np.ndindex(*grid), distinct)):
            _write_shard(volume, Box(tuple(i * s for i, s in zip(index, shard, strict=True)), tuple(shard)), number)
    for name in (AMPLITUDE, LABELS_PREFIX + LABELS):
        _link_shards(path / name / "c", grid, distinct)
    _fill_label_index(path, grid)
    return str(path)


def _write_shard(volume: Volume, box: Box, seed: int) -> None:
    """Noise, and layers of labels that dip."""
    rng = np.random.default_rng(seed)
    volume.write(AMPLITUDE, box, rng.standard_normal(box.shape, np.float32))
    dip = np.add.outer(np.arange(box.shape[0]), np.arange(box.shape[1]))[..., None] * (seed + 1) // 8
    layer = (np.arange(box.shape[2]) + dip) * CLASSES // box.shape[2] % CLASSES
    volume.write(LABELS_PREFIX + LABELS, box, layer.astype(np.uint8))


def _link_shards(folder: Path, grid: tuple[int, ...], distinct: int) -> None:
    written = [folder.joinpath(*map(str, index)) for index in itertools.islice(np.ndindex(*grid), distinct)]
    for number, index in enumerate(np.ndindex(*grid)):
        path = folder.joinpath(*map(str, index))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(written[number % len(written)], path)


def _fill_label_index(path: Path, grid: tuple[int, ...]) -> None:
    """Give each shard that was only linked the class counts of the first one: they say where labels are."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/chunk_counts_{LABELS}/"}}
    index = ts.open(spec, open=True).result()
    counts = index.read().result()
    cell = [n // g for n, g in zip(counts.shape[:-1], grid, strict=True)]
    first = counts[tuple(map(slice, cell))]
    index.write(np.tile(first, (*grid, 1))).result()


def measure(path: str, window: list[int], batch_size: int, steps: int, threads: int, prefetch: int) -> dict:
    """Draw `steps` batches as training does; returns what was measured."""
    marks = sorted({min(mark, steps) for mark in (1, 50, steps // 2, steps)})
    memory = {0: resident_mebibytes()}
    begin, read_before = time.perf_counter(), bytes_read()
    volume = open_volume(path)
    regions = [Box.whole(volume.shape)]
    sampler = make_sampler(
        "uniform", volume=volume, labels=LABELS, regions=regions, window=window, seed=0, overhang=0.125
    )
    source = WindowSource(volume, LABELS, sampler, window, labelled_only=True)
    mesh = make_mesh(1, 1)
    options = {"space_dim": None, "start_step": 0, "num_threads": threads, "prefetch": prefetch}
    with closing(training_batches(source, batch_size=batch_size, mesh=mesh, **options)) as batches:
        first = time.perf_counter()
        for step in range(1, steps + 1):
            jax.block_until_ready(next(batches))
            if step == 1:
                first = time.perf_counter()
            if step in marks:
                memory[step] = resident_mebibytes()
        seconds = time.perf_counter() - first
    read, used = bytes_read() - read_before, source.bytes_used
    return {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],  # above the cores: others worked beside us, and times are too long
        "logical_gigabytes": math.prod(volume.shape) * 4 / 1e9,
        "shape": volume.shape,
        "window": window,
        "batch_size": batch_size,
        "steps": steps,
        "seconds_to_first_batch": first - begin,
        "samples_per_second": (steps - 1) * batch_size / seconds,
        "resident_mebibytes": memory,
        "bytes_read": read,
        "bytes_used": used,
        "read_amplification": read / used,
    }


def resident_mebibytes() -> float:
    """Memory of this process that is resident, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def report(result: dict) -> str:
    """The result as a small table."""
    lines = [
        f"logical volume        {result['logical_gigabytes']:.0f} GB {tuple(result['shape'])}",
        f"window, batch         {tuple(result['window'])}, {result['batch_size']}",
        f"first batch after     {result['seconds_to_first_batch']:.2f} s",
        f"speed                 {result['samples_per_second']:.1f} windows/s",
        f"read, used            {result['bytes_read'] / 1e9:.2f} GB, {result['bytes_used'] / 1e9:.2f} GB "
        f"(x {result['read_amplification']:.2f})",
    ]
    lines += [f"resident at {step:<9} {mebibytes:.0f} MiB" for step, mebibytes in result["resident_mebibytes"].items()]
    return "\n".join(lines)


def main(_: list[str]) -> None:
    shard, chunk, window = ([int(side) for side in flag.value] for flag in (SHARD, CHUNK, WINDOW))
    use_one_heap()
    set_cache_size(CACHE.value)
    folder = Path(tempfile.mkdtemp(prefix="stream_memory-"))
    try:
        # In a process of its own, so that what building takes is not counted.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            path = pool.apply(build_volume, (folder, GIGABYTES.value, shard, chunk, DISTINCT.value))
        result = measure(path, window, BATCH_SIZE.value, STEPS.value, THREADS.value, PREFETCH.value)
    finally:
        shutil.rmtree(folder)
    print(report(result))
    if OUTPUT.value:
        Path(OUTPUT.value).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
