"""A network that saw synthetic cubes alone, on real surveys: what it and coherence call faults.

    python benchmarks/faults_field.py --data=FOLDER --workdir=runs/faults --scores=scores.json --figures=figures

FOLDER holds `f3/f3.sgy`, a crop of 23 x 18 traces, and two lines of the Volve field, one in time and one in depth,
`volve/volve10r12-full-twt-arb.sgy` and `volve/volve10r12-full-z-il10117sub.sgy`. `scores.json` is what
benchmarks/faults.py wrote: coherence's window and both thresholds are taken from there, nothing is tuned here. What is
narrower than the network's window is mirrored; so a line is repeated across, as if its layers and faults ran straight
across. There are no labels: the table says what share of the samples is called a fault and how often both agree,
figures show the rest.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from matplotlib.figure import Figure
from scipy.ndimage import maximum_filter

from seisjax.command_line import run
from seisjax.commands.load import Trained, load
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.interpretation.coherence import CoherenceWindow, coherence
from seisjax.volumes import open_volume

DATA = flags.DEFINE_string("data", None, "folder with f3/ and volve/", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "run that was trained on synthetic faults", required=True)
SCORES = flags.DEFINE_string("scores", None, "what benchmarks/faults.py wrote", required=True)
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best, last or a step")
FIGURES = flags.DEFINE_string("figures", "", "folder for a PNG file of each survey")

ROOT = Path(__file__).resolve().parent.parent
SURVEYS = {
    "F3 crop": ("f3/f3.sgy", {}),
    "Volve line, time": ("volve/volve10r12-full-twt-arb.sgy", {"axes": "cdp:21"}),
    "Volve line, depth": ("volve/volve10r12-full-z-il10117sub.sgy", {"axes": "cdp:21", "vertical": "depth"}),
}
OVERLAP = 4  # neighbouring windows share this part of a side


class Survey(NamedTuple):
    """A survey as an array (inline, crossline, sample); a line has one crossline."""

    name: str
    amplitude: np.ndarray
    axes: Sequence[Axis]


def main(argv: Sequence[str]) -> None:
    """Each survey: read, predict, coherence, a row of the table and a figure."""
    del argv
    told = json.loads(Path(SCORES.value).read_text())
    window = CoherenceWindow(**told["coherence_window"])
    thresholds = {name: pairs[0]["threshold"] for name, pairs in told["tuned"].items()}
    network = load(Path(WORKDIR.value), CHECKPOINT.value)
    print(
        f"{'':18s} {'traces':>10s} {'samples':>7s}  network  coherence  of the network's calls within a sample of them"
    )
    for name, (file, options) in SURVEYS.items():
        survey = read(name, Path(DATA.value) / file, options)
        scores = {"network": predict(network, survey.amplitude), "coherence": 1 - coherence(survey.amplitude, window)}
        calls = {detector: scores[detector] >= threshold for detector, threshold in thresholds.items()}
        print(line(survey, calls), flush=True)
        if FIGURES.value:
            draw(survey, scores, Path(FIGURES.value) / f"{Path(file).stem}.png")


def read(name: str, file: Path, options: dict[str, str]) -> Survey:
    """A SEG-Y file by way of a volume. Raises UserError where there is none."""
    if not file.is_file():
        raise UserError(f"--data={DATA.value}: has no {file.relative_to(DATA.value)}; see the top of this script")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "survey.zarr"
        words = [f"--{key}={value}" for key, value in (options | {"input": file, "output": output}).items()]
        subprocess.run([sys.executable, str(ROOT / "launch/ingest.py"), *words], check=True, stdout=subprocess.DEVNULL)
        volume = open_volume(output)
        amplitude = volume.read_amplitude(Box.whole(volume.shape))
    return Survey(name, amplitude.reshape(len(amplitude), -1, amplitude.shape[-1]), volume.axes)


def predict(network: Trained, amplitude: np.ndarray) -> np.ndarray:
    """Probability of a fault, float32 of the amplitude's shape: overlapping windows, weighted by a tent."""
    _, *window = network.survey.window
    missing = [max(side - n, 0) for side, n in zip(window, amplitude.shape, strict=True)]
    values = np.pad(amplitude, [(m // 2, m - m // 2) for m in missing], mode="symmetric")
    tents = [np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)) / side for side in window]
    tent = (tents[0][:, None, None] * tents[1][:, None] * tents[2]).astype(np.float32)
    total, weight = np.zeros(values.shape, np.float32), np.zeros(values.shape, np.float32)
    forward = probability(network)
    for cut in windows(values.shape, window):
        total[cut] += tent * forward(values[cut])
        weight[cut] += tent
    inside = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, amplitude.shape, strict=True))
    return (total / weight)[inside]


def windows(shape: Sequence[int], window: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Windows that cover a volume; the last along an axis ends where the volume does."""
    starts = [
        sorted({*range(0, n - side, side - side // OVERLAP), n - side}) for n, side in zip(shape, window, strict=True)
    ]
    for start in itertools.product(*starts):
        yield tuple(slice(a, a + side) for a, side in zip(start, window, strict=True))


def probability(network: Trained) -> Callable[[np.ndarray], np.ndarray]:
    """The network for one window."""
    forward, inside = network.forwards()[0], tuple(map(slice, network.survey.window))

    def apply(amplitude: np.ndarray) -> np.ndarray:
        images = np.full((network.config.data.batch_size, *network.survey.padded, 1), np.nan, np.float32)
        images[(0, *inside, 0)] = amplitude[None]
        return np.asarray(forward(images))[0][inside][0, ..., 1]

    return apply


def line(survey: Survey, calls: dict[str, np.ndarray]) -> str:
    """A row of the table."""
    traces = " x ".join(map(str, survey.amplitude.shape[:2]))
    near = maximum_filter(calls["coherence"], 3)[calls["network"]]
    agree = f"{near.mean():.0%}" if near.size else "-"
    shares = f"{calls['network'].mean():8.1%}  {calls['coherence'].mean():9.1%}"
    return f"{survey.name:18s} {traces:>10s} {survey.amplitude.shape[2]:7d} {shares}  {agree}"


def draw(survey: Survey, scores: dict[str, np.ndarray], path: Path) -> None:
    """Sections through the middle (of a line: itself): amplitudes, and what both see."""
    shape = survey.amplitude.shape
    cuts: list[tuple[int, int]] = [(1, shape[1] // 2)] if shape[1] == 1 else [(i, n // 2) for i, n in enumerate(shape)]
    figure = Figure(figsize=(15, 5.2 * len(cuts)), layout="constrained")
    level = 3 * float(np.nanstd(survey.amplitude))
    panels: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "amplitude": (survey.amplitude, {"cmap": "gray", "vmin": -level, "vmax": level}),
        "network: probability": (scores["network"], {"cmap": "magma", "vmin": 0, "vmax": 1}),
        "1 - coherence": (scores["coherence"], {"cmap": "magma", "vmin": 0, "vmax": 1}),
    }
    for row, (axis, place) in zip(figure.subplots(len(cuts), 3, squeeze=False), cuts, strict=True):
        for ax, (title, (values, options)) in zip(row, panels.items(), strict=True):
            ax.imshow(values.take(place, axis).T, aspect="auto", interpolation="nearest", **options)
            ax.set_title(title)
        names = [a.name for a in survey.axes] if shape[1] > 1 else [survey.axes[0].name, "", survey.axes[1].name]
        across, down = (name for i, name in enumerate(names) if i != axis)
        row[0].set(ylabel=f"{down}, samples")
        for ax in row:
            ax.set_xlabel(f"{across}, samples")
    figure.suptitle(survey.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    run(main)
