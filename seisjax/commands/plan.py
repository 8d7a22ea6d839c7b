"""What training would take, before it starts."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seisjax import experiment
from seisjax.commands.fitting import Limits, Memory, find_limits, try_options
from seisjax.commands.pretrained import find
from seisjax.config import Experiment, flatten, to_dict, validate
from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.data import Member
from seisjax.experiment import Segmenter, Survey
from seisjax.geometry import format_regions
from seisjax.hardware import Hardware
from seisjax.memory import resident_bytes
from seisjax.models.initialize import parameter_count
from seisjax.synthesis import BLOCKS_KEPT, SyntheticVolume
from seisjax.training.step import Batch
from seisjax.volumes.resampling import ResampledVolume, as_recorded, sampling_interval


def plan(config: Experiment, device_gibibytes: float = 0.0, hardware: Hardware | None = None) -> str:
    """The lines of `plan_lines` as one text."""
    return "\n".join(plan_lines(config, device_gibibytes, hardware))


def plan_lines(config: Experiment, device_gibibytes: float = 0.0, hardware: Hardware | None = None) -> Iterator[str]:
    """What `train` would do: the resolved config, shapes, parameters, memory and steps, line by line. Writes nothing.

    Where memory does not suffice, options that save some are tried too. Each line is there as soon as it is known: for
    memory a step is compiled, which takes from seconds to minutes, and so it is for each option. Raises UserError for
    a config that `train` would refuse, before the first line.

    Args:
      config: the experiment.
      device_gibibytes: memory of the device that is planned for, where it is not that of the devices; 0: it is.
      hardware: devices that the step is compiled for in place of this machine's.
    """
    devices = _devices(hardware)
    survey, segmenter = _built(config, devices)
    begins = [find(config, segmenter)[1]] if config.train.init_from else []
    state, batch = experiment.abstract_state(segmenter), abstract_batch(config, survey)
    yield "config"
    yield from (f"  {name} = {value!r}" for name, value in flatten(to_dict(config)).items())
    yield "data"
    yield from (f"  {line}" for line in survey.volume.describe().splitlines())
    yield from (f"  {name}: {format_regions(boxes, survey.volume.axes)}" for name, boxes in survey.regions.items())
    shares = np.array(experiment.mixture_weights(config)) / sum(experiment.mixture_weights(config))
    for member, share in zip(survey.others, shares[1:], strict=True):
        yield f"and of {100 * share:.3g} % of the windows"
        yield from _member_lines(member)
    yield "plan"
    yield f"  {'image':<10}  " + ", labels ".join(f"{x.dtype} {x.shape}" for x in batch.values())
    yield f"  mesh        {dict(segmenter.mesh.shape)} of {devices[0].device_kind}"
    yield f"  parameters  {parameter_count(state['params']):,}"
    yield from (f"  begins from {config.train.init_from}: {taken}" for taken in begins)
    limits = find_limits(device_gibibytes, hardware)
    yield from (f"  {line}" for line in _memory_lines(config, survey, segmenter, limits, devices))
    samples = sum(box.size for box in survey.regions["train"])
    drawn = int(np.prod(survey.window)) * config.data.batch_size * shares[0]  # samples of data.volume a step
    passed = f"{samples / drawn:,.1f} steps" if drawn else "never: its weight is 0"
    yield f"  one pass    {passed}; {config.train.num_steps:,} steps are asked for"


def _devices(hardware: Hardware | None) -> Sequence[Any]:
    return jax.devices() if hardware is None else hardware.devices


def _member_lines(member: Member) -> list[str]:
    """What is said of another survey of a mixture."""
    lines, volume = member.volume.describe().splitlines(), member.volume
    lines += [f"  trained on: {format_regions(member.regions, volume.axes)}, labels '{member.labels}'"]
    if isinstance(volume, ResampledVolume):
        intervals = (sampling_interval(each.axes[-1]) for each in (volume.source, volume))
        lines += ["  resampled from {:.9g} to {:.9g} {}".format(*intervals, volume.axes[-1].unit)]
    return [f"  {line}" for line in lines]


def plan_memory(config: Experiment, limits: Limits | None = None, hardware: Hardware | None = None) -> Memory:
    """What `train` would take at its peak: the step is compiled, nothing is computed or written.

    Where `limits` has the memory of a device, devices are not counted as this host's processors. hardware: devices
    that the step is compiled for in place of this machine's.
    """
    return _memory(config, *_built(config, _devices(hardware)), limits)


def lower_step(config: Experiment, hardware: Hardware | None = None) -> jax.stages.Lowered:
    """The train step of an experiment, to be compiled for these devices, or this machine's.

    Raises UserError for a config that `train` would refuse.
    """
    survey, segmenter = _built(config, _devices(hardware))
    return _lower(config, survey, segmenter)


def _memory_lines(
    config: Experiment, survey: Survey, segmenter: Segmenter, limits: Limits, devices: Sequence[Any]
) -> Iterator[str]:
    memory = _memory(config, survey, segmenter, limits)
    yield from (f"{name:<10}  {line}" for name, line in zip(("memory", ""), memory.lines(), strict=True))
    yield f"fits        {limits.verdict(memory)}"
    if limits.allow(memory):
        return

    def measure(changed: Experiment) -> Memory:
        one = _memory(changed, survey, _segmenter(changed, survey, devices), limits)
        return replace(one, program=memory.program)  # what is compiled to plan stays in this process, not in the run's

    yield from (f"            {line}" for line in try_options(config, limits, len(devices), measure))


def _built(config: Experiment, devices: Sequence[Any]) -> tuple[Survey, Segmenter]:
    validate(config)
    survey = experiment.open_survey(config)
    experiment.training_source(config, survey)
    return survey, _segmenter(config, survey, devices)


def _segmenter(config: Experiment, survey: Survey, devices: Sequence[Any]) -> Segmenter:
    mesh = experiment.training_mesh(config, survey, devices)
    return experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 1.0, 0.0, 1.0))


def _memory(config: Experiment, survey: Survey, segmenter: Segmenter, limits: Limits | None = None) -> Memory:
    state, batch = experiment.abstract_state(segmenter), abstract_batch(config, survey)
    local = segmenter.mesh.local_devices
    parts = [(survey.volume, config.data.labels, [box for boxes in survey.regions.values() for box in boxes])]
    parts += [(member.volume, member.labels, member.regions) for member in survey.others]
    making = kept = decoded = 0
    for part, labels, regions in parts:
        volume = as_recorded(part)
        if isinstance(volume, SyntheticVolume):
            sizes = volume.examples.memory()
            making, kept = making + sizes[0], kept + sizes[1]
        else:
            arrays = [volume.arrays[name] for name in (AMPLITUDE, LABELS_PREFIX + labels)]
            decoded += sum(box.size for box in regions) * sum(array.dtype.itemsize for array in arrays)
    on_device = config.data.synthesis == "device"
    threads = min(config.data.num_threads, config.data.prefetch)
    # One more than are read ahead is on its way to the devices, and one with the step; a mixture is put together.
    held = config.data.prefetch + 2 + (threads if survey.others else 0)
    return Memory(
        device=_step_bytes(_lower(config, survey, segmenter)) + on_device * (making + kept),
        devices=len(local) if local[0].platform == "cpu" and not (limits and limits.device) else 0,
        batches=(not on_device) * held * _bytes(batch) * len(local) // segmenter.mesh.size,
        chunks=min(config.data.cache_mebibytes * 2**20, decoded),
        panels=(not on_device) * (threads * making + BLOCKS_KEPT * kept),
        saving=_bytes(state),
        program=resident_bytes(),
    )


def _lower(config: Experiment, survey: Survey, segmenter: Segmenter) -> jax.stages.Lowered:
    step: Any = segmenter.train_step
    return step.lower(experiment.abstract_state(segmenter), abstract_batch(config, survey))


def _step_bytes(lowered: jax.stages.Lowered) -> int:
    """What a step holds on a device, by the compiler."""
    try:
        step: Any = lowered.compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        # The compiler for TPUs refuses what does not fit, and tells how much that is: `(18.94G) exceeds available HBM`.
        needed = re.search(r"\b(\d+\.?\d*)([MGT])\b", str(error)) if "RESOURCE_EXHAUSTED" in str(error) else None
        if needed is None:
            raise
        return int(float(needed[1]) * 2 ** {"M": 20, "G": 30, "T": 40}[needed[2]])
    held = step.argument_size_in_bytes + step.temp_size_in_bytes + step.output_size_in_bytes
    return held - step.alias_size_in_bytes


def abstract_batch(config: Experiment, survey: Survey) -> Batch:
    """Shapes and dtypes of a global training batch, as it is handed to the step."""
    size, sides = config.data.batch_size, survey.padded
    shapes = {
        "image": jax.ShapeDtypeStruct((size, *sides, experiment.channels(config)), experiment.image_type(survey)),
        "labels": jax.ShapeDtypeStruct((size, *sides), jnp.uint8),
    }
    return shapes  # pyright: ignore[reportReturnType]


def _bytes(tree: object) -> int:
    return sum(int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))
