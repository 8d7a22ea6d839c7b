"""What ends a process that no longer moves: in a collective whose peer is gone, in a read that never returns."""

import faulthandler
import math
import os
import threading
import time
from types import TracebackType
from typing import Self

# Seconds between two looks at the clock, at most.
_LOOK = 5.0
_STDERR = 2  # where libraries that crash write too, whatever sys.stderr is


class Watchdog:
    """Ends this process, exit status 1, once it was not alive for so many minutes; 0: never.

        with Watchdog(minutes=30) as watchdog:
            watchdog.alive("reading the batch of step 12")

    Says on stderr, in one line, what it was doing, and prints the stacks of all threads. Where code that holds Python's
    lock is what hangs, nothing but the stacks can be printed. `alive` costs less than a microsecond.
    """

    def __init__(self, minutes: float, who: str = "") -> None:
        """`who`: what the line begins with, as the process's number."""
        self._seconds = minutes * 60 if minutes > 0 else math.inf
        self._who = f"{who}: " if who else ""
        self._seen: tuple[float, str] = time.monotonic(), "start"
        self._look = min(_LOOK, self._seconds / 4)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        if math.isfinite(self._seconds):
            self._thread.start()

    def alive(self, where: str) -> None:
        """This process moves; `where`: what it turns to now, to be told should it never come back."""
        self._seen = time.monotonic(), where

    def close(self) -> None:
        """Watch no longer."""
        if self._thread.is_alive():
            self._closed.set()
            self._thread.join()
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self) -> None:
        while True:
            since, where = self._seen
            if time.monotonic() - since > self._seconds:
                self._end(where)
            # Should this thread never run again, since another does not let go of Python's lock.
            faulthandler.dump_traceback_later(self._seconds + self._look, exit=True, file=_STDERR)
            if self._closed.wait(self._look):
                faulthandler.cancel_dump_traceback_later()
                return

    def _end(self, where: str) -> None:
        line = f"{self._who}error: {where}: has not come back for {_minutes(self._seconds)}; the stacks follow\n"
        os.write(_STDERR, line.encode())
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        os._exit(1)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:.1f} s"
