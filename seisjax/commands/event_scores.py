"""The events that a network finds on a split, scored while it is evaluated."""

from typing import Any

import jax
import numpy as np

from seisjax.commands.detect import SNR_EDGES, make_locator, truth_of
from seisjax.config import Experiment
from seisjax.conventions import IGNORE, RECEIVER_PLACES
from seisjax.data import GridWindows
from seisjax.detection.events import Association, associate
from seisjax.detection.location import Locator
from seisjax.detection.matching import EventScores, PickScores
from seisjax.detection.picks import Picks
from seisjax.detection.scan import Picking, Wave, pick_waves, waves_of
from seisjax.errors import UserError
from seisjax.experiment import Survey, num_classes
from seisjax.geometry import Box, sampling
from seisjax.synthesis import has_events, panel_events
from seisjax.volumes import Volume


def event_scorer(config: Experiment, survey: Survey, split: str) -> "EventScorer | None":
    """What scores a split's events; None where its windows are not whole panels of a volume with a table of events."""
    volume, regions = survey.volume, survey.regions[split]
    panels = [axis.name for axis in volume.axes] == ["example", "receiver", "time"] and has_events(volume)
    whole = survey.window == (1, *volume.shape[1:]) and all(r.shape[1:] == volume.shape[1:] for r in regions)
    return EventScorer(config, survey, split) if panels and whole else None


class EventScorer:
    """Takes the probabilities of a split's panels, batch by batch in the order of its windows."""

    def __init__(self, config: Experiment, survey: Survey, split: str):
        volume = survey.volume
        self._windows = GridWindows(survey.regions[split], survey.window)
        self._panels = [self._windows[i].inner.start[0] for i in range(len(self._windows))]
        self._events = panel_events(volume, self._panels)
        self._shape, (self._interval, self._start) = survey.window[1:], sampling(volume.axes[-1])
        self._scale = survey.label_scale
        self._waves = waves_of(survey.class_names, num_classes(config), self._scale)
        self._locator = _locator(volume)
        self._done = 0
        self.events, self.picks = EventScores(), PickScores()

    def add(self, probabilities: jax.Array, labels: jax.Array) -> None:
        """The next batch: (B, *padded window, classes), NaN where there are no data, and labels (B, *padded window)."""
        inside = (0, *(slice(side) for side in self._shape))
        for row in range(len(labels)):
            if self._done < len(self._panels):
                probability = np.moveaxis(np.asarray(probabilities[row])[inside], -1, 0)
                self._add_panel(self._panels[self._done], probability, np.asarray(labels[row])[inside])
                self._done += 1

    def _add_panel(self, panel: int, probability: np.ndarray, labels: np.ndarray) -> None:
        live = int(np.isfinite(probability[0]).any(axis=-1).sum())
        seconds = self._shape[1] * self._interval
        picks = pick_waves(probability, self._waves, self._interval, Picking(), self._start)
        found = associate(picks, live, seconds, Association(), self._locator)
        self.events.add(truth_of(self._events, panel), found, seconds)
        for wave in self._waves:
            truth = self._picks_of(labels, wave)
            self.picks.add(truth, pick_waves(probability, [wave], self._interval, Picking(), self._start))

    def _picks_of(self, labels: np.ndarray, wave: Wave) -> Picks:
        """The picks of the labels themselves."""
        if self._scale:
            share = np.where(labels == IGNORE, np.nan, labels / np.float32(self._scale))
        else:
            share = (labels == wave.number).astype(np.float32)
        return pick_waves(share[None], [wave._replace(number=0)], self._interval, Picking(join=0.0), self._start)

    def result(self) -> dict[str, Any]:
        """As `EventScores.result`; its `events` also hold `recall_by_snr` and the keys of `PickScores.result`."""
        scores = self.events.result()
        scores["events"] |= {"recall_by_snr": self.events.recall_by_snr(SNR_EDGES), **self.picks.result()}
        scores["events"]["located"] = self._locator is not None
        return scores


def _locator(volume: Volume) -> Locator | None:
    """Travel times under the volume's receivers, where it tells their places and the ground."""
    parameters = volume.attributes.get("parameters")
    if not isinstance(parameters, dict) or not all(name in volume.arrays for name in RECEIVER_PLACES):
        return None
    places = np.stack([volume.read(name, Box((0,), (volume.shape[1],))) for name in RECEIVER_PLACES], axis=-1)
    try:
        return make_locator(places.astype(np.float64), parameters)
    except UserError:
        return None
