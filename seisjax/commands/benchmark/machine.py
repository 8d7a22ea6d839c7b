"""What a machine is, and how fast it can be: the rates that a step's time is held against."""

import functools
import importlib.metadata
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.commands.benchmark.turns import seconds_each

MEMORY, MATMUL = "memory", "matmul"
_LARGEST = 16384  # side of the matrices


def record(packages: Iterable[str] = ()) -> dict[str, Any]:
    """When, where and with what something is measured, for JSON."""
    device = jax.devices()[0]
    names = ("jax", "jaxlib", "flax", "optax", *packages)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: importlib.metadata.version(name) for name in names},
        "platform": device.platform,
        "device": device.device_kind,
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def rates(dtype: Any, *, mebibytes: int = 128, least: float = 0.1) -> dict[str, Callable[[], float]]:
    """Functions that measure the first device: seconds a byte moved to or from memory, and seconds an operation.

    Memory is the triad a + s b of McCalpin's STREAM benchmark (1995) on arrays of so many MiB, which no cache should
    hold: three of them are moved. Operations are those of a product of square matrices of `dtype`, as large as it
    takes to be busy for `least` seconds, each a multiplication or an addition. Both run for `least` seconds.
    """
    device = jax.devices()[0]
    a = jax.device_put(np.ones(mebibytes * 2**18, np.float32), device)
    triad = jax.jit(lambda x, y: x + 3.0 * y)
    product = jax.jit(functools.partial(jnp.matmul, preferred_element_type=dtype))
    side, matrix = _side(product, dtype, device, least)
    return {
        MEMORY: lambda: _each(triad, a, least) / (3 * a.nbytes),
        MATMUL: lambda: _each(product, matrix, least) / (2 * side**3),
    }


def _each(function: Callable[..., jax.Array], x: jax.Array, least: float) -> float:
    """Seconds a call; several calls are under way at once, so that starting one costs nothing."""

    def several() -> None:
        jax.block_until_ready([function(x, x) for _ in range(4)])

    several()
    return seconds_each(several, least) / 4


def _side(product: Callable[..., jax.Array], dtype: Any, device: Any, least: float) -> tuple[int, jax.Array]:
    side = 256
    while True:
        matrix = jax.device_put(jnp.ones((side, side), dtype), device)
        jax.block_until_ready(product(matrix, matrix))
        started = time.perf_counter()
        jax.block_until_ready(product(matrix, matrix))
        if time.perf_counter() - started >= least / 4 or side == _LARGEST:
            return side, matrix
        side *= 2
