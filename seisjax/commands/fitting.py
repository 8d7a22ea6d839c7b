"""Whether a run fits into memory, and which options would make it fit."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

from seisjax.config import Experiment
from seisjax.errors import UserError
from seisjax.hardware import Hardware
from seisjax.memory import host_bytes
from seisjax.models.unet import REMAT

Options = dict[str, Any]  # config fields and the values they are given

_SPACES = (2, 4, 8)


@dataclass(frozen=True)
class Memory:
    """What a step takes at its peak, bytes.

    device: arguments, results and temporaries of the train step on one device, by the compiler, and those of the
    generator where panels are made there. panels: what making panels takes on the host. devices: how many of
    them lie in this host's own memory: all of its own where they are its processors, else 0. batches: those that are
    read ahead on the host. chunks: decoded chunks of the volume. saving: the state's copy while a checkpoint is
    written. program: Python, libraries and the compiled step, as this process holds them now.
    """

    device: int
    devices: int
    batches: int
    chunks: int
    panels: int
    saving: int
    program: int

    @property
    def host(self) -> int:
        """All that one process of the run holds in its host's memory."""
        return self.devices * self.device + self.batches + self.chunks + self.panels + self.saving + self.program

    def lines(self) -> list[str]:
        """The numbers for people."""
        parts = {
            "steps on its processors": self.devices * self.device,
            "batches": self.batches,
            "chunks": self.chunks,
            "panels being made": self.panels,
            "a checkpoint under way": self.saving,
            "program and libraries": self.program,
        }
        listed = ", ".join(f"{mebibytes(size)} {name}" for name, size in parts.items() if size)
        return [f"{mebibytes(self.device)} MiB a device (compiler)", f"{mebibytes(self.host)} MiB a host: {listed}"]


@dataclass(frozen=True)
class Limits:
    """The memory that there is, bytes: of a device (0: devices are processors, which use the host's), and of a host."""

    device: int
    host: int

    def spare(self, memory: Memory) -> dict[str, int]:
        """What is left of each, below 0 where there is too little."""
        spare = {"device": self.device - memory.device} if self.device else {}
        return spare | {"host": self.host - memory.host}

    def allow(self, memory: Memory) -> bool:
        """Whether the memory suffices."""
        return min(self.spare(memory).values()) >= 0

    def verdict(self, memory: Memory) -> str:
        """Whether it fits, and by what margin."""
        of = {"device": self.device, "host": self.host}
        margins = [
            f"{mebibytes(abs(size))} of {mebibytes(of[name])} MiB a {name} {'to spare' if size >= 0 else 'too few'}"
            for name, size in self.spare(memory).items()
        ]
        return f"{'yes' if self.allow(memory) else 'no'}: {', '.join(margins)}"


def find_limits(device_gibibytes: float = 0.0, hardware: Hardware | None = None) -> Limits:
    """The memory of this machine, or of other devices that are planned for; device_gibibytes: of one device, if above
    0."""
    if device_gibibytes > 0:
        return Limits(int(device_gibibytes * 2**30), host_bytes())
    if hardware is not None:
        return Limits(hardware.memory, host_bytes())
    device = jax.local_devices()[0]
    statistics = None if device.platform == "cpu" else device.memory_stats()
    return Limits((statistics or {}).get("bytes_limit", 0), host_bytes())


def try_options(
    config: Experiment, limits: Limits, devices: int, measure: Callable[[Experiment], Memory]
) -> Iterator[str]:
    """What each option that saves memory would take alone; where none suffices, several together until they do.

    Lines of a table, each as soon as its memory is measured, and one on the first options that fit.

    `measure` gives the memory of a config; it raises UserError where data or devices do not allow one, which is left
    out. `devices`: how many there are to split over.
    """
    first = ""
    for group in (_alone, _together):
        flags = {_flags(options): options for options in group(config, devices)}
        if first or not flags:
            continue
        width = max(map(len, flags))
        yield f"{'with':<{width}}  MiB a device  MiB a host  fits"
        for name, options in flags.items():
            for memory in _measured(config, options, measure):
                enough = limits.allow(memory)
                sizes = f"{mebibytes(memory.device):>12}  {mebibytes(memory.host):>10}"
                yield f"{name:<{width}}  {sizes}  {'yes' if enough else 'no'}"
                first = first or (name if enough else "")
            if first and group is _together:
                break
    more = "none of these fits; a smaller data.window, model.base_features or data.batch_size takes less, and so does "
    yield f"the first that fits: {first}" if first else more + "mesh.space on more devices"


def mebibytes(size: int) -> str:
    """Bytes as MiB, for people."""
    return f"{size / 2**20:,.0f}"


def _alone(config: Experiment, devices: int) -> Iterator[Options]:
    if config.precision.compute != "bfloat16":
        yield {"precision.compute": "bfloat16"}
    for remat in REMAT[REMAT.index(config.model.remat) + 1 :]:
        yield {"model.remat": remat}
    for parts in _accumulations(config, devices):
        yield {"optimizer.accumulation": parts}
    if not config.optimizer.shard and _split(config, devices, config.mesh.space) > 1:
        yield {"optimizer.shard": True}
    yield from _spaces(config, devices)


def _together(config: Experiment, devices: int) -> Iterator[Options]:
    """Each has all of the one before: first what costs time alone, then what needs more devices."""
    options: Options = {"model.remat": "level"}
    if config.precision.compute != "bfloat16":
        options = options | {"precision.compute": "bfloat16"}
        yield options
    for parts in _accumulations(config, devices)[-1:]:
        options = options | {"optimizer.accumulation": parts}
        yield options
    if not config.optimizer.shard and _split(config, devices, config.mesh.space) > 1:
        options = options | {"optimizer.shard": True}
        yield options
    for space in _spaces(config, devices):
        yield options | space


def _accumulations(config: Experiment, devices: int) -> list[int]:
    """The fewest and the most parts that a batch can be worked on in, of more than now."""
    rows = config.data.batch_size // _split(config, devices, config.mesh.space)
    fitting = [parts for parts in range(config.optimizer.accumulation + 1, rows + 1) if rows % parts == 0]
    return sorted({*fitting[:1], *fitting[-1:]})


def _spaces(config: Experiment, devices: int) -> Iterator[Options]:
    for space in _SPACES:
        if config.mesh.space < space <= devices:
            data = _split(config, devices, space)
            stays = data == (devices // space if config.mesh.data == -1 else config.mesh.data)
            yield {"mesh.space": space} | ({} if stays else {"mesh.data": data})


def _split(config: Experiment, devices: int, space: int) -> int:
    """Devices that can split the batch where `space` of them split a window."""
    left = devices // space
    wanted = left if config.mesh.data == -1 else min(left, config.mesh.data)
    return math.gcd(config.data.batch_size // config.optimizer.accumulation, max(wanted, 1))


def _measured(config: Experiment, options: Options, measure: Callable[[Experiment], Memory]) -> Iterator[Memory]:
    """The memory with these options, or nothing where data or devices do not allow them."""
    changed = copy.deepcopy(config)
    for field, value in options.items():
        section, name = field.split(".")
        setattr(getattr(changed, section), name, value)
    try:
        yield measure(changed)
    except UserError:
        return


def _flags(options: Options) -> str:
    return " ".join(f"--config.{field}={value}" for field, value in options.items())
