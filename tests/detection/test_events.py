"""Picks become events: grouped, parted from each other and from what is none, and located."""

import numpy as np
import pytest

from seisjax.detection.events import Association, associate
from seisjax.detection.picks import P, S, join_picks


def noise_picks(make, rng: np.random.Generator, number: int, seconds: float, num_receivers: int = 120):
    return make.picks_at(rng.uniform(0, seconds, number), rng.integers(0, num_receivers, number))


SOURCE = np.array([4.3e5 + 800.0, 6.5e6 + 900.0, 1700.0])


def test_an_event_is_timed_and_located(make, places, locator):
    (picks,) = make.event_picks(places, SOURCE, 2.0)
    (event,) = associate(picks, 120, 10.0, locator=locator)
    assert event.first_arrival == pytest.approx(picks.time.min(), abs=0.005)
    assert abs(event.origin_time - 2.0) < 0.15
    assert np.hypot(event.x - SOURCE[0], event.y - SOURCE[1]) < 40.0
    assert abs(event.z - SOURCE[2]) < 350.0
    assert event.num_receivers == event.num_picks == 120
    assert event.rms < 0.01
    assert (event.picks.phase == P).all()


def test_false_and_missing_picks_do_little_harm(make, places, locator):
    rng = np.random.default_rng(0)
    (picks,) = make.event_picks(places, SOURCE, 2.0)
    late = picks._replace(time=picks.time + rng.normal(0, 0.02, picks.number)).where(rng.random(120) < 0.5)
    (event,) = associate(join_picks([late, noise_picks(make, rng, 150, 10.0)]), 120, 10.0, locator=locator)
    assert event.first_arrival == pytest.approx(picks.time.min(), abs=0.05)
    assert np.hypot(event.x - SOURCE[0], event.y - SOURCE[1]) < 150.0


def test_events_of_one_panel_are_told_apart(make, places, locator):
    other = SOURCE + [700.0, 900.0, 0.0]
    (a,), (b,) = make.event_picks(places, SOURCE, 2.0), make.event_picks(places, other, 2.6)
    events = associate(join_picks([a, b]), 120, 10.0, locator=locator)
    assert [event.first_arrival for event in events] == pytest.approx([a.time.min(), b.time.min()], abs=0.01)
    assert np.hypot(events[1].x - other[0], events[1].y - other[1]) < 60.0


@pytest.mark.parametrize("named", [False, True])
def test_s_belongs_to_the_event_of_its_p(make, places, locator, named):
    picks = join_picks(make.event_picks(places, SOURCE, 2.0, s=True, named=named))
    (event,) = associate(picks, 120, 10.0, locator=locator)
    assert (event.picks.phase == S).sum() > 100
    assert event.num_receivers == 120


def test_s_of_other_events_moves_no_place(make, places, locator):
    other = SOURCE + [-500.0, 700.0, 100.0]
    parts = [make.event_picks(places, *event, s=True, named=True) for event in ((SOURCE, 2.0), (other, 22.0))]
    alone = [associate(join_picks(part), 120, 40.0, locator=locator)[0] for part in parts]
    together = associate(join_picks(pick for part in parts for pick in part), 120, 40.0, locator=locator)
    places_of = [np.array([event[2:5] for event in events]) for events in (together, alone)]
    np.testing.assert_allclose(*places_of, atol=20.0)


@pytest.mark.parametrize("slowness", [(0.0, 0.0), (1 / 1490.0, 0.0), (2e-4, -5e-4)])
def test_a_plane_wave_is_no_event(make, places, locator, slowness):
    picks = make.picks_at(3.0 + (places[:, :2] - places[:, :2].mean(axis=0)) @ np.array(slowness))
    assert associate(picks, 120, 10.0, locator=locator) == []


def test_an_event_is_found_under_a_plane_wave(make, places, locator):
    wave = make.picks_at(3.0 + (places[:, 0] - places[:, 0].mean()) / 1490.0)
    (picks,) = make.event_picks(places, SOURCE, 2.0)
    (event,) = associate(join_picks([wave, picks]), 120, 10.0, locator=locator)
    assert event.first_arrival == pytest.approx(picks.time.min(), abs=0.01)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("number", [5, 150, 1500])
def test_picks_at_random_are_no_event(make, locator, known, number):
    picks = noise_picks(make, np.random.default_rng(number), number, 10.0)
    assert associate(picks, 120, 10.0, locator=locator if known else None) == []


def test_without_places_events_are_told_apart_by_time(make):
    rng = np.random.default_rng(1)
    onsets = [np.sort(start + 0.4 * rng.random(40)) for start in (2.0, 6.0)]
    picks = join_picks(
        [*(make.picks_at(times) for times in onsets), make.picks_at(np.array([0.3, 1.6, 5.1]), np.array([5, 9, 7]))]
    )
    events = associate(picks, 40, 10.0)
    assert [event.first_arrival for event in events] == pytest.approx([2.0, 6.0], abs=0.05)
    assert all(event.num_receivers >= 38 for event in events)
    assert np.isnan([events[0].x, events[0].origin_time]).all()


@pytest.mark.parametrize(("number", "earlier"), [(40, 40), (40, 25), (25, 40)])
def test_without_places_an_event_holds_the_picks_of_its_window_and_no_more(make, number, earlier):
    rng = np.random.default_rng(2)
    first, second = (np.sort(start + 0.2 * rng.random(n)) for start, n in ((2.0, earlier), (3.1, number)))
    events = associate(join_picks([make.picks_at(first), make.picks_at(second)]), 40, 10.0, Association(window=1.0))
    assert [event.first_arrival for event in events] == pytest.approx([2.0, 3.1], abs=0.05)
    assert [event.num_receivers for event in events] == [earlier, number]
    assert (
        len(associate(join_picks([make.picks_at(first), make.picks_at(second)]), 40, 10.0, Association(window=1.4)))
        == 1
    )


def test_neighbours_must_agree_where_the_moveout_is_bounded(make):
    line = make.picks_at(2.0 + 0.02 * np.arange(40))
    scattered = make.picks_at(np.random.default_rng(2).permutation(line.time))
    options = Association(moveout=0.03, min_receivers=0.5)
    assert len(associate(line, 40, 10.0, options)) == 1
    assert len(associate(scattered, 40, 10.0)) == 1
    assert associate(scattered, 40, 10.0, options) == []


def test_receivers_needed_are_a_share_or_a_number():
    assert Association(min_receivers=0.1).needed(120) == 12
    assert Association(min_receivers=30).needed(120) == 30
    assert Association(min_receivers=0.1).needed(12) == 4
    assert Association(min_receivers=0.1).needed(2) == 2


def test_travel_times_are_those_of_the_textbook(make, places, locator, ground):
    ours = locator.times((SOURCE - locator.centre)[None])[0]
    np.testing.assert_allclose(ours, make.travel_times(places, SOURCE, *ground.p.middle), atol=1e-5)
