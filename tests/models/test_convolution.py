"""Convolutions in the formulation of each platform: the same numbers, and no more than each device's own."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from seisjax.models.convolution import convolution

pytestmark = pytest.mark.quick_compiler


def plain(x, kernel):
    spatial = "DHW"[-(x.ndim - 2) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        (1,) * (x.ndim - 2),
        "SAME",
        dimension_numbers=("N" + spatial + "C", spatial + "IO", "N" + spatial + "C"),
        precision=lax.Precision.HIGHEST,
    )


@st.composite
def cases(draw):
    ndim = draw(st.integers(2, 3))
    sides = [draw(st.sampled_from([1, 2, 5, 8, 64, 72] if i == 0 else [1, 3, 4, 6])) for i in range(ndim)]
    taps = [draw(st.sampled_from([1, 3, 5])) for _ in range(ndim)]
    features = draw(st.tuples(st.sampled_from([1, 2, 3, 8, 17]), st.sampled_from([1, 2, 3, 8, 17])))
    return draw(st.sampled_from([1, 2, 3, 8])), tuple(sides), tuple(taps), features


@settings(max_examples=10, deadline=None)
@given(cases(), st.integers(0, 2**31 - 1))
def test_results_and_gradients_are_those_of_the_plain_convolution(case, seed):
    batch, sides, taps, (of_input, of_output) = case
    random = np.random.default_rng(seed)
    x, kernel, gradient = (
        random.standard_normal(shape, np.float32)
        for shape in ((batch, *sides, of_input), (*taps, of_input, of_output), (batch, *sides, of_output))
    )
    y, back = jax.vjp(convolution, x, kernel)
    expected, plain_back = jax.vjp(plain, x, kernel)
    for found, wanted in zip((y, *back(gradient)), (expected, *plain_back(gradient)), strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=2e-6 * np.sqrt(wanted.size) * (1 + np.abs(wanted).max()))
