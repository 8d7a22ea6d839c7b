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
        assert rank_error(wide, value, quantile) < 1e-3
    assert sum(found.histogram) == values.size


def test_a_large_mean_does_not_drown_the_deviation() -> None:
    values = 1e6 + np.arange(2_000_000) % 7  # more than one block
    found = of(values)
    assert found.std == pytest.approx(values.std(), rel=1e-6)


pieces = st.lists(
    hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))),
    min_size=1,
    max_size=5,
)


@settings(max_examples=30, deadline=None)
@given(pieces=pieces, order=st.randoms(use_true_random=False))
def test_order_and_grouping_do_not_matter(pieces: list[np.ndarray], order) -> None:
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
    for name in ("count", "non_finite", "min", "max", "p0_5", "p50", "p99_5", "histogram"):
        assert getattr(merged, name) == getattr(straight, name)
    scale = max(abs(straight.min), abs(straight.max), 1e-30)
    assert merged.mean == pytest.approx(straight.mean, rel=1e-12, abs=1e-12 * scale)
    assert merged.std == pytest.approx(straight.std, rel=1e-9, abs=1e-9 * scale)


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
