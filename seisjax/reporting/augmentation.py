"""A figure of what augmentation does to a window: each kind of change by itself, image and label together."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from seisjax.augment import Augmentation
from seisjax.reporting.figures import NO_DATA, add_legend, draw_classes, imshow, marked_missing, plane, save

_DRAWS = 16  # of each kind, of which the one that changes most is shown
_COLUMNS = 4

Example = tuple[np.ndarray, np.ndarray]


def augmentation_examples(
    augmentation: Augmentation, image: np.ndarray, label: np.ndarray, axes_names: Sequence[str], *, seed: int = 0
) -> dict[str, Example]:
    """Image and label after each kind of change that is switched on, by itself, and after all of them.

    Keys are names and strengths, "warp=3" say. Images are 0 where there are no data, as a network is given them. Of 16
    draws of each that one is given that changes the image most.

    Args:
      augmentation: what may happen.
      image: (*window, 1) normalised amplitudes, NaN where there are no data.
      label: (*window), IGNORE where unlabelled.
      axes_names: names of the window's axes, slowest first.
      seed: of the draws.
    """
    kinds = {}
    for name, kind in augmentation.alone().items():
        if name == "flip_axes":
            strength = ", ".join(axes_names[axis] for axis in kind.flip_axes)
        else:
            strength = f"{getattr(kind, name):g}"
        kinds[f"{name}={strength}"] = kind
    if len(kinds) > 1:
        kinds["all together"] = augmentation
    return {name: _strongest(kind, image, label, seed) for name, kind in kinds.items()}


def draw_augmentations(
    path: Path,
    image: np.ndarray,
    label: np.ndarray,
    examples: Mapping[str, Example],
    axes_names: Sequence[str],
    class_names: Sequence[str],
    *,
    title: str = "",
) -> None:
    """The window as it is, and beside it each example under its name: amplitudes in grey, classes as a veil over them.

    Args:
      path: PNG file to write.
      image: (*window, 1) or (*window), NaN where there are no data. Of a 3-D window the middle section along its first
        axis is drawn. Its 99th percentile sets the grey scale of all panels.
      label: (*window), IGNORE where unlabelled: no veil.
      examples: name -> image and label of the same shapes, as `augmentation_examples` gives them.
      axes_names: names of the window's axes, slowest first.
      class_names: one name a class.
      title: line above the figure.
    """
    shown = {"as it is": (image, label), **examples}
    columns = min(len(shown), _COLUMNS)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.0 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    finite = np.abs(image[np.isfinite(image)])
    limit = float(np.percentile(finite, 99)) if finite.size else 0.0
    gray = matplotlib.colormaps["gray"].with_extremes(bad=NO_DATA)
    for number, (panel, (name, (values, classes))) in enumerate(zip(panels.flat, shown.items(), strict=False)):
        values = marked_missing(values) if number else values
        amplitudes, veil = plane(values, axes_names), plane(classes, axes_names)
        amplitudes = amplitudes._replace(values=np.ma.masked_invalid(amplitudes.values))
        imshow(panel, amplitudes, cmap=gray, vmin=-(limit or 1.0), vmax=limit or 1.0)
        draw_classes(panel, veil, class_names, "none", alpha=0.35)
        panel.set_title(name, fontsize=10)
        if number:
            panel.set(xlabel="", ylabel="")
    for panel in panels.flat[len(shown) :]:
        panel.set_visible(False)
    figure.suptitle(title, fontsize=11)
    add_legend(figure, class_names, image)
    save(figure, path)


def _strongest(augmentation: Augmentation, image: np.ndarray, label: np.ndarray, seed: int) -> Example:
    """The draw that changes the image most, one draw in memory at a time."""
    valid = np.isfinite(image)
    before = np.where(valid, image, 0).astype(np.float32)
    images, labels, mask = (jnp.asarray(array)[None] for array in (before, label, valid))
    change = jax.jit(lambda index: augmentation(images, labels, mask, seed, index))
    draws = ([np.asarray(array)[0] for array in change(np.array([i], np.uint32))] for i in range(_DRAWS))
    best: tuple[float, Example] = (-1.0, (before, label))
    for after, classes in draws:
        best = max(best, (float(np.square(after - before).mean()), (after, classes)), key=lambda scored: scored[0])
    return best[1]
