"""Reading again what failed for a passing reason: a server that restarts, a network file system that is away.

TensorStore itself asks web servers and object stores again for about 15 seconds (store.py) and never asks a file system
twice. What it gives up, and what may still mend itself, is tried again here, over minutes.
"""

import errno
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorstore as ts
from tqdm import tqdm

from seisjax.errors import UserError
from seisjax.volumes.store import READ_REMEDY, reason_of, storage_errors

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0  # seconds between tries; each is twice the one before

# What TensorStore says of a storage that cannot be reached, is busy or answers with 5xx, 408 or 429. What is wrong for
# good has other names: NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION or DATA_LOSS (a chunk that does not decode).
_PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")
# What file systems, above all remote ones, say in the same case; TensorStore passes some of these on as UNKNOWN.
_PASSING_NUMBERS = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOTCONN, errno.EPIPE),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH),
}

_minutes = 5.0
_lock = threading.Lock()
_silent_until: dict[str, float] = {}  # array -> when its next failure is worth a line


def set_retry_minutes(minutes: float) -> None:
    """Try reads that fail for a passing reason again for so many minutes (5 at first); 0: never."""
    global _minutes
    _minutes = minutes


def is_passing(error: BaseException) -> bool:
    """Whether an error of TensorStore may be gone when one asks again."""
    text = str(error)
    number = re.search(r"os_error_code='(\d+)'", text)
    return text.startswith(_PASSING) or (number is not None and int(number[1]) in _PASSING_NUMBERS)


def samples_of(
    what: str, reading: ts.Future | ts.WriteFutures, again: Callable[[], ts.Future | ts.WriteFutures]
) -> Any:
    """The result of `reading`, begun by `again()`; where it fails for a passing reason, of another try.

    Tries come 1, 2, 4, ... 30 seconds after one another, as long as `set_retry_minutes` says, each with a line on
    stderr. May be called from several threads. Raises UserError, of one line, when it fails for good; `what` names the
    array in it.
    """
    with storage_errors(what, READ_REMEDY):
        try:
            return reading.result()
        except (ValueError, RuntimeError) as error:
            if _minutes <= 0 or not is_passing(error):
                raise
            failure: Exception = error
        tries = 0
        for delay in _delays():
            tries += 1
            _report(what, failure, delay)
            time.sleep(delay)
            try:
                return again().result()
            except (ValueError, RuntimeError) as error:
                if not is_passing(error):
                    raise
                failure = error
        said = f"tried again {tries} times over {_minutes:g} minutes"
        raise UserError(f"{what}: {reason_of(failure)} ({said}); {READ_REMEDY}, then start the same command again")


def _delays() -> Iterator[float]:
    end, delay = time.monotonic() + 60 * _minutes, _FIRST_DELAY
    while (left := end - time.monotonic()) > 0:
        yield min(delay, left)
        delay = min(2 * delay, _LONGEST_DELAY)


def _report(what: str, failure: Exception, delay: float) -> None:
    """One line an array and try, however many threads wait for it; above the progress bar, if there is one."""
    now = time.monotonic()
    with _lock:
        if now < _silent_until.get(what, now):
            return
        _silent_until[what] = now + delay
    line = f"{what}: {reason_of(failure)}; trying again in {delay:.0f} s, for at most {_minutes:g} min in all"
    tqdm.write(line, file=sys.stderr)
