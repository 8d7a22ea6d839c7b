"""Convolutions in the formulation of this platform: the numbers of the definition."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.models.convolution import convolution_by_platform

pytestmark = pytest.mark.quick_compiler


def exact(x, kernel, gradient):
    """Result and gradients in float64."""
    taps, sides = kernel.shape[:-2], x.shape[1:-1]
    x, kernel, gradient = (array.astype(np.float64) for array in (x, kernel, gradient))
    around = [(0, 0), *((side // 2, side // 2) for side in taps), (0, 0)]
    padded, of_padded = np.pad(x, around), np.zeros(np.pad(x, around).shape)
    y, of_kernel = np.zeros(gradient.shape), np.zeros(kernel.shape)
    positions = tuple(range(gradient.ndim - 1))
    for tap in np.ndindex(taps):
        here = (slice(None), *(slice(start, start + side) for start, side in zip(tap, sides, strict=True)))
        y += padded[here] @ kernel[tap]
        of_padded[here] += gradient @ kernel[tap].T
        of_kernel[tap] = np.tensordot(padded[here], gradient, (positions, positions))
    inside = (slice(None), *(slice(side // 2, side // 2 + n) for side, n in zip(taps, sides, strict=True)))
    return y, of_padded[inside], of_kernel


def check(batch, sides, taps, features, *, seed=0):
    """Result and both gradients are exact to the rounding of sums of so many terms of order 1."""
    of_input, of_output = features
    random = np.random.default_rng(seed)
    x, kernel, gradient = (
        random.standard_normal(shape, np.float32)
        for shape in ((batch, *sides, of_input), (*taps, of_input, of_output), (batch, *sides, of_output))
    )
    y, back = jax.vjp(convolution_by_platform, x, kernel)
    terms = (kernel[..., 0].size, kernel[..., 0, :].size, x[..., 0].size)
    for found, wanted, number in zip((y, *back(gradient)), exact(x, kernel, gradient), terms, strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=float(np.finfo(np.float32).eps) * number)


@st.composite
def cases(draw):
    ndim = draw(st.integers(2, 3))
    sides = draw(st.lists(st.integers(1, 9), min_size=ndim, max_size=ndim))
    taps = draw(st.lists(st.sampled_from([1, 3, 5]), min_size=ndim, max_size=ndim))
    features = st.sampled_from([1, 2, 3, 8, 17, 33])
    return draw(st.integers(1, 3)), sides, taps, (draw(features), draw(features))


@settings(max_examples=5, deadline=None)
@given(cases(), st.integers(0, 2**31 - 1))
def test_results_and_gradients_are_those_of_the_definition(case, seed):
    check(*case, seed=seed)


@pytest.mark.parametrize(
    ("batch", "sides", "taps", "features"),
    [
        (1, (301, 503), (3, 3), (2, 8)),
        (2, (150, 256), (3, 5), (8, 2)),
        (1, (3, 131, 143), (3, 3, 3), (1, 33)),
        (2, (23, 64), (5, 3), (128, 130)),
    ],
    ids=str,
)
def test_gradients_are_summed_over_strips_of_rows(batch, sides, taps, features):
    check(batch, sides, taps, features)


def test_sums_over_strips_are_as_exact_in_bfloat16():
    random = np.random.default_rng(0)
    x, gradient = (random.standard_normal((1, 256, 256, 8), np.float32) for _ in range(2))
    kernel = np.zeros((3, 3, 8, 8), np.float32)
    wanted = exact(x, kernel, gradient)[2]
    lower = [jnp.asarray(array, jnp.bfloat16) for array in (x, kernel, gradient)]
    found = jax.vjp(convolution_by_platform, *lower[:2])[1](lower[2])[1]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), wanted, atol=0.02 * np.abs(wanted).max())


def test_gradients_through_remat_and_in_a_program_for_several_platforms():
    random = np.random.default_rng(0)
    x, kernel = random.standard_normal((1, 4, 6, 1), np.float32), random.standard_normal((3, 3, 1, 2), np.float32)
    wanted, _, of_kernel = exact(x, kernel, np.ones((1, 4, 6, 2)))
    again = jax.jit(jax.grad(lambda kernel: jax.checkpoint(convolution_by_platform)(x, kernel).sum()))
    np.testing.assert_allclose(again(kernel), of_kernel, rtol=1e-5, atol=1e-5)
    export = jax.export.export(jax.jit(convolution_by_platform), platforms=("cpu", "cuda"))
    shapes = jax.export.symbolic_args_specs((x, kernel), ("b, 4, w, 1", "3, 3, 1, 2"))
    np.testing.assert_allclose(export(*shapes).call(x, kernel), wanted, rtol=1e-5, atol=1e-5)
