"""Fault sticks out of a predicted volume: lines through its objects, on some of its sections."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from seisjax.commands.places import trace_places
from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.interpretation.components import Objects
from seisjax.interpretation.fault_sticks import sticks_through
from seisjax.interpretation.field import Grid, labels_at
from seisjax.interpretation.frame import Frame
from seisjax.interpretation.tables import (
    Columns,
    charisma_sticks,
    check_charisma,
    numbers,
    write_lines,
    write_table,
)
from seisjax.volumes import Volume


class StickFile:
    """A file of sticks, CSV or Charisma, by its name."""

    def __init__(self, path: Path, volume: Volume, every: int):
        """every: sections between two that sticks are drawn on. Raises UserError where the volume is not fit for it."""
        places, _ = trace_places(volume)
        self.path, self.every = path, every
        self.grid = places if isinstance(places, Grid) else None
        self.frame = Frame(volume.url, volume.axes, self.grid)
        self.is_table = path.suffix.lower() == ".csv"
        if not self.is_table:
            check_charisma("sticks", path, [axis.name for axis in volume.axes[:-1]], self.grid is not None)

    def write(self, found: Objects, boxes: list[Box], progress: Callable[[], None]) -> None:
        """Write the sticks of all objects: on inlines those of objects that span more inlines than crosslines, the
        others on crosslines. Raises UserError where there is none. In memory are the samples on these sections."""
        extent = found.table.high - found.table.low
        axis_of = np.append(0, np.where(extent[:, 0] >= extent[:, 1], 0, 1))  # by object number
        samples = []
        for box in boxes:
            samples.append(self._on_sections(found.ids(box), box, axis_of))
            progress()
        rows = np.concatenate(samples)
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
        columns = list(self._columns(rows, axis_of))
        if not columns:
            raise UserError(f"--sticks={self.path}: no object spans a section; lower --every or --min_size")
        if self.is_table:
            names = ["fault", "stick", "inline", "crossline", *(["x", "y"] if self.grid else [])]
            write_table(self.path, [*names, f"{self.frame.vertical.name}_{self.frame.unit}"], columns)
        else:
            write_lines(self.path, map(charisma_sticks, columns))

    def _on_sections(self, ids: np.ndarray, box: Box, axis_of: np.ndarray) -> np.ndarray:
        """Object, section, place along it and sample, (row, 4), of the samples on the sections that are drawn on."""
        found = [np.zeros((0, 4), np.int64)]
        for axis in (0, 1):
            first = -box.start[axis] % self.every
            cut = ids[first :: self.every] if axis == 0 else ids[:, first :: self.every]
            places = np.argwhere(cut)
            numbers_there = cut[tuple(places.T)].astype(np.int64)
            own = axis_of[numbers_there] == axis
            section = places[own, axis] * self.every + first + box.start[axis]
            along = places[own, 1 - axis] + box.start[1 - axis]
            found.append(np.stack([numbers_there[own], section, along, places[own, 2] + box.start[2]], axis=1))
        return np.concatenate(found)

    def _columns(self, rows: np.ndarray, axis_of: np.ndarray) -> Iterator[Columns]:
        """Text of the sticks; `rows` as `_on_sections` gives them, sorted."""
        starts = np.flatnonzero(np.any(np.diff(rows[:, :2], axis=0, prepend=-1), axis=1))
        before, stick_number = 0, 0
        for part in np.split(rows, starts[1:]) if len(rows) else []:
            number, section = part[0, :2]
            for stick in sticks_through(part[:, 2], part[:, 3]):
                stick_number = stick_number + 1 if number == before else 1
                before = number
                places = np.insert(stick[:, :1], axis_of[number], section, axis=1)
                across = [labels_at(axis, column) for axis, column in zip(self.frame.axes, places.T, strict=False)]
                columns = [[f"fault_{number}"] * len(stick), [str(stick_number)] * len(stick)]
                columns += [numbers(values if self.is_table else np.rint(values), 3) for values in across]
                columns += [numbers(values, 3) for values in self.grid.places(places).T] if self.grid else []
                yield [*columns, numbers(labels_at(self.frame.vertical, stick[:, 1]), 3)]
