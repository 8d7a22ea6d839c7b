"""Random changes of training samples: pure, on the device, inside the step."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.conventions import AUGMENT, IGNORE, labelled_section
from seisjax.errors import UserError

# Every kind of change has random keys of its own, so that switching one on leaves the others as they were. Numbers are
# never given anew: they are part of what a seed means.
_FLIP, _POLARITY, _GAIN, _NOISE_LEVEL, _NOISE, _SHIFT, _STRETCH, _SILENT, _TRACES, _FREQUENCY, _DEPTH, _WARP = range(12)

_SPECTRUM_PARTS = 8  # intervals between the control points of a random spectrum
_FILTER_REACH = 32  # samples on either side that a filter takes in: beyond, what such smooth spectra need is nothing


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training sample; 0 switches a kind off. The changes follow each other in this order.

    flip_axes: axes of the window (0 is its first) that are mirrored with probability 1/2.
    time_shift: moved along the last axis by up to so many samples, either way, all shifts alike.
    time_stretch: stretched along the last axis about its middle by the factor exp(N(0, time_stretch)).
    warp: displaced along each side longer than 1 by a smooth random field of this deviation in samples, a cubic
      B-spline of random control points every `warp_spacing` samples (as Ronneberger et al. 2015 deform).
    frequency: the amplitude spectrum along the last axis is scaled, in every trace alike and without change of phase,
      by exp of a smooth random curve of this deviation.
    depth_gain: scaled by exp(N(0, depth_gain) z), z from -1 to 1 along the last axis.
    polarity: probability of a sign change. gain: scaled by exp(N(0, gain)).
    noise: white noise of deviation |N(0, noise)|, in units of the normalised deviation, is added.
    trace_dropout: a share of the traces (lines along the last axis), up to this, becomes 0.

    Flips, shifts, stretches and warps move image, labels and the mask of what is data together: images linearly
    between samples, labels to the nearest. What comes from outside the window, or from between data and no data, is no
    data without a label. The other kinds leave the labels alone. Sides of 1 are never moved, but where channels are
    sections side by side, a flip across them turns their order round.
    """

    flip_axes: tuple[int, ...] = ()
    polarity: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    time_shift: float = 0.0
    time_stretch: float = 0.0
    trace_dropout: float = 0.0
    frequency: float = 0.0
    depth_gain: float = 0.0
    warp: float = 0.0
    warp_spacing: int = 32

    def __call__(
        self, images: jax.Array, labels: jax.Array, valid: jax.Array, seed: int, indices: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Changed images and labels, of the same shapes.

        images (B, *window, C), normalised, C sections side by side of which the middle one is labelled (or one);
        labels (B, *window); valid, of the images' shape, is False where there is no
        data: there the result is 0. indices (B,): each sample's place in the stream. What happens to a sample depends
        on seed, place and window alone, not on the batch around it, nor on the devices.
        """
        stream = jax.random.fold_in(jax.random.key(seed), AUGMENT)

        def one(image: jax.Array, label: jax.Array, valid: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
            key = jax.random.fold_in(stream, index)
            image, label, valid = self._moved(key, image, label, valid)
            image = self._scaled(key, jnp.where(valid, image, 0.0))
            return jnp.where(valid, image, 0.0), label

        return jax.vmap(one)(images, labels, valid, indices)

    def alone(self) -> dict[str, "Augmentation"]:
        """Each kind of change that is switched on, by itself, under its name: to show what it does."""
        off = {field.name: field.default for field in fields(self)} | {"warp_spacing": self.warp_spacing}
        kinds = [name for name in off if name != "warp_spacing" and getattr(self, name)]
        return {name: replace(self, **off | {name: getattr(self, name)}) for name in kinds}

    def check(self, space_axis: int, window: Sequence[int]) -> None:
        """Raise UserError where a change would gather windows that devices split along axis `space_axis`.

        window: the window's sides. For meshes with space > 1.
        """
        moves = ["warp"]
        if space_axis == len(window) - 1:
            moves += ["time_shift", "time_stretch", "frequency"]
        for name in moves:
            if getattr(self, name) > 0:
                raise UserError(
                    f"augment.{name}={getattr(self, name):g} mixes samples along the axis that mesh.space splits; "
                    f"set augment.{name}=0, another mesh.space_axis or mesh.space=1"
                )

    def _moved(self, key: jax.Array, image: jax.Array, label: jax.Array, valid: jax.Array) -> tuple[jax.Array, ...]:
        """Image, label and mask after the changes of geometry."""
        if self.flip_axes:
            flips = jax.random.bernoulli(jax.random.fold_in(key, _FLIP), 0.5, (label.ndim,))
            for axis in self.flip_axes:
                along = axis if label.shape[axis] > 1 else -1
                image, valid = (jnp.where(flips[axis], jnp.flip(x, along), x) for x in (image, valid))
                label = jnp.where(flips[axis], jnp.flip(label, axis), label)
        places = self._places(key, label.shape)
        return _resample(image, label, valid, places) if places else (image, label, valid)

    def _places(self, key: jax.Array, window: tuple[int, ...]) -> dict[int, jax.Array]:
        """Axis -> where along it, in samples, each sample of the window (its size 1 where alike) is taken from."""
        here: dict[int, jax.Array] = {
            i: _along(i, len(window), jnp.arange(1.0 * side)) for i, side in enumerate(window) if side > 1
        }
        places: dict[int, jax.Array] = {}
        last = len(window) - 1
        if self.time_shift > 0 and last in here:
            limit = self.time_shift
            shift = jax.random.uniform(jax.random.fold_in(key, _SHIFT), minval=-limit, maxval=limit)
            places[last] = here[last] - shift
        if self.time_stretch > 0 and last in here:
            factor = jnp.exp(self.time_stretch * jax.random.normal(jax.random.fold_in(key, _STRETCH)))
            middle = (window[last] - 1) / 2
            places[last] = middle + (places.get(last, here[last]) - middle) / factor
        if self.warp > 0:
            keys = jax.random.split(jax.random.fold_in(key, _WARP), len(window))
            for axis, where in here.items():
                field = _smooth_field(keys[axis], window, self.warp_spacing)
                places[axis] = places.get(axis, where) + self.warp * field
        return places

    def _scaled(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """The image (*window, C) after the changes of amplitude."""
        samples = image.shape[-2]
        if self.frequency > 0 and samples > 1:
            image = _filtered(jax.random.fold_in(key, _FREQUENCY), image, self.frequency)
        if self.depth_gain > 0 and samples > 1:
            slope = self.depth_gain * jax.random.normal(jax.random.fold_in(key, _DEPTH))
            image = image * jnp.exp(slope * np.linspace(-1, 1, samples, dtype=np.float32))[:, None]
        if self.polarity > 0:
            image = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, _POLARITY), self.polarity), -image, image)
        if self.gain > 0:
            image = image * jnp.exp(self.gain * jax.random.normal(jax.random.fold_in(key, _GAIN)))
        if self.noise > 0:
            level = self.noise * jnp.abs(jax.random.normal(jax.random.fold_in(key, _NOISE_LEVEL)))
            image = image + level * jax.random.normal(jax.random.fold_in(key, _NOISE), image.shape)
        if self.trace_dropout > 0:
            traces = (*image.shape[:-2], image.shape[-1])
            image = jnp.where(_dropped(key, traces, self.trace_dropout)[..., None, :], 0.0, image)
        return image


def _along(axis: int, ndim: int, values: Any) -> Any:
    """A vector as an array of `ndim` axes that runs along one of them."""
    return values.reshape([-1 if i == axis else 1 for i in range(ndim)])


def _dropped(key: jax.Array, traces: tuple[int, ...], most: float) -> jax.Array:
    """Which traces fall silent: a share of them drawn between 0 and `most`, rounded down."""
    share = jax.random.uniform(jax.random.fold_in(key, _SILENT), maxval=most)
    lots = jax.random.uniform(jax.random.fold_in(key, _TRACES), traces)
    return lots < jnp.sort(lots, axis=None)[jnp.floor(share * lots.size).astype(jnp.int32)]


def _filtered(key: jax.Array, image: jax.Array, deviation: float) -> jax.Array:
    """The image (*window, C), mirrored at its ends, with its spectrum along the last axis scaled by exp of a curve.

    Shifted traces are weighted and summed: a Fourier transform of a window that devices split would gather it.
    """
    samples, reach = image.shape[-2], _FILTER_REACH
    padded = jnp.pad(image, [(0, 0)] * (image.ndim - 2) + [(reach, reach), (0, 0)], mode="symmetric")
    weights = _symmetric_filter(key, deviation)

    def moved(by: int) -> jax.Array:
        return jax.lax.slice_in_dim(padded, reach + by, reach + by + samples, axis=-2)

    return sum((weights[by] * (moved(by) + moved(-by)) for by in range(1, reach + 1)), start=weights[0] * image)


def _symmetric_filter(key: jax.Array, deviation: float) -> jax.Array:
    """Weights of samples 0 to _FILTER_REACH places away, in the filter without phase whose spectrum is exp(curve)."""
    bins = 2 * _FILTER_REACH + 1  # of a period of four times the reach
    amplitudes = jnp.exp(deviation * _smooth_field(key, (bins,), -(-bins // _SPECTRUM_PARTS)))
    places, frequencies = np.arange(_FILTER_REACH + 1)[:, None], np.arange(bins)
    cosines = np.cos(np.pi * places * frequencies / (bins - 1)) * np.where(frequencies % (bins - 1), 2, 1)
    return (amplitudes * (cosines / (2 * (bins - 1))).astype(np.float32)).sum(-1)


def _smooth_field(key: jax.Array, window: tuple[int, ...], spacing: int) -> jax.Array:
    """A smooth random field over the window, alike along sides of 1, whose deviation is 1 at every sample.

    Cubic B-splines on control points `spacing` samples apart, which are white noise: a sample is a sum of the nearest
    four along each axis, with weights whose squares sum to 1.
    """
    intervals = [-(-side // spacing) for side in window]
    field = jax.random.normal(key, [count + 3 for count in intervals])
    for axis, (side, count) in enumerate(zip(window, intervals, strict=True)):
        # A fixed order of additions, unlike a matrix product, so that no sample depends on the batch around it.
        near = []
        for number, weight in enumerate(_spline(side, spacing)):
            points = jax.lax.slice_in_dim(field, number, number + count, axis=axis)
            points = jax.lax.slice_in_dim(jnp.repeat(points, spacing, axis), 0, side, axis=axis)
            near.append(points * _along(axis, len(window), weight))
        field = (near[0] + near[1]) + (near[2] + near[3])
    return field


def _spline(samples: int, spacing: int) -> np.ndarray:
    """Weights (4, samples) of each sample's control points: the two before it, or one and itself, and the two after."""
    t = np.arange(samples) % spacing / spacing
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3])
    return (weights / np.linalg.norm(weights, axis=0)).astype(np.float32)


def _resample(
    image: jax.Array, label: jax.Array, valid: jax.Array, places: dict[int, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Image, label and mask from other places: of each axis in `places` from there, of the others from where they are.

    places: of whole traces, one number a sample of the last axis, or of every sample along every axis longer than 1.
    """
    if all(where.size == label.shape[-1] for where in places.values()):
        sides, before = (-1, label.shape[-1]), (slice(None),)
    else:
        sides, before = tuple(side for side in label.shape if side > 1), ()
    moving = [where.reshape(where.size if before else sides) for _, where in sorted(places.items())]

    def taken(values: jax.Array, index: Sequence[jax.Array], outside: float) -> jax.Array:
        there = values.reshape(*sides, *values.shape[label.ndim :]).at[(*before, *index)]
        return there.get(mode="fill", fill_value=outside, wrap_negative_indices=False)

    known = jnp.where(valid, image, jnp.nan)
    lower = [jnp.floor(where) for where in moving]
    total = jnp.zeros(())
    for corner in itertools.product((0, 1), repeat=len(moving)):
        index = [low.astype(jnp.int32) + step for low, step in zip(lower, corner, strict=True)]
        near = [jnp.abs(1 - step - (where - low)) for where, low, step in zip(moving, lower, corner, strict=True)]
        weight = math.prod(near[1:], start=near[0])[..., None]
        total += jnp.where(weight > 0, weight * taken(known, index, jnp.nan), 0.0)  # what weighs nothing may be unknown
    nearest = taken(label, [jnp.round(where).astype(jnp.int32) for where in moving], IGNORE).reshape(label.shape)
    image = total.reshape(image.shape)
    valid = jnp.isfinite(image)
    return image, jnp.where(labelled_section(valid), nearest, IGNORE).astype(label.dtype), valid
