"""How much is read for what is used? Random cubes and sections against draws by blocks, on chunks of 64 x 64 x 64.

    python benchmarks/read_amplification.py --output=read_amplification.json

Makes a survey of noise and layered labels on disk and draws windows from it as training does, with a fresh cache for
each row of the table, much smaller than the survey. Bytes read are those fetched from the files, compressed; bytes used
are those of the samples handed out, times the share that compression leaves of each array, so that a factor of 1 means
that every byte fetched was used once. The row "with copies" reads a survey that holds its samples twice, cut also for
inline sections.
"""

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.data import WindowSource, make_sampler
from seisjax.geometry import Axis, Box
from seisjax.volumes import bytes_read, create_volume, open_volume, set_cache_size

SHAPE = flags.DEFINE_list("shape", ["1024", "512", "512"], "samples of the survey along each axis")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "windows a batch")
SAMPLES = flags.DEFINE_float("samples", 6e7, "samples drawn anywhere for a row, about; by blocks four times as many")
CACHE = flags.DEFINE_integer("cache_mebibytes", 256, "decoded chunks kept, MiB")
OUTPUT = flags.DEFINE_string("output", "", "JSON file to write")

NAMES = ("inline", "crossline", "time")
CHUNK = (64, 64, 64)
SHARD = (256, 256, 512)
LABELS = "facies"
CUBE, SECTION = (128, 128, 128), (1, 128, 256)
# What is drawn: a name, the window, the sampling, the directions, and whether the survey has copies for sections.
ROWS = (
    ("cubes, anywhere", CUBE, "uniform", (), False),
    ("cubes, by blocks", CUBE, "blocks", (), False),
    ("inline sections, anywhere", SECTION, "uniform", (), False),
    ("inline sections, by blocks", SECTION, "blocks", (), False),
    ("inline sections with copies, anywhere", SECTION, "uniform", (), True),
    ("sections of 3 directions, anywhere", SECTION, "uniform", NAMES, False),
    ("sections of 3 directions, by blocks", SECTION, "blocks", NAMES, False),
)


def build(folder: Path, shape: Sequence[int], copies: bool) -> str:
    """Make the survey; returns its path."""
    axes = [Axis(name, np.arange(n)) for name, n in zip(NAMES, shape, strict=True)]
    path = folder / ("copies.zarr" if copies else "plain.zarr")
    with create_volume(path, axes, chunk=CHUNK, shard=SHARD) as volume:
        volume.add_array(LABELS_PREFIX + LABELS, np.uint8)
        names = [(AMPLITUDE, LABELS_PREFIX + LABELS)]
        for name in NAMES[:1] if copies else ():
            chunk = (1, 256, 256)
            pair = (f"sections_{name}_{AMPLITUDE}", f"sections_{name}_{LABELS_PREFIX}{LABELS}")
            for array, dtype, fill in zip(pair, (np.float32, np.uint8), (np.nan, 255), strict=True):
                volume.add_array(array, dtype, chunk=chunk, shard=SHARD, fill=fill)
            names.append(pair)
        for box in volume.shards():
            rng = np.random.default_rng(box.start)
            noise = rng.standard_normal(box.shape, np.float32)
            depth = np.arange(box.start[2], box.stop[2]) + np.arange(box.start[0], box.stop[0])[:, None, None] // 4
            layers = np.broadcast_to(depth // 40 % 6, box.shape).astype(np.uint8)
            for amplitude, labels in names:
                volume.write(amplitude, box, noise)
                volume.write(labels, box, layers)
    return str(path)


def stored_share(path: str, name: str) -> float:
    """Bytes of an array's files, as a share of the bytes of its samples."""
    info = open_volume(path).arrays[name]
    files = (file for file in (Path(path) / name).rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files) / math.prod(info.shape) / info.dtype.itemsize


def measure(path: str, window: Sequence[int], kind: str, directions: Sequence[str]) -> dict:
    """Draw windows as training does; returns what was read and used."""
    set_cache_size(CACHE.value)  # a new and empty one
    volume = open_volume(path)
    batch_size, begin = BATCH_SIZE.value, time.perf_counter()
    sampler = make_sampler(
        kind,
        volume=volume,
        labels=LABELS,
        regions=[Box.whole(volume.shape)],
        window=window,
        seed=0,
        overhang=0.125,
        directions=directions,
        batch_size=batch_size,
        block_mebibytes=CACHE.value // 2,
    )
    source = WindowSource(volume, LABELS, sampler, window, labelled_only=True)
    read_before = bytes_read()
    samples = SAMPLES.value * (4 if kind == "blocks" else 1)  # blocks that are open at the end were read in advance
    steps = max(round(samples / batch_size / math.prod(window)), 4)
    for step in range(steps):
        source.read(range(step * batch_size, (step + 1) * batch_size))
    # Of the bytes used an amplitude has 4 and a label 1 of each sample.
    used = source.bytes_used / 5 * (4 * stored_share(path, AMPLITUDE) + stored_share(path, LABELS_PREFIX + LABELS))
    read = bytes_read() - read_before
    seconds = time.perf_counter() - begin
    return {"windows": steps * batch_size, "read": read, "used": used, "factor": read / used, "seconds": seconds}


def report(rows: Sequence[tuple], results: Sequence[dict]) -> str:
    """The results as a table."""
    lines = [f"{'windows':<48} {'drawn':>6} {'read, MB':>9} {'used, MB':>9} {'read/used':>9} {'windows/s':>9}"]
    for row, found in zip(rows, results, strict=True):
        speed = found["windows"] / found["seconds"]
        lines.append(
            f"{row[0]:<48} {found['windows']:>6} {found['read'] / 1e6:>9.0f} {found['used'] / 1e6:>9.0f} "
            f"{found['factor']:>9.2f} {speed:>9.1f}"
        )
    return "\n".join(lines)


def main(_: list[str]) -> None:
    shape = [int(side) for side in SHAPE.value]
    folder = Path(tempfile.mkdtemp(prefix="read_amplification-"))
    try:
        paths = {copies: build(folder, shape, copies) for copies in (False, True)}
        results = [measure(paths[copies], window, kind, cut) for _, window, kind, cut, copies in ROWS]
    finally:
        shutil.rmtree(folder)
    print(report(ROWS, results))
    if OUTPUT.value:
        found = [{"name": row[0], "window": row[1], **result} for row, result in zip(ROWS, results, strict=True)]
        common = {"shape": shape, "batch_size": BATCH_SIZE.value, "cache_mebibytes": CACHE.value}
        machine = {"cores": os.cpu_count(), "load_average": os.getloadavg()[0]}
        Path(OUTPUT.value).write_text(json.dumps({**common, **machine, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
