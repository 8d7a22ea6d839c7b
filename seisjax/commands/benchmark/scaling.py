"""What a train step costs a device on more and more devices: by the compiler, and measured where there are devices."""

import contextlib
import copy
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from seisjax import distributed, experiment, sharding
from seisjax.collectives import collectives
from seisjax.commands.benchmark.inputs import check_whole, random_batch
from seisjax.commands.benchmark.machine import record
from seisjax.commands.benchmark.turns import TURNS
from seisjax.commands.plan import abstract_batch
from seisjax.config import Experiment, flatten, to_dict, validate
from seisjax.errors import UserError
from seisjax.experiment import Segmenter, Survey
from seisjax.models.initialize import parameter_count
from seisjax.reporting.progress import Progress

SPLITS = ("weak", "strong", "space")
_VIRTUAL = (1, 2, 4, 8)


@dataclass(frozen=True)
class Cost:
    """One train step on one mesh; all figures are of one device.

    data, space: the mesh. batch_size: windows of all devices. flops, bytes_accessed: by the compiler's account of the
    operations as it fused them. peak_bytes: arguments, results and temporaries. temporary_bytes: the latter alone,
    which holds activations and gradients. collectives: by kind, {"count", "bytes"} of what devices send each other,
    bytes of the results on one device. compile_seconds: on this machine.
    """

    data: int
    space: int
    batch_size: int
    flops: float
    bytes_accessed: float
    peak_bytes: int
    temporary_bytes: int
    collectives: dict[str, dict[str, int]]
    compile_seconds: float


@dataclass(frozen=True)
class _Compiled:
    """A step with what it takes to run it."""

    cost: Cost
    segmenter: Segmenter
    shapes: Any
    step: Any


def measure(
    config: Experiment,
    counts: Sequence[int] = (),
    splits: Sequence[str] = SPLITS,
    *,
    timed: bool | None = None,
    steps: int = 5,
) -> dict[str, Any]:
    """The cost of the experiment's train step on so many devices, as a dict for JSON.

    Args:
      counts: devices; empty takes the powers of two up to the accelerators that there are, else 1, 2, 4 and 8.
      splits: "weak" (each device has `data.batch_size` windows), "strong" (all together have that many), "space" (each
        window lies on all of them).
      timed: also time the steps, on batches that lie in memory; None does where there are several accelerators.
      steps: timed steps of each mesh, in each of three turns.

    Where this machine has too few devices the step is compiled for virtual CPU devices, which is why this must come
    before the first use of devices. Raises UserError where nothing can be split so.
    """
    validate(config)
    check_whole(config)
    devices, counts = _find_devices(counts)
    with jax.default_device(jax.local_devices(backend=devices[0].platform)[0]):
        survey = experiment.open_survey(config)
        compiled, rows, left_out = _compile_all(config, survey, devices, counts, splits)
        several = devices[0].platform != "cpu" and len(devices) > 1
        times = _time_all(list(compiled.values()), steps) if (several if timed is None else timed) else {}
    for row in rows:
        row["seconds"] = times.get((row["data"], row["space"], row["batch_size"]))
    state = experiment.abstract_state(next(iter(compiled.values())).segmenter)
    return record() | {
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "processes": jax.process_count(),
        "window": list(survey.padded),
        "parameters": parameter_count(state["params"]),
        "state_bytes": sum(int(np.prod(x.shape)) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(state)),
        "config": flatten(to_dict(config)),
        "rows": rows,
        "left_out": left_out,
    }


def _find_devices(counts: Sequence[int]) -> tuple[list[Any], list[int]]:
    """Devices, and how many of them to take: this machine's own, or virtual ones where they are too few."""
    together = jax.distributed.is_initialized()
    if not together and jax.config.jax_num_cpu_devices < max(counts or _VIRTUAL):  # pyright: ignore
        with contextlib.suppress(RuntimeError):  # too late: the devices that there are must do
            jax.config.update("jax_num_cpu_devices", max(counts or _VIRTUAL))
    devices = jax.devices()
    if not counts:
        few = devices[0].platform == "cpu" or len(devices) == 1
        powers = [2**k for k in range(len(devices).bit_length())]
        counts = [len(devices)] if together else _VIRTUAL if few else sorted({*powers, len(devices)})
    if max(counts) > len(devices) and not together:
        devices = jax.devices("cpu")
    if max(counts) > len(devices):
        raise UserError(f"--devices: {max(counts)} are asked for, there are {len(devices)}; ask for fewer")
    return devices, sorted(set(counts))


def _compile_all(
    config: Experiment, survey: Survey, devices: Sequence[Any], counts: Sequence[int], splits: Sequence[str]
) -> tuple[dict[tuple[int, int, int], _Compiled], list[dict[str, Any]], list[str]]:
    """Every different step by (data, space, batch size), one row for each split and count, and what cannot be."""
    size = config.data.batch_size
    of_split: dict[str, Callable[[int], tuple[int, int, int]]] = {
        "weak": lambda n: (n, 1, n * size),
        "strong": lambda n: (n, 1, size),
        "space": lambda n: (1, n, size),
    }
    compiled: dict[tuple[int, int, int], _Compiled] = {}
    rows, left_out = [], []
    total = len({of_split[split](n) for split in splits for n in counts})
    with Progress(total, "compile", "step", enabled=distributed.is_main()) as progress:
        for split in splits:
            for n in counts:
                key = of_split[split](n)
                try:
                    if key not in compiled:
                        compiled[key] = _compile(config, survey, devices, *key)
                        progress.update()
                    rows.append({"split": split, "devices": n} | asdict(compiled[key].cost))
                except UserError as error:
                    left_out.append(f"{split} over {n}: {error}")
    if not rows:
        raise UserError(left_out[0])
    return compiled, rows, left_out


def _compile(
    config: Experiment, survey: Survey, devices: Sequence[Any], data: int, space: int, batch_size: int
) -> _Compiled:
    config = copy.deepcopy(config)
    config.mesh.data, config.mesh.space, config.data.batch_size = data, space, batch_size
    mesh = sharding.make_mesh(data, space, devices)
    sharding.check_batch(batch_size, mesh)
    axis = experiment.space_axis(config, survey)
    sharding.check_extent(survey.padded[axis], survey.volume.axes[axis].name, mesh)
    # One device takes the formulation of several, so that what is compared is the same work.
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 1.0, 0.0, 1.0), alone=False)
    shapes = abstract_batch(config, survey)
    started = time.monotonic()
    step: Any = segmenter.train_step.lower(experiment.abstract_state(segmenter), shapes).compile()  # pyright: ignore
    seconds = time.monotonic() - started
    memory, account = step.memory_analysis(), step.cost_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    cost = Cost(
        data=data,
        space=space,
        batch_size=batch_size,
        flops=account["flops"],
        bytes_accessed=account["bytes accessed"],
        peak_bytes=held + memory.temp_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        collectives=_collectives(step.as_text()),
        compile_seconds=round(seconds, 2),
    )
    return _Compiled(cost, segmenter, shapes, step)


def _collectives(hlo_text: str) -> dict[str, dict[str, int]]:
    found = [one for one in collectives(hlo_text) if one.devices != 1]
    counts = Counter(one.kind for one in found)
    return {
        kind: {"count": count, "bytes": sum(one.bytes for one in found if one.kind == kind)}
        for kind, count in sorted(counts.items())
    }


def _time_all(compiled: list[_Compiled], steps: int) -> dict[tuple[int, int, int], float]:
    """Median seconds of a step of each, taken in turns; each turn begins with a step that is not timed."""
    times: dict[tuple[int, int, int], list[float]] = {}
    distributed.meet("all steps are compiled")
    with Progress(TURNS * len(compiled), "measure", "turn", enabled=distributed.is_main()) as progress:
        for _ in range(TURNS):
            for one in compiled:
                key = (one.cost.data, one.cost.space, one.cost.batch_size)
                times.setdefault(key, []).extend(_times(one, steps))
                progress.update()
    return {key: statistics.median(values) for key, values in times.items()}


def _times(compiled: _Compiled, steps: int) -> list[float]:
    """Seconds of each step. State and batch live only as long, for one mesh may need all the memory there is."""
    state = compiled.segmenter.init()
    shardings = compiled.step.input_shardings[0][1]
    batch = random_batch(compiled.shapes, shardings)
    times = []
    for _ in range(1 + steps):
        started = time.perf_counter()
        state, metrics = compiled.step(state, batch)
        metrics["loss"].block_until_ready()
        times.append(time.perf_counter() - started)
    return times[1:]


def table(report: dict[str, Any]) -> str:
    """The report of `measure` for people: one row for each split and number of devices, figures of one device."""
    sides = " x ".join(str(side) for side in report["window"])
    lines = [
        f"train step on windows of {sides}, {report['parameters']:,} parameters, compiled for {_named(report)} "
        f"(jax {report['versions']['jax']}); of one device and one step:",
        f"{'split':<7}{'devices':>8}{'windows':>8}{'GFLOP':>10}{'GB moved':>10}{'peak MiB':>10}"
        f"{'reduced MB':>14}{'permuted MB':>14}{'other MB':>12}{'ms':>10}",
    ]
    for row in report["rows"]:
        sent = dict(row["collectives"])
        sent = [_sent([sent.pop(kind, None)]) for kind in ("all-reduce", "collective-permute")] + [_sent(sent.values())]
        milliseconds = "-" if row["seconds"] is None else f"{1e3 * row['seconds']:,.1f}"
        lines.append(
            f"{row['split']:<7}{row['devices']:>8}{row['batch_size']:>8}{row['flops'] / 1e9:>10,.1f}"
            f"{row['bytes_accessed'] / 1e9:>10,.2f}{row['peak_bytes'] / 2**20:>10,.0f}"
            f"{sent[0]:>14}{sent[1]:>14}{sent[2]:>12}{milliseconds:>10}"
        )
    lines += [f"left out: {line}" for line in report["left_out"]]
    return "\n".join(lines)


def _named(report: dict[str, Any]) -> str:
    return "(virtual) CPU devices" if report["platform"] == "cpu" else report["device"]


def _sent(operations: Any) -> str:
    """Megabytes and, in brackets, in how many operations."""
    there = [one for one in operations if one]
    total = sum(one["bytes"] for one in there) / 1e6
    return f"{total:.2f} ({sum(one['count'] for one in there)})" if there else "-"
