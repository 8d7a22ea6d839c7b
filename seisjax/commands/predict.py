"""Predict a volume with a run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seisjax.commands.load import Trained, load
from seisjax.config import Experiment, from_dict
from seisjax.conventions import PRED_CLASS, class_colors
from seisjax.errors import UserError
from seisjax.experiment import num_classes
from seisjax.geometry import Box, Lattice, Shape, format_region, lattice_stride, parse_region
from seisjax.inference import predict_volume
from seisjax.reporting import Progress
from seisjax.training import workdir as folder
from seisjax.training.state import averaged
from seisjax.volumes import Volume
from seisjax.volumes.resampling import ResampledVolume
from seisjax.volumes.segy_export import write_segy


@dataclass(frozen=True)
class Prediction:
    """What is to be predicted and where to; the fields are the flags of launch/predict.py."""

    input: str | None
    output: str
    region: str
    checkpoint: str
    statistics: str
    blend: str
    tta: bool
    segy: str | None
    segy_template: str | None
    resample: bool
    overwrite: bool
    command: str


def predict(workdir: Path, request: Prediction) -> str:
    """Predict a volume or a region of it, and write it as a volume and as SEG-Y if asked; returns a summary line."""
    run, volume, box, stride, batch_size = _open_prediction(workdir, request)
    tta_axes = _tta_axes(run.config, volume) if request.tta else ()
    params, rest = averaged(run.state), run.state["rest"]
    provenance = {
        "run": str(workdir.absolute()),
        "checkpoint": run.step,
        "command": request.command,
        "input": volume.url,
        "data_fingerprint": volume.fingerprint,
        "normalisation": dataclasses.asdict(run.segmenter.network.normalization),
    }
    kept = {name: volume.attributes[name] for name in ("source_file", "header_bytes") if name in volume.attributes}
    if run.record.get("label_scale"):
        kept["label_scale"] = run.record["label_scale"]  # what is detected is then a peak, not a stretch
    with Progress(0, "predict", "window") as progress:
        prediction = predict_volume(
            volume,
            lambda images: run.segmenter.forward(params, rest, images),
            request.output,
            box=box,
            window=run.survey.window,
            padded_window=run.survey.padded,
            stride=stride,
            batch_size=batch_size,
            num_classes=num_classes(run.config),
            class_names=run.record["class_names"],
            class_colors=class_colors(num_classes(run.config)),
            block_bytes=run.config.predict.block_mebibytes * 2**20,
            blend=request.blend,
            probability_dtype=run.config.predict.probability_dtype,
            tta_axes=tta_axes,
            attributes=kept | {"prediction": provenance},
            overwrite=request.overwrite,
            progress=progress.reach,
        )
    summary = f"predicted {format_region(box, volume.axes)} into {request.output}"
    if request.segy:
        template = request.segy_template or volume.attributes.get("source_file")
        write_segy(
            prediction, PRED_CLASS, Box.whole(prediction.shape), request.segy, template, overwrite=request.overwrite
        )
        summary += f" and {request.segy}"
    return summary


def plan_prediction(workdir: Path, request: Prediction) -> str:
    """What `predict` would do: lattice, windows and sizes, as text."""
    run, volume, box, stride, batch_size = _open_prediction(workdir, request)
    lattice = Lattice(volume.shape, run.survey.window, stride)
    windows = sum(1 for _ in lattice.touching(box))
    classes = num_classes(run.config)
    size = box.size * (1 + (classes + 1) * np.dtype(run.config.predict.probability_dtype).itemsize)
    return "\n".join(
        [
            f"region    {format_region(box, volume.axes)} ({' x '.join(map(str, box.shape))} samples)",
            f"windows   {windows} of {run.survey.window}, stride {stride}, {batch_size} at a time",
            f"computed  each sample {windows * np.prod(run.survey.window) / box.size:.1f} times",
            f"output    {size / 2**20:.1f} MiB before compression",
        ]
    )


def _open_prediction(workdir: Path, request: Prediction) -> tuple[Trained, Volume, Box, Shape, int]:
    config = from_dict(folder.config_of(workdir) or {})
    batch_size = config.predict.batch_size or config.data.batch_size
    own = request.statistics == "own"
    url = request.input or config.data.volume
    run = load(workdir, request.checkpoint, url, own, batch_size, request.resample)
    volume = run.survey.volume
    if request.segy and isinstance(volume, ResampledVolume):
        raise UserError(f"--segy: {volume.url} is resampled, and its SEG-Y file is not; leave --segy out")
    box = parse_region(request.region, volume.axes)
    stride = lattice_stride(run.survey.window, config.predict.overlap, 2 ** (config.model.levels - 1))
    return run, volume, box, stride, batch_size


def _tta_axes(config: Experiment, volume: Volume) -> tuple[int, ...]:
    if not config.augment.flip_axes:
        raise UserError("--tta: training mirrored no axis (augment.flip_axes is empty); leave --tta out")
    names = [axis.name for axis in volume.axes]
    return tuple(names.index(name) for name in config.augment.flip_axes)
