"""A run, opened to be used."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from seisjax import distributed, experiment
from seisjax.checkpoint import Checkpoints
from seisjax.config import Experiment, from_dict, kernels_of, strides_of
from seisjax.errors import UserError, note
from seisjax.experiment import Fit, Segmenter, Survey, channels
from seisjax.geometry import Shape, put_back
from seisjax.models.parts import fingerprint
from seisjax.models.unet import receptive_radius
from seisjax.training import workdir as folder
from seisjax.training.state import State, averaged
from seisjax.volumes import Volume


class Member(NamedTuple):
    """What one checkpoint predicts with: its parameters, averaged where there are such, and the network's rest."""

    step: int
    params: Any
    rest: Any


@dataclass(frozen=True)
class Trained:
    """A run as its folder has it: config, record and checkpoints on a mesh.

    step, record and state are those of the first of the checkpoints that were asked for; `members` are all of them.
    """

    config: Experiment
    survey: Survey
    segmenter: Segmenter
    step: int
    record: dict[str, Any]
    state: State
    members: tuple[Member, ...]

    def forwards(self, temperature: float = 1.0) -> list[Callable[[np.ndarray], jax.Array]]:
        """One function a member: images (B, *image_shape), NaN = no data, to probabilities (B, *padded, classes).

        They are float32, and may be returned before the device is done. Logits are divided by `temperature` first (see
        calibration.py).
        Raises UserError where that is not above 0.
        """
        if not (math.isfinite(temperature) and temperature > 0):
            raise UserError(f"temperature={temperature}: must be above 0")

        def forward(member: Member, images: np.ndarray) -> jax.Array:
            return self.segmenter.forward(member.params, member.rest, images, np.float32(temperature))

        return [functools.partial(forward, member) for member in self.members]

    @property
    def image_shape(self) -> Shape:
        """Sides and channels of the images that it is given."""
        return (*self.survey.padded, channels(self.config))

    @property
    def receptive_radius(self) -> Shape | None:
        """Samples on either side, along each axis of the window, beyond which nothing changes a probability; None where
        the window's extent does."""
        model, normalization = self.config.model, self.segmenter.network.normalization
        if model.norm in ("group", "instance") or normalization.scope != "training" or model.vertical_position:
            return None
        *radius, last = receptive_radius(kernels_of(self.config), strides_of(self.config))
        along = put_back(self.config.data.window, (*radius, last + normalization.agc // 2), 0)
        return along[-len(self.survey.window) :]

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits over names, dtypes, shapes and bytes of all that the members predict with, in their order."""
        return fingerprint(*({"params": member.params, "rest": member.rest} for member in self.members))


def load(
    workdir: Path,
    checkpoint: str,
    volume: str = "",
    own_statistics: bool = False,
    batch_size: int = 0,
    resample: bool = False,
    compute: str = "",
) -> Trained:
    """Open a run to use it. Raises UserError where there is none.

    checkpoint: "best", "last" or a step, or several of them with commas between; volume: URL of another volume than the
    run's; own_statistics: normalise by that volume's statistics; batch_size: windows at a time; 0: as many as it
    is evaluated with; resample: read that volume at the sampling interval of the run; compute: number format of the
    network ("float32" or "bfloat16"); "": the run's.
    """
    values = folder.config_of(workdir)
    if values is None:
        raise UserError(f"--workdir={workdir}: holds no run; give the --workdir of a run of launch/train.py")
    config = from_dict(values)
    if compute:
        config = dataclasses.replace(config, precision=dataclasses.replace(config.precision, compute=compute))
    checkpoints = Checkpoints(workdir / folder.CHECKPOINTS, writes=False)
    try:
        first, *others = _choose_steps(checkpoints, checkpoint, workdir)
        record = checkpoints.record(first)
        interval = record.get("sampling_interval")  # which the first runs did not note
        target = experiment.open_target(config, volume, record["axes"], interval, resample) if volume else None
        survey = target or experiment.open_survey(config, mixture=False)
        mesh = _fitting_mesh(config, survey, batch_size or config.evaluate.batch_size or config.data.batch_size)
        fit = Fit(**record["fit" if "fit" in record else "statistics"])  # the latter: as the first runs had it
        if own_statistics:
            fit = dataclasses.replace(fit, **_statistics_of(survey.volume))
        segmenter = experiment.make_segmenter(config, survey, mesh, fit)
        layout = experiment.abstract_state(segmenter)
        state = checkpoints.restore(first, layout)
        # Of the others the optimiser's part is let go of at once.
        members = [_member(first, state), *(_member(step, checkpoints.restore(step, layout)) for step in others)]
    finally:
        checkpoints.close()
    return Trained(config, survey, segmenter, first, record, state, tuple(members))


def _fitting_mesh(config: Experiment, survey: Survey, batch_size: int) -> Mesh:
    """The run's mesh, or where it does not fit these devices and this batch the largest that does.

    A run is used where there are other devices than those it was trained on, and results depend on them by rounding
    alone. Raises UserError where there is none.
    """
    try:
        return experiment.make_mesh(config, survey, batch_size)
    except UserError:
        was, devices = config.mesh, jax.device_count()
        space = was.space if was.space <= devices else math.gcd(was.space, devices)
        data = max(n for n in range(1, devices // space + 1) if batch_size % n == 0)
        other = dataclasses.replace(config, mesh=dataclasses.replace(was, data=data, space=space))
        mesh = experiment.make_mesh(other, survey, batch_size)
    if distributed.is_main():
        note(
            f"mesh: the run's data={was.data} x space={was.space} does not fit {batch_size} windows at a time on "
            f"{devices} devices; data={data} x space={space} is used"
        )
    return mesh


def _member(step: int, state: State) -> Member:
    return Member(step, averaged(state), state["rest"])


def _choose_steps(checkpoints: Checkpoints, names: str, workdir: Path) -> Sequence[int]:
    """The steps that are asked for, each once, in the order in which they are named first."""
    known = checkpoints.by_name
    if not known:
        raise UserError(f"--workdir={workdir}: has no checkpoint yet; train first")
    chosen: dict[int, None] = {}
    for name in names.split(","):
        if name.strip() not in known:
            steps = ", ".join(map(str, checkpoints.steps))
            raise UserError(f"--checkpoint={names}: '{name.strip()}' is not there; choose best, last, {steps}")
        chosen[known[name.strip()]] = None
    return list(chosen)


def _statistics_of(volume: Volume) -> dict[str, float]:
    if volume.statistics is None:
        raise UserError(f"{volume.url}: holds no statistics; leave --statistics=training")
    statistics = volume.statistics
    return {"mean": statistics.mean, "std": statistics.std, "median": statistics.p50, "mad": statistics.mad or 0.0}
