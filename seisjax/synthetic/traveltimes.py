"""Rays from a source to receivers: exact in a constant gradient, turning rays included, and direct in flat layers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_STEPS = 12  # of Newton's method; it gains digits in all of them, and float32 holds what eight or fewer have found


class Rays(NamedTuple):
    """Rays from a source to receivers above it. Angles are measured from the upward vertical."""

    time: jax.Array  # s
    spreading: jax.Array  # relative geometrical spreading, m: the distance where speed is constant
    sin_source: jax.Array  # sine of the take-off angle, towards the receiver
    cos_source: jax.Array  # its cosine: negative where the ray dives before it turns
    sin_receiver: jax.Array  # sine of the angle of arrival
    cos_receiver: jax.Array  # its cosine
    speed_source: jax.Array  # m/s
    speed_receiver: jax.Array  # m/s


def trace_rays(offset: jax.Array | np.ndarray, source_depth, receiver_depth, speed, gradient) -> Rays:
    """First arrivals in v(z) = speed + gradient * z.

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
        speed_source=v_source,
        speed_receiver=v_receiver,
    )


def trace_layered_rays(offset, source_depth, receiver_depth, tops: jax.Array, speeds: jax.Array) -> Rays:
    """Direct rays through flat layers of constant speed: no turning rays, and no head waves.

    offset (receiver,): horizontal distance, m; depths in m, scalars or (receiver,), the source below the receiver;
    tops (layer,) of the layers in m, rising, of which the first counts as far above and the last layer goes on for
    ever; speeds (layer,) in m/s.

    A ray is known by q, the tangent of its angle in the fastest layer it crosses. With e = v / v_max in each layer,
    X(q) = sum h e q / sqrt(1 + (1 - e^2) q^2) rises from 0 and is concave, so that Newton's method from any point
    below the root climbs to it, whatever the layers (after Tian & Chen 2005, BSSA 95). Solved for each receiver
    at its own depth, this is exact, where a table of X(p) would be interpolated; it is as well differentiable.
    """
    offset, source_depth, receiver_depth = (jnp.asarray(a)[..., None] for a in (offset, source_depth, receiver_depth))
    shallow, deep = jnp.minimum(source_depth, receiver_depth), jnp.maximum(source_depth, receiver_depth)
    inner = tops[1:]
    edges = jnp.clip(inner, shallow, deep)
    thickness = jnp.diff(edges, prepend=shallow, append=deep, axis=-1)
    fastest = jnp.max(jnp.where(thickness > 0, speeds, 0.0), axis=-1, keepdims=True)
    ratio = jnp.where(speeds < fastest, speeds / fastest, 1.0)  # a quotient of equals may differ from 1
    slack = (1 - ratio) * (1 + ratio)  # 1 - e^2 without loss of digits

    tangent = _solve(offset, thickness, ratio, slack)
    q2 = tangent**2
    cosine = jnp.sqrt((1 + slack * q2) / (1 + q2))
    parameter = tangent / (fastest * jnp.sqrt(1 + q2))
    time = jnp.sum(thickness / (speeds * cosine), axis=-1)
    offset_over_parameter = jnp.sum(thickness * speeds / cosine, axis=-1)
    offset_by_parameter = jnp.sum(thickness * speeds / cosine**3, axis=-1)

    def at(depth, side):
        layer = jnp.searchsorted(inner, depth, side=side)
        return speeds[layer], jnp.take_along_axis(cosine, jnp.broadcast_to(layer, (*cosine.shape[:-1], 1)), axis=-1)

    v_source, cos_source = at(source_depth, "left")  # on a boundary it is the layer that the ray crosses
    v_receiver, cos_receiver = at(receiver_depth, "right")
    tube = cos_source * cos_receiver * (offset_over_parameter * offset_by_parameter)[..., None]
    return Rays(
        time,
        (jnp.sqrt(tube) / v_source)[..., 0],
        (parameter * v_source)[..., 0],
        cos_source[..., 0],
        (parameter * v_receiver)[..., 0],
        cos_receiver[..., 0],
        jnp.broadcast_to(v_source[..., 0], time.shape),
        jnp.broadcast_to(v_receiver[..., 0], time.shape),
    )


def _solve(offset: jax.Array, thickness: jax.Array, ratio: jax.Array, slack: jax.Array) -> jax.Array:
    """The q with X(q) = offset, (receiver, 1), from the better of two lower bounds: X's tangent at 0, its asymptote."""
    in_fastest = jnp.sum(jnp.where(slack == 0, thickness, 0.0), axis=-1, keepdims=True)
    elsewhere = jnp.where(slack == 0, 0.0, thickness * ratio / jnp.sqrt(jnp.where(slack == 0, 1.0, slack)))
    asymptote = (offset - jnp.sum(elsewhere, axis=-1, keepdims=True)) / in_fastest
    start = jnp.maximum(offset / jnp.sum(thickness * ratio, axis=-1, keepdims=True), asymptote)

    def climb(_, q):
        root = jnp.sqrt(1 + slack * q**2)
        reached = jnp.sum(thickness * ratio * q / root, axis=-1, keepdims=True)
        slope = jnp.sum(thickness * ratio / root**3, axis=-1, keepdims=True)
        return q + (offset - reached) / slope

    return jax.lax.fori_loop(0, _STEPS, climb, start)
