"""Streaming statistics against numpy, whatever the pieces and their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seisjax.volumes import ArrayStatistics, StreamingStatistics


def of(*pieces: np.ndarray) -> ArrayStatistics:
    statistics = StreamingStatistics()
    for piece in pieces:
        statistics.update(piece)
    return statistics.result()


def rank_error(values: np.ndarray, value: float, quantile: float) -> float:
    """How far the share of values below (or up to) `value` is from `quantile`."""
    below, up_to = np.mean(values < value), np.mean(values <= value)
    return float(max(below - quantile, quantile - up_to, 0.0))


SAMPLES = {
    "normal": lambda rng: rng.normal(size=300_000),
    "far from zero": lambda rng: rng.normal(3000, 800, size=300_000),
    "narrow and far from zero": lambda rng: rng.normal(1e6, 1, size=300_000),
    "many values in a small range": lambda rng: rng.uniform(1.5, 1.6, size=2_000_000),
    "mostly muted": lambda rng: rng.normal(size=300_000) * (rng.random(300_000) < 0.3),
    "clipped": lambda rng: np.clip(rng.normal(size=300_000), -0.5, 0.7),
    "heavy tails": lambda rng: rng.standard_cauchy(300_000) * 1e3,
    "tiny": lambda rng: rng.normal(size=300_000) * 1e-12,
    "8 bits": lambda rng: np.clip(rng.normal(0, 30, size=300_000), -128, 127).astype(np.int8),
    "constant": lambda rng: np.full(1000, 1234.567),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_as_numpy_says(name: str) -> None:
    values = SAMPLES[name](np.random.default_rng(0)).astype(np.float32)
    found, wide = of(values.reshape(-1, 10)), values.astype(np.float64)
    assert found.count == values.size
    assert found.mean == pytest.approx(wide.mean(), rel=1e-6, abs=1e-9 * wide.std())
    assert found.std == pytest.approx(wide.std(), rel=1e-6)
    assert (found.min, found.max) == (values.min(), values.max())
    for value, quantile in ((found.p0_5, 0.005), (found.p50, 0.5), (found.p99_5, 0.995)):
        assert rank_error(wide, value, quantile) < 1e-4
    assert found.mad is not None
    distances = np.abs(wide - np.median(wide))
    exact = found.mad == pytest.approx(np.median(distances), rel=1e-6, abs=0)  # where many samples have one value
    assert exact or rank_error(distances, found.mad, 0.5) < 1e-4
    assert (found.zeros, found.at_min) == ((wide == 0).sum(), (wide == wide.min()).sum())
    assert found.at_max == (wide == wide.max()).sum()
    assert sum(found.histogram) == values.size


def test_few_values_give_exact_quantiles() -> None:
    values = np.random.default_rng(0).integers(-30_000, 30_000, 100_000).astype(np.int16)
    statistics = StreamingStatistics()
    statistics.update(values)
    for share in (0, 0.005, 0.3, 0.5, 0.995, 1):
        assert statistics.quantile(share) == pytest.approx(np.quantile(values, share), abs=1e-9)
    assert statistics.median_absolute_deviation() == np.median(np.abs(values - np.median(values)))


def test_a_large_mean_does_not_drown_the_deviation() -> None:
    values = 1e6 + np.arange(2_000_000) % 7  # more than one block
    found = of(values)
    assert found.std == pytest.approx(values.std(), rel=1e-6)


FROM_THE_SAMPLES_ALONE = (
    *("count", "non_finite", "min", "max", "p0_5", "p50", "p99_5", "histogram"),
    *("mad", "zeros", "at_min", "at_max"),
)

pieces = st.lists(
    hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("max_keys", [2**17, 12])
@settings(max_examples=30, deadline=None)
@given(pieces=pieces, order=st.randoms(use_true_random=False))
def test_order_and_grouping_do_not_matter(max_keys: int, pieces: list[np.ndarray], order) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seisjax.volumes.statistics._MAX_KEYS", max_keys)
        _check_order_and_grouping(pieces, order)


def _check_order_and_grouping(pieces: list[np.ndarray], order) -> None:
    straight = of(*pieces)
    shuffled = list(pieces)
    order.shuffle(shuffled)
    half = len(shuffled) // 2
    first, second = StreamingStatistics(), StreamingStatistics()
    for piece in shuffled[:half]:
        first.update(piece)
    for piece in shuffled[half:]:
        second.update(piece)
    first.merge(second)
    merged = first.result()
    for name in FROM_THE_SAMPLES_ALONE:
        assert getattr(merged, name) == getattr(straight, name)
    scale = max(abs(straight.min), abs(straight.max), 1e-30)
    assert merged.mean == pytest.approx(straight.mean, rel=1e-12, abs=1e-12 * scale)
    assert merged.std == pytest.approx(straight.std, rel=1e-9, abs=1e-9 * scale)


def test_parts_in_any_order_are_the_same_bits_once_their_moments_are_ordered() -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.normal(1000 * i, 10**i, 200_000).astype(np.float32) for i in range(6)]
    straight, moments = StreamingStatistics(), []
    for piece in pieces:
        moments.append(straight.update(piece))
    parts = [StreamingStatistics() for _ in range(3)]
    for i in (5, 3, 0, 4, 2, 1):
        parts[i % 3].update(pieces[i])
    total = StreamingStatistics()
    for part in parts:
        total.merge(StreamingStatistics.from_state(part.state()))
    assert total.result() != straight.result()  # the last bits of the mean
    total.set_moments([m.array() for m in moments])
    assert total.result() == straight.result()
    with pytest.raises(ValueError, match="pieces of 1000000 samples where 1200000 were seen"):
        total.set_moments(moments[1:])


def test_a_state_goes_on_where_it_was_taken() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 300_000)).astype(np.float32)
    straight, broken = StreamingStatistics(), StreamingStatistics()
    straight.update(first)
    broken.update(first)
    state = broken.state()
    assert sum(array.nbytes for array in state.values()) < 2e6
    broken = StreamingStatistics.from_state(state)
    broken.update(second)
    straight.update(second)
    assert broken.result() == straight.result()
    assert StreamingStatistics.from_state(StreamingStatistics().state()).result() == StreamingStatistics().result()


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    found = of(np.array([1.0, np.nan, 3.0, np.inf, -np.inf, 1e300]))
    assert (found.count, found.non_finite) == (2, 4)
    assert (found.mean, found.min, found.max) == (2, 1, 3)


def test_nothing_finite() -> None:
    found = of(np.full(3, np.nan))
    assert (found.count, found.non_finite, found.std) == (0, 3, 0)
    assert ArrayStatistics.from_attributes(found.attributes()) == found


def test_attributes_bring_the_statistics_back() -> None:
    found = of(np.random.default_rng(0).normal(size=1000))
    assert ArrayStatistics.from_attributes(found.attributes()) == found
    assert ArrayStatistics.from_attributes({}) is None


def test_statistics_of_an_earlier_day_still_open() -> None:
    attributes = of(np.arange(10.0)).attributes()
    for name in ("mad", "zeros", "at_min", "at_max"):
        del attributes["statistics"][name]
    found = ArrayStatistics.from_attributes(attributes)
    assert found is not None
    assert (found.p50, found.mad, found.at_max) == (4.5, None, None)
    assert repr(found) == repr(of(np.arange(10.0)))  # fingerprints are made of it
