"""From raw amplitudes to the network's input."""

import jax.numpy as jnp
import numpy as np

from seisjax.normalization import normalize

RAW = np.array([10.0, 14.0, 2.0, 1e9, -1e9, np.nan], np.float32)


def test_scales_clips_and_marks_no_data_with_zero():
    np.testing.assert_allclose(normalize(jnp.asarray(RAW), 10.0, 4.0, 5.0), [0, 1, -2, 5, -5, 0])


def test_zero_clip_is_no_clip():
    result = np.asarray(normalize(jnp.asarray(RAW), 10.0, 4.0, 0.0))
    np.testing.assert_allclose(result, [0, 1, -2, 2.5e8, -2.5e8, 0], rtol=1e-6)


def test_result_is_float32():
    assert normalize(jnp.asarray(RAW[:3], jnp.float16), 10.0, 4.0, 5.0).dtype == jnp.float32
