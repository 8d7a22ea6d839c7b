"""A horizon out of a predicted volume: a pick a trace."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from seisjax.commands.extraction import Extraction
from seisjax.commands.places import live_traces
from seisjax.commands.predicted import Predicted
from seisjax.errors import UserError, note
from seisjax.geometry import Box, grow, tiles
from seisjax.interpretation import horizons
from seisjax.interpretation.field import labels_at
from seisjax.interpretation.horizons import Picks, pick_band, pick_horizon
from seisjax.interpretation.tables import (
    Columns,
    charisma_horizon,
    check_charisma,
    numbers,
    write_lines,
    write_table,
)
from seisjax.reporting.progress import Progress

Pick = Callable[[Box], Picks]  # of the traces of a box as long as the volume, flat


def classes_of_horizon(request: Extraction, predicted: Predicted) -> Pick:
    """What picks the horizon that is asked for. Raises UserError for classes that do not exist."""
    if predicted.volume.kind == "recording":
        raise UserError(f"--horizons: {request.predictions} is a recording; launch/detect.py finds what arrives in it")

    def flat(numbers: Iterable[int], box: Box) -> np.ndarray:
        """Probability that a sample is of any of these classes, (trace, sample)."""
        first, *others = (predicted.probability(number, box) for number in numbers)
        return sum(others, first).reshape(-1, box.shape[-1])

    if request.between:
        upper, lower = (predicted.number_of("between", name) for name in request.between)
        if upper == lower:
            raise UserError(f"--between={','.join(request.between)}: is one class; give two")
        if request.ordered and upper > lower:
            raise UserError(
                f"--between={','.join(request.between)}: --ordered counts classes from the top down; turn them"
            )
        above, below = [upper], [lower]
        if request.ordered:
            above, below = range(upper + 1), range(lower, max(predicted.num_classes, lower + 1))
        return lambda box: pick_horizon(flat(above, box), flat(below, box))
    flag, name = _boundary(request)
    number = predicted.number_of(flag, name)
    if flag == "along":
        return lambda box: pick_band(flat([number], box))

    def of_top_or_base(box: Box) -> Picks:
        own = flat([number], box)
        return pick_horizon(1 - own, own) if flag == "below" else pick_horizon(own, 1 - own)

    return of_top_or_base


def _boundary(request: Extraction) -> tuple[str, str]:
    """Which boundary of one class is asked for: the flag and the class."""
    return next((flag, name) for flag in ("below", "above", "along") if (name := getattr(request, flag)))


def extract_horizon(request: Extraction, predicted: Predicted, pick: Pick) -> str:
    """Write the picks of all live traces; returns a summary. Raises UserError."""
    assert request.horizons is not None
    volume = predicted.volume
    *across, vertical = volume.axes
    names = [axis.name for axis in across]
    cdp = [n for n in ("cdp_x", "cdp_y") if n in volume.arrays and volume.arrays[n].dimension_names == tuple(names)]
    is_table = request.horizons.suffix.lower() == ".csv"
    if not is_table:
        check_charisma("horizons", request.horizons, names, len(cdp) == 2)
    unit = f"_{vertical.unit}" if vertical.unit else ""
    counts = np.zeros(3, np.int64)  # traces, those with a pick, those with several

    def rows() -> Iterator[Columns]:
        for box, picks in _strips(request, predicted, pick):
            live = live_traces(volume, box).ravel()
            counts[:] += live.sum(), (picks.crossings[live] > 0).sum(), (picks.crossings[live] > 1).sum()
            if not is_table:
                live &= picks.crossings > 0
            places = zip(across, np.unravel_index(np.flatnonzero(live), box.shape), box.start, strict=True)
            columns = [numbers(np.asarray(axis.labels)[local + start]) for axis, local, start in places]
            columns += [numbers(volume.read(name, box).ravel()[live]) for name in cdp]
            columns.append(numbers(labels_at(vertical, picks.position[live])))
            yield [*columns, numbers(picks.confidence[live], 4), numbers(picks.crossings[live])]

    if is_table:
        write_table(request.horizons, [*names, *cdp, f"{vertical.name}{unit}", "confidence", "crossings"], rows())
    else:
        write_lines(request.horizons, (charisma_horizon(columns) for columns in rows()))
    if not counts[1]:
        _note_nothing_picked(request)
    return (
        f"{counts[1]} of {counts[0]} traces picked, {counts[2]} of them ambiguous (more than one crossing), "
        f"written to {request.horizons}"
    )


def _note_nothing_picked(request: Extraction) -> None:
    if request.between:
        hint = "" if request.ordered else "; where other classes lie between them, give --ordered"
        note(f"--between={','.join(request.between)}: no trace picked: the two never touch, in this order down{hint}")
    else:
        flag, name = _boundary(request)
        note(f"--{flag}={name}: no trace picked: the class has no such boundary inside any trace; look where it lies")


def _strips(request: Extraction, predicted: Predicted, pick: Pick) -> Iterator[tuple[Box, Picks]]:
    """Picks of traces in C order, in strips as thick as a chunk along the first axis and as long as the volume."""
    shape, chunk = predicted.volume.shape, predicted.layout.chunk
    samples = request.block_mebibytes * 2**20 // horizons.BYTES_PER_SAMPLE
    column = grow((*chunk[:-1], shape[-1]), (min(chunk[0], shape[0]), *shape[1:]), samples)
    strips = list(tiles(Box.whole(shape[:-1]), (chunk[0], *shape[1:-1])))
    with Progress(len(strips), "horizon", "strip") as progress:
        for strip in strips:
            found = Picks(*(np.zeros(strip.shape, dtype) for dtype in (np.float64, np.float32, np.int32)))
            for tile in tiles(strip, column[:-1]):
                box = Box((*tile.start, 0), (*tile.shape, shape[-1]))
                place = tile.relative_to(strip.start).slices
                for values, of_tile in zip(found, pick(box), strict=True):
                    values[place] = of_tile.reshape(tile.shape)
            yield strip, Picks(*(values.ravel() for values in found))
            progress.update()
