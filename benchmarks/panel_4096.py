"""The paper's training step: its memory against the plan of `launch/train.py --dry_run`, and the loss on one panel.

    python benchmarks/panel_4096.py --steps=20 --output=panel.json

One synthetic panel of 3458 receivers and 4096 samples is written, and trained on again and again, padded to
4096 x 4096: batch 1, 8 features at 7 resolutions. Writing, planning and training each have a process of their own, so
that the peak of resident memory (VmHWM, Linux) is that of training alone. Compiled code is not cached. A step takes
about half a minute on two CPU cores, and 12 GiB; `--preset=microseismic_1024 --side=1024` takes a sixteenth of it.
"""

import importlib.metadata
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from absl import app, flags

from seisjax.commands.plan import plan_memory
from seisjax.commands.train import train
from seisjax.config_flags import load_config
from seisjax.files import write_json
from seisjax.runtime import resident_bytes, use_one_heap
from seisjax.synthesis import write_microseismic
from seisjax.synthetic.parameters import PRESETS

PRESET = flags.DEFINE_string("preset", "microseismic_4096", "a preset of panels with a file in configs/")
SIDE = flags.DEFINE_integer("side", 4096, "side that the panel is padded to")
STEPS = flags.DEFINE_integer("steps", 20, "steps on the one panel")
NORM = flags.DEFINE_string("norm", "group", "model.norm; 'none' is the paper's network")
REMAT = flags.DEFINE_bool("remat", False, "model.remat")
COMPUTE = flags.DEFINE_string("compute", "float32", "precision.compute")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the result")

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def write_panel(url: str, preset: str) -> tuple[int, ...]:
    """Write one panel that holds an event; returns its shape."""
    parameters = replace(PRESETS[preset], noise_only=0.0)
    return write_microseismic(url, parameters, 1, seed=0).shape


def one_panel_config(preset: str, url: str, shape: tuple[int, ...], side: int, steps: int, **options: Any) -> Any:
    """The preset's experiment on the one panel of a volume, padded to `side`, batch 1, amplitudes scaled by one number
    and the cross-entropy alone; options: `norm`, `remat`, `compute`."""
    config = load_config(str(CONFIGS / f"{preset}.py"))
    config.data.volume, config.data.train, config.data.validation, config.data.test = url, "example:0", "", ""
    config.data.synthesis, config.data.normalization, config.data.robust = "host", "training", False
    config.data.clip, config.data.prefetch, config.data.statistics_tiles = 5.0, 2, 256
    config.data.window, config.data.pad_to = (1, *shape[1:]), (1, side, side)
    config.data.batch_size, config.data.sampling, config.data.overhang = 1, "grid", 0.0
    config.loss.name = "cross_entropy"
    config.model.norm, config.model.remat = options["norm"], options["remat"]
    config.precision.compute = options["compute"]
    config.optimizer.schedule, config.optimizer.warmup_steps, config.optimizer.learning_rate = "constant", 0, 1e-3
    config.train.num_steps, config.train.log_every, config.train.figures = steps, 1, False
    return config


def planned(config: Any) -> dict[str, Any]:
    """The plan's numbers, bytes."""
    use_one_heap()
    memory = plan_memory(config)
    return asdict(memory) | {"host": memory.host, "lines": memory.lines()}


def trained(config: Any, workdir: str) -> dict[str, Any]:
    """Train; the peak of this process's memory, and the loss and the time of each step."""
    use_one_heap()
    started = time.time()
    train(config, Path(workdir), "benchmarks/panel_4096.py")
    lines = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    times = [line["time"]["unix"] for line in lines if line["split"] == "train"]
    return {
        "peak": resident_bytes(peak=True),
        "losses": [line["loss"] for line in lines if line["split"] == "train"],
        "seconds_to_first_step": times[0] - started,
        "seconds_a_step": [b - a for a, b in zip(times, times[1:], strict=False)],
    }


def measure(folder: Path, preset: str, side: int, steps: int, **options: Any) -> dict[str, Any]:
    """Write, plan and train, each in a process of its own."""
    url = str(folder / "panel.zarr")
    shape = _alone(write_panel, url, preset)
    config = one_panel_config(preset, url, shape, side, steps, **options)
    plan, run = _alone(planned, config), _alone(trained, config, str(folder / "run"))
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
        "cpus": os.cpu_count(),
        "panel": list(shape[1:]),
        "padded_to": [side, side],
        **options,
        "planned_bytes": plan,
        "peak_bytes": run.pop("peak"),
        **run,
    }


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def report(result: dict[str, Any]) -> str:
    """The result as a few lines."""
    peak, host = result["peak_bytes"], result["planned_bytes"]["host"]
    losses = result["losses"]
    seconds = sorted(result["seconds_a_step"]) or [result["seconds_to_first_step"]]
    return "\n".join(
        [
            f"jax {result['versions']['jax']}, norm {result['norm']}, remat {result['remat']}, {result['compute']}",
            f"planned   {host / 2**20:,.0f} MiB on this host",
            f"peak      {peak / 2**20:,.0f} MiB ({100 * (peak / host - 1):+.1f} % of the plan)",
            f"loss      {losses[0]:.4f} after step 1, {losses[-1]:.4f} after step {len(losses)}",
            f"time      {seconds[len(seconds) // 2]:.1f} s a step (median)",
        ]
    )


def main(_: list[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="panel_4096-"))
    try:
        options = {"norm": NORM.value, "remat": REMAT.value, "compute": COMPUTE.value}
        result = measure(folder, PRESET.value, SIDE.value, STEPS.value, **options)
    finally:
        shutil.rmtree(folder)
    print(report(result))
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), result)


if __name__ == "__main__":
    app.run(main)
