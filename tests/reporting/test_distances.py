"""Scores by distance: what is drawn of bins that not every predictor has."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from seisjax.reporting import distances


def test_a_point_stands_at_its_bin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(distances, "save", lambda figure, path: drawn.append(figure))
    edges = [(None, 0.0), (0.0, 1.0), (2.0, 4.0), (2.0**21, None)]
    bins = [{"above": a, "to": b, "mean_iou": 0.9 - i / 10, "accuracy": 0.9} for i, (a, b) in enumerate(edges)]
    distances.draw_by_distance(tmp_path / "a.png", {"network": bins[1:], "nearest_labelled_line": bins[:3]}, "title")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "3-4", "over 2.09715e+06"]
    network, nearest = axes.lines
    assert network.get_xydata().tolist() == [[1, 0.8], [2, 0.7], [3, pytest.approx(0.6)]]
    assert nearest.get_xydata().tolist() == [[0, 0.9], [1, 0.8], [2, 0.7]]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["network", "nearest labelled line"]


def test_equal_scores_do_not_hide_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(distances, "save", lambda figure, path: drawn.append(figure))
    bins = [{"above": 0.0, "to": 1.0, "mean_iou": 0.9, "accuracy": 0.9}]
    distances.draw_by_distance(tmp_path / "a.png", dict.fromkeys("abcde", bins), "title")
    first, *others = drawn[0].axes[0].lines[1:]
    sizes = [line.get_markersize() for line in (first, *others)]
    assert sizes == sorted(set(sizes), reverse=True)
    assert not first.is_dashed()
    assert all(line.is_dashed() for line in others)
