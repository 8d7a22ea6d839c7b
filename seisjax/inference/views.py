"""How a volume is cut into windows for a network, and with what weights their results are put together."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seisjax.errors import UserError, nearest
from seisjax.geometry import (
    Axis,
    Box,
    Lattice,
    Shape,
    for_each,
    lattice_stride,
    put_back,
    section_axis,
    section_windows,
)

BLENDS = ("linear", "uniform", "crop")


@dataclass(frozen=True)
class Cutting:
    """What decides on the windows of a prediction.

    window, padded: sides of the network's windows, and of the images it is given; what is beyond the window is NaN.
    overlap: share of a window's side that neighbours share. multiple: windows stand on a grid of so many samples, that
    of the network's pooling; this and `radius` are one number for all sides of the window or one each. directions: axes
    across which sections are cut, each in turn, and their results averaged; none: those across which `window` has a
    side of 1. neighbours: sections on either side that the network sees too, as channels.
    blend: weights where windows overlap: "linear" falls from the middle to the faces, "uniform" is 1 everywhere, and
    "crop" leaves out `radius` samples at all faces that do not lie at the volume's end, beyond which the network does
    not see: then what is left equals that of one window as large as the volume (or as `window`, where that is longer).
    """

    window: Shape
    padded: Shape
    multiple: int | Shape = 1
    overlap: float = 0.5
    blend: str = "linear"
    radius: int | Shape = 0
    directions: tuple[str, ...] = ()
    neighbours: int = 0

    @property
    def image_shape(self) -> Shape:
        """Sides and channels of the images that the network is given."""
        return (*self.padded, 1 + 2 * self.neighbours)

    @property
    def cut(self) -> Shape:
        """Sides of the windows that are cut: the whole image where they are cropped, for what is beyond the window
        would be taken for what is beyond the volume."""
        return self.padded if self.blend == "crop" else self.window

    def views(self, axes: Sequence[Axis]) -> list["View"]:
        """The lattices of a volume with these axes. Raises UserError for windows that cannot be cut so."""
        if self.blend not in BLENDS:
            raise UserError(f"--blend={self.blend}: unknown{nearest(self.blend, BLENDS)}")
        windows = section_windows(self.window, self.directions, axes, "--directions")
        if self.blend == "crop":
            windows = tuple(self.turned(self.padded, window) for window in windows)
        return [View.of(self, window, tuple(len(axis) for axis in axes)) for window in windows]

    def turned(self, sides: int | Shape, window: Shape) -> Shape:
        """Numbers for the network's window as those of a window cut in another direction; 1 for sides of 1."""
        given = zip(for_each(sides, self.window), self.window, strict=True)
        return put_back(window, [number for number, side in given if side > 1])


@dataclass(frozen=True, eq=False)
class View:
    """A lattice of windows over a volume, with weights that add up to 1 in every sample.

    moved: axis of the volume that becomes another one of the network's window, for sections of another direction.
    profiles: along each axis the weights of the windows that start there, float64; a sample's weight is their product.
    context: along each axis the samples beyond a window, on either side, that the network sees.
    """

    lattice: Lattice
    moved: tuple[int, int]
    profiles: tuple[dict[int, np.ndarray], ...]
    context: Shape

    @classmethod
    def of(cls, cutting: Cutting, window: Shape, shape: Shape) -> "View":
        """The view that cuts windows of these sides; see `Cutting`."""
        multiple, radius = (cutting.turned(numbers, window) for numbers in (cutting.multiple, cutting.radius))
        stride = lattice_stride(window, cutting.overlap, multiple)
        if cutting.blend == "crop":
            stride = _cropped_stride(window, multiple, radius, shape)
        multiple = tuple(m if step % m == 0 else step for m, step in zip(multiple, stride, strict=True))
        lattice = Lattice(shape, window, stride, multiple=multiple)
        moved = (window.index(1), cutting.window.index(1)) if cutting.directions else (0, 0)
        profiles = tuple(_profiles(lattice, axis, cutting.blend, radius[axis]) for axis in range(len(shape)))
        across = section_axis(window)
        context = tuple(cutting.neighbours if axis == across else 0 for axis in range(len(shape)))
        return cls(lattice, moved, profiles, context)

    def reads(self, window: Box) -> Box:
        """What the network sees of a window: its samples and its context, which may lie beyond the volume."""
        start = map(operator.sub, window.start, self.context)
        return Box.between(tuple(start), tuple(map(operator.add, window.stop, self.context)))

    def hull(self, box: Box) -> Box:
        """The smallest box that holds all that is read for windows that share a sample with `box`."""
        hull = self.lattice.hull(box)
        return self.reads(hull) if hull.size else hull

    def labelled(self, samples: np.ndarray) -> np.ndarray:
        """What was read of a window without its context."""
        sides = zip(samples.shape, self.context, strict=True)
        return samples[tuple(slice(beyond, side - beyond) for side, beyond in sides)]

    def to_network(self, samples: np.ndarray) -> np.ndarray:
        """What was read of a window as an image (*window, channels), as the network's axes lie."""
        image = samples[..., None]
        for axis, beyond in enumerate(self.context):
            image = np.swapaxes(image, axis, -1) if beyond else image
        return np.moveaxis(image, *self.moved)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """What the network says of a window, as the volume's axes lie."""
        return np.moveaxis(values, *reversed(self.moved))


def crop_radius(blend: str, radius: int | Shape | None, where: str) -> int | Shape:
    """Samples to leave out at a window's faces: the network's receptive radius for "crop", 0 for other blends.

    radius: None where the network sees whole windows; then "crop" raises UserError, which says `where` the network is.
    """
    if blend != "crop":
        return 0
    if radius is None:
        raise UserError(
            f"--blend=crop: {where} sees whole windows (norm, normalisation or vertical position); use --blend=linear"
        )
    return radius


def hull(views: Sequence[View], box: Box) -> Box:
    """The smallest box that holds all that is read for windows that share a sample with `box`, of which there are."""
    hulls = [found for view in views if (found := view.hull(box)).size]
    first = [min(sides) for sides in zip(*(found.start for found in hulls), strict=True)]
    past = [max(sides) for sides in zip(*(found.stop for found in hulls), strict=True)]
    return Box.between(first, past)


def _profiles(lattice: Lattice, axis: int, blend: str, radius: int) -> dict[int, np.ndarray]:
    """Weights along one axis of the windows of a lattice, by where they start; they add up to 1."""
    side, starts = lattice.window[axis], lattice.starts[axis]
    unscaled = {start: _unscaled(lattice, axis, start, blend, radius) for start in starts}
    total = np.zeros(starts[-1] + side)
    for start, profile in unscaled.items():
        total[start : start + side] += profile
    return {start: profile / total[start : start + side] for start, profile in unscaled.items()}


def _unscaled(lattice: Lattice, axis: int, start: int, blend: str, radius: int) -> np.ndarray:
    """Weights along one axis of the window that starts there."""
    side = lattice.window[axis]
    if blend == "linear":
        return 1.0 - np.abs(np.arange(side) + 0.5 - side / 2) * (2 / (side + 1))
    weights = np.ones(side)
    if blend == "crop" and side > 1:  # across sections there is nothing to leave out
        starts = lattice.starts[axis]
        weights[: radius if start > starts[0] else 0] = 0
        weights[side - radius if start < starts[-1] else side :] = 0
    return weights


def _cropped_stride(window: Shape, multiple: Shape, radius: Shape, shape: Shape) -> Shape:
    """The longest strides at which what is left of windows still covers the volume."""
    strides = []
    for side, m, r, extent in zip(window, multiple, radius, shape, strict=True):
        left = (side - 2 * r) // m * m
        if side == 1 or extent <= side:
            strides.append(side)
        elif left <= 0:
            raise UserError(
                f"--blend=crop: {r} samples at each face of a window are left out, and of {side} nothing remains; "
                f"predict with --blend=linear, or train on windows of at least {2 * r + m}"
            )
        else:
            strides.append(left)
    return tuple(strides)
