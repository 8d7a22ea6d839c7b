"""The UNet's layers for any number of spatial dimensions: arrays are (batch, *spatial, features), channels last.

Parameters and statistics are float32; `dtype` is that of convolutions and activations. Parameters are born zero (a
scale one): `initialize.py` draws them all at once.
"""

import functools
import math
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.sharding import NamedSharding

from seisjax.conventions import SPACE
from seisjax.models.convolution import convolution, convolution_by_platform
from seisjax.models.fusion import apart

Sides = tuple[int, ...]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}
GROUPS = 8  # Wolny et al. (2020), doi:10.7554/eLife.57613


class Convolution(nnx.Module):
    """A convolution that keeps the size (zeros outside), with a kernel of an odd number of samples along each axis.

    alone: one device holds its arrays, and it may be computed in the formulation that is fastest there.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        kernel: Sides,
        use_bias: bool,
        dtype: jnp.dtype,
        alone: bool = False,
    ):
        self.kernel = nnx.Param(jnp.zeros((*kernel, in_features, features)))
        self.bias = nnx.Param(jnp.zeros(features)) if use_bias else None
        self.dtype = dtype
        self.alone = alone

    def __call__(self, x: jax.Array) -> jax.Array:
        convolve = convolution_by_platform if self.alone else convolution
        y = convolve(x.astype(self.dtype), self.kernel[...].astype(self.dtype))
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class UpConvolution(nnx.Module):
    """A transposed convolution with kernels as long as its strides, which multiplies the size by them.

    Its taps do not overlap, so it is a matrix product that gives each sample's children, and a reshape
    (Shi et al. 2016, arXiv 1609.05158).
    """

    def __init__(self, in_features: int, features: int, *, strides: Sides, use_bias: bool, dtype: jnp.dtype):
        self.kernel = nnx.Param(jnp.zeros((in_features, math.prod(strides) * features)))
        self.bias = nnx.Param(jnp.zeros(features)) if use_bias else None
        self.strides = strides
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, *sides, _ = x.shape
        ndim = len(sides)
        y = _product(x.astype(self.dtype), self.kernel[...].astype(self.dtype))
        y = y.reshape(batch, *sides, *self.strides, -1)
        order = [axis for i in range(ndim) for axis in (1 + i, 1 + ndim + i)]
        y = y.transpose(0, *order, 1 + 2 * ndim).reshape(batch, *map(operator.mul, sides, self.strides), -1)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x @ kernel, (batch, *spatial, features) by (features, more features).

    XLA for CPUs turns the first factor of the kernel's gradient round in memory. Differentiation would put the
    gradient there, the larger one; here it is x.
    """
    return x @ kernel


def _product_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _product_backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    return gradient @ kernel.T, jnp.tensordot(x, gradient, (tuple(range(x.ndim - 1)),) * 2)


_product.defvjp(_product_forward, _product_backward)


class Head(nnx.Module):
    """A convolution with a kernel of 1 sample, to float32 logits."""

    def __init__(self, in_features: int, features: int, *, dtype: jnp.dtype):
        self.kernel = nnx.Param(jnp.zeros((in_features, features)))
        self.bias = nnx.Param(jnp.zeros(features))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(self.dtype)
        return jnp.matmul(x.astype(self.dtype), kernel, preferred_element_type=jnp.float32) + self.bias[...]


class GroupNorm(nnx.Module):
    """Zero mean and unit deviation over space and a group of features, each sample of the batch for itself.

    Wu & He (2018), arXiv 1803.08494; with as many groups as features it is the instance norm. `sides`: see `within`.
    """

    def __init__(self, features: int, groups: int, *, epsilon: float = 1e-5):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.groups = groups
        self.epsilon = epsilon

    def __call__(self, x: jax.Array, sides: Sides | None = None) -> jax.Array:
        batch, features = x.shape[0], x.shape[-1]
        # Over space for each feature first: a reduction that keeps the layout; groups are then of small arrays.
        grouped = (batch, self.groups, features // self.groups)
        means, variances = (m.reshape(grouped) for m in _moments(x, tuple(range(1, x.ndim - 1)), sides))
        mean = means.mean(-1)
        variance = (variances + jnp.square(means - mean[..., None])).mean(-1)
        mean, variance = (jnp.repeat(m, features // self.groups, axis=-1) for m in (mean, variance))
        return _standardize(x, mean, variance, self.scale[...], self.bias[...], self.epsilon)


class BatchNorm(nnx.Module):
    """Zero mean and unit deviation of each feature over batch and space, of the whole global batch under `jax.jit`.

    Ioffe & Szegedy (2015), arXiv 1502.03167. Running statistics, used after `model.eval()`, are the plain mean over
    the batches so far until there are 1 / (1 - momentum) of them, an exponential one from then on. `sides`: see
    `within`.
    """

    def __init__(self, features: int, *, momentum: float = 0.99, epsilon: float = 1e-5):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))
        self.count = nnx.BatchStat(jnp.zeros(()))
        self.momentum = momentum
        self.epsilon = epsilon
        self.use_running_average = False

    def __call__(self, x: jax.Array, sides: Sides | None = None) -> jax.Array:
        if self.use_running_average:
            mean, variance = self.mean[...], self.var[...]
        else:
            mean, variance = _moments(x, tuple(range(x.ndim - 1)), sides)
            self._remember(lax.stop_gradient(mean), lax.stop_gradient(variance))
        return _standardize(x, mean, variance, self.scale[...], self.bias[...], self.epsilon)

    def _remember(self, mean: jax.Array, variance: jax.Array) -> None:
        count = self.count[...]
        keep = jnp.minimum(self.momentum, count / (count + 1))
        self.mean[...] = keep * self.mean[...] + (1 - keep) * mean
        self.var[...] = keep * self.var[...] + (1 - keep) * variance
        self.count[...] = count + 1


# Windows that devices share out. Where a device's share of a resolution is odd, zeros at the end make it even: pooling
# then needs no sample of another device, and nothing is gathered. What is beyond the window stays zero and counts for
# nothing, so that results are those of the window alone.


def within(x: jax.Array, sides: Sides | None) -> jax.Array:
    """x (batch, *spatial, features) with zeros beyond the first `sides` samples of each axis; None is all of them."""
    for axis, side in enumerate(sides or (), 1):
        if x.shape[axis] > side:
            inside = jnp.arange(x.shape[axis]) < side
            x = jnp.where(jnp.expand_dims(inside, [i for i in range(x.ndim) if i != axis]), x, 0)
    return x


def resized(x: jax.Array, sides: Sides, split: NamedSharding | None) -> jax.Array:
    """x, at its ends cut off or filled up with zeros to `sides` and laid out as `split`; x itself if it has them."""
    if x.shape[1:-1] == sides:
        return x
    x = x[(slice(None), *map(slice, sides))]
    x = jnp.pad(x, [(0, 0), *((0, side - n) for side, n in zip(sides, x.shape[1:-1], strict=True)), (0, 0)])
    return x if split is None else lax.with_sharding_constraint(x, split)


def even_sides(sides: Sides, strides: Sides, split: NamedSharding | None) -> Sides:
    """`sides`, of which the one that devices share out is rounded up so that each holds a multiple of the stride."""
    if split is None:
        return sides
    axis, devices = split.spec.index(SPACE) - 1, split.mesh.shape[SPACE]
    return tuple(side + (-side % (strides[i] * devices)) * (i == axis) for i, side in enumerate(sides))


def beside(a: jax.Array, b: jax.Array) -> jax.Array:
    """The features of a and then those of b, each (batch, *spatial, features), as (batch, *spatial, features of both).

    XLA for CPUs copies a concatenation sample by sample, in one thread: 54 ms at 1024 x 1024 for 8 and 8 features. The
    sum of both with zeros beside them takes 12 (benchmarks/README.md).
    """
    return lax.platform_dependent(a, b, cpu=_sum_of_padded, default=lambda a, b: jnp.concatenate([a, b], axis=-1))


def _sum_of_padded(a: jax.Array, b: jax.Array) -> jax.Array:
    rest = [(0, 0)] * (a.ndim - 1)
    return jnp.pad(a, [*rest, (0, b.shape[-1])]) + jnp.pad(b, [*rest, (a.shape[-1], 0)])


NORMS: dict[str, Callable[[int], GroupNorm | BatchNorm | None]] = {
    "group": lambda features: GroupNorm(features, math.gcd(GROUPS, features)),
    "batch": BatchNorm,
    "instance": lambda features: GroupNorm(features, features),
    "none": lambda features: None,
}


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, strides: Sides) -> jax.Array:
    """The largest of each block of neighbours (batch, *sides / strides, features); equals share the gradient.

    strides: 1 or 2 along each axis; they divide the sides.

    A reshape and a maximum: its gradient is a mask, where that of a pooling window is a scatter. The mask is kept as
    one byte for each of the results: differentiation would keep a float for each of the neighbours.
    """
    batch, *sides, features = x.shape
    blocks = x.reshape(batch, *(n for side, by in zip(sides, strides, strict=True) for n in (side // by, by)), features)
    return blocks.max(_inside(strides))


def _max_pool_forward(x: jax.Array, strides: Sides) -> tuple[jax.Array, jax.Array]:
    """The result, and which neighbours are the largest, as bits.

    Neighbours are compared with each other, one axis after the other, so that some bit is set whatever the rounding.
    Compared with the result, none may equal it: a compiler computes x anew for each of its uses, where it may round
    otherwise.
    """
    largest, bits = x, jnp.ones(x.shape, jnp.uint8)
    for place, axis in enumerate(axis for axis in reversed(range(1, x.ndim - 1)) if strides[axis - 1] > 1):
        (a, b), (of_a, of_b) = _halves(largest, axis), _halves(bits, axis)
        of_b <<= 1 << place
        bits = jnp.where(a > b, of_a, jnp.where(b > a, of_b, of_a | of_b))
        largest = jnp.maximum(a, b)
    return largest, bits


def _max_pool_backward(strides: Sides, bits: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    spread = functools.partial(_spread, strides)
    return (lax.platform_dependent(bits, gradient, cpu=apart(spread), default=spread),)


def _spread(strides: Sides, bits: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient, at those neighbours whose bits are set."""
    inside = _inside(strides)
    share = gradient / lax.population_count(bits).astype(gradient.dtype)
    is_largest = (jnp.expand_dims(bits, inside) & _bits(strides)) != 0
    shares = jnp.broadcast_to(jnp.expand_dims(share, inside), is_largest.shape)
    spread = lax.select(is_largest, shares, jnp.zeros_like(shares))
    batch, *sides, features = bits.shape
    return spread.reshape(batch, *map(operator.mul, sides, strides), features)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _halves(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Every other sample of x along an axis, from the first on and from the second on."""
    pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    first, second = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    return first, second


def _inside(strides: Sides) -> tuple[int, ...]:
    """The axes inside the blocks of an array (batch, side / stride, stride, side / stride, stride, ..., features)."""
    return tuple(range(2, 2 * len(strides) + 1, 2))


def _bits(strides: Sides) -> jax.Array:
    """A bit of its own for each place in such a block: uint8 (1, 1, stride, 1, stride, ..., 1)."""
    places = jnp.arange(math.prod(strides), dtype=jnp.uint8)
    return (1 << places).reshape(1, *(n for by in strides for n in (1, by)), 1)


def _moments(x: jax.Array, axes: Sides, sides: Sides | None) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over `axes`, float32; of the samples within `sides` alone, beyond which x is 0.

    The variance is the mean square about the mean, a second pass: the mean square less the square of the mean would
    lose one digit for each that the mean is above the deviation. Its slope with respect to that mean is 0.
    """
    x = x.astype(jnp.float32)
    mean = _mean(x, axes, sides)
    squares = within(jnp.square(x - lax.stop_gradient(mean)), sides)
    return mean.squeeze(axes), _mean(squares, axes, sides).squeeze(axes)


def _mean(x: jax.Array, axes: Sides, sides: Sides | None) -> jax.Array:
    """Mean over `axes`, kept as 1, of the samples within `sides` alone, beyond which x is 0."""
    mean = x.mean(axes, keepdims=True)
    more = math.prod(x.shape[1:-1]) / math.prod(sides or x.shape[1:-1])
    return mean * more if more > 1 else mean


def _standardize(
    x: jax.Array, mean: jax.Array, variance: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> jax.Array:
    """(x - mean) / deviation * scale + bias as one product and one sum; mean is (features,) or (batch, features)."""
    slope = lax.rsqrt(variance + epsilon) * scale
    offset = bias - mean * slope
    if mean.ndim == 2:
        slope, offset = (jnp.expand_dims(v, tuple(range(1, x.ndim - 1))) for v in (slope, offset))
    return (x.astype(jnp.float32) * slope + offset).astype(x.dtype)
