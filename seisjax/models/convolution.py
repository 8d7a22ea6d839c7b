"""Convolutions that keep the size, each platform with the formulation that is fastest there.

Arrays are (batch, *spatial, features), kernels (*sides, in features, out features) with odd sides; zeros lie outside.
On graphics processors and TPUs that is XLA's own convolution. XLA for CPUs, measured on two cores
(benchmarks/README.md), gains from three changes, which change nothing but the order of sums:

- With few features at high resolution, neighbouring columns are computed together as more features, by a kernel that
  holds the same taps for each, shifted.
- In three dimensions the taps along the first axis become features, so that it is a convolution in two.
- For XLA the kernel's gradient is a convolution with a whole image as its kernel, a product of matrices as long as the
  image. It is added up from strips of rows that the caches hold, and whichever of input and gradient has more features
  is the kernel.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

_FEW = 16  # features; two columns together are faster up to here
_WIDE = 32  # features of a kernel's gradient, from which on its products of matrices are fast
_MOST_TOGETHER = 4  # columns; more of them compute too many zeros
_POSITIONS = 2**10  # of a strip at least
_MOST_STRIPS = 8  # each takes its time to compile


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(batch, *spatial, out features) of the same dtype, as XLA computes it, with arrays on any number of devices."""
    return _convolve(x, kernel, (1,) * (x.ndim - 2), [(side // 2, side // 2) for side in kernel.shape[:-2]])


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
    wanted = 4 if of_input == 1 else 2 if max(of_input, of_output) <= _FEW else 1
    columns = x.shape[-2]
    together = math.gcd(wanted, columns) if isinstance(columns, int) else 1  # a symbol, in an exported program
    return _columns_together(x, kernel, together, [(side // 2, side // 2) for side in kernel.shape[:-2]])


def _columns_together(x: jax.Array, kernel: jax.Array, together: int, padding: list[tuple[int, int]]) -> jax.Array:
    """The convolution that takes a step for each `together` columns, by which the result's columns are divisible."""
    ndim = kernel.ndim - 2
    others = [(0, 0)] * (ndim - 1)
    shifted = [jnp.pad(kernel, [*others, (i, together - 1 - i), (0, 0), (0, 0)]) for i in range(together)]
    # What a step gives, (together, out features), lies in memory as the columns do.
    y = _convolve(x, jnp.concatenate(shifted, axis=-1), (1,) * (ndim - 1) + (together,), padding)
    return y.reshape(*y.shape[:-2], y.shape[-2] * together, -1)


def _kernel_gradient(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient with respect to the kernel.

    It is the sum over positions p of x[p + tap] gradient[p], or of x[p] gradient[p - tap]: whichever has fewer features
    is taken at every tap, for that is what is copied.
    """
    taps = kernel.shape[:-2]
    if gradient.shape[-1] < x.shape[-1]:
        return jnp.flip(_correlation(gradient, x, taps), range(len(taps))).swapaxes(-1, -2)
    return _correlation(x, gradient, taps)


def _correlation(x: jax.Array, y: jax.Array, taps: tuple[int, ...]) -> jax.Array:
    """Sums over batch and positions p of x[p + tap] y[p], (*taps, features of x, features of y), in strips of rows."""
    batch, rows, *others, features = y.shape
    together = min(_MOST_TOGETHER, max(1, _WIDE // features))
    length = max(-(-rows // _MOST_STRIPS), -(-_POSITIONS // (batch * math.prod(others))))
    # Zeros make whole groups of columns; they add nothing.
    more = [0] * (len(taps) - 2) + [-others[-1] % together]
    y = jnp.pad(y, [(0, 0), (0, 0), *((0, n) for n in more), (0, 0)])
    outside = [(side // 2, side // 2 + n) for side, n in zip(taps[1:], more, strict=True)]
    kernel = jax.ShapeDtypeStruct((*taps, x.shape[-1], features), x.dtype)

    def of_strip(start: int, end: int) -> jax.Array:
        first, last = start - taps[0] // 2, end + taps[0] // 2
        padding = [(max(-first, 0), max(last - rows, 0)), *outside]
        strip = lax.slice_in_dim(x, max(first, 0), min(last, rows), axis=1)
        of_kernel = jax.linear_transpose(lambda kernel: _columns_together(strip, kernel, together, padding), kernel)
        return of_kernel(lax.slice_in_dim(y, start, end, axis=1))[0].astype(jnp.float32)

    # One after the other in the program: inside a loop XLA's convolutions for CPUs are ten times slower.
    strips = [of_strip(start, min(start + length, rows)) for start in range(0, rows, length)]
    return sum(strips[1:], strips[0]).astype(x.dtype)


def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: list[tuple[int, int]]) -> jax.Array:
    spatial = "DHW"[-(x.ndim - 2) :]
    names = ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")
    return lax.conv_general_dilated(x, kernel, strides, padding, None, None, names)
