"""Medians by counting equal those by sorting."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seisjax.synthetic.medians import median_magnitude

median = jax.jit(median_magnitude)
VALUES = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@pytest.mark.parametrize("count", [1, 2, 7, 8])
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_it_is_the_median_of_odd_and_even_rows_with_ties(count, data):
    ties = st.sampled_from([0.0, -0.0, 1.5, -1.5])
    values = data.draw(arrays(np.float32, (3, count), elements=st.one_of(VALUES, ties)))
    expected = np.median(np.abs(values.astype(np.float64)), axis=-1)
    np.testing.assert_allclose(median(values), expected, rtol=1e-6, atol=1e-37)  # XLA takes subnormals as 0


def test_it_works_on_rows_of_rows():
    values = np.random.default_rng(0).normal(size=(2, 5, 100)).astype(np.float32)
    found = jax.jit(jax.vmap(median_magnitude))(values)
    np.testing.assert_allclose(found, np.median(np.abs(values), axis=-1), rtol=1e-6)
