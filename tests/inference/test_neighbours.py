"""Sections predicted with their neighbours: each gets what the network says of it and of those beside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.geometry import Box
from seisjax.inference.planning import forecast

SIDES = {"inline": (1, 14, 22), "crossline": (13, 1, 22), "time": (13, 14, 1)}


def weighted(images: np.ndarray) -> np.ndarray:
    """Two classes: what is said of a sample depends on the channels at its place alone, and on which is which."""
    known = np.where(np.isnan(images), 10.0, images)
    score = 1 / (1 + np.exp(-(known * np.arange(1, images.shape[-1] + 1)).sum(-1)))
    return np.stack([score, 1 - score], axis=-1).astype(np.float32)


def by_hand(values: np.ndarray, axis: int, neighbours: int) -> np.ndarray:
    """Section by section: what lies beside the volume is no data."""
    wide = np.pad(values, [(neighbours * (i == axis),) * 2 for i in range(3)], constant_values=np.nan)
    beside = [np.take(wide, np.arange(values.shape[axis]) + k, axis) for k in range(2 * neighbours + 1)]
    return np.moveaxis(weighted(np.stack(beside, axis=-1)), -1, 0)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, (13, 14, 22)).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(
    names=st.permutations(list(SIDES)).flatmap(lambda names: st.integers(1, 3).map(lambda n: names[:n])),
    neighbours=st.integers(0, 3),
    flips=st.sets(st.integers(0, 2)),
    block_bytes=st.sampled_from([1, 5000, 10**7]),
)
def test_every_section_of_every_direction(names, neighbours, flips, block_bytes, values, survey, predicted, contents):
    window = [6, 6]
    window.insert(list(SIDES).index(names[0]), 1)
    output = predicted(
        survey(values, chunk=(4, 4, 8)),
        weighted,
        window=tuple(window),
        padded=tuple(window),
        multiple=1,
        directions=tuple(names) if len(names) > 1 else (),
        neighbours=neighbours,
        tta_axes=tuple(flips),
        block_bytes=block_bytes,
    )
    found = contents(output)["pred_probability"]
    expected = []
    for name in names:
        axis = list(SIDES).index(name)
        once = by_hand(values, axis, neighbours)
        turned = np.flip(by_hand(np.flip(values, axis), axis, neighbours), 1 + axis)
        expected.append((once + turned) / 2 if axis in flips else once)
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=0, atol=1e-6)


def test_a_section_without_data_is_not_predicted_and_those_beside_it_know(values, survey, predicted, contents):
    values = values.copy()
    values[5] = np.nan
    window = {"window": (1, 14, 22), "padded": (1, 14, 22), "multiple": 1, "neighbours": 1}
    result = contents(predicted(survey(values), weighted, **window))
    assert (result["pred_class"][5] == 255).all()
    expected = by_hand(values, 0, 1)
    rest = [i for i in range(13) if i != 5]
    np.testing.assert_allclose(result["pred_probability"][:, rest], expected[:, rest], rtol=0, atol=1e-6)


def test_the_forecast_counts_what_is_read_beside(values, survey, task):
    volume = survey(values, chunk=(1, 14, 22))
    window = {"window": (1, 14, 22), "padded": (1, 14, 22), "multiple": 1, "box": Box((4, 0, 0), (2, 14, 22))}
    plain, wide = (forecast(task(volume, **window, neighbours=n)) for n in (0, 2))
    assert wide.read_bytes == plain.read_bytes + 4 * 14 * 22 * 4
