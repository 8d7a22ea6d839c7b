"""Volumes on disk: sharded Zarr v3 groups with named axes, units, a trace mask, statistics and label indices."""

from seisjax.volumes.coding import Coding
from seisjax.volumes.creating import create_volume
from seisjax.volumes.label_index import LabelIndex
from seisjax.volumes.metadata import ArrayInfo
from seisjax.volumes.opening import open_volume
from seisjax.volumes.retries import set_retry_minutes
from seisjax.volumes.statistics import ArrayStatistics, StreamingStatistics
from seisjax.volumes.store import bytes_read, set_cache_size
from seisjax.volumes.volume import Pending, Volume

__all__ = [
    "ArrayInfo",
    "ArrayStatistics",
    "Coding",
    "LabelIndex",
    "Pending",
    "StreamingStatistics",
    "Volume",
    "bytes_read",
    "create_volume",
    "open_volume",
    "set_cache_size",
    "set_retry_minutes",
]
