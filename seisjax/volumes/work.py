"""Work on one volume by several processes, each of which may be killed and started again."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from seisjax.errors import UserError, WrongDataError
from seisjax.volumes.ledger import Ledger, Plan
from seisjax.volumes.staging import LEDGER, SharedStaging
from seisjax.volumes.store import WRITE_REMEDY, Store, local_path, storage_errors


class SharedWork:
    """This process's share of the work on one volume: begun, or gone on with where an earlier start ended.

    `wanted` says what is being made: equal for every process, and for every start of the same command; for messages
    its names are flags. `teams` and `process` are for the ledger. Raises UserError where other work stands at `output`.
    """

    def __init__(
        self,
        output: str,
        wanted: Mapping[str, Any],
        num_processes: int,
        process_id: int,
        overwrite: bool,
        progress: Callable[[int, int], None] | None,
        say: Callable[[str], None],
    ):
        path = local_path(output)
        self.output, self.process, self.num_processes = str(path or output), process_id, num_processes
        self.progress, self.say = progress or (lambda *_: None), say
        self.staging = SharedStaging(path, replace=overwrite) if path else None
        self.place = str(self.staging.folder) if self.staging else output  # where the volume grows
        self.store = Store(self.place)
        self.mine = False  # begun by this process
        plan = Plan(self.store, self.place, {f"--{flag}": value for flag, value in wanted.items()})
        with storage_errors(self.place, WRITE_REMEDY):
            try:
                self._begin(plan, overwrite)
            except UserError:
                self.release()
                raise
        self.teams = plan.teams

    def _begin(self, plan: Plan, overwrite: bool) -> None:
        """Start the work, or go on with what was started."""
        alone = self.staging.alone if self.staging else self.num_processes == 1
        try:
            begun = plan.check()
        except UserError:
            if not (overwrite and alone):
                raise
            begun = False
        while not begun and not self.staging and self.process:  # the first process begins
            time.sleep(1)
            begun = plan.check()
        if not begun and self.staging and not alone:
            raise UserError(f"{self.output}: another process has just given up making it; start the command again")
        if not begun:
            (self.staging or self.store).clear()
            self.mine = True
        plan.join(self.num_processes, alone)
        if self.staging:
            self.staging.share()
            if not self.staging.claim(f"process-{self.process}"):
                raise UserError(
                    f"{self.staging.folder}: --process_id={self.process} is at work on it; wait for its end"
                )

    def release(self) -> None:
        """Give up the locks."""
        if self.staging:
            self.staging.release()

    def give_up(self, error: UserError) -> None:
        """After an error: what is done stays for another start, and where nothing is, or none can help, nothing stays.

        Nor is anything removed that is not this process's work from the start, or that others use.
        """
        if not isinstance(error, WrongDataError) and self._any_done():
            self.say(f"{self.place}: keeps what is done; give the same command again to go on")
        elif self.staging:
            self.staging.discard()
        elif self.mine and self.num_processes == 1:
            self.store.clear()

    def _any_done(self) -> bool:
        try:
            return any(key.endswith(".npz") for key in self.store.keys(LEDGER))
        except (ValueError, RuntimeError):  # the storage that fails is the error itself
            return True

    def note(self, ledger: Ledger, number: int, record: np.ndarray) -> None:
        """Write down that a unit of the work is done."""
        with storage_errors(self.output, WRITE_REMEDY):
            ledger.add(number, record)

    def claims_finish(self, left: int, total: int, parts: str) -> bool:
        """Whether this process, and no other, is to finish the volume, of whose `total` parts `left` are not made."""
        if left:
            self.say(f"{left} of {total} {parts} are left to other processes; the last one finishes")
            return False
        if self.staging:
            claimed = self.staging.claim("finish")
        else:
            claimed = self.num_processes == 1 or self.store.write_first(f"{LEDGER}/finish", b"")
        if not claimed:
            self.say("another process finishes the volume")
        return claimed

    def close(self) -> None:
        """Drop the ledger, when the volume is finished."""
        if not self.staging:
            self.store.delete_array(LEDGER)
