"""Labelled examples of a generator: written to disk, or as a virtual volume that makes them when they are read."""

from seisjax.synthesis.examples import Examples
from seisjax.synthesis.faulted import FaultedVolumes
from seisjax.synthesis.generators import GENERATORS, load_any, load_parameters, make_examples
from seisjax.synthesis.panels import Panels
from seisjax.synthesis.tables import has_events, panel_events
from seisjax.synthesis.volume import BLOCKS_KEPT, SyntheticVolume, open_data
from seisjax.synthesis.writing import write_microseismic, write_part

__all__ = [
    "BLOCKS_KEPT",
    "GENERATORS",
    "Examples",
    "FaultedVolumes",
    "Panels",
    "SyntheticVolume",
    "has_events",
    "load_any",
    "load_parameters",
    "make_examples",
    "open_data",
    "panel_events",
    "write_microseismic",
    "write_part",
]
