"""How many panels a minute does the generator make, and in how much memory?

    python benchmarks/synthesis_speed.py --output=synthesis_speed.json

For each preset: panels one after the other on the host's processor, as `synthetic:` volumes and launch/synthesize.py
make them (without writing), and on the accelerator where there is one, as data.synthesis="device" does. Each case runs
in a process of its own. Prints the time to compile, the time of a panel (median) and the most memory that the process
ever held (the system's VmHWM; Linux only).
"""

import json
import multiprocessing
import os
import platform
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from seisjax import runtime
from seisjax.memory import resident_bytes
from seisjax.synthesis import Panels, load_parameters

PRESETS = flags.DEFINE_list("presets", ["microseismic_1024", "microseismic_4096"], "presets, or files as FILE.py")
NUM_PANELS = flags.DEFINE_integer("num_panels", 10, "panels that are timed, each preset")
OUTPUT = flags.DEFINE_string("output", "", "JSON file to write")


def measure(preset: str, where: str, num_panels: int) -> dict:
    """Make panels "host" or "device"; returns what was measured."""
    runtime.use_one_heap()
    panels = Panels(load_parameters(preset, "--presets"), seed=0)
    make = panels.panel if where == "host" else _on_device(panels)
    begun = time.perf_counter()
    shape = jax.block_until_ready(make(0)).amplitude.shape
    first, seconds = time.perf_counter() - begun, []
    for number in range(1, num_panels + 1):
        begun = time.perf_counter()
        jax.block_until_ready(make(number))
        seconds.append(time.perf_counter() - begun)
    typical = statistics.median(seconds)
    device = jax.devices()[0]
    return {
        "preset": preset,
        "shape": shape,
        "where": where if where == "host" else device.device_kind,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],  # above the cores: others worked beside us, and times are too long
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "seconds_to_compile": first - typical,
        "seconds_per_panel": typical,
        "fastest": min(seconds),
        "panels_per_minute": 60 / typical,
        "most_resident_mebibytes": resident_bytes(peak=True) / 2**20,
        "device_peak_mebibytes": (device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20,
    }


def _on_device(panels: Panels):
    """Panels on the accelerator."""
    make = jax.jit(lambda number: panels.generate(np.uint32(panels.seed), number))
    return lambda number: make(jnp.uint32(number))


def report(results: list[dict]) -> str:
    """The results as a small table."""
    lines = ["preset               shape          where        compile s  panel s  fastest  panels/min  most MiB"]
    for r in results:
        shape = " x ".join(map(str, r["shape"]))
        lines.append(
            f"{r['preset']:<20} {shape:<14} {r['where']:<12} {r['seconds_to_compile']:<10.1f} "
            f"{r['seconds_per_panel']:<8.3f} {r['fastest']:<8.3f} {r['panels_per_minute']:<11.1f} "
            f"{r['most_resident_mebibytes']:.0f}"
        )
    return "\n".join(lines)


def main(_: list[str]) -> None:
    places = ["host"] if jax.default_backend() == "cpu" else ["host", "device"]
    results = []
    for preset in PRESETS.value:
        for where in places:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results.append(pool.apply(measure, (preset, where, NUM_PANELS.value)))
    print(report(results))
    if OUTPUT.value:
        Path(OUTPUT.value).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
