"""Random changes of training samples: pure, on the device, inside the step."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from seisjax.conventions import AUGMENT


def augment(
    images: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    seed: int,
    indices: jax.Array,
    *,
    flip_axes: Sequence[int] = (),
    polarity: float = 0.0,
    gain: float = 0.0,
    noise: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Changed images and labels, of the same shapes.

    images (B, *window, C), normalised; labels (B, *window); valid, of the images' shape, is False where there is no
    data: there the result is 0. indices (B,): each sample's place in the stream. What happens to a sample depends on
    seed, place and window alone, not on the batch around it, nor on the devices.
    flip_axes: axes of the window (0 is its first) that are mirrored with probability 1/2, image and label together.
    polarity: probability of a sign change. gain: the image is scaled by exp(N(0, gain)). noise: white noise of
    deviation |N(0, noise)|, in units of the training deviation, is added last.
    """
    stream = jax.random.fold_in(jax.random.key(seed), AUGMENT)

    def one(image: jax.Array, label: jax.Array, valid: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Every kind of change has a key of its own, so that switching one on leaves the others as they were.
        flip_key, sign_key, gain_key, level_key, noise_key = jax.random.split(jax.random.fold_in(stream, index), 5)
        flips = jax.random.bernoulli(flip_key, 0.5, (label.ndim,))
        for axis in flip_axes:
            image, label, valid = (jnp.where(flips[axis], jnp.flip(x, axis), x) for x in (image, label, valid))
        if polarity > 0:
            image = jnp.where(jax.random.bernoulli(sign_key, polarity), -image, image)
        if gain > 0:
            image = image * jnp.exp(gain * jax.random.normal(gain_key))
        if noise > 0:
            level = noise * jnp.abs(jax.random.normal(level_key))
            image = image + level * jax.random.normal(noise_key, image.shape)
        return jnp.where(valid, image, 0.0), label

    return jax.vmap(one)(images, labels, valid, indices)
