"""Predicted volumes of any size to events: panel by panel, or along a recording in stretches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seisjax.conventions import PRED_PROBABILITY, RECEIVER_PLACES
from seisjax.detection.events import Association, Event, groups
from seisjax.detection.location import Locator
from seisjax.detection.picks import ANY, P, Picks, S, find_picks, join_picks
from seisjax.errors import UserError
from seisjax.geometry import Box, sampling
from seisjax.volumes import Volume

_BYTES = 2**28  # of probabilities that are worked on at a time; picking takes a few times as much
_CONTEXT = 10.0  # s read on both sides of a stretch: a pick that lasts longer is still one


@dataclass(frozen=True)
class Picking:
    """What makes a stretch of samples a pick."""

    threshold: float = 0.5  # least probability
    join: float = 0.04  # stretches of a trace that are parted by at most so many s are one pick
    min_duration: float = 0.0  # shorter picks are left out, s


class Wave(NamedTuple):
    """What a class of the probabilities stands for."""

    number: int  # position along the class axis
    phase: int  # ANY, P or S
    peaks: bool  # a bump around the onset, not a stretch from the onset on


class Found(NamedTuple):
    """An event, and the panel that it is in: its label on the example axis, None in a recording."""

    panel: int | None
    event: Event

    def without_picks(self) -> "Found":
        """The same, to be kept for long: the picks take most of the memory."""
        return Found(self.panel, self.event._replace(picks=Picks.none()))


def waves_of(class_names: Sequence[str], num_classes: int, label_scale: int = 0) -> list[Wave]:
    """What the classes but the first are, by their names: P, S, onset (bumps around onsets), or events of any wave.

    label_scale: above 0 where the labels that were learnt are so many times the probability of an onset.
    """
    names = [*class_names, *[""] * num_classes][:num_classes]
    phases = {"p": P, "s": S}
    return [
        Wave(i, phases.get(name.lower(), ANY), label_scale > 0 or "onset" in name.lower())
        for i, name in enumerate(names)
        if i > 0
    ]


def pick_waves(
    probability: np.ndarray, waves: Sequence[Wave], interval: float, options: Picking, start: float = 0.0
) -> Picks:
    """Picks of all classes: probability (class, receiver, sample), NaN where there are no data; `start` in s."""
    return join_picks(
        find_picks(
            probability[wave.number],
            interval,
            threshold=options.threshold,
            phase=wave.phase,
            peaks=wave.peaks,
            join=options.join,
            min_duration=options.min_duration,
            start=start,
        )
        for wave in waves
    )


class Predictions:
    """Probabilities over (receiver, time), or (example, receiver, time), as launch/predict.py writes them."""

    def __init__(self, volume: Volume):
        """Raises UserError for a volume without probabilities, or over other axes."""
        if PRED_PROBABILITY not in volume.arrays:
            raise UserError(f"{volume.url}: holds no probabilities; give what launch/predict.py wrote")
        names = [axis.name for axis in volume.axes]
        if len(names) not in (2, 3) or names[-1] != "time" or (len(names) == 3 and names[0] != "example"):
            raise UserError(
                f"{volume.url}: has the axes {', '.join(names)}; events are found over receivers and time, "
                "or examples of them"
            )
        info = volume.arrays[PRED_PROBABILITY]
        self.volume, self.panels = volume, len(names) == 3
        self.interval, self.start = sampling(volume.axes[-1])
        self.num_receivers, self.num_samples = volume.shape[-2:]
        self.num_classes = info.shape[0]
        scale = int(info.attributes.get("label_scale", volume.attributes.get("label_scale", 0)) or 0)
        waves = waves_of(info.attributes.get("class_names", ()), self.num_classes, scale)
        self.waves = [wave._replace(number=wave.number - 1) for wave in waves]  # as `read` has them

    @property
    def seconds(self) -> float:
        """Length of a panel, or of the recording."""
        return self.num_samples * self.interval

    @property
    def places(self) -> np.ndarray | None:
        """x, y, z of the receivers, m (receiver, 3), where the volume has them all."""
        arrays = [self.volume.arrays.get(name) for name in RECEIVER_PLACES]
        if any(info is None or info.shape != (self.num_receivers,) for info in arrays):
            return None
        values = [self.volume.read(name, Box((0,), (self.num_receivers,))) for name in RECEIVER_PLACES]
        places = np.stack(values, axis=-1).astype(np.float64)
        return places if np.isfinite(places).all() else None

    def read(self, first: int, stop: int, panel: int | None = None) -> np.ndarray:
        """float32 (class, receiver, samples first to stop), all classes but the first; NaN where there are no data."""
        middle = () if panel is None else (panel,)
        sides = (self.num_classes - 1, *[1] * len(middle), self.num_receivers, stop - first)
        box = Box((1, *middle, 0, first), sides)
        values = self.volume.read_scaled(PRED_PROBABILITY, box)
        return values if panel is None else values[:, 0]


def scan_panels(
    predictions: Predictions, picking: Picking, association: Association, locator: Locator | None
) -> Iterator[list[Found]]:
    """The events of each panel, panel after panel; one is in memory at a time."""
    labels = predictions.volume.axes[0].labels
    for i in range(len(labels)):
        probability = predictions.read(0, predictions.num_samples, i)
        live = int(np.isfinite(probability[0]).any(axis=-1).sum())
        picks = pick_waves(probability, predictions.waves, predictions.interval, picking, predictions.start)
        found = groups(picks, live, predictions.seconds, association, locator)
        events = sorted((group.event for group in found if group.event), key=lambda event: event.first_arrival)
        yield [Found(int(labels[i]), event) for event in events]


def scan_recording(
    predictions: Predictions,
    picking: Picking,
    association: Association,
    locator: Locator | None,
    stretch: float = 600.0,
) -> Iterator[list[Found]]:
    """The events of a recording, in stretches of so many s; each event comes once, wherever the seams are.

    A pick belongs to the stretch that its onset is in. Events whose waves may go on into the next stretch wait for it,
    and picks that an event took are seen no more; a stretch is as long as two events at least.
    """
    span, samples = event_span(locator, association), stretch_samples(predictions, association, locator, stretch)
    waiting, since = Picks.none(), predictions.start
    for first in range(0, predictions.num_samples, samples):
        stop = min(first + samples, predictions.num_samples)
        picks, live = _picks_between(predictions, picking, first, stop)
        waiting = join_picks([waiting, picks])
        end = predictions.start + stop * predictions.interval
        horizon = end - span if stop < predictions.num_samples else np.inf
        keep = waiting.time >= horizon - 2 * association.tolerance
        done = []
        for group in groups(waiting, live, end - since, association, locator):
            if group.begin < horizon:
                keep[group.taken] = False
                done += [group.event] if group.event else []
        yield [Found(None, event) for event in sorted(done, key=lambda event: event.first_arrival)]
        waiting, since = waiting.where(keep), min(horizon, end)


def _picks_between(predictions: Predictions, picking: Picking, first: int, stop: int) -> tuple[Picks, int]:
    """Picks whose onset lies in samples first to stop, and the receivers that record there."""
    interval, context = predictions.interval, round(_CONTEXT / predictions.interval)
    begin = max(first - context, 0)
    probability = predictions.read(begin, min(stop + context, predictions.num_samples))
    live = int(np.isfinite(probability[0]).any(axis=-1).sum())
    picks = pick_waves(probability, predictions.waves, interval, picking)
    # Rounded, so that two stretches that see a pick agree on whose it is.
    place = begin + np.round(picks.time / interval, 6)
    # An onset may lie just before the first sample of its pick.
    picks = picks._replace(time=predictions.start + place * interval)
    return picks.where((place >= first) & (place < stop)), live


def stretch_samples(predictions: Predictions, association: Association, locator: Locator | None, stretch: float) -> int:
    """Samples of the stretches that a recording is scanned in: fewer than asked for where they would fill memory."""
    most = _BYTES // (4 * (predictions.num_classes - 1) * predictions.num_receivers) * predictions.interval
    return round(max(min(stretch, most), 2 * event_span(locator, association)) / predictions.interval)


def event_span(locator: Locator | None, association: Association) -> float:
    """How long a seam must wait for an event's onsets, s: without places also for those of its successor, which may be
    the denser one."""
    return locator.span if locator else 2 * association.window
