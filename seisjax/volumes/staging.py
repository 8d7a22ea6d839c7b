"""A local store grows in a folder beside its final place, and is moved there once it is whole."""

import os
import shutil
from pathlib import Path

from seisjax.errors import UserError


class Staging:
    """The folder `NAME.partial-<pid>` beside `target`; made at once, with the parents that are missing.

    `replace` lets `commit` replace a store that stands at `target`.
    """

    def __init__(self, target: Path, *, replace: bool):
        self.target = target
        self.replace = replace
        self.folder = target.with_name(f"{target.name}.partial-{os.getpid()}")
        self._made_parents: list[Path] = []
        try:
            self._make_parents(target.parent)
            shutil.rmtree(self.folder, ignore_errors=True)  # of a killed process that had our number
            self.folder.mkdir()
        except OSError as error:
            self.discard()
            raise UserError(f"{target}: cannot write here ({error.strerror}); choose another place") from error

    def _make_parents(self, parent: Path) -> None:
        if not parent.exists():
            self._make_parents(parent.parent)
            parent.mkdir()
            self._made_parents.append(parent)

    def commit(self) -> None:
        """Move the folder to its place; a store that is replaced is moved aside first and deleted last."""
        old = self.target.with_name(f"{self.target.name}.old-{os.getpid()}")
        try:
            if self.replace and self.target.exists():
                self.target.rename(old)
            self.folder.rename(self.target)
        except OSError as error:
            if old.exists():
                old.rename(self.target)
            raise UserError(f"{self.target}: cannot be put in place ({error.strerror}); check its folder") from error
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove what was made, and nothing else."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in reversed(self._made_parents):
            try:
                parent.rmdir()
            except OSError:  # somebody else uses it by now
                break
