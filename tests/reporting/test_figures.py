"""Figures: depth points down, classes keep their colours, missing samples and labels are told apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from seisjax.conventions import IGNORE, class_colors
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.reporting import figures

NAMES = ("noise", "event")


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_DPI", 80)


def rows_of(path: Path, color: str) -> np.ndarray:
    """Rows of the picture's pixels that have this colour, from the top."""
    picture = imread(path)[..., :3]
    return np.nonzero((np.abs(picture - to_rgb(color)) < 0.01).all(axis=-1))[0]


def windows(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and labels of 0 in the upper and 1 in the lower half of the last axis."""
    images = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    labels[..., shape[-1] // 2 :] = 1
    return images, labels


def test_class_colors_are_distinct_and_steady() -> None:
    for count in (1, 2, 8, 16, 40):
        colors = class_colors(count)
        assert len(colors) == len(set(colors)) == count
    assert class_colors(8)[:2] == class_colors(2)


@pytest.mark.parametrize("shape", [(2, 1, 24, 40), (1, 24, 1, 40), (1, 6, 24, 40), (1, 24, 40), (1, 1, 1, 40)])
def test_windows_of_any_kind_are_drawn_downwards(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images, labels = windows(*shape)
    names = ("inline", "crossline", "time")[-len(shape) + 1 :]
    path = tmp_path / "figures" / "panels.png"
    figures.panels(path, images, labels, labels, names, NAMES, probability=labels.astype(np.float32))
    shallow, deep = (rows_of(path, color).mean() for color in class_colors(2))
    assert shallow < deep
    assert [file.name for file in path.parent.iterdir()] == ["panels.png"]


def test_first_batch_shows_what_is_missing(tmp_path: Path) -> None:
    images, labels = windows(2, 1, 24, 40)
    whole, gaps = tmp_path / "whole.png", tmp_path / "gaps.png"
    figures.first_batch(whole, images[..., 0], labels, ("example", "receiver", "time"), NAMES, region="example:0-9")
    images[:, :, :8] = np.nan
    labels[:, :, :16] = IGNORE
    figures.first_batch(gaps, images, labels, ("example", "receiver", "time"), NAMES)
    for color in (figures._IGNORED, figures.NO_DATA):
        assert len(rows_of(gaps, color)) > len(rows_of(whole, color)) + 3000


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a test has drawn, in place of their files."""
    found: list[Figure] = []
    monkeypatch.setattr(figures, "save", lambda figure, path: found.append(figure))
    return found


def test_each_row_says_where_it_lies_and_no_text_covers_a_histogram(drawn: list[Figure]) -> None:
    images, labels = windows(2, 1, 24, 40)
    places = ["inline 7, crossline 3-26", "inline 8, crossline 3-26, " + "time 0-156 ms, " * 3]
    names = ("inline", "crossline", "time")
    figures.first_batch(Path(), images, labels, names, NAMES, places=places)
    figures.panels(Path(), images, labels, labels, names, NAMES, places=places)
    for figure in drawn:
        rows = [axes.get_title(loc="left") for axes in figure.axes[::3]]
        assert [" ".join(row.split()) for row in rows] == [place.strip() for place in places]
        assert max(map(len, rows[1].splitlines())) <= 52
        assert [axes.get_title().strip() for axes in figure.axes[:2]] == ["input", "label"]
    histogram = drawn[0].axes[2]
    assert not histogram.texts
    assert histogram.get_title(loc="left").endswith("no data 0 %")


def test_a_place_is_in_coordinates() -> None:
    axes = [Axis("inline", np.arange(1000, 1020, 2)), Axis("time", np.arange(40) * 0.5, "ms")]
    assert figures.place_text(Box((3, 1), (1, 4)), axes) == "inline 1006, time 0.5-2 ms"


@pytest.mark.parametrize(("traces", "missing", "sharp"), [(24, 0, True), (1000, 0, False), (1000, 5, True)])
def test_few_traces_and_missing_ones_are_not_smoothed(traces: int, missing: int, sharp: bool) -> None:
    values = np.ones((traces, 30), np.float32)
    values[:missing] = np.nan
    image = figures.draw_amplitude(Figure().subplots(), figures.Plane(values, "crossline", "time"))
    assert (image.get_interpolation() == "nearest") == sharp


def test_windows_without_any_data_or_label(tmp_path: Path) -> None:
    images, labels = np.full((1, 8, 8, 1), np.nan, np.float32), np.full((1, 8, 8), IGNORE, np.uint8)
    figures.first_batch(tmp_path / "empty.png", images, labels, ("receiver", "time"), NAMES)
    figures.panels(tmp_path / "panels.png", images, labels, labels * 0, ("receiver", "time"), NAMES, title="empty")


def test_section_in_coordinates(tmp_path: Path) -> None:
    amplitude, classes = (array[0] for array in windows(1, 24, 40))
    axes = (Axis("crossline", np.arange(1000, 1024)), Axis("time", np.arange(40) * 4.0, "ms"))
    path = tmp_path / "section.png"
    overlays = {"label": classes, "prediction": classes}
    figures.section(path, amplitude[..., 0], axes, class_names=NAMES, overlays=overlays, title="inline 7")
    assert imread(path).shape[1] > 2 * imread(path).shape[0]
    figures.section(path, amplitude[..., 0], axes, class_names=NAMES, overlays=overlays, stacked=True)
    assert imread(path).shape[1] < 2 * imread(path).shape[0]
    figures.section(path, amplitude[:1, :, 0], (Axis("crossline", np.arange(1)), axes[1]), unit="m/s")


def test_curves_of_full_of_short_and_of_unvalidated_runs(tmp_path: Path) -> None:
    metrics, path = tmp_path / "metrics.jsonl", tmp_path / "curves.png"
    metrics.write_text("")
    figures.loss_curves(path, metrics)
    lines = [{"step": step, "split": "train", "loss": 100.0 / step, "accuracy": None} for step in range(1, 101, 10)]
    metrics.write_text("\n".join(map(json.dumps, lines)))
    figures.loss_curves(path, metrics)
    best = "#D55E00"
    assert len(rows_of(path, best)) == 0
    lines += [{"step": step, "split": "validation", "loss": None, "mean_iou": 0.5} for step in (50, 100)]
    lines += [{"step": 100, "split": "validation", "loss": 2.0, "mean_iou": 0.5}]
    metrics.write_text("\n".join(map(json.dumps, lines)))
    figures.loss_curves(path, metrics)
    assert len(rows_of(path, best)) > 0


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    images, labels = windows(1, 8, 8)
    with pytest.raises(UserError, match="cannot be written"):
        figures.panels(tmp_path / "file" / "x.png", images, labels, labels, ("receiver", "time"), NAMES)


def test_of_a_window_of_one_example_the_middle_section_is_drawn():
    window = np.arange(3 * 4 * 5).reshape(1, 3, 4, 5, 1)
    found = figures.plane(window, ("example", "inline", "crossline", "time"))
    np.testing.assert_array_equal(found.values, window[0, 1, :, :, 0])
    assert (found.horizontal, found.vertical) == ("crossline", "time")
