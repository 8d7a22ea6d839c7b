"""What all absl commands share: one clear line for bad input, one place for flags common to several commands."""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from seisjax import distributed
from seisjax.errors import UserError

flags.disclaim_key_flags()  # what is defined here belongs to the command that calls, whose --help lists it


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Parse the flags, call `main(argv)` and exit: status 0, or 1 after one line that says what to mend.

    `--verbosity=1` shows the traceback too. Errors that are not the user's keep theirs.
    """
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


def _guarded(main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> None:
    if not flags.FLAGS["verbosity"].present:
        # Libraries tell every step of a checkpoint, and of its failure, which reaches the user as one line.
        logging.set_verbosity(logging.FATAL)
    try:
        main(argv)
    except UserError as error:
        if logging.get_verbosity() >= logging.DEBUG:
            traceback.print_exc()
        _fail(str(error))
    except OSError as error:  # a full disk, a missing permission: the system's, not the code's
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; make room or choose another place")
    except KeyboardInterrupt:
        _fail("interrupted")


def _fail(message: str) -> NoReturn:
    line = " ".join(message.split())
    print(f"{Path(sys.argv[0]).name}: error: {line}", file=sys.stderr, flush=True)
    sys.exit(1)
