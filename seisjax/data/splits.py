"""Which part of a volume trains, validates and tests, and the proof that the parts keep apart."""

from collections.abc import Sequence

from seisjax.errors import UserError
from seisjax.geometry import Box, check_disjoint, parse_regions, section_windows
from seisjax.volumes import Volume


def resolve_splits(
    volume: Volume,
    train: str,
    validation: str,
    test: str,
    window: Sequence[int],
    gap: int,
    directions: Sequence[str] = (),
) -> dict[str, tuple[Box, ...]]:
    """The regions of the splits that are named, as boxes: "train", and "validation" and "test" unless empty.

    Args:
      train, validation, test: regions in coordinate labels, parted by ";".
      window: samples along each axis.
      gap: samples that must lie between two splits along some axis; -1: the window's side along that axis, the
        longest of all directions.
      directions: axes that training sections are cut across; empty: the window as it is.

    No window of any direction reads outside the region that it was drawn in, context and overhang included, so
    regions that keep apart, each of one split from each of another, prove that no sample is shared.
    Raises UserError for a window that does not suit the volume, no training region, a region that cannot be read,
    regions of one split that overlap, and two splits that come too near or cross each other.
    """
    check_window(volume, window)
    if not train.strip():
        raise UserError(f"data.train: no region is given; write e.g. data.train='{volume.axes[0]}'")
    texts = {"train": train, "validation": validation, "test": test}
    splits = {}
    for name, text in texts.items():
        if text.strip():
            try:
                splits[name] = parse_regions(text, volume.axes)
            except UserError as error:
                raise UserError(f"data.{name}: {error}") from error
    check_disjoint(splits, split_gaps(volume, window, gap, directions), volume.axes)
    return splits


def split_gaps(volume: Volume, window: Sequence[int], gap: int, directions: Sequence[str]) -> list[int]:
    """Samples that must lie between two splits along each axis; arguments and errors are those of `resolve_splits`."""
    windows = [tuple(window), *section_windows(window, directions, volume.axes)]
    longest = [max(sides) for sides in zip(*windows, strict=True)]
    return longest if gap < 0 else [gap] * len(window)


def check_window(volume: Volume, window: Sequence[int]) -> None:
    """Raise UserError unless the window has one side of at least 1 an axis and fits into the volume."""
    names = ", ".join(axis.name for axis in volume.axes)
    if len(window) != len(volume.shape) or min(window) < 1:
        raise UserError(
            f"data.window={tuple(window)}: the volume has {len(volume.shape)} axes ({names}); "
            "give one side of at least 1 sample for each"
        )
    for axis, side, length in zip(volume.axes, window, volume.shape, strict=True):
        if side > length:
            raise UserError(
                f"data.window={tuple(window)}: its {side} samples along {axis.name} are more than the volume's "
                f"{length}; use at most {length} there"
            )
