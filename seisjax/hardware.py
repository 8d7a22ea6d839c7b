"""Accelerators that are not at hand: their compilers run on any machine, and tell what a program would take there."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

from seisjax.errors import UserError, nearest

EXAMPLES = "a kind and how many, e.g. h100:8, h100:4x8 (hosts x GPUs) or v5e:2x4 (chips of a TPU slice)"


@dataclass(frozen=True)
class Hardware:
    """Devices of one kind that programs can be compiled for, not run on; `memory` of each in bytes."""

    devices: Sequence[Any]
    memory: int


@dataclass(frozen=True)
class _Gpu:
    """What XLA asks of a GPU; sizes in bytes. Of NVIDIA's data sheets and CUDA's table of compute capabilities."""

    name: str
    major: int  # of the compute capability
    multiprocessors: int
    units: int  # for float32, of a multiprocessor
    clock: float  # GHz
    shared_memory: int  # of a multiprocessor
    l2_cache: int
    memory: int
    bandwidth: int  # bytes/s

    def describe(self) -> str:
        """XLA's GpuTargetConfigProto, as text."""
        features = "ACCELERATED_FEATURES" if self.major >= 9 else "NONE"
        return f"""
            gpu_device_info {{
              threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
              registers_per_core_limit: 65536  registers_per_block_limit: 65536
              block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
              thread_dim_limit_x: 1024  thread_dim_limit_y: 1024  thread_dim_limit_z: 64
              shared_memory_per_block: 49152  shared_memory_per_block_optin: {self.shared_memory - 1024}
              shared_memory_per_core: {self.shared_memory}
              core_count: {self.multiprocessors}  fpus_per_core: {self.units}  clock_rate_ghz: {self.clock}
              l2_cache_size: {self.l2_cache}  device_memory_size: {self.memory}  memory_bandwidth: {self.bandwidth}
              cuda_compute_capability {{ major: {self.major}  feature_extension: {features} }}
            }}
            platform_name: "CUDA"
            dnn_version_info {{ major: 9  minor: 10 }}
            device_description_str: "{self.name}"
        """


_GPUS = {
    "a100": _Gpu("NVIDIA A100-SXM4-80GB", 8, 108, 64, 1.41, 167936, 41943040, 85100068864, 2039040000000),
    "h100": _Gpu("NVIDIA H100 80GB HBM3", 9, 132, 128, 1.98, 233472, 52428800, 84942979072, 3352320000000),
    "h200": _Gpu("NVIDIA H200 141GB HBM3e", 9, 132, 128, 1.98, 233472, 52428800, 151397597184, 4800000000000),
    "b200": _Gpu("NVIDIA B200", 10, 148, 128, 1.965, 233472, 132644864, 191514411008, 7672320000000),
}
_TPUS = {"v5e": 16, "v5p": 95, "v6e": 32}  # GiB a chip


def find_hardware(text: str) -> Hardware:
    """The devices that a text names: a kind and how many, `h100:8`; `h100:4x8` is 4 hosts of 8, `v5e:2x4` a TPU slice.

    In place of a GPU's name, the file FILE.txtpb may describe it as OpenXLA does (a GpuTargetConfigProto as text, of
    which there are many in its folder xla/backends/gpu/target_config/specs). From then on this process computes on
    processors alone: call it before JAX looks for devices.
    Raises UserError for what is unknown, and where the compiler is not installed.
    """
    jax.config.update("jax_platforms", "cpu")
    jax.devices()  # only then JAX knows the compilers that are installed
    kind, _, layout = text.partition(":")
    try:
        if kind in _TPUS:
            _check_installed("libtpu", "tpu", kind)
            os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # none of the machine's chips is touched
            return Hardware(topologies.get_topology_desc(text, "tpu").devices, _TPUS[kind] * 2**30)
        description = _describe(kind)
        memory = re.search(r"\bdevice_memory_size: *(\d+)", description)
        if memory is None:
            raise UserError(f"{kind}: holds no device_memory_size; give a GpuTargetConfigProto as text")
        _check_installed("jax_plugins", "cuda", kind)
        shape = f"1x{layout}" if "x" in layout else f"1x1x{layout or 1}"
        found = topologies.get_topology_desc(kind, "cuda", topology=shape, target_config=description)
        return Hardware(found.devices, int(memory[1]))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--plan_for={text}: {reason}; give {EXAMPLES}") from error


def _describe(gpu: str) -> str:
    if gpu in _GPUS:
        return _GPUS[gpu].describe()
    if not gpu.endswith(".txtpb"):
        raise UserError(f"--plan_for: unknown '{gpu}'{nearest(gpu, [*_GPUS, *_TPUS])}; give {EXAMPLES}")
    try:
        return Path(gpu).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--plan_for: {gpu} cannot be read: {error}") from error


def _check_installed(module: str, extra: str, kind: str) -> None:
    if find_spec(module) is None:
        raise UserError(f"--plan_for: the compiler for {kind} is not installed; on Linux, pip install -e '.[{extra}]'")
