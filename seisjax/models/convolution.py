"""Convolutions that keep the size, each platform with the formulation that is fastest there.

Arrays are (batch, *spatial, features), kernels (*sides, in features, out features) with odd sides; zeros lie outside.
On graphics processors and TPUs that is XLA's own convolution. XLA for CPUs, measured on two cores
(benchmarks/README.md), gains from three changes, which change nothing but the order of sums:

- With few features at high resolution, neighbouring columns are computed together as more features, by a kernel that
  holds the same taps for each, shifted.
- In three dimensions the taps along the first axis become features, so that it is a convolution in two.
- For XLA the kernel's gradient is a convolution with a whole image as its kernel, a product of matrices as long as the
  image. It is added up from strips of rows that the caches hold. Whichever of input and gradient has more features is
  the kernel; where both have many, a product of matrices for each tap takes the place of the convolution.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

_FEW = 16  # features of the input, and of the result with its columns together, up to which that is faster
_OF_ONE = 32  # features of the result with its columns together where the input has one
_MOST_TOGETHER = 4  # columns; more of them compute too many zeros
# Of a kernel's gradient:
_WIDE = 256  # features of input and result, from which on a product of matrices for each tap is faster
_KERNELS = 32  # features of an image that is the kernel, from which on its columns are not put together
_STRIP = 2**17  # numbers of a strip of whichever has more features: half a MiB, for the cache of a core
_ROWS = 4  # of a strip at least, for those above and below are read with it


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(batch, *spatial, out features) of the same dtype, as XLA computes it, with arrays on any number of devices."""
    return _convolve(x, kernel, _same(kernel))


@jax.custom_vjp
def convolution_by_platform(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same for arrays that one device holds, without forward-mode differentiation.

    Several devices would add up the kernel's gradient anew for each of its strips.
    """
    return lax.platform_dependent(x, kernel, cpu=_on_cpu, default=convolution)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolution_by_platform(x, kernel), (x, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return lax.platform_dependent(*kept, gradient, cpu=_gradients_on_cpu, default=_gradients)


convolution_by_platform.defvjp(_forward, _backward)


def _gradients(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(convolution, x, kernel)[1](gradient)


def _on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    if kernel.ndim < 5:
        return _folded(x, kernel)
    plane, taps = _in_two_dimensions(x, kernel)
    y = _folded(plane, taps)
    return y.reshape(*x.shape[:-1], -1)


def _gradients_on_cpu(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    turned = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)
    return _on_cpu(gradient, turned), _kernel_gradient_on_cpu(x, kernel, gradient)


def _kernel_gradient_on_cpu(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
    if kernel.ndim < 5:
        return _kernel_gradient(x, kernel, gradient)
    plane, taps = _in_two_dimensions(x, kernel)
    of_taps = _kernel_gradient(plane, taps, gradient.reshape(*plane.shape[:-1], -1))
    depth, *sides, features, out_features = kernel.shape
    return jnp.moveaxis(of_taps.reshape(*sides, depth, features, out_features), -3, 0)


def _in_two_dimensions(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of (batch, planes, ...) and (taps, ...): (batch * planes, ..., taps * features), and the kernel for these."""
    taps, planes = kernel.shape[0], x.shape[1]
    padded = jnp.pad(x, [(0, 0), (taps // 2, taps // 2), *((0, 0),) * (x.ndim - 2)])
    beside = jnp.concatenate([padded[:, i : i + planes] for i in range(taps)], axis=-1)
    plane = beside.reshape(-1, *beside.shape[2:])
    kernel = jnp.moveaxis(kernel, 0, -3)
    return plane, kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])


def _folded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution, with as many neighbouring columns together as suits the features."""
    of_input, of_output = kernel.shape[-2:]
    wanted = _columns(of_output, _OF_ONE if of_input == 1 else _FEW) if of_input <= _FEW else 1
    columns = x.shape[-2]
    together = math.gcd(wanted, columns) if isinstance(columns, int) else 1  # a symbol, in an exported program
    if together == 1:
        return convolution(x, kernel)
    others = [(0, 0)] * (kernel.ndim - 3)
    shifted = [jnp.pad(kernel, [*others, (i, together - 1 - i), (0, 0), (0, 0)]) for i in range(together)]
    # What a step gives, (together, out features), lies in memory as the columns do.
    y = _convolve(x, jnp.concatenate(shifted, axis=-1), _same(kernel), strides=(1,) * len(others) + (together,))
    return y.reshape(*x.shape[:-1], -1)


def _columns(features: int, together: int) -> int:
    """How many columns of so many features to put together for `together` features at most."""
    return max(1, min(_MOST_TOGETHER, together // features))


def _kernel_gradient(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient with respect to the kernel.

    It is the sum over positions p of x[p + tap] gradient[p], or of x[p] gradient[p - tap]: whichever has fewer features
    is taken at every tap, for that is what is copied.
    """
    taps = kernel.shape[0], kernel.shape[1]
    if gradient.shape[-1] < x.shape[-1]:
        return jnp.flip(_correlation(gradient, x, taps), range(len(taps))).swapaxes(-1, -2)
    return _correlation(x, gradient, taps)


def _correlation(x: jax.Array, y: jax.Array, taps: tuple[int, int]) -> jax.Array:
    """Sums over batch and positions p of x[p + tap] y[p], (*taps, features of x, features of y), in strips of rows."""
    batch, rows, columns, features = y.shape
    of_strip = _products if min(x.shape[-1], features) >= _WIDE else _image_as_kernel
    halo = taps[0] // 2
    length = max(_ROWS, halo, _STRIP // (batch * columns * max(x.shape[-1], features)))
    strips = max(1, rows // length)

    def at_an_end(start: int, end: int) -> jax.Array:
        first, last = start - halo, end + halo
        outside = max(-first, 0), max(last - rows, 0)
        beside = lax.slice_in_dim(x, first + outside[0], last - outside[1], axis=1)
        return of_strip(beside, lax.slice_in_dim(y, start, end, axis=1), taps, outside)

    def add(strip: int, total: jax.Array) -> jax.Array:
        beside = lax.dynamic_slice_in_dim(x, strip * length - halo, length + 2 * halo, axis=1)
        return total + of_strip(beside, lax.dynamic_slice_in_dim(y, strip * length, length, axis=1), taps, (0, 0))

    total = at_an_end((strips - 1) * length, rows)
    if strips > 1:
        total = lax.fori_loop(1, strips - 1, add, total + at_an_end(0, length))
    return total.astype(x.dtype)


def _products(x: jax.Array, y: jax.Array, taps: tuple[int, int], outside: tuple[int, int]) -> jax.Array:
    """The sums for a strip y, float32: a product of matrices for each tap. x lies beside it, and zeros outside."""
    _, rows, columns, _ = y.shape
    across = taps[1] // 2
    x = jnp.pad(x, [(0, 0), outside, (across, across), (0, 0)])
    shifted = [[x[:, i : i + rows, j : j + columns] for j in range(taps[1])] for i in range(taps[0])]
    product = functools.partial(jnp.tensordot, axes=((0, 1, 2),) * 2, preferred_element_type=jnp.float32)
    return jnp.stack([jnp.stack([product(a, y) for a in row]) for row in shifted])


def _image_as_kernel(x: jax.Array, y: jax.Array, taps: tuple[int, int], outside: tuple[int, int]) -> jax.Array:
    """The same as a convolution of x with y as its kernel, neighbouring columns of which are together.

    Batch and features change places here, not in the convolution's dimension numbers: inside loops XLA would take one
    that is ten times slower.
    """
    batch, rows, columns, features = y.shape
    together = _columns(features, _KERNELS)
    more = -columns % together  # columns of zeros, which add nothing
    y = jnp.pad(y, [(0, 0), (0, 0), (0, more), (0, 0)])
    kernel = y.reshape(batch, rows, -1, together * features).transpose(1, 2, 0, 3)
    across = taps[1] // 2
    sums = _convolve(x.transpose(3, 1, 2, 0), kernel, [outside, (across, across + more)], dilation=(1, together))
    sums = sums.astype(jnp.float32).reshape(*sums.shape[:3], together, features)
    # The taps of a column begin where it lies in its group.
    of_columns = [sums[:, :, i : i + taps[1], i] for i in range(together)]
    return sum(of_columns[1:], of_columns[0]).transpose(1, 2, 0, 3)


def _same(kernel: jax.Array) -> list[tuple[int, int]]:
    """The samples of zeros at both ends of each axis with which a result is as large as its input."""
    return [(side // 2, side // 2) for side in kernel.shape[:-2]]


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    padding: Sequence[tuple[int, int]],
    *,
    strides: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
) -> jax.Array:
    """XLA's convolution, channels last; strides and the kernel's dilation are 1 unless given."""
    spatial = "DHW"[-(x.ndim - 2) :]
    names = ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")
    strides = strides or (1,) * (x.ndim - 2)
    return lax.conv_general_dilated(x, kernel, strides, padding, None, dilation, names)
