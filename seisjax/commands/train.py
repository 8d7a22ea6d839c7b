"""Train, or go on with a run."""

import dataclasses
import hashlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seisjax import experiment, metrics, sharding
from seisjax.checkpoint import Checkpoints
from seisjax.commands.scoring import cropped, draw_panels, rounded, run_evaluation
from seisjax.config import Experiment, check_resumable, from_dict, to_dict, validate
from seisjax.data import WindowSource
from seisjax.errors import UserError
from seisjax.experiment import Fit, Segmenter, Survey, num_classes, training_stream
from seisjax.reporting import MetricsWriter, Progress, figures
from seisjax.reporting.augmentation import augmentation_examples, draw_augmentations
from seisjax.training import workdir as folder
from seisjax.training.loop import Actions, Schedule, run_steps
from seisjax.training.state import State, zero_totals
from seisjax.training.step import Batch
from seisjax.volumes import bytes_read
from seisjax.volumes.resampling import sampling_interval

# The first steps of a launch compile and fill caches; a trace of them would show nothing else.
_PROFILE_FROM = 10


def train(config: Experiment, workdir: Path, command: str) -> str:
    """Train, or go on with the run in `workdir`; returns a summary line.

    Raises UserError for whatever is wrong with config, data or folder, before anything is written; and during the run
    where the loss stops being finite.
    """
    validate(config)
    before = folder.config_of(workdir)
    if before is not None:
        check_resumable(from_dict(before), config)
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    source = experiment.training_source(config, survey)
    record = _new_record(config, survey)

    checkpoints = Checkpoints(workdir / folder.CHECKPOINTS)
    latest = checkpoints.latest
    if latest is not None:
        if checkpoints.record(latest)["data_fingerprint"] != record["data_fingerprint"]:
            raise UserError(f"data.volume={config.data.volume}: has changed since the run began; use a new --workdir")
        record = checkpoints.record(latest)
        if "fit" not in record:
            raise UserError(
                f"--workdir={workdir}: an earlier seisjax began it, with other batches; use a new --workdir"
            )
    segmenter = experiment.make_segmenter(config, survey, mesh, Fit(**record["fit"]))
    state = segmenter.init() if latest is None else checkpoints.restore(latest, experiment.abstract_state(segmenter))
    if jax.process_index() == 0:
        folder.write_run_record(workdir, to_dict(config), command, record["data_fingerprint"])
    run = _Run(config, workdir, survey, segmenter, source, checkpoints, record, first_step=latest or 0)
    try:
        return run.train(state)
    finally:
        run.close()


def _new_record(config: Experiment, survey: Survey) -> dict[str, Any]:
    """What a checkpoint remembers beside the state: enough to use it without the data it was trained on."""
    return {
        "config": to_dict(config),
        "fit": dataclasses.asdict(experiment.fit(config, survey)),
        "data_fingerprint": _fingerprint(config, survey),
        "axes": [axis.name for axis in survey.volume.axes],
        "sampling_interval": sampling_interval(survey.volume.axes[-1]),
        "class_names": survey.class_names,
        "label_scale": survey.label_scale,
    }


def _fingerprint(config: Experiment, survey: Survey) -> str:
    """16 hex digits over the volume and its labels."""
    histogram = survey.volume.label_index(config.data.labels).histogram
    text = f"{survey.volume.fingerprint}/{config.data.labels}/{np.asarray(histogram).tolist()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Run:
    """A training run under way: what the loop's actions share."""

    def __init__(
        self,
        config: Experiment,
        workdir: Path,
        survey: Survey,
        segmenter: Segmenter,
        source: WindowSource,
        checkpoints: Checkpoints,
        record: dict[str, Any],
        first_step: int,
    ):
        self.config, self.survey, self.segmenter = config, survey, segmenter
        self.source, self.checkpoints, self.record, self.first_step = source, checkpoints, record, first_step
        self.figures = workdir / folder.FIGURES
        main = jax.process_index() == 0
        self.draws = main and config.train.figures
        self.writer = MetricsWriter(workdir, enabled=main)
        self.writer.truncate(first_step)
        self.progress = Progress(config.train.num_steps, "train", "step", initial=first_step, enabled=main)
        self.stop_signal = ""
        self.bytes_read_before = bytes_read()

    def train(self, state: State) -> str:
        """Run the loop from the state's step on; returns a summary line."""
        config, plan = self.config, self.config.train
        batches = training_stream(config, self.survey, self.source, self.segmenter.mesh, self.first_step)
        schedule = Schedule(
            plan.num_steps, plan.log_every, plan.evaluate_every, plan.checkpoint_every, plan.max_minutes
        )
        actions = Actions(self._log, self._validate, self._save, self._clear, self._advance, lambda: self.stop_signal)
        before = signal.signal(signal.SIGTERM, self._stop)
        try:
            stream = self._checked_first(batches) if self.first_step == 0 else batches
            state, reason = run_steps(
                state, stream, self.segmenter.train_step, schedule, actions, config.data.batch_size
            )
        finally:
            signal.signal(signal.SIGTERM, before)
            batches.close()
        self.checkpoints.wait()
        return self._summary(int(state["step"]), reason)

    def close(self) -> None:
        """Let go of files, after the checkpoint under way is written."""
        self.progress.close()
        self.writer.close()
        self.checkpoints.close()

    def _checked_first(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the first is drawn, as the network will see it, before the first step is taken."""
        first = next(batches)
        if self.draws:
            images, labels = (np.asarray(x) for x in self.segmenter.prepare(first, 0))
            images = np.where(images == 0, np.nan, images)  # the network's mark of what has no data
            figures.first_batch(
                self.figures / "first_batch.png",
                *cropped(self.survey, images, metrics.as_classes(labels, self.survey.label_scale)),
                axes_names=[axis.name for axis in self.survey.volume.axes],
                class_names=self.survey.class_names,
                region=self.config.data.train,
                title="First training batch, normalised and augmented",
            )
            self._draw_augmentations()
        yield first
        yield from batches

    def _draw_augmentations(self) -> None:
        augmentation = experiment.make_augmentation(self.config, self.survey)
        if not augmentation.alone():
            return
        sample = self.source[0]
        image = np.asarray(self.segmenter.network.inputs(jax.numpy.asarray(sample["image"][None])))[0]
        image = np.where(np.isfinite(sample["image"]), image, np.nan)
        label = metrics.as_classes(sample["labels"], self.survey.label_scale)
        image, label = (array[tuple(map(slice, self.survey.window))] for array in (image, label))
        names = [axis.name for axis in self.survey.volume.axes]
        examples = augmentation_examples(augmentation, image, label, names, seed=self.config.seed)
        path = self.figures / "augmentation.png"
        draw_augmentations(path, image, label, examples, names, self.survey.class_names, title="Augmentation")

    def _advance(self, step: int, samples_per_second: float, waiting_share: float) -> None:
        self._profile(step)
        self.progress.update(samples_per_second=samples_per_second, waiting=f"{100 * waiting_share:.0f} %")

    def _profile(self, step: int) -> None:
        taken, steps_wanted = step - self.first_step, self.config.train.profile_steps
        if steps_wanted and taken == _PROFILE_FROM:
            jax.profiler.start_trace(str(self.figures.with_name("profile")))
        if steps_wanted and taken == _PROFILE_FROM + steps_wanted:
            jax.profiler.stop_trace()

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

    def _validate(self, step: int, state: State) -> float | None:
        if "validation" not in self.survey.regions:
            return None
        result, first = run_evaluation(self.config, self.survey, self.segmenter, state, "validation", baselines=False)
        names = ("loss", "accuracy", "mean_iou", "iou_per_class", "mean_f1", "num_windows")
        self.writer.scalars(step, "validation", **{name: result[name] for name in names})
        self.progress.print(
            f"step {step}: validation loss {result['loss']:.4f}, mean IoU {result['mean_iou']:.3f}, "
            f"IoU per class {rounded(result['iou_per_class'])}"
        )
        if self.draws:
            self._draw(step, *first)
        return result["loss"]

    def _draw(self, step: int, batch: Batch, classes: jax.Array) -> None:
        path = self.figures / f"validation_{step:07d}.png"
        draw_panels(path, self.survey, self.segmenter, batch, classes, f"Validation after step {step}")
        self.writer.figure(step, "validation", path)
        figures.loss_curves(self.figures / "curves.png", self.figures.with_name(folder.METRICS))

    def _save(self, step: int, state: State, validation_loss: float | None) -> None:
        self.checkpoints.save(step, state, self.record, validation_loss)

    def _clear(self, state: State) -> State:
        totals = jax.device_put(zero_totals(num_classes(self.config)), sharding.replicated(self.segmenter.mesh))
        return state | {"totals": totals}

    def _stop(self, number: int, frame: object) -> None:
        self.stop_signal = signal.Signals(number).name

    def _summary(self, step: int, reason: str) -> str:
        best = self.checkpoints.best
        end = f"stopped at step {step} ({reason}; the same command goes on)" if reason else f"trained {step} steps"
        return f"{end}; best checkpoint: step {best}, in {self.figures.parent}"
