"""Several processes as one run: how they find each other, how they meet, and how shared arrays are brought together."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from seisjax.errors import UserError

# A process that has not been heard of for so long is taken for dead, and ends the others.
_HEARTBEAT_SECONDS = 20
_SHUTDOWN_SECONDS = 60


def initialize(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None, *, timeout: float = 300
) -> None:
    """Join a run of several processes; with nothing given and no cluster around, stay alone.

    Must come before anything else that touches devices.

    Args:
      coordinator_address: host:port of process 0; None asks the cluster.
      num_processes: processes of the run. Without the other two it is what the cluster must have brought together.
      process_id: number of this process, from 0; None asks the cluster.
      timeout: seconds in which all processes must have come.

    Raises UserError when the three do not go together, when the cluster brought another number of processes, or when
    some process did not come in time.
    """
    given = [value is not None for value in (coordinator_address, num_processes, process_id)]
    if not any(given):
        return
    if not all(given):
        raise UserError("give --coordinator_address, --num_processes and --process_id together, or none of them")
    jax.distributed.initialize(
        coordinator_address,
        num_processes,
        process_id,
        initialization_timeout=round(timeout),
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
    )
    meet("start")


def is_main() -> bool:
    """Whether this is process 0, which writes and speaks for all."""
    return jax.process_index() == 0


def meet(name: str) -> None:
    """Wait until all processes have come to the point `name`; one process goes on at once."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def gathered(tree: Any) -> Any:
    """The tree with whole numpy arrays for leaves, on every process. All processes must call it."""
    leaves, structure = jax.tree.flatten(tree)
    apart = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array) and not _is_whole(x)]
    if apart:
        mesh = leaves[apart[0]].sharding.mesh
        together = jax.jit(lambda arrays: arrays, out_shardings=NamedSharding(mesh, PartitionSpec()))
        for i, whole in zip(apart, together([leaves[i] for i in apart]), strict=True):
            leaves[i] = whole
    return jax.tree.unflatten(structure, [np.asarray(x) for x in leaves])


def _is_whole(array: jax.Array) -> bool:
    return array.is_fully_addressable or array.is_fully_replicated
