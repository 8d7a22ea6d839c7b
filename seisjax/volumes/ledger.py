"""What processes that make one volume write down: the columns that are done, and what was seen in them.

Each process rewrites a file of its own after every column, in one step, so that a process that is killed loses one
column's work at most, and whoever comes last finds the same sums however many processes there were.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from seisjax.errors import UserError
from seisjax.volumes.staging import LEDGER, PLAN
from seisjax.volumes.statistics import StreamingStatistics
from seisjax.volumes.store import Store


class Plan:
    """What is being made: equal for every process, and for every start of the same command."""

    def __init__(
        self,
        store: Store,
        place: str,
        wanted: Mapping[str, Any],
        folder: str = LEDGER,
        remedies: Mapping[str, str] | None = None,
    ):
        """`place` is what messages call the unfinished store; `wanted` maps each option to what the command says, and
        what else decides on the result to what is found; `remedies`: of the latter, what to do where it differs."""
        self._store, self._place, self._key = store, place, f"{folder}/{PLAN}"
        self._remedies = remedies or {}
        self._wanted = json.loads(json.dumps(wanted))
        self.teams: list[int] = []  # how many processes worked on it, start by start

    def check(self) -> bool:
        """Whether work on this very plan has begun. Raises UserError where it is work on another one."""
        text = self._store.read_bytes(self._key)
        if text is None:
            return False
        found = json.loads(text)
        for name in [*self._wanted, *found["wanted"]]:
            before, now = found["wanted"].get(name), self._wanted.get(name)
            if before != now:
                remedy = self._remedies.get(name, "give the same command again")
                raise UserError(
                    f"{self._place}: was begun with {name}={_short(before)}, now it is {_short(now)}; {remedy} to go "
                    "on, or --overwrite to start anew"
                )
        self.teams = found["teams"]
        return True

    def join(self, num_processes: int, alone: bool) -> None:
        """Work as one of so many processes. Raises UserError where others work in another number just now."""
        if self.teams[-1:] == [num_processes]:
            return
        if self.teams and not alone:
            raise UserError(
                f"{self._place}: processes with --num_processes={self.teams[-1]} work on it; give --num_processes="
                f"{self.teams[-1]}, or wait for their end"
            )
        self.teams = [n for n in self.teams if n != num_processes] + [num_processes]
        self.write()

    def write(self) -> None:
        """Begin: from now on `check` finds this plan."""
        text = json.dumps({"wanted": self._wanted, "teams": self.teams}, indent=1)
        self._store.write_bytes(self._key, text.encode())


class Ledger:
    """The columns of one pass over the data: a record (float64 numbers) for each, and the statistics of all.

    `names` are words that go with the records, e.g. of the arrays that were found.
    """

    def __init__(self, store: Store, stage: str, process: int, teams: list[int]):
        self._store, self._stage = store, stage
        self._own = (process, teams[-1])
        self._files = [(i, n) for n in teams for i in range(n)]
        own = self._read(self._own)
        self.columns: list[int] = own["columns"].tolist() if own else []
        self._records = list(own["records"]) if own else []
        self.names: set[str] = set(own["names"].tolist()) if own else set()
        self.statistics = StreamingStatistics.from_state(own) if own else StreamingStatistics()

    def add(self, column: int, record: np.ndarray) -> None:
        """Write down that a column is done, all of it in the store, with what `statistics` saw up to here."""
        self.columns.append(column)
        self._records.append(record)
        file = io.BytesIO()
        arrays: dict[str, Any] = {
            "columns": np.array(self.columns, np.int64),
            "records": np.array(self._records),
            "names": np.array(sorted(self.names), np.str_),
        }
        arrays |= self.statistics.state()
        np.savez(file, **arrays)
        self._store.write_bytes(self._key(self._own), file.getvalue())

    def done(self) -> set[int]:
        """The columns that any process has done."""
        return {column for found in self._all() for column in found["columns"].tolist()}

    def merged(self) -> tuple[np.ndarray, StreamingStatistics, list[str]]:
        """Records in the order of their columns, statistics (moments left to the caller) and names of all processes."""
        statistics, names, columns, records = StreamingStatistics(), set(), [], []
        for found in self._all():
            statistics.merge(StreamingStatistics.from_state(found))
            names |= set(found["names"].tolist())
            columns.append(found["columns"])
            records.append(found["records"])
        order = np.argsort(np.concatenate(columns))
        return np.concatenate(records)[order], statistics, sorted(names)

    def _all(self) -> list[dict[str, np.ndarray]]:
        return [found for file in self._files if (found := self._read(file))]

    def _read(self, file: tuple[int, int]) -> dict[str, np.ndarray] | None:
        content = self._store.read_bytes(self._key(file))
        if content is None:
            return None
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays)

    def _key(self, file: tuple[int, int]) -> str:
        return f"{LEDGER}/{self._stage}-{file[0]}-of-{file[1]}.npz"


def counts_key(array: str, column: int) -> str:
    """Where the class counts of a column's labels are kept."""
    return f"{LEDGER}/{array}-{column}.npy"


def write_counts(store: Store, array: str, column: int, counts: np.ndarray) -> None:
    """Keep the class counts of a column's labels."""
    file = io.BytesIO()
    np.save(file, counts)
    store.write_bytes(counts_key(array, column), file.getvalue())


def read_counts(store: Store, array: str, column: int) -> np.ndarray:
    """What `write_counts` kept."""
    content = store.read_bytes(counts_key(array, column))
    assert content is not None
    return np.load(io.BytesIO(content))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
