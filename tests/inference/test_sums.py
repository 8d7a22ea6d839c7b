"""Sums of overlapping windows: equal to the bit to those of a whole volume at once, with a few planes in memory."""

import numpy as np
import pytest

from seisjax.geometry import Axis, Box
from seisjax.inference import Cutting
from seisjax.inference.blend import RunningSums

SHAPE = (40, 9, 11)
ROWS = 2


@pytest.mark.parametrize("window", [(6, 4, 8), (1, 4, 8), (6, 9, 1)])
@pytest.mark.parametrize("box", [Box.whole(SHAPE), Box((5, 2, 0), (31, 6, 11)), Box((17, 0, 3), (2, 9, 4))])
def test_running_sums_equal_those_of_the_whole(window, box):
    axes = [Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), SHAPE, strict=True)]
    view = Cutting(window, window, 2, overlap=0.6).views(axes)[0]
    rng = np.random.default_rng(0)
    sums, known = np.zeros((ROWS, *SHAPE)), np.zeros(SHAPE, bool)
    running = RunningSums(box, window[0], ROWS, views=2)
    means = np.full((ROWS, *box.shape), -1, np.float32)

    def keep(part, rows):
        means[(slice(None), *part.relative_to(box.start).slices)] = rows

    def take(until):
        while running.first < min(until, box.stop[0]):
            planes = min(running.depth, until - running.first, box.stop[0] - running.first)
            part = Box((running.first, *box.start[1:]), (planes, *box.shape[1:]))
            running.means(part, keep)
            running.pass_to(part.stop[0])

    for place in view.lattice.touching(Box.whole(SHAPE)):
        if 12 <= place.start[0] < 28:  # there are no data
            continue
        image = rng.normal(size=window).astype(np.float32)
        image[rng.random(window) < 0.1] = np.nan
        values = rng.random((*window, ROWS)).astype(np.float32)
        inner = place.intersect(Box.whole(SHAPE))
        inside = inner.relative_to(place.start).slices
        weights = view.profiles[0][place.start[0]][:, None, None] * view.profiles[1][place.start[1]][:, None]
        weights = weights * view.profiles[2][place.start[2]]
        for k in range(ROWS):
            sums[(k, *inner.slices)] += (weights * values[..., k])[inside]
        known[inner.slices] |= np.isfinite(image)[inside]
        take(place.start[0])
        if place.intersect(box).size:
            running.add(view, place, image, values)
    take(box.stop[0])
    expected = np.where(known, (sums / 2).astype(np.float32), np.float32(np.nan))
    np.testing.assert_array_equal(means, expected[(slice(None), *box.slices)])
    if window[0] == 1 and box == Box.whole(SHAPE):
        assert np.isnan(means[:, 12:28]).all()


@pytest.mark.parametrize("options", [{}, {"window": (1, 8, 10), "padded": (1, 8, 12)}])
def test_planes_without_data_are_passed_over(survey, predicted, contents, options):
    values = np.random.default_rng(1).normal(size=(48, 9, 11)).astype(np.float32)
    values[10:35] = np.nan
    volume = survey(values)
    whole = contents(predicted(volume, **options))
    assert (whole["pred_class"] == 255).any(axis=(1, 2)).nonzero()[0].tolist() == list(range(10, 35))
    for box in (Box((0, 0, 0), (12, 9, 11)), Box((33, 0, 0), (15, 9, 11))):
        part = contents(predicted(volume, box=box, **options))
        for name, whole_values in whole.items():
            np.testing.assert_array_equal(part[name], whole_values[(..., *box.slices)])
