"""Receiver geometry."""

import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.parameters import ReceiverArray


def test_cables_run_along_y_one_after_the_other():
    places = receivers(ReceiverArray(lines=3, stations=5)).places.reshape(3, 5, 3)
    np.testing.assert_allclose(np.diff(places[..., 0].mean(axis=1)), 300.0, atol=20.0)
    assert (np.diff(places[..., 1], axis=1) > 10.0).all()
    np.testing.assert_allclose(places[..., 2], 130.0, atol=2.0)
    np.testing.assert_array_equal(places, receivers(ReceiverArray(lines=3, stations=5)).places.reshape(3, 5, 3))


def test_receivers_from_a_file(tmp_path):
    path = tmp_path / "array.csv"
    path.write_text("station, x, y, z\nA1, 1.5, 2, -30\nA2, 4, 5, 6\n")
    np.testing.assert_array_equal(receivers(ReceiverArray(file=str(path))).places, [[1.5, 2, -30], [4, 5, 6]])


@pytest.mark.parametrize(
    "text", ["", "a,b,c\n1,2,3\n", "x,y,z\n", "x,y,z\n1,2\n", "x,y,z\n1,two,3\n", "x,y,z\n1,nan,3\n"]
)
def test_a_bad_file_is_named(tmp_path, text):
    path = tmp_path / "array.csv"
    path.write_text(text)
    with pytest.raises(UserError, match="array.csv"):
        receivers(ReceiverArray(file=str(path)))


def test_a_missing_file_and_an_empty_array_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere.csv"):
        receivers(ReceiverArray(file=str(tmp_path / "nowhere.csv")))
    with pytest.raises(UserError, match="at least 1"):
        receivers(ReceiverArray(lines=0))
