"""Boundary errors against a search by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seisjax.boundaries import BoundaryError
from seisjax.conventions import IGNORE

_classes = st.sampled_from([0, 0, 0, 1, 1, 2, IGNORE])


def boundaries(trace: np.ndarray) -> list[tuple[int, tuple[int, int]]]:
    pairs = [(i, (int(a), int(b))) for i, (a, b) in enumerate(zip(trace[:-1], trace[1:], strict=True))]
    return [(i, (a, b)) for i, (a, b) in pairs if a != b and IGNORE not in (a, b)]


def by_hand(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    distances, missed = [], 0
    for true, guess in zip(truth, predicted, strict=True):
        found = boundaries(np.where(true == IGNORE, IGNORE, guess))
        for i, kind in boundaries(true):
            near = [abs(i - j) for j, other in found if other == kind]
            if near:
                distances.append(min(near))
            else:
                missed += 1
    if not distances:
        return {"mean": None, "median": None, "p90": None, "missed": 1.0 if missed else None}
    quantiles = np.quantile(distances, [0.5, 0.9], method="inverted_cdf").tolist()
    share = missed / (missed + len(distances))
    return {"mean": float(np.mean(distances)), "median": quantiles[0], "p90": quantiles[1], "missed": share}


@settings(max_examples=60, deadline=None)
@given(
    truth=arrays(np.uint8, (5, 12), elements=_classes),
    predicted=arrays(np.uint8, (5, 12), elements=st.integers(0, 2)),
)
def test_equals_a_search_by_hand(truth, predicted):
    error = BoundaryError(20)
    error.update(truth[:2], predicted[:2])
    error.update(truth[2:].reshape(3, 1, 12), predicted[2:].reshape(3, 1, 12))
    assert error.result() == pytest.approx(by_hand(truth, predicted))


def test_the_kind_of_a_boundary_has_a_direction():
    error = BoundaryError(6)
    error.update(np.array([[0, 0, 1, 1, 1, 1]], np.uint8), np.array([[1, 1, 0, 0, 0, 1]], np.uint8))
    assert error.result() == {"mean": 3.0, "median": 3, "p90": 3, "missed": 0.0}
    error.update(np.array([[0, 0, 1, 1, 1, 1]], np.uint8), np.array([[1, 1, 1, 0, 0, 0]], np.uint8))
    assert error.result()["missed"] == 0.5
