"""A candidate in a process of its own, which rests until it is its turn: for libraries that do not share one well.

Each has its own threads and its own peak of memory. Where a candidate cannot be made, or breaks, its process says why.
"""

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from seisjax.memory import resident_bytes
from seisjax.startup import environment


class CandidateError(Exception):
    """What went wrong in a candidate's process."""


class Worker:
    """The process of one candidate.

    `make(*arguments)`, which must be importable, is called there and returns the candidate: an object with `facts` (a
    dict of what it knows of itself), `measure() -> float`, `memory() -> dict` (what it knows of its memory, bytes) and
    `close()`. With `huge_pages` the process has them as a command of ours has (`seisjax.startup`).
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, huge_pages: bool = False) -> None:
        """Start the process and wait until the candidate is made. Raises CandidateError."""
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments))
        with _set(environment() if huge_pages else {}):
            self._process.start()
        other.close()
        try:
            self.facts: dict[str, Any] = self._answer()
        except CandidateError:
            self.close()
            raise

    def __call__(self) -> float:
        """Have it measure itself. Raises CandidateError."""
        return self._ask("measure")

    def memory(self) -> dict[str, int]:
        """What the candidate knows of its memory, with the peak of its process as `resident_peak`, bytes."""
        return self._ask("memory")

    def close(self) -> None:
        """End the process."""
        if self._process.is_alive():
            with contextlib.suppress(OSError):  # it is ending by itself
                self._connection.send("close")
            self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, what: str) -> Any:
        self._connection.send(what)
        return self._answer()

    def _answer(self) -> Any:
        try:
            worked, answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise CandidateError(f"its process ended with status {self._process.exitcode}") from None
        if not worked:
            raise CandidateError(answer)
        return answer


@contextlib.contextmanager
def _set(more: Mapping[str, str]) -> Iterator[None]:
    """More variables in the environment of the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        candidate = make(*arguments)
        connection.send((True, dict(candidate.facts)))
        while (asked := connection.recv()) != "close":
            peak = resident_bytes(peak=True)  # before the candidate compiles anew to know its memory
            answer = getattr(candidate, asked)()
            if asked == "memory":
                answer = answer | {"resident_peak": peak}
            connection.send((True, answer))
        candidate.close()
    except EOFError:  # who asked is gone
        return
    except Exception as error:
        last = traceback.format_exception_only(error)[-1].strip()
        connection.send((False, last))
