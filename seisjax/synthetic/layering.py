"""Layers: when each sample was deposited, and what reflects there.

Relative geological time is counted in samples: that of a layer is the depth at which it would lie if nothing had been
folded nor faulted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic.draws import draw, whole_number
from seisjax.synthetic.fault_parameters import FaultedVolume
from seisjax.synthetic.faulting import Places

FINE = 8  # points of the table of reflections, a sample
_UPRIGHT = 0.6  # of a sample is the most that swells may take from the time between a sample and the next
_WEAK = 0.35  # reflection of a weak layer over that of a strong one
_STRONG = (0.6, 0.9)  # reflection of a horizon; that of other layers lies between -1 and 1
_JITTER = 0.3  # of the distance of horizons, by which each is moved at most


class Folds(NamedTuple):
    """The folds of a volume."""

    tilt: jax.Array  # (2,): slope along x and along y
    height: jax.Array  # (swell,), samples at growth 1; layers sink where it is positive
    centre: jax.Array  # (swell, 2), samples
    width: jax.Array  # (swell,), standard deviation, samples


class Layers(NamedTuple):
    """The layers of a volume, in geological time."""

    horizons: jax.Array  # (horizon,), rising
    reflections: jax.Array  # reflection coefficients at FINE points a sample from `earliest` on


def reach(parameters: FaultedVolume) -> int:
    """Samples that geological times may lie above and below the volume, at most."""
    faults, folds, (nx, ny, _) = parameters.faults, parameters.folds, parameters.shape
    slope = max(map(abs, folds.tilt))
    slips = faults.count[1] * faults.slip[1]
    swells = folds.count[1] * max(map(abs, folds.height)) * max(folds.growth)
    return int(slips * (1 + 2 * slope) + slope * (nx + ny) / 2 + swells) + 32


def draw_folds(parameters: FaultedVolume, key: jax.Array) -> Folds:
    """The folds of a volume; swells that would turn a layer over are lowered, all alike."""
    ranges, (nx, ny, nz) = parameters.folds, parameters.shape
    most = max(ranges.count[1], 1)
    kinds = (ranges.height, (0.0, float(nx)), (0.0, float(ny)), ranges.width)
    numbers = draw(key, (0.0, 1.0), ranges.tilt, ranges.tilt, *[kind for kind in kinds for _ in range(most)])
    height, x, y, width = numbers[3:].reshape(4, most)
    height = jnp.where(jnp.arange(most) < whole_number(ranges.count, numbers[0]), height, 0.0)
    steepest = jnp.sum(jnp.abs(height)) * (ranges.growth[1] - ranges.growth[0]) / nz
    height *= jnp.minimum(1.0, _UPRIGHT / jnp.maximum(steepest, 1e-6))
    return Folds(numbers[1:3], height, jnp.stack([x, y], axis=-1), width * parameters.side)


def geological_time(parameters: FaultedVolume, folds: Folds, places: Places) -> jax.Array:
    """Relative geological time of samples that no fault moves any more, float32 (inline, crossline, sample)."""
    nx, ny, nz = parameters.shape
    top, bottom = parameters.folds.growth
    plane = folds.tilt[0] * (places.x - nx / 2) + folds.tilt[1] * (places.y - ny / 2)
    swell = jnp.zeros_like(places.x)
    for height, centre, width in zip(*folds[1:], strict=True):
        r2 = (places.x - centre[0]) ** 2 + (places.y - centre[1]) ** 2
        swell += height * jnp.exp(-r2 / (2 * width**2))
    return places.z - plane - (top + (bottom - top) * jnp.clip(places.z / nz, 0.0, 1.0)) * swell


def draw_layers(parameters: FaultedVolume, key: jax.Array) -> Layers:
    """The layers of a volume. Each facies, from one horizon to the next, has its own thickness and contrast."""
    what, nz, beyond = parameters.layers, parameters.shape[2], reach(parameters)
    count, apart = what.horizons, nz / what.horizons
    what_key, layer_key = jax.random.split(key)
    kinds = [(-_JITTER, _JITTER)] * count + [what.thickness] * (count + 1) + [what.contrast] * (count + 1)
    numbers = draw(what_key, *kinds)
    horizons = (jnp.arange(count) + 0.5 + numbers[:count]) * apart
    mean, contrast = numbers[count:].reshape(2, count + 1, 1)
    tops = jnp.concatenate([jnp.array([-float(beyond)]), horizons])[:, None]
    bottoms = jnp.concatenate([horizons, jnp.array([float(nz + beyond)])])[:, None]

    longest = int((beyond + apart) / what.least_thickness) + 1  # layers of a facies, at most
    size, weak, one, other = jax.random.uniform(layer_key, (4, count + 1, longest))
    # The sum of two exponential numbers: a Gamma distribution of shape 2.
    thickness = jnp.maximum(-0.5 * mean * (jnp.log1p(-one) + jnp.log1p(-other)), what.least_thickness)
    place = tops + jnp.cumsum(thickness, axis=1) - thickness
    reflection = contrast * jnp.where(weak < what.weak, _WEAK, 1.0) * (2 * size - 1)
    reflection = jnp.where(place <= bottoms - what.least_thickness, reflection, 0.0)
    low, high = _STRONG
    strong = jnp.where(weak[:, 0] < 0.5, -1.0, 1.0) * (low + (high - low) * size[:, 0])
    reflection = reflection.at[:, 0].set(strong)  # a facies begins at a horizon
    return Layers(horizons, _table(parameters, jnp.minimum(place, bottoms).ravel(), reflection.ravel()))


def _table(parameters: FaultedVolume, place: jax.Array, reflection: jax.Array) -> jax.Array:
    """Reflection coefficients of interfaces, averaged over a sample of geological time (twice, so that it is smooth).

    So an interface is a triangle two samples wide. Averaged in geological time and not down the volume, where it would
    paint a reflection on every fault: there, time jumps over many interfaces at once.
    """
    beyond = reach(parameters)
    points = (place + beyond) * FINE
    nearest = jnp.round(points).astype(jnp.int32)[:, None] + np.arange(-FINE, FINE + 1)
    weight = jnp.maximum(1 - jnp.abs(nearest - points[:, None]) / FINE, 0.0)
    table = jnp.zeros((parameters.shape[2] + 2 * beyond) * FINE + 1)
    return table.at[nearest].add(reflection[:, None] * weight, mode="drop")


def reflections(parameters: FaultedVolume, layers: Layers, time: jax.Array) -> jax.Array:
    """Reflection coefficients at geological times, of their shape."""
    table = layers.reflections
    point = jnp.clip((time + reach(parameters)) * FINE, 0.0, len(table) - 1.001)
    below = jnp.floor(point)
    share = point - below
    index = below.astype(jnp.int32)
    return (1 - share) * table[index] + share * table[index + 1]


def facies_of(layers: Layers, time: jax.Array) -> jax.Array:
    """Numbers uint8 of the facies at geological times: how many horizons are not later."""
    return jnp.sum(time[..., None] >= layers.horizons, axis=-1, dtype=jnp.uint8)
