"""Penobscot predicted along inlines, along crosslines and averaged; and whether borders of blocks show.

    python benchmarks/penobscot_directions.py --data=FOLDER --work=runs/penobscot --output=scores.json

FOLDER holds amplitude.segy and facies.segy (Baroni et al. 2020, Zenodo 3924682). One network learns sections of both
directions and predicts the survey three times, into SEG-Y too; its classes are scored on crosslines far from those it
was trained on. Then it predicts in small blocks: with overlapping windows, as by default, and for contrast with windows
that only touch. Each step is one of the commands of `launch/`; what is there already is kept. Flags are those of
penobscot.py. On two CPU cores it takes about half an hour.
"""

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import segyio
from absl import app
from launching import LAUNCH, launch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from penobscot import DATA, IMAGES, MINUTES, OUTPUT, WORK, check_headers, draw_section, make_survey

from seisjax.baselines import make_baselines
from seisjax.commands.scoring import rounded
from seisjax.conventions import PRED_CLASS, PRED_PROBABILITY
from seisjax.evaluation import evaluate_baselines
from seisjax.files import write_json
from seisjax.geometry import Axis, Box, Lattice, parse_region
from seisjax.reporting import figures
from seisjax.volumes import Volume, open_volume

DIRECTIONS = {"inlines": "inline", "crosslines": "crossline", "both": "inline,crossline"}
TRAIN, TEST = "crossline:1000-1199", "crossline:1264-1480"
SECTIONS = {  # what is drawn; below 3 s all is one facies
    "inline 1087": "inline:1087,time:0-3000",
    "crossline 1372": "crossline:1372,time:0-3000",
    "time slice 2576 ms": "time:2576",
}
CLASSES = 8

# Some inlines, in blocks of 64 crosslines x 320 samples: a window is predicted for each block that it touches.
SMALL = {"directions": "inline", "block_mebibytes": 8, "region": "inline:1085-1088"}
LARGE_MEBIBYTES = 2560  # the whole survey is one block
WINDOW, STRIDE, GRID = 24, 8, 8  # crosslines: of a window, between windows that overlap, of the network's pooling
CROSSLINE, TIME = 1, 2
SEEN, SEEN_CLASS = "inline:1087,crossline:1264-1480,time:900-1300", 4  # drawn


def main(argv: list[str]) -> None:
    """Train, predict, score, draw, look for seams."""
    del argv
    work, data, images = Path(WORK.value), Path(DATA.value), Path(IMAGES.value)
    make_survey(data, work / "survey.zarr")
    launch(
        "train",
        f"--config={LAUNCH.parent}/configs/penobscot_facies.py:both",
        f"--config.data.volume={work / 'survey.zarr'}",
        f"--config.train.max_minutes={MINUTES.value}",
        workdir=work / "both",
    )
    survey = open_volume(str(work / "survey.zarr"))
    predictions, equal_headers = {}, {}
    for name, directions in DIRECTIONS.items():
        segy = work / f"along_{name}.segy"
        large = {"directions": directions, "block_mebibytes": LARGE_MEBIBYTES}
        predictions[name] = predict(work, f"along_{name}", **large, segy=segy)
        equal_headers[name] = check_headers(data / "amplitude.segy", segy)
        check_samples(predictions[name], segy)
    for name, region in SECTIONS.items():
        title = f"Penobscot, {name}: learnt on crosslines 1000-1199, predicted in two directions and averaged"
        path = images / f"penobscot_both_{region.partition(':')[0]}.png"
        draw_section(path, survey, predictions["both"], region, title)
    result = {
        "machine": f"{platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "equal_trace_headers": equal_headers,
        "scores": score(survey, predictions),
        "seams": look_for_seams(work, predictions["inlines"], images / "penobscot_seams.png"),
    }
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), result)


def predict(work: Path, name: str, **flags: object) -> Volume:
    """A prediction of the survey, made where it is not there yet."""
    path = work / f"{name}.zarr"
    if not path.exists():
        launch("predict", workdir=work / "both", output=path, **flags)
    return open_volume(str(path))


def check_samples(prediction: Volume, segy: Path) -> None:
    """Every sample of a SEG-Y file is the class that the volume holds; its traces lie in the order of the axes."""
    classes = prediction.read(PRED_CLASS, Box.whole(prediction.shape))
    with segyio.open(str(segy), ignore_geometry=True) as file:
        written = file.trace.raw[:].reshape(classes.shape)
    assert np.array_equal(written, classes), f"{segy} does not hold the predicted classes"


def score(survey: Volume, predictions: dict[str, Volume]) -> dict[str, Any]:
    """Scores of stored classes on the test part, beside those of trivial predictors, which know the training part.

    Prints mean IoU and accuracy, mean, median and 90th percentile of the boundary error, and the IoU of each class.
    """
    train, test = parse_region(TRAIN, survey.axes), parse_region(TEST, survey.axes)
    predictors = make_baselines(survey, "facies", [train], [test], CLASSES)
    for name, prediction in predictions.items():
        predictors[name] = lambda box, prediction=prediction: prediction.read(PRED_CLASS, box)
    windows = [(test, survey.read_labels("facies", test))]
    scores = evaluate_baselines(predictors, windows, num_classes=CLASSES, trace_length=test.shape[-1])
    for name, values in scores.items():
        error = [values["boundary_error"][key] for key in ("mean", "median", "p90")]
        total = rounded([values["mean_iou"], values["accuracy"]])
        print(f"{name}: {total}, boundaries {rounded(error)} samples, IoU {rounded(values['iou_per_class'])}")
    return scores


def look_for_seams(work: Path, one_block: Volume, path: Path) -> dict[str, Any]:
    """Roughness of probabilities across crosslines, at borders against elsewhere; a figure goes to `path`.

    Nothing can be seen of blocks where a prediction is the same, bit for bit, whatever they are; where windows overlap,
    little should be seen of windows either. What ratio chance gives is told by the same borders, moved to where there
    are none. Along time windows have no borders, for they are whole traces, and flat horizons hide all else.
    """
    overlapping = predict(work, "small_overlapping", **SMALL)
    touching = predict(work, "small_touching", **SMALL, blend="uniform", overlap=0)
    plan = json.loads((work / "small_overlapping.zarr/ledger/plan.json").read_text())
    _, block = plan["wanted"]["blocks"]
    shape, smooth, rough = overlapping.shape, roughness(overlapping), roughness(touching)
    blocks = {axis: list(range(block[axis], shape[axis], block[axis])) for axis in (CROSSLINE, TIME)}
    windows = window_starts(shape[CROSSLINE], WINDOW)
    result: dict[str, Any] = {"block": block, "equal_to_one_block": is_part_of(overlapping, one_block)}
    for name, values, borders in (
        ("overlapping windows, borders of blocks", smooth, blocks[CROSSLINE]),
        ("overlapping windows, where windows begin", smooth, window_starts(shape[CROSSLINE], STRIDE)),
        ("touching windows, where windows begin", rough, windows),
    ):
        side = borders[1] - borders[0]
        between = [border_ratio(values, np.add(borders, by)) for by in range(side // 4, side * 3 // 4 + 1)]
        result[name] = {"ratio": border_ratio(values, borders), "between": [min(between), max(between)]}
        print(f"{name}: ratio {result[name]['ratio']:.2f}; half-way between {min(between):.2f} to {max(between):.2f}")
    drawn = {
        "overlapping windows (marks: borders of blocks)": (overlapping, smooth, blocks),
        "windows that only touch (marks: borders of windows)": (touching, rough, {CROSSLINE: windows}),
    }
    inline = SEEN.partition(",")[0].replace(":", " ")
    draw_seams(path, f"Penobscot, {inline}, in blocks of {block[CROSSLINE]} crosslines x {block[TIME]} samples", drawn)
    return result


def window_starts(crosslines: int, stride: int) -> list[int]:
    """Where windows along inlines begin, but for the first."""
    return Lattice((crosslines,), (WINDOW,), (stride,), multiple=(GRID,)).starts[0][1:]


def probability(volume: Volume, k: int, box: Box) -> np.ndarray:
    """What the volume holds of class k in a box."""
    return volume.read(PRED_PROBABILITY, Box((k, *box.start), (1, *box.shape)))[0]


def roughness(volume: Volume) -> np.ndarray:
    """Absolute difference of probabilities between neighbouring crosslines, (crosslines - 1,): mean over all else."""
    total = np.zeros(volume.shape[CROSSLINE] - 1)
    for k in range(CLASSES):
        values = probability(volume, k, Box.whole(volume.shape)).astype(np.float32)
        total += np.abs(np.diff(values, axis=CROSSLINE)).mean((0, TIME), dtype=np.float64)
    return total / CLASSES


def border_ratio(values: np.ndarray, borders: Sequence[int] | np.ndarray) -> float:
    """Mean roughness across borders, each before the sample of this number, over that elsewhere."""
    at = np.zeros(len(values), bool)
    places = np.asarray(borders) - 1
    at[places[places < len(values)]] = True
    return float(values[at].mean() / values[~at].mean())


def is_part_of(part: Volume, whole: Volume) -> bool:
    """Whether a prediction of a region holds the probabilities of that of the whole survey, bit for bit."""
    box = parse_region(str(part.attributes["region"]), whole.axes)
    pairs = ((probability(part, k, Box.whole(part.shape)), probability(whole, k, box)) for k in range(CLASSES))
    return all(np.array_equal(a, b) for a, b in pairs)


def draw_seams(path: Path, title: str, drawn: dict[str, tuple[Volume, np.ndarray, dict[int, list[int]]]]) -> None:
    """A column each: the probability of a class over a section with marks at borders, and the roughness below it."""
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    grid = figure.subplots(2, 2, sharex="col", sharey="row", height_ratios=(2, 1))
    for (name, (volume, rough, borders)), (section, curve) in zip(drawn.items(), grid.T, strict=True):
        box = parse_region(SEEN, volume.axes)
        across, down = (Axis(a.name, a.labels[p], a.unit) for a, p in zip(volume.axes[1:], box.slices[1:], strict=True))
        values = probability(volume, SEEN_CLASS, box)[0].astype(np.float32)
        extent = (*figures.edges(across), *reversed(figures.edges(down)))
        plane = figures.Plane(values, across.name, down.name)
        image = figures.imshow(section, plane, extent=extent, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        section.set(xlabel="", ylabel=figures.axis_label(down))
        section.set_title(name, fontsize=11, pad=14)
        section.label_outer()
        lines = volume.axes[CROSSLINE].labels
        curve.plot(lines[1:] - 0.5, rough, lw=0.9, color="#0072B2")
        curve.set(xlabel=across.name, xlim=extent[:2])
        mark_borders(section, curve, volume.axes, borders)
    grid[1, 0].set_ylim(0, 1.05 * max(rough.max() for _, rough, _ in drawn.values()))
    grid[1, 0].set_ylabel("mean |difference|\nof neighbours")
    figure.colorbar(image, ax=grid[0], label=f"probability of class {SEEN_CLASS}", shrink=0.8, pad=0.01)
    figure.suptitle(title, fontsize=12)
    figures.save(figure, path)


def mark_borders(section: Axes, curve: Axes, axes: Sequence[Axis], borders: dict[int, list[int]]) -> None:
    """Triangles beside the section, so that nothing hides what lies at the border; lines through the curve."""
    look: dict[str, Any] = {"color": "#D55E00", "ls": "", "ms": 6, "clip_on": False}
    across, down = section.get_xlim(), section.get_ylim()
    for axis, places in borders.items():
        labels = (axes[axis].labels[np.asarray(places)] + axes[axis].labels[np.asarray(places) - 1]) / 2
        for label in labels:
            if axis == CROSSLINE and min(across) < label < max(across):
                section.plot(label, 1.02, marker="v", transform=section.get_xaxis_transform(), **look)
                curve.axvline(label, color="#D55E00", lw=0.7, alpha=0.7)
            if axis == TIME and min(down) < label < max(down):
                section.plot(-0.01, label, marker=">", transform=section.get_yaxis_transform(), **look)


if __name__ == "__main__":
    app.run(main)
