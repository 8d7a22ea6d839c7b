"""Files that are whole or absent: written beside their place, then renamed."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seisjax.errors import UserError


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to it at the end, removed if the body raises.

    Raises UserError where the file system refuses (no room, no permission).
    """
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}); what was there is untouched") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as indented JSON."""
    with beside(path) as partial:
        partial.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The values of a JSON file. Raises UserError where it is missing or torn."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; give the --workdir of a run of launch/train.py") from None
    except ValueError as error:
        raise UserError(f"{path}: is no JSON ({error}); restore it or choose another --workdir") from error
