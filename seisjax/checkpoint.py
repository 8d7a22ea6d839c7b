"""Checkpoints of a run, by Orbax: the newest and the best are kept. The only file that imports Orbax."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from seisjax.errors import UserError

_KEPT_NEWEST = 2  # should the newest turn out unreadable, the one before is still there
_STATE = "state"


class Checkpoints:
    """The checkpoints under `directory`: a state a step, with the validation loss and a JSON record of its own.

    Saving is asynchronous; the next call raises UserError where a write failed in the meantime.
    A checkpoint that was being written when the process died is never listed, and is cleaned up on opening.
    """

    def __init__(self, directory: Path):
        policies = ocp.training.preservation_policies
        self._directory = directory
        self._failed = False
        self._pending: Any = None
        self._checkpointer = ocp.training.Checkpointer(
            str(directory.absolute()),
            cleanup_tmp_directories=True,
            preservation_policy=policies.AnyPreservationPolicy(  # pyright: ignore[reportArgumentType]
                [
                    policies.LatestN(_KEPT_NEWEST),
                    policies.BestN(get_metric_fn=_loss, reverse=True, n=1, keep_checkpoints_without_metrics=False),
                ]
            ),
        )

    @property
    def steps(self) -> list[int]:
        """The steps that are there, rising."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    @property
    def latest(self) -> int | None:
        """The newest step, or None where there is none."""
        return max(self.steps, default=None)

    @property
    def best(self) -> int | None:
        """The step of the lowest finite validation loss; the newest step where none was validated."""
        validated = {c.step: _loss(c.metrics) for c in self._checkpointer.checkpoints if c.metrics}
        finite = {step: loss for step, loss in validated.items() if math.isfinite(loss)}
        return min(finite, key=lambda step: (finite[step], step)) if finite else self.latest

    def save(self, step: int, state: Any, record: dict[str, Any], validation_loss: float | None = None) -> None:
        """Start to save `state` (a tree of arrays) as `step`, after the save before it has ended."""
        self.wait()
        self._pending = self._checkpointer.save_checkpointables_async(
            step,
            {_STATE: state},
            force=True,
            overwrite=True,
            metrics=None if validation_loss is None else {"loss": _finite(validation_loss)},
            custom_metadata=record,
        )

    def wait(self) -> None:
        """Wait for the save under way. Raises UserError where it failed; the checkpoints before it are whole."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        try:
            pending.result()
        except Exception as error:  # storage fails in as many ways as there are storages
            self._failed = True
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"{self._directory}: a checkpoint cannot be written ({reason}); the one before it is whole. "
                "Make room there, then start the same command again"
            ) from error

    def record(self, step: int) -> dict[str, Any]:
        """The JSON record saved with `step`."""
        metadata = self._checkpointer.checkpointables_metadata(step).custom_metadata
        return json.loads(json.dumps(metadata))

    def restore(self, step: int, target: Any) -> Any:
        """The state of `step`, laid out as `target`, a tree of ShapeDtypeStruct with shardings.

        Raises UserError where the names, shapes or dtypes saved are not those of the target.
        """
        saved = self._checkpointer.checkpointables_metadata(step).metadata[_STATE]
        _check_same(_describe(saved), _describe(target), f"checkpoint {step}")
        return self._checkpointer.load_checkpointables(step, {_STATE: target})[_STATE]

    def close(self) -> None:
        """Wait for the save under way and let go of the directory."""
        self.wait()
        try:
            self._checkpointer.close()
        except Exception:
            if not self._failed:  # otherwise it is the failure that `wait` told of already
                raise


def _loss(metrics: Any) -> float:
    return float(metrics["loss"]) if metrics and metrics.get("loss") is not None else math.inf


def _finite(loss: float) -> float:
    # A NaN compares as lower than everything and would push the best checkpoint out.
    return loss if math.isfinite(loss) else float("inf")


def _describe(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    names = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {names(path): (tuple(x.shape), str(x.dtype)) for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _check_same(saved: dict[str, Any], wanted: dict[str, Any], where: str) -> None:
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"{where}: '{name}' is {_what(saved.get(name))} there, {_what(wanted.get(name))} in this experiment; "
                "use the config it was trained with, or another --workdir"
            )


def _what(leaf: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if leaf is None else f"{leaf[1]}{list(leaf[0])}"
