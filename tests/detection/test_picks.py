"""Probabilities of traces become picks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seisjax.detection.events import Association
from seisjax.detection.picks import P, Picks, S, find_picks, join_picks, receivers_needed, runs
from seisjax.detection.sta_lta import StaLta


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=4), st.integers(0, 3))
def test_runs_are_what_a_loop_finds(rows, join):
    expected = []
    for receiver, row in enumerate(rows):
        found = []
        for k, value in enumerate(row):
            if value and found and k - found[-1][1] <= join:
                found[-1][1] = k + 1
            elif value:
                found.append([k, k + 1])
        expected += [(receiver, a, b) for a, b in found]
    result = runs(np.array(rows), join)
    assert list(zip(*(column.tolist() for column in result), strict=True)) == expected


def test_a_pick_has_onset_probability_and_duration():
    trace = np.array([[0.0, 0.2, 0.6, 0.9, 0.7, 0.1, 0.0], [0.8, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0]])
    picks = find_picks(trace, 0.01, phase=P, start=5.0)
    assert picks.receiver.tolist() == [0, 1]
    # Half way from 0.2 (sample 1) to 0.6 (sample 2) comes 0.4; 0.5 is three quarters of the way.
    np.testing.assert_allclose(picks.time, [5.0175, 5.0])
    np.testing.assert_allclose(picks.probability, [0.9, 0.8], rtol=1e-6)
    np.testing.assert_allclose(picks.duration, [0.03, 0.02], rtol=1e-6)
    assert picks.phase.tolist() == [P, P]


def test_a_step_is_picked_half_a_sample_before_its_first_sample():
    trace = np.zeros((1, 50))
    trace[0, 20:30] = 1.0
    assert find_picks(trace, 0.004).time[0] == pytest.approx(19.5 * 0.004)


@given(st.floats(5.0, 44.0))
def test_the_top_of_a_gaussian_is_found_between_samples(top):
    trace = np.exp(-((np.arange(50) - top) ** 2) / (2 * 3.0**2))[None]
    picks = find_picks(trace, 0.002, peaks=True)
    assert picks.number == 1
    assert picks.time[0] == pytest.approx(top * 0.002, abs=2e-6)


def test_short_gaps_are_closed_and_short_picks_left_out():
    trace = np.zeros((1, 100))
    trace[0, [*range(10, 20), *range(22, 30), 60]] = 0.9
    assert find_picks(trace, 0.01, join=0.0).number == 3
    picks = find_picks(trace, 0.01, join=0.02, min_duration=0.05)
    np.testing.assert_allclose(picks.duration, [0.2], rtol=1e-6)


def test_no_data_is_no_pick():
    trace = np.full((2, 10), np.nan)
    trace[1, 4:] = 0.9
    picks = find_picks(trace, 0.01)
    assert picks.receiver.tolist() == [1]
    assert picks.time[0] == pytest.approx(0.04, abs=0.0101)
    assert find_picks(trace[:1], 0.01).number == 0


def test_lists_are_joined_with_their_types():
    one = find_picks(np.array([[0.0, 1.0]]), 0.01, phase=S)
    both = join_picks([one, Picks.none(), one])
    assert both.number == 2
    assert [values.dtype for values in both] == [values.dtype for values in Picks.none()]


@pytest.mark.parametrize(
    ("share", "live", "number"), [(0.07, 100, 7), (0.1, 124, 13), (0.1, 3, 1), (0.5, 0, 1), (3, 100, 3)]
)
def test_a_share_of_receivers_is_at_least_that_share(share, live, number):
    assert receivers_needed(share, live) == number
    assert Association(share, fewest=0).needed(live) == StaLta(min_receivers=share).needed(live) == number
