"""Noise out of the user's own recording."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.synthetic import noise, recorded
from seisjax.synthetic.parameters import Noise

INTERVAL = 0.004  # s
UNIT = (1.0, 1.0)
OWN = Noise(coloured_level=(0.0, 0.0), swell_level=(0.0, 0.0), recording="own.zarr")
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(6, 900)).astype(np.float32) * np.array([[1], [2], [3], [4], [5], [6]], np.float32)
PLACES = np.zeros((6, 3))


def background(what, recording, places=PLACES, num_samples=200, seed=0):
    ready = recorded.prepared(what, recording, len(places), num_samples)
    draw = jax.jit(lambda key: noise.background(what, places, num_samples, INTERVAL, key, ready))
    return np.asarray(draw(jax.random.key(seed))), ready


def starts(trace, row):
    """Where `trace` lies in `row`."""
    windows = np.lib.stride_tricks.sliding_window_view(row, len(trace))
    return np.flatnonzero((windows == trace).all(axis=1))


def test_a_cut_is_the_recording_at_one_random_time():
    found = set()
    for seed in range(3):
        traces, ready = background(OWN, ROWS, seed=seed)
        times = [starts(trace, row) for trace, row in zip(traces, ready, strict=True)]
        assert {len(t) for t in times} == {1}
        assert len({int(t[0]) for t in times}) == 1
        found.add(int(times[0][0]))
    assert len(found) == 3
    np.testing.assert_array_equal(background(OWN, ROWS)[0], background(OWN, ROWS)[0])


def test_an_average_receiver_has_the_level_and_relations_stay():
    traces, ready = background(replace(OWN, recording_level=(2.5, 2.5)), ROWS)
    np.testing.assert_allclose(ready / ready[0, 0], ROWS / ROWS[0, 0], rtol=1e-5)
    assert np.median((traces**2).mean(axis=1)) ** 0.5 == pytest.approx(2.5, rel=0.1)


def test_a_recording_as_long_as_a_panel_is_used_whole():
    traces, ready = background(OWN, ROWS[:, :200])
    np.testing.assert_array_equal(traces, ready)


def test_drawn_rows_come_from_the_recording_at_any_time():
    traces, ready = background(replace(OWN, recording_rows="drawn"), ROWS, places=np.zeros((20, 3)))
    sources = [(i, t) for trace in traces for i, row in enumerate(ready) for t in starts(trace, row)]
    assert len(sources) == 20
    assert len({t for _, t in sources}) > 10
    assert len({i for i, _ in sources}) > 3


def test_gaps_are_zero_and_do_not_enter_the_level():
    gappy = ROWS.copy()
    gappy[0] = np.nan
    gappy[1, 100:800] = np.nan
    gappy[2, 5] = np.inf
    traces, ready = background(OWN, gappy)
    assert np.isfinite(ready).all()
    assert not ready[0].any()
    assert not ready[1, 100:800].any()
    assert not traces[0].any()
    assert (ready[3:] ** 2).mean(axis=1)[1] ** 0.5 == pytest.approx(5 / 4, rel=0.1)


def test_noise_adds_to_other_kinds():
    both = background(replace(OWN, coloured_level=UNIT), ROWS)[0]
    alone = background(OWN, ROWS)[0]
    assert (both - alone).std() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("length", [400, 200])
def test_noise_that_resembles_a_recording_has_its_covariance_in_space_and_time(length):
    shared, own = RANDOM.normal(size=(1, 60_001)), RANDOM.normal(size=(6, 60_001))
    white = np.sqrt(0.5) * shared + np.sqrt(0.5) * own  # any two receivers: correlation 1/2
    coloured = (white[:, 1:] + white[:, :-1]).astype(np.float32)  # at a lag of one sample: 1/2, of two: 0
    what = replace(OWN, recording_use="covariance", recording_cuts=32)
    ready = recorded.prepared(what, coloured, 6, length)
    one = jax.jit(lambda key: noise.background(what, PLACES, length, INTERVAL, key, ready))
    traces = np.stack([one(key) for key in jax.random.split(jax.random.key(0), 60)])

    def covariance(lag):
        return np.einsum("prt,pst->rs", traces[..., lag:], traces[..., : length - lag]) / traces[:, 0, lag:].size

    space = np.where(np.eye(6), 1.0, 0.5)
    np.testing.assert_allclose(covariance(0), space, atol=0.08)
    np.testing.assert_allclose(covariance(1), 0.5 * space, atol=0.08)
    np.testing.assert_allclose(covariance(2), 0.0, atol=0.08)
    assert (traces[..., :50] ** 2).mean() == pytest.approx((traces[..., -50:] ** 2).mean(), rel=0.15)  # stationary
    assert len({float(trace[0, 0]) for trace in traces}) == 60


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        (ROWS[:, :199], "199 samples"),
        (ROWS[:5], "5 receivers"),
        (np.full((6, 300), np.nan, np.float32), "no sample other than 0"),
        (ROWS[0], "1 axes"),
    ],
)
def test_recordings_that_do_not_serve_are_refused(recording, message):
    with pytest.raises(UserError, match=f"noise.recording=own.zarr: .*{message}"):
        recorded.prepared(OWN, recording, 6, 200)


def test_a_recording_that_was_not_read_is_missed():
    with pytest.raises(UserError, match="noise.recording=own.zarr: was not read"):
        noise.background(OWN, PLACES, 200, INTERVAL, jax.random.key(0))
