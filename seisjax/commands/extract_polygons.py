"""Polygons around a class of a predicted volume, on some of its inlines."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seisjax.commands.extraction import Extraction
from seisjax.commands.predicted import Predicted
from seisjax.geometry import Box
from seisjax.interpretation.field import labels_at
from seisjax.interpretation.frame import Frame
from seisjax.interpretation.polygons import BACKGROUND, outlines_of
from seisjax.interpretation.tables import Columns, numbers, quoted, write_table
from seisjax.reporting.progress import Progress


def extract_polygons(path: Path, request: Extraction, predicted: Predicted, number: int) -> str:
    """Write the outlines of a class on every so many inlines as CSV; returns a summary. Raises UserError.

    Holes are polygons of the class "background", after what they lie in. In memory is one section.
    """
    frame = Frame(predicted.volume.url, predicted.volume.axes)
    members = predicted.members(number, request.threshold)
    lines = range(0, frame.shape[0], request.every)
    counts = np.zeros(2, np.int64)  # polygons, and the inlines that have any

    def rows() -> Iterator[Columns]:
        with Progress(len(lines), "polygons", "section") as progress:
            for line in lines:
                rings = outlines_of(members(Box((line, 0, 0), (1, *frame.shape[1:])))[0])
                counts[1] += bool(rings)
                for ring, is_hole in rings:
                    counts[0] += 1
                    name = BACKGROUND if is_hole else predicted.name_of(number)
                    places = np.insert(ring, 0, line, axis=1)
                    columns = [[str(counts[0])] * len(ring), [quoted(name)] * len(ring)]
                    yield columns + [
                        numbers(labels_at(axis, column)) for axis, column in zip(frame.axes, places.T, strict=True)
                    ]
                progress.update()

    write_table(path, ["polygon", "class", "inline", "crossline", f"{frame.vertical.name}_{frame.unit}"], rows())
    return (
        f"{counts[0]} polygons of {predicted.name_of(number)} on {counts[1]} of {len(lines)} inlines, written to {path}"
    )
