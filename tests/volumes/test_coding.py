"""What stands for no data where samples are handed over as they are stored."""

import numpy as np
import pytest

from seisjax.volumes import Coding


@pytest.mark.parametrize(
    ("missing", "fill"),
    [
        ((), None),
        ((-128,), -128),
        ((-128.0, -128), -128),
        ((-128, -127), None),  # two numbers: nobody who fills in one of them looks for the other
        ((-128, -999, 0.5, np.nan), -128),  # the others do not occur
    ],
)
def test_one_number_alone_stands_for_no_data(missing: tuple[float, ...], fill: int | None):
    assert Coding(scale=0.5, missing=missing).fill(np.dtype(np.int8)) == fill
