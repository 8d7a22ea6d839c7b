"""A survey of which a few lines are interpreted: how good are the others, the farther from a label?

    python benchmarks/few_labels.py --work=runs/few_labels --output=scores.json
    python benchmarks/few_labels.py --work=runs/few_labels --data=FOLDER --output=scores.json

A synthetic survey of 256 x 256 x 256 samples with faults and six facies (preset faults_256, seed 7) is learnt from
--lines of its inlines (configs/few_lines.py); all others are scored by their distance to the nearest of them, beside
copied lines and interpolated horizons. With --data, which holds amplitude.segy and facies.segy (Baroni et al. 2020,
Zenodo 3924682), the same is done for four crosslines of Penobscot. Each step is one of the commands of `launch/`; what
is there already is kept. On two CPU cores it takes about an hour.
"""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags
from launching import LAUNCH, launch

from seisjax.baselines import LabelledTraces, Predictor, make_baselines
from seisjax.conventions import PRED_CLASS
from seisjax.evaluation import evaluate_baselines
from seisjax.files import write_json
from seisjax.geometry import Axis, Box, parse_region, parse_regions
from seisjax.reporting import figures
from seisjax.reporting.distances import draw_by_distance
from seisjax.volumes import Volume, open_volume

WORK = flags.DEFINE_string("work", "runs/few_labels", "folder for volumes, runs and predictions")
DATA = flags.DEFINE_string("data", "", "folder with Penobscot's amplitude.segy and facies.segy; empty: without it")
LINES = flags.DEFINE_list("lines", ["4"], "numbers of labelled lines, 1 to 8, one network each")
IMAGES = flags.DEFINE_string("images", "docs/images", "folder for the figures")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the scores")
OVERRIDES = flags.DEFINE_multi_string("override", [], "config field and value for all trainings, train.num_steps=50")

SEED = 7
DIRECTIONS = {"both directions, averaged": "inline,crossline", "along inlines, averaged": "inline"}
FAR = "inline:64"  # that is drawn: with four lines, as far from two of them as a line can be

# Crosslines in the middles of four equal parts of 1000 to 1480, and all others.
PENOBSCOT = (60, 180, 300, 420)
PENOBSCOT_CONFIG = {
    "data.window": (24, 1, 1501),
    "data.batch_size": 4,
    "augment.flip_axes": ("inline",),
    "model.num_classes": 8,
    "loss.class_weights": (2.0, 1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 1.0),
    "train.num_steps": 400,
}
# Its horizons are almost flat: with moves of a tenth of 1501 samples the network cannot tell by depth what is where.
FLAT = {
    "augment.time_shift": 8.0,
    "augment.time_stretch": 0.01,
    "augment.warp": 2.0,
    "model.levels": 6,
    "train.num_steps": 600,
}
PENOBSCOT_RUNS = {"penobscot": ("moves as in the recipe", {}), "penobscot_flat": ("smaller moves", FLAT)}


def main(argv: list[str]) -> None:
    """Make the survey, train, score and draw; then Penobscot."""
    del argv
    work, images, result = Path(WORK.value), Path(IMAGES.value), {}
    survey = work / "survey.zarr"
    if not survey.exists():
        launch("synthesize", generator="faults", config="faults_256", num_examples=1, seed=SEED, output=survey)
    for count in LINES.value:
        scores = learn_survey(work / f"lines_{count}", survey, count)
        title = f"Synthetic survey, {count} of 256 inlines labelled"
        draw(images / f"few_lines_{count}_by_distance.png", scores, title)
        draw_far(images / f"few_lines_{count}_section.png", open_volume(str(survey)), work / f"lines_{count}", title)
        result[f"synthetic, {count} lines"] = scores
    if DATA.value:
        for run, (what, fields) in PENOBSCOT_RUNS.items():
            scores = learn_penobscot(work, Path(DATA.value), run, fields)
            title = f"Penobscot, 4 of 481 crosslines labelled, {what}"
            draw(images / f"few_lines_{run}_by_distance.png", scores, title)
            result[f"Penobscot, 4 crosslines, {what}"] = scores
    for name, scores in result.items():
        print_table(name, scores)
    about = {"machine": f"{platform.machine()}, {jax.devices()[0].device_kind}", "jax": jax.__version__, "seed": SEED}
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), about | result)


def learn_survey(run: Path, survey: Path, count: str) -> dict[str, Any]:
    """Scores of a network that learns `count` inlines, of the same averaged over windows, and of the baselines."""
    train(run, survey, count)
    predictions = {}
    for name, directions in DIRECTIONS.items():
        path = run / f"{directions.replace(',', '_')}.zarr"
        if not path.exists():
            launch("predict", workdir=run, output=path, directions=directions)
        predictions[f"network, {name}"] = open_volume(str(path))
    return scores_of_run(run) | score_predictions(run, open_volume(str(survey)), predictions)


def learn_penobscot(work: Path, data: Path, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of a network that learns four crosslines of Penobscot in the run `name`, and of the baselines."""
    survey, run = work / "penobscot.zarr", work / name
    if not survey.exists():
        launch("ingest", input=data / "amplitude.segy", labels=data / "facies.segy", output=survey)
    stops = (*PENOBSCOT, 481)
    starts = (0, *(line + 1 for line in PENOBSCOT))
    regions = {
        "data.train": ";".join(f"crossline:{1000 + line}" for line in PENOBSCOT),
        "data.test": ";".join(f"crossline:{1000 + a}-{999 + b}" for a, b in zip(starts, stops, strict=True)),
    }
    train(run, survey, "4", PENOBSCOT_CONFIG | regions | dict(fields))
    return scores_of_run(run)


def train(run: Path, survey: Path, count: str, fields: Mapping[str, Any] | None = None) -> None:
    """Train and evaluate configs/few_lines.py:`count` with other values of some fields."""
    own = [f"--config.{field}={value}" for field, value in (fields or {}).items()]
    launch(
        "train",
        f"--config={LAUNCH.parent}/configs/few_lines.py:{count}",
        f"--config.data.volume={survey}",
        *own,
        *(f"--config.{text}" for text in OVERRIDES.value),
        workdir=run,
    )
    if not (run / "evaluation_test.json").exists():
        launch("evaluate", workdir=run, split="test")


def scores_of_run(run: Path) -> dict[str, Any]:
    """What `launch/evaluate.py` wrote, by predictor."""
    written = json.loads((run / "evaluation_test.json").read_text())
    return {name: shortened(scores) for name, scores in {"network": written, **written["baselines"]}.items()}


def score_predictions(run: Path, survey: Volume, predictions: Mapping[str, Volume]) -> dict[str, Any]:
    """The scores of stored classes over the run's test part, line by line."""
    config, traces = opened(run, survey)
    labels, test = config["data"]["labels"], parse_regions(config["data"]["test"], survey.axes)
    lines = (Box((i, *box.start[1:]), (1, *box.shape[1:])) for box in test for i in range(box.start[0], box.stop[0]))
    scores = evaluate_baselines(
        {name: _stored(prediction) for name, prediction in predictions.items()},
        ((line, survey.read_labels(labels, line)) for line in lines),
        num_classes=config["model"]["num_classes"],
        trace_length=survey.shape[-1],
        distance=traces.distance,
    )
    return {name: shortened(of_one) for name, of_one in scores.items()}


def opened(run: Path, survey: Volume) -> tuple[dict[str, Any], LabelledTraces]:
    """The config of a run, and where its training part is labelled."""
    config = json.loads((run / "config.json").read_text())
    train = parse_regions(config["data"]["train"], survey.axes)
    return config, LabelledTraces(survey, config["data"]["labels"], train)


def _stored(prediction: Volume) -> Predictor:
    return lambda box: prediction.read(PRED_CLASS, box)


def shortened(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The scores that are recorded, also of each bin by distance."""
    kept = ("above", "to", "samples", "mean_iou", "accuracy", "iou_per_class", "boundary_error")
    result = {name: scores[name] for name in kept if name in scores}
    if "by_distance" in scores:
        result["by_distance"] = [shortened(bin) for bin in scores["by_distance"]]
    return result


def draw(path: Path, scores: Mapping[str, Any], title: str) -> None:
    """Scores by distance."""
    draw_by_distance(path, {name: of_one["by_distance"] for name, of_one in scores.items()}, title)


def draw_far(path: Path, survey: Volume, run: Path, title: str) -> None:
    """A line far from those labelled: amplitude, label, prediction and interpolated horizons."""
    box = parse_region(FAR, survey.axes)
    config, traces = opened(run, survey)
    labels, classes = config["data"]["labels"], config["model"]["num_classes"]
    train = parse_regions(config["data"]["train"], survey.axes)
    horizons = make_baselines(survey, labels, train, [box], classes, traces)["interpolated_horizons"]
    prediction = open_volume(str(run / "inline_crossline.zarr"))
    planes = {
        "label": survey.read_labels(labels, box),
        "network, both directions": prediction.read(PRED_CLASS, box),
        "interpolated horizons": horizons(box),
    }
    axes = [Axis(a.name, a.labels[part], a.unit) for a, part in zip(survey.axes, box.slices, strict=True)]
    figures.section(
        path,
        survey.read_amplitude(box)[0],
        (axes[1], axes[2]),
        class_names=survey.class_names(labels),
        overlays={name: values[0] for name, values in planes.items()},
        title=f"{title}: inline {FAR.partition(':')[2]}, {np.max(traces.distance(box)):g} lines from the nearest",
    )


def print_table(title: str, scores: Mapping[str, Any]) -> None:
    """Mean IoU in all and by distance, as rows of a table in Markdown."""
    edges = [bin["to"] for bin in scores["network"]["by_distance"]]
    print(f"\n| {title}: mean IoU | all | {' | '.join(f'<= {edge:g}' for edge in edges)} |")
    print("|---" * (2 + len(edges)) + "|")
    for name, of_one in scores.items():
        bins = {bin["to"]: bin["mean_iou"] for bin in of_one["by_distance"]}
        print(f"| {name} | {of_one['mean_iou']:.3f} | {' | '.join(f'{bins[edge]:.3f}' for edge in edges)} |")


if __name__ == "__main__":
    app.run(main)
