"""Reasons to stop before the last step, which all processes of a run come to know at the same point."""

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

_NOTICE = "SIGTERM, Ctrl-C or a preemption notice"
_INTERRUPTED = b"\nCtrl-C: the run ends with a checkpoint after this step; once more ends it at once, without one\n"


class StopNotice:
    """SIGTERM, Ctrl-C, a preemption notice or the end of the time allowed, to any process, as a reason for all to stop.

        with StopNotice(max_minutes=60) as notice:
            for batch in batches:
                ...
                if reason := notice.reached():
                    break

    With several processes the notice goes by JAX's coordination service, which joins SIGTERM and what the cluster
    announces and finds the next call that no process has passed yet. With one process SIGTERM is handled here, from
    creation to `close`. So is the first Ctrl-C (SIGINT) in any case; a second one is a KeyboardInterrupt.
    """

    def __init__(self, max_minutes: float = 0.0, since: float | None = None) -> None:
        """`max_minutes`: by the clock of process 0, from `since` (of time.monotonic()) or now on; 0: no limit."""
        self._several = jax.process_count() > 1
        limited = max_minutes > 0 and jax.process_index() == 0
        self._ends = (time.monotonic() if since is None else since) + max_minutes * 60 if limited else None
        self._calls, self._requested, self._reason = 0, "", ""
        handled = [] if self._several else [signal.SIGTERM]
        # Where it is ignored, the run is in the background of a shell, whose Ctrl-C is meant for another.
        handled += [] if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else [signal.SIGINT]
        self._before: dict[int, Any] = {number: signal.signal(number, self._on_signal) for number in handled}

    def request(self, reason: str) -> None:
        """Ask all processes to stop. What this process gives as the reason; the others only learn of a notice."""
        if self._requested:
            return
        self._requested = reason
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)  # JAX holds the signal since this process joined the run

    def reached(self) -> str:
        """The reason to stop now, "" as long as there is none. From then on it stays.

        The same on all processes at the same call, so each must call it as often as the others: after every step, after
        every batch that is scored.
        """
        if self._ends is not None and time.monotonic() > self._ends:
            self.request("train.max_minutes is over")
        self._calls += 1
        if not self._reason:
            if not self._several:
                self._reason = self._requested
            elif multihost_utils.reached_preemption_sync_point(self._calls):
                self._reason = self._requested or _NOTICE
        return self._reason

    def close(self) -> None:
        """Give the signals back to whoever handled them before."""
        for number in self._before:
            self._give_back(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            self.request(signal.Signals(number).name)
            return
        self._give_back(number)
        if jax.process_index() == 0:
            os.write(2, _INTERRUPTED)  # not by print: the signal may have come in the middle of one
        self.request("Ctrl-C")

    def _give_back(self, number: int) -> None:
        before = self._before[number]
        signal.signal(number, signal.SIG_DFL if before is None else before)
