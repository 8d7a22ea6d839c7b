"""Seconds from launch/train.py to the end of its first step: with an empty compilation cache, and with a full one.

    python launch/synthesize.py --config=quickstart --num_examples=200 --output=demo/panels.zarr
    python benchmarks/first_step.py --config=configs/quickstart.py --output=first_step.json
    python benchmarks/first_step.py --config=configs/microseismic_1024.py -- --config.data.batch_size=1

What follows `--` is handed on. Each launch has a folder of its own and is killed after its first step; every second one
finds in the cache what the one before has compiled. The seconds hold everything: Python, libraries, opening the data,
statistics, initialisation, compiling, the first batch and the step.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from seisjax.commands.benchmark.machine import record
from seisjax.files import write_json
from seisjax.training.workdir import METRICS

CONFIG = flags.DEFINE_string("config", "configs/quickstart.py", "what is trained, as launch/train.py takes it")
TIMES = flags.DEFINE_integer("turns", 3, "launches with an empty cache, and as many with a full one", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures")

TRAIN = Path(__file__).resolve().parent.parent / "launch" / "train.py"


def launch(config: str, more: Sequence[str], cache: Path, workdir: Path) -> float:
    """Seconds of one launch. Raises RuntimeError with what it printed where it ends before its first step."""
    flags_ = [f"--config={config}", "--config.train.log_every=1", *more, f"--workdir={workdir}"]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    log, metrics = workdir.with_suffix(".log"), workdir / METRICS
    started = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(TRAIN), *flags_],
            env=environment | {"XDG_CACHE_HOME": str(cache)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while not (metrics.exists() and metrics.read_text().endswith("\n")):
                if process.poll() is not None:
                    raise RuntimeError(f"launch/train.py ended with status {process.returncode}:\n{log.read_text()}")
                time.sleep(0.01)
            return time.perf_counter() - started
        finally:
            process.kill()
            process.wait()


def measure(config: str, more: Sequence[str], turns: int) -> dict[str, list[float]]:
    """Seconds of each launch, with an empty and with a full cache."""
    seconds: dict[str, list[float]] = {"empty": [], "full": []}
    folder = Path(tempfile.mkdtemp(prefix="first_step-"))
    try:
        for turn in range(turns):
            for name, found in seconds.items():
                found.append(launch(config, more, folder / f"cache-{turn}", folder / f"{name}-{turn}"))
    finally:
        shutil.rmtree(folder)
    return seconds


def report(config: str, seconds: dict[str, list[float]]) -> str:
    """The medians for people."""
    lines = [f"launch/train.py --config={config}, seconds to the end of the first step:"]
    for name, found in seconds.items():
        spread = f"{min(found):.1f} to {max(found):.1f}"
        lines.append(f"{name + ' cache':<14}{statistics.median(found):>8.1f}  ({spread}, {len(found)} launches)")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    seconds = measure(CONFIG.value, arguments[1:], TIMES.value)
    print(report(CONFIG.value, seconds))
    if OUTPUT.value:
        found: dict[str, Any] = {"config": CONFIG.value, "flags": arguments[1:], "seconds": seconds}
        write_json(Path(OUTPUT.value), record() | found)


if __name__ == "__main__":
    app.run(main)
