"""What a prediction will read, compute and write, before it is begun."""

import math
from dataclasses import dataclass

from seisjax.conventions import AMPLITUDE
from seisjax.geometry import Box, round_up
from seisjax.inference.predict import Task
from seisjax.inference.products import stored_bytes
from seisjax.inference.views import hull
from seisjax.volumes import Volume


@dataclass(frozen=True)
class Forecast:
    """Counts of a prediction by one worker that is not interrupted.

    blocks: of the output, block: their sides. windows: of all lattices that touch the box; predicted: the same, with
    those counted again that reach into several runs of blocks. samples: of the box; computed: those of all windows
    that are predicted. chunk_bytes: of the decoded chunks that hold the box; read_bytes: of those that are read, each
    as often as it is. output_bytes: before compression.
    """

    blocks: int
    block: tuple[int, ...]
    windows: int
    predicted: int
    samples: int
    computed: int
    chunk_bytes: int
    read_bytes: int
    output_bytes: int


def forecast(task: Task) -> Forecast:
    """Count what `predict_volume` would do; nothing is read. Dead traces are counted as live ones."""
    layout, views, volume = task.layout(), task.views(), task.volume
    predicted = computed = read = 0
    for run in layout.runs():
        extent = Box.between(run[0].place.start, run[-1].place.stop)
        counts = [view.lattice.count(extent) for view in views]
        predicted += sum(counts)
        computed += sum(n * math.prod(view.lattice.window) for n, view in zip(counts, views, strict=True))
        read += _chunk_samples(volume, hull(views, extent).intersect(Box.whole(volume.shape)))
    itemsize = volume.arrays[AMPLITUDE].dtype.itemsize
    return Forecast(
        blocks=len(layout.blocks()),
        block=tuple(map(min, layout.block, layout.shape)),
        windows=sum(view.lattice.count(task.box) for view in views),
        predicted=predicted,
        samples=task.box.size,
        computed=computed,
        chunk_bytes=_chunk_samples(volume, task.box) * itemsize,
        read_bytes=read * itemsize,
        output_bytes=task.box.size * stored_bytes(task.products, task.num_classes, task.probability_dtype),
    )


def _chunk_samples(volume: Volume, box: Box) -> int:
    """Samples of the chunks that hold a box of the volume."""
    sides = zip(box.start, box.stop, volume.arrays[AMPLITUDE].chunk, volume.shape, strict=True)
    return math.prod(min(round_up(b, chunk), n) - a // chunk * chunk for a, b, chunk, n in sides)
