"""How fast are faulted volumes made, in how much memory, and what share of them are faults?

    python benchmarks/faults_speed.py --output=faults_speed.json

For each preset: volumes one after the other on the host's processor, block by block, as `synthetic:` volumes and
launch/synthesize.py make them (without writing), and windows of 128^3, or of the whole volume where it is smaller, on
the accelerator where there is one, as data.synthesis="device" does. Each case runs in a process of its own. Prints the
time to compile, time and processor time of a volume or window (medians), the share of fault samples, and the most
memory that the process ever held (the system's VmHWM; Linux only).
"""

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from seisjax import runtime
from seisjax.conventions import LABELS_PREFIX
from seisjax.geometry import Box, tiles
from seisjax.memory import resident_bytes
from seisjax.synthesis import FaultedVolumes, load_any

PRESETS = flags.DEFINE_list("presets", ["faults_64", "faults_128", "faults_256"], "presets, or files as FILE.py")
NUM_VOLUMES = flags.DEFINE_integer("num_volumes", 8, "volumes that are timed, each preset")
OUTPUT = flags.DEFINE_string("output", "", "JSON file to write")

_WINDOW = 128  # longest side of a window that is made on the accelerator


def measure(preset: str, where: str, num_volumes: int) -> dict:
    """Make volumes on the "host" or windows on the "device"; returns what was measured."""
    runtime.use_one_heap()
    examples = FaultedVolumes(load_any(preset, "--presets", ["faults"]), seed=0)
    shape = examples.parameters.shape
    sides = shape if where == "host" else tuple(min(side, _WINDOW) for side in shape)
    make = _on_host(examples) if where == "host" else _on_device(examples, sides)
    begun = time.perf_counter()
    make(0)
    first, seconds, processor, shares = time.perf_counter() - begun, [], [], []
    for number in range(1, num_volumes + 1):
        begun, used = time.perf_counter(), time.process_time()
        shares.append(make(number))
        seconds.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
    typical, device = statistics.median(seconds), jax.devices()[0]
    return {
        "preset": preset,
        "shape": sides,
        "where": where if where == "host" else device.device_kind,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],  # above the cores: others worked beside us, and times are too long
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "seconds_to_compile": first - typical,
        "seconds": typical,
        "fastest": min(seconds),
        "processor_seconds": statistics.median(processor),
        "mega_samples_per_second": np.prod(sides) / typical / 1e6,
        "fault_share": statistics.mean(shares),
        "most_resident_mebibytes": resident_bytes(peak=True) / 2**20,
        "device_peak_mebibytes": (device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20,
    }


def _on_host(examples: FaultedVolumes) -> Callable[[int], float]:
    """Makes a whole volume, and returns its share of fault samples."""
    shape, block = examples.parameters.shape, examples.layout(1)[1]
    boxes = list(tiles(Box.whole(shape), block))

    def make(number: int) -> float:
        faults = 0
        for box in boxes:
            whole = Box((number, *box.start), (1, *box.shape))
            faults += np.count_nonzero(examples.start(whole)().arrays[LABELS_PREFIX + "fault"])
        return faults / float(np.prod(shape))

    return make


def _on_device(examples: FaultedVolumes, sides: tuple[int, ...]) -> Callable[[int], float]:
    """Makes the first window of a volume, and returns its share of fault samples."""
    window = examples.window(LABELS_PREFIX + "fault", sides)
    program = jax.jit(lambda number: window(number, list(jnp.zeros(3, jnp.int32))))
    return lambda number: float((np.asarray(jax.block_until_ready(program(jnp.uint32(number)))[1]) > 0).mean())


def report(results: list[dict]) -> str:
    """The results as a small table."""
    lines = [
        "preset       shape            where    compile s  wall s   fastest  cpu s    Msamples/s  faults   most MiB"
    ]
    for r in results:
        shape = " x ".join(map(str, r["shape"]))
        lines.append(
            f"{r['preset']:<12} {shape:<16} {r['where']:<8} {r['seconds_to_compile']:<10.1f} {r['seconds']:<8.3f} "
            f"{r['fastest']:<8.3f} {r['processor_seconds']:<8.3f} {r['mega_samples_per_second']:<11.1f} "
            f"{r['fault_share']:<8.1%} {r['most_resident_mebibytes']:.0f}"
        )
    return "\n".join(lines)


def main(_: list[str]) -> None:
    places = ["host"] if jax.default_backend() == "cpu" else ["host", "device"]
    results = []
    for preset in PRESETS.value:
        for where in places:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results.append(pool.apply(measure, (preset, where, NUM_VOLUMES.value)))
    print(report(results))
    if OUTPUT.value:
        Path(OUTPUT.value).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
