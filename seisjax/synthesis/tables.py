"""The table of events of stored and virtual volumes of panels."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.synthesis.examples import Table
from seisjax.volumes import Volume
from seisjax.volumes.metadata import unit_attributes

# Columns of the event table and their units; a stored volume has them as arrays event_<name>, beside event_panel.
EVENT_UNITS = {"origin_time": "s", "x": "m", "y": "m", "z": "m", "snr": "", "first_arrival": "s", "size": ""}

EventTable = dict[str, np.ndarray]


def event_table(events: Iterable[tuple[int, Mapping[str, float]]]) -> EventTable:
    """Panels (number, what happened) as a table: `panel` and the names of `EVENT_UNITS`, a row for each event."""
    found = [(i, event) for i, event in events if event["present"]]
    table: EventTable = {"panel": np.array([i for i, _ in found], np.int32)}
    for name in EVENT_UNITS:
        table[name] = np.array([event[name] for _, event in found], np.float64)
    return table


def has_events(volume: Volume) -> bool:
    """Whether a volume has a table of events."""
    return getattr(volume, "holds_events", False) or {"event_panel", "event_first_arrival"} <= volume.arrays.keys()


def panel_events(volume: Volume, examples: Sequence[int] | np.ndarray) -> EventTable:
    """The events of these panels (numbers along the first axis) of a stored or virtual volume, in the panels' order.

    Arrays of equal length: `panel`; `origin_time` and `first_arrival` (the earliest P onset on a live receiver), s
    after the panel's first sample; `x`, `y`, `z`, m; `snr`; `size` (log10 of the relative moment). Panels without an
    event have no row. Columns that an older store lacks are NaN. Raises UserError for a volume without events.
    """
    if getattr(volume, "holds_events", False):
        return volume.events([int(i) for i in examples])  # pyright: ignore[reportAttributeAccessIssue]
    panels = _read(volume, "event_panel")
    rows = np.flatnonzero(np.isin(panels, examples))
    rows = rows[np.argsort(panels[rows], kind="stable")]
    table: EventTable = {"panel": panels[rows]}
    for name in EVENT_UNITS:
        stored = f"event_{name}" in volume.arrays
        table[name] = _read(volume, f"event_{name}")[rows] if stored else np.full(len(rows), np.nan)
    return table


def event_tables(table: Mapping[str, np.ndarray]) -> dict[str, Table]:
    """The table as a stored volume has it, an array for each column."""
    units = {"panel": "", **EVENT_UNITS}
    return {f"event_{name}": Table(("event",), values, unit_attributes(units[name])) for name, values in table.items()}


def _read(volume: Volume, name: str) -> np.ndarray:
    if name not in volume.arrays:
        raise UserError(f"{volume.url}: holds no table of events (no array {name}); give one of launch/synthesize.py")
    return volume.read(name, Box.whole(volume.arrays[name].shape))
