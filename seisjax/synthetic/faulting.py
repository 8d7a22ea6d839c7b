"""Faults: where they are, and where each sample was before they slipped."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic.draws import draw, whole_number
from seisjax.synthetic.fault_parameters import FaultedVolume

_CANDIDATES = 8  # places that are drawn for each fault's middle: the one farthest from the other faults is taken
_INSIDE = (0.1, 0.9)  # of the volume, where faults have their middles


class Faults(NamedTuple):
    """The faults of a volume, oldest first: arrays (fault,), of which the first `count` are there."""

    count: jax.Array
    centre: jax.Array  # (fault, 3), samples
    strike: jax.Array  # degrees from x towards y; the fault dips to 90 degrees from there
    dip: jax.Array  # degrees from the horizontal
    rake: jax.Array  # degrees of the slip from the strike towards down the dip
    slip: jax.Array  # of the hanging wall along the rake, samples; negative: a reverse fault
    half_length: jax.Array  # along strike, samples; infinite where the fault cuts the whole volume
    half_height: jax.Array  # down the dip, samples; as above
    curvature: jax.Array  # 1 / sample
    falloff: jax.Array  # samples; infinite as above


class Places(NamedTuple):
    """Where samples are or were: arrays that broadcast to (inline, crossline, sample)."""

    x: jax.Array
    y: jax.Array
    z: jax.Array


class Faulting(NamedTuple):
    """What faults did to samples, each (inline, crossline, sample)."""

    places: Places  # where the sample was before any fault
    number: jax.Array  # uint8: of the fault that runs through the sample, 1 is the oldest; 0: none
    slip: jax.Array  # float32: of that fault there, samples, negative on a reverse fault; 0 elsewhere


def draw_faults(parameters: FaultedVolume, key: jax.Array) -> Faults:
    """The faults of a volume."""
    ranges, (nx, ny, nz) = parameters.faults, parameters.shape
    most, side = max(ranges.count[1], 1), parameters.side
    place_key, uniform_key, normal_key = jax.random.split(key, 3)
    unit = (0.0, 1.0)
    shape = (ranges.dip, ranges.slip, ranges.half_length, ranges.half_height, ranges.falloff, unit, unit, unit, unit)
    each = [kind for kind in shape for _ in range(most)]
    numbers = draw(uniform_key, unit, *[ranges.strike] * ranges.families, *each)
    dip, slip, length, height, falloff, family, turned, rises, ends = numbers[-len(each) :].reshape(len(shape), most)
    strike_part, rake_part, bend = jax.random.normal(normal_key, (3, most))
    strike = numbers[1 + jnp.int32(family * ranges.families)] + jnp.where(turned < 0.5, 0.0, 180.0)
    through = ends < ranges.through
    return Faults(
        count=whole_number(ranges.count, numbers[0]),
        centre=_spread(place_key, most, np.array([nx, ny, nz], np.float32)),
        strike=strike + ranges.strike_spread * strike_part,
        dip=dip,
        rake=90.0 + ranges.rake_spread * rake_part,
        slip=jnp.where(rises < ranges.reverse, -slip, slip),
        half_length=jnp.where(through, jnp.inf, length * side),
        half_height=jnp.where(through, jnp.inf, height * nz),
        curvature=ranges.bend * bend / side,
        falloff=jnp.where(through, jnp.inf, falloff),
    )


def _spread(key: jax.Array, count: int, sides: np.ndarray) -> jax.Array:
    """Places (count, 3) in the volume that keep apart (Mitchell 1991, best-candidate sampling)."""
    low, high = _INSIDE
    candidates = sides * jax.random.uniform(key, (count, _CANDIDATES, 3), minval=low, maxval=high)

    def add(number, chosen):
        distance = jnp.sum((candidates[number][:, None] - chosen) ** 2, axis=-1)
        distance = jnp.where(jnp.arange(count) < number, distance, jnp.inf).min(axis=1)
        return chosen.at[number].set(candidates[number][jnp.argmax(distance)])

    return jax.lax.fori_loop(0, count, add, jnp.zeros((count, 3)))


def undo(faults: Faults, places: Places, least_slip: float) -> Faulting:
    """Take samples back through the faults, the youngest first, so that it offsets the older ones.

    A sample lies on a fault that slipped by at least `least_slip` there and is at most 0.5 / max|n| away, n its unit
    normal: then a label has no holes, and is 1 / max|n|^2 samples thick along the axis nearest to the normal.
    """
    shape = jnp.broadcast_shapes(*(values.shape for values in places))
    whole = Places(*(jnp.broadcast_to(values, shape) for values in places))
    start = Faulting(whole, jnp.zeros(shape, jnp.uint8), jnp.zeros(shape, jnp.float32))

    def step(done: jax.Array, state: Faulting) -> Faulting:
        number = faults.count - 1 - done
        fault = jax.tree.map(lambda values: values[number], faults._replace(count=faults.slip))
        places, distance, slip, normal = _slipped(fault, state.places)
        on_plane = jnp.abs(distance) <= 0.5 / jnp.max(jnp.abs(normal))
        new = on_plane & (jnp.abs(slip) >= least_slip) & (state.number == 0)
        numbers = jnp.where(new, jnp.uint8(number + 1), state.number)
        return Faulting(places, numbers, jnp.where(new, slip, state.slip))

    return jax.lax.fori_loop(0, faults.count, step, start)


def _slipped(fault: Faults, places: Places) -> tuple[Places, jax.Array, jax.Array, jax.Array]:
    """One fault: places before it slipped, distance from it (positive in the hanging wall), slip there, its normal.

    The slip falls from the middle as (1 - r^2) sqrt(1 + r^2) to 0 at the ellipse r = 1, and exponentially away from the
    fault, in the hanging wall alone; a fault through the whole volume moves its hanging wall as one block.
    """
    along, down, normal = axes(fault.strike, fault.dip)
    offset = Places(*(values - middle for values, middle in zip(places, fault.centre, strict=True)))
    u, v, distance = (_dot(offset, axis) for axis in (along, down, normal))
    distance += 0.5 * fault.curvature * (u * u - v * v)
    r2 = (u / fault.half_length) ** 2 + (v / fault.half_height) ** 2
    slip = fault.slip * jnp.maximum(1 - r2, 0.0) * jnp.sqrt(1 + r2)
    moved = jnp.where(distance > 0, slip * jnp.exp(-jnp.abs(distance) / fault.falloff), 0.0)
    rake = jnp.deg2rad(fault.rake)
    way = along * jnp.cos(rake) + down * jnp.sin(rake)
    before = Places(*(values - moved * part for values, part in zip(places, way, strict=True)))
    return before, distance, slip, normal


def axes(strike: jax.Array, dip: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Unit vectors (3,) along a plane's strike, down its dip and up its normal, into the hanging wall; x, y, z down."""
    s, d = jnp.deg2rad(strike), jnp.deg2rad(dip)
    along = jnp.stack([jnp.cos(s), jnp.sin(s), jnp.zeros_like(s)])
    down = jnp.stack([-jnp.sin(s) * jnp.cos(d), jnp.cos(s) * jnp.cos(d), jnp.sin(d)])
    return along, down, jnp.cross(down, along)


def _dot(places: Places, axis: jax.Array) -> jax.Array:
    return places.x * axis[0] + places.y * axis[1] + places.z * axis[2]
