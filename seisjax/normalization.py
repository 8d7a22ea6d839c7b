"""From raw amplitudes to what the network sees; pure, on the device."""

import jax
import jax.numpy as jnp


def normalize(image: jax.Array, mean: float, std: float, clip: float) -> jax.Array:
    """(image - mean) / std, float32, clipped to +-clip where clip > 0; NaN, which is no data, becomes 0.

    image: of any shape, in the data's units, as mean and std are.
    """
    values = (image.astype(jnp.float32) - mean) / std
    if clip > 0:
        values = jnp.clip(values, -clip, clip)
    return jnp.where(jnp.isnan(image), 0.0, values)
