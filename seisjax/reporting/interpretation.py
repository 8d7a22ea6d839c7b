"""A figure of an interpreted survey: a section of each direction, and over it faults, horizons and facies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seisjax.conventions import IGNORE, class_colors
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.reporting.figures import Plane, axis_label, draw_amplitude, draw_classes, edges, imshow, save
from seisjax.volumes import Volume

_FAULT, _HORIZON = "#D7191C", "#111111"


def draw_interpretation(
    path: Path,
    volume: Volume,
    place: Sequence[int] | None = None,
    *,
    example: int = 0,
    faults: str = "fault",
    horizons: str = "horizon",
    facies: str = "facies",
) -> None:
    """Sections of three directions: amplitudes above; below, facies as a veil, horizons black, faults red.

    Args:
      path: PNG file to write.
      volume: with three axes, or examples of three.
      place: inline, crossline and sample, counted from 0, where the sections are cut; None: in the middle.
      example: which of several.
      faults, horizons, facies: names of labels whose class 0 of the first two is nothing; those that the volume lacks
        are left out.

    Raises UserError for a volume of other axes, and for a place outside it.
    """
    axes = volume.axes[-3:]
    if len(axes) < 3 or len(volume.axes) > 4:
        names = ", ".join(axis.name for axis in volume.axes)
        raise UserError(f"{volume.url}: has the axes {names}; sections of three directions need a survey")
    place = [len(axis) // 2 for axis in axes] if place is None else place
    for axis, index in zip(axes, place, strict=True):
        if not 0 <= index < len(axis):
            raise UserError(f"{volume.url}: {axis.name} {index} of {len(axis)}, counted from 0, is outside")
    figure = Figure(figsize=(15, 9), layout="constrained")
    for column, panels in enumerate(figure.subplots(2, 3).T):
        cut = [slice(None)] * 3
        cut[column] = slice(place[column], place[column] + 1)
        box = _box(volume, example, axes, cut)
        shown = [axis for i, axis in enumerate(axes) if i != column]
        labels = {
            name: volume.read_labels(name, box).reshape([len(axis) for axis in shown])
            for name in (facies, horizons, faults)
            if name in volume.label_names()
        }
        amplitude = volume.read_amplitude(box).reshape([len(axis) for axis in shown])
        for panel, over in zip(panels, ({}, labels), strict=True):
            _draw(panel, amplitude, shown, volume, over, (facies, horizons, faults))
        panels[0].set_title(f"{axes[column].name} {axes[column].labels[place[column]]:g} {axes[column].unit}".rstrip())
    lines = [Line2D([], [], color=color, lw=3, label=name) for color, name in ((_FAULT, faults), (_HORIZON, horizons))]
    if facies in volume.label_names():
        names = volume.class_names(facies)
        colors = zip(class_colors(len(names)), names, strict=True)
        lines += [Line2D([], [], color=color, lw=8, alpha=0.5, label=name) for color, name in colors]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 8), frameon=False, fontsize=9)
    save(figure, path)


def _box(volume: Volume, example: int, axes: Sequence[Axis], cut: Sequence[slice]) -> Box:
    ranges = [range(len(axis))[part] for axis, part in zip(axes, cut, strict=True)]
    leading = len(volume.axes) - 3
    start = (example,) * leading + tuple(r.start for r in ranges)
    return Box(start, (1,) * leading + tuple(len(r) for r in ranges))


def _draw(
    panel: Axes,
    amplitude: np.ndarray,
    axes: Sequence[Axis],
    volume: Volume,
    labels: dict[str, np.ndarray],
    names: tuple[str, str, str],
) -> None:
    """A section, and the labels that are given over it."""
    facies, horizons, faults = names
    extent = (*edges(axes[0]), *reversed(edges(axes[1])))
    plane = Plane(amplitude, axes[0].name, axes[1].name)
    options: dict[str, Any] = {"extent": extent}
    draw_amplitude(panel, plane, **options)
    if facies in labels:
        veil = plane._replace(values=labels[facies])
        draw_classes(panel, veil, volume.class_names(facies), "none", alpha=0.35, **options)
    for name, color in ((horizons, _HORIZON), (faults, _FAULT)):
        if name in labels:
            nothing = np.isin(labels[name], (0, IGNORE))
            lines = plane._replace(values=np.ma.masked_array(np.ones(amplitude.shape), nothing))
            imshow(panel, lines, cmap=ListedColormap([color]), interpolation="nearest", **options)
    panel.set(xlabel=axis_label(axes[0]), ylabel=axis_label(axes[1]))
