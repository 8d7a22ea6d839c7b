"""What a train step takes, part by part, and how near that is to what the machine can do."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seisjax import experiment
from seisjax.commands.benchmark.floor import Work, least_work
from seisjax.commands.benchmark.inputs import check_alone, check_whole, random_batch
from seisjax.commands.benchmark.machine import MATMUL, MEMORY, rates, record
from seisjax.commands.benchmark.turns import TURNS, Timing, alternate, disturbed_note
from seisjax.commands.plan import abstract_batch
from seisjax.config import Experiment, flatten, kernels_of, strides_of, to_dict
from seisjax.experiment import Segmenter, Survey
from seisjax.geometry import Shape
from seisjax.losses import DeepSupervision
from seisjax.memory import resident_bytes
from seisjax.models.initialize import parameter_count
from seisjax.reporting import Progress
from seisjax.training.optimizer import make_optimizer

PREPARE, FORWARD, BOTH, OPTIMIZER, STEP = "prepare", "forward", "forward + backward", "optimizer", "whole step"


@dataclass(frozen=True)
class _Part:
    """A compiled part of the step: `times(n)` gives seconds each of n calls that follow one another."""

    compiled: Any
    trace_seconds: float
    compile_seconds: float
    times: Callable[[int], float]


def measure(config: Experiment, *, turns: int = TURNS, steps: int = 5) -> dict[str, Any]:
    """Time, operations, bytes and memory of the experiment's train step and of its parts, as a dict for JSON.

    Each turn measures every part `steps` times, and the rates of memory and of matrix products of this machine, in
    turn. The parts are compiled for themselves, so that their sum is not quite the whole. Batches are made up.
    Raises UserError where the config cannot be used.
    """
    check_alone(config, "step")
    check_whole(config)
    survey = experiment.open_survey(config)
    mesh = experiment.training_mesh(config, survey)
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 1.0, 0.0, 1.0))
    with Progress(5, "compile", "part") as progress:
        parts = _compile(config, survey, segmenter, progress.update)
    dtype = jnp.dtype(config.precision.compute)
    candidates = {name: functools.partial(part.times, steps) for name, part in parts.items()} | rates(dtype)
    with Progress(turns * len(candidates), "measure", "part") as progress:
        timings = alternate(candidates, turns, progress=progress.update)
    state = experiment.abstract_state(segmenter)
    work = least_work(
        config.model,
        [side for side in survey.padded if side > 1],
        kernels_of(config),
        strides_of(config),
        config.data.batch_size,
        inputs=experiment.channels(config) + config.model.vertical_position,
        itemsize=dtype.itemsize,
        parameters=parameter_count(state["params"]),
    )
    return record() | {
        "config": flatten(to_dict(config)),
        "window": list(survey.padded),
        "batch_size": config.data.batch_size,
        "parameters": parameter_count(state["params"]),
        "devices": mesh.size,
        "parts": {name: _account(part, timings[name]) for name, part in parts.items()},
        "host_seconds": _host_seconds(segmenter, parts[STEP], survey, config),
        "memory": _memory(parts[STEP]),
        "floor": _floor(work, timings, mesh.size),
        "note": disturbed_note(timings),
        "change": _change(config, {name: timings[name].median for name in parts}),
    }


def _compile(config: Experiment, survey: Survey, segmenter: Segmenter, done: Callable[[], Any]) -> dict[str, _Part]:
    """The parts on a made-up batch; those that the step hands on to one another are their arguments."""
    state, shapes = segmenter.init(), abstract_batch(config, survey)
    shardings = {name: _split(segmenter, config, survey, shape.ndim) for name, shape in shapes.items()}
    batch = random_batch(shapes, shardings)
    schedule: Any = segmenter.schedule
    optimizer = make_optimizer(schedule, config.optimizer.weight_decay, config.optimizer.clip_norm)
    objective = _objective(segmenter, experiment.coarser_blocks(config))
    params = state["params"]

    def update(grads: Any, optimizer_state: Any, params: Any) -> Any:
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state

    parts = {PREPARE: _part(segmenter.prepare, (batch, 0), functools.partial(_times, (batch, 0)))}
    done()
    images, labels = parts[PREPARE].compiled(batch, 0)
    for name, function, arguments in (
        (FORWARD, jax.jit(objective), (params, state["rest"], images, labels)),
        (BOTH, jax.jit(jax.value_and_grad(objective)), (params, state["rest"], images, labels)),
        (OPTIMIZER, jax.jit(update), (params, state["optimizer"], params)),
    ):
        parts[name] = _part(function, arguments, functools.partial(_times, arguments))
        done()
    parts[STEP] = _part(segmenter.train_step, (state, batch), functools.partial(_step_times, segmenter, batch))
    done()
    return parts


def _part(function: Any, arguments: tuple[Any, ...], times: Callable[[Any, int], float]) -> _Part:
    started = time.perf_counter()
    lowered = function.lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    return _Part(compiled, traced - started, time.perf_counter() - traced, functools.partial(times, compiled))


def _times(arguments: tuple[Any, ...], compiled: Any, count: int) -> float:
    jax.block_until_ready(compiled(*arguments))
    started = time.perf_counter()
    for _ in range(count):
        result = compiled(*arguments)
        jax.block_until_ready(result)
    return (time.perf_counter() - started) / count


def _step_times(segmenter: Segmenter, batch: Any, compiled: Any, count: int) -> float:
    """Steps hand on the state, which they give up; it lives only as long, for it may need much memory."""
    state, _ = compiled(segmenter.init(), batch)
    jax.block_until_ready(state)
    started = time.perf_counter()
    for _ in range(count):
        state, _ = compiled(state, batch)
    jax.block_until_ready(state)
    return (time.perf_counter() - started) / count


def _split(segmenter: Segmenter, config: Experiment, survey: Survey, ndim: int) -> Any:
    return experiment.sharding.batch_sharding(segmenter.mesh, ndim, experiment.space_axis(config, survey) + 1)


def _objective(segmenter: Segmenter, deep_supervision: Sequence[Shape]) -> Callable[..., jax.Array]:
    """The step's loss as a function of (params, rest, images, labels), without what it counts for people."""
    supervision = DeepSupervision(segmenter.loss, deep_supervision)

    def objective(params: Any, rest: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits, _ = segmenter.network.training_logits(params, rest, images, jax.random.key(0))
        return segmenter.loss.total(supervision.numerators(logits, labels), supervision.denominators(labels))

    return objective


def _account(part: _Part, timing: Timing) -> dict[str, Any]:
    """A part's time with the compiler's account of it."""
    account, memory = part.compiled.cost_analysis(), part.compiled.memory_analysis()
    return {
        "seconds": timing.as_json(),
        "operations": account.get("flops", 0.0),
        "bytes_accessed": account.get("bytes accessed", 0.0),
        "temporary_bytes": memory.temp_size_in_bytes,
        "trace_seconds": part.trace_seconds,
        "compile_seconds": part.compile_seconds,
    }


def _host_seconds(segmenter: Segmenter, step: _Part, survey: Survey, config: Experiment) -> float:
    """Seconds in which the host starts a step while the device is idle: what it costs to call it."""
    shapes = abstract_batch(config, survey)
    batch = random_batch(shapes, {name: _split(segmenter, config, survey, x.ndim) for name, x in shapes.items()})
    state, seconds = segmenter.init(), []
    for _ in range(3):
        jax.block_until_ready(state)
        started = time.perf_counter()
        state, _ = step.compiled(state, batch)
        seconds.append(time.perf_counter() - started)
    jax.block_until_ready(state)
    return float(np.median(seconds))


def _memory(step: _Part) -> dict[str, Any]:
    """What the step takes on one device by the compiler, and what was resident at the peak of this process, bytes."""
    memory = step.compiled.memory_analysis()
    device = jax.local_devices()[0]
    on_device = None if device.platform == "cpu" else device.memory_stats()
    return {
        "arguments": memory.argument_size_in_bytes,
        "results": memory.output_size_in_bytes,
        "given_up": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "peak_of": "device" if on_device else "host",
        "peak": on_device["peak_bytes_in_use"] if on_device else resident_bytes(peak=True),
    }


def _floor(work: Work, timings: Mapping[str, Timing], devices: int) -> dict[str, Any]:
    """The step's least work, the rates measured, and what share of the step's time it explains.

    Virtual devices share the machine's processors, and the rates are those of all of them.
    """
    several = devices if jax.local_devices()[0].platform != "cpu" else 1
    by_bytes, by_operations = (several / timings[name].median for name in (MEMORY, MATMUL))
    seconds = work.seconds(by_operations, by_bytes)
    return {
        "operations": work.operations,
        "bytes": work.bytes,
        "operations_per_second": by_operations,
        "bytes_per_second": by_bytes,
        "operations_seconds": work.operations / by_operations,
        "bytes_seconds": work.bytes / by_bytes,
        "bound_by": "memory" if work.bytes / by_bytes > work.operations / by_operations else "operations",
        "seconds": seconds,
        "share": seconds / timings[STEP].median,
    }


def _change(config: Experiment, seconds: Mapping[str, float]) -> str:
    """The setting of which a change would save most of the step's time, as far as its parts tell."""
    whole = seconds[STEP]
    if jax.local_devices()[0].platform == "cpu" and config.precision.compute != "float32":
        return "precision.compute=float32: processors compute slower in bfloat16"
    if jax.local_devices()[0].platform != "cpu" and config.precision.compute == "float32":
        return "precision.compute=bfloat16: half of the bytes, and the units for matrix products"
    if seconds[OPTIMIZER] > 0.2 * whole:
        return "data.batch_size: a larger one shares the optimizer's time among more windows"
    if seconds[PREPARE] > 0.2 * whole:
        return "augment and data.normalization: normalising and augmenting take more than a fifth of the step"
    if config.model.remat != "none":
        return "model.remat=none, where memory allows it: less is computed twice"
    return "none in the config: the time goes to the network's forward and backward pass"


def table(report: dict[str, Any]) -> str:
    """The report of `measure` for people."""
    sides, floor, memory = " x ".join(map(str, report["window"])), report["floor"], report["memory"]
    lines = [
        f"train step on {report['batch_size']} windows of {sides}, {report['parameters']:,} parameters, "
        f"{report['config']['precision.compute']}, on {report['devices']} x {report['device']} "
        f"(jax {report['versions']['jax']})",
        f"{'part':<20}{'ms':>10}{'GFLOP':>10}{'GFLOP/s':>10}{'GB moved':>10}{'GB/s':>8}{'temp. MiB':>11}"
        f"{'trace s':>9}{'compile s':>11}",
    ]
    for name, part in report["parts"].items():
        seconds = part["seconds"]["median"]
        lines.append(
            f"{name:<20}{1e3 * seconds:>10,.2f}{part['operations'] / 1e9:>10,.2f}"
            f"{part['operations'] / seconds / 1e9:>10,.1f}{part['bytes_accessed'] / 1e9:>10,.3f}"
            f"{part['bytes_accessed'] / seconds / 1e9:>8,.1f}{part['temporary_bytes'] / 2**20:>11,.1f}"
            f"{part['trace_seconds']:>9.2f}{part['compile_seconds']:>11.2f}"
        )
    mebibytes = {name: memory[name] / 2**20 for name in ("arguments", "temporaries", "peak")}
    lines += [
        f"machine    {floor['bytes_per_second'] / 1e9:,.1f} GB/s of memory, "
        f"{floor['operations_per_second'] / 1e9:,.1f} GFLOP/s of matrix products",
        f"floor      {1e3 * floor['seconds']:,.2f} ms by {floor['bound_by']}: "
        f"{floor['operations'] / 1e9:,.2f} GFLOP in {1e3 * floor['operations_seconds']:,.2f} ms, "
        f"{floor['bytes'] / 1e9:,.3f} GB in {1e3 * floor['bytes_seconds']:,.2f} ms; "
        f"the step is at {floor['share']:.0%} of it",
        f"memory     {mebibytes['arguments']:,.0f} MiB of arguments and {mebibytes['temporaries']:,.0f} of temporaries "
        f"(compiler), {mebibytes['peak']:,.0f} MiB on the {memory['peak_of']} at the peak, all parts together",
        f"host       {1e3 * report['host_seconds']:,.2f} ms to start a step",
        f"change     {report['change']}",
    ]
    return "\n".join(lines + ([f"note       {report['note']}"] if report["note"] else []))
