"""The scores of a network on a split, and its panels: for validation while it trains, and for evaluation later."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from seisjax import distributed, metrics, sharding, together
from seisjax.baselines import LabelledTraces, make_baselines
from seisjax.commands.event_scores import event_scorer
from seisjax.config import Experiment
from seisjax.conventions import IGNORE, VERTICAL_AXES
from seisjax.data import GridWindows, WindowSource, evaluation_batches
from seisjax.errors import UserError
from seisjax.evaluation import evaluate_baselines, evaluate_batches
from seisjax.experiment import Segmenter, Survey, num_classes, space_axis, split_source
from seisjax.geometry import Box
from seisjax.reporting import Progress, figures
from seisjax.training.state import State, averaged
from seisjax.training.step import Batch
from seisjax.watchdog import Watchdog


def run_evaluation(
    config: Experiment,
    survey: Survey,
    segmenter: Segmenter,
    state: State,
    split: str,
    *,
    baselines: bool,
    events: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The network's scores on a split, and `drawn_rows` of its first batch: "image", "labels", predicted "classes".

    `baselines`: score trivial predictors beside it and, on a survey, all of them also by the distance to the nearest
    label of the training part. `events`: where the split's windows are panels whose events are known, also score the
    events that are found in them. `progress`: called now and then with the windows done and their number; baselines go
    over all once more. All processes of a run must call this, and get the same.
    """
    source, batches = split_batches(config, survey, segmenter.mesh, split)
    params = averaged(state)
    shown: list[dict[str, np.ndarray]] = []
    scorer = event_scorer(config, survey, split) if events else None
    step = segmenter.probability_step if scorer else segmenter.evaluate_step
    waiting: list[tuple[jax.Array, jax.Array]] = []  # scored one batch late, so that the device always has work

    def evaluate_step(batch: Batch) -> dict[str, jax.Array]:
        output = step(params, state["rest"], batch)
        if not shown:
            shown.append(drawn_rows(batch | {"classes": output["classes"]}, segmenter.mesh))
        if scorer:
            waiting.append((output.pop("probabilities"), output.pop("labels")))
            if len(waiting) > 1:
                scorer.add(*waiting.pop(0))
        return output

    soft = survey.label_scale > 0  # such labels have no boundaries, and their array no classes to predict from
    boundaries = survey.volume.axes[-1].name in VERTICAL_AXES and not soft
    baselines = baselines and not soft
    by_distance = baselines and boundaries and survey.volume.kind == "survey"
    tell = functools.partial(_tell, progress, len(source) * (1 + baselines))
    traces = LabelledTraces(survey.volume, config.data.labels, survey.regions["train"]) if by_distance else None
    try:
        scores = evaluate_batches(
            batches,
            evaluate_step,
            num_classes=num_classes(config),
            num_windows=len(source),
            boundaries=boundaries,
            distance=_distance(survey, split, traces) if traces is not None else None,
            progress=lambda done, _: tell(done),
        )
    finally:
        batches.close()
    if scorer:
        scorer.add(*waiting.pop())
        scores |= scorer.result()
    if baselines:
        windows = _label_windows(config, survey, split, lambda done: tell(len(source) + done))
        scores["baselines"] = _baseline_scores(config, survey, split, windows, traces, boundaries)
    return scores, {name: rows[: len(source)] for name, rows in shown[0].items()}  # what fills a batch up is no window


def _tell(progress: Callable[[int, int], None] | None, total: int, done: int) -> None:
    if progress is not None:
        progress(done, total)


def _baseline_scores(
    config: Experiment,
    survey: Survey,
    split: str,
    windows: Iterator[tuple[Box, np.ndarray]],
    traces: LabelledTraces | None,
    boundaries: bool,
) -> dict[str, Any]:
    """The scores of trivial predictors, also by distance where `traces` are given; see `run_evaluation`."""
    regions, classes = survey.regions, num_classes(config)
    return evaluate_baselines(
        make_baselines(survey.volume, config.data.labels, regions["train"], regions[split], classes, traces),
        windows,
        num_classes=classes,
        trace_length=survey.window[-1] if boundaries else 0,
        distance=traces.distance if traces is not None else None,
    )


@contextlib.contextmanager
def watched_windows(config: Experiment, what: str) -> Iterator[Callable[[int, int], None]]:
    """What to call with the windows done and their number: a bar on process 0, and signs of life for the watchdog."""
    with (
        Watchdog(config.train.hang_minutes, together.process_name()) as watchdog,
        Progress(0, what, "window", enabled=distributed.is_main()) as bar,
    ):

        def progress(done: int, total: int) -> None:
            watchdog.alive(f"{what}, window {done} of {total}")
            bar.reach(done, total)

        yield progress


def _distance(survey: Survey, split: str, traces: LabelledTraces) -> Callable[[int], np.ndarray]:
    """From the number of a window of a split to the distance of its traces to the nearest label."""
    grid = GridWindows(survey.regions[split], survey.window)
    return lambda number: traces.distance(Box(grid[number].box.start, survey.padded))


def check_split(survey: Survey, split: str) -> None:
    """Raise UserError where the run has no such split."""
    if split not in survey.regions:
        raise UserError(f"--split={split}: data.{split} is empty in this run; choose {', '.join(survey.regions)}")


def split_batches(
    config: Experiment, survey: Survey, mesh: Mesh, split: str
) -> tuple[WindowSource, grain.DatasetIterator]:
    """The windows that tile a split, each once, and the iterator over global batches of them; call its `close()`."""
    source = split_source(config, survey, split)
    batches = evaluation_batches(
        source,
        batch_size=config.evaluate.batch_size or config.data.batch_size,
        mesh=mesh,
        space_dim=space_axis(config, survey) + 1,
        num_threads=config.data.num_threads,
        prefetch=config.data.prefetch,
    )
    return source, batches


def _label_windows(
    config: Experiment, survey: Survey, split: str, tell: Callable[[int], None]
) -> Iterator[tuple[Box, np.ndarray]]:
    """The boxes that tile a split, cut to it, with their labels; IGNORE where there is no data.

    Each process of a run takes its share of them. `tell`: called with the number of those that all are done with.
    """
    grid = GridWindows(survey.regions[split], survey.window)
    for i in range(jax.process_index(), len(grid), jax.process_count()):
        box = grid[i].inner
        labels = survey.volume.read_labels(config.data.labels, box)
        labels[np.isnan(survey.volume.read_amplitude(box))] = IGNORE
        yield box, labels
        tell(min(i + jax.process_count(), len(grid)))


def cropped(survey: Survey, *arrays: Any) -> list[np.ndarray]:
    """Arrays (B, *padded window, ...) on the host, cut to the window."""
    inside = (slice(None), *(slice(side) for side in survey.window))
    return [np.asarray(array)[inside] for array in arrays]


def drawn_rows(arrays: dict[str, jax.Array], mesh: Mesh) -> dict[str, np.ndarray]:
    """The rows of a batch that figures show, whole and on the host. All processes of a run must call this."""
    return {name: np.asarray(rows) for name, rows in _first_rows(mesh)(arrays).items()}


@functools.cache
def _first_rows(mesh: Mesh) -> Callable[[dict[str, jax.Array]], dict[str, jax.Array]]:
    return jax.jit(
        lambda arrays: {name: array[: figures.MAX_EXAMPLES] for name, array in arrays.items()},
        out_shardings=sharding.replicated(mesh),
    )


def draw_panels(
    path: Path, survey: Survey, segmenter: Segmenter, split: str, rows: dict[str, np.ndarray], title: str
) -> None:
    """Draw rows of a batch as `run_evaluation` gives them of a split: input, label and predicted classes."""
    images = np.asarray(segmenter.network.inputs(jax.numpy.asarray(rows["image"])))
    images = np.where(np.isfinite(rows["image"]), images, np.nan)  # the network sees 0 where there are no data
    grid = GridWindows(survey.regions[split], survey.window)
    shown = range(min(len(images), len(grid)))
    figures.panels(
        path,
        *cropped(survey, images, metrics.as_classes(rows["labels"], survey.label_scale), rows["classes"]),
        axes_names=[axis.name for axis in survey.volume.axes],
        class_names=survey.class_names,
        places=[figures.place_text(grid[number].inner, survey.volume.axes) for number in shown],
        title=title,
    )


def rounded(values: list[float | None]) -> str:
    """Scores as one line of text; "-" for what is undefined."""
    return " ".join(map(metrics.score_text, values))
