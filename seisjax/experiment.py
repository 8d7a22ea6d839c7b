"""From a config to what it describes: the only file that turns options into objects.

`train`, `evaluate` and `predict` each read top to bottom: data, mesh, network, checkpoint, work.
"""

import functools
import hashlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from seisjax import losses, metrics, sharding
from seisjax.augment import augment
from seisjax.baselines import make_baselines
from seisjax.checkpoint import Checkpoints
from seisjax.config import Experiment, check_resumable, flatten, from_dict, to_dict, validate
from seisjax.conventions import IGNORE, INITIALISE, PRED_CLASS, VERTICAL_AXES
from seisjax.data import (
    GridWindows,
    WindowSource,
    check_labelled,
    check_window,
    evaluation_batches,
    make_sampler,
    resolve_splits,
    training_batches,
    training_statistics,
)
from seisjax.errors import UserError, nearest
from seisjax.evaluation import evaluate_baselines, evaluate_batches
from seisjax.files import write_json
from seisjax.geometry import Box, Lattice, Shape, format_region, lattice_stride, padded_window, parse_region
from seisjax.inference import predict_volume
from seisjax.models.initialize import parameter_count
from seisjax.models.unet import UNet
from seisjax.reporting import MetricsWriter, Progress, figures
from seisjax.training import step as steps
from seisjax.training import workdir as folder
from seisjax.training.loop import Actions, Schedule, run_steps
from seisjax.training.optimizer import make_optimizer, make_schedule
from seisjax.training.state import State, init_state, zero_totals
from seisjax.volumes import Volume, bytes_read, open_volume, set_cache_size
from seisjax.volumes.segy_export import write_segy

# The first steps of a launch compile and fill caches; a trace of them would show nothing else.
_PROFILE_FROM = 10


@dataclass(frozen=True)
class Survey:
    """The data of an experiment: volume, splits as boxes, the window and its padded sides, class names."""

    volume: Volume
    regions: dict[str, Box]
    window: Shape
    padded: Shape
    class_names: list[str]


@dataclass(frozen=True)
class Segmenter:
    """The network of an experiment on a mesh: what starts, moves and asks it, jitted with its shardings."""

    network: steps.Network
    loss: losses.Loss
    mesh: Mesh
    init: Callable[[], State]
    train_step: Callable[[State, steps.Batch], tuple[State, dict[str, jax.Array]]]
    evaluate_step: Callable[[Any, Any, steps.Batch], dict[str, jax.Array]]
    forward: Callable[[Any, Any, Any], jax.Array]
    prepare: Callable[[steps.Batch, Any], tuple[jax.Array, jax.Array]]
    schedule: Callable[[int], Any]


def open_survey(config: Experiment) -> Survey:
    """Open the volume and prove that window, labels, splits and devices fit. Raises UserError where they do not."""
    data = config.data
    set_cache_size(data.cache_mebibytes)
    volume = open_volume(data.volume)
    if data.labels not in volume.label_names():
        raise UserError(
            f"{data.volume}: has no labels '{data.labels}'{nearest(data.labels, volume.label_names())}; set data.labels"
        )
    regions = resolve_splits(volume, data.train, data.validation, data.test, data.window, data.split_gap)
    check_labelled(volume, data.labels, regions)
    _check_classes(volume, config)
    if not 2 <= sum(side > 1 for side in data.window) <= 3:
        raise UserError(f"data.window={data.window}: two or three sides must be longer than 1")
    padded = padded_window(data.window, 2 ** (config.model.levels - 1))
    return Survey(volume, regions, tuple(data.window), padded, volume.class_names(data.labels))


def _check_classes(volume: Volume, config: Experiment) -> None:
    classes = max(config.model.num_classes, 2)
    histogram = volume.label_index(config.data.labels).histogram
    highest = max((int(k) for k in np.flatnonzero(histogram)), default=0)
    if highest >= classes:
        raise UserError(
            f"{config.data.volume}: labels '{config.data.labels}' hold class {highest}, model.num_classes="
            f"{config.model.num_classes} knows 0 to {classes - 1}; set model.num_classes={highest + 1}"
        )


def make_mesh(config: Experiment, survey: Survey, batch_size: int) -> Mesh:
    """The mesh of all devices; raises UserError where batch or window cannot be split over it."""
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.space)
    sharding.check_batch(batch_size, mesh)
    if config.optimizer.accumulation > 1:
        sharding.check_batch(batch_size // config.optimizer.accumulation, mesh)
    axis = space_axis(config, survey)
    sharding.check_extent(survey.padded[axis], survey.volume.axes[axis].name, mesh)
    return mesh


def space_axis(config: Experiment, survey: Survey) -> int:
    """Number of the window's axis that `mesh.space` splits: the one named, or the first longer than 1."""
    names = [axis.name for axis in survey.volume.axes]
    if not config.mesh.space_axis:
        return next(i for i, side in enumerate(survey.window) if side > 1)
    if config.mesh.space_axis not in names:
        raise UserError(f"mesh.space_axis='{config.mesh.space_axis}'{nearest(config.mesh.space_axis, names)}")
    return names.index(config.mesh.space_axis)


def make_segmenter(config: Experiment, survey: Survey, mesh: Mesh, statistics: dict[str, float]) -> Segmenter:
    """Build the network and jit its functions over the mesh. Nothing is computed yet."""
    key = jax.random.key(config.seed)
    init_parameters, network = _make_network(config, survey, statistics)
    loss = losses.make_loss(config.loss.name, config.model.num_classes, config.loss.class_weights)
    schedule, optimizer = _make_optimizer(config)
    augmentation = _make_augmentation(config, survey)
    classes = max(config.model.num_classes, 2)
    train_step = steps.make_train_step(
        network, loss, optimizer, augmentation, classes, config.optimizer.accumulation, key
    )

    everywhere = sharding.replicated(mesh)
    dim = space_axis(config, survey) + 1
    batch = {
        "image": sharding.batch_sharding(mesh, len(survey.padded) + 2, dim),
        "labels": sharding.batch_sharding(mesh, len(survey.padded) + 1, dim),
    }
    scores = {"numerators": everywhere, "denominators": everywhere, "confusion": everywhere, "classes": batch["labels"]}
    return Segmenter(
        network=network,
        loss=loss,
        mesh=mesh,
        init=jax.jit(
            lambda: init_state(jax.random.fold_in(key, INITIALISE), init_parameters, optimizer, classes),
            out_shardings=everywhere,
        ),
        train_step=jax.jit(
            train_step, in_shardings=(everywhere, batch), out_shardings=(everywhere, everywhere), donate_argnums=0
        ),
        evaluate_step=jax.jit(
            steps.make_evaluate_step(network, loss, classes),
            in_shardings=(everywhere, everywhere, batch),
            out_shardings=scores,
        ),
        forward=jax.jit(
            steps.make_forward(network),
            in_shardings=(everywhere, everywhere, batch["image"]),
            out_shardings=everywhere,
        ),
        prepare=jax.jit(steps.make_prepare(network, augmentation)),
        schedule=schedule,
    )


def _make_network(
    config: Experiment, survey: Survey, statistics: dict[str, float]
) -> tuple[Callable[[jax.Array], tuple[Any, Any]], steps.Network]:
    model = config.model
    make_unet = functools.partial(
        UNet,
        1,
        model.num_classes,
        spatial_ndim=sum(side > 1 for side in survey.window),
        base_features=model.base_features,
        levels=model.levels,
        norm=model.norm,
        activation=model.activation,
        dropout=model.dropout,
        remat=model.remat,
        dtype=jnp.dtype(config.precision.compute),
    )
    init_parameters, graphdef = steps.initializer(make_unet)
    network = steps.Network(graphdef, survey.padded, statistics["mean"], statistics["std"], config.data.clip)
    return init_parameters, network


def _make_optimizer(config: Experiment) -> tuple[optax.Schedule, optax.GradientTransformation]:
    options = config.optimizer
    decay_steps = options.decay_steps or config.train.num_steps
    schedule = make_schedule(options.schedule, options.learning_rate, options.warmup_steps, decay_steps)
    return schedule, make_optimizer(schedule, options.weight_decay, options.clip_norm)


def _make_augmentation(config: Experiment, survey: Survey) -> steps.Augmentation:
    names = [axis.name for axis in survey.volume.axes]
    unknown = [name for name in config.augment.flip_axes if name not in names]
    if unknown:
        raise UserError(f"augment.flip_axes: the volume has no axis '{unknown[0]}'{nearest(unknown[0], names)}")
    options = {
        "flip_axes": [names.index(name) for name in config.augment.flip_axes],
        "polarity": config.augment.polarity,
        "gain": config.augment.gain,
        "noise": config.augment.noise,
    }
    return lambda images, labels, valid, indices: augment(images, labels, valid, config.seed, indices, **options)


def training_source(config: Experiment, survey: Survey) -> WindowSource:
    """The endless source of training windows; each holds a labelled sample."""
    sampler = make_sampler(
        config.data.sampling,
        survey.regions["train"],
        survey.window,
        seed=config.seed,
        overhang=config.data.overhang,
    )
    return WindowSource(survey.volume, config.data.labels, sampler, survey.padded, labelled_only=True)


def split_source(config: Experiment, survey: Survey, split: str) -> WindowSource:
    """The windows that tile a split, each once."""
    grid = GridWindows(survey.regions[split], survey.window)
    return WindowSource(survey.volume, config.data.labels, grid, survey.padded, labelled_only=False)


def _fingerprint(config: Experiment, survey: Survey) -> str:
    """16 hex digits over the volume and its labels."""
    histogram = survey.volume.label_index(config.data.labels).histogram
    text = f"{survey.volume.fingerprint}/{config.data.labels}/{np.asarray(histogram).tolist()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def train(config: Experiment, workdir: Path, command: str) -> str:
    """Train, or go on with the run in `workdir`; returns a summary line.

    Raises UserError for whatever is wrong with config, data or folder, before anything is written; and during the run
    where the loss stops being finite.
    """
    validate(config)
    before = folder.config_of(workdir)
    if before is not None:
        check_resumable(from_dict(before), config)
    survey = open_survey(config)
    mesh = make_mesh(config, survey, config.data.batch_size)
    source = training_source(config, survey)
    fingerprint = _fingerprint(config, survey)

    checkpoints = Checkpoints(workdir / folder.CHECKPOINTS)
    latest = checkpoints.latest
    record = _new_record(config, survey, fingerprint) if latest is None else checkpoints.record(latest)
    if record["data_fingerprint"] != fingerprint:
        raise UserError(f"data.volume={config.data.volume}: is not the data the run began with; use a new --workdir")
    segmenter = make_segmenter(config, survey, mesh, record["statistics"])
    state = segmenter.init() if latest is None else checkpoints.restore(latest, abstract_state(segmenter))
    folder.write_run_record(workdir, to_dict(config), command, fingerprint)
    run = _Run(config, workdir, survey, segmenter, source, checkpoints, record, first_step=latest or 0)
    try:
        return run.train(state)
    finally:
        run.close()


def abstract_state(segmenter: Segmenter) -> Any:
    """The state's shapes, dtypes and shardings."""
    everywhere = sharding.replicated(segmenter.mesh)
    shapes = jax.eval_shape(segmenter.init)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes)


def _new_record(config: Experiment, survey: Survey, fingerprint: str) -> dict[str, Any]:
    """What a checkpoint remembers beside the state: enough to use it without the data it was trained on."""
    statistics = training_statistics(survey.volume, survey.regions["train"], config.data.statistics_tiles)
    return {
        "config": to_dict(config),
        "statistics": {"mean": statistics.mean, "std": statistics.std},
        "data_fingerprint": fingerprint,
        "class_names": survey.class_names,
    }


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
        batches = training_batches(
            self.source,
            batch_size=config.data.batch_size,
            mesh=self.segmenter.mesh,
            space_dim=space_axis(config, self.survey) + 1,
            start_step=self.first_step,
            num_threads=config.data.num_threads,
            prefetch=config.data.prefetch,
        )
        schedule = Schedule(
            plan.num_steps, plan.log_every, plan.evaluate_every, plan.checkpoint_every, plan.max_minutes
        )
        actions = Actions(self._log, self._validate, self._save, self._clear, self._advance, lambda: self.stop_signal)
        signal.signal(signal.SIGTERM, self._stop)
        try:
            stream = self._checked_first(batches) if self.first_step == 0 else batches
            state, reason = run_steps(
                state, stream, self.segmenter.train_step, schedule, actions, config.data.batch_size
            )
        finally:
            batches.close()
        self.checkpoints.wait()
        return self._summary(int(state["step"]), reason)

    def close(self) -> None:
        """Let go of files, after the checkpoint under way is written."""
        self.progress.close()
        self.writer.close()
        self.checkpoints.close()

    def _checked_first(self, batches: Iterator[steps.Batch]) -> Iterator[steps.Batch]:
        """The batches; the first is drawn, as the network will see it, before the first step is taken."""
        first = next(batches)
        if self.draws:
            images, labels = (np.asarray(x) for x in self.segmenter.prepare(first, 0))
            figures.first_batch(
                self.figures / "first_batch.png",
                *cropped(self.survey, images, labels),
                axes_names=[axis.name for axis in self.survey.volume.axes],
                class_names=self.survey.class_names,
                region=self.config.data.train,
                title="First training batch, normalised and augmented",
            )
        yield first
        yield from batches

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
            f"IoU per class {_rounded(result['iou_per_class'])}"
        )
        if self.draws:
            self._draw(step, *first)
        return result["loss"]

    def _draw(self, step: int, batch: steps.Batch, classes: jax.Array) -> None:
        path = self.figures / f"validation_{step:07d}.png"
        draw_panels(path, self.survey, self.segmenter, batch, classes, f"Validation after step {step}")
        self.writer.figure(step, "validation", path)
        figures.loss_curves(self.figures / "curves.png", self.figures.with_name(folder.METRICS))

    def _save(self, step: int, state: State, validation_loss: float | None) -> None:
        self.checkpoints.save(step, state, self.record, validation_loss)

    def _clear(self, state: State) -> State:
        classes = max(self.config.model.num_classes, 2)
        totals = jax.device_put(zero_totals(classes), sharding.replicated(self.segmenter.mesh))
        return state | {"totals": totals}

    def _stop(self, number: int, frame: object) -> None:
        self.stop_signal = signal.Signals(number).name

    def _summary(self, step: int, reason: str) -> str:
        best = self.checkpoints.best
        end = f"stopped at step {step} ({reason}; the same command goes on)" if reason else f"trained {step} steps"
        return f"{end}; best checkpoint: step {best}, in {self.figures.parent}"


def cropped(survey: Survey, *arrays: Any) -> list[np.ndarray]:
    """Arrays (B, *padded window, ...) on the host, cut to the window."""
    inside = (slice(None), *(slice(side) for side in survey.window))
    return [np.asarray(array)[inside] for array in arrays]


def draw_panels(
    path: Path, survey: Survey, segmenter: Segmenter, batch: steps.Batch, classes: jax.Array, title: str
) -> None:
    """Draw the first windows of a batch: input, label and predicted classes."""
    images = segmenter.network.inputs(batch["image"])
    figures.panels(
        path,
        *cropped(survey, images, batch["labels"], classes),
        axes_names=[axis.name for axis in survey.volume.axes],
        class_names=survey.class_names,
        title=title,
    )


def _rounded(values: list[float | None]) -> str:
    return " ".join("-" if value is None else f"{value:.3f}" for value in values)


def run_evaluation(
    config: Experiment, survey: Survey, segmenter: Segmenter, state: State, split: str, *, baselines: bool
) -> tuple[dict[str, Any], tuple[steps.Batch, jax.Array]]:
    """The network's scores on a split, and its first batch with the predicted classes.

    `baselines`: score trivial predictors beside it.
    """
    source = split_source(config, survey, split)
    batches = evaluation_batches(
        source,
        batch_size=config.evaluate.batch_size or config.data.batch_size,
        mesh=segmenter.mesh,
        space_dim=space_axis(config, survey) + 1,
        num_threads=config.data.num_threads,
        prefetch=config.data.prefetch,
    )
    shown: list[tuple[steps.Batch, jax.Array]] = []

    def evaluate_step(batch: steps.Batch) -> dict[str, jax.Array]:
        output = segmenter.evaluate_step(state["params"], state["rest"], batch)
        if not shown:
            shown.append((batch, output["classes"]))
        return output

    common = {
        "num_classes": max(config.model.num_classes, 2),
        "boundaries": survey.volume.axes[-1].name in VERTICAL_AXES,
    }
    try:
        scores = evaluate_batches(batches, evaluate_step, num_windows=len(source), **common)
    finally:
        batches.close()
    if baselines:
        region, train = survey.regions[split], survey.regions["train"]
        predictors = make_baselines(survey.volume, config.data.labels, train, region, common["num_classes"])
        scores["baselines"] = evaluate_baselines(predictors, _label_windows(config, survey, split), **common)
    return scores, shown[0]


def _label_windows(config: Experiment, survey: Survey, split: str) -> Iterator[tuple[Box, np.ndarray]]:
    """The boxes that tile a split, cut to it, with their labels; IGNORE where there is no data."""
    region = survey.regions[split]
    for window in GridWindows(region, survey.window):
        box = window.intersect(region)
        labels = survey.volume.read_labels(config.data.labels, box)
        labels[np.isnan(survey.volume.read_amplitude(box))] = IGNORE
        yield box, labels


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
    workdir: Path, checkpoint: str, volume: str = "", own_statistics: bool = False, batch_size: int = 0
) -> Trained:
    """Open a run to use it. `checkpoint`: "best", "last" or a step. Raises UserError where there is none.

    volume: URL of another volume than the run's; own_statistics: normalise by that volume's statistics;
    batch_size: windows at a time, which the mesh must divide; 0: the run's.
    """
    values = folder.config_of(workdir)
    if values is None:
        raise UserError(f"--workdir={workdir}: holds no run; give the --workdir of a run of launch/train.py")
    config = from_dict(values)
    checkpoints = Checkpoints(workdir / folder.CHECKPOINTS)
    try:
        step = _choose_step(checkpoints, checkpoint, workdir)
        record = checkpoints.record(step)
        survey = open_target(config, volume) if volume else open_survey(config)
        mesh = make_mesh(config, survey, batch_size or config.data.batch_size)
        statistics = _statistics_of(survey.volume) if own_statistics else record["statistics"]
        segmenter = make_segmenter(config, survey, mesh, statistics)
        state = checkpoints.restore(step, abstract_state(segmenter))
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
    return {"mean": volume.statistics.mean, "std": volume.statistics.std}


def open_target(config: Experiment, url: str) -> Survey:
    """A volume that is only predicted: it needs neither labels nor splits, but the axes that the run knows."""
    set_cache_size(config.data.cache_mebibytes)
    volume = open_volume(url)
    check_window(volume, config.data.window)
    padded = padded_window(config.data.window, 2 ** (config.model.levels - 1))
    return Survey(volume, {}, tuple(config.data.window), padded, [])


def evaluate(workdir: Path, split: str, checkpoint: str) -> str:
    """Score a run on a split, write `evaluation_<split>.json` and a figure; returns a summary line."""
    run = load(workdir, checkpoint)
    config, survey = run.config, run.survey
    if split not in survey.regions:
        raise UserError(f"--split={split}: data.{split} is empty in this run; choose {', '.join(survey.regions)}")
    result, (batch, predicted) = run_evaluation(
        config, survey, run.segmenter, run.state, split, baselines=config.evaluate.baselines
    )
    result["checkpoint"] = run.step
    path = workdir / f"evaluation_{split}.json"
    write_json(path, result)
    figure = workdir / folder.FIGURES / f"{split}.png"
    draw_panels(figure, survey, run.segmenter, batch, predicted, f"Split '{split}', checkpoint {run.step}")
    return f"{_score_table(result)}\n{split}: {result['num_windows']} windows, checkpoint {run.step}, written to {path}"


def _score_table(result: dict[str, Any]) -> str:
    rows = [("", "mean IoU", "accuracy", "mean F1", "boundary error (samples)", "IoU per class")]
    for name, scores in {"network": result, **result.get("baselines", {})}.items():
        error = scores.get("boundary_error", {}).get("mean")
        rows.append(
            (
                name,
                f"{scores['mean_iou']:.4f}",
                f"{scores['accuracy']:.4f}",
                f"{scores['mean_f1']:.4f}",
                "-" if error is None else f"{error:.2f}",
                _rounded(scores["iou_per_class"]),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True)
class Prediction:
    """What is to be predicted and where to; the fields are the flags of launch/predict.py."""

    input: str | None
    output: str
    region: str
    checkpoint: str
    statistics: str
    blend: str
    tta: bool
    segy: str | None
    segy_template: str | None
    overwrite: bool
    command: str


def predict(workdir: Path, request: Prediction) -> str:
    """Predict a volume or a region of it, and write it as a volume and as SEG-Y if asked; returns a summary line."""
    run, volume, box, stride, batch_size = _open_prediction(workdir, request)
    tta_axes = _tta_axes(run.config, volume) if request.tta else ()
    params, rest = run.state["params"], run.state["rest"]
    provenance = {
        "run": str(workdir.absolute()),
        "checkpoint": run.step,
        "command": request.command,
        "input": volume.url,
        "data_fingerprint": volume.fingerprint,
        "normalisation": {"mean": run.segmenter.network.mean, "std": run.segmenter.network.std},
    }
    kept = {name: volume.attributes[name] for name in ("source_file", "header_bytes") if name in volume.attributes}
    with Progress(0, "predict", "window") as progress:
        prediction = predict_volume(
            volume,
            lambda images: run.segmenter.forward(params, rest, images),
            request.output,
            box=box,
            window=run.survey.window,
            padded_window=run.survey.padded,
            stride=stride,
            batch_size=batch_size,
            num_classes=max(run.config.model.num_classes, 2),
            class_names=run.record["class_names"],
            block_bytes=run.config.predict.block_mebibytes * 2**20,
            blend=request.blend,
            probability_dtype=run.config.predict.probability_dtype,
            tta_axes=tta_axes,
            attributes=kept | {"prediction": provenance},
            overwrite=request.overwrite,
            progress=progress.reach,
        )
    summary = f"predicted {format_region(box, volume.axes)} into {request.output}"
    if request.segy:
        template = request.segy_template or volume.attributes.get("source_file")
        write_segy(
            prediction, PRED_CLASS, Box.whole(prediction.shape), request.segy, template, overwrite=request.overwrite
        )
        summary += f" and {request.segy}"
    return summary


def plan_prediction(workdir: Path, request: Prediction) -> str:
    """What `predict` would do: lattice, windows and sizes, as text."""
    run, volume, box, stride, batch_size = _open_prediction(workdir, request)
    lattice = Lattice(volume.shape, run.survey.window, stride)
    windows = sum(1 for _ in lattice.touching(box))
    classes = max(run.config.model.num_classes, 2)
    size = box.size * (1 + (classes + 1) * np.dtype(run.config.predict.probability_dtype).itemsize)
    return "\n".join(
        [
            f"region    {format_region(box, volume.axes)} ({' x '.join(map(str, box.shape))} samples)",
            f"windows   {windows} of {run.survey.window}, stride {stride}, {batch_size} at a time",
            f"computed  each sample {windows * np.prod(run.survey.window) / box.size:.1f} times",
            f"output    {size / 2**20:.1f} MiB before compression",
        ]
    )


def _open_prediction(workdir: Path, request: Prediction) -> tuple[Trained, Volume, Box, Shape, int]:
    config = from_dict(folder.config_of(workdir) or {})
    batch_size = config.predict.batch_size or config.data.batch_size
    own = request.statistics == "own"
    run = load(workdir, request.checkpoint, request.input or config.data.volume, own, batch_size)
    volume = run.survey.volume
    box = parse_region(request.region, volume.axes)
    stride = lattice_stride(run.survey.window, config.predict.overlap, 2 ** (config.model.levels - 1))
    return run, volume, box, stride, batch_size


def _tta_axes(config: Experiment, volume: Volume) -> tuple[int, ...]:
    if not config.augment.flip_axes:
        raise UserError("--tta: training mirrored no axis (augment.flip_axes is empty); leave --tta out")
    names = [axis.name for axis in volume.axes]
    return tuple(names.index(name) for name in config.augment.flip_axes)


def plan(config: Experiment) -> str:
    """What `train` would do: the resolved config, shapes, parameters, memory and steps, as text. Writes nothing."""
    validate(config)
    survey = open_survey(config)
    mesh = make_mesh(config, survey, config.data.batch_size)
    training_source(config, survey)
    segmenter = make_segmenter(config, survey, mesh, {"mean": 0.0, "std": 1.0})
    state = abstract_state(segmenter)
    size, sides = config.data.batch_size, survey.padded
    batch = {
        "image": jax.ShapeDtypeStruct((size, *sides, 1), jnp.float32),
        "labels": jax.ShapeDtypeStruct((size, *sides), jnp.uint8),
    }
    memory = segmenter.train_step.lower(state, batch).compile().memory_analysis()
    device = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    device -= memory.alias_size_in_bytes
    batch_bytes = sum(np.dtype(x.dtype).itemsize * int(np.prod(x.shape)) for x in batch.values())
    host = (config.data.prefetch + 2) * batch_bytes + config.data.cache_mebibytes * 2**20
    samples = survey.regions["train"].size
    window = int(np.prod(survey.window))
    lines = ["config"]
    lines += [f"  {name} = {value!r}" for name, value in flatten(to_dict(config)).items()]
    lines += ["data"]
    lines += [f"  {line}" for line in survey.volume.describe().splitlines()]
    lines += [f"  {name}: {format_region(box, survey.volume.axes)}" for name, box in survey.regions.items()]
    lines += ["plan"]
    lines += [f"  image       float32 {batch['image'].shape}, labels uint8 {batch['labels'].shape}"]
    lines += [f"  mesh        {dict(mesh.shape)} of {jax.devices()[0].device_kind}"]
    lines += [f"  parameters  {parameter_count(state['params']):,}"]
    lines += [f"  memory      {device / 2**20:,.0f} MiB a device (compiler), {host / 2**20:,.0f} MiB of data on a host"]
    lines += [f"  one pass    {samples / (window * size):,.1f} steps; {config.train.num_steps:,} steps are asked for"]
    return "\n".join(lines)
