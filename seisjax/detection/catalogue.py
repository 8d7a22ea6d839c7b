"""Events on disk: CSV tables, and QuakeML with their picks (through obspy)."""

import csv
import datetime
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seisjax.conventions import WGS84
from seisjax.detection.picks import ANY, P, S
from seisjax.detection.scan import Found
from seisjax.errors import UserError
from seisjax.files import beside

EVENT_COLUMNS = (
    *("event", "panel", "time", "date_time", "origin_time", "x", "y", "z"),
    *("num_receivers", "num_picks", "probability", "rms_residual"),
)
PICK_COLUMNS = ("event", "panel", "receiver", "name", "phase", "time", "date_time", "probability", "duration")
QUAKEML = (".xml", ".quakeml")
PHASES = {ANY: "", P: "P", S: "S"}


@dataclass(frozen=True)
class Recorded:
    """What a volume says about its receivers and clock; empty where it does not."""

    start_time: str = ""  # ISO 8601, UTC: when the first sample was taken
    receiver_names: Sequence[str] = ()  # network.station.location.channel
    origin: Mapping[str, float] | None = None  # latitude and longitude, degrees, of x = y = 0

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "Recorded":
        """From the attributes of a volume."""
        names, origin = attributes.get("receiver_names", ()), attributes.get("origin")
        return cls(attributes.get("start_time") or "", names, origin if isinstance(origin, Mapping) else None)

    def date_time(self, seconds: float) -> str:
        """ISO 8601 of a time after the first sample, to the microsecond; empty where the clock is not known."""
        if not self.start_time:
            return ""
        try:
            start = datetime.datetime.fromisoformat(self.start_time)
        except ValueError as error:
            raise UserError(f"attribute start_time={self.start_time}: is no ISO 8601 time; ingest again") from error
        start = start if start.tzinfo else start.replace(tzinfo=datetime.UTC)
        moment = start.astimezone(datetime.UTC) + datetime.timedelta(seconds=seconds)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def name(self, receiver: int) -> str:
        """A receiver's name, "" where it has none."""
        return self.receiver_names[receiver] if receiver < len(self.receiver_names) else ""


def write_events(path: Path, found: Sequence[Found], recorded: Recorded) -> None:
    """Write a catalogue: QuakeML where the path ends in .xml or .quakeml, else CSV. Raises UserError.

    The table's columns: `event` (number from 1), `panel` (empty in a recording), `time` (first arrival, s after the
    first sample), `date_time` (the same in UTC, empty where the volume has no start_time), `origin_time` (s after the
    first sample), `x`, `y`, `z` (m, z down; empty where receivers have no places), `num_receivers`, `num_picks`,
    `probability` (mean over the picks), `rms_residual` (s).
    """
    if is_quakeml(path):
        _write_quakeml(path, found, recorded)
    else:
        _write_table(path, EVENT_COLUMNS, (_event_row(i, one, recorded) for i, one in enumerate(found, start=1)))


def write_picks(path: Path, found: Sequence[Found], recorded: Recorded) -> None:
    """Write the picks of all events as CSV: `event` and `panel` as in the catalogue, `receiver` (position), `name`,
    `phase`, `time` (s after the first sample), `date_time`, `probability`, `duration` (s). Raises UserError."""
    _write_table(
        path, PICK_COLUMNS, (row for i, one in enumerate(found, start=1) for row in _pick_rows(i, one, recorded))
    )


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with beside(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _event_row(number: int, found: Found, recorded: Recorded) -> list[Any]:
    event = found.event
    return [
        number,
        "" if found.panel is None else found.panel,
        f"{event.first_arrival:.6f}",
        recorded.date_time(event.first_arrival),
        _text(event.origin_time, 6),
        *(_text(value, 1) for value in (event.x, event.y, event.z)),
        event.num_receivers,
        event.num_picks,
        f"{event.probability:.4f}",
        _text(event.rms, 6),
    ]


def _pick_rows(number: int, found: Found, recorded: Recorded) -> Iterable[list[Any]]:
    panel = "" if found.panel is None else found.panel
    for receiver, time, probability, duration, phase in zip(*found.event.picks, strict=True):
        yield [
            *(number, panel, int(receiver), recorded.name(receiver), PHASES[int(phase)]),
            *(f"{time:.6f}", recorded.date_time(float(time)), f"{probability:.4f}", f"{duration:.6f}"),
        ]


def _text(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def read_events(path: Path) -> dict[str, np.ndarray]:
    """The columns of a CSV catalogue as arrays: strings for date_time, else float64, NaN where empty. UserError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
            columns = {name: [row[name] for row in rows] for name in EVENT_COLUMNS}
        return {
            name: np.array(values) if name == "date_time" else np.array([float(v or "nan") for v in values], np.float64)
            for name, values in columns.items()
        }
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: is no catalogue of launch/detect.py ({error}); detect again") from error


def is_quakeml(path: Path) -> bool:
    """Whether a catalogue of this name is QuakeML."""
    return path.suffix.lower() in QUAKEML


def check_obspy(path: Path) -> None:
    """Raise UserError where a catalogue is to be QuakeML and obspy is missing."""
    if is_quakeml(path):
        _obspy(path)


def _obspy(path: Path) -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of packages that obspy imports
            warnings.simplefilter("ignore", UserWarning)
            from obspy import UTCDateTime
            from obspy.core import event
    except ImportError as error:
        raise UserError(
            f"{path}: QuakeML needs obspy; run pip install 'seisjax[passive]', or give a .csv file"
        ) from error
    return UTCDateTime, event


def _write_quakeml(path: Path, found: Sequence[Found], recorded: Recorded) -> None:
    utc, model = _obspy(path)
    zero = utc(recorded.date_time(0.0) or 0)
    events = [_quakeml_event(i, one, recorded, zero, model) for i, one in enumerate(found, start=1)]
    with beside(path) as partial:
        model.Catalog(events).write(str(partial), format="QUAKEML")


def _quakeml_event(number: int, found: Found, recorded: Recorded, zero: Any, model: Any) -> Any:
    """An event of QuakeML. Where receivers have no latitudes, its place stands in the comment alone."""
    event, located = found.event, not math.isnan(found.event.x)
    picks = [
        model.Pick(
            time=zero + float(time),
            waveform_id=_waveform(recorded.name(receiver), int(receiver), model),
            phase_hint=PHASES[int(phase)] or None,
            evaluation_mode="automatic",
            comments=[model.Comment(text=f"probability {probability:.4f}")],
        )
        for receiver, time, probability, _, phase in zip(*event.picks, strict=True)
    ]
    text = [f"event {number}", *([] if found.panel is None else [f"panel {found.panel}"])]
    text += [
        f"first arrival {event.first_arrival:.6f} s after the first sample",
        f"probability {event.probability:.4f}",
    ]
    text += [f"x {event.x:.1f} m, y {event.y:.1f} m, z {event.z:.1f} m"] if located else []
    text += [] if recorded.start_time else ["clock unknown: times count from 1970-01-01"]
    origin = model.Origin(
        time=zero + (event.origin_time if located else event.first_arrival),
        depth=event.z if located else None,
        evaluation_mode="automatic",
        comments=[model.Comment(text="; ".join(text))],
    )
    if located and recorded.origin:
        origin.latitude, origin.longitude = degrees(event.x, event.y, recorded.origin)
    if located:
        origin.quality = model.OriginQuality(standard_error=event.rms, used_phase_count=event.picks.number)
    whole = model.Event(origins=[origin], picks=picks, event_type="earthquake", event_type_certainty="suspected")
    whole.preferred_origin_id = origin.resource_id
    return whole


def _waveform(name: str, receiver: int, model: Any) -> Any:
    """Where a pick was made. Receivers without a name of four parts are stations Rxxxxx of no network."""
    parts = name.split(".") if name else ["", f"R{receiver:05d}"]
    network, station, location, channel = (["", *parts] if len(parts) == 1 else parts + ["", ""] + [""] * 2)[:4]
    return model.WaveformStreamID(
        network_code=network, station_code=station, location_code=location, channel_code=channel
    )


def degrees(x: float, y: float, origin: Mapping[str, float]) -> tuple[float, float]:
    """Latitude and longitude of a place x m north and y m east of an origin: on the ellipsoid's two radii there."""
    latitude = math.radians(origin["latitude"])
    axis, squared = WGS84
    root = 1 - squared * math.sin(latitude) ** 2
    meridian, normal = axis * (1 - squared) / root**1.5, axis / math.sqrt(root)
    return (
        origin["latitude"] + math.degrees(x / meridian),
        origin["longitude"] + math.degrees(y / (normal * math.cos(latitude))),
    )
