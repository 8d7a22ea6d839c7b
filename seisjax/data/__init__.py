"""Windows of a volume, their splits, and the stream of global batches."""

from seisjax.data.balanced import BalancedWindows
from seisjax.data.blocks import BlockWindows
from seisjax.data.draws import Draw, Sampler, Turns
from seisjax.data.generated import GeneratedBatches, check_one_example
from seisjax.data.label_counts import check_labelled, class_counts, fit_classes
from seisjax.data.mixture import Member, MixedSource, make_member
from seisjax.data.pipeline import evaluation_batches, training_batches
from seisjax.data.samplers import make_sampler
from seisjax.data.source import WindowSource, stored_type
from seisjax.data.splits import check_window, resolve_splits
from seisjax.data.statistics import training_statistics
from seisjax.data.windows import GridWindows, ShuffledWindows, UniformWindows

__all__ = [
    "BalancedWindows",
    "BlockWindows",
    "Draw",
    "GeneratedBatches",
    "GridWindows",
    "Member",
    "MixedSource",
    "Sampler",
    "ShuffledWindows",
    "Turns",
    "UniformWindows",
    "WindowSource",
    "check_labelled",
    "check_one_example",
    "check_window",
    "class_counts",
    "evaluation_batches",
    "fit_classes",
    "make_member",
    "make_sampler",
    "resolve_splits",
    "stored_type",
    "training_batches",
    "training_statistics",
]
