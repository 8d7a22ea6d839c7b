"""The Penobscot experiment whole: from two SEG-Y files to scores, a predicted survey and figures for docs/penobscot.md.

    python benchmarks/penobscot.py --data=FOLDER --work=runs/penobscot

FOLDER holds amplitude.segy and facies.segy (Baroni et al. 2020, Zenodo 3924682). Each step is one of the commands of
`launch/`; what is there already is kept, so that a stopped run goes on. On two CPU cores it takes about an hour.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import segyio
from absl import app, flags
from launching import LAUNCH, launch

from seisjax.files import write_json
from seisjax.geometry import Axis, parse_region
from seisjax.reporting import figures
from seisjax.volumes import Volume, open_volume

DATA = flags.DEFINE_string("data", None, "folder with amplitude.segy and facies.segy", required=True)
WORK = flags.DEFINE_string("work", "runs/penobscot", "folder for volume, runs and prediction")
MINUTES = flags.DEFINE_float("max_minutes", 40.0, "limit of each training")
IMAGES = flags.DEFINE_string("images", "docs/images", "folder for the figures")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the scores")

SPLITS = ("inline", "crossline")
SECTIONS = {"inline": "inline:1087", "crossline": "crossline:1372"}
PREDICTED = "crossline"  # the split whose network predicts the survey


def main(argv: list[str]) -> None:
    """Ingest, train and evaluate both splits, predict, check, draw."""
    del argv
    work, data = Path(WORK.value), Path(DATA.value)
    survey, prediction, segy = work / "survey.zarr", work / "prediction.zarr", work / "prediction.segy"
    make_survey(data, survey)
    scores = {}
    for split in SPLITS:
        run = work / split
        launch(
            "train",
            f"--config={LAUNCH.parent}/configs/penobscot_facies.py:{split}",
            f"--config.data.volume={survey}",
            f"--config.train.max_minutes={MINUTES.value}",
            workdir=run,
        )
        launch("evaluate", workdir=run, split="test")
        scores[split] = json.loads((run / "evaluation_test.json").read_text())
    if not prediction.exists():
        launch("predict", workdir=work / PREDICTED, output=prediction, segy=segy)
    check_opened(survey, prediction)
    check_headers(data / "amplitude.segy", segy)
    for name, region in SECTIONS.items():
        title = f"Penobscot, {name} {region.partition(':')[2]}: trained on crosslines 1000-1199 only"
        path = Path(IMAGES.value) / f"penobscot_{name}.png"
        draw_section(path, open_volume(survey), open_volume(prediction), region, title)
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), scores)


def make_survey(data: Path, survey: Path) -> None:
    """Ingest amplitude and labels, where that is not done yet."""
    if not survey.exists():
        launch("ingest", input=data / "amplitude.segy", labels=data / "facies.segy", output=survey)


def check_opened(survey: Path, prediction: Path) -> None:
    """Open both stores with xarray, a warning being an error."""
    import xarray

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = xarray.open_zarr(survey), xarray.open_zarr(prediction)
        agree = float((a["labels_facies"] == b["pred_class"]).mean())
    print(f"xarray opens amplitude {a['amplitude'].shape}, labels and prediction; they agree on {agree:.4f} of samples")


def check_headers(template: Path, written: Path) -> int:
    """Every trace header of the written file equals the template's; say where the binary header differs.

    Returns the number of traces.
    """
    with segyio.open(str(template), ignore_geometry=True) as a, segyio.open(str(written), ignore_geometry=True) as b:
        assert a.tracecount == b.tracecount, "trace counts differ"
        different = sum(dict(x) != dict(y) for x, y in zip(a.header[:], b.header[:], strict=True))
        fields = [str(key) for key in a.bin if a.bin[key] != b.bin[key]]
    print(f"{written.name}: {different} of {a.tracecount} trace headers differ; binary header differs in {fields}")
    assert different == 0, "trace headers differ"
    return a.tracecount


def draw_section(path: Path, survey: Volume, prediction: Volume, region: str, title: str) -> None:
    """A region one sample thick with label and prediction; a time slice lies with its crosslines along the page."""
    box = parse_region(region, survey.axes)
    axes = [Axis(a.name, a.labels[part], a.unit) for a, part in zip(survey.axes, box.slices, strict=True)]
    horizontal, vertical = (i for i, side in enumerate(box.shape) if side > 1)
    is_slice = vertical != len(axes) - 1
    if is_slice:
        horizontal, vertical = vertical, horizontal

    def plane(values: np.ndarray) -> np.ndarray:
        return np.squeeze(values).T if is_slice else np.squeeze(values)

    figures.section(
        path,
        plane(survey.read_amplitude(box)),
        (axes[horizontal], axes[vertical]),
        class_names=survey.class_names("facies"),
        overlays={
            "label": plane(survey.read_labels("facies", box)),
            "prediction": plane(prediction.read("pred_class", box)),
        },
        title=title,
        stacked=is_slice,
    )


if __name__ == "__main__":
    app.run(main)
