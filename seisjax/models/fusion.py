"""What XLA may fuse, where its choice costs more than it saves."""

from collections.abc import Callable

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def apart(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`function` as a computation of its own, of arrays that are in memory when it begins.

    XLA for CPUs fuses what is elementwise into all that uses it, and there computes it anew for each use of a sample;
    `lax.optimization_barrier` does not keep it from that, but it leaves a call with the attribute `inlineable="false"`
    as it is (its pass CallInliner). Functions of jax.numpy that are compiled for themselves, as
    `jnp.where` is, would become computations of their own inside: use those of `lax`.
    """
    compiled = jax.jit(function)

    def call(*args: jax.Array) -> jax.Array:
        with set_xla_metadata(inlineable="false"):
            return compiled(*args)

    return call
