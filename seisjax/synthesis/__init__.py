"""Labelled panels of a generator: written to disk, or as a virtual volume that makes them when they are read."""

from seisjax.synthesis.panels import Panels, load_parameters
from seisjax.synthesis.tables import has_events, panel_events
from seisjax.synthesis.volume import PANELS_KEPT, SyntheticVolume, open_data
from seisjax.synthesis.writing import write_microseismic, write_part

__all__ = [
    "PANELS_KEPT",
    "Panels",
    "SyntheticVolume",
    "has_events",
    "load_parameters",
    "open_data",
    "panel_events",
    "write_microseismic",
    "write_part",
]
