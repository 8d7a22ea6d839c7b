"""What prediction takes: memory whatever the volume, bytes fetched, the time of the device and that of the host.

    python benchmarks/prediction.py --output=prediction.json

Trains small networks for a few steps, one of cubes and one of sections, and measures launch/predict.py in processes of
its own, over volumes of noise that are made of hard links to a few real shards: they take little room on disk, while
each block is found, read, predicted and written as in a real survey. (The few files stay in the page cache: what is
measured is the work of the host, not the disk.) `--what` chooses among

  memory   resident memory of the command at its peak, for volumes of several sizes, the first blocks of each
  fetched  bytes fetched in a whole run with the default options, beside what `--dry_run` forecasts
  speed    windows/s by batch size, and seconds a window of the device and of the host. As the two compete for the same
           cores where the device is the processor, a simulated one is driven too: it takes no core, answers after so
           much time a window, and is 1, 10 and 50 times as fast as this processor
  plan     time and memory of planning 10 TB, of which nothing is made

Linux only: memory is what the system says of a process that has ended.
"""

import functools
import itertools
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from seisjax import runtime
from seisjax.commands.predictor import Prediction, open_predictor
from seisjax.commands.train import train
from seisjax.config import Experiment
from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.geometry import Axis, Box
from seisjax.inference import Cutting, Task, forecast, predict_volume
from seisjax.inference.blocks import choose_layout
from seisjax.memory import resident_bytes
from seisjax.volumes import create_volume

MEASURED = ["memory", "fetched", "speed", "plan"]
WHAT = flags.DEFINE_list("what", MEASURED, "what is measured")
NETWORKS = flags.DEFINE_list("networks", ["cubes", "sections"], "which of the two are driven")
GIGABYTES = flags.DEFINE_list("gigabytes", ["1", "100"], "logical sizes for `memory`, 1e9 bytes; `speed`: the first")
WHOLE = flags.DEFINE_string("whole_gigabytes", "4", "logical size for `fetched`, 1e9 bytes")
BLOCKS = flags.DEFINE_integer("blocks", 30, "blocks predicted for `memory`")
BLOCK_MEBIBYTES = flags.DEFINE_integer("block_mebibytes", 128, "predict.block_mebibytes but for `fetched`, MiB")
SHARD = flags.DEFINE_list("shard", ["256", "256", "512"], "sides of a shard, samples")
CHUNK = flags.DEFINE_list("chunk", ["64", "64", "64"], "sides of a chunk, samples")
CUBE = flags.DEFINE_list("cube", ["64", "64", "64"], "sides of the windows of cubes, samples")
SECTION = flags.DEFINE_list("section", ["1", "128", "256"], "sides of the windows of sections, samples")
BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1", "4"], "windows a batch, for `speed`")
OUTPUT = flags.DEFINE_string("output", "", "JSON file to write")

CLASSES, DISTINCT, SHARDS_DOWN = 3, 2, 2
PLANNED, PLANNED_BLOCK = (20_000, 31_250, 4_000), 12_000_000  # samples of 10 TB, and of a block at most
FASTER = (1, 10, 50)
PREDICT = Path(__file__).resolve().parent.parent / "launch" / "predict.py"
NAMES, UNITS = ("inline", "crossline", "time"), ("", "", "ms")


def numbers(flag: flags.FlagHolder) -> tuple[int, ...]:
    """The numbers of a flag."""
    return tuple(map(int, flag.value))


def axes_of(shape: tuple[int, ...]) -> list[Axis]:
    """Axes that count samples."""
    return [Axis(name, np.arange(n), unit) for name, n, unit in zip(NAMES, shape, UNITS, strict=True)]


def build_few(path: Path, shard: tuple[int, ...], chunk: tuple[int, ...]) -> None:
    """The shards that are really written: noise, and layers that dip for the networks to be trained on."""
    with create_volume(path, axes_of((DISTINCT * shard[0], *shard[1:])), chunk=chunk, shard=shard) as volume:
        volume.add_array(f"{LABELS_PREFIX}facies", np.uint8, attributes={"class_names": ["upper", "middle", "lower"]})
        for seed, box in enumerate(volume.shards()):
            noise = np.random.default_rng(seed).standard_normal(box.shape, np.float32)
            volume.write(AMPLITUDE, box, noise)
            layers = functools.reduce(np.add, np.indices(box.shape, sparse=True)) * CLASSES // sum(box.shape)
            volume.write(f"{LABELS_PREFIX}facies", box, layers.astype(np.uint8))


def build_volume(few: Path, path: Path, gigabytes: float, shard: tuple[int, ...], chunk: tuple[int, ...]) -> None:
    """A volume of about this logical size; each of its shards is a hard link to one of the few."""
    columns = gigabytes * 1e9 / (4 * math.prod(shard)) / SHARDS_DOWN
    lines = max(math.ceil(math.sqrt(columns)), 1)
    grid = (max(math.ceil(columns / lines), 1), lines, SHARDS_DOWN)
    shape = tuple(n * side for n, side in zip(grid, shard, strict=True))
    create_volume(path, axes_of(shape), chunk=chunk, shard=shard).finish()
    for number, index in enumerate(np.ndindex(*grid)):
        link = path.joinpath(AMPLITUDE, "c", *map(str, index))
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(few / AMPLITUDE / "c" / str(number % DISTINCT) / "0" / "0", link)


def train_few_steps(few: Path, workdir: Path, window: tuple[int, ...]) -> None:
    """A run of the smallest network that there is: what is measured is not its."""
    runtime.prepare()
    config = Experiment()
    config.data.volume, config.data.labels, config.data.window = str(few), "facies", window
    config.data.train, config.data.batch_size, config.data.statistics_tiles = "inline:0-1000000", 1, 4
    config.model.base_features, config.model.levels, config.model.num_classes = 1, 1, CLASSES
    config.train.num_steps = config.train.evaluate_every = config.train.checkpoint_every = 2
    config.train.figures, config.mesh.data = False, 1
    train(config, workdir, "benchmarks/prediction.py")


def launch(workdir: Path, url: Path, output: Path, *options: str) -> dict[str, float]:
    """Run launch/predict.py: seconds, and resident memory at its peak, to which ours when it starts is the floor."""
    for left in (output, output.with_name(f"{output.name}.partial")):
        shutil.rmtree(left, ignore_errors=True)
    command = [sys.executable, str(PREDICT), f"--workdir={workdir}", f"--input={url}", f"--output={output}", *options]
    started, floor = time.perf_counter(), resident_bytes(peak=True) / 2**20
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with status {process.returncode}")
    seconds, peak = time.perf_counter() - started, usage.ru_maxrss / 1024
    return {"seconds": seconds, "peak_mebibytes": peak, "floor_mebibytes": floor}


@dataclass
class Answer:
    """What a simulated device gives for a batch, when it is ready."""

    ready: float
    values: np.ndarray

    def block_until_ready(self) -> None:
        """Wait, as for an array of a device."""
        time.sleep(max(self.ready - time.perf_counter(), 0))

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


def simulated(seconds: float, values: np.ndarray) -> Callable[[np.ndarray], Answer]:
    """A device that has a batch done so many seconds after the one before, and takes no core meanwhile."""
    free = itertools.accumulate(itertools.repeat(seconds), lambda ready, s: max(ready, time.perf_counter()) + s)
    return lambda images: Answer(next(free), values)


def measure_fetched(workdir: Path, url: Path) -> dict[str, Any]:
    """A whole run with the default options but for the network, whose time it would take, beside its forecast."""
    task, _, values = _prepare(workdir, Prediction(str(url), ""))
    stored = sum(file.stat().st_size for file in (url / AMPLITUDE / "c").rglob("*") if file.is_file())
    plan, run = forecast(task), _drive(task, simulated(0.0, values))
    ratios = {"fetched": run["fetched_bytes"] / stored, "forecast": plan.read_bytes / plan.chunk_bytes}
    peak = resident_bytes(peak=True) / 2**20
    return {"block": plan.block, "blocks": plan.blocks, **ratios, "peak_mebibytes": peak, "stored_bytes": stored, **run}


def measure_speed(workdir: Path, url: Path, batch_size: int, block_mebibytes: int) -> dict[str, Any]:
    """The first block by the network, then by simulated devices."""
    request = Prediction(str(url), "", batch_size=batch_size, block_mebibytes=block_mebibytes)
    task, forward, values = _prepare(workdir, request)
    device = _seconds(lambda: jax.block_until_ready(forward(np.zeros(values.shape[:-1] + (1,), np.float32))))
    result: dict[str, Any] = {"batch_size": batch_size, **_drive(task, forward, 1)}
    result["peak_mebibytes"] = resident_bytes(peak=True) / 2**20
    host = _drive(task, simulated(0.0, values), 1)
    result["device_ms"], result["host_ms"] = 1e3 * device / batch_size, 1e3 / host["windows_per_second"]
    result["host_main_thread_ms"] = host["main_thread_ms"]
    for n in FASTER:
        result[f"share_if_{n}_times_as_fast"] = _drive(task, simulated(device / n, values), 1)["device_share"]
    return result


def _prepare(workdir: Path, request: Prediction) -> tuple[Task, Callable[[np.ndarray], Any], np.ndarray]:
    """A task, the network, and what that says of a batch of noise, once compiled."""
    runtime.prepare()
    predictor = open_predictor(workdir, request)
    task, forward = predictor.task(request), predictor.forwards[0]
    noise = np.random.default_rng(0).standard_normal((task.batch_size, *task.cutting.image_shape), np.float32)
    return task, forward, np.asarray(forward(noise))


def _seconds(work: Callable[[], Any]) -> float:
    """The median of a few."""
    marks = [time.perf_counter(), *((work(), time.perf_counter())[1] for _ in range(3))]
    return float(np.median(np.diff(marks)))


def _drive(task: Task, forward: Any, blocks: int = 0) -> dict[str, float]:
    """Predict the first blocks (0: all) into a folder that is dropped."""
    reached: list[int] = []
    options: dict[str, Any] = {"max_blocks": blocks, "progress": lambda done, _: reached.append(done)}
    with tempfile.TemporaryDirectory(prefix="prediction-") as folder:
        main = time.thread_time()
        outcome = predict_volume(task, [forward], f"{folder}/output.zarr", **options)
        main = time.thread_time() - main
    windows = reached[-2]  # the last call tells that all is done
    counts = {
        "windows": windows,
        "windows_per_second": windows / outcome.seconds,
        "main_thread_ms": 1e3 * main / windows,
    }
    return counts | {"device_share": outcome.device_share, "fetched_bytes": outcome.fetched}


def measure_plan(window: tuple[int, ...], chunk: tuple[int, ...], shard: tuple[int, ...]) -> dict[str, Any]:
    """What a worker takes to plan 10 TB before it reads anything; memory is that of Python's objects."""
    tracemalloc.start()
    started = time.perf_counter()
    views = Cutting(window, window).views(axes_of(PLANNED))
    runs = choose_layout(Box.whole(PLANNED), chunk, shard, views, PLANNED_BLOCK).runs()
    extents = (Box.between(run[0].place.start, run[-1].place.stop) for run in runs)
    windows = sum(view.lattice.count(extent) for extent in extents for view in views)
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    counts = {"blocks": sum(map(len, runs)), "runs": len(runs), "windows": windows}
    return counts | {"seconds": seconds, "peak_mebibytes": peak / 2**20}


def measure(folder: Path) -> dict[str, Any]:
    """All that is asked for."""
    shard, chunk, batch_sizes = numbers(SHARD), numbers(CHUNK), numbers(BATCH_SIZES)
    few, output, what = folder / "few.zarr", folder / "output.zarr", WHAT.value
    volumes, rows = {size: folder / f"{size}.zarr" for size in (*GIGABYTES.value, WHOLE.value)}, []

    def apart(function: Any, *arguments: Any) -> Any:
        """In a process of its own: what it takes is not counted, for a process that is started inherits our peak."""
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(function, arguments)

    apart(build_few, few, shard, chunk)
    for size, path in volumes.items():
        apart(build_volume, few, path, float(size), shard, chunk)
    for network in NETWORKS.value:
        window, workdir = numbers(CUBE if network == "cubes" else SECTION), folder / network
        row: dict[str, Any] = {"network": network, "window": window, "load_average": os.getloadavg()[0]}
        apart(train_few_steps, few, workdir, window)
        if "memory" in what:
            options = f"--max_blocks={BLOCKS.value}", f"--block_mebibytes={BLOCK_MEBIBYTES.value}", "--overlap=0"
            row["memory"] = [{"gigabytes": n} | launch(workdir, volumes[n], output, *options) for n in GIGABYTES.value]
        if "fetched" in what:
            row["fetched"] = [apart(measure_fetched, workdir, volumes[WHOLE.value])]
        if "speed" in what:
            url, room = volumes[GIGABYTES.value[0]], BLOCK_MEBIBYTES.value
            row["speed"] = [apart(measure_speed, workdir, url, n, room) for n in batch_sizes]
        if "plan" in what:
            row["plan"] = [measure_plan(window, chunk, shard)]
        rows.append(row)
    return {"cores": os.cpu_count(), "block_mebibytes": BLOCK_MEBIBYTES.value, "rows": rows}


def report(result: dict[str, Any]) -> str:
    """The result as a table: a line for each measurement."""
    lines = []
    for row in result["rows"]:
        lines.append(f"{row['network']} of {row['window']}, load average {row['load_average']:.1f}")
        for what, run in ((name, run) for name in MEASURED for run in row.get(name, ())):
            texts = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in run.values())
            lines.append(f"  {what:8} " + ", ".join(map(" ".join, zip(run, texts, strict=True))))
    return "\n".join(lines)


def main(_: list[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="prediction-"))
    try:
        result = measure(folder)
    finally:
        shutil.rmtree(folder)
    if OUTPUT.value:
        Path(OUTPUT.value).write_text(json.dumps(result, indent=1, default=str) + "\n")
    print(report(result))


if __name__ == "__main__":
    app.run(main)
