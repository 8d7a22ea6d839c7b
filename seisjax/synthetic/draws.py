"""Random numbers out of ranges."""

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic.checks import Counts, Range


def draw(key: jax.Array, *ranges: Range) -> jax.Array:
    """One float32 number out of each range, uniform: (range,). One call for many numbers: each costs compile time."""
    low, high = np.array(ranges, np.float32).T
    return low + (high - low) * jax.random.uniform(key, (len(ranges),))


def whole_number(counts: Counts, share: jax.Array) -> jax.Array:
    """The whole number, int32, of a range that a number between 0 and 1 stands for, both ends alike."""
    least, most = counts
    return jnp.minimum(least + jnp.int32(share * (most - least + 1)), most)
