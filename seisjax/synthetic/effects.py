"""How receivers differ from one another."""

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic.draws import draw
from seisjax.synthetic.parameters import Microseismic


def receiver_effects(parameters: Microseismic, receivers: np.ndarray, key: jax.Array):
    """Gain (receiver, 1), noise level (receiver, 1), P delay in s (receiver,), and which receivers live (receiver,)."""
    traces, count = parameters.traces, len(receivers)
    normal_key, smooth_key, dead_key = jax.random.split(key, 3)
    gain, level, static = jax.random.normal(normal_key, (3, count))
    direction, phase = draw(smooth_key, (0.0, 2 * np.pi), (0.0, 2 * np.pi))
    along = receivers[:, 0] * jnp.cos(direction) + receivers[:, 1] * jnp.sin(direction)
    smooth = traces.static_smooth * jnp.sin(2 * jnp.pi * along / traces.static_length + phase)
    alive = jax.random.uniform(dead_key, (count,)) >= traces.dead
    return (
        jnp.exp(traces.gain * gain)[:, None],
        jnp.exp(traces.noise_level * level)[:, None],
        traces.static_random * static + smooth,
        alive,
    )
