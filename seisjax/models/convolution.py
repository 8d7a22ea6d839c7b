"""Convolutions that keep the size, each platform with the formulation that is fastest there.

Arrays are (batch, *spatial, features), kernels (*sides, in features, out features) with odd sides; zeros lie outside.
On graphics processors and TPUs that is XLA's own convolution. XLA for CPUs, measured on two cores
(benchmarks/README.md), gains from two changes of shape, which change nothing but the order of sums:

- The kernel's gradient is a convolution with the whole image as its kernel, in which the batch takes the part of the
  features. Its rows are cut into strips that overlap, and the strips put on the batch: eight of them fill a vector.
- With few features at high resolution, neighbouring columns are computed together as more features, by a kernel that
  holds the same taps for each, shifted.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding

_VECTOR = 8  # float32 numbers of a vector that every processor with AVX has
_FEW = 8  # features; more of them fill vectors


def convolution(x: jax.Array, kernel: jax.Array, split: NamedSharding | None = None) -> jax.Array:
    """(batch, *spatial, out features), of the same dtype as x and the kernel.

    split: the layout of activations where devices share out windows; rows are then left whole, for strips would be
    gathered. Without it there is no forward-mode differentiation.
    """
    return _plain(x, kernel) if split is not None else _by_platform(x, kernel)


@jax.custom_vjp
def _by_platform(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.platform_dependent(x, kernel, cpu=_folded, default=_plain)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _by_platform(x, kernel), (x, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return lax.platform_dependent(*kept, gradient, cpu=_gradients_on_cpu, default=_gradients)


_by_platform.defvjp(_forward, _backward)


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _convolve(x, kernel, (1,) * (x.ndim - 2), [(side // 2, side // 2) for side in kernel.shape[:-2]])


def _gradients(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(_plain, x, kernel)[1](gradient)


def _gradients_on_cpu(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    turned = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)
    return _folded(gradient, turned), _kernel_gradient(x, kernel, gradient)


def _folded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution, of which each step computes a number of neighbouring columns that suits the features."""
    *spatial, of_input, of_output = kernel.shape
    together = _columns_together(x.shape[-2], of_input, of_output)
    if together == 1:
        return _plain(x, kernel)
    ndim = len(spatial)
    others = [(0, 0)] * (ndim - 1)
    shifted = [jnp.pad(kernel, [*others, (i, together - 1 - i), (0, 0), (0, 0)]) for i in range(together)]
    # Column i of a group is output feature i * of_output on: (..., width / together, together, of_output) in memory.
    y = _convolve(
        x,
        jnp.concatenate(shifted, axis=-1),
        (1,) * (ndim - 1) + (together,),
        [(side // 2, side // 2) for side in spatial],
    )
    return y.reshape(*x.shape[:-1], of_output)


def _columns_together(columns: int, of_input: int, of_output: int) -> int:
    if not isinstance(columns, int):  # a symbol, in an exported program
        return 1
    wanted = 4 if of_input == 1 else 2 if max(of_input, of_output) <= 2 * _FEW else 1
    return math.gcd(wanted, columns)


def _kernel_gradient(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient with respect to the kernel, from strips of rows.

    It is the sum over positions p of x[p + tap] gradient[p], or of x[p] gradient[p - tap]: whichever has fewer features
    is taken at every tap, for that is what is copied.
    """
    if gradient.shape[-1] < x.shape[-1]:
        turned = _correlation(gradient, x, kernel.shape[:-2])
        return jnp.flip(turned, range(kernel.ndim - 2)).swapaxes(-1, -2)
    return _correlation(x, gradient, kernel.shape[:-2])


def _correlation(x: jax.Array, y: jax.Array, taps: tuple[int, ...]) -> jax.Array:
    """Sums over batch and positions p of x[p + tap] y[p], (*taps, features of x, features of y), in strips of rows."""
    strips = _strips(len(x), x.shape[1])
    length = x.shape[1] // strips
    x = jnp.pad(x, [(0, 0), *((side // 2, side // 2) for side in taps), (0, 0)])
    cuts = [lax.slice_in_dim(x, i * length, (i + 1) * length + taps[0] - 1, axis=1) for i in range(strips)]
    # The batch stays the slower of the two, so that each device cuts its own part of it.
    x = jnp.stack(cuts, axis=1).reshape(-1, *cuts[0].shape[1:])
    y = y.reshape(-1, length, *y.shape[2:])
    kernel = jax.ShapeDtypeStruct((*taps, x.shape[-1], y.shape[-1]), x.dtype)
    options = (1,) * len(taps), [(0, 0)] * len(taps)
    return jax.linear_transpose(lambda kernel: _convolve(x, kernel, *options), kernel)(y)[0]


def _strips(batch: int, rows: int) -> int:
    """As many as fill a vector together with the batch; 1 where rows are too few."""
    strips = _VECTOR // math.gcd(_VECTOR, batch)
    return strips if rows % strips == 0 and rows // strips >= _VECTOR else 1


def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: list[tuple[int, int]]) -> jax.Array:
    spatial = "DHW"[-(x.ndim - 2) :]
    names = ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")
    return lax.conv_general_dilated(x, kernel, strides, padding, None, None, names)
