"""Checkpoints of a run, by Orbax: the newest and the best are kept. The only file that imports Orbax."""

import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import tensorstore as ts
from orbax.checkpoint import v1 as ocp

from seisjax.errors import UserError
from seisjax.files import write_json
from seisjax.models.parts import named
from seisjax.together import of_main, process_name

_KEPT_NEWEST = 2  # should the newest turn out unreadable, the one before is still there
_STATE = "state"
_COMMITTED = "commit_success.txt"  # what Orbax writes last
_AMENDED = "amended.json"  # in the folder of a step: what became known of it after it was saved
_TORN = ".torn"  # ending of a folder that was set aside
# Network file systems show a folder to other hosts after a while; NFS remembers for up to a minute what was not there.
_LAG_SECONDS = 60.0


class Checkpoints:
    """The checkpoints under `directory`: a state a step, with the validation loss and a JSON record of its own.

    Saving is asynchronous; the next call raises UserError where a write failed in the meantime.
    On opening, process 0 reads the newest and the best checkpoint as a whole. One that is torn is not loaded: stderr
    says so, and the next one takes its place. All processes then hold the same list: what process 0 saw.
    In a run of several processes every method must be called by all of them.

    Args:
      directory: where they are; made where there is none.
      writes: whether this run saves here. Without it the folder is left exactly as it is, so that a run that is still
        training may be looked at; with it, what is unfinished is cleaned up and what is torn is renamed.

    Raises UserError where the folder cannot be written, or where this process does not see what process 0 sees.
    """

    def __init__(self, directory: Path, *, writes: bool = True):
        self._directory = directory.absolute()
        self._failed = False
        self._pending: Any = None
        main = jax.process_index() == 0
        found = of_main(_survey(self._directory, writes) if main else None)
        _wait_to_see(self._directory, set(found["folders"]), writes)
        self._losses: dict[int, float | None] = dict(found["losses"])
        self._amended: dict[int, dict[str, Any]] = dict(found["amended"])
        self._unread: set[int] = self._losses.keys() - set(found["read"])
        self._checkpointer = _open(self._directory, lambda: self._losses) if writes else None

    @property
    def steps(self) -> list[int]:
        """The steps that are there, rising."""
        return sorted(self._losses)

    @property
    def latest(self) -> int | None:
        """The newest step, or None where there is none."""
        return max(self._losses, default=None)

    @property
    def best(self) -> int | None:
        """The step of the lowest finite validation loss; the newest step where none was validated."""
        return _best(self._losses)

    @property
    def by_name(self) -> dict[str, int]:
        """The steps by what they may be called: "best", "last", and the number of each; empty where there are none."""
        if self.best is None or self.latest is None:
            return {}
        return {"best": self.best, "last": self.latest} | {str(step): step for step in self.steps}

    def save(self, step: int, state: Any, record: dict[str, Any], validation_loss: float | None = None) -> None:
        """Start to save `state` (a tree of arrays) as `step`, after the save before it has ended.

        A step is saved once: the newest checkpoint is never given up for another one (see `amend`).
        """
        self.wait()
        if self._checkpointer is None or step in self._losses:
            raise ValueError(f"{self._directory}: opened for reading, or holds step {step} already")
        if jax.process_index() == 0:
            _make(self._directory)  # where it cannot, threads of Orbax would wait for it for ten minutes
        metrics = None if validation_loss is None else {"loss": _finite(validation_loss)}
        losses = self._losses | {step: validation_loss}
        self._losses = {kept: losses[kept] for kept in _kept(losses)}
        try:
            self._pending = self._checkpointer.save_checkpointables_async(
                step, {_STATE: state}, force=True, metrics=metrics, custom_metadata=record
            )
        except Exception as error:
            raise self._cannot_write(error) from error

    def amend(self, step: int, changes: dict[str, Any], validation_loss: float | None) -> None:
        """Note the validation loss of a step that was saved without one, and what of its record is otherwise now.

        The state stays as it is. Raises UserError where that cannot be written.
        """
        self.wait()
        finite = validation_loss is not None and math.isfinite(validation_loss)
        amended = {"record": changes, "loss": validation_loss if finite else None}
        if jax.process_index() == 0:
            write_json(self._directory / str(step) / _AMENDED, amended)
        self._losses[step], self._amended[step] = amended["loss"], changes

    def wait(self) -> None:
        """Wait for the save under way. Raises UserError where it failed; the checkpoints before it are whole."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        try:
            pending.result()
        except Exception as error:  # storage fails in as many ways as there are storages
            raise self._cannot_write(error) from error

    def record(self, step: int) -> dict[str, Any]:
        """The JSON record of `step`. Raises UserError where the checkpoint cannot be read."""
        saved = json.loads(json.dumps(self._metadata(step).custom_metadata))
        return saved | self._amended.get(step, {})

    def restore(self, step: int, target: Any) -> Any:
        """The state of `step`, laid out as `target`, a tree of ShapeDtypeStruct with shardings.

        Raises UserError where it cannot be read, or the names, shapes or dtypes saved are not those of the target.
        """
        saved = self._metadata(step).metadata[_STATE]
        _check_same(_describe(saved), _describe(target), f"checkpoint {step}")
        return self._load(step, target)

    def restore_network(self, step: int, sharding: Any) -> dict[str, Any]:
        """What `step` predicts with, whatever its run was: {"params": averaged where there are such, "rest": ...}.

        Only that is read, and laid out by `sharding`. Raises UserError where it cannot be read.
        """
        saved = self._metadata(step).metadata[_STATE]
        params = "average" if "average" in saved else "params"
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            {name: saved[name] for name in (params, "rest")},
        )
        context = ocp.Context()
        context.pytree.loading.partial_load = True
        with context:
            state = self._load(step, target)
        return {"params": state[params], "rest": state["rest"]}

    def close(self) -> None:
        """Wait for the save under way and let go of the directory."""
        self.wait()
        if self._checkpointer is None:
            return
        try:
            self._checkpointer.close()
        except Exception:
            if not self._failed:  # otherwise it is the failure that `wait` told of already
                raise

    def _metadata(self, step: int) -> Any:
        """What Orbax knows of `step`. It is read as a whole first: of a torn one Orbax tells in many lines."""
        if step in self._unread:
            main = jax.process_index() == 0
            fault = of_main(_fault_of_arrays(self._directory / str(step) / _STATE) if main else None)
            if fault:
                raise self._cannot_read(step, fault)
            self._unread.remove(step)
        return ocp.checkpointables_metadata(self._folder(step))

    def _load(self, step: int, target: Any) -> Any:
        try:
            return ocp.load_checkpointables(self._folder(step), {_STATE: target})[_STATE]
        except Exception as error:
            raise self._cannot_read(step, _reason(error)) from error

    def _folder(self, step: int) -> str:
        return str(self._directory / str(step))

    def _cannot_read(self, step: int, reason: str) -> UserError:
        return UserError(
            f"{self._folder(step)}: cannot be read ({reason}); check the storage, then start the same command again"
        )

    def _cannot_write(self, error: Exception) -> UserError:
        self._failed = True
        return UserError(
            f"{self._directory}: a checkpoint cannot be written ({_reason(error)}); the one before it is whole. "
            "Make room there, then start the same command again"
        )


class _Keep:
    """What Orbax asks which checkpoints it may delete. `losses` gives those of the checkpoints that are to stay."""

    def __init__(self, losses: Callable[[], Mapping[int, float | None]]):
        self._losses = losses

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """One answer a checkpoint."""
        losses = self._losses()
        kept = _kept({c.step: losses.get(c.step) for c in checkpoints})
        return [c.step in kept for c in checkpoints]


def _open(directory: Path, losses: Callable[[], Mapping[int, float | None]]) -> Any:
    return ocp.training.Checkpointer(str(directory), cleanup_tmp_directories=True, preservation_policy=_Keep(losses))


def _kept(losses: Mapping[int, float | None]) -> list[int]:
    """The steps to keep: the newest ones and the best."""
    return sorted({*sorted(losses)[-_KEPT_NEWEST:], _best(losses)} & losses.keys())


def _best(losses: Mapping[int, float | None]) -> int | None:
    finite = {step: loss for step, loss in losses.items() if loss is not None and math.isfinite(loss)}
    return min(finite, key=lambda step: (finite[step], step)) if finite else max(losses, default=None)


def _loss(metrics: Any) -> float | None:
    return float(metrics["loss"]) if metrics and metrics.get("loss") is not None else None


def _finite(loss: float) -> float:
    # Some readers of JSON refuse a NaN.
    return loss if math.isfinite(loss) else float("inf")


# What is there.


def _survey(directory: Path, writes: bool) -> dict[str, Any]:
    """What process 0 finds: the steps that may be used, with their losses, which of them were read as a whole, what
    was amended of their records, and the names of all folders of a step.

    Read are the newest and the best; what is torn is told of, and renamed where the run writes here.
    """
    if writes:
        _make(directory)
    losses: dict[int, float | None] = {}
    changes: dict[int, dict[str, Any]] = {}
    for step in _listed(directory):
        fault = _fault_of_documents(directory / str(step))
        if fault:
            _set_aside(directory / str(step), fault, writes)
        else:
            losses[step] = _loss(_json(directory / str(step) / "metrics" / "metrics", {}))
            if amended := _amended(directory / str(step)):
                losses[step], changes[step] = _loss(amended), amended["record"]
    read: set[int] = set()
    while unread := {max(losses, default=None), _best(losses)} - read - {None}:
        step = max(step for step in unread if step is not None)
        fault = _fault_of_arrays(directory / str(step) / _STATE)
        if fault:
            _set_aside(directory / str(step), fault, writes)
            del losses[step]
        read.add(step)
    amended = sorted(changes.items())
    return {"losses": sorted(losses.items()), "read": sorted(read), "amended": amended, "folders": _listed(directory)}


def _make(directory: Path) -> None:
    """Make sure that folders can be made in `directory`. Raises UserError where they cannot."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=directory).cleanup()
    except OSError as error:
        raise UserError(
            f"{directory}: a checkpoint cannot be written ({error.strerror}); "
            "mend that, then start the same command again"
        ) from error


def _listed(directory: Path) -> list[int]:
    """Steps that have a folder, whole or not; what is still being written has another name."""
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in os.scandir(directory) if entry.name.isdecimal() and entry.is_dir())


def _fault_of_documents(folder: Path) -> str:
    """What is wrong with a checkpoint as far as its marks and documents tell; "" where nothing is."""
    for name in (_COMMITTED, "_CHECKPOINT_METADATA", f"{_STATE}/_METADATA", f"{_STATE}/manifest.ocdbt"):
        if not (folder / name).is_file():
            return f"{name} is not there"
    for file in _documents(folder):
        try:
            _json(file)
        except (OSError, ValueError):
            return f"{file.relative_to(folder)} is cut off"
    return ""


def _documents(folder: Path) -> Iterator[Path]:
    yield folder / "_CHECKPOINT_METADATA"
    yield folder / _STATE / "_METADATA"
    for optional in ("metrics/metrics", f"{_STATE}/_sharding", f"{_STATE}/array_metadatas/*"):
        yield from folder.glob(optional)


def _fault_of_arrays(folder: Path) -> str:
    """What goes wrong when everything that was saved is read; "" where nothing does."""
    try:
        store = ts.KvStore.open({"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}}).result()
        keys = store.list().result()
        for key in keys:
            if not store.read(key).result().value:  # a file that is gone reads as an empty value
                return f"{key.decode()} is not there"
    except (OSError, ValueError, RuntimeError) as error:
        return _reason(error)
    return "" if keys else "it holds nothing"


def _json(file: Path, absent: Any = None) -> Any:
    return absent if absent is not None and not file.exists() else json.loads(file.read_text())


def _amended(folder: Path) -> dict[str, Any]:
    """What was amended of a checkpoint; {} where nothing was, or a machine that failed has left half of it."""
    try:
        return _json(folder / _AMENDED, {})
    except (OSError, ValueError):
        return {}


def _set_aside(folder: Path, fault: str, writes: bool) -> None:
    said = ""
    if writes:
        aside = folder.with_name(folder.name + _TORN)
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        said = f"; it is now {aside.name}"
    print(f"{folder}: torn, not used ({fault}){said}", file=sys.stderr, flush=True)


def _wait_to_see(directory: Path, steps: set[int], writes: bool) -> None:
    """Wait until this process sees the folders that process 0 sees. Raises UserError where it does not come to that."""
    end = time.monotonic() + _LAG_SECONDS
    while (writes and not directory.is_dir()) or set(_listed(directory)) != steps:
        if time.monotonic() > end:
            here, there = (", ".join(map(str, sorted(s))) or "none" for s in (_listed(directory), steps))
            raise UserError(
                f"{directory}: {process_name()} sees the steps {here}, process 0 sees {there}, after "
                f"{_LAG_SECONDS:.0f} s; put --workdir on storage that all hosts share"
            )
        time.sleep(0.1)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0]


# What must be the same.


def _describe(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (tuple(x.shape), str(x.dtype)) for name, x in named(tree).items()}


def _check_same(saved: dict[str, Any], wanted: dict[str, Any], where: str) -> None:
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"{where}: '{name}' is {_what(saved.get(name))} there, {_what(wanted.get(name))} in this experiment; "
                "use the config it was trained with, or another --workdir"
            )


def _what(leaf: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if leaf is None else f"{leaf[1]}{list(leaf[0])}"
