"""What workers that predict one volume tell one another, and whoever asks later: which blocks are done, and how.

Beside the arrays, in the folder `ledger`: `plan.json`, what is being predicted; `blocks/<number>.json`, one record a
block that is done; `begun/<number>`, hints at who works where. The folder stays with the finished volume.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from seisjax.geometry import Box
from seisjax.volumes import Volume
from seisjax.volumes.store import Store

FOLDER = "ledger"
Place = tuple[str, Box]  # a shard of an array

T = TypeVar("T")


class Ledger:
    """The records of a prediction."""

    def __init__(self, find: Callable[[], Store]):
        """`find` gives the store that holds them: a volume that has grown is moved to its place, and they with it."""
        self._find = find

    def _ask(self, question: Callable[[Store], T]) -> T:
        """What the store answers; asked again where it was moved meanwhile."""
        while True:
            store = self._find()
            answer = question(store)
            if self._find().url == store.url:
                return answer

    def done(self) -> set[int]:
        """Numbers of the blocks that any worker has done."""
        names = self._ask(lambda store: store.keys(f"{FOLDER}/blocks"))
        return {int(name.removesuffix(".json")) for name in names if name.endswith(".json")}

    def has(self, number: int) -> bool:
        """Whether this block is done."""
        return bool(self.among([number]))

    def among(self, numbers: Iterable[int]) -> set[int]:
        """Those of these blocks that are done."""
        keys = {_key(number): number for number in numbers}
        return {keys[key] for key in self._ask(lambda store: store.present([*keys]))}

    def record(self, number: int) -> dict[str, Any] | None:
        """Who did this block, when and with what command, and the checksums of what was written.

        None where there is no record, or a damaged one.
        """
        try:
            return self._ask(lambda store: store.read_json(_key(number)))
        except json.JSONDecodeError:
            return None

    def add(self, number: int, region: str, command: str, shards: Mapping[str, str]) -> None:
        """Write down that a block is done; all of it is in the store."""
        record = {
            "region": region,
            "command": command,
            "host": platform.node(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "shards": dict(shards),
        }
        self._find().write_json(_key(number), record)

    def forget(self, number: int) -> None:
        """Have a block done again."""
        self._find().delete(_key(number))

    def begin(self, number: int) -> bool:
        """Say that the run that starts with this block is being worked on; False where another worker has said so.

        A hint, no promise: the worker may be gone.
        """
        return self._find().write_first(f"{FOLDER}/begun/{number}", b"")

    def forget_hints(self) -> None:
        """Nobody works on anything."""
        store = self._find()
        for name in store.keys(f"{FOLDER}/begun"):
            store.delete(f"{FOLDER}/begun/{name}")

    def finish(self, shards: Mapping[str, str]) -> None:
        """Keep the checksums of what is no block's: coordinates and the mask."""
        self.forget_hints()
        self._find().write_json(f"{FOLDER}/rest.json", {"shards": dict(shards)})

    def rest(self) -> dict[str, str]:
        """The checksums that `finish` kept."""
        return (self._find().read_json(f"{FOLDER}/rest.json") or {"shards": {}})["shards"]


def checksums(volume: Volume, places: Iterable[Place]) -> dict[str, str]:
    """The checksum of each shard as the store holds it, by its name in records."""
    return {shard_name(name, box): checksum(volume.stored_shard(name, box)) for name, box in places}


def shard_name(array: str, box: Box) -> str:
    """What records call a shard: "array at its first sample"."""
    return f"{array} at {','.join(map(str, box.start))}"


def checksum(stored: bytes | None) -> str:
    """SHA-256 of the bytes in which the store holds a shard; "" for none at all."""
    return "" if stored is None else hashlib.sha256(stored).hexdigest()


def summary_of(wanted: Mapping[str, Any]) -> str:
    """16 hex digits over what is predicted."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]


def _key(number: int) -> str:
    return f"{FOLDER}/blocks/{number}.json"
