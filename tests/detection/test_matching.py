"""Detections are matched with events one to one, as well as can be."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seisjax.detection.matching import EventScores, PickScores, Truth, match_times
from seisjax.detection.picks import Picks

optimize = pytest.importorskip("scipy.optimize")
TIMES = st.lists(st.integers(0, 40), max_size=6)


@given(TIMES, TIMES, st.integers(1, 6))
def test_as_many_pairs_as_can_be_and_the_nearest_of_those(truth, found, tolerance):
    pairs = match_times(truth, found, tolerance)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    distance = np.abs(np.subtract.outer(np.array(truth, float), np.array(found, float)))
    # A pair that is too far apart costs more than all that are near together.
    cost = np.where(distance <= tolerance, distance, 1e6).reshape(len(truth), len(found))
    rows, columns = optimize.linear_sum_assignment(cost)
    good = cost[rows, columns] < 1e6
    ours = distance[pairs[:, 0], pairs[:, 1]]
    assert (ours <= tolerance).all()
    assert len(pairs) == good.sum()
    assert ours.sum() == pytest.approx(cost[rows, columns][good].sum())


def test_nothing_is_matched_with_nothing():
    assert match_times([], [1.0]).shape == match_times([1.0], []).shape == (0, 2)


def detection(time, x=math.nan, y=math.nan, z=math.nan):
    return SimpleNamespace(first_arrival=time, x=x, y=y, z=z)


def test_scores_add_up_over_panels():
    scores = EventScores(tolerance=0.2)
    scores.add(Truth.of([1.0, 5.0], 100.0, 0.0, 1500.0, [0.5, 2.0]), [detection(1.1, 130.0, 40.0, 1600.0)], 1800.0)
    scores.add(Truth.of([]), [detection(3.0)], 1800.0)
    scores.add(Truth.of([2.0], snr=[1.0]), [detection(1.95), detection(2.04)], 3600.0)
    result = scores.result()
    assert result["event_precision"] == 2 / 4
    assert result["event_recall"] == 2 / 3
    assert result["event_f1"] == pytest.approx(4 / 7)
    assert result["false_alarms_per_hour"] == 2 / 2
    assert result["onset_error_s"] == pytest.approx((0.1 + 0.04) / 2)
    assert result["events"]["epicentre_error_m"] == pytest.approx(50.0)
    assert result["events"]["depth_error_m"] == pytest.approx(100.0)
    assert [row["recall"] for row in scores.recall_by_snr([0.1, 0.8, 2.0])] == [1.0, 0.5]
    assert [row["num_events"] for row in scores.recall_by_snr([0.1, 0.8, 2.0])] == [1, 2]


def test_scores_that_mean_nothing_are_none():
    result = EventScores().result()
    assert result["event_precision"] is result["event_recall"] is result["onset_error_s"] is None
    assert result["false_alarms_per_hour"] is None


def picks(receivers, times) -> Picks:
    ones = np.ones(len(times), np.float32)
    return Picks(np.array(receivers, np.int32), np.array(times, float), ones, ones, ones.astype(np.int8))


def test_picks_match_on_their_own_receiver_alone():
    scores = PickScores(tolerance=0.2)
    scores.add(picks([0, 0, 1, 2], [1.0, 3.0, 1.0, 1.0]), picks([0, 0, 1, 3], [1.05, 1.1, 0.9, 1.0]))
    scores.add(picks([0], [2.0]), picks([0], [2.5]))
    scores.add(picks([], []), picks([4], [2.5]))
    result = scores.result()
    assert result["pick_precision"] == 2 / 6
    assert result["pick_recall"] == 2 / 5
    assert 0.05 <= result["pick_error_s"] <= 0.1001


def test_pick_scores_that_mean_nothing_are_none():
    assert set(PickScores().result().values()) == {None}
