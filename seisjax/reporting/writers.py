"""Metrics over time: `metrics.jsonl`, one object a line, and TensorBoard event files without TensorFlow."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from seisjax.files import beside


class MetricsWriter:
    """Writes the metrics of one run into its working folder. Does nothing where `enabled` is false.

    Files: `metrics.jsonl`, one object a line, {"step": 20, "split": "train", "loss": 0.31, ...}, and event files in
    `tensorboard/`, tags `split/name`. A value that is not finite is null in the one and left out of the other:
    JSON has no NaN.
    """

    def __init__(self, workdir: str | Path, *, enabled: bool = True) -> None:
        self._file = Path(workdir) / "metrics.jsonl"
        self._enabled = enabled
        self._purge_step: int | None = None
        self._events: Any = None

    def truncate(self, step: int) -> None:
        """Forget what was written after `step`, which a run resumes from (0: begin afresh); before the first write.

        A torn last line, left by a process that was killed, goes too. The file is written anew beside and renamed.
        """
        if not self._enabled or not self._file.exists():
            return
        kept = [line for line in self._file.read_text(errors="replace").splitlines() if _step_of(line) <= step]
        with beside(self._file) as partial:
            partial.write_text("".join(f"{line}\n" for line in kept))
        self._purge_step = step + 1

    def scalars(self, step: int, split: str, **values: Any) -> None:
        """One line of numbers, or lists or dicts of them, at `step` of `split`; flushed to the file."""
        if not self._enabled:
            return
        line = {"step": step, "split": split} | {name: _plain(value) for name, value in values.items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        self._add_events(step, split, values)
        self._tensorboard.flush()

    def figure(self, step: int, name: str, path: str | Path) -> None:
        """Show a PNG file that was written as figure `name` of `step` in TensorBoard."""
        if self._enabled:
            from matplotlib.image import imread  # here, as below

            self._tensorboard.add_image(name, imread(path)[..., :3], step, dataformats="HWC")
            self._tensorboard.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_events(self, step: int, prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            plain = _plain(value)
            if isinstance(plain, dict):
                self._add_events(step, f"{prefix}/{name}", plain)
            elif isinstance(plain, (int, float)):
                self._tensorboard.add_scalar(f"{prefix}/{name}", plain, step)

    @property
    def _tensorboard(self) -> Any:
        if self._events is None:
            # Here, because it takes long: commands that write no metrics import this file, and a run has begun before.
            from tensorboardX import SummaryWriter

            folder = str(self._file.with_name("tensorboard"))
            self._events = SummaryWriter(folder, purge_step=self._purge_step)
        return self._events


def _step_of(line: str) -> float:
    """Step of a line; infinite for a line that is torn."""
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf


def _plain(value: Any) -> Any:
    """NumPy and JAX numbers and arrays as what JSON holds; null for what is not finite."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    value = np.asarray(value)
    if value.ndim:
        return [_plain(inner) for inner in value]
    number = value.item()
    return number if isinstance(number, int) or math.isfinite(number) else None
