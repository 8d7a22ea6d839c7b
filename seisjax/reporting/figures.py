"""Figures of a run and of a survey, as PNG files: time or depth points down, classes keep their colours everywhere.

Figures are built on their own canvas: nothing here touches pyplot's global state, so threads may draw.
"""

import itertools
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from seisjax.conventions import IGNORE, class_colors, labelled_section
from seisjax.files import beside
from seisjax.geometry import Axis, Box

_IGNORED = "#9A9A9A"  # samples without a label
NO_DATA = "#FBEBC8"  # samples without an amplitude
_DPI = 130
MAX_EXAMPLES = 4  # windows of a batch that are drawn
_DETAIL = 52  # characters above a panel
_MAX_SAMPLES = 1500  # drawn along a side; a longer one is thinned


def first_batch(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    axes_names: Sequence[str],
    class_names: Sequence[str],
    *,
    region: str = "",
    places: Sequence[str] = (),
    batch_size: int = 0,
    title: str = "First training batch",
) -> None:
    """What the network is about to be fed: input, label and histogram of values of the first windows of a batch.

    Args:
      path: PNG file to write.
      images: (B, *window, 1) or (B, *window), NaN where there are no data. Of a 3-D window the middle section along
        its first axis is drawn, its histogram counts all samples.
      labels: (B, *window), IGNORE where unlabelled.
      axes_names: names of the window's axes, slowest first.
      class_names: one name a class.
      region: where the windows come from, for the title.
      places: where each window lies, as `place_text` says it: a line above its row.
      batch_size: windows of the whole batch, where `images` are not all of them.
      title: first line of the figure.
    """
    count = min(len(images), MAX_EXAMPLES)
    figure, grid = _grid(count, 3, places)
    for row in range(count):
        image, truth = plane(images[row], axes_names), plane(labels[row], axes_names)
        draw_amplitude(grid[row, 0], image)
        draw_classes(grid[row, 1], truth, class_names)
        _set_detail(grid[row, 1], _shares(labels[row], class_names))
        _draw_histogram(grid[row, 2], images[row])
    _name_columns(grid, ("input", "label", ""))
    window = f"{' x '.join(map(str, labels.shape[1:]))} samples ({', '.join(axes_names)})"
    where = f", from {region}" if region else ""
    figure.suptitle(f"{title}: {count} of {batch_size or len(images)} windows of\n{window}{where}", fontsize=11)
    add_legend(figure, class_names, images[:count], labels[:count])
    save(figure, path)


def panels(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    axes_names: Sequence[str],
    class_names: Sequence[str],
    *,
    probability: np.ndarray | None = None,
    places: Sequence[str] = (),
    title: str = "",
) -> None:
    """Input | label | prediction, and the probability where it is given, a row a window.

    Args:
      path: PNG file to write.
      images: (B, *window, 1) or (B, *window), NaN where there are no data.
      labels: (B, *window), IGNORE where unlabelled.
      predictions: (B, *window) predicted classes.
      axes_names: names of the window's axes, slowest first.
      class_names: one name a class.
      probability: (B, *window) in 0 to 1, of the last class if there are two, else of the predicted class.
      places: where each window lies, as `place_text` says it: a line above its row.
      title: line above the figure.
    """
    count = min(len(images), MAX_EXAMPLES)
    columns = ["input", "label", "prediction"]
    if probability is not None:
        columns.append(f"probability of {class_names[-1] if len(class_names) == 2 else 'the predicted class'}")
    figure, grid = _grid(count, len(columns), places)
    for row in range(count):
        draw_amplitude(grid[row, 0], plane(images[row], axes_names))
        draw_classes(grid[row, 1], plane(labels[row], axes_names), class_names)
        draw_classes(grid[row, 2], plane(predictions[row], axes_names), class_names)
        if probability is not None:
            drawn = imshow(grid[row, 3], plane(probability[row], axes_names), cmap="viridis", vmin=0, vmax=1)
            figure.colorbar(drawn, ax=grid[row, 3], shrink=0.9, pad=0.02)
    _name_columns(grid, columns)
    figure.suptitle(title, fontsize=11)
    add_legend(figure, class_names, images[:count], labels[:count])
    save(figure, path)


def loss_curves(path: Path, metrics_jsonl: Path) -> None:
    """Loss, mean IoU and accuracy over the steps of `metrics.jsonl`, of training and of validation."""
    lines = [json.loads(line) for line in Path(metrics_jsonl).read_text().splitlines()]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    looks = {"train": {"color": "#8FB9DB", "lw": 1.2}, "validation": {"color": "#0072B2", "marker": "o", "ms": 3.5}}
    for split, look in looks.items():
        _draw_series(left, lines, split, "loss", split, **look)
        _draw_series(right, lines, split, "mean_iou", f"mean IoU, {split}", **look)
        _draw_series(right, lines, split, "accuracy", f"accuracy, {split}", ls=":", **look)
    _mark_best(left, *_series(lines, "validation", "loss"))
    left.set_ylabel("loss")
    right.set(ylabel="score", ylim=(0, 1.02))
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    if losses and 0 < 10 * min(losses) < max(losses):
        left.set_yscale("log")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_locator(NullLocator())
    for axes in (left, right):
        axes.set_xlabel("optimiser step")
        axes.grid(color="#E4E4E4", lw=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    save(figure, path)


def section(
    path: Path,
    amplitude: np.ndarray,
    axes: tuple[Axis, Axis],
    *,
    class_names: Sequence[str] = (),
    overlays: dict[str, np.ndarray] | None = None,
    unit: str = "",
    title: str = "",
    stacked: bool = False,
) -> None:
    """A section of a survey in its coordinates: the amplitude, and beside it a panel for each overlay of classes.

    Args:
      path: PNG file to write.
      amplitude: (horizontal, vertical) samples, NaN where there are none.
      axes: horizontal axis and vertical axis, with their labels and units.
      class_names: one name a class.
      overlays: panel title -> (horizontal, vertical) classes, "label" and "prediction" say; IGNORE stays grey.
      unit: unit of the amplitude, "" for none.
      title: line above the figure.
      stacked: panels below one another, for planes that are much wider than high; there classes hide the amplitude.
    """
    overlays = overlays or {}
    count = 1 + len(overlays)
    size, shape = ((11, 1.7 * count + 1.2), (count, 1)) if stacked else ((min(5.2 * count, 16), 4.8), (1, count))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True).ravel()
    image, opacity = Plane(amplitude, axes[0].name, axes[1].name), 1.0 if stacked else 0.5
    extent = (*edges(axes[0]), *reversed(edges(axes[1])))
    for panel, (name, classes) in zip(grid, {"amplitude": None, **overlays}.items(), strict=True):
        drawn = draw_amplitude(panel, image, extent=extent)
        if classes is None:
            figure.colorbar(drawn, ax=panel, shrink=0.7, pad=0.02, label=f"amplitude ({unit})" if unit else "")
        else:
            shown = np.ma.masked_where(~np.isfinite(amplitude) | (classes == IGNORE), classes)
            draw_classes(panel, image._replace(values=shown), class_names, "none", alpha=opacity, extent=extent)
        panel.set_title(name, fontsize=11)
        panel.set(xlabel=axis_label(axes[0]), ylabel=axis_label(axes[1]))
        panel.label_outer()
    figure.suptitle(title, fontsize=12)
    if overlays:
        add_legend(figure, class_names, amplitude)
    save(figure, path)


class Plane(NamedTuple):
    """A plane of samples (horizontal, vertical) and the names of its axes."""

    values: np.ndarray
    horizontal: str
    vertical: str


def plane(window: np.ndarray, names: Sequence[str]) -> Plane:
    """The plane of a window to draw: without sides of 1, of the channel that is labelled; of three sides the middle of
    the first."""
    values = labelled_section(window) if window.ndim == len(names) + 1 else window
    long = [i for i, side in enumerate(values.shape) if side > 1]
    if len(long) > 2:
        values = np.take(values, [values.shape[long[0]] // 2], axis=long[0])
    keep = [i for i, side in enumerate(values.shape) if side > 1]
    keep = sorted({*keep, *[i for i in reversed(range(values.ndim)) if i not in keep][: 2 - len(keep)]})
    values = values.reshape([values.shape[i] for i in keep])
    return Plane(values, names[keep[0]], names[keep[1]])


def place_text(box: Box, axes: Sequence[Axis]) -> str:
    """Where a non-empty box inside a volume lies: `inline 1075, crossline 1264-1311, time 0-1020 ms`."""
    parts = []
    for axis, start, stop in zip(axes, box.start, box.stop, strict=True):
        ends = dict.fromkeys(f"{float(axis.labels[i]):.9g}" for i in (start, stop - 1))
        parts.append(f"{axis.name} {'-'.join(ends)} {axis.unit}".rstrip())
    return ", ".join(parts)


def marked_missing(images: np.ndarray) -> np.ndarray:
    """Images as a network is given them, with NaN for 0: its mark of what has no data."""
    return np.where(images == 0, np.nan, images)


def draw_amplitude(axes: Axes, image: Plane, **options: Any) -> Any:
    """Grey, white for positive; the range is set by the 1st and 99th percentiles, about zero where the values are."""
    values = image.values.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (-1.0, 1.0)
    if low < 0 < high:
        low, high = -max(-low, high), max(-low, high)
    colors = matplotlib.colormaps["gray"].with_extremes(bad=NO_DATA)
    return imshow(
        axes, image._replace(values=np.ma.masked_invalid(values)), cmap=colors, vmin=low, vmax=high, **options
    )


def draw_classes(axes: Axes, image: Plane, class_names: Sequence[str], ignored: str = _IGNORED, **options: Any) -> Any:
    """Classes of a plane in their colours, drawn sample by sample; `ignored` is the colour of what is unlabelled.

    image: whole numbers below len(class_names), IGNORE where unlabelled. `options` are those of `Axes.imshow`.
    """
    colors = ListedColormap(class_colors(len(class_names))).with_extremes(bad=ignored)
    norm = BoundaryNorm(np.arange(len(class_names) + 1) - 0.5, len(class_names))
    values = np.ma.masked_equal(image.values, IGNORE)
    return imshow(axes, image._replace(values=values), cmap=colors, norm=norm, interpolation="nearest", **options)


def imshow(axes: Axes, image: Plane, **options: Any) -> Any:
    """A plane with its vertical axis downwards, thinned to what a figure can show; returns what `Axes.imshow` does.

    The axes count samples unless `extent` is among the options. Traces that are no fewer than the pixels are smoothed,
    unless some samples are missing, which would blur those beside them.
    """
    width, height = image.values.shape
    inches = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted()).width
    pixels = inches * _DPI  # about: nothing is laid out yet
    if width < pixels or np.ma.is_masked(image.values):
        options.setdefault("interpolation", "nearest")
    values = image.values[:: -(-width // _MAX_SAMPLES), :: -(-height // _MAX_SAMPLES)]
    axes.set(xlabel=f"{image.horizontal} (sample)", ylabel=f"{image.vertical} (sample)")
    options.setdefault("extent", (-0.5, width - 0.5, height - 0.5, -0.5))
    return axes.imshow(values.T, aspect="auto", **options)


def _draw_histogram(axes: Axes, image: np.ndarray) -> None:
    values = np.asarray(image, np.float32)
    finite = values[np.isfinite(values)]
    if finite.size:
        axes.hist(finite, bins=80, color="#56789A", log=True)
    missing = 100 * (1 - finite.size / max(values.size, 1))
    text = f"mean {finite.mean():.3g}, std {finite.std():.3g}, " if finite.size else ""
    _set_detail(axes, f"{text}no data {missing:.3g} %")
    axes.set(xlabel="value", ylabel="samples")
    axes.spines[["top", "right"]].set_visible(False)


def _shares(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """How much of a window each class takes: the three largest."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    names = dict(enumerate(class_names)) | {IGNORE: "no label"}
    largest = [i for i in np.argsort(-counts, kind="stable")[:3] if counts[i]]
    return ", ".join(f"{names.get(int(i), f'class {i}')} {100 * counts[i] / labels.size:.3g} %" for i in largest)


def _draw_series(axes: Axes, lines: list[dict[str, Any]], split: str, name: str, label: str, **look: Any) -> None:
    steps, values = _series(lines, split, name)
    if steps:
        axes.plot(steps, values, label=label, **look)


def _series(lines: list[dict[str, Any]], split: str, name: str) -> tuple[list[int], list[float]]:
    points = [(line["step"], line[name]) for line in lines if line["split"] == split and line.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _mark_best(axes: Axes, steps: list[int], losses: list[float]) -> None:
    if losses:
        best = int(np.argmin(losses))
        label = f"lowest validation loss {losses[best]:.3g} at step {steps[best]}"
        axes.plot(steps[best], losses[best], "o", ms=9, mfc="none", mec="#D55E00", mew=1.5, ls="", label=label)


def edges(axis: Axis) -> tuple[float, float]:
    """Coordinates of the outer edges of the first and last sample."""
    half = (float(axis.labels[1]) - float(axis.labels[0])) / 2 if len(axis) > 1 else 0.5
    return float(axis.labels[0]) - half, float(axis.labels[-1]) + half


def axis_label(axis: Axis) -> str:
    """Name and unit."""
    return f"{axis.name} ({axis.unit})" if axis.unit else axis.name


def _grid(rows: int, columns: int, places: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """Panels, with the place of each row above its first one."""
    figure = Figure(figsize=(3.7 * columns, 2.6 * rows + 1.0), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, place in zip(grid[:, 0], places, strict=False):
        _set_detail(axes, textwrap.fill(place, _DETAIL))
    return figure, grid


def _set_detail(axes: Axes, text: str) -> None:
    """A line above a panel that is about this one alone, under the name of its column if it is the first."""
    axes.set_title(text, fontsize=8, loc="left")


def _name_columns(grid: np.ndarray, names: Sequence[str]) -> None:
    """Names above the columns; labels and ticks of shared axes on the outer panels only."""
    details = [axes.get_title(loc="left") for axes in grid[0]]
    below = max(detail.count("\n") + 1 if detail else 0 for detail in details)  # lines
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name + "\n" * below, fontsize=10)
    for axes in itertools.chain.from_iterable(grid[:-1]):
        axes.set_xlabel("")
    for axes in (panel for panel in grid[:, 1:].flat if panel.images):
        axes.set_ylabel("")
        axes.tick_params(labelleft=False)


def add_legend(
    figure: Figure, class_names: Sequence[str], amplitudes: np.ndarray, labels: np.ndarray | None = None
) -> None:
    """A legend of the classes below the figure, with the marks of what is unlabelled or no data where any is.

    amplitudes: of any shape, NaN where there is no data. labels: of any shape, IGNORE where unlabelled.
    """
    patches = [Patch(color=c, label=n) for c, n in zip(class_colors(len(class_names)), class_names, strict=True)]
    if labels is not None and (labels == IGNORE).any():
        patches.append(Patch(color=_IGNORED, label="no label"))
    if not np.isfinite(amplitudes).all():
        patches.append(Patch(color=NO_DATA, label="no data"))
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6), frameon=False, fontsize=9)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all. Raises UserError where it cannot be written."""
    with beside(Path(path)) as partial:
        figure.savefig(partial, format="png", dpi=_DPI)
