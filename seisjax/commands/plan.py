"""What training would take, before it starts."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seisjax import experiment
from seisjax.config import Experiment, flatten, to_dict, validate
from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.experiment import Segmenter, Survey
from seisjax.geometry import format_regions
from seisjax.models.initialize import parameter_count
from seisjax.runtime import resident_bytes
from seisjax.synthesis import PANELS_KEPT, SyntheticVolume
from seisjax.training.step import Batch


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
        listed = ", ".join(f"{_mebibytes(size)} {name}" for name, size in parts.items() if size)
        return [f"{_mebibytes(self.device)} MiB a device (compiler)", f"{_mebibytes(self.host)} MiB a host: {listed}"]


def plan(config: Experiment) -> str:
    """What `train` would do: the resolved config, shapes, parameters, memory and steps, as text. Writes nothing."""
    survey, segmenter = _built(config)
    state, batch = experiment.abstract_state(segmenter), abstract_batch(config, survey)
    memory = _memory(config, survey, segmenter)
    samples = sum(box.size for box in survey.regions["train"])
    size, window = config.data.batch_size, int(np.prod(survey.window))
    lines = ["config"]
    lines += [f"  {name} = {value!r}" for name, value in flatten(to_dict(config)).items()]
    lines += ["data"]
    lines += [f"  {line}" for line in survey.volume.describe().splitlines()]
    lines += [f"  {name}: {format_regions(boxes, survey.volume.axes)}" for name, boxes in survey.regions.items()]
    lines += ["plan"]
    lines += [f"  image       float32 {batch['image'].shape}, labels uint8 {batch['labels'].shape}"]
    lines += [f"  mesh        {dict(segmenter.mesh.shape)} of {jax.devices()[0].device_kind}"]
    lines += [f"  parameters  {parameter_count(state['params']):,}"]
    lines += [f"  {name:<10}  {line}" for name, line in zip(("memory", ""), memory.lines(), strict=True)]
    lines += [f"  one pass    {samples / (window * size):,.1f} steps; {config.train.num_steps:,} steps are asked for"]
    return "\n".join(lines)


def plan_memory(config: Experiment) -> Memory:
    """What `train` would take at its peak: the step is compiled, nothing is computed or written."""
    return _memory(config, *_built(config))


def _built(config: Experiment) -> tuple[Survey, Segmenter]:
    validate(config)
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    experiment.training_source(config, survey)
    return survey, experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 1.0, 0.0, 1.0))


def _memory(config: Experiment, survey: Survey, segmenter: Segmenter) -> Memory:
    state, batch = experiment.abstract_state(segmenter), abstract_batch(config, survey)
    step = segmenter.train_step.lower(state, batch).compile().memory_analysis()
    device = step.argument_size_in_bytes + step.temp_size_in_bytes + step.output_size_in_bytes
    local = segmenter.mesh.local_devices
    arrays = [survey.volume.arrays[name] for name in (AMPLITUDE, LABELS_PREFIX + config.data.labels)]
    decoded = sum(box.size for boxes in survey.regions.values() for box in boxes)
    decoded *= sum(array.dtype.itemsize for array in arrays)
    making = kept = 0
    if isinstance(survey.volume, SyntheticVolume):
        making, kept = _generator_memory(survey.volume)
        decoded = 0
    on_device = config.data.synthesis == "device"
    threads = min(config.data.num_threads, config.data.prefetch)
    return Memory(
        device=device - step.alias_size_in_bytes + on_device * (making + kept),
        devices=len(local) if local[0].platform == "cpu" else 0,
        # One more than are read ahead is being read, and one is on its way to the devices.
        batches=(not on_device) * (config.data.prefetch + 2) * _bytes(batch) * len(local) // segmenter.mesh.size,
        chunks=min(config.data.cache_mebibytes * 2**20, decoded),
        panels=(not on_device) * (threads * making + PANELS_KEPT * kept),
        saving=_bytes(state),
        program=resident_bytes(),
    )


def _generator_memory(volume: SyntheticVolume) -> tuple[int, int]:
    """Temporaries of making one panel, and the panel itself, bytes."""
    number = jax.ShapeDtypeStruct((), jnp.uint32)
    memory: Any = jax.jit(volume.panels.generate).lower(number, number).compile().memory_analysis()
    return memory.temp_size_in_bytes, memory.output_size_in_bytes


def abstract_batch(config: Experiment, survey: Survey) -> Batch:
    """Shapes and dtypes of a global training batch."""
    size, sides = config.data.batch_size, survey.padded
    shapes = {
        "image": jax.ShapeDtypeStruct((size, *sides, 1), jnp.float32),
        "labels": jax.ShapeDtypeStruct((size, *sides), jnp.uint8),
    }
    return shapes  # pyright: ignore[reportReturnType]


def _bytes(tree: object) -> int:
    return sum(int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f}"
