"""Labels of arrivals."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.synthetic.labels import onset_labels
from seisjax.synthetic.parameters import QUICKSTART

SMALL = replace(QUICKSTART, num_samples=200, classes="onset", onset_sigma=0.03, label_floor=0.5)  # every 4 ms
TIME = 0.004 * np.arange(200)
# P and S of three receivers: both seen; S too weak; S 0.02 s after P.
ONSET = jnp.array([[0.2, 0.3, 0.4], [0.5, 0.6, 0.42]])
PEAK = jnp.array([[3.0, 3.0, 3.0], [3.0, 0.4, 3.0]])
DURATION = jnp.full((2, 3), 0.098)


def label(parameters, present=True, onset=ONSET):
    labels = np.asarray(onset_labels(parameters, PEAK, jnp.ones(3), onset, DURATION, jnp.array(present)))
    assert labels.shape == (3, 200)
    assert labels.dtype == np.uint8
    return labels


def bump(onset):
    return 100 * np.exp(-((TIME - onset) ** 2) / (2 * 0.03**2))


def test_onset_labels_are_100_times_a_gaussian_around_each_onset():
    labels = label(SMALL)
    both = np.maximum(bump(0.2), bump(0.5))
    close = np.maximum(bump(0.4), bump(0.42))
    np.testing.assert_allclose(labels, [both, bump(0.3), close], atol=0.51)
    assert labels[0, 50] == labels[1, 75] == 100


def test_an_onset_outside_the_panel_leaves_its_flank_or_nothing():
    labels = label(SMALL, onset=ONSET.at[0].set(jnp.array([-0.03, -1.0, 0.81])).at[1].set(5.0))
    np.testing.assert_allclose(labels, [bump(-0.03), 0 * TIME, bump(0.81)], atol=0.51)
    assert labels[0, 0] == 61
    assert not labels[1].any()


@pytest.mark.parametrize("classes", ["event", "phase", "onset"])
def test_without_an_event_nothing_is_labelled(classes):
    assert not label(replace(SMALL, classes=classes), present=False).any()


def test_later_phases_lie_on_top_and_weak_ones_are_left_out():
    labels = label(replace(SMALL, classes="phase"))
    assert set(np.unique(labels)) == {0, 1, 2}
    assert set(np.unique(labels[1])) == {0, 1}
    np.testing.assert_array_equal(labels[2] == 2, (TIME > 0.4199) & (TIME < 0.518))
    np.testing.assert_array_equal(labels > 0, label(replace(SMALL, classes="event")) > 0)


def test_what_labels_stand_for_is_said():
    assert (SMALL.class_names, SMALL.label_scale) == (("noise", "onset"), 100)
    assert replace(SMALL, classes="phase").label_scale == 0
    with pytest.raises(UserError, match="onset_sigma"):
        replace(SMALL, onset_sigma=0.0)
