"""Windows of a volume, their splits, and the stream of global batches."""

from seisjax.data.pipeline import evaluation_batches, training_batches
from seisjax.data.source import WindowSource
from seisjax.data.splits import check_labelled, check_window, resolve_splits
from seisjax.data.statistics import training_statistics
from seisjax.data.windows import GridWindows, Sampler, ShuffledWindows, UniformWindows, make_sampler

__all__ = [
    "GridWindows",
    "Sampler",
    "ShuffledWindows",
    "UniformWindows",
    "WindowSource",
    "check_labelled",
    "check_window",
    "evaluation_batches",
    "make_sampler",
    "resolve_splits",
    "training_batches",
    "training_statistics",
]
