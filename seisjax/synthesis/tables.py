"""What stored and virtual volumes of panels have in common: axes, attributes, receivers, and the table of events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.synthesis.panels import VERSION, Panels
from seisjax.synthetic.parameters import Microseismic
from seisjax.volumes import Volume
from seisjax.volumes.metadata import unit_attributes

# Columns of the event table and their units; a stored volume has them as arrays event_<name>, beside event_panel.
EVENT_UNITS = {"origin_time": "s", "x": "m", "y": "m", "z": "m", "snr": "", "first_arrival": "s", "size": ""}

EventTable = dict[str, np.ndarray]


def panel_axes(parameters: Microseismic, num_receivers: int, num_examples: int) -> tuple[Axis, ...]:
    """The axes (example, receiver, time in ms)."""
    time = np.arange(parameters.num_samples) * parameters.sampling_interval * 1e3
    return (
        Axis("example", np.arange(num_examples, dtype=np.int32)),
        Axis("receiver", np.arange(num_receivers, dtype=np.int32)),
        Axis("time", time.round(6), "ms"),
    )


def volume_attributes(panels: Panels) -> dict[str, Any]:
    """Attributes of a volume of panels."""
    attributes = {
        "generator": "microseismic",
        "generator_version": VERSION,
        "parameters": asdict(panels.parameters),
        "seed": panels.seed,
        "sampling_interval": panels.parameters.sampling_interval * 1e3,
    }
    names = panels.receivers.names.tolist()
    return attributes | ({"receiver_names": names} if any(names) else {})


def receiver_arrays(panels: Panels) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Arrays along the receivers, with their attributes: receiver_x/y/z in m; receiver_component, numbers of its
    attribute component_names; and receiver_azimuth in degrees."""
    array = panels.receivers
    arrays = {f"receiver_{c}": (array.places[:, i].copy(), unit_attributes("m")) for i, c in enumerate("xyz")}
    names, component = np.unique(array.component, return_inverse=True)
    arrays["receiver_component"] = (component.astype(np.uint8), {"component_names": names.tolist()})
    arrays["receiver_azimuth"] = (np.asarray(array.azimuth, np.float64), {"units": "degrees from x towards y"})
    return arrays


def event_table(events: Iterable[tuple[int, Mapping[str, float]]]) -> EventTable:
    """Panels (number, what happened) as a table: `panel` and the names of `EVENT_UNITS`, a row for each event."""
    found = [(i, event) for i, event in events if event["present"]]
    table: EventTable = {"panel": np.array([i for i, _ in found], np.int32)}
    for name in EVENT_UNITS:
        table[name] = np.array([event[name] for _, event in found], np.float64)
    return table


def has_events(volume: Volume) -> bool:
    """Whether a volume has a table of events."""
    return hasattr(volume, "events") or {"event_panel", "event_first_arrival"} <= volume.arrays.keys()


def panel_events(volume: Volume, examples: Sequence[int] | np.ndarray) -> EventTable:
    """The events of these panels (numbers along the first axis) of a stored or virtual volume, in the panels' order.

    Arrays of equal length: `panel`; `origin_time` and `first_arrival` (the earliest P onset on a live receiver), s
    after the panel's first sample; `x`, `y`, `z`, m; `snr`; `size` (log10 of the relative moment). Panels without an
    event have no row. Columns that an older store lacks are NaN. Raises UserError for a volume without events.
    """
    events = getattr(volume, "events", None)
    if events is not None:
        return events([int(i) for i in examples])
    panels = _read(volume, "event_panel")
    rows = np.flatnonzero(np.isin(panels, examples))
    rows = rows[np.argsort(panels[rows], kind="stable")]
    table: EventTable = {"panel": panels[rows]}
    for name in EVENT_UNITS:
        stored = f"event_{name}" in volume.arrays
        table[name] = _read(volume, f"event_{name}")[rows] if stored else np.full(len(rows), np.nan)
    return table


def event_arrays(table: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """The table as a stored volume has it: arrays by name, with their attributes."""
    units = {"panel": "", **EVENT_UNITS}
    return {f"event_{name}": (values, unit_attributes(units[name])) for name, values in table.items()}


def _read(volume: Volume, name: str) -> np.ndarray:
    if name not in volume.arrays:
        raise UserError(f"{volume.url}: holds no table of events (no array {name}); give one of launch/synthesize.py")
    return volume.read(name, Box.whole(volume.arrays[name].shape))
