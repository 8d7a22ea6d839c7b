"""How sure a network is against how often it is right, before and after calibration."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seisjax.calibration import Calibration, Reliability
from seisjax.reporting.figures import save


def draw_reliability(path: Path, calibration: Calibration, title: str) -> None:
    """Write a PNG: accuracy by confidence without and with the temperature, over the share of samples in each bin.

    After the reliability diagrams of Guo et al. (2017, arXiv 1706.04599): on the diagonal a network is as sure as it is
    right, below it too sure.
    """
    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    parts = (
        ("as trained", calibration.nll_before, calibration.before),
        (f"temperature {calibration.temperature:.3g}", calibration.nll_after, calibration.after),
    )
    for column, (name, nll, reliability) in enumerate(parts):
        _draw(grid[0, column], grid[1, column], reliability)
        grid[0, column].set_title(f"{name}\nECE {reliability.error:.4f}, NLL {nll:.4f}", fontsize=10)
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("share of samples")
    grid[0, 0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.suptitle(f"{title}: {calibration.num_samples} labelled samples", fontsize=11)
    save(figure, path)


def _draw(above: Axes, below: Axes, reliability: Reliability) -> None:
    edges = np.linspace(0, 1, len(reliability.samples) + 1)
    centers, width, held = (edges[1:] + edges[:-1]) / 2, edges[1], reliability.samples > 0
    counts = reliability.samples[held]
    accuracy, confidence = reliability.agreement[held] / counts, reliability.confidence[held] / counts
    above.plot([0, 1], [0, 1], color="#888888", lw=1, ls="--")
    above.bar(centers[held], accuracy, 0.9 * width, color="#8FB9DB", label="accuracy")
    above.plot(confidence, accuracy, "o-", color="#0072B2", ms=3.5, lw=1, label="at the mean confidence of a bin")
    above.set(xlim=(0, 1), ylim=(0, 1.02))
    below.bar(centers, reliability.samples / reliability.samples.sum(), 0.9 * width, color="#B8B8B8")
    below.set_xlabel("confidence")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
