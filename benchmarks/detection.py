"""Who finds weak events, the network or STA/LTA? Scores against the signal-to-noise ratio, in white and in real noise.

    python launch/train.py --config=configs/microseismic_small.py --workdir=runs/small
    python benchmarks/detection.py --workdir=runs/small --output=scores.json --figure=scores.png

For each kind of noise and each ratio, panels that the network was not trained on, half of them noise alone. Both
detectors have their thresholds tuned, for each kind of noise, on panels of the training part: those of highest event
F1. On two CPU cores it takes about a quarter of an hour.
"""

import itertools
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from seisjax.command_line import run
from seisjax.commands.load import Trained, load
from seisjax.conventions import IGNORE
from seisjax.detection import sta_lta
from seisjax.detection.events import Association, associate
from seisjax.detection.location import Ground, Locator
from seisjax.detection.matching import EventScores, Truth
from seisjax.detection.scan import Picking, pick_waves, waves_of
from seisjax.errors import UserError
from seisjax.files import write_json
from seisjax.synthesis import Panels
from seisjax.synthesis.volume import SyntheticVolume
from seisjax.synthetic.parameters import REALISTIC_NOISE, REALISTIC_TRACES, WHITE_NOISE, Microseismic, Traces

WORKDIR = flags.DEFINE_string("workdir", None, "run that was trained on synthetic panels", required=True)
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best, last or a step")
PANELS = flags.DEFINE_integer("panels", 60, "test panels of each noise and signal-to-noise ratio")
TUNING = flags.DEFINE_integer("tuning", 60, "panels of the training part, of each noise, that thresholds are tuned on")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the scores")
FIGURE = flags.DEFINE_string("figure", "", "PNG file for the figure")

RATIOS = (0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0)
NOISES = {"white": (WHITE_NOISE, Traces()), "realistic": (REALISTIC_NOISE, REALISTIC_TRACES)}
DETECTORS = ("network", "STA/LTA")
TEST_SEED = 1_000_003
# Late enough in the panel for STA/LTA to have learnt the noise, soon enough for the event to be there whole.
FIRST_ARRIVAL = (0.3, 0.45)
THRESHOLDS = (0.2, 0.5, 0.8)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
# Averages that fit into these short panels; unfiltered, or in the events' band.
GRID = sta_lta.Grid(
    sta=(0.03, 0.06, 0.1), lta=(0.25, 0.5), min_receivers=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5), band=(None, (8.0, 45.0))
)
EVENT_SCORES = ("event_precision", "event_recall", "event_f1", "false_alarms_per_hour", "onset_error_s")


@dataclass
class Example:
    """A panel with all that is known and thought of it."""

    amplitude: np.ndarray  # (receiver, sample), NaN on dead traces
    labels: np.ndarray  # uint8 (receiver, sample)
    truth: Truth
    probability: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (class, receiver, sample)


class Network:
    """The run's network and what turns its probabilities into events."""

    def __init__(self, run: Trained):
        self.run, self.forward = run, run.forwards()[0]
        volume = run.survey.volume
        panels = volume.examples if isinstance(volume, SyntheticVolume) else None
        if not isinstance(panels, Panels):
            raise UserError(f"--workdir={WORKDIR.value}: was trained on {volume.url}; give a run on synthetic: panels")
        self.parameters: Microseismic = panels.parameters
        self.seed = panels.seed
        self.locator = Locator(panels.receivers.places, Ground.of(self.parameters))
        self.waves = waves_of(self.parameters.class_names, len(self.parameters.class_names))
        self.interval = self.parameters.sampling_interval

    def predict(self, examples: Sequence[Example]) -> None:
        """Set the examples' probabilities."""
        size = self.run.config.data.batch_size
        sides = tuple(map(slice, self.run.survey.window))
        for first in range(0, len(examples), size):
            part = examples[first : first + size]
            images = np.full((size, *self.run.survey.padded, 1), np.nan, np.float32)
            for image, example in zip(images, part, strict=False):
                image[(*sides, 0)] = example.amplitude[None]
            result = np.asarray(self.forward(images))
            for values, example in zip(result, part, strict=False):
                probability = np.moveaxis(values[sides][0], -1, 0)
                example.probability = np.where(np.isnan(example.amplitude), np.nan, probability)

    def picks(self, example: Example, threshold: float) -> Any:
        return pick_waves(example.probability, self.waves, self.interval, Picking(threshold=threshold))

    def tune(self, examples: Sequence[Example]) -> dict[str, float]:
        """Threshold and share of receivers of highest event F1."""
        best = {"event_f1": -1.0}
        for threshold, share in itertools.product(THRESHOLDS, SHARES):
            f1 = self.scores(examples, threshold, share)["event_f1"] or 0.0
            if f1 > best["event_f1"]:
                best = {"event_f1": f1, "threshold": threshold, "min_receivers": share}
        return best

    def scores(self, examples: Sequence[Example], threshold: float, share: float) -> dict[str, Any]:
        total = EventScores()
        for example in examples:
            picks, live = self.picks(example, threshold), int((~np.isnan(example.amplitude[:, 0])).sum())
            found = associate(picks, live, seconds(example, self.interval), Association(share), self.locator)
            total.add(example.truth, found, seconds(example, self.interval))
        return total.result()


def main(argv: Sequence[str]) -> None:
    """Score both detectors, print the table, draw the figure."""
    del argv
    network = Network(load(Path(WORKDIR.value), CHECKPOINT.value))
    rows, tuned = [], {}
    for kind, (noise, traces) in NOISES.items():
        parameters = replace(
            network.parameters, noise=noise, traces=traces, noise_only=0.5, first_arrival=FIRST_ARRIVAL
        )
        training = list(make_examples(parameters, network.seed, TUNING.value))
        network.predict(training)
        own = network.tune(training)
        other = sta_lta.tune([e.amplitude for e in training], [e.truth for e in training], network.interval, GRID)
        tuned[kind] = {"network": own, "STA/LTA": asdict(other.options) | {"event_f1": other.event_f1}}
        for ratio in RATIOS:
            examples = list(make_examples(replace(parameters, snr=(ratio, ratio)), TEST_SEED, PANELS.value))
            network.predict(examples)
            scores = {
                "network": network.scores(examples, own["threshold"], own["min_receivers"])
                | sample_scores(examples, (e.probability[1:].max(axis=0) >= 0.5 for e in examples)),
                "STA/LTA": score_sta_lta(examples, other.options, network.interval),
            }
            for name in DETECTORS:
                rows.append({"noise": kind, "snr": ratio, "detector": name} | scores[name])
                print(line(rows[-1]), flush=True)
    print(table(rows))
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), record(network, tuned, rows))
    if FIGURE.value:
        draw(rows, Path(FIGURE.value))


def make_examples(parameters: Microseismic, seed: int, count: int) -> Iterator[Example]:
    """Panels 0 to count - 1 of a seed."""
    panels = Panels(parameters, seed)
    for i in range(count):
        panel = panels.panel(i)
        live = np.asarray(panel.trace_mask)[:, None]
        event = panels.placed(panel.event)
        truth = Truth.of(event["first_arrival"], *(event[name] for name in ("x", "y", "z", "snr")))
        if not event["present"]:
            truth = Truth.of([])
        yield Example(np.where(live, panel.amplitude, np.nan), np.asarray(panel.labels), truth)


def score_sta_lta(examples: Sequence[Example], options: sta_lta.StaLta, interval: float) -> dict[str, Any]:
    """Scores of STA/LTA: events, and as sample mask the triggers that are part of an event."""
    total, masks = EventScores(), []
    for example in examples:
        ratio = sta_lta.ratios(example.amplitude, interval, options.sta, options.lta, options.band)
        picks = sta_lta.triggers(ratio, interval, options.on, options.off)
        found = sta_lta.detect(example.amplitude, interval, options)
        total.add(example.truth, found, seconds(example, interval))
        mask = np.zeros(example.labels.shape, bool)
        for event in found:
            end = event.first_arrival + event.duration
            for i in np.flatnonzero((picks.time >= event.first_arrival) & (picks.time <= end)):
                start = round(picks.time[i] / interval)
                mask[picks.receiver[i], start : start + round(picks.duration[i] / interval) + 1] = True
        masks.append(mask)
    return total.result() | sample_scores(examples, masks)


def sample_scores(examples: Sequence[Example], masks: Any) -> dict[str, float | None]:
    """Precision, recall, F1 and IoU of the event class, over the labelled samples of all panels."""
    right = given = true = 0
    for example, mask in zip(examples, masks, strict=True):
        known = example.labels != IGNORE
        event = (example.labels > 0) & known
        right, given, true = right + (mask & event).sum(), given + (mask & known).sum(), true + event.sum()

    def ratio(a: float, b: float) -> float | None:
        return float(a / b) if b else None

    return {
        "precision": ratio(right, given),
        "recall": ratio(right, true),
        "f1": ratio(2 * right, given + true),
        "iou": ratio(right, given + true - right),
    }


def seconds(example: Example, interval: float) -> float:
    """Length of a panel."""
    return example.amplitude.shape[-1] * interval


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    names = ("precision", "recall", "f1", "iou", *EVENT_SCORES)
    values = " ".join(
        "   -  " if row[n] is None else f"{row[n]:6.3f}" if row[n] < 100 else f"{row[n]:6.0f}" for n in names
    )
    return f"{row['noise']:10s} {row['snr']:4g}  {row['detector']:8s} {values}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All rows under their heads: of samples, then of events."""
    heads = ("prec.", "recall", "F1", "IoU", "prec.", "recall", "F1", "fa/h", "onset")
    top = f"{'':27s}{'samples':^27s} {'events':^34s}"
    head = f"{'noise':10s} {'SNR':4s}  {'':8s} " + " ".join(f"{h:>6s}" for h in heads)
    return "\n".join([top, head, *map(line, rows)])


def record(network: Network, tuned: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is kept of a run of this script."""
    return {
        "what": "scores against the signal-to-noise ratio",
        "machine": f"{platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "checkpoint": network.run.step,
        "test_panels": PANELS.value,
        "tuning_panels": TUNING.value,
        "tuned": tuned,
        "rows": list(rows),
    }


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Event F1 and the event class's IoU against the signal-to-noise ratio, a row of axes for each."""
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots(2, len(NOISES), sharex=True, sharey="row", squeeze=False)
    styles = {"network": ("o-", "#1B6CA8"), "STA/LTA": ("s--", "#C8553D")}
    for column, kind in zip(axes.T, NOISES, strict=True):
        for ax, (score, label) in zip(
            column, (("event_f1", "F1 of events"), ("iou", "IoU of event samples")), strict=True
        ):
            for name in DETECTORS:
                chosen = [row for row in rows if row["noise"] == kind and row["detector"] == name]
                values = [np.nan if row[score] is None else row[score] for row in chosen]
                marker, colour = styles[name]
                ax.semilogx([row["snr"] for row in chosen], values, marker, color=colour, label=name)
            ax.set_ylim(-0.03, 1.03)
            ax.grid(alpha=0.3)
            ax.set_ylabel(label if kind == next(iter(NOISES)) else "")
        column[0].set_title(f"{kind} noise")
        column[-1].set_xlabel("signal-to-noise ratio")
        column[-1].set_xticks(RATIOS, [f"{r:g}" for r in RATIOS])
        column[-1].minorticks_off()
    axes[0, 0].legend(loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run(main)
