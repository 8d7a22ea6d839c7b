"""From a predicted volume to objects and horizons."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from seisjax.commands.extract_horizon import classes_of_horizon, extract_horizon
from seisjax.commands.extract_polygons import extract_polygons
from seisjax.commands.extract_sticks import StickFile
from seisjax.commands.extraction import Extraction, check
from seisjax.commands.places import copy_array, trace_arrays, trace_places
from seisjax.commands.predicted import Predicted, ReadAhead
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape, grow
from seisjax.interpretation import components
from seisjax.interpretation.components import Objects, blocks_of, find_objects, touching
from seisjax.interpretation.field import measure
from seisjax.interpretation.tables import object_columns, object_rows, write_table
from seisjax.reporting.progress import Progress
from seisjax.volumes import create_volume

__all__ = ["Extraction", "extract"]

OBJECT_ID = "object_id"
_KEPT = ("prediction", "predicted_from", "region", "source_file", "header_bytes")


def extract(request: Extraction) -> str:
    """Write objects, their table, sticks and a horizon, what is asked for; returns a summary. Raises UserError."""
    check(request)
    predicted = Predicted(request.predictions, request.labels)
    lines = []
    # All are looked up before anything is written.
    pick = classes_of_horizon(request, predicted) if request.horizons else None
    if request.objects or request.table or request.sticks:
        lines.append(_extract_objects(request, predicted, predicted.number_of("class", request.class_name)))
    if request.polygons:
        number = predicted.number_of("class", request.class_name)
        lines.append(extract_polygons(request.polygons, request, predicted, number))
    if pick:
        lines.append(extract_horizon(request, predicted, pick))
    return "\n".join(lines)


def _extract_objects(request: Extraction, predicted: Predicted, number: int) -> str:
    if request.threshold is not None and not predicted.has_probabilities:
        raise UserError(f"--threshold: {request.predictions} holds no probabilities; leave it out")
    volume = predicted.volume
    samples = request.block_mebibytes * 2**20 // components.BYTES_PER_SAMPLE
    shard = grow(predicted.layout.chunk, tuple(map(min, predicted.layout.shard, volume.shape)), samples)
    block = grow(shard, volume.shape, samples)
    boxes = blocks_of(volume.shape, block)
    passes = 1 + bool(request.objects) + bool(request.sticks)
    sticks = StickFile(request.sticks, predicted.volume, request.every) if request.sticks else None
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
        if sticks:
            sticks.write(found, boxes, progress.update)
        if request.objects:
            _write_objects(request, predicted, found, shard, boxes, progress.update)
        elif request.table:
            _write_object_table(request.table, request, predicted, found)
    written = " and ".join(str(path) for path in (request.objects, request.table, request.sticks) if path)
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
        for name in trace_arrays(source):
            copy_array(source, volume, name)
        volume.add_array(OBJECT_ID, np.uint32)
        for box in boxes:
            volume.write(OBJECT_ID, box, found.ids(box))
            progress()
        if request.table:  # of the two the one that can be whole first, so that neither is there without the other
            _write_object_table(request.table, request, predicted, found)


def _write_object_table(path: Path, request: Extraction, predicted: Predicted, found: Objects) -> None:
    places, unit = trace_places(predicted.volume)
    axes = predicted.volume.axes
    size = measure(predicted.axes_without_examples(), places, unit)
    name = predicted.name_of(predicted.number_of("class", request.class_name))
    write_table(path, object_columns(axes, places, size), object_rows(found.table, name, axes, places, size))
