"""Train, or go on with a run."""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from seisjax import distributed, experiment, metrics, sharding, together
from seisjax.checkpoint import Checkpoints
from seisjax.commands.pretrained import first_state
from seisjax.config import Experiment, check_resumable, from_dict, to_dict, validate
from seisjax.data import MixedSource, WindowSource
from seisjax.errors import UserError, note
from seisjax.experiment import Fit, Segmenter, Survey, num_classes, training_stream
from seisjax.reporting import MetricsWriter, Progress
from seisjax.stopping import StopNotice
from seisjax.training import workdir as folder
from seisjax.training.loop import Actions, Schedule, Validation, run_steps
from seisjax.training.state import State, zero_totals
from seisjax.training.step import Batch
from seisjax.volumes import Volume, bytes_read
from seisjax.volumes.resampling import sampling_interval
from seisjax.watchdog import Watchdog

# The first steps of a launch compile and fill caches; a trace of them would show nothing else.
_PROFILE_FROM = 10


class Ended(NamedTuple):
    """How a launch ended: a line that says so, and whether that was before the last step."""

    summary: str
    stopped: bool


def train(config: Experiment, workdir: Path, command: str) -> Ended:
    """Train, or go on with the run in `workdir`; in a run of several processes each calls it.

    Raises UserError for whatever is wrong with config, data or folder, before anything is written; and during the run
    where the loss stops being finite.
    """
    began = time.monotonic()
    validate(config)
    if unlike := together.unlike_main(to_dict(config)):
        raise UserError(f"--config: process {unlike} has another one than process 0; give all the same flags")
    before = folder.config_of(workdir)
    if before is not None:
        check_resumable(from_dict(before), config)
    new = together.of_main(before is None)  # not as each sees it: what is done at which point depends on it
    distributed.meet("all know the run's folder, before anything is written there")
    with Watchdog(config.train.hang_minutes, together.process_name()) as watchdog:
        run = _open_run(config, workdir, command, watchdog, began, new=new)
        try:
            return run.train()
        finally:
            run.close()


def _open_run(
    config: Experiment, workdir: Path, command: str, watchdog: Watchdog, began: float, *, new: bool
) -> "_Run":
    """The run at its latest checkpoint, or before its first step. `began`: when the launch did."""
    watchdog.alive("opening the data")
    survey = experiment.open_survey(config)
    mesh = experiment.training_mesh(config, survey)
    source = experiment.training_source(config, survey)
    watchdog.alive("reading statistics of the training part")
    record = _new_record(config, survey)
    begin = functools.partial(_begin, config, survey, mesh, record)
    begun = begin() if new else None  # what is wrong is told before the folder is made
    watchdog.alive("the latest checkpoint")
    checkpoints = Checkpoints(workdir / folder.CHECKPOINTS)
    latest = checkpoints.latest
    if latest is None:
        record, segmenter, state = begun or begin()
    else:
        _check_same_data(config, checkpoints.record(latest), record)
        record = checkpoints.record(latest)
        if "fit" not in record:
            raise UserError(
                f"--workdir={workdir}: an earlier seisjax began it, with other batches; use a new --workdir"
            )
        segmenter = experiment.make_segmenter(config, survey, mesh, Fit(**record["fit"]))
        state = checkpoints.restore(latest, experiment.abstract_state(segmenter))
    source = experiment.fitted_source(config, source, Fit(**record["fit"]))
    if distributed.is_main():
        fingerprints = record["data_fingerprint"], record.get("mixture_fingerprints", [])
        folder.write_run_record(workdir, to_dict(config), command, *fingerprints, record.get("init"))
    return _Run(config, workdir, survey, segmenter, source, checkpoints, record, state, watchdog, began)


def _begin(
    config: Experiment, survey: Survey, mesh: Mesh, record: dict[str, Any]
) -> tuple[dict[str, Any], Segmenter, State]:
    """A run before its first step: its record, its network, and the state that it begins with."""
    segmenter = experiment.make_segmenter(config, survey, mesh, Fit(**record["fit"]))
    state, init = first_state(config, segmenter)
    return record | ({"init": init} if init else {}), segmenter, state


def _new_record(config: Experiment, survey: Survey) -> dict[str, Any]:
    """What a checkpoint remembers beside the state: enough to use it without the data it was trained on.

    As process 0 has it: a sum that another processor rounds otherwise would make another program of the same step.
    """
    record = {
        "config": to_dict(config),
        "fit": dataclasses.asdict(experiment.fit(config, survey)),
        "data_fingerprint": _fingerprint(survey.volume, survey.volume.fingerprint, config.data.labels),
        "mixture_fingerprints": [_fingerprint(m.volume, m.fingerprint, m.labels) for m in survey.others],
        "axes": [axis.name for axis in survey.volume.axes],
        "sampling_interval": sampling_interval(survey.volume.axes[-1]),
        "class_names": survey.class_names,
        "label_scale": survey.label_scale,
    }
    for name, url, fingerprint in _fingerprints(config, record):
        if unlike := together.unlike_main(fingerprint):
            raise UserError(
                f"{name}={url}: process {unlike} finds other data there than process 0; give all hosts the same volume"
            )
    return together.of_main(record)


def _fingerprint(volume: Volume, fingerprint: str, labels: str) -> str:
    """16 hex digits over a volume and its labels."""
    histogram = volume.label_index(labels).histogram
    text = f"{fingerprint}/{labels}/{np.asarray(histogram).tolist()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fingerprints(config: Experiment, record: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Field, URL and fingerprint of each volume that is trained on."""
    others = zip(config.data.mixture_volumes, record.get("mixture_fingerprints", []), strict=True)
    found = [(f"data.mixture_volumes[{number}]", *other) for number, other in enumerate(others)]
    return [("data.volume", config.data.volume, record["data_fingerprint"]), *found]


def _check_same_data(config: Experiment, before: dict[str, Any], now: dict[str, Any]) -> None:
    for known, (name, url, found) in zip(_fingerprints(config, before), _fingerprints(config, now), strict=True):
        if known[-1] != found:
            raise UserError(f"{name}={url}: has changed since the run began; use a new --workdir")


class _BrokenOffError(Exception):
    """A validation that a reason to stop has ended."""


class _Run:
    """A training run under way: what the loop's actions share."""

    def __init__(
        self,
        config: Experiment,
        workdir: Path,
        survey: Survey,
        segmenter: Segmenter,
        source: WindowSource | MixedSource,
        checkpoints: Checkpoints,
        record: dict[str, Any],
        state: State,
        watchdog: Watchdog,
        began: float,
    ):
        self.config, self.survey, self.source, self.checkpoints = config, survey, source, checkpoints
        self.record, self.state, self.watchdog = record, state, watchdog
        self.segmenter = dataclasses.replace(
            segmenter,
            train_step=together.compiled_together(segmenter.train_step, "the train step"),
            evaluate_step=together.compiled_together(segmenter.evaluate_step, "the evaluation step"),
        )
        zero, everywhere = functools.partial(zero_totals, num_classes(config)), sharding.replicated(segmenter.mesh)
        self.zero_totals = jax.jit(zero, out_shardings=everywhere)
        plan, self.first_step = config.train, int(state["step"])
        self.schedule = Schedule(plan.num_steps, plan.log_every, plan.evaluate_every, plan.checkpoint_every)
        self.figures = workdir / folder.FIGURES
        self.main = distributed.is_main()
        self.writer = MetricsWriter(workdir, enabled=self.main)
        self.writer.truncate(self.first_step)
        self.progress = Progress(plan.num_steps, "train", "step", initial=self.first_step, enabled=self.main)
        self.bytes_read_before = bytes_read()
        self.notice = StopNotice(plan.max_minutes, began)
        self.tracing = False
        self.first_batch: Batch | None = None  # until it is drawn

    def train(self) -> Ended:
        """Run the loop from the state's step on."""
        config, segmenter = self.config, self.segmenter
        left = config.train.num_steps - self.first_step
        if config.train.profile_steps and 0 < left <= _PROFILE_FROM and self.main:
            note(
                f"train.profile_steps: nothing will be traced, for that begins after step {_PROFILE_FROM} of a launch "
                f"and train.num_steps={config.train.num_steps} leaves {left}"
            )
        batches = training_stream(config, self.survey, self.source, segmenter.mesh, self.first_step)
        stream = self._keeping_first(batches) if self.first_step == 0 and config.train.figures else batches
        actions = Actions(
            self._log,
            self._validate,
            self._save,
            self._clear,
            self._advance,
            self.notice.reached,
            self.watchdog.alive,
        )
        owed = self.record.get("validation_owed", False)
        try:
            state, reason = run_steps(
                self.state, stream, segmenter.train_step, self.schedule, actions, config.data.batch_size, owed=owed
            )
        finally:
            batches.close()
        self.watchdog.alive("the last checkpoint")
        self.checkpoints.wait()
        return Ended(self._summary(int(state["step"]), reason), bool(reason))

    def close(self) -> None:
        """Let go of files, after the checkpoint under way is written."""
        self.notice.close()
        self._end_trace()
        self.progress.close()
        self.writer.close()
        self.checkpoints.close()

    def _keeping_first(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        self.first_batch = next(batches)
        yield self.first_batch
        yield from batches

    def _advance(self, step: int, samples_per_second: float, waiting_share: float) -> None:
        if step == min(self.first_step + 2, self.config.train.num_steps):
            # The device is at work on the second step meanwhile, and the first has not waited for this.
            self._begin_to_report()
        self._profile(step)
        self.progress.update(samples_per_second=samples_per_second, waiting=f"{100 * waiting_share:.0f} %")

    def _begin_to_report(self) -> None:
        """Import what scores and draws, a third of all that a launch imports, and draw a new run's first batch.

        All processes call it. Where a validation comes first, that imports.
        """
        from seisjax.commands import scoring, training_figures

        if self.first_batch is None:
            return
        images, labels = self.segmenter.prepare(self.first_batch, 0)
        rows = scoring.drawn_rows({"images": images, "labels": labels}, self.segmenter.mesh)
        self.first_batch = None
        if self.main:
            training_figures.draw_first_batch(self.figures, self.config, self.survey, self.source, **rows)
            training_figures.draw_augmentation(self.figures, self.config, self.survey, self.segmenter, self.source)

    def _profile(self, step: int) -> None:
        taken, steps_wanted = step - self.first_step, self.config.train.profile_steps
        if steps_wanted and taken == _PROFILE_FROM:
            jax.profiler.start_trace(str(self.figures.with_name("profile")))
            self.tracing = True
        if taken == _PROFILE_FROM + steps_wanted:
            self._end_trace()

    def _end_trace(self) -> None:
        if self.tracing:
            jax.profiler.stop_trace()
            self.tracing = False

    def _log(self, step: int, totals: dict[str, Any], samples_per_second: float, waiting_share: float) -> None:
        count = float(totals["steps"])
        scores = metrics.scores(totals["confusion"])
        loss = float(totals["loss"]) / count
        self.writer.scalars(
            step,
            "train",
            loss=loss,
            accuracy=scores["accuracy"],
            mean_iou=scores["mean_iou"],
            gradient_norm=float(totals["gradient_norm"]) / count,
            learning_rate=float(self.segmenter.schedule(step - 1)),
            time={
                "unix": time.time(),
                "samples_per_second": samples_per_second,
                "waiting_share": waiting_share,
                "bytes_read": bytes_read() - self.bytes_read_before,
                "bytes_used": self.source.bytes_used,
            },
        )
        self.progress.update(0, loss=loss)

    def _validate(self, step: int, state: State) -> Validation | None:
        if "validation" not in self.survey.regions:
            return Validation(None)
        from seisjax.commands.scoring import rounded, run_evaluation

        def progress(done: int, total: int) -> None:
            self.watchdog.alive(f"validation after step {step}, window {done} of {total}")
            if done < total and self.notice.reached():
                raise _BrokenOffError

        try:
            result, rows = run_evaluation(
                self.config, self.survey, self.segmenter, state, "validation", baselines=False, progress=progress
            )
        except _BrokenOffError:
            return None
        names = ("loss", "accuracy", "mean_iou", "iou_per_class", "mean_f1", "num_windows")
        self.writer.scalars(step, "validation", **{name: result[name] for name in names})
        loss, iou = metrics.score_text(result["loss"], 4), metrics.score_text(result["mean_iou"])
        classes = rounded(result["iou_per_class"])
        self.progress.print(f"step {step}: validation loss {loss}, mean IoU {iou}, IoU per class {classes}")
        if self.main and self.config.train.figures:
            self._draw(step, rows)
        return Validation(result["loss"])

    def _draw(self, step: int, rows: dict[str, np.ndarray]) -> None:
        from seisjax.commands import training_figures

        panels = training_figures.draw_validation(self.figures, self.survey, self.segmenter, step, rows)
        self.writer.figure(step, "validation", panels)

    def _save(self, step: int, state: State, validation: Validation | None) -> None:
        self.watchdog.alive(f"the checkpoint of step {step}")
        owed = {"validation_owed": validation is None and self.schedule.evaluates(step)}
        loss = validation.loss if validation else None
        if step == self.checkpoints.latest:  # the launch has found it, and has taken no step since
            self.checkpoints.amend(step, owed, loss)
        else:
            self.checkpoints.save(step, state, self.record | owed, loss)

    def _clear(self, state: State) -> State:
        return state | {"totals": self.zero_totals()}

    def _summary(self, step: int, reason: str) -> str:
        best = self.checkpoints.best
        end = f"stopped at step {step} ({reason}; the same command goes on)" if reason else f"trained {step} steps"
        return f"{end}; best checkpoint: step {best}, in {self.figures.parent}"
