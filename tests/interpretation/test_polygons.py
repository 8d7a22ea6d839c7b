"""Polygons on sections."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box, tiles
from seisjax.interpretation.frame import Frame
from seisjax.interpretation.polygons import Polygon, outlines_of, polygons_of
from seisjax.interpretation.text import Points

SHAPE = (8, 10, 20)
FRAME = Frame(
    "survey.zarr",
    (Axis("inline", np.arange(100, 108)), Axis("crossline", np.arange(10)), Axis("time", np.arange(20.0), "ms")),
)


def made(outlines, classes=None):
    """Polygons of these outlines (point, 3), in samples."""
    index = np.concatenate([np.asarray(outline, float) for outline in outlines])
    names = [str(i) for i, outline in enumerate(outlines) for _ in outline]
    classes = classes or ["salt"] * len(index)
    points = Points(
        "p.csv", index[:, :2], None, index[:, 2], "", np.arange(len(index)) + 2, {"polygon": names, "class": classes}
    )
    return polygons_of(points, index, FRAME, lambda where, name: {"salt": 3, "sand": 5}[name])


def test_a_polygon_holds_the_samples_inside_whatever_the_boxes():
    (on_inline,) = made([[[2, 1.5, 3.5], [2, 7.5, 3.5], [2, 7.5, 12.5], [2, 1.5, 12.5]]])
    (on_crossline,) = made([[[-3.5, 4, 2.5], [3.5, 4, 9.5], [3.5, 4, 2.5]]])  # reaches past the survey
    for polygon, line in ((on_inline, (2, slice(None))), (on_crossline, (slice(None), 4))):
        found = np.zeros(SHAPE, bool)
        for box in tiles(Box.whole(SHAPE), (3, 4, 7)):
            part = polygon.inside(box)
            if part:
                found[part[0].slices] = part[1]
        elsewhere = found.copy()
        elsewhere[line] = False
        assert not elsewhere.any()
        if polygon is on_inline:
            expected = np.zeros(SHAPE[1:], bool)
            expected[2:8, 4:13] = True
            np.testing.assert_array_equal(found[line], expected)
        else:
            along, sample = np.indices((8, 20))
            np.testing.assert_array_equal(found[line], (along <= 3) & (sample > 2.5) & (sample < along + 6))
    assert on_inline.number == 3


@pytest.mark.parametrize(
    ("outline", "classes", "message"),
    [
        ([[2, 1, 3], [2, 7, 3], [2, 1, 3]], None, "p.csv, line 2: polygon 0 has fewer than three points"),
        (
            [[2, 1, 3], [2, 7, 3], [2, 1, 9]],
            ["salt", "sand", "salt"],
            "polygon 0 is of the classes salt, sand; give it one",
        ),
        ([[2, 1, 3], [4, 7, 3], [6, 1, 9]], None, "polygon 0 does not lie on one inline or crossline"),
        ([[9, 1, 3], [9, 7, 3], [9, 1, 9]], None, r"polygon 0 lies on no inline of survey.zarr \(inline:100-107"),
        ([[2, 1, 30], [2, 7, 30], [2, 1, 90]], None, "polygon 0 lies above or below survey.zarr"),
    ],
)
def test_bad_polygons_are_one_line(outline, classes, message):
    with pytest.raises(UserError, match=message) as error:
        made([outline], classes)
    assert "\n" not in str(error.value)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([0.1, 0.5, 0.8, 1.0]))
def test_outlines_painted_one_after_the_other_give_the_samples_back(seed, share):
    """Holes, islands in holes, corners that touch, and the section's edge."""
    mask = np.random.default_rng(seed).random((9, 14)) < share
    painted = np.zeros((1, 9, 14), bool)
    for ring, is_hole in outlines_of(mask):
        part = Polygon(0, 0, ring, 1).inside(Box.whole((1, 9, 14)))
        painted[part[1]] = not is_hole
    np.testing.assert_array_equal(painted[0], mask)


def test_a_ring_has_a_hole():
    mask = np.zeros((8, 9), bool)
    mask[1:7, 1:8], mask[3:5, 3:6] = True, False
    (rim, outer), (hole, inner) = outlines_of(mask)
    assert (outer, inner) == (False, True)
    assert len(rim) == len(hole) == 8  # corners are cut
    assert rim.min() == 0.5
    assert outlines_of(np.zeros((3, 3), bool)) == []
