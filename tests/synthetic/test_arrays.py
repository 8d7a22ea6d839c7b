"""Receiver geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seisjax.errors import UserError
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.parameters import PRESETS, ReceiverArray


def test_cables_run_along_y_one_after_the_other():
    array = receivers(ReceiverArray(lines=3, stations=5))
    places = array.places.reshape(3, 5, 3)
    np.testing.assert_allclose(np.diff(places[..., 0].mean(axis=1)), 300.0, atol=20.0)
    assert (np.diff(places[..., 1], axis=1) > 10.0).all()
    np.testing.assert_allclose(places[..., 2], 130.0, atol=2.0)
    np.testing.assert_array_equal(array.places, receivers(ReceiverArray(lines=3, stations=5)).places)
    assert set(array.component) == {"z"}
    assert set(array.names) == {""}


@given(st.integers(1, 4), st.integers(1, 20), st.floats(0.5, 50.0), st.floats(-360.0, 720.0))
def test_a_fibre_is_one_line_of_even_spacing_that_turns_at_right_angles(lines, stations, spacing, azimuth):
    kind = ReceiverArray(kind="das", lines=lines, stations=stations, station_spacing=spacing, azimuth=azimuth)
    array = receivers(kind)
    places, angle = array.places[:, :2], np.deg2rad(array.azimuth)
    assert places.shape == (lines * stations, 2)
    assert set(array.component) == {"strain"}
    np.testing.assert_allclose(places.mean(axis=0), 0.0, atol=1e-6 * spacing * stations)
    halves = spacing / 2 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    np.testing.assert_allclose((places + halves)[:-1], (places - halves)[1:], atol=1e-6 * spacing * stations)
    corners = np.cos(np.diff(angle)[stations - 1 :: stations])
    np.testing.assert_allclose(corners, 0.0, atol=1e-9)


def test_a_star_has_arms_at_equal_angles():
    kind = ReceiverArray(kind="star", lines=5, stations=4, station_spacing=20.0, azimuth=10.0, depth=-700.0)
    places = receivers(kind).places.reshape(5, 4, 3)
    distance, angle = np.hypot(places[..., 0], places[..., 1]), np.arctan2(places[..., 1], places[..., 0])
    np.testing.assert_allclose(distance, np.broadcast_to([20.0, 40.0, 60.0, 80.0], (5, 4)))
    np.testing.assert_allclose(np.rad2deg(angle[:, 0]) % 360, [10.0, 82.0, 154.0, 226.0, 298.0])
    np.testing.assert_allclose(places[..., 2], -700.0, atol=2.0)


def test_a_station_has_a_row_for_each_of_its_components():
    array = receivers(ReceiverArray(lines=2, stations=3, components=("z", "n", "e")))
    assert array.component.tolist() == ["z", "n", "e"] * 6
    np.testing.assert_array_equal(array.places[0::3], array.places[2::3])


def test_receivers_from_a_file(tmp_path):
    path = tmp_path / "array.csv"
    path.write_text("station, x, y, z\nA1, 1.5, 2, -30\nA2, 4, 5, 6\n")
    array = receivers(ReceiverArray(file=str(path)))
    np.testing.assert_array_equal(array.places, [[1.5, 2, -30], [4, 5, 6]])
    assert array.component.tolist() == ["z", "z"]
    path.write_text("name,x,y,z,component,azimuth\nA1,1,2,3,N,\nfibre,4,5,6,strain,-30\n,7,8,9,,\n")
    array = receivers(ReceiverArray(file=str(path)))
    assert array.component.tolist() == ["n", "strain", "z"]
    assert array.azimuth.tolist() == [0.0, -30.0, 0.0]
    assert array.names.tolist() == ["A1", "fibre", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x,y,z missing from nothing"),
        ("a,y,c\n1,2,3\n", "x,z missing from a,y,c"),
        ("x,y,z\n", "at least one receiver"),
        ("x,y,z\n1,2\n", "line 2: z="),
        ("x,y,z\n1,2,3\n1,two,3\n", "line 3: y=two"),
        ("x,y,z\n1,nan,3\n", "line 2: y=nan: must be finite"),
        ("x,y,z,component\n1,2,3,up\n", "line 2: component=up"),
        ("x,y,z,component\n1,2,3,strain\n", "line 2: azimuth="),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path, text, message):
    path = tmp_path / "array.csv"
    path.write_text(text)
    with pytest.raises(UserError, match="array.csv") as error:
        receivers(ReceiverArray(file=str(path)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.csv"):
        receivers(ReceiverArray(file=str(tmp_path / "nowhere.csv")))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lines": 0}, "array.lines"),
        ({"kind": "cable"}, "array.kind"),
        ({"components": ("z", "x")}, "array.components"),
        ({"components": ()}, "array.components"),
        ({"gauge_length": -1.0}, "array.gauge_length"),
    ],
)
def test_bad_arrays_are_refused(change, field):
    with pytest.raises(UserError, match=field):
        ReceiverArray(**change)


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("prm", 3458),
        ("quickstart", 128),
        ("microseismic_small", 512),
        ("microseismic_1024", 1024),
        ("microseismic_4096", 3458),
        ("das", 1024),
        ("star", 512),
    ],
)
def test_presets_are_what_their_names_say(preset, count):
    array = receivers(PRESETS[preset].array)
    assert len(array.places) == count
    assert set(array.component) == ({"strain"} if preset == "das" else {"z"})
