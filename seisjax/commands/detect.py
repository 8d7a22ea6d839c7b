"""From a predicted volume to a catalogue of events, and its scores."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seisjax.conventions import RECEIVER_PLACES
from seisjax.detection.catalogue import Recorded, check_obspy, is_quakeml, write_events, write_picks
from seisjax.detection.events import Association
from seisjax.detection.location import Ground, Locator
from seisjax.detection.matching import TOLERANCE, EventScores, Truth
from seisjax.detection.scan import Found, Picking, Predictions, scan_panels, scan_recording, stretch_samples
from seisjax.errors import UserError
from seisjax.files import write_json
from seisjax.metrics import score_text
from seisjax.reporting.progress import Progress
from seisjax.synthesis import has_events, load_parameters, open_data, panel_events
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.parameters import Microseismic
from seisjax.volumes import open_volume

SNR_EDGES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2)


@dataclass(frozen=True)
class Detection:
    """What is to be detected and how; the fields are the flags of launch/detect.py."""

    predictions: str
    output: Path
    picking: Picking = field(default_factory=Picking)
    association: Association = field(default_factory=Association)
    medium: str = ""  # preset or file of the generator's parameters; empty: no locations
    stretch: float = 600.0  # s of a recording that are worked on at a time
    truth: str = ""  # a volume with a table of events
    match_tolerance: float = TOLERANCE  # s
    picks: Path | None = None
    overwrite: bool = False


def detect(request: Detection) -> str:
    """Write the catalogue, and scores beside it where the truth is given; returns a summary. Raises UserError."""
    _check(request)
    predictions = Predictions(open_volume(request.predictions))
    locator = _locator(request, predictions)
    truth = _truth(request, predictions) if request.truth else None
    keeps_picks = request.picks or is_quakeml(request.output)
    found: list[Found] = []
    with Progress(
        _parts(predictions, request, locator), "detect", "panel" if predictions.panels else "part"
    ) as progress:
        for events in _scan(predictions, request, locator):
            found += events if keeps_picks else [one.without_picks() for one in events]
            progress.update()
    recorded = Recorded.of(predictions.volume.attributes)
    lines = []
    if truth is not None:
        path = _scores_path(request)
        scores = _score(predictions, found, truth, request.match_tolerance)
        write_json(path, scores)
        lines = [score_lines(scores), f"scores written to {path}"]
    if request.picks:
        write_picks(request.picks, found, recorded)
    write_events(request.output, found, recorded)
    where = "located" if locator else "not located (give --medium, for receivers whose places are known)"
    return "\n".join([*lines, f"{len(found)} events, {where}, written to {request.output}"])


def _scores_path(request: Detection) -> Path:
    return request.output.with_suffix(".scores.json")


def _check(request: Detection) -> None:
    for path in (request.output, request.picks, _scores_path(request) if request.truth else None):
        if path and path.exists() and not request.overwrite:
            raise UserError(f"{path}: exists; give --overwrite, or another path")
    if request.picks == request.output:
        raise UserError(f"--picks={request.picks}: is the catalogue's own path, --output; give another")
    check_obspy(request.output)
    positive = {
        "min_receivers": request.association.min_receivers,
        "tolerance": request.association.tolerance,
        "window": request.association.window,
        "stretch": request.stretch,
        "match_tolerance": request.match_tolerance,
    }
    for name, value in positive.items():
        if not value > 0:
            raise UserError(f"--{name}={value:g}: must be above 0")
    if request.association.moveout < 0:
        raise UserError(f"--moveout={request.association.moveout:g}: must not be negative; 0 is any")
    if not 0 < request.picking.threshold < 1:
        raise UserError(f"--threshold={request.picking.threshold:g}: is a probability; give one between 0 and 1")


def _locator(request: Detection, predictions: Predictions) -> Locator | None:
    if not request.medium:
        return None
    parameters = load_parameters(request.medium, "--medium")
    places = predictions.places
    if places is None and not predictions.volume.arrays.keys().isdisjoint(RECEIVER_PLACES):
        raise UserError(
            f"{request.predictions}: the places of some receivers are not known ({', '.join(RECEIVER_PLACES)}); "
            "give them all to launch/ingest.py (--stations), or leave --medium out"
        )
    if places is None:
        places = receivers(parameters.array).places
        if len(places) != predictions.num_receivers:
            raise UserError(
                f"{request.predictions}: has no {', '.join(RECEIVER_PLACES)}, and the array of "
                f"--medium={request.medium} has {len(places)} receivers, not {predictions.num_receivers}; "
                "give a medium with the recording's own array (array.file), or none"
            )
    return make_locator(places, parameters)


def make_locator(places: np.ndarray, parameters: Microseismic | dict[str, Any]) -> Locator:
    """Travel times for receivers (receiver, 3) and the generator's parameters. Raises UserError."""
    ground = Ground.of(parameters)
    if ground.depth[0] <= places[:, 2].max():
        raise UserError(
            f"source.depth={ground.depth}: the deepest receiver lies at {places[:, 2].max():g} m; "
            "look for sources below it"
        )
    return Locator(places, ground)


def _parts(predictions: Predictions, request: Detection, locator: Locator | None) -> int:
    if predictions.panels:
        return predictions.volume.shape[0]
    return -(-predictions.num_samples // stretch_samples(predictions, request.association, locator, request.stretch))


def _scan(predictions: Predictions, request: Detection, locator: Locator | None) -> Iterator[list[Found]]:
    if predictions.panels:
        return scan_panels(predictions, request.picking, request.association, locator)
    return scan_recording(predictions, request.picking, request.association, locator, request.stretch)


def _truth(request: Detection, predictions: Predictions) -> dict[str, np.ndarray]:
    """The table of events of the panels that were predicted, by their labels."""
    volume = open_data(request.truth)
    if not predictions.panels or not has_events(volume):
        raise UserError(
            f"--truth={request.truth}: needs a volume with a table of events (event_panel, event_first_arrival), "
            "and predictions of its panels"
        )
    return panel_events(volume, np.asarray(predictions.volume.axes[0].labels))


def _score(
    predictions: Predictions, found: list[Found], table: dict[str, np.ndarray], tolerance: float
) -> dict[str, Any]:
    scores = EventScores(tolerance)
    for label in predictions.volume.axes[0].labels:
        events = [one.event for one in found if one.panel == label]
        scores.add(truth_of(table, int(label)), events, predictions.seconds)
    result = scores.result()
    result["events"]["recall_by_snr"] = scores.recall_by_snr(SNR_EDGES)
    return result


def truth_of(table: dict[str, np.ndarray], panel: int) -> Truth:
    """The events of a panel out of a table of events."""
    rows = table["panel"] == panel
    return Truth.of(*(table[name][rows] for name in Truth._fields))


def score_lines(scores: dict[str, Any]) -> str:
    """Event scores for people."""
    counts = scores["events"]
    lines = [
        f"events: {counts['num_matched']} of {counts['num_events']} found, {counts['num_detections']} detections; "
        f"precision {score_text(scores['event_precision'])}, recall {score_text(scores['event_recall'])}, "
        f"F1 {score_text(scores['event_f1'])}, {score_text(scores['false_alarms_per_hour'], 2)} false alarms an hour, "
        f"first arrivals within {score_text(scores['onset_error_s'], 4)} s (median)"
    ]
    if counts["epicentre_error_m"] is not None:
        lines.append(
            f"places: epicentres within {counts['epicentre_error_m']:.0f} m, "
            f"depths within {counts['depth_error_m']:.0f} m (medians)"
        )
    if counts.get("pick_error_s") is not None:
        lines.append(
            f"picks: precision {score_text(counts['pick_precision'])}, recall {score_text(counts['pick_recall'])}, "
            f"within {score_text(counts['pick_error_s'], 4)} s (median)"
        )
    for bin_ in counts.get("recall_by_snr", ()):
        low, high = bin_["snr"]
        if bin_["num_events"]:
            lines.append(f"  SNR {low:g}-{high:g}: recall {score_text(bin_['recall'])} of {bin_['num_events']} events")
    return "\n".join(lines)
