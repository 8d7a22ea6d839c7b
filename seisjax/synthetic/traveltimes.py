"""Direct and turning rays where speed grows linearly with depth: exact, closed form, float32-safe."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Rays(NamedTuple):
    """First arrivals from a source to receivers above it. Angles are measured from the upward vertical."""

    time: jax.Array  # s
    spreading: jax.Array  # relative geometrical spreading, m: the distance where speed is constant
    sin_source: jax.Array  # sine of the take-off angle, towards the receiver
    cos_source: jax.Array  # its cosine: negative where the ray dives before it turns
    sin_receiver: jax.Array  # sine of the angle of arrival
    cos_receiver: jax.Array  # its cosine


def trace_rays(offset: jax.Array | np.ndarray, source_depth, receiver_depth, speed, gradient) -> Rays:
    """Rays in v(z) = speed + gradient * z.

    offset: horizontal distance, m; depths in m below where v = speed, the source below the receiver;
    speed in m/s; gradient > 0 in 1/s. All broadcast.

    Rays are arcs of circles whose centres lie where v would be 0 (Slotnick 1959, Lessons in Seismic Computing). With
    D^2 = X^2 + dz^2 the usual T = acosh(1 + k^2 D^2 / (2 v_r v_s)) / k equals asinh(k N / (2 v_r v_s)) / k,
    N^2 = D^2 (4 v_r v_s + k^2 D^2), which loses no digits at small offsets; N is also the length of both tangents
    below, and v_r v_s sinh(kT) / k the reciprocal spreading (Cerveny 2001, Seismic Ray Theory).
    """
    v_source = speed + gradient * source_depth
    v_receiver = speed + gradient * receiver_depth
    rise = (source_depth - receiver_depth) * (v_source + v_receiver)
    bend = gradient * offset**2
    distance = jnp.hypot(offset, source_depth - receiver_depth)
    tangent = distance * jnp.sqrt(4 * v_source * v_receiver + (gradient * distance) ** 2)
    return Rays(
        time=jnp.arcsinh(gradient * tangent / (2 * v_source * v_receiver)) / gradient,
        spreading=tangent / (2 * v_source),
        sin_source=2 * offset * v_source / tangent,
        cos_source=(rise - bend) / tangent,
        sin_receiver=2 * offset * v_receiver / tangent,
        cos_receiver=(rise + bend) / tangent,
    )
