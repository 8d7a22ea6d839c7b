"""Do panels stream at a steady pace in steady memory, made as they are read or stored, however many there are?

    python benchmarks/stream_panels.py --minutes=10 --output=stream_panels.json

Draws batches as training does, from two volumes of logically 750 GB: one that makes its panels as they are read
(`synthetic:`), and one that is stored. The stored one is made of hard links to a few real shards, so it takes little
room on disk while each panel is found, read, decoded and masked as in a real set. (The few files stay in the page
cache: what is measured is the work of the host, not the disk.) Each is driven in a process of its own for `--minutes`;
every half minute is noted. Prints panels and bytes a second and resident memory, and how long 750 GB would take at the
pace of the whole drive: an extrapolation. Linux only: memory comes from /proc.
"""

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
from absl import app, flags

from seisjax import runtime
from seisjax.conventions import AMPLITUDE, LABELS_PREFIX, TRACE_MASK
from seisjax.data import WindowSource, make_sampler, training_batches
from seisjax.geometry import Axis, Box
from seisjax.sharding import make_mesh
from seisjax.synthesis import load_parameters, open_data, write_microseismic
from seisjax.volumes import create_volume, set_cache_size

WHAT = flags.DEFINE_list("what", ["generated", "stored"], "which volumes are driven")
MINUTES = flags.DEFINE_float("minutes", 10.0, "how long each is driven")
NOTE_EVERY = flags.DEFINE_float("note_every", 30.0, "seconds between two notes")
PRESET = flags.DEFINE_string("preset", "microseismic_4096", "generator's preset, or FILE.py with get_config()")
GIGABYTES = flags.DEFINE_float("gigabytes", 750.0, "logical size of the amplitudes, 1e9 bytes")
DISTINCT = flags.DEFINE_integer("distinct", 4, "stored panels that are really written")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "panels a batch")
THREADS = flags.DEFINE_integer("num_threads", 2, "reading threads")
PREFETCH = flags.DEFINE_integer("prefetch", 2, "batches read ahead")
CACHE = flags.DEFINE_integer("cache_mebibytes", 256, "decoded chunks kept, MiB")
OUTPUT = flags.DEFINE_string("output", "", "JSON file to write")


def build_volume(folder: Path, preset: str, gigabytes: float, distinct: int) -> str:
    """Make the logical stored volume in `folder`; returns its path."""
    few = write_microseismic(folder / "few.zarr", load_parameters(preset, "--preset"), distinct, seed=0)
    label = LABELS_PREFIX + few.label_names()[0]
    count = math.ceil(gigabytes * 1e9 / (4 * math.prod(few.shape[1:])))
    path = folder / "logical.zarr"
    axes = [Axis("example", np.arange(count)), *few.axes[1:]]
    with create_volume(path, axes, kind="panels") as volume:
        volume.add_array(label, np.uint8, attributes=few.arrays[label].attributes)
        counts = few.label_index(label).counts
        whole = np.concatenate([counts] * math.ceil(count / distinct))[:count]
        volume.set_chunk_counts(label, Box.whole(volume.shape), whole)
        assert few.statistics is not None
        volume.set_statistics(few.statistics)
    for name in (AMPLITUDE, label, TRACE_MASK):
        _link_shards(folder / "few.zarr" / name / "c", path / name / "c", distinct, count)
    return str(path)


def _link_shards(written: Path, linked: Path, distinct: int, count: int) -> None:
    """Give each panel the files of one of the few."""
    for number in range(count):
        source = written / str(number % distinct)
        for file in (f for f in source.rglob("*") if f.is_file()):
            target = linked / str(number) / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)


def drive(
    url: str, minutes: float, note_every: float, batch_size: int, threads: int, prefetch: int, cache: int
) -> dict:
    """Draw batches of whole panels as training does, for so many minutes; returns what was measured."""
    runtime.prepare()
    set_cache_size(cache)
    volume = open_data(url)
    label, window = volume.label_names()[0], (1, *volume.shape[1:])
    regions = [Box.whole(volume.shape)]
    sampler = make_sampler("uniform", volume=volume, labels=label, regions=regions, window=window, seed=0, overhang=0.0)
    source = WindowSource(volume, label, sampler, window, labelled_only=True)
    begun, notes = time.perf_counter(), []
    options = {"space_dim": None, "start_step": 0, "num_threads": threads, "prefetch": prefetch}
    with closing(training_batches(source, batch_size=batch_size, mesh=make_mesh(1, 1), **options)) as batches:
        jax.block_until_ready(next(batches))
        first, panels, noted = time.perf_counter(), 0, 0
        while (now := time.perf_counter() - first) < 60 * minutes:
            jax.block_until_ready(next(batches))
            panels += batch_size
            now = time.perf_counter() - first
            if now >= note_every * (len(notes) + 1):
                since = now - (notes[-1]["seconds"] if notes else 0.0)
                pace = (panels - noted) / since
                notes.append({"seconds": now, "panels_per_second": pace, "resident_mebibytes": resident_mebibytes()})
                noted = panels
    seconds = time.perf_counter() - first
    size = 4 * math.prod(volume.shape[1:])
    return {
        "volume": volume.url if volume.url.startswith("synthetic:") else "stored",
        "logical_gigabytes": volume.shape[0] * size / 1e9,
        "panel": volume.shape[1:],
        "batch_size": batch_size,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],  # above the cores: others worked beside us, and times are too long
        "seconds_to_first_batch": first - begun,
        "seconds": seconds,
        "panels": panels,
        "panels_per_second": panels / seconds,
        "megabytes_per_second": panels * size / seconds / 1e6,
        "extrapolated_hours_for_all": volume.shape[0] / (panels / seconds) / 3600 if panels else None,
        "notes": notes,
    }


def resident_mebibytes() -> float:
    """Memory of this process that is resident, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def report(result: dict) -> str:
    """The result as a small table."""
    hours = result["extrapolated_hours_for_all"]
    lines = [
        f"volume           {result['volume']}, {result['logical_gigabytes']:.0f} GB of {tuple(result['panel'])}",
        f"first batch      after {result['seconds_to_first_batch']:.1f} s",
        f"speed            {result['panels_per_second']:.2f} panels/s, {result['megabytes_per_second']:.0f} MB/s",
        f"all of it        {'-' if hours is None else f'{hours:.1f}'} hours, extrapolated",
        "at s      panels/s   resident MiB",
    ]
    lines += [
        f"{note['seconds']:<9.0f} {note['panels_per_second']:<10.2f} {note['resident_mebibytes']:.0f}"
        for note in result["notes"]
    ]
    return "\n".join(lines)


def main(_: list[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="stream_panels-"))
    pools, results = multiprocessing.get_context("spawn"), {}
    how = (MINUTES.value, NOTE_EVERY.value, BATCH_SIZE.value, THREADS.value, PREFETCH.value, CACHE.value)
    try:
        for what in WHAT.value:
            # In processes of their own, so that what building takes is not counted.
            if what == "stored":
                with pools.Pool(1) as pool:
                    url = pool.apply(build_volume, (folder, PRESET.value, GIGABYTES.value, DISTINCT.value))
            else:
                panel = _panel_bytes(PRESET.value)
                url = f"synthetic:{PRESET.value}?examples={math.ceil(GIGABYTES.value * 1e9 / panel)}"
            with pools.Pool(1) as pool:
                results[what] = pool.apply(drive, (url, *how))
            print(f"{what}\n{report(results[what])}", flush=True)
    finally:
        shutil.rmtree(folder)
    if OUTPUT.value:
        Path(OUTPUT.value).write_text(json.dumps(results, indent=1) + "\n")


def _panel_bytes(preset: str) -> int:
    return 4 * math.prod(open_data(f"synthetic:{preset}?examples=1").shape[1:])


if __name__ == "__main__":
    app.run(main)
