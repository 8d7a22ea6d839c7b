"""The quick phasor against NumPy's."""

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seisjax.synthetic.phasors import phasor

quick = jax.jit(phasor)


@given(st.floats(-1000.0, 1000.0, width=32))
def test_it_is_exp_of_minus_two_pi_i(cycles):
    np.testing.assert_allclose(quick(np.float32(cycles)), np.exp(-2j * np.pi * cycles), atol=1e-6)
