"""The figures of a training run: its first batch, what augmentation does to a window, a validation's panels, curves."""

from pathlib import Path

import jax
import numpy as np

from seisjax import experiment, metrics
from seisjax.commands.scoring import cropped, draw_panels
from seisjax.config import Experiment
from seisjax.data import MixedSource, WindowSource
from seisjax.experiment import Segmenter, Survey
from seisjax.reporting import figures
from seisjax.reporting.augmentation import augmentation_examples, draw_augmentations
from seisjax.training import workdir


def draw_first_batch(
    folder: Path,
    config: Experiment,
    survey: Survey,
    source: WindowSource | MixedSource,
    images: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Write first_batch.png: `images` (B, *padded, channels), 0 where there is no data, and `labels` (B, *padded), the
    first samples of `source`."""
    found = [source.place(number) for number in range(len(images))]
    figures.first_batch(
        folder / "first_batch.png",
        *cropped(survey, figures.marked_missing(images), metrics.as_classes(labels, survey.label_scale)),
        axes_names=[axis.name for axis in survey.volume.axes],
        class_names=survey.class_names,
        region=config.data.train,
        places=[figures.place_text(box, volume.axes) for volume, box in found],
        batch_size=config.data.batch_size,
        title="First training batch, normalised and augmented",
    )


def draw_augmentation(
    folder: Path, config: Experiment, survey: Survey, segmenter: Segmenter, source: WindowSource | MixedSource
) -> None:
    """Write augmentation.png: the first sample after each kind of change that is switched on; nothing if none is."""
    augmentation = experiment.make_augmentation(config, survey)
    if not augmentation.alone():
        return
    sample = source[0]
    image = np.asarray(segmenter.network.inputs(jax.numpy.asarray(sample["image"][None])))[0]
    image = np.where(np.isfinite(sample["image"]), image, np.nan)
    label = metrics.as_classes(sample["labels"], survey.label_scale)
    image, label = (array[tuple(map(slice, survey.window))] for array in (image, label))
    names = [axis.name for axis in survey.volume.axes]
    examples = augmentation_examples(augmentation, image, label, names, seed=config.seed)
    path = folder / "augmentation.png"
    draw_augmentations(path, image, label, examples, names, survey.class_names, title="Augmentation")


def draw_validation(folder: Path, survey: Survey, segmenter: Segmenter, step: int, rows: dict[str, np.ndarray]) -> Path:
    """Panels of what `run_evaluation` gives to be drawn, and the curves of all metrics so far; returns the panels."""
    path = folder / f"validation_{step:07d}.png"
    draw_panels(path, survey, segmenter, "validation", rows, f"Validation after step {step}")
    figures.loss_curves(folder / "curves.png", folder.with_name(workdir.METRICS))
    return path
