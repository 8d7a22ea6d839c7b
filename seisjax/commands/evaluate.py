"""Score a run on one of its splits."""

from pathlib import Path
from typing import Any

from seisjax.commands.detect import score_lines
from seisjax.commands.load import load
from seisjax.commands.scoring import draw_panels, rounded, run_evaluation
from seisjax.errors import UserError
from seisjax.files import write_json
from seisjax.training import workdir as folder


def evaluate(workdir: Path, split: str, checkpoint: str) -> str:
    """Score a run on a split, write `evaluation_<split>.json` and a figure; returns a summary line."""
    run = load(workdir, checkpoint)
    config, survey = run.config, run.survey
    if split not in survey.regions:
        raise UserError(f"--split={split}: data.{split} is empty in this run; choose {', '.join(survey.regions)}")
    result, (batch, predicted) = run_evaluation(
        config, survey, run.segmenter, run.state, split, baselines=config.evaluate.baselines, events=True
    )
    result["checkpoint"] = run.step
    path = workdir / f"evaluation_{split}.json"
    write_json(path, result)
    figure = workdir / folder.FIGURES / f"{split}.png"
    draw_panels(figure, survey, run.segmenter, batch, predicted, f"Split '{split}', checkpoint {run.step}")
    lines = [_score_table(result)]
    if "events" in result:
        lines.append(score_lines(result))
    return "\n".join([*lines, f"{split}: {result['num_windows']} windows, checkpoint {run.step}, written to {path}"])


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
                rounded(scores["iou_per_class"]),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
