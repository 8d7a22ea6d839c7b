"""The error that a user can mend, and how it is worded."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. Its message is one line: which file or field, what is wrong, what to do.

    `launch/` commands print it without a traceback and exit with a status other than 0.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint ` (did you mean 'x'?)` with the known name closest to `name`, or the known names when none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (known: {', '.join(known)})" if known else ""
