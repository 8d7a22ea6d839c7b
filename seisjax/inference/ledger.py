"""What workers that predict one volume tell one another, and whoever asks later: which blocks are done, and how.

Beside the arrays, in the folder `ledger`: `plan.json`, what is being predicted; `blocks/<number>.json`, one record a
block that is done; `begun/<number>`, hints at who works where. The folder stays with the finished volume.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from seisjax.geometry import Box
from seisjax.volumes import Volume
from seisjax.volumes.store import Store

FOLDER = "ledger"
Place = tuple[str, Box]  # a shard of an array


class Ledger:
    """The records of a prediction."""

    def __init__(self, store: Store):
        self._store = store

    def done(self) -> set[int]:
        """Numbers of the blocks that any worker has done."""
        names = self._store.keys(f"{FOLDER}/blocks")
        return {int(name.removesuffix(".json")) for name in names if name.endswith(".json")}

    def has(self, number: int) -> bool:
        """Whether this block is done."""
        return self._store.read_bytes(_key(number)) is not None

    def record(self, number: int) -> dict[str, Any] | None:
        """Who did this block, when and with what command, and the checksums of what was written."""
        return self._store.read_json(_key(number))

    def add(self, number: int, region: str, command: str, shards: Mapping[str, str]) -> None:
        """Write down that a block is done; all of it is in the store."""
        record = {
            "region": region,
            "command": command,
            "host": platform.node(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "shards": dict(shards),
        }
        self._store.write_json(_key(number), record)

    def forget(self, number: int) -> None:
        """Have a block done again."""
        self._store.delete(_key(number))

    def begin(self, number: int) -> bool:
        """Say that the run that starts with this block is being worked on; False where another worker has said so.

        A hint, no promise: the worker may be gone.
        """
        return self._store.write_first(f"{FOLDER}/begun/{number}", b"")

    def forget_hints(self) -> None:
        """Nobody works on anything."""
        for name in self._store.keys(f"{FOLDER}/begun"):
            self._store.delete(f"{FOLDER}/begun/{name}")

    def finish(self, shards: Mapping[str, str]) -> None:
        """Keep the checksums of what is no block's: coordinates and masks."""
        self.forget_hints()
        self._store.write_json(f"{FOLDER}/rest.json", {"shards": dict(shards)})

    def rest(self) -> dict[str, str]:
        """The checksums that `finish` kept."""
        return (self._store.read_json(f"{FOLDER}/rest.json") or {"shards": {}})["shards"]


def checksums(volume: Volume, places: Iterable[Place]) -> dict[str, str]:
    """SHA-256 of the bytes in which the store holds each shard, by "array at its first sample"; "" for none at all."""
    found = {}
    for name, box in places:
        stored = volume.stored_shard(name, box)
        found[f"{name} at {','.join(map(str, box.start))}"] = (
            "" if stored is None else hashlib.sha256(stored).hexdigest()
        )
    return found


def summary_of(wanted: Mapping[str, Any]) -> str:
    """16 hex digits over what is predicted."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]


def _key(number: int) -> str:
    return f"{FOLDER}/blocks/{number}.json"
