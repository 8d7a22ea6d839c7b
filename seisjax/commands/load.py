"""A run, opened to be used."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seisjax import experiment
from seisjax.checkpoint import Checkpoints
from seisjax.config import Experiment, from_dict
from seisjax.errors import UserError
from seisjax.experiment import Fit, Segmenter, Survey
from seisjax.training import workdir as folder
from seisjax.training.state import State
from seisjax.volumes import Volume


@dataclass(frozen=True)
class Trained:
    """A run as its folder has it: config, one checkpoint's step, record and state on a mesh."""

    config: Experiment
    survey: Survey
    segmenter: Segmenter
    step: int
    record: dict[str, Any]
    state: State


def load(
    workdir: Path,
    checkpoint: str,
    volume: str = "",
    own_statistics: bool = False,
    batch_size: int = 0,
    resample: bool = False,
) -> Trained:
    """Open a run to use it. `checkpoint`: "best", "last" or a step. Raises UserError where there is none.

    volume: URL of another volume than the run's; own_statistics: normalise by that volume's statistics;
    batch_size: windows at a time, which the mesh must divide; 0: the run's; resample: read that volume at the sampling
    interval of the run.
    """
    values = folder.config_of(workdir)
    if values is None:
        raise UserError(f"--workdir={workdir}: holds no run; give the --workdir of a run of launch/train.py")
    config = from_dict(values)
    checkpoints = Checkpoints(workdir / folder.CHECKPOINTS, writes=False)
    try:
        step = _choose_step(checkpoints, checkpoint, workdir)
        record = checkpoints.record(step)
        interval = record.get("sampling_interval")  # which the first runs did not note
        target = experiment.open_target(config, volume, record["axes"], interval, resample) if volume else None
        survey = target or experiment.open_survey(config)
        mesh = experiment.make_mesh(config, survey, batch_size or config.data.batch_size)
        fit = Fit(**record["fit" if "fit" in record else "statistics"])  # the latter: as the first runs had it
        if own_statistics:
            fit = dataclasses.replace(fit, **_statistics_of(survey.volume))
        segmenter = experiment.make_segmenter(config, survey, mesh, fit)
        state = checkpoints.restore(step, experiment.abstract_state(segmenter))
    finally:
        checkpoints.close()
    return Trained(config, survey, segmenter, step, record, state)


def _choose_step(checkpoints: Checkpoints, name: str, workdir: Path) -> int:
    if checkpoints.latest is None:
        raise UserError(f"--workdir={workdir}: has no checkpoint yet; train first")
    chosen = {"best": checkpoints.best, "last": checkpoints.latest}.get(name)
    if chosen is None:
        known = [str(step) for step in checkpoints.steps]
        if name not in known:
            raise UserError(f"--checkpoint={name}: not there; choose best, last, {', '.join(known)}")
        chosen = int(name)
    return chosen


def _statistics_of(volume: Volume) -> dict[str, float]:
    if volume.statistics is None:
        raise UserError(f"{volume.url}: holds no statistics; leave --statistics=training")
    statistics = volume.statistics
    return {"mean": statistics.mean, "std": statistics.std, "median": statistics.p50, "mad": statistics.mad or 0.0}
