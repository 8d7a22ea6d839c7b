"""Picks of horizons lie where the classes part."""

import numpy as np
import pytest

from seisjax.interpretation.horizons import pick_horizon

SAMPLE = np.arange(60)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_a_horizon_comes_back_to_a_fraction_of_a_sample():
    depth = np.linspace(10.0, 45.0, 200)
    below = sigmoid((SAMPLE - depth[:, None]) / 2.5).astype(np.float32)
    picks = pick_horizon(1 - below, below)
    np.testing.assert_allclose(picks.position, depth, atol=0.02)
    assert set(picks.crossings) == {1}
    assert picks.confidence.min() > 0.96


def test_classes_alone_give_half_a_sample():
    depth = np.linspace(10.0, 45.0, 200)
    below = (depth[:, None] <= SAMPLE).astype(np.float32)
    picks = pick_horizon(1 - below, below)
    np.testing.assert_allclose(picks.position, depth, atol=0.5)
    np.testing.assert_array_equal(picks.confidence, 1)


def test_a_class_between_them_is_no_contact():
    """From above: a, c, b in the first trace; a, b, c, a in the second, where c is not sure of itself."""
    a, b = np.zeros((2, 2, 60), np.float32)
    a[0, :20], b[0, 40:] = 1, 1
    a[1, :20], b[1, 20:30], a[1, 50:] = 0.9, 0.9, 1
    b[1, 30:50] = 0.01 * (np.arange(20) % 2)  # overtakes a again and again
    picks = pick_horizon(a, b)
    np.testing.assert_array_equal(picks.crossings, [0, 1])
    assert np.isnan(picks.position[0])
    assert np.isnan(picks.confidence[0])
    assert picks.position[1] == 19.5


def test_of_several_crossings_the_clearest_is_taken():
    below = np.full((1, 60), 0.1, np.float32)
    below[0, 10:14], below[0, 30:] = 0.7, 0.95
    picks = pick_horizon(1 - below, below)
    assert picks.crossings.tolist() == [2]
    assert picks.position[0] == pytest.approx(29 + 0.8 / 1.7)
    assert picks.confidence[0] == pytest.approx(0.8)


def test_gaps_and_upside_down_layers_have_no_pick():
    below = np.zeros((3, 60), np.float32)
    below[0, :30] = 1  # the wrong way round
    below[1, 30:] = 1
    below[1, 28:32] = np.nan
    below[2] = np.nan
    picks = pick_horizon(1 - below, below)
    np.testing.assert_array_equal(picks.crossings, 0)
    assert np.isnan(picks.position).all()
    assert pick_horizon(below[:0], below[:0]).position.shape == (0,)
