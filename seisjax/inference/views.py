"""How a volume is cut into windows for a network, and with what weights their results are put together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seisjax.errors import UserError, nearest
from seisjax.geometry import Axis, Box, Lattice, Shape, lattice_stride, section_windows

BLENDS = ("linear", "uniform", "crop")


@dataclass(frozen=True)
class Cutting:
    """What decides on the windows of a prediction.

    window, padded: sides of the network's windows, and of the images it is given; what is beyond the window is NaN.
    overlap: share of a window's side that neighbours share. multiple: windows stand on a grid of so many samples, that
    of the network's pooling. directions: axes across which sections are cut, each in turn, and their results averaged;
    none: those across which `window` has a side of 1.
    blend: weights where windows overlap: "linear" falls from the middle to the faces, "uniform" is 1 everywhere, and
    "crop" leaves out `radius` samples at all faces that do not lie at the volume's end, beyond which the network does
    not see: then what is left equals that of one window as large as the volume (or as `window`, where that is longer).
    """

    window: Shape
    padded: Shape
    multiple: int = 1
    overlap: float = 0.5
    blend: str = "linear"
    radius: int = 0
    directions: tuple[str, ...] = ()

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
            windows = tuple(_filled(window, self.padded) for window in windows)
        return [View.of(self, window, tuple(len(axis) for axis in axes)) for window in windows]


@dataclass(frozen=True, eq=False)
class View:
    """A lattice of windows over a volume, with weights that add up to 1 in every sample.

    moved: axis of the volume that becomes another one of the network's window, for sections of another direction.
    profiles: along each axis the weights of the windows that start there, float64; a sample's weight is their product.
    """

    lattice: Lattice
    moved: tuple[int, int]
    profiles: tuple[dict[int, np.ndarray], ...]

    @classmethod
    def of(cls, cutting: Cutting, window: Shape, shape: Shape) -> "View":
        """The view that cuts windows of these sides; see `Cutting`."""
        stride = lattice_stride(window, cutting.overlap, cutting.multiple)
        if cutting.blend == "crop":
            stride = _cropped_stride(cutting, window, shape)
        multiple = tuple(cutting.multiple if step % cutting.multiple == 0 else step for step in stride)
        lattice = Lattice(shape, window, stride, multiple=multiple)
        moved = (window.index(1), cutting.window.index(1)) if cutting.directions else (0, 0)
        profiles = tuple(_profiles(lattice, axis, cutting) for axis in range(len(shape)))
        return cls(lattice, moved, profiles)

    def to_network(self, values: np.ndarray) -> np.ndarray:
        """A window's samples, as the network's axes lie."""
        return np.moveaxis(values, *self.moved)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """What the network says of a window, as the volume's axes lie."""
        return np.moveaxis(values, *reversed(self.moved))


def crop_radius(blend: str, radius: int | None, where: str) -> int:
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
    """The smallest box that holds all windows of some lattices that share a sample with `box`, of which there are."""
    hulls = [found for view in views if (found := view.lattice.hull(box)).size]
    first = [min(sides) for sides in zip(*(found.start for found in hulls), strict=True)]
    past = [max(sides) for sides in zip(*(found.stop for found in hulls), strict=True)]
    return Box.between(first, past)


def _profiles(lattice: Lattice, axis: int, cutting: Cutting) -> dict[int, np.ndarray]:
    """Weights along one axis of the windows of a lattice, by where they start; they add up to 1."""
    side, starts = lattice.window[axis], lattice.starts[axis]
    unscaled = {start: _unscaled(lattice, axis, start, cutting.blend, cutting.radius) for start in starts}
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


def _filled(window: Shape, padded: Shape) -> Shape:
    """The window with the long sides of `padded` in place of its own, in their order."""
    long = iter([side for side in padded if side > 1])
    return tuple(side if side == 1 else next(long) for side in window)


def _cropped_stride(cutting: Cutting, window: Shape, shape: Shape) -> Shape:
    """The longest strides at which what is left of windows still covers the volume."""
    strides = []
    for side, extent in zip(window, shape, strict=True):
        left = (side - 2 * cutting.radius) // cutting.multiple * cutting.multiple
        if side == 1 or extent <= side:
            strides.append(side)
        elif left <= 0:
            raise UserError(
                f"--blend=crop: {cutting.radius} samples at each face of a window are left out, and of "
                f"{side} nothing remains; predict with --blend=linear, or train on windows of at least "
                f"{2 * cutting.radius + cutting.multiple}"
            )
        else:
            strides.append(left)
    return tuple(strides)
