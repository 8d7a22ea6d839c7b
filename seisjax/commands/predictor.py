"""What predicts, and what it predicts: a run or an exported file, with a volume that fits it."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seisjax import runtime
from seisjax.calibration import temperature_of
from seisjax.commands.load import load
from seisjax.config import Predict, from_dict, multiples_of
from seisjax.conventions import class_colors
from seisjax.errors import UserError
from seisjax.experiment import num_classes
from seisjax.geometry import parse_region
from seisjax.inference import Artifact, Cutting, Task, load_artifact
from seisjax.inference.views import crop_radius
from seisjax.synthesis import open_data
from seisjax.training import workdir as folder
from seisjax.volumes import Volume
from seisjax.volumes.segy_export import SEGY_ATTRIBUTES


@dataclass(frozen=True)
class Prediction:
    """What is to be predicted and where to; the fields are the flags of launch/predict.py.

    None, "" and () stand for what the run predicts with.
    """

    input: str | None
    output: str
    region: str = ""
    checkpoint: str = "best"
    statistics: str = "training"
    calibrated: bool = False
    blend: str = "linear"
    directions: tuple[str, ...] = ()
    tta: bool = False
    products: tuple[str, ...] = ()
    probability_dtype: str = ""
    overlap: float | None = None
    batch_size: int = 0
    block_mebibytes: int = 0
    precision: str = ""
    pyramid: int = 0
    segy: str | None = None
    segy_template: str | None = None
    segy_product: str = "class"
    resample: bool = False
    verify: bool = False
    max_blocks: int = 0
    overwrite: bool = False
    command: str = ""


@dataclass(frozen=True)
class Predictor:
    """A trained network with a volume that it fits.

    volume, cutting: the data, and how they are cut. forwards: the networks, whose probabilities are averaged. defaults:
    what decides where the request does not. flip_axes: axes that training mirrored. normalisation, weights,
    temperature: what decides on the result beside the data. provenance: where a prediction comes from.
    """

    volume: Volume
    cutting: Cutting
    forwards: list[Callable[[np.ndarray], jax.Array]]
    defaults: Predict
    batch_size: int
    class_names: Sequence[str]
    class_colors: Sequence[str]
    flip_axes: tuple[str, ...]
    label_scale: int
    normalisation: dict[str, Any]
    weights: str
    temperature: float
    provenance: dict[str, Any]

    @property
    def num_classes(self) -> int:
        """Classes of the probabilities."""
        return len(self.class_colors)

    def task(self, request: Prediction) -> Task:
        """What a request asks of it. Raises UserError for what is unknown or does not fit."""
        box = parse_region(request.region, self.volume.axes)
        options = self.defaults
        members = len(self.forwards) * (2 if request.tta else 1)
        usual = ("class", "probability", "entropy", *(("spread",) if members > 1 else ()))
        products = request.products or usual
        if "spread" in products and members == 1:
            raise UserError("--products=spread: one network has none; give --tta or several --checkpoint")
        task = Task(
            volume=self.volume,
            box=box,
            cutting=self.cutting,
            batch_size=self.batch_size,
            num_classes=self.num_classes,
            class_names=self.class_names,
            class_colors=self.class_colors,
            block_bytes=(request.block_mebibytes or options.block_mebibytes) * 2**20,
            products=products,
            probability_dtype=request.probability_dtype or options.probability_dtype,
            tta_axes=self._tta_axes() if request.tta else (),
            key=self._key(),
        )
        task.check()
        return task

    def attributes(self, request: Prediction) -> dict[str, Any]:
        """What is stored with a prediction: where it comes from, and what the survey knows of its file."""
        known = self.volume.attributes
        kept = {name: known[name] for name in SEGY_ATTRIBUTES if name in known}
        if self.label_scale:
            kept["label_scale"] = self.label_scale  # what is detected is then a peak, not a stretch
        made = {
            "command": request.command,
            "input": self.volume.url,
            "data_fingerprint": self.volume.fingerprint,
            "weights": self.weights,
            "normalisation": self.normalisation,
            "temperature": self.temperature,
            "code": runtime.code_version(),
        }
        return kept | {"prediction": self.provenance | made}

    def _key(self) -> dict[str, Any]:
        """What decides on the result beside the request, by the names that messages call it."""
        volume = self.volume
        # Volumes of others may hold no statistics, and then no fingerprint of their samples.
        data = volume.fingerprint if volume.statistics else f"{volume.url} {volume.fingerprint}"
        return {
            "weights": f"{self.weights} of checkpoint {self.provenance['checkpoint']}",
            "statistics": self.normalisation,
            "temperature": self.temperature,
            "input": data,
            "code": runtime.code_version(),
        }

    def _tta_axes(self) -> tuple[int, ...]:
        names = [axis.name for axis in self.volume.axes]
        axes = tuple(names.index(name) for name in self.flip_axes if name in names)
        if not axes:
            raise UserError("--tta: training mirrored no axis (augment.flip_axes is empty); leave --tta out")
        return axes


def open_predictor(source: Path, request: Prediction) -> Predictor:
    """The network of a run's folder, or of a file of launch/export.py, for the volume that a request names.

    Raises UserError where either cannot be used, or they do not fit.
    """
    return _of_artifact(load_artifact(source), request) if source.is_file() else _of_run(source, request)


def _of_run(workdir: Path, request: Prediction) -> Predictor:
    config = from_dict(folder.config_of(workdir) or {})
    batch_size = request.batch_size or config.predict.batch_size or config.data.batch_size
    url, own = request.input or config.data.volume, request.statistics == "own"
    run = load(workdir, request.checkpoint, url, own, batch_size, request.resample, request.precision)
    steps = [member.step for member in run.members]
    temperature = temperature_of(workdir, steps) if request.calibrated else 1.0
    survey, count = run.survey, num_classes(config)
    whole = len(survey.window) == len(config.data.window)  # not where panels' network meets a recording
    cutting = Cutting(
        window=survey.window,
        padded=survey.padded,
        multiple=multiples_of(config)[-len(survey.window) :],
        overlap=config.predict.overlap,
        radius=crop_radius(request.blend, run.receptive_radius, f"--workdir={workdir}"),
        directions=tuple(config.data.directions) if whole else (),
        neighbours=config.data.neighbours,
    )
    return Predictor(
        volume=survey.volume,
        cutting=_as_asked(cutting, request),
        forwards=run.forwards(temperature),
        defaults=config.predict,
        batch_size=batch_size,
        class_names=run.record["class_names"],
        class_colors=class_colors(count),
        flip_axes=tuple(config.augment.flip_axes),
        label_scale=run.record.get("label_scale", 0),
        normalisation=dataclasses.asdict(run.segmenter.network.normalization),
        weights=run.fingerprint + (f" in {request.precision}" if request.precision else ""),
        temperature=temperature,
        provenance={"run": str(workdir.absolute()), "checkpoint": steps if len(steps) > 1 else run.step},
    )


def _of_artifact(artifact: Artifact, request: Prediction) -> Predictor:
    asked = {
        "--calibrated": request.calibrated,
        "--statistics=own": request.statistics == "own",
        "--precision": request.precision,
        "--checkpoint": request.checkpoint != "best",
    }
    for flag, given in asked.items():
        if given:
            raise UserError(f"{flag}: {artifact.path} holds a network as it was exported; leave {flag} out")
    if not request.input:
        raise UserError(f"--input: {artifact.path} holds no data; name the volume to predict")
    told = artifact.metadata
    volume, cutting = artifact.fit(open_data(request.input), resample=request.resample, blend=request.blend)
    return Predictor(
        volume=volume,
        cutting=_as_asked(cutting, request),
        forwards=artifact.forwards(),
        defaults=Predict(),
        batch_size=request.batch_size or told["batch_size"],
        class_names=artifact.class_names,
        class_colors=artifact.class_colors,
        flip_axes=tuple(told["run"]["config"]["augment"]["flip_axes"]),
        label_scale=told["label_scale"],
        normalisation=told["normalisation"],
        weights=artifact.fingerprint,
        temperature=told["temperature"],
        provenance=artifact.provenance(volume),
    )


def _as_asked(cutting: Cutting, request: Prediction) -> Cutting:
    overlap = cutting.overlap if request.overlap is None else request.overlap
    if not 0 <= overlap < 1:
        raise UserError(f"--overlap={overlap}: must be at least 0 and below 1")
    directions = request.directions or cutting.directions
    return dataclasses.replace(cutting, overlap=overlap, directions=directions, blend=request.blend)
