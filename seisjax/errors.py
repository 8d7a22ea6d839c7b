"""The error that a user can mend, the note on what mends itself, and how both are worded."""

import difflib
import logging
from collections.abc import Iterable

from seisjax.conventions import AXIS_ALIASES

NOTES = logging.getLogger("seisjax.notes")


class UserError(Exception):
    """Bad input. Its message is one line: which file or field, what is wrong, what to do.

    `launch/` commands print it without a traceback and exit with a status other than 0.
    """


class WrongDataError(UserError):
    """What was read cannot be taken as it is: the same command would end so again, from wherever it goes on."""


def note(message: str) -> None:
    """Tell what is odd in the user's data and yet settled, in one line: which file, what, and how it was taken.

    `launch/` commands print it on stderr.
    """
    NOTES.warning("%s", message)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint ` (did you mean 'x'?)` with the known name closest to `name`, or the known names when none is close.

    Closest is what another name of an axis stands for, else what is spelt most alike.
    """
    known, meant = sorted(known), AXIS_ALIASES.get(name.lower(), "")
    close = [meant] if meant in known else difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (known: {', '.join(known)})" if known else ""
