"""How much memory does ingest take, and how fast is it? Ingests SEG-Y files of any size, made on the spot.

    python benchmarks/ingest_memory.py --gigabytes=2 --noise --output=ingest_memory.json
    python benchmarks/ingest_memory.py --gigabytes=20 --samples=6000

The file is sparse: every trace has its header (line numbers, coordinates), its samples are 0 and take no room on disk;
with --noise they are random, so that shards are as large as in a real survey. launch/ingest.py runs in a process of its
own; what it ever held in memory is compared with the promise: 1.5 GB and 16 bytes a trace.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

GIGABYTES = flags.DEFINE_float("gigabytes", 2.0, "size of the SEG-Y file, 1e9 bytes")
SAMPLES = flags.DEFINE_integer("samples", 1500, "samples a trace")
NOISE = flags.DEFINE_bool("noise", False, "fill the traces with noise; the file then takes its full size on disk")
FLAGS = flags.DEFINE_list("ingest", [], "further flags for launch/ingest.py, e.g. --dtype=int8,--sections=inline")
FOLDER = flags.DEFINE_string("folder", None, "where to make file and volume (default: a temporary folder)")
OUTPUT = flags.DEFINE_string("output", "", "JSON file to add the result to")

LIMIT, PER_TRACE = 1.5e9, 16


def write_survey(path: Path, gigabytes: float, samples: int, noise: bool) -> int:
    """Write a square survey of IEEE floats; returns the number of traces."""
    lines = math.ceil(math.sqrt(gigabytes * 1e9 / (240 + 4 * samples)))
    header = np.zeros(240, np.uint8)
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        binary = np.zeros(200, ">i2")
        binary[[8, 10, 12]] = 2000, samples, 5  # interval, samples a trace, format
        file.write(b"\x40" * 3200 + binary.tobytes())
        for inline in range(lines):
            values = random.standard_normal((lines, samples), np.float32).astype(">f4") if noise else None
            for crossline in range(lines):
                header[180:196] = np.array([25 * inline, 25 * crossline, inline, crossline], ">i4").view(np.uint8)
                file.write(header.tobytes())
                if values is None:
                    file.seek(4 * samples, os.SEEK_CUR)
                else:
                    file.write(values[crossline].tobytes())
        file.truncate(file.tell())
    return lines**2


def measure(folder: Path) -> dict[str, object]:
    """Make the file and ingest it."""
    path = folder / "survey.segy"
    traces = write_survey(path, GIGABYTES.value, SAMPLES.value, NOISE.value)
    launcher = Path(__file__).parents[1] / "launch" / "ingest.py"
    command = [sys.executable, str(launcher), f"--input={path}", f"--output={folder}/survey.zarr", *FLAGS.value]
    start = time.monotonic()
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(launcher.parents[1])})
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "gigabytes": path.stat().st_size / 1e9,
        "traces": traces,
        "samples": SAMPLES.value,
        "noise": NOISE.value,
        "flags": FLAGS.value,
        "peak_gigabytes": peak / 1e9,
        "allowed_gigabytes": (LIMIT + PER_TRACE * traces) / 1e9,
        "within": peak <= LIMIT + PER_TRACE * traces,
        "seconds": seconds,
        "megabytes_per_second": path.stat().st_size / 1e6 / seconds,
        "cpus": os.cpu_count(),
    }


def main(argv: list[str]) -> None:
    """Measure once; print, and add to the results."""
    del argv
    with tempfile.TemporaryDirectory(dir=FOLDER.value) as folder:
        result = measure(Path(folder))
    print(json.dumps(result, indent=1))
    if OUTPUT.value:
        output = Path(OUTPUT.value)
        results = json.loads(output.read_text()) if output.exists() else []
        output.write_text(json.dumps([*results, result], indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
