"""What training would take, before it starts."""

import jax
import jax.numpy as jnp
import numpy as np

from seisjax import experiment
from seisjax.config import Experiment, flatten, to_dict, validate
from seisjax.geometry import format_regions
from seisjax.models.initialize import parameter_count


def plan(config: Experiment) -> str:
    """What `train` would do: the resolved config, shapes, parameters, memory and steps, as text. Writes nothing."""
    validate(config)
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    experiment.training_source(config, survey)
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 1.0, 0.0, 1.0))
    state = experiment.abstract_state(segmenter)
    size, sides = config.data.batch_size, survey.padded
    batch = {
        "image": jax.ShapeDtypeStruct((size, *sides, 1), jnp.float32),
        "labels": jax.ShapeDtypeStruct((size, *sides), jnp.uint8),
    }
    memory = segmenter.train_step.lower(state, batch).compile().memory_analysis()
    device = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    device -= memory.alias_size_in_bytes
    batch_bytes = sum(np.dtype(x.dtype).itemsize * int(np.prod(x.shape)) for x in batch.values())
    host = (config.data.prefetch + 2) * batch_bytes + config.data.cache_mebibytes * 2**20
    samples = sum(box.size for box in survey.regions["train"])
    window = int(np.prod(survey.window))
    lines = ["config"]
    lines += [f"  {name} = {value!r}" for name, value in flatten(to_dict(config)).items()]
    lines += ["data"]
    lines += [f"  {line}" for line in survey.volume.describe().splitlines()]
    lines += [f"  {name}: {format_regions(boxes, survey.volume.axes)}" for name, boxes in survey.regions.items()]
    lines += ["plan"]
    lines += [f"  image       float32 {batch['image'].shape}, labels uint8 {batch['labels'].shape}"]
    lines += [f"  mesh        {dict(mesh.shape)} of {jax.devices()[0].device_kind}"]
    lines += [f"  parameters  {parameter_count(state['params']):,}"]
    lines += [f"  memory      {device / 2**20:,.0f} MiB a device (compiler), {host / 2**20:,.0f} MiB of data on a host"]
    lines += [f"  one pass    {samples / (window * size):,.1f} steps; {config.train.num_steps:,} steps are asked for"]
    return "\n".join(lines)
