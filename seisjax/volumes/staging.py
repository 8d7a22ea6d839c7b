"""A local store grows in a folder beside its final place, and is moved there once it is whole."""

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from seisjax.errors import UserError

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # e.g. Lustre, unless it is mounted with -o flock
PLAN = "plan.json"
LEDGER = ".ledger"  # what processes that share a store tell one another, and whoever goes on after them


class Staging:
    """The folder `NAME.partial-<pid>` beside `target`; made at once, with the parents that are missing.

    `replace` lets `commit` replace a store that stands at `target`.
    """

    def __init__(self, target: Path, *, replace: bool):
        target = target.resolve() if target.is_symlink() else target  # the store is replaced, not the link to it
        self.target = target
        self.replace = replace
        self.folder = target.with_name(f"{target.name}.{self._suffix()}")
        self._made_parents: list[Path] = []
        try:
            self._make_parents(target.parent)
            self._open()
        except OSError as error:
            self.discard()
            raise UserError(f"{target}: cannot write here ({error.strerror}); choose another place") from error

    def _suffix(self) -> str:
        return f"partial-{os.getpid()}"

    def _open(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of a killed process that had our number
        self.folder.mkdir()

    def _make_parents(self, parent: Path) -> None:
        if not parent.exists():
            self._make_parents(parent.parent)
            parent.mkdir(exist_ok=True)
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
        self._remove_parents()

    def _remove_parents(self) -> None:
        for parent in reversed(self._made_parents):
            try:
                parent.rmdir()
            except OSError:  # somebody else uses it by now
                break


class SharedStaging(Staging):
    """The folder `NAME.partial`: several processes write one store in it, and a later one goes on where they ended.

    A lock on a file in it (flock: the system drops it when a process ends, however it ends) says who uses it. `alone`
    is True where nobody else did when it was opened; they wait until `share` is called. `mine` says that its contents
    are this process's work from the start.
    """

    def _suffix(self) -> str:
        return "partial"

    def _open(self) -> None:
        self.mine, self._locks = False, []
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / LEDGER).exists():
            raise UserError(f"{self.folder}: exists and is no unfinished volume; move it away, or choose another place")
        while True:
            (self.folder / LEDGER).mkdir(parents=True, exist_ok=True)
            try:
                self._locks = [os.open(self.folder / LEDGER / "lock", os.O_RDWR | os.O_CREAT, 0o666)]
            except FileNotFoundError:  # removed meanwhile, by its maker
                continue
            self.alone = _locked(self._locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.alone:
                _locked(self._locks[0], fcntl.LOCK_SH)
            if self.stands():
                self.mine = self.alone and self._is_empty()
                return
            self.release()

    def _is_empty(self) -> bool:
        return all(path.name in (LEDGER, "lock") for path in self.folder.rglob("*"))

    def stands(self) -> bool:
        """Whether the folder is still there: neither moved to its place by another process nor removed."""
        try:
            return os.path.samestat(os.fstat(self._locks[0]), os.stat(self.folder / LEDGER / "lock"))
        except FileNotFoundError:
            return False

    def clear(self) -> None:
        """Begin anew; needs `alone`."""
        for entry in [*self.folder.iterdir(), *(self.folder / LEDGER).iterdir()]:
            if entry.is_dir() and entry.name != LEDGER:
                shutil.rmtree(entry)
            elif entry.is_file() and entry.name != "lock":
                entry.unlink()
        self.mine = True

    def share(self) -> None:
        """Let others in."""
        _locked(self._locks[0], fcntl.LOCK_SH)
        self.alone = False

    def claim(self, name: str) -> bool:
        """Become the one that does `name`; False where another process does it. Holds until `release`."""
        claim = self._open_lock(name)
        if claim is None:
            return False
        if not _locked(claim, fcntl.LOCK_EX | fcntl.LOCK_NB):
            os.close(claim)
            return False
        self._locks.append(claim)
        return self.stands()

    @contextlib.contextmanager
    def writing(self) -> Iterator[bool]:
        """Keeps the folder in its place meanwhile; gives False where it is being moved, or has been."""
        file = self._open_lock("writing")
        try:
            yield file is not None and _locked(file, fcntl.LOCK_SH | fcntl.LOCK_NB) and self.stands()
        finally:
            if file is not None:
                os.close(file)

    def settle(self) -> None:
        """Wait until no process is `writing`, and let none from now on."""
        file = self._open_lock("writing")
        if file is not None:
            self._locks.append(file)
            _locked(file, fcntl.LOCK_EX)

    def _open_lock(self, name: str) -> int | None:
        path, flags = self.folder / LEDGER / name, os.O_RDWR | os.O_CREAT
        try:
            return os.open(path, flags, 0o666)
        except FileNotFoundError:  # moved to its place already
            return None

    def release(self) -> None:
        """Give up the locks; the folder is not used any more."""
        while self._locks:
            os.close(self._locks.pop())

    def commit(self) -> None:
        """Move the folder to its place, then remove the ledger."""
        super().commit()
        shutil.rmtree(self.target / LEDGER, ignore_errors=True)

    def discard(self) -> None:
        """Remove the folder where it is this process's work and nobody else uses it."""
        if self.mine and self._locks and _locked(self._locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB):
            away = self.folder.with_name(f"{self.folder.name}.discarded-{os.getpid()}")
            with contextlib.suppress(OSError):  # in one step: nobody finds half of it
                self.folder.rename(away)
            shutil.rmtree(away, ignore_errors=True)
        self.release()
        self._remove_parents()


def _locked(file: int, operation: int) -> bool:
    """Whether the lock was had. Where the file system has no locks it is as if it was: one process can go on."""
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn()
    return True


@functools.cache
def _warn() -> None:
    print("the file system of the output has no locks: let one process alone write there", file=sys.stderr, flush=True)
