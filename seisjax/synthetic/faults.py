"""Volumes of folded, faulted layers with what an interpreter would draw in them. A pure function of (seed, index).

The story of a sample: take it back through the faults and the folds to the time when it was deposited, read off there
what it reflects and which facies it belongs to; then see the reflections through a wavelet, and add noise of its band.
Each sample is worked out by itself, so that blocks of a volume are made one by one, however large it is, and fit
together.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic.draws import draw
from seisjax.synthetic.fault_parameters import FaultedVolume
from seisjax.synthetic.faulting import Faulting, Faults, Places, draw_faults, undo
from seisjax.synthetic.layering import (
    Folds,
    Layers,
    draw_folds,
    draw_layers,
    facies_of,
    geological_time,
    reflections,
)

_LENGTH = 1.3  # of a wavelet to either side, in periods: there it has fallen to 2e-6 of its peak
_TRACES = 16  # along x and along y, of the traces that the strength of a volume's signal is measured on
NOISE_REACH = 3  # traces that noise is smoothed over to either side
_SLAB = 2**16  # samples that are worked out together: they stay in a processor's cache
_JUMP = 2.5  # geological time from one sample to the next, in samples, that is a fault's: no horizon runs through there


class Earth(NamedTuple):
    """What a volume is made of."""

    faults: Faults
    folds: Folds
    layers: Layers
    frequency: jax.Array  # peak of the wavelet, Hz
    snr: jax.Array  # rms of the signal over that of the noise
    noise_width: jax.Array  # (2,): standard deviation of the noise's smoothing along x and y, traces


class Block(NamedTuple):
    """A block of a volume, all its samples down. Arrays (inline, crossline, sample) unless said otherwise."""

    amplitude: jax.Array  # float32, of standard deviation 1 over the volume
    fault: jax.Array  # uint8: 1 on a fault, 0 elsewhere
    facies: jax.Array  # uint8: number of the interval of geological time, 0 is the youngest
    horizon: jax.Array  # uint8: 1 + number of the horizon that runs through the sample, or nearest to it; 0: none
    fault_id: jax.Array  # uint8: number of the fault, 1 is the oldest; 0: none
    fault_slip: jax.Array  # float32: slip of the fault there, samples; negative: a reverse fault; 0: no fault
    geological_time: jax.Array  # float32, samples
    horizon_depth: jax.Array  # float32 (inline, crossline, horizon): samples, NaN where it is not seen


def block_generator(
    parameters: FaultedVolume, sides: tuple[int, int]
) -> Callable[[int | jax.Array, int | jax.Array, jax.Array], Block]:
    """A function (seed, index, start) -> Block, to be jitted, and vmapped over `index` and `start`.

    sides: inlines and crosslines of a block. start: int32 (2,), the inline and the crossline it begins at; what lies
    outside the volume is its continuation.
    """

    def block(seed, index, start) -> Block:
        earth_key, noise_key = keys_of(seed, index)
        earth = draw_earth(parameters, earth_key)
        crossline = start[1] + jnp.arange(sides[1])
        strength = signal_rms(parameters, earth)
        speckle = white_noise(parameters, start, (slabs * thickness, sides[1]), noise_key)

        def slab(first) -> Block:
            inline = start[0] + first + jnp.arange(thickness)
            noise = jax.lax.dynamic_slice_in_dim(speckle, first, thickness + 2 * NOISE_REACH)
            return _slab(parameters, earth, inline, crossline, strength, noise)

        parts = jax.lax.map(slab, thickness * jnp.arange(slabs))
        return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:])[: sides[0]], parts)

    thickness = max(min(_SLAB // (sides[1] * parameters.shape[2]), sides[0]), 1)
    slabs = -(-sides[0] // thickness)
    return block


def _slab(
    parameters: FaultedVolume, earth: Earth, inline: jax.Array, crossline: jax.Array, strength: jax.Array, noise
) -> Block:
    """Some inlines of a block; strength: of the volume's signal; noise: of `white_noise`, with its margins."""
    faulting, time = geology(parameters, earth, inline, crossline)
    noise = smooth_noise(noise, earth.noise_width)
    values = reflections(parameters, earth.layers, time) / strength + noise / earth.snr
    reach, count = wavelet_reach(parameters), parameters.shape[2]
    number, slip, seen = (array[..., reach : reach + count] for array in (faulting.number, faulting.slip, time))
    horizon, depth = horizons(earth.layers, seen, time[..., reach + 1 : reach + 1 + count])
    return Block(
        amplitude=see(parameters, earth.frequency, values) / jnp.sqrt(1 + earth.snr**-2),
        fault=(number > 0).astype(jnp.uint8),
        facies=facies_of(earth.layers, seen),
        horizon=horizon,
        fault_id=number,
        fault_slip=slip,
        geological_time=seen,
        horizon_depth=depth,
    )


def keys_of(seed: int | jax.Array, index: int | jax.Array) -> tuple[jax.Array, jax.Array]:
    """Random keys of a volume: for what it is made of, and for its noise."""
    earth_key, noise_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
    return earth_key, noise_key


def draw_earth(parameters: FaultedVolume, key: jax.Array) -> Earth:
    """What a volume is made of."""
    fault_key, fold_key, layer_key, key = jax.random.split(key, 4)
    width = parameters.noise_width
    frequency, snr, along_x, along_y = draw(key, parameters.frequency, parameters.snr, width, width)
    return Earth(
        faults=draw_faults(parameters, fault_key),
        folds=draw_folds(parameters, fold_key),
        layers=draw_layers(parameters, layer_key),
        frequency=frequency,
        snr=snr,
        noise_width=jnp.stack([along_x, along_y]),
    )


def geology(
    parameters: FaultedVolume, earth: Earth, inline: jax.Array, crossline: jax.Array
) -> tuple[Faulting, jax.Array]:
    """Faults and geological time of the traces where inlines and crosslines cross, (inline, crossline, sample).

    The samples are the volume's and those that a wavelet reaches from it, above and below.
    """
    beyond = wavelet_reach(parameters)
    sample = jnp.arange(-beyond, parameters.shape[2] + beyond, dtype=jnp.float32)
    x, y = (lines.astype(jnp.float32) for lines in (inline, crossline))
    places = Places(x[:, None, None], y[None, :, None], sample[None, None, :])
    faulting = undo(earth.faults, places, parameters.faults.least_slip)
    return faulting, geological_time(parameters, earth.folds, faulting.places)


def wavelet_reach(parameters: FaultedVolume) -> int:
    """Samples that the longest wavelet reaches to either side of its middle."""
    return math.ceil(_LENGTH / parameters.frequency[0] / parameters.sampling_interval)


def wavelet(parameters: FaultedVolume, frequency: jax.Array) -> jax.Array:
    """A Ricker (1953) wavelet of unit energy, zero-phase: (2 wavelet_reach + 1,)."""
    reach = wavelet_reach(parameters)
    time = np.arange(-reach, reach + 1, dtype=np.float32) * np.float32(parameters.sampling_interval)
    a = (jnp.pi * frequency * time) ** 2
    values = (1 - 2 * a) * jnp.exp(-a)
    values -= values.mean()  # what is the same everywhere is not seen
    return values / jnp.sqrt(jnp.sum(values**2))


def see(parameters: FaultedVolume, frequency: jax.Array, values: jax.Array) -> jax.Array:
    """Values (inline, crossline, sample) seen through the wavelet, at the volume's own samples."""
    taps, count = wavelet(parameters, frequency), parameters.shape[2]
    total = jnp.zeros((*values.shape[:-1], count), jnp.float32)
    middle = len(taps) // 2
    for k in range(middle):  # a wavelet is the same forwards and backwards
        both = values[..., k : k + count] + values[..., len(taps) - 1 - k :][..., :count]
        total += taps[k] * both
    return total + taps[middle] * values[..., middle : middle + count]


def signal_rms(parameters: FaultedVolume, earth: Earth) -> jax.Array:
    """Rms of the whole volume's signal, measured on a few traces all over it; 1 where nothing reflects."""
    nx, ny, _ = parameters.shape
    inline, crossline = (jnp.asarray((np.arange(_TRACES) + 0.5) * n / _TRACES) for n in (nx, ny))
    _, time = geology(parameters, earth, inline, crossline)
    energy = jnp.mean(see(parameters, earth.frequency, reflections(parameters, earth.layers, time)) ** 2)
    return jnp.sqrt(jnp.where(energy > 0, energy, 1.0))


def white_noise(parameters: FaultedVolume, start: jax.Array, sides: tuple[int, int], key: jax.Array) -> jax.Array:
    """Random numbers uint8 (inline, crossline, sample): the samples of `geology`, NOISE_REACH traces more all around.

    Each trace of the volume has numbers of its own, whichever block it is made in.
    """
    count, lines = parameters.shape[2] + 2 * wavelet_reach(parameters), parameters.shape[1] + 2 * NOISE_REACH
    x, y = (first + jnp.arange(side + 2 * NOISE_REACH) for first, side in zip(start, sides, strict=True))
    traces = (x[:, None] * lines + y).astype(jnp.uint32)

    def trace(number):  # four numbers of each random word
        words = jax.random.bits(jax.random.fold_in(key, number), (-(-count // 4),))
        return jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:count]

    return jax.vmap(jax.vmap(trace))(traces)


def smooth_noise(numbers: jax.Array, width: jax.Array) -> jax.Array:
    """Numbers of `white_noise`, without their margins, as noise of rms 1, smoothed over `width` traces along x and y.

    It is white down the traces. Its numbers are uniform; seen through a wavelet, which adds many up, they are all but
    Gaussian (kurtosis at least 2.8).
    """
    values = (numbers.astype(jnp.float32) - 127.5) * (math.sqrt(12 / (256**2 - 1)))
    offsets = np.arange(-NOISE_REACH, NOISE_REACH + 1)
    for axis in (0, 1):
        weights = jnp.exp(-(offsets**2) / (2 * jnp.maximum(width[axis], 1e-2) ** 2))
        weights /= jnp.sqrt(jnp.sum(weights**2))
        count = values.shape[axis] - 2 * NOISE_REACH
        parts = [jax.lax.slice_in_dim(values, k, k + count, axis=axis) for k in range(len(offsets))]
        values = jnp.sum(jnp.stack([weight * part for weight, part in zip(weights, parts, strict=True)]), axis=0)
    return values


def horizons(layers: Layers, time: jax.Array, below: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where horizons run: labels uint8 (inline, crossline, sample), and depths float32 (inline, crossline, horizon).

    time, below: geological times of the samples, and of those under them. A horizon runs between two samples where its
    time does, unless time jumps there: then a fault cuts it out. Where it runs twice, above a reverse fault and below,
    its depth is the upper one.
    """
    later = facies_of(layers, below)
    crossed = (later > facies_of(layers, time)) & (jnp.abs(below - time) < _JUMP)
    wanted = layers.horizons[jnp.maximum(later, 1) - 1]
    share = (wanted - time) / jnp.where(crossed, below - time, 1.0)
    upper, lower = (jnp.where(crossed & half, later, jnp.uint8(0)) for half in (share < 0.5, share >= 0.5))
    labels = jnp.maximum(upper, jnp.pad(lower, ((0, 0), (0, 0), (1, 0)))[..., :-1])
    place = jnp.arange(time.shape[-1]) + share
    last = place <= time.shape[-1] - 1
    found = [
        jnp.min(jnp.where(crossed & last & (later == number), place, jnp.inf), axis=-1)
        for number in range(1, len(layers.horizons) + 1)
    ]
    depth = jnp.stack(found, axis=-1)
    return labels, jnp.where(jnp.isfinite(depth), depth, jnp.nan)
