"""What convolutions take on processors, as XLA computes them and in the formulation of seisjax, layer by layer.

    python benchmarks/convolutions.py --output=convolutions.json
    python benchmarks/convolutions.py --layers=512x8x16,512x32x16

A layer is side x in features x out features, of one square image with kernels of 3 x 3. Both ways are measured in
turns; of each the least time of the clock is given, and the least of this process's processors, which other work on the
machine disturbs little. What one thread computes has both alike; in a whole step other threads may have work meanwhile.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags

from seisjax.commands.benchmark.machine import record
from seisjax.files import write_json
from seisjax.models.convolution import convolution, convolution_by_platform

LAYERS = flags.DEFINE_list(
    "layers",
    ["1024x1x8", "1024x8x8", "1024x16x8", "512x8x16", "512x16x16", "512x32x16", "512x32x32", "256x32x32", "32x512x256"],
    "side x in features x out features",
)
TURNS = flags.DEFINE_integer("turns", 3, "how often each is measured", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures")

WAYS = {"plain": convolution, "by platform": convolution_by_platform}


def parts(convolve: Callable[..., jax.Array]) -> dict[str, Callable[..., jax.Array]]:
    """A layer's result and gradients as functions of (input, kernel, gradient of the result)."""
    return {
        "forward": lambda x, kernel, gradient: convolve(x, kernel),
        "input gradient": lambda x, kernel, gradient: jax.vjp(convolve, x, kernel)[1](gradient)[0],
        "kernel gradient": lambda x, kernel, gradient: jax.vjp(convolve, x, kernel)[1](gradient)[1],
    }


def measure(side: int, of_input: int, of_output: int, turns: int) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds of the processors and of the clock, by part and way."""
    shapes = (1, side, side, of_input), (3, 3, of_input, of_output), (1, side, side, of_output)
    arrays = [jax.random.normal(jax.random.key(i), shape, jnp.float32) for i, shape in enumerate(shapes)]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for part in parts(convolution):
        functions = {way: jax.jit(parts(convolve)[part]) for way, convolve in WAYS.items()}
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for turn in range(1 + turns):  # the first compiles
            for way, function in functions.items():
                started = time.process_time(), time.perf_counter()
                jax.block_until_ready(function(*arrays))
                if turn:
                    times[way].append((time.process_time() - started[0], time.perf_counter() - started[1]))
        found[part] = {
            way: {"processors": min(cpu for cpu, _ in taken), "clock": min(wall for _, wall in taken)}
            for way, taken in times.items()
        }
    return found


def main(_: list[str]) -> None:
    layers: dict[str, Any] = {}
    for layer in LAYERS.value:
        side, of_input, of_output = map(int, layer.split("x"))
        layers[layer] = measure(side, of_input, of_output, TURNS.value)
        for part, ways in layers[layer].items():
            for clock in ("clock", "processors"):
                plain, ours = (1e3 * ways[way][clock] for way in WAYS)
                print(f"{layer:<14}{part:<17}{clock:<12}{plain:>8.1f} ms plain{ours:>8.1f} ms here{plain / ours:>7.2f}")
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), record() | {"layers": layers})


if __name__ == "__main__":
    app.run(main)
