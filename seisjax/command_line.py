"""What all absl commands share: one clear line for bad input, one place for flags common to several commands."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from logging import Handler, LogRecord
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from tqdm import tqdm

from seisjax import distributed
from seisjax.errors import NOTES, UserError
from seisjax.startup import all_is_imported

_MOST_NOTES = 20  # lines; a year of records may have one a file

flags.disclaim_key_flags()  # what is defined here belongs to the command that calls, whose --help lists it


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """Parse the flags, call `main(argv)` and exit: the status it returns (None: 0), or 1 after a line on what to mend.

    `--verbosity=1` shows the traceback too. Errors that are not the user's keep theirs.
    """
    all_is_imported()
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse)


def define_processes() -> Callable[[], None]:
    """Define the flags of a run of several processes; returns what joins it, to be called before any computation."""
    address = flags.DEFINE_string("coordinator_address", None, "host:port of process 0, in a run of several processes")
    count = flags.DEFINE_integer(
        "num_processes", None, "processes of the run; alone: what the cluster must have brought", lower_bound=1
    )
    number = flags.DEFINE_integer("process_id", None, "number of this process, from 0", lower_bound=0)
    timeout = flags.DEFINE_float("start_timeout", 300, "s in which all processes must have come", lower_bound=1)
    return lambda: distributed.initialize(address.value, count.value, number.value, timeout=timeout.value)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"'{rest[1]}' is not a flag; write --name=value (--help lists them)")
        return rest
    except flags.UnrecognizedFlagError as error:
        _fail(f"{error}; give --config=FILE before it" if error.flagname.startswith("config.") else str(error))
    except (flags.Error, UserError) as error:
        _fail(str(error))


def _guarded(main: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int | None:
    NOTES.addHandler(_NoteLines())
    NOTES.setLevel("WARNING")  # whatever level the libraries have
    NOTES.propagate = False
    if not flags.FLAGS["verbosity"].present:
        # Libraries tell every step of a checkpoint, and of its failure, which reaches the user as one line.
        logging.set_verbosity(logging.FATAL)
    try:
        return main(argv)
    except UserError as error:
        if logging.get_verbosity() >= logging.DEBUG:
            traceback.print_exc()
        _fail(str(error))
    except OSError as error:  # a full disk, a missing permission: the system's, not the code's
        if error.filename is None:
            _end_all(error)
            raise
        _fail(f"{error.filename}: {error.strerror}; make room or choose another place")
    except KeyboardInterrupt:
        _fail("interrupted")
    except Exception as error:
        _end_all(error)
        raise


def _end_all(error: Exception) -> None:
    """Among several processes print the traceback and `error` as a line, and go without a farewell.

    A process that unwinds says goodbye, and waits for the others; they wait for it in the next collective.
    """
    if distributed.several():
        traceback.print_exception(error)
        _fail(f"{type(error).__name__}: {error}")


class _NoteLines(Handler):
    """Prints each note once, above the progress bar if there is one."""

    def __init__(self):
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: LogRecord) -> None:
        message = record.getMessage()
        if message in self._said or len(self._said) > _MOST_NOTES:
            return
        self._said.add(message)
        more = len(self._said) > _MOST_NOTES
        tqdm.write(_line("note", "more notes are left out" if more else message), file=sys.stderr)


def _line(kind: str, message: str) -> str:
    """`ingest.py: error: message`, with the process where there are several."""
    process = distributed.several()
    where = f"process {process[0]} of {process[1]}: " if process else ""
    return f"{Path(sys.argv[0]).name}: {where}{kind}: {' '.join(message.split())}"


def _fail(message: str) -> NoReturn:
    process = distributed.several()
    print(_line("error", message), file=sys.stderr, flush=True)
    if process is None:
        sys.exit(1)
    sys.stdout.flush()
    if process[0] == 0:
        time.sleep(1)  # its end aborts the others: let those that fail likewise say so
    os._exit(1)
