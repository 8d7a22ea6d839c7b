"""Score a run on one of its splits."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seisjax import distributed, together
from seisjax.calibration import effect, found_temperature
from seisjax.commands.calibrate import SplitPasses
from seisjax.commands.detect import score_lines
from seisjax.commands.load import load
from seisjax.commands.scoring import check_split, draw_panels, rounded, run_evaluation, watched_windows
from seisjax.errors import UserError
from seisjax.files import write_json
from seisjax.metrics import score_text
from seisjax.reporting.distances import draw_by_distance
from seisjax.training import workdir as folder


def evaluate(workdir: Path, split: str, checkpoint: str) -> str:
    """Score a run on a split, write `evaluation_<split>.json` and a figure; returns a table and a summary line.

    Where a temperature was fitted for the checkpoint, also say what that does on this split.

    In a run of several processes each calls it, and process 0 writes.
    """
    if "," in checkpoint:
        raise UserError(f"--checkpoint={checkpoint}: launch/evaluate.py scores one checkpoint; name one")
    run = load(workdir, checkpoint)
    config, survey = run.config, run.survey
    check_split(survey, split)
    temperature = together.of_main(found_temperature(workdir, [run.step]))  # a broken file is told before the work
    segmenter = dataclasses.replace(
        run.segmenter,
        evaluate_step=together.compiled_together(run.segmenter.evaluate_step, "the evaluation step"),
        probability_step=together.compiled_together(run.segmenter.probability_step, "the evaluation step"),
    )
    with watched_windows(config, f"evaluate '{split}'") as progress:
        result, rows = run_evaluation(
            config,
            survey,
            segmenter,
            run.state,
            split,
            baselines=config.evaluate.baselines,
            events=True,
            progress=progress,
        )
    if temperature is not None and result["loss"] is not None:
        with watched_windows(config, f"calibration on '{split}'") as progress:
            calibrated = effect(temperature, SplitPasses(run, split, 1, progress))
        result["calibration"] = calibrated.scores()
    result["checkpoint"] = run.step
    path = workdir / f"evaluation_{split}.json"
    by_distance = _by_distance(result)
    if distributed.is_main():
        write_json(path, result)
        figure = workdir / folder.FIGURES / f"{split}.png"
        title = f"Split '{split}', checkpoint {run.step}"
        draw_panels(figure, survey, segmenter, split, rows, title)
        if by_distance:
            draw_by_distance(workdir / folder.FIGURES / f"{split}_by_distance.png", by_distance, title)
    distributed.meet("the scores are written")
    lines = [_score_table(result)]
    if by_distance:
        lines.append(_distance_table(by_distance))
    if "events" in result:
        lines.append(score_lines(result))
    if "calibration" in result:
        lines.append(f"calibrated: temperature {temperature:.4g}: {calibrated}")
    return "\n".join([*lines, f"{split}: {result['num_windows']} windows, checkpoint {run.step}, written to {path}"])


def _score_table(result: dict[str, Any]) -> str:
    rows = [["", "mean IoU", "accuracy", "mean F1", "boundary error (samples)", "IoU per class"]]
    for name, scores in {"network": result, **result.get("baselines", {})}.items():
        error = scores.get("boundary_error", {}).get("mean")
        means = [score_text(scores[key], 4) for key in ("mean_iou", "accuracy", "mean_f1")]
        rows.append([name, *means, score_text(error, 2), rounded(scores["iou_per_class"])])
    return _aligned(rows)


def _by_distance(result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The scores by distance of network and baselines, by name; empty where all samples are as far from a label."""
    if len(result.get("by_distance", ())) < 2:
        return {}
    return {name: scores["by_distance"] for name, scores in {"network": result, **result["baselines"]}.items()}


def _distance_table(by_distance: dict[str, list[dict[str, Any]]]) -> str:
    edges = [f"<= {bin['to']:g}" for bin in by_distance["network"]]
    rows = [("mean IoU by lines to the nearest label", *edges)]
    rows += [(name, *(score_text(bin["mean_iou"], 4) for bin in bins)) for name, bins in by_distance.items()]
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
