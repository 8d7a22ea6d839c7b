"""Who finds faults, the network or coherence? Scores against noise and against slip, on synthetic cubes.

    python launch/train.py --config=configs/faults_3d.py --workdir=runs/faults
    python benchmarks/faults.py --workdir=runs/faults --output=scores.json --figure=scores.png

Cubes that nobody has seen, the same in all rows of noise but for that, the same in all rows of slip but for that:

noise: slips as in training; the signal-to-noise ratio (rms) is set.
slip: every fault cuts the whole cube with one slip, so that precision has a slip too; the signal-to-noise ratio is 4.
local slip: recall alone, at the slip of each sample, in the cubes of noise at a signal-to-noise ratio of 4.

Coherence is semblance along the best dip (seisjax/interpretation/coherence.py). A sample is a fault where the network's
probability, or 1 less coherence, reaches a threshold. "f1" has the threshold of highest F1 on cubes as in training, of
another seed. Coherence falls with noise everywhere, so that no threshold suits all: "best_f1" has that of highest F1 in
the row itself, which nobody knows beforehand. The figure, and recall by local slip, grant it to coherence alone.
Coherence's window is the one that does best on the other seed's cubes when each has a threshold of its own.

With a tolerance of 1 a sample that is called a fault is right within one sample of a fault along each axis, and a
sample of a fault is found within one sample of a call, for coherence is broader than labels.
"""

import itertools
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import maximum_filter

from seisjax.command_line import run
from seisjax.commands.load import Trained, load
from seisjax.errors import UserError
from seisjax.files import write_json
from seisjax.geometry import Box
from seisjax.interpretation.coherence import CoherenceWindow, coherence
from seisjax.synthesis import FaultedVolumes
from seisjax.synthesis.volume import SyntheticVolume
from seisjax.synthetic.fault_parameters import FaultedVolume

WORKDIR = flags.DEFINE_string("workdir", None, "run that was trained on synthetic faults", required=True)
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best, last or a step")
CUBES = flags.DEFINE_integer("cubes", 12, "test cubes of each row")
TUNING = flags.DEFINE_integer("tuning", 12, "cubes that thresholds are tuned on")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the scores")
FIGURE = flags.DEFINE_string("figure", "", "PNG file for the figure")

RATIOS = (0.5, 1.0, 2.0, 4.0, 8.0)
SLIPS = (1.0, 2.0, 4.0, 8.0, 16.0)  # samples
QUIET = 4.0  # signal-to-noise ratio where slip is what is looked at
SLIP_EDGES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # samples, of the bins of local slip
WINDOWS = tuple(CoherenceWindow(traces, samples, steps=2) for traces in (1, 2) for samples in (2, 4, 8, 16))
DETECTORS = ("network", "coherence")
COLORS = {"network": "#1B6CA8", "coherence": "#C8553D"}
TOLERANCES = (0, 1)
BINS = 1000  # thresholds between 0 and 1
TEST_SEED, TUNING_SEED = 1_000_003, 2_000_003


class Cube(NamedTuple):
    """A cube with what is known of it: arrays (inline, crossline, sample)."""

    amplitude: np.ndarray
    fault: np.ndarray  # bool
    slip: np.ndarray  # samples, 0 where there is no fault


class Detector(NamedTuple):
    """What gives each sample of a cube a score from 0 to 1, with its threshold for each tolerance."""

    score: Callable[[np.ndarray], np.ndarray]
    thresholds: dict[int, float]


@dataclass(frozen=True)
class Counts:
    """Samples by their score, (BINS,) each: those of faults (of the best score near them), those near a fault, all."""

    faults: np.ndarray
    right: np.ndarray
    given: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, fault: np.ndarray, tolerance: int) -> "Counts":
        """Counts of a cube; `near` is within `tolerance` samples along each axis."""
        best: Any = maximum_filter(score, 2 * tolerance + 1)
        near: Any = maximum_filter(fault, 2 * tolerance + 1)
        return cls(_histogram(best[fault]), _histogram(score[near]), _histogram(score))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.faults + other.faults, self.right + other.right, self.given + other.given)

    def ratios(self) -> dict[str, np.ndarray]:
        """Precision, recall, F1 and IoU of the fault class at the thresholds k / BINS, (BINS,); 0 where undefined.

        IoU is F1 / (2 - F1), which with a tolerance is its definition.
        """
        found, right, given = (np.cumsum(counts[::-1])[::-1] for counts in (self.faults, self.right, self.given))
        precision, recall = right / np.maximum(given, 1), found / max(found[0], 1)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        return {"precision": precision, "recall": recall, "f1": f1, "iou": f1 / (2 - f1)}


def main(argv: Sequence[str]) -> None:
    """Tune both detectors, score them, print the table, draw the figure."""
    del argv
    run = load(Path(WORKDIR.value), CHECKPOINT.value)
    parameters = parameters_of(run)
    tuning = list(make_cubes(parameters, TUNING_SEED, TUNING.value))
    window = max(WINDOWS, key=lambda each: mean_best_f1(coherence_score(each), tuning))
    scores = {"network": network_score(run), "coherence": coherence_score(window)}
    tuned = {name: [tune(score, tuning, tolerance) for tolerance in TOLERANCES] for name, score in scores.items()}
    detectors = {
        name: Detector(score, {t: tuned[name][i][0] for i, t in enumerate(TOLERANCES)})
        for name, score in scores.items()
    }
    rows, local = [], []
    for what, value in [("noise", ratio) for ratio in RATIOS] + [("slip", slip) for slip in SLIPS]:
        cubes = list(make_cubes(condition(parameters, what, value), TEST_SEED, CUBES.value))
        found = {name: [detector.score(cube.amplitude) for cube in cubes] for name, detector in detectors.items()}
        for name, tolerance in itertools.product(DETECTORS, TOLERANCES):
            threshold = detectors[name].thresholds[tolerance]
            row = score_row(found[name], cubes, tolerance, threshold)
            rows.append({"against": what, "value": value, "detector": name, "tolerance": tolerance} | row)
            print(line(rows[-1]), flush=True)
            if (what, value) == ("noise", QUIET):
                used = row["best_threshold"] if name == "coherence" else threshold
                recall = recall_by_slip(found[name], cubes, tolerance, used)
                local.append({"detector": name, "tolerance": tolerance, "recall": recall})
    print(table(rows))
    print(local_table(local))
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), record(run, parameters, window, tuned, rows, local))
    if FIGURE.value:
        example = next(make_cubes(replace(parameters, snr=(QUIET, QUIET)), TEST_SEED, 1))
        draw(rows, local, example, detectors, Path(FIGURE.value))


def parameters_of(run: Trained) -> FaultedVolume:
    """What the run's cubes were drawn from. Raises UserError for another run."""
    volume = run.survey.volume
    examples = volume.examples if isinstance(volume, SyntheticVolume) else None
    if not isinstance(examples, FaultedVolumes) or run.survey.window != (1, *examples.parameters.shape):
        raise UserError(f"--workdir={WORKDIR.value}: was not trained on whole synthetic: cubes with faults")
    return examples.parameters


def condition(parameters: FaultedVolume, what: str, value: float) -> FaultedVolume:
    """The parameters of a row's cubes."""
    if what == "noise":
        return replace(parameters, snr=(value, value))
    return replace(parameters, snr=(QUIET, QUIET), faults=replace(parameters.faults, slip=(value, value), through=1.0))


def make_cubes(parameters: FaultedVolume, seed: int, count: int) -> Iterator[Cube]:
    """Cubes 0 to count - 1 of a seed."""
    cubes = FaultedVolumes(parameters, seed)
    for i in range(count):
        arrays = cubes.start(Box((i, 0, 0, 0), (1, *parameters.shape)))().arrays
        yield Cube(arrays["amplitude"][0], arrays["labels_fault"][0] == 1, np.abs(arrays["fault_slip"][0]))


def network_score(run: Trained) -> Callable[[np.ndarray], np.ndarray]:
    """The network's probability of a fault."""
    forward, inside = run.forwards()[0], tuple(map(slice, run.survey.window))

    def score(amplitude: np.ndarray) -> np.ndarray:
        images = np.full((run.config.data.batch_size, *run.survey.padded, 1), np.nan, np.float32)
        images[(0, *inside, 0)] = amplitude[None]
        return np.asarray(forward(images))[0][inside][0, ..., 1]

    return score


def coherence_score(window: CoherenceWindow) -> Callable[[np.ndarray], np.ndarray]:
    """1 less coherence."""
    return lambda amplitude: 1 - coherence(amplitude, window)


def mean_best_f1(score: Callable[[np.ndarray], np.ndarray], cubes: Sequence[Cube]) -> float:
    """The highest F1 in each cube, on average."""
    return float(np.mean([tune(score, [cube])[1] for cube in cubes]))


def tune(score: Callable[[np.ndarray], np.ndarray], cubes: Sequence[Cube], tolerance: int = 0) -> tuple[float, float]:
    """The threshold of highest F1, and that F1."""
    f1 = total([score(cube.amplitude) for cube in cubes], cubes, tolerance).ratios()["f1"]
    return float(f1.argmax() / BINS), float(f1.max())


def total(scores: Sequence[np.ndarray], cubes: Sequence[Cube], tolerance: int) -> Counts:
    """Counts of all cubes."""
    first, *others = (Counts.of(s, cube.fault, tolerance) for s, cube in zip(scores, cubes, strict=True))
    return sum(others, start=first)


def score_row(
    scores: Sequence[np.ndarray], cubes: Sequence[Cube], tolerance: int, threshold: float
) -> dict[str, float]:
    """Scores at a threshold, and the highest F1 there is with its threshold."""
    ratios = total(scores, cubes, tolerance).ratios()
    here = {name: float(values[round(threshold * BINS)]) for name, values in ratios.items()}
    best = int(ratios["f1"].argmax())
    return here | {"best_f1": float(ratios["f1"][best]), "best_threshold": best / BINS}


def recall_by_slip(
    scores: Sequence[np.ndarray], cubes: Sequence[Cube], tolerance: int, threshold: float
) -> list[float | None]:
    """Share of the samples of faults that are found, for each bin of SLIP_EDGES, the last open; None without any."""
    found, there = np.zeros(len(SLIP_EDGES), np.int64), np.zeros(len(SLIP_EDGES), np.int64)
    for score, cube in zip(scores, cubes, strict=True):
        called = maximum_filter(score, 2 * tolerance + 1)[cube.fault] >= threshold
        number = np.digitize(cube.slip[cube.fault], SLIP_EDGES[1:])
        found += np.bincount(number[called], minlength=len(SLIP_EDGES))
        there += np.bincount(number, minlength=len(SLIP_EDGES))
    return [float(f / t) if t else None for f, t in zip(found, there, strict=True)]


def _histogram(score: np.ndarray) -> np.ndarray:
    # Rounding first: a score that is a threshold is not to fall below it.
    return np.bincount(np.minimum((score.ravel() * BINS + 1e-4).astype(np.int64), BINS - 1), minlength=BINS)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    values = " ".join(f"{row[name]:6.3f}" for name in ("precision", "recall", "f1", "iou", "best_f1"))
    return f"{row['against']:6s} {row['value']:4g}  {row['detector']:9s} {row['tolerance']:9d} {values}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All rows under their heads."""
    heads = " ".join(f"{head:>6s}" for head in ("prec.", "recall", "F1", "IoU", "best F1"))
    return "\n".join([f"{'':6s} {'':4s}  {'':9s} tolerance {heads}", *map(line, rows)])


def local_table(rows: Sequence[dict[str, Any]]) -> str:
    """Recall by local slip."""
    heads = " ".join(f"{f'{edge:g}+':>6s}" for edge in SLIP_EDGES)
    lines = (
        f"{row['detector']:9s} {row['tolerance']:9d} "
        + " ".join("   -  " if value is None else f"{value:6.3f}" for value in row["recall"])
        for row in rows
    )
    return "\n".join([f"recall by slip, samples\n{'':9s} tolerance {heads}", *lines])


def record(
    run: Trained,
    parameters: FaultedVolume,
    window: CoherenceWindow,
    tuned: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    local: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """What is kept of a run of this script."""
    return {
        "what": "faults in synthetic cubes, network and coherence: scores against noise and slip",
        "machine": f"{platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "checkpoint": run.step,
        "parameters": asdict(parameters),
        "test_cubes": CUBES.value,
        "tuning_cubes": TUNING.value,
        "coherence_window": asdict(window),
        "tuned": {
            name: [{"tolerance": t, "threshold": a, "f1": b} for t, (a, b) in zip(TOLERANCES, pairs, strict=True)]
            for name, pairs in tuned.items()
        },
        "slip_edges": SLIP_EDGES,
        "rows": list(rows),
        "recall_by_local_slip": list(local),
    }


def draw(
    rows: Sequence[dict[str, Any]],
    local: Sequence[dict[str, Any]],
    example: Cube,
    detectors: dict[str, Detector],
    path: Path,
) -> None:
    """F1 against noise and slip and recall against local slip; below, a section of a test cube as both see it."""
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    above, below = parts
    draw_scores(above.subplots(1, 3, sharey=True), rows, local)
    draw_section(below.subplots(1, 4, sharey=True), example, detectors)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_scores(axes: Sequence[Axes], rows: Sequence[dict[str, Any]], local: Sequence[dict[str, Any]]) -> None:
    """A line for each detector, broken with a tolerance of 1."""
    for name, tolerance in itertools.product(DETECTORS, TOLERANCES):
        label = f"{name}, within {tolerance} sample" if tolerance else name
        look: dict[str, Any] = {"color": COLORS[name], "ls": ("-", "--")[tolerance], "marker": "o", "label": label}
        for ax, what in zip(axes, ("noise", "slip"), strict=False):
            chosen = [r for r in rows if (r["against"], r["detector"], r["tolerance"]) == (what, name, tolerance)]
            f1 = "best_f1" if name == "coherence" else "f1"
            ax.plot([row["value"] for row in chosen], [row[f1] for row in chosen], **look)
        recall = next(r["recall"] for r in local if (r["detector"], r["tolerance"]) == (name, tolerance))
        axes[2].plot(SLIP_EDGES, [np.nan if value is None else value for value in recall], **look)
    heads = {"signal-to-noise ratio": "F1", "slip of every fault, samples": "F1", "local slip from, samples": "recall"}
    for ax, (what, score), ticks in zip(axes, heads.items(), (RATIOS, SLIPS, SLIP_EDGES), strict=True):
        ax.set(xscale="log", xlabel=what, title=score, ylim=(-0.02, 1.02))
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[0].set_ylim(top=1.3)
    axes[0].legend(fontsize=8, loc="upper left", ncols=2)


def draw_section(axes: Sequence[Axes], cube: Cube, detectors: dict[str, Detector]) -> None:
    """A section of a cube: amplitudes, faults, and the score of each detector."""
    middle = cube.amplitude.shape[0] // 2
    panels = {"amplitude": cube.amplitude, "faults": cube.fault, "network: probability": None, "1 - coherence": None}
    panels |= dict(zip(list(panels)[2:], (detectors[name].score(cube.amplitude) for name in DETECTORS), strict=True))
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        options = (
            {"cmap": "gray", "vmin": -3, "vmax": 3} if title == "amplitude" else {"cmap": "magma", "vmin": 0, "vmax": 1}
        )
        ax.imshow(values[middle].T, aspect="equal", interpolation="nearest", **options)
        ax.set(title=title, xlabel="crossline")
    axes[0].set_ylabel("sample")


if __name__ == "__main__":
    run(main)
