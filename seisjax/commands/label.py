"""From horizons, fault sticks and polygons to labels of a survey."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from seisjax.commands.places import copy_array, live_traces, trace_arrays, trace_places
from seisjax.conventions import IGNORE, LABELS_PREFIX
from seisjax.errors import UserError, nearest
from seisjax.geometry import Box, parse_region
from seisjax.interpretation.fault_sticks import Surface, faults_of
from seisjax.interpretation.field import Grid, step
from seisjax.interpretation.frame import Frame
from seisjax.interpretation.horizon_labels import Horizon, area_labels, band_labels, check_order, map_horizon
from seisjax.interpretation.polygons import BACKGROUND, Polygon, polygons_of
from seisjax.interpretation.text import UNITS, read_points
from seisjax.reporting.progress import Progress
from seisjax.volumes import Volume, create_volume, open_volume
from seisjax.volumes.store import same_place

FAULT = "fault"


@dataclass(frozen=True)
class Labelling:
    """What labels are to be made of; the fields are the flags of launch/label.py."""

    input: str
    output: str = ""
    label_name: str = "interpretation"
    horizons: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    polygons: tuple[str, ...] = ()
    kind: str = "bands"
    width: str = "3samples"
    unit: str = ""
    interpreted: str = ""
    background: bool = True
    class_names: tuple[str, ...] = ()
    fill: float = 0
    duplicates: str = "refuse"
    outside: str = "refuse"
    overwrite: bool = False
    command: str = ""


def label(request: Labelling) -> str:
    """Write the labels, as an array of the survey or as a volume of their own; returns a summary. Raises UserError."""
    _check(request)
    survey = open_volume(request.input)
    grid, _ = trace_places(survey)
    painter = Painter(request, Frame(survey.url, survey.axes, grid if isinstance(grid, Grid) else None))
    name = LABELS_PREFIX + request.label_name
    with _target(request, survey) as volume:
        made_of = {f: list(getattr(request, f)) for f in ("horizons", "faults", "polygons") if getattr(request, f)}
        made_of |= {"kind": request.kind, "width_samples": painter.width, "command": request.command}
        volume.add_array(name, np.uint8, attributes={"class_names": painter.class_names, "interpretation": made_of})
        boxes = list(volume.shards(name))
        labelled = 0
        with Progress(len(boxes), "label", "shard") as progress:
            for box in boxes:
                labels = painter.paint(box)
                labels[~live_traces(survey, Box(box.start[:-1], box.shape[:-1]))] = IGNORE
                count = np.count_nonzero(labels != IGNORE)
                if count:  # what is not written reads as IGNORE
                    volume.write(name, box, labels)
                labelled += count
                progress.update()
        if not labelled:
            raise UserError(f"{request.input}: no sample would be labelled; check files, --interpreted and --fill")
    counts = zip(painter.class_names, volume.label_index(name).histogram, strict=True)
    shares = ", ".join(f"{label} {count}" for label, count in counts)
    return f"{labelled / np.prod(survey.shape):.2%} of the samples labelled ({shares}), written to {volume.url}/{name}"


def _check(request: Labelling) -> None:
    if not request.horizons + request.faults + request.polygons:
        raise UserError("nothing to label with: give --horizons, --faults or --polygons")
    if not request.label_name.isidentifier():
        raise UserError(f"--label_name={request.label_name}: not a name; use letters, digits and _")
    if request.kind == "areas" and not request.horizons:
        raise UserError("--kind=areas: lie between horizons; give --horizons, from the top down")
    if request.output and same_place(request.output, request.input):
        raise UserError(f"--output={request.output}: is the survey itself; leave --output out to add labels to it")


@contextmanager
def _target(request: Labelling, survey: Volume) -> Iterator[Volume]:
    """The volume that gets the labels: the survey itself, or one of labels alone on its axes."""
    if not request.output:
        with survey:
            yield survey
        return
    kept = {key: survey.attributes[key] for key in ("source_file", "header_bytes") if key in survey.attributes}
    with create_volume(
        request.output,
        survey.axes,
        dtype=None,
        attributes=kept | {"labels_of": survey.url},
        overwrite=request.overwrite,
    ) as volume:
        for name in trace_arrays(survey):
            copy_array(survey, volume, name)
        yield volume


class Painter:
    """Horizons, faults and polygons in samples, and the labels that they make of any box.

    Horizons come first, polygons over them, faults over both. Classes are numbered in this order: the background or
    the area above the first horizon, horizons or areas from the top down, faults, then the classes of polygons.
    """

    def __init__(self, request: Labelling, frame: Frame):
        """Reads all files. Raises UserError for what is wrong with them."""
        self.frame, self.areas, self.background = frame, request.kind == "areas", request.background
        self.width = parse_width(request.width, frame)
        self.regions = [parse_region(part, frame.axes) for part in request.interpreted.split(";") if part.strip()]
        options = {"unit": request.unit, "duplicates": request.duplicates, "outside": request.outside}
        vertical = frame.vertical.name
        horizons = [
            map_horizon(read_points(path, "horizon", vertical), frame, fill=request.fill, **options)
            for path in request.horizons
        ]
        if self.areas:
            check_order(horizons, frame)
        self.horizons = np.stack([h.position for h in horizons]) if horizons else np.zeros((0, *frame.shape[:2]))
        self.class_names = self._name_classes(request, horizons)
        self.surface = self._surface(request) if request.faults else None
        self.polygons: list[Polygon] = []
        for path in request.polygons:
            points = read_points(path, "polygon", vertical)
            self.polygons += polygons_of(points, frame.index(points, request.unit), frame, self._number_of(request))

    def _name_classes(self, request: Labelling, horizons: Sequence[Horizon]) -> list[str]:
        names = [horizon.name for horizon in horizons]
        if self.areas:
            between = [f"{upper} to {lower}" for upper, lower in zip(names, names[1:], strict=False)]
            own = [f"above {names[0]}", *between, f"below {names[-1]}"]
        else:
            own = [BACKGROUND] * self.background + names
        own += [FAULT] * bool(request.faults)
        self._fixed = len(own)  # classes before those of polygons; of them the last is that of faults
        given = [name.strip() for name in request.class_names]
        if given and (len(given) < len(own) or (len(given) > len(own) and not request.polygons)):
            raise UserError(f"--class_names: {len(given)} names where there are {len(own)}: {', '.join(own)}")
        found = given or own
        repeated = {name for name in found if found.count(name) > 1}
        if repeated:
            raise UserError(f"two classes are called {repeated.pop()}; rename a file or give --class_names")
        return found

    def _surface(self, request: Labelling) -> Surface:
        faults = []
        for path in request.faults:
            points = read_points(path, "fault", self.frame.vertical.name)
            index = self.frame.index(points, request.unit)
            if (index.min(axis=0) > np.array(self.frame.shape) - 1).any() or (index.max(axis=0) < 0).any():
                raise UserError(
                    f"{points.at(0)}: this and all other sticks lie outside {self.frame.url} ({self.frame}); check "
                    "--unit and the places"
                )
            faults += faults_of(points, index)
        return Surface(faults, self.width)

    def _number_of(self, request: Labelling):
        def number(where: str, name: str) -> int:
            if name in self.class_names:
                return self.class_names.index(name)
            if request.class_names and name.isdecimal() and int(name) < len(self.class_names):
                return int(name)
            if request.class_names:
                raise UserError(f"{where}: no class '{name}' among --class_names{nearest(name, self.class_names)}")
            self.class_names.append(name)
            if len(self.class_names) > IGNORE:
                raise UserError(f"{where}: more than {IGNORE} classes")
            return len(self.class_names) - 1

        return number

    def paint(self, box: Box) -> np.ndarray:
        """The labels of a box, uint8."""
        labels = self._base(box)
        for polygon in self.polygons:
            self._paint_polygon(polygon, box, labels)
        if self.surface:
            labels[self.surface.near(box)] = self._fixed - 1
        if self.regions:
            inside = np.zeros(box.shape, bool)
            for region in self.regions:
                inside[region.intersect(box).relative_to(box.start).slices] = True
            labels[~inside] = IGNORE
        return labels

    def _base(self, box: Box) -> np.ndarray:
        """What horizons label, a section at a time; without horizons the background, where there are faults."""
        labels = np.full(box.shape, IGNORE, np.uint8)
        if not len(self.horizons):
            if self.background and self.surface:
                labels[:] = 0
            return labels
        samples = np.arange(box.start[2], box.stop[2])
        across = slice(box.start[1], box.stop[1])
        for section, inline in zip(labels, range(box.start[0], box.stop[0]), strict=True):
            positions = self.horizons[:, inline, across]
            if self.areas:
                section[:] = area_labels(positions, samples)
            else:
                section[:] = band_labels(positions, samples, self.width, int(self.background), self.background)
        return labels

    def _paint_polygon(self, polygon: Polygon, box: Box, labels: np.ndarray) -> None:
        found = polygon.inside(box)
        if found is None:
            return
        section, inside = found
        part = labels[section.relative_to(box.start).slices]
        if self.background and not self.areas and not len(self.horizons):
            part[part == IGNORE] = 0
        part[inside] = polygon.number


def parse_width(text: str, frame: Frame) -> float:
    """A width such as 3samples, 20ms or 15m, in samples; a mere number is in the unit of the vertical axis.

    Raises UserError for what is no width, and for one of less than a sample.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", text)
    known = UNITS[frame.vertical.name]
    unit = (match[2] if match else "") or frame.unit
    if match is None or (unit not in ("sample", "samples", frame.unit) and unit not in known):
        raise UserError(f"--width={text}: is no width; write e.g. 3samples or 20{frame.unit}")
    width = float(match[1])
    if unit not in ("sample", "samples"):
        scale = 1.0 if unit == frame.unit else known[unit] / known[frame.unit]
        width *= scale / step(frame.vertical)
    if width < 1:
        raise UserError(f"--width={text}: is less than a sample ({step(frame.vertical):g} {frame.unit}); give more")
    return width
