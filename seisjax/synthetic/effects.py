"""How receivers differ from one another."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic.draws import draw
from seisjax.synthetic.parameters import Microseismic, Traces


class Effects(NamedTuple):
    """What each receiver does to what reaches it."""

    gain: jax.Array  # (receiver, 1), of signal and noise alike; negative where the polarity is wrong
    noise_level: jax.Array  # (receiver, 1)
    static: jax.Array  # (receiver,), delay of P, s
    alive: jax.Array  # bool (receiver,)


def receiver_effects(parameters: Microseismic, places: np.ndarray, key: jax.Array) -> Effects:
    """Effects of receivers at `places` (receiver, 3), m."""
    traces, count = parameters.traces, len(places)
    normal_key, smooth_key, dead_key, flipped_key = jax.random.split(key, 4)
    gain, level, static = jax.random.normal(normal_key, (3, count))
    direction, phase = draw(smooth_key, (0.0, 2 * np.pi), (0.0, 2 * np.pi))
    along = places[:, 0] * jnp.cos(direction) + places[:, 1] * jnp.sin(direction)
    smooth = traces.static_smooth * jnp.sin(2 * jnp.pi * along / traces.static_length + phase)
    polarity = jnp.where(jax.random.uniform(flipped_key, (count,)) < traces.flipped, -1.0, 1.0)
    return Effects(
        gain=(polarity * jnp.exp(traces.gain * gain))[:, None],
        noise_level=jnp.exp(traces.noise_level * level)[:, None],
        static=traces.static_random * static + smooth,
        alive=jax.random.uniform(dead_key, (count,)) >= traces.dead,
    )


def spoiled(traces: Traces, background: jax.Array, rms: jax.Array | float, key: jax.Array) -> jax.Array:
    """Noise (receiver, sample) with white noise of rms `traces.bad_level` * rms added on the bad receivers.

    Only as many traces of it are drawn as can be bad but once in a billion panels.
    """
    if traces.bad == 0 or traces.bad_level == 0:
        return background
    count, num_samples = background.shape
    slots = min(count, int(traces.bad * count + 6 * (traces.bad * count) ** 0.5) + 2)
    choice_key, noise_key = jax.random.split(key)
    chance, receiver = jax.lax.top_k(-jax.random.uniform(choice_key, (count,)), slots)
    level = jnp.where(-chance < traces.bad, traces.bad_level * rms, 0.0)
    return background.at[receiver].add(level[:, None] * jax.random.normal(noise_key, (slots, num_samples)))
