"""Numbers and names as text."""

import csv

import numpy as np

from seisjax.interpretation.tables import numbers, write_table


def test_numbers_are_short_and_exact_enough():
    assert numbers(np.array([1.0, 0.5, -0.0000001, np.nan, 1234567.875, 100.0]), 3) == [
        *("1", "0.5", "0", "", "1234567.875", "100")
    ]
    assert numbers(np.array([7, 2**40])) == ["7", str(2**40)]


def test_names_with_commas_stay_one_field(tmp_path):
    write_table(tmp_path / "t.csv", ["a,b", 'c"d'], [[["1", "2"], ["x", "y"]], [["3"], ["z"]]])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a,b", 'c"d'], ["1", "x"], ["2", "y"], ["3", "z"]]
