"""Parameters drawn all at once."""

import math
from typing import Any

import jax
import jax.numpy as jnp


def init_parameters(shapes: Any, key: jax.Array) -> Any:
    """Initial values of a network's leaves: a pure dict like `shapes` (`nnx.to_pure_dict` of `nnx.eval_shape`).

    A leaf's last name says what it is. A `kernel` is normal with variance gain / fan-in: gain 2 where an activation
    follows (He et al. 2015, arXiv 1502.01852), which is where the kernel has spatial axes, and 1 for matrices.
    A `scale` or `var` is 1; all else is 0. One draw is cut into all kernels: compiling a draw for each shape takes
    ten times as long. The values do not depend on how the result is sharded.
    """
    paths, tree = jax.tree_util.tree_flatten_with_path(shapes)
    kernels = [leaf for path, leaf in paths if path[-1].key == "kernel"]
    normal = jax.random.normal(key, (sum(math.prod(leaf.shape) for leaf in kernels),))
    values, start = [], 0
    for path, leaf in paths:
        name, size = path[-1].key, math.prod(leaf.shape)
        if name == "kernel":
            gain = 2.0 if len(leaf.shape) > 2 else 1.0
            deviation = math.sqrt(gain / math.prod(leaf.shape[:-1]))
            value = (normal[start : start + size] * deviation).reshape(leaf.shape)
            start += size
        else:
            value = jnp.full(leaf.shape, float(name in ("scale", "var")))
        values.append(value.astype(leaf.dtype))
    return jax.tree.unflatten(tree, values)


def parameter_count(params: Any) -> int:
    """Number of parameters in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
