"""The paper's training step with each option that saves memory: what it takes beside the plan of `launch/train.py
--dry_run`, the time of a step, and the loss on one panel.

    python benchmarks/panel_4096.py --remat=none,block,level --compute=float32,bfloat16 --output=panel.json
    python benchmarks/panel_4096.py --remat=none,block,level --largest     # the largest window that fits, batch 1
    python benchmarks/panel_4096.py --space=4 --plan                       # compiled alone, over virtual devices
    python benchmarks/panel_4096.py --space=4 --plan_for=h200:4            # compiled alone, for GPUs that are not there

One synthetic panel of 3458 receivers and 4096 samples is written, and trained on again and again, padded to
4096 x 4096: batch 1, 8 features at 7 resolutions. Writing, planning and training each have a process of their own, so
that the peak of memory is that of training alone: on a GPU or TPU the device's, on processors that of the process
(VmHWM, Linux). Compiled code is not cached. A step takes about half a minute on two CPU cores, and 12 GiB;
`--preset=microseismic_1024 --side=1024` takes a sixteenth of it.
"""

import importlib.metadata
import itertools
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from seisjax.commands.fitting import find_limits, mebibytes
from seisjax.commands.plan import plan_memory
from seisjax.commands.train import train
from seisjax.config_flags import load_config
from seisjax.files import write_json
from seisjax.hardware import find_hardware
from seisjax.memory import resident_bytes
from seisjax.models.unet import REMAT as KINDS
from seisjax.runtime import use_one_heap
from seisjax.startup import environment
from seisjax.synthesis import write_microseismic
from seisjax.synthetic.parameters import PRESETS
from seisjax.training.workdir import METRICS

PRESET = flags.DEFINE_string("preset", "microseismic_4096", "a preset of panels with a file in configs/")
SIDE = flags.DEFINE_integer("side", 4096, "side that the panel is cut or padded to; with --largest the first one tried")
STEPS = flags.DEFINE_integer("steps", 20, "steps on the one panel")
NORM = flags.DEFINE_string("norm", "group", "model.norm; 'none' is the paper's network")
REMAT = flags.DEFINE_list("remat", ["none"], f"model.remat, one or more of {', '.join(KINDS)}")
COMPUTE = flags.DEFINE_list("compute", ["float32"], "precision.compute, one or both")
DATA = flags.DEFINE_integer("data", 1, "mesh.data, and windows a step; virtual devices on processors")
SPACE = flags.DEFINE_integer("space", 1, "mesh.space; virtual devices on processors")
SHARD = flags.DEFINE_bool("shard", False, "optimizer.shard, which needs --data above 1")
PLAN = flags.DEFINE_bool("plan", False, "compile alone, train nothing")
PLAN_FOR = flags.DEFINE_string("plan_for", "", "as --plan, for other devices: see launch/train.py")
LARGEST = flags.DEFINE_bool("largest", False, "look for the largest side that fits, to an eighth")
DEVICE = flags.DEFINE_float("device_gibibytes", 0.0, "with --largest: memory of a device, GiB; 0: what it has")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the result")

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def write_panel(url: str, preset: str) -> tuple[int, ...]:
    """Write one panel that holds an event; returns its shape."""
    parameters = replace(PRESETS[preset], noise_only=0.0)
    return write_microseismic(url, parameters, 1, seed=0).shape


def one_panel_config(preset: str, url: str, shape: tuple[int, ...], side: int, steps: int, **options: Any) -> Any:
    """The preset's experiment on the one panel of a volume, cut or padded to `side`, amplitudes scaled by one number
    and the cross-entropy alone; options: `norm`, `remat`, `compute`, `data`, `space`, `shard`."""
    config = load_config(str(CONFIGS / f"{preset}.py"))
    config.data.volume, config.data.train, config.data.validation, config.data.test = url, "example:0", "", ""
    config.data.synthesis, config.data.normalization, config.data.robust = "host", "training", False
    config.data.clip, config.data.prefetch, config.data.statistics_tiles = 5.0, 2, 256
    config.data.window, config.data.pad_to = (1, *(min(length, side) for length in shape[1:])), (1, side, side)
    config.data.batch_size, config.data.sampling, config.data.overhang = options["data"], "grid", 0.0
    config.loss.name = "cross_entropy"
    config.model.norm, config.model.remat = options["norm"], options["remat"]
    config.precision.compute = options["compute"]
    config.mesh.data, config.mesh.space, config.optimizer.shard = options["data"], options["space"], options["shard"]
    config.optimizer.schedule, config.optimizer.warmup_steps, config.optimizer.learning_rate = "constant", 0, 1e-3
    config.train.num_steps, config.train.log_every, config.train.figures = max(steps, 1), 1, False
    return config


def planned(config: Any, device_gibibytes: float, plan_for: str) -> dict[str, Any]:
    """The plan's numbers, bytes, and whether they fit; where the compiler itself runs out of memory, that alone."""
    _prepare(config)
    hardware = find_hardware(plan_for) if plan_for else None
    limits = find_limits(device_gibibytes, hardware)
    try:
        memory = plan_memory(config, limits, hardware)
    except jax.errors.JaxRuntimeError as error:
        return _unless_out_of_memory(error)
    return asdict(memory) | {"host": memory.host, "fits": limits.allow(memory), "verdict": limits.verdict(memory)}


def trained(config: Any, workdir: str) -> dict[str, Any]:
    """Train; the peak of memory, and the loss and the time of each step; or that there was too little memory."""
    _prepare(config)
    started = time.time()
    try:
        train(config, Path(workdir), "benchmarks/panel_4096.py")
    except jax.errors.JaxRuntimeError as error:
        return _unless_out_of_memory(error)
    rows = [row for row in _lines(Path(workdir) / METRICS) if row["split"] == "train"]
    times = [row["time"]["unix"] for row in rows]
    device = jax.local_devices()[0]
    measured = None if device.platform == "cpu" else device.memory_stats()
    return {
        "fits": True,
        "device": device.device_kind,
        "peak_of": "device" if measured else "host",
        "peak_bytes": measured["peak_bytes_in_use"] if measured else resident_bytes(peak=True),
        "losses": [row["loss"] for row in rows],
        "seconds_to_first_step": times[0] - started,
        "seconds_a_step": [b - a for a, b in itertools.pairwise(times)],
    }


def measure(folder: Path, preset: str, side: int, steps: int, **options: Any) -> dict[str, Any]:
    """Plan at one side and, if there are steps to take, train; the panel of `preset` is in `folder`."""
    config = one_panel_config(preset, *_panel(folder, preset), side, steps, **options)
    row = {"side": side, **options, "planned_bytes": _alone(planned, config, DEVICE.value, PLAN_FOR.value)}
    if steps:
        row |= _alone(trained, config, tempfile.mkdtemp(dir=folder))
    return row


def measure_largest(folder: Path, preset: str, start: int, steps: int, **options: Any) -> dict[str, Any]:
    """`measure` at the largest side that fits: first by the plan, then, if there are steps to take, in fact."""
    multiple = 2 ** (load_config(str(CONFIGS / f"{preset}.py")).model.levels - 1) * options["space"]
    rows: dict[int, dict[str, Any]] = {}

    def fits(side: int) -> bool:
        rows[side] = measure(folder, preset, side, 0, **options)
        return rows[side]["planned_bytes"]["fits"]

    side = largest_side(fits, -(-start // multiple) * multiple, multiple)
    while steps and side:
        rows[side] = measure(folder, preset, side, steps, **options)
        if rows[side]["fits"]:
            break
        side = side * 15 // 16 // multiple * multiple  # the plan was too hopeful
    return rows[side] if side else {"side": 0, **options}


def largest_side(fits: Callable[[int], bool], start: int, multiple: int) -> int:
    """The largest multiple of `multiple` that fits, to an eighth, looked for from `start`; 0 where none does."""
    low, high = 0, start
    while fits(high):
        low, high = high, 2 * high
    while high - low > max(multiple, low // 8):
        middle = (low + high) // 2 // multiple * multiple
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def report(rows: list[dict[str, Any]]) -> str:
    """The rows as one table."""
    names = ("side", "data x space", "norm", "remat", "compute", "shard", "plan a device", "a host", "peak")
    cells: list[tuple[str, ...]] = [(*names, "over plan", "s a step", "loss")]
    for row in rows:
        plan, losses = row.get("planned_bytes", {}), row.get("losses")
        sizes = [mebibytes(plan[name]) if name in plan else "-" for name in ("device", "host")]
        run = ["-"] * 4
        if losses:
            seconds = row["seconds_a_step"] or [row["seconds_to_first_step"]]
            over = 100 * (row["peak_bytes"] / plan[row["peak_of"]] - 1)
            run = [mebibytes(row["peak_bytes"]), f"{over:+.1f} %", f"{statistics.median(seconds):.2f}"]
            run.append(f"{losses[0]:.4f} to {losses[-1]:.4f}")
        mesh = f"{row['data']} x {row['space']}"
        options = (row["side"], mesh, row["norm"], row["remat"], row["compute"], row["shard"])
        cells.append((*map(str, options), *sizes, *run))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join([f"jax {jax.__version__}; memory in MiB", *lines])


def _prepare(config: Any) -> None:
    use_one_heap()
    jax.config.update("jax_num_cpu_devices", config.mesh.data * config.mesh.space)


def _unless_out_of_memory(error: Exception) -> dict[str, Any]:
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    return {"fits": False}


def _panel(folder: Path, preset: str) -> tuple[str, tuple[int, ...]]:
    """URL and shape of the panel, which is written where it is not there yet."""
    url, note = folder / "panel.zarr", folder / "shape.json"
    if not note.exists():
        write_json(note, {"shape": _alone(write_panel, str(url), preset)})
    return str(url), tuple(json.loads(note.read_text())["shape"])


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main(_: list[str]) -> None:
    os.environ |= environment()  # of the processes that measure, as training has it
    folder = Path(tempfile.mkdtemp(prefix="panel_4096-"))
    steps = 0 if PLAN.value or PLAN_FOR.value else STEPS.value
    one = measure_largest if LARGEST.value else measure
    fixed = {"norm": NORM.value, "data": DATA.value, "space": SPACE.value, "shard": SHARD.value}
    try:
        rows = [
            one(folder, PRESET.value, SIDE.value, steps, remat=remat, compute=compute, **fixed)
            for compute, remat in itertools.product(COMPUTE.value, REMAT.value)
        ]
    finally:
        shutil.rmtree(folder)
    print(report(rows))
    if OUTPUT.value:
        versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}
        write_json(
            Path(OUTPUT.value),
            {
                "date": time.strftime("%Y-%m-%d"),
                "versions": versions,
                "cpus": os.cpu_count(),
                "plan_for": PLAN_FOR.value,
                "rows": rows,
            },
        )


if __name__ == "__main__":
    app.run(main)
