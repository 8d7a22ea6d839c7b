"""Write a run's network into one file."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from seisjax.calibration import temperature_of
from seisjax.commands.load import Trained, load
from seisjax.config import multiples_of, to_dict
from seisjax.conventions import AMPLITUDE, class_colors
from seisjax.errors import UserError
from seisjax.experiment import num_classes
from seisjax.files import beside, read_json
from seisjax.geometry import format_regions
from seisjax.inference.artifact import load_artifact
from seisjax.inference.export import check_platforms, write_artifact
from seisjax.training import workdir as folder
from seisjax.training.step import make_forward
from seisjax.volumes.metadata import unit_of

_TOLERANCE = 1e-2  # in probability, between the file and the run: more is no rounding, of bfloat16 neither
_NO_SCORES = ("checkpoint", "events", "by_distance")  # of evaluation_<split>.json: what is no score or a long table


def export_run(
    workdir: Path,
    output: Path,
    checkpoint: str,
    *,
    licence: str = "",
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    calibrated: bool = False,
    precision: str = "",
    overwrite: bool = False,
) -> str:
    """Write one checkpoint of a run to `output`, compare it with the run, and write its model card beside it.

    The card is `output` with ".md" at its end. Returns a summary line.

    licence: what the file may be used for, stored as it is. calibrated: divide logits by the temperature that
    launch/evaluate.py has fitted. precision: number format of the network; "": the run's.
    """
    if "," in checkpoint:
        raise UserError(f"--checkpoint={checkpoint}: one file holds one checkpoint; name one")
    card = output.with_name(f"{output.name}.md")
    for path in (output, card):
        if path.is_dir() or (path.exists() and not overwrite):
            raise UserError(f"--output={path}: exists; choose another file or give --overwrite")
    check_platforms(platforms)
    run = load(workdir, checkpoint, compute=precision)
    temperature = temperature_of(workdir, [run.step]) if calibrated else 1.0
    forward = _forward(run, temperature)
    metadata = _metadata(run, workdir, temperature, licence)
    with beside(output) as partial:
        size = write_artifact(partial, forward, run.image_shape, metadata, platforms, _network(run))
        checked = _check(partial, forward, run)
    with beside(card) as partial:
        partial.write_text(load_artifact(output).card())
    return (
        f"exported checkpoint {run.step} of {workdir} to {output}: {metadata['parameters']} parameters, "
        f"{size / 2**20:.1f} MiB, for {', '.join(platforms)}; {checked}"
    )


def _forward(run: Trained, temperature: float) -> Callable[[jax.Array], jax.Array]:
    """Images to probabilities, parameters inside."""
    network = _network(run)
    function = make_forward(run.segmenter.network)
    return lambda images: function(network["params"], network["rest"], images, jnp.float32(temperature))


def _network(run: Trained) -> dict[str, Any]:
    member = run.members[0]
    return jax.device_get({"params": member.params, "rest": member.rest})


def _metadata(run: Trained, workdir: Path, temperature: float, licence: str) -> dict[str, Any]:
    config, survey, record = run.config, run.survey, run.record
    axes = survey.volume.axes
    amplitude = survey.volume.arrays.get(AMPLITUDE)
    made = read_json(workdir / folder.RUN)
    regions = {split: format_regions(boxes, axes) for split, boxes in survey.regions.items()}
    return {
        "licence": licence,
        "axes": [{"name": axis.name, "unit": axis.unit} for axis in axes],
        "sampling_interval": record.get("sampling_interval"),
        "amplitude_unit": unit_of(amplitude.attributes) if amplitude else "",
        "classes": _classes(record["class_names"], num_classes(config)),
        "label_scale": record.get("label_scale", 0),
        "window": list(survey.window),
        "padded_window": list(survey.padded),
        "multiple": list(multiples_of(config)),
        "neighbours": config.data.neighbours,
        "overlap": config.predict.overlap,
        "directions": list(config.data.directions),
        "batch_size": config.predict.batch_size or config.data.batch_size,
        "receptive_radius": run.receptive_radius,
        "normalisation": dataclasses.asdict(run.segmenter.network.normalization),
        "temperature": temperature,
        "compute": config.precision.compute,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.members[0].params)),
        "training": _training(run, made),
        "scores": _scores(workdir, run.step),
        "run": {
            "name": workdir.absolute().name,
            "checkpoint": run.step,
            "regions": regions,
            "data_fingerprint": record["data_fingerprint"],
            "versions": made["versions"],
            "git_commit": made["git_commit"],
            "weights": run.fingerprint,
            "config": to_dict(config),
        },
    }


def _training(run: Trained, made: Mapping[str, Any]) -> dict[str, Any]:
    """How the network was trained, as far as its config does not say it in so many words."""
    data = run.config.data
    return {
        "volume": _last_part(data.volume),
        "other_volumes": [_last_part(volume) for volume in data.mixture_volumes],
        "mixture_fingerprints": run.record.get("mixture_fingerprints", []),
        "batch_size": data.batch_size,
        "launched": made["started"],
        "devices": made["devices"],
        "init": run.record.get("init"),
    }


def _last_part(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]


def _scores(workdir: Path, step: int) -> dict[str, Any]:
    """What launch/evaluate.py has found for a checkpoint, by split: the network's scores and those of baselines."""
    found = {path.stem.removeprefix("evaluation_"): read_json(path) for path in workdir.glob("evaluation_*.json")}
    return {
        split: {name: value for name, value in found[split].items() if name not in _NO_SCORES}
        for split in sorted(found)
        if found[split].get("checkpoint") == step
    }


def _classes(names: Sequence[str], count: int) -> list[dict[str, str]]:
    """Name and colour of each class that the network knows, which may be more or fewer than the labels name."""
    named = [*names, *(f"class {i}" for i in range(len(names), count))]
    return [{"name": name, "color": color} for name, color in zip(named, class_colors(count), strict=False)]


def _check(file: Path, forward: Callable[[jax.Array], jax.Array], run: Trained) -> str:
    """Compare a file with the run on one window of noise, part of it without data, where both run here.

    Raises UserError where they differ by more than rounding.
    """
    artifact = load_artifact(file)
    if export.default_export_platform() not in artifact.metadata["platforms"]:
        return "not compared with the run, which needs another device"
    scale = run.segmenter.network.normalization
    noise = np.random.default_rng(0).normal(scale.center, scale.scale, (1, *run.image_shape)).astype(np.float32)
    noise[..., : noise.shape[-2] // 8, :] = np.nan
    (of_file,) = artifact.forwards()
    difference = float(np.abs(np.asarray(of_file(noise)) - np.asarray(jax.jit(forward)(noise))).max())
    if not difference <= _TOLERANCE:
        raise UserError(f"what JAX exports differs from the run by {difference:.2g} in probability; try --precision")
    return f"differs from the run by at most {difference:.1g}"
