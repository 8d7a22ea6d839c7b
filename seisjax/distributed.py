"""Several processes as one run: how they find each other, how they meet, and how shared arrays are brought together."""

import contextlib
import functools
import glob
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seisjax.errors import UserError
from seisjax.roll_call import call_roll

# A process that has not been heard of for so long is taken for dead, and ends the others.
_HEARTBEAT_SECONDS = 20
_SHUTDOWN_SECONDS = 60
_TPU_ROLL_PORT = 8479  # beside libtpu's 8471-8478 and JAX's own 8482


@dataclass(frozen=True)
class _Place:
    """Where the processes of a run meet, and which of them this one is."""

    address: str
    count: int
    number: int
    found: str = ""  # what told so; "" is the user
    # What jax.distributed.initialize shall be given; it finds the rest itself.
    arguments: Mapping[str, Any] | None = None


def initialize(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None, *, timeout: float = 300
) -> None:
    """Join a run of several processes; with nothing given and no cluster around, stay alone.

    Must come before anything else that touches devices. A cluster is a SLURM step of several tasks, or TPU hosts.

    Args:
      coordinator_address: host:port of process 0; None asks the cluster.
      num_processes: processes of the run. Without the other two it is what the cluster must have brought together.
      process_id: number of this process, from 0; None asks the cluster.
      timeout: seconds in which all processes must have come.

    Raises UserError when the three do not go together, when the cluster brought another number of processes, and when
    some process did not come in time.
    """
    place = _given(coordinator_address, num_processes, process_id) or _slurm(os.environ) or _tpu(os.environ)
    found = 1 if place is None else place.count
    by_metadata = place is None and _on_tpu(os.environ)
    if num_processes not in (None, found) and not by_metadata:
        what = place.found if place else "no cluster"
        raise UserError(
            f"--num_processes={num_processes}: {found} found ({what}); "
            "start as many, or give --coordinator_address and --process_id too"
        )
    if place is not None:
        call_roll(place.address, place.count, place.number, timeout)
        _join(timeout, place.arguments or {})
    elif by_metadata:
        _join(timeout, {})
        if num_processes not in (None, jax.process_count()):
            raise UserError(f"--num_processes={num_processes}: {jax.process_count()} found (TPU metadata)")


def several() -> tuple[int, int] | None:
    """This process's number and how many there are, where several have joined; asks no device."""
    return _joined


_joined: tuple[int, int] | None = None


def _join(timeout: float, arguments: Mapping[str, Any]) -> None:
    global _joined
    with _at_most(timeout, f"--start_timeout: the processes did not all come within {timeout:.0f} s; see their logs"):
        try:
            jax.distributed.initialize(
                **arguments,
                initialization_timeout=round(timeout) + 60,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            )
        except ValueError:
            if arguments:
                raise
            return  # no cluster: the machine has TPUs, and they are all there are
        if jax.process_count() > 1:
            _joined = jax.process_index(), jax.process_count()
        # The first collective connects all processes; later it would break where one comes 30 s after another.
        meet("start")


@contextlib.contextmanager
def _at_most(seconds: float, message: str) -> Iterator[None]:
    """End the process with one line if the block takes longer: JAX aborts without saying what it waited for."""

    def end() -> None:
        print(f"error: {message}", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _given(address: str | None, count: int | None, number: int | None) -> _Place | None:
    """What the user said, whole or not at all; a count alone is for checking."""
    if address is None and number is None:
        return None
    if address is None or count is None or number is None:
        raise UserError("give --coordinator_address, --num_processes and --process_id together, or none of them")
    if number >= count:
        raise UserError(f"--process_id={number}: the run has {count} processes, numbered from 0")
    arguments = {"coordinator_address": address, "num_processes": count, "process_id": number}
    return _Place(address, count, number, arguments=arguments | {"cluster_detection_method": "deactivate"})


def _slurm(environment: Mapping[str, str]) -> _Place | None:
    """A step of several tasks that srun started; JAX finds all but the port and the devices."""
    if "SLURM_STEP_NODELIST" not in environment or "SLURM_PROCID" not in environment:
        return None
    count = int(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS") or 1)
    if count < 2:
        return None
    # node[007-010,012],other -> node007
    first = re.match(r"([^,\[]+)(?:\[([^],-]+))?", environment["SLURM_STEP_NODELIST"])
    host = "".join(part or "" for part in first.groups()) if first else "localhost"
    # JAX takes a port from the job's number alone; steps side by side would meet at the same one.
    name = int(environment["SLURM_JOB_ID"]) * 8 + int(environment.get("SLURM_STEP_ID", 0)) % 8
    port = os.environ.setdefault("JAX_COORDINATOR_PORT", str(61440 + name % 4096))
    arguments = {"cluster_detection_method": "slurm", "local_device_ids": local_devices(environment)}
    number = int(environment["SLURM_PROCID"])
    return _Place(f"{host}:{port}", count, number, f"SLURM step of {count} tasks", arguments)


def local_devices(environment: Mapping[str, str]) -> list[int]:
    """Which of the GPUs that a SLURM task sees are its own, as numbers among those it sees; [] is all.

    JAX would take the one with the task's number on its node, which is wrong for one task a node with several GPUs
    and where SLURM shows each task only its own.
    """
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    visible = len(next((environment[name].split(",") for name in names if environment.get(name)), []))
    node = int(environment.get("SLURM_NODEID", 0))
    tasks = _tasks_on_nodes(environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    mine = tasks[min(node, len(tasks) - 1)]
    on_node = int(environment.get("SLURM_GPUS_ON_NODE") or visible)
    if mine == 1 or visible < max(on_node, mine):  # alone on its node, or shown its own alone
        return []
    each, local = visible // mine, int(environment["SLURM_LOCALID"])
    return list(range(local * each, (local + 1) * each))


def _tasks_on_nodes(text: str) -> list[int]:
    """SLURM's `2(x3),1` as [2, 2, 2, 1]."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(tasks) for tasks, times in parts for _ in range(int(times or 1))] or [1]


def _tpu(environment: Mapping[str, str]) -> _Place | None:
    """Several TPU hosts whose names the environment holds, as in GKE; JAX finds all."""
    hosts = (environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or "").split(",")
    slices = int(environment.get("MEGASCALE_NUM_SLICES") or 1)
    count = len(hosts) * slices
    if count < 2 or not _on_tpu({}):
        return None
    number = int(environment.get("MEGASCALE_SLICE_ID") or 0) * len(hosts) + int(environment.get("TPU_WORKER_ID") or 0)
    host = (environment.get("MEGASCALE_COORDINATOR_ADDRESS") or hosts[0]).split(":")[0]
    return _Place(f"{host}:{_TPU_ROLL_PORT}", count, number, f"{count} TPU hosts")


def _on_tpu(environment: Mapping[str, str]) -> bool:
    """Whether this is a machine with TPUs, and with a metadata server to ask for the others."""
    devices = glob.glob("/dev/accel*") + glob.glob("/dev/vfio/[0-9]*")
    return bool(devices and importlib.util.find_spec("libtpu")) and "TPU_SKIP_MDS_QUERY" not in environment


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
        whole = _gather(leaves[apart[0]].sharding.mesh)([leaves[i] for i in apart])
        for i, array in zip(apart, whole, strict=True):
            leaves[i] = array
    return jax.tree.unflatten(structure, [np.asarray(x) for x in leaves])


@functools.cache
def _gather(mesh: Mesh) -> Callable[[list[jax.Array]], list[jax.Array]]:
    return jax.jit(lambda arrays: arrays, out_shardings=NamedSharding(mesh, PartitionSpec()))


def _is_whole(array: jax.Array) -> bool:
    return array.is_fully_addressable or array.is_fully_replicated
