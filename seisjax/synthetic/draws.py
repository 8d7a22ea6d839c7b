"""Random numbers out of ranges."""

import jax
import numpy as np

from seisjax.synthetic.checks import Range


def draw(key: jax.Array, *ranges: Range) -> jax.Array:
    """One float32 number out of each range, uniform: (range,). One call for many numbers: each costs compile time."""
    low, high = np.array(ranges, np.float32).T
    return low + (high - low) * jax.random.uniform(key, (len(ranges),))
