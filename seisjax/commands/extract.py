"""From a predicted volume to objects and horizons."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seisjax.commands.predicted import Predicted, ReadAhead
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape, grow, tiles
from seisjax.interpretation import components, horizons
from seisjax.interpretation.components import Objects, blocks_of, find_objects, touching
from seisjax.interpretation.field import labels_at, measure
from seisjax.interpretation.horizons import Picks, pick_horizon
from seisjax.interpretation.tables import Columns, numbers, object_columns, object_rows, write_table
from seisjax.reporting.progress import Progress
from seisjax.volumes import Volume, create_volume
from seisjax.volumes.creating import check_free
from seisjax.volumes.store import local_path

OBJECT_ID = "object_id"
_KEPT = ("prediction", "predicted_from", "region", "source_file", "header_bytes")


@dataclass(frozen=True)
class Extraction:
    """What is to be taken from a prediction; the fields are the flags of launch/extract.py."""

    predictions: str
    objects: str = ""
    table: Path | None = None
    class_name: str = ""
    threshold: float | None = None
    connectivity: int = 1
    min_size: int = 1
    horizons: Path | None = None
    between: tuple[str, ...] = ()
    below: str = ""
    above: str = ""
    block_mebibytes: int = 512
    overwrite: bool = False
    command: str = ""


def extract(request: Extraction) -> str:
    """Write objects, their table, and a horizon, whichever are asked for; returns a summary. Raises UserError."""
    _check(request)
    predicted = Predicted(request.predictions)
    lines = []
    # Both are looked up before anything is written.
    above_below = _classes_of_horizon(request, predicted) if request.horizons else None
    if request.objects or request.table:
        lines.append(_extract_objects(request, predicted, predicted.number_of("class", request.class_name)))
    if above_below:
        lines.append(_extract_horizon(request, predicted, *above_below))
    return "\n".join(lines)


def _check(request: Extraction) -> None:
    wants_objects = bool(request.objects or request.table)
    if not wants_objects and not request.horizons:
        raise UserError("nothing to extract: give --objects=VOLUME or --table=CSV of them, --horizons=CSV, or several")
    if wants_objects and not request.class_name:
        raise UserError("--objects and --table: give --class, the class whose objects are wanted")
    if request.horizons and sum(map(bool, (request.between, request.below, request.above))) != 1:
        raise UserError("--horizons: give one of --between=UPPER,LOWER, --below=CLASS and --above=CLASS")
    if request.between and len(request.between) != 2:
        raise UserError(f"--between={','.join(request.between)}: give two classes, the upper one first")
    if request.threshold is not None and not 0 < request.threshold <= 1:
        raise UserError(f"--threshold={request.threshold:g}: is a probability; give one above 0, at most 1")
    for path in (request.table, request.horizons):
        if path and path.exists() and not request.overwrite:
            raise UserError(f"{path}: exists; give --overwrite, or another path")
    if request.table and request.table == request.horizons:
        raise UserError(f"--horizons={request.horizons}: is the path of --table too; give another")
    if request.objects:
        if (local_path(request.objects) or request.objects) == (local_path(request.predictions) or request.predictions):
            raise UserError(f"--objects={request.objects}: is the prediction itself; choose another place")
        if local_path(request.objects) or not request.overwrite:  # else it would delete what stands there: not yet
            _check_free(request)


def _check_free(request: Extraction) -> None:
    try:
        check_free(request.objects, request.overwrite)
    except UserError as error:
        raise UserError(str(error).replace("--output", "--objects")) from error


# Objects.


def _extract_objects(request: Extraction, predicted: Predicted, number: int) -> str:
    if request.threshold is not None and not predicted.has_probabilities:
        raise UserError(f"--threshold: {request.predictions} holds no probabilities; leave it out")
    volume = predicted.volume
    samples = request.block_mebibytes * 2**20 // components.BYTES_PER_SAMPLE
    shard = grow(predicted.layout.chunk, tuple(map(min, predicted.layout.shard, volume.shape)), samples)
    block = grow(shard, volume.shape, samples)
    boxes = blocks_of(volume.shape, block)
    passes = 2 if request.objects else 1
    with (
        Progress(passes * len(boxes), "objects", "block") as progress,
        ReadAhead(predicted.members(number, request.threshold), boxes) as read,
    ):
        found = find_objects(
            read,
            volume.shape,
            block,
            structure=touching(len(volume.shape), request.connectivity, predicted.apart),
            min_size=request.min_size,
            progress=progress.update,
        )
        if request.objects:
            _write_objects(request, predicted, found, shard, boxes, progress.update)
        elif request.table:
            _write_object_table(request.table, request, predicted, found)
    written = " and ".join(str(path) for path in (request.objects, request.table) if path)
    sizes = found.table.size
    what = f"{len(found)} object{'s' if len(found) != 1 else ''} of {predicted.name_of(number)}"
    largest = f", the largest of {sizes[0]} samples" if len(found) else ""
    return f"{what}{largest}, {sizes.sum()} samples in all, written to {written}"


def _write_objects(
    request: Extraction, predicted: Predicted, found: Objects, shard: Shape, boxes: list[Box], progress: Callable
) -> None:
    source = predicted.volume
    number = predicted.number_of("class", request.class_name)
    own = {
        "class": predicted.name_of(number),
        "threshold": request.threshold,
        "connectivity": request.connectivity,
        "min_size": request.min_size,
        "number": len(found),
        "predictions": source.url,
        "command": request.command,
    }
    kept = {name: source.attributes[name] for name in _KEPT if name in source.attributes}
    with create_volume(
        request.objects,
        source.axes,
        dtype=None,
        chunk=predicted.layout.chunk,
        shard=shard,
        kind=source.kind,
        attributes=kept | {"objects": own},
        overwrite=request.overwrite,
    ) as volume:
        for name in predicted.trace_arrays():
            _copy(source, volume, name)
        volume.add_array(OBJECT_ID, np.uint32)
        for box in boxes:
            volume.write(OBJECT_ID, box, found.ids(box))
            progress()
        if request.table:  # of the two the one that can be whole first, so that neither is there without the other
            _write_object_table(request.table, request, predicted, found)


def _copy(source: Volume, target: Volume, name: str) -> None:
    """Copy a coordinate array or mask, shard by shard."""
    info = source.arrays[name]
    attributes = {key: value for key, value in info.attributes.items() if key != "coordinates"}
    target.add_array(name, info.dtype, dimension_names=info.dimension_names, attributes=attributes)
    for tile in tiles(Box.whole(info.shape), target.arrays[name].shard):
        target.write(name, tile, source.read(name, tile))


def _write_object_table(path: Path, request: Extraction, predicted: Predicted, found: Objects) -> None:
    places, unit = predicted.places()
    axes = predicted.volume.axes
    size = measure(predicted.axes_without_examples(), places, unit)
    name = predicted.name_of(predicted.number_of("class", request.class_name))
    write_table(path, object_columns(axes, places, size), object_rows(found.table, name, axes, places, size))


# Horizons.

Probability = Callable[[Box], np.ndarray]


def _classes_of_horizon(request: Extraction, predicted: Predicted) -> tuple[Probability, Probability]:
    """What reads the probabilities of what lies above the horizon, and of what lies below it."""
    if predicted.volume.kind == "recording":
        raise UserError(f"--horizons: {request.predictions} is a recording; launch/detect.py finds what arrives in it")
    if request.between:
        upper, lower = (predicted.number_of("between", name) for name in request.between)
        if upper == lower:
            raise UserError(f"--between={','.join(request.between)}: is one class; give two")
        return (lambda box: predicted.probability(upper, box)), (lambda box: predicted.probability(lower, box))
    flag = "below" if request.below else "above"
    number = predicted.number_of(flag, request.below or request.above)

    def of_class(box: Box) -> np.ndarray:
        return predicted.probability(number, box)

    def of_others(box: Box) -> np.ndarray:
        return 1 - predicted.probability(number, box)

    return (of_others, of_class) if request.below else (of_class, of_others)


def _extract_horizon(request: Extraction, predicted: Predicted, above: Probability, below: Probability) -> str:
    assert request.horizons is not None
    volume = predicted.volume
    *across, vertical = volume.axes
    names = [axis.name for axis in across]
    cdp = [n for n in ("cdp_x", "cdp_y") if n in volume.arrays and volume.arrays[n].dimension_names == tuple(names)]
    unit = f"_{vertical.unit}" if vertical.unit else ""
    counts = np.zeros(3, np.int64)  # traces, those with a pick, those with several

    def rows() -> Iterator[Columns]:
        for box, picks in _strips(request, predicted, above, below):
            live = predicted.live(box).ravel()
            counts[:] += live.sum(), (picks.crossings[live] > 0).sum(), (picks.crossings[live] > 1).sum()
            places = zip(across, np.unravel_index(np.flatnonzero(live), box.shape), box.start, strict=True)
            columns = [numbers(np.asarray(axis.labels)[local + start]) for axis, local, start in places]
            columns += [numbers(volume.read(name, box).ravel()[live]) for name in cdp]
            columns.append(numbers(labels_at(vertical, picks.position[live])))
            yield [*columns, numbers(picks.confidence[live], 4), numbers(picks.crossings[live])]

    write_table(request.horizons, [*names, *cdp, f"{vertical.name}{unit}", "confidence", "crossings"], rows())
    return (
        f"{counts[1]} of {counts[0]} traces picked, {counts[2]} of them ambiguous (more than one crossing), "
        f"written to {request.horizons}"
    )


def _strips(
    request: Extraction, predicted: Predicted, above: Probability, below: Probability
) -> Iterator[tuple[Box, Picks]]:
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
                flat = (read(box).reshape(-1, shape[-1]) for read in (above, below))
                place = tile.relative_to(strip.start).slices
                for values, of_tile in zip(found, pick_horizon(*flat), strict=True):
                    values[place] = of_tile.reshape(tile.shape)
            yield strip, Picks(*(values.ravel() for values in found))
            progress.update()
