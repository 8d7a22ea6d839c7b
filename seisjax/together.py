"""What the processes of a run tell one another: to take one decision, to share work, to be ready together."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def place_among_processes() -> tuple[int, int]:
    """The number of this process and how many there are; a process that never joined others asks no device."""
    return (jax.process_index(), jax.process_count()) if jax.distributed.is_initialized() else (0, 1)


def process_name() -> str:
    """This process as messages name it, "process 3 of 8"; "" where it is the only one."""
    number, count = place_among_processes()
    return f"process {number} of {count}" if count > 1 else ""


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


def from_all(arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """What each process gave, in their order, one at a time; all processes must call it and take all.

    The names are the same for all, the shapes need not be.
    """
    number, count = place_among_processes()
    if count == 1:
        yield dict(arrays)
        return
    # Bytes, because JAX would make 32 bits of the 64 of others.
    file, named = io.BytesIO(), dict[str, Any](arrays)
    np.savez(file, **named)
    own = np.frombuffer(file.getbuffer(), np.uint8)
    lengths = np.ravel(multihost_utils.process_allgather(np.int32(own.size)))
    padded = np.zeros(max(lengths), np.uint8)
    padded[: own.size] = own
    for source in range(count):
        found = multihost_utils.broadcast_one_to_all(padded, is_source=source == number)
        with np.load(io.BytesIO(found[: lengths[source]].tobytes())) as given:
            yield dict(given)


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
