"""The place where a prediction grows, shared by workers that come, are killed, and go on."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from seisjax.errors import UserError
from seisjax.inference.ledger import FOLDER, Ledger
from seisjax.volumes import Volume
from seisjax.volumes.creating import check_free
from seisjax.volumes.ledger import Plan
from seisjax.volumes.staging import SharedStaging
from seisjax.volumes.store import READ_REMEDY, WRITE_REMEDY, Store, local_path, storage_errors

MARK = "predicted_from"  # what every prediction says: the volume
_LOOK = 0.2  # s between two looks at whether the worker that finishes has done so
# What may differ though the command is the same, by its name in `Site`'s `wanted`, and what is done about it.
_REMEDIES = {
    "weights": "training has gone on, or this is another network: name the checkpoint of before (--checkpoint=STEP)",
    "temperature": "it was fitted anew, or --calibrated was changed: take that of before",
    "input": "the volume has changed, or this is another one: give that of before (--input)",
    "code": "seisjax or JAX has changed: install those of before",
}


class Site:
    """A new place, what another worker began there, or a finished prediction of the same.

    A local volume grows in `NAME.partial` beside its place and is moved there when it is whole; elsewhere it grows in
    place, and is none before its last document is written.
    url: as volumes are named. finished: whether the whole volume stands there. staging: the folder it grows in.
    """

    def __init__(self, url: str, wanted: Mapping[str, Any], overwrite: bool):
        """`wanted`: all that decides on the result, by the names that messages call it; equal for every worker.

        Raises UserError, which names the difference, where something else is or was being predicted; with `overwrite`
        a finished volume is replaced in the end, and what others left unfinished now.
        """
        path = local_path(url)
        self.url = str(path or url)
        self.staging: SharedStaging | None = None
        self.ledger = Ledger(lambda: self.store)
        with storage_errors(self.url, READ_REMEDY):
            self.finished = not overwrite and self._is_finished(wanted)
        if self.finished:
            return
        if path:
            self.staging = SharedStaging(path, replace=overwrite)
        try:
            with storage_errors(self.url, WRITE_REMEDY):
                self.finished = not self._begin(wanted, overwrite)
        except BaseException:
            self.discard()
            raise
        if self.finished:
            self.discard()
            self.staging = None

    @property
    def store(self) -> Store:
        """That in which the volume grows; once a worker has moved it to its place, that one."""
        grows = self.staging is not None and self.staging.stands()
        return Store(str(self.staging.folder) if self.staging and grows else self.url)

    def _is_finished(self, wanted: Mapping[str, Any]) -> bool:
        store = Store(self.url)
        if store.read_json("zarr.json") is None:
            return False
        return Plan(store, self.url, wanted, FOLDER, _REMEDIES).check()

    def _begin(self, wanted: Mapping[str, Any], overwrite: bool) -> bool:
        """Begin, or join those who have; False where another worker has finished just now."""
        alone = self.staging is None or self.staging.alone
        if alone:
            if not overwrite and self._is_finished(wanted):
                return False
            stands = check_free(self.url, overwrite, FOLDER, MARK)
            if stands and not self.staging:
                self.store.clear()
        place = str(self.staging.folder) if self.staging else self.url
        plan = Plan(Store(place), place, wanted, FOLDER, _REMEDIES)
        try:
            begun = plan.check()
        except UserError:
            if not (overwrite and alone):
                raise
            begun = False
        if not begun and not alone:
            if self._is_finished(wanted):
                return False
            raise UserError(f"{self.url}: another worker has just given up on it; start the command again")
        if not begun:
            (self.staging or self.store).clear()
            plan.write()
        if self.staging:
            if alone:
                self.ledger.forget_hints()
            self.staging.share()
        return True

    def join(self, create: Callable[[], Volume]) -> Volume | None:
        """What `create` begins or finds where the volume grows; None where it stands in its place."""
        while not self.finished and (self.staging is None or self.staging.stands()):
            with self.writing() as may_write:
                if may_write:
                    return create()
            time.sleep(_LOOK)  # another worker finishes it, or is killed meanwhile
        return None

    @contextlib.contextmanager
    def writing(self) -> Iterator[bool]:
        """Keeps the volume in its place meanwhile; gives False where another worker finishes it, or has."""
        if self.staging is None:
            yield True
        else:
            with self.staging.writing() as may_write:
                yield may_write

    def finish(self, finish: Callable[[], Any]) -> bool:
        """Call `finish`, which makes the volume whole, unless another worker does; return when it stands in its place.

        Where that worker is killed, this one takes over. Returns whether this one did it.
        """
        if self.staging is None:  # all write the same
            finish()
            return True
        while self.staging.stands():
            if self.staging.claim("finish"):
                self.staging.settle()
                finish()
                return True
            time.sleep(_LOOK)
        return False

    def release(self) -> None:
        """Leave: others may go on."""
        if self.staging:
            self.staging.release()

    def discard(self) -> None:
        """Leave, and take away what was made where this worker began it and no other is there."""
        if self.staging:
            self.staging.discard()
