"""How good predictions are, the farther away from a label."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seisjax.conventions import class_colors
from seisjax.reporting.figures import save


def draw_by_distance(path: Path, by_distance: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> None:
    """Write a PNG: mean IoU and accuracy against the distance to the nearest label.

    Args:
      path: file to write.
      by_distance: by predictor what `evaluation.DistanceScores.result` gives; the first is drawn heavier.
      title: of the figure.
    """
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    for axes, score, label in zip(
        figure.subplots(1, 2), ("mean_iou", "accuracy"), ("mean IoU", "accuracy"), strict=True
    ):
        _draw(axes, by_distance, score)
        axes.set(xlabel="lines to the nearest label", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    figure.legend(handles=figure.axes[0].lines, frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    figure.suptitle(title, fontsize=11)
    save(figure, path)


def _draw(axes: Axes, by_distance: Mapping[str, Sequence[Mapping[str, Any]]], score: str) -> None:
    """A point for each bin that any predictor was scored in, the nearest first."""
    edges = sorted({_name(scores) for bins in by_distance.values() for scores in bins}, key=lambda edge: edge[0])
    for number, (name, bins) in enumerate(by_distance.items()):
        points = {_name(scores): scores[score] for scores in bins if scores[score] is not None}
        places = [i for i, edge in enumerate(edges) if edge in points]
        look = {"lw": 1.2 if number else 2.4, "color": class_colors(len(by_distance))[number]}
        if number:  # thinner and thinner, so that of equal ones each is seen
            look |= {"ls": (0, (4, 2 * number - 2)) if number > 1 else "-", "ms": max(9 - 1.5 * number, 2)}
        axes.plot(places, [points[edges[i]] for i in places], marker="o", label=name.replace("_", " "), **look)
    axes.set_xticks(range(len(edges)), [text for _, text in edges])


def _name(scores: Mapping[str, Any]) -> tuple[float, str]:
    """What a bin is sorted by and called."""
    above, to = scores["above"], scores["to"]
    if above is None:
        return 0.0, "0"
    if to is None:
        return float("inf"), f"over {above:g}"
    first = f"{above + 1:g}"
    return to, first if to == above + 1 else f"{first}-{to:g}"
