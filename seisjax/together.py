"""What the processes of a run must do alike: take one decision, and be ready before they wait for one another."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def process_name() -> str:
    """This process as messages name it, "process 3 of 8"; "" where it is the only one."""
    return f"process {jax.process_index()} of {jax.process_count()}" if jax.process_count() > 1 else ""


def of_main(value: Any) -> Any:
    """What process 0 gives (anything that JSON holds), on every process. All processes must call it."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    filled = np.zeros(size, np.uint8)
    filled[: len(text)] = text[:size]
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(filled), np.uint8).tobytes())


def unlike_main(value: Any) -> str:
    """The processes that give another value (anything that JSON holds) than process 0, "1, 3"; "" where all agree.

    The same on every process, so that all can end with one message. All processes must call it.
    """
    if jax.process_count() == 1:
        return ""
    digest = np.frombuffer(hashlib.sha256(json.dumps(value).encode()).digest(), np.uint32)
    digests = np.asarray(multihost_utils.process_allgather(digest))
    return ", ".join(str(i) for i in np.flatnonzero((digests != digests[0]).any(axis=1)))


def compiled_together(function: Any, name: str) -> Callable[..., Any]:
    """A jitted function that all processes have compiled before the first of them calls it.

    Who calls first waits for the others in a collective, whose first meeting some libraries bound by seconds; one
    process may compile for minutes longer than another. The arguments of all calls have the shapes, dtypes and
    shardings of the first.
    """
    compiled: list[Callable[..., Any]] = []

    def call(*arguments: Any) -> Any:
        if not compiled:
            compiled.append(function.lower(*arguments).compile())
            if jax.process_count() > 1:
                multihost_utils.sync_global_devices(f"{name} is compiled")
        return compiled[0](*arguments)

    return call
