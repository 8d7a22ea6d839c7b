"""Fit the temperature of a run's probabilities on one of its splits."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seisjax import calibration, distributed, sharding, together
from seisjax.calibration import CALIBRATION, PASSES, Tally, fit_temperature
from seisjax.commands.load import Trained, load
from seisjax.commands.scoring import check_split, split_batches, watched_windows
from seisjax.errors import UserError
from seisjax.experiment import space_axis
from seisjax.files import write_json
from seisjax.reporting.reliability import draw_reliability
from seisjax.training import workdir as folder


def calibrate(workdir: Path, split: str, checkpoint: str) -> str:
    """Fit a temperature for one checkpoint, or for the average of several, and write it to `calibration.json`.

    Also draws `figures/calibration.png`; returns a summary line. In a run of several processes each calls it, and
    process 0 writes.
    """
    run = load(workdir, checkpoint)
    check_split(run.survey, split)
    with watched_windows(run.config, f"calibrate on '{split}'") as progress:
        try:
            fitted = fit_temperature(SplitPasses(run, split, PASSES, progress))
        except UserError as error:
            raise UserError(f"--workdir={workdir}, --split={split}: {error}") from error
    path, steps = workdir / CALIBRATION, [member.step for member in run.members]
    names = ", ".join(map(str, steps))
    if distributed.is_main():
        write_json(path, {"checkpoints": steps, "split": split} | fitted.values())
        draw_reliability(workdir / folder.FIGURES / "calibration.png", fitted, f"Split '{split}', checkpoint {names}")
    distributed.meet("the calibration is written")
    return (
        f"temperature {fitted.temperature:.4g} for checkpoint {names}, from {fitted.num_samples} samples of '{split}': "
        f"{fitted}, written to {path}"
    )


class SplitPasses:
    """Goes over a split, each labelled sample once, and sums `calibration.tally`. All processes must call it.

    passes: how many will be asked for; progress: called as progress(windows done, windows of all passes).
    """

    def __init__(self, run: Trained, split: str, passes: int, progress: Callable[[int, int], None]):
        config, survey, segmenter = run.config, run.survey, run.segmenter
        self._members, self._progress, self._passes, self._count = run.members, progress, passes, 0
        self._open = functools.partial(split_batches, config, survey, segmenter.mesh, split)
        network, mesh = segmenter.network, segmenter.mesh
        lying = sharding.batch_sharding(mesh, len(survey.padded) + 2, space_axis(config, survey) + 1)

        def logits(params: Any, rest: Any, images: jax.Array) -> jax.Array:
            return network.logits(params, rest, network.inputs(images))

        tally = functools.partial(calibration.tally, label_scale=survey.label_scale)
        compiled = functools.partial(jax.jit, tally, out_shardings=sharding.replicated(mesh))
        self._logits = together.compiled_together(jax.jit(logits, out_shardings=lying), "the network")
        # One program for each number of temperatures.
        self._tally = functools.cache(
            lambda *numbers: together.compiled_together(compiled(), f"the sums at {numbers} temperatures")
        )

    def __call__(self, inverse_temperatures: np.ndarray, shown: np.ndarray) -> Tally:
        """The sums over the split, float64 (of counts: int64)."""
        source, batches = self._open()
        before, total = self._count * len(source), self._passes * len(source)
        self._count += 1
        temperatures = inverse_temperatures.astype(np.float32), shown.astype(np.float32)
        tally = self._tally(*map(len, temperatures))
        totals: dict[str, Any] = {}
        waiting: list[dict[str, jax.Array]] = []  # summed one batch late, so that the device always has work
        done = 0
        try:
            for batch in batches:
                logits = [self._logits(params, rest, batch["image"]) for _, params, rest in self._members]
                waiting.append(tally(logits, batch["labels"], *temperatures))
                if len(waiting) > 1:
                    _add(totals, waiting.pop(0))
                done = min(done + len(batch["labels"]), len(source))
                self._progress(before + done, total)
        finally:
            batches.close()
        _add(totals, waiting.pop())
        return totals


def _add(totals: dict[str, Any], sums: dict[str, jax.Array]) -> None:
    """Add the sums of a batch, over its windows."""
    for name, values in sums.items():
        exact = np.asarray(values, np.int64 if values.dtype == np.int32 else np.float64)
        totals[name] = totals.get(name, 0) + exact.sum(axis=-1)
