"""Which part of a volume trains, validates and tests, and the proof that the parts keep apart."""

from collections.abc import Sequence

import numpy as np

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.geometry import Box, check_disjoint, parse_region
from seisjax.volumes import LabelIndex, Volume


def resolve_splits(
    volume: Volume, train: str, validation: str, test: str, window: Sequence[int], gap: int
) -> dict[str, Box]:
    """The regions of the splits that are named, as boxes: "train", and "validation" and "test" unless empty.

    Args:
      train, validation, test: regions in coordinate labels.
      window: samples along each axis.
      gap: samples that must lie between two splits along some axis; -1: the window's side along that axis.

    No window reads outside its region, so regions that keep apart prove that no sample is shared.
    Raises UserError for a window that does not suit the volume, no training region, a region that cannot be read,
    and two splits that come too near.
    """
    check_window(volume, window)
    if not train.strip():
        raise UserError(f"data.train: no region is given; write e.g. data.train='{volume.axes[0]}'")
    texts = {"train": train, "validation": validation, "test": test}
    splits = {}
    for name, text in texts.items():
        if text.strip():
            try:
                splits[name] = parse_region(text, volume.axes)
            except UserError as error:
                raise UserError(f"data.{name}: {error}") from error
    check_disjoint(splits, window if gap < 0 else [gap] * len(window), volume.axes)
    return splits


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


def check_labelled(volume: Volume, labels: str, splits: dict[str, Box]) -> None:
    """Raise UserError if a split holds no labelled sample at all.

    Exact, and cheap: the label index answers for chunks that lie wholly inside a split; of the others only those with
    labels are read, until the first labelled sample.
    """
    index = volume.label_index(labels)
    for name, region in splits.items():
        if not _is_labelled(volume, labels, region, index):
            raise UserError(
                f"data.{name}: no sample of labels '{labels}' is labelled there (all are {IGNORE}); "
                "choose another region or other labels"
            )


def _is_labelled(volume: Volume, labels: str, region: Box, index: LabelIndex) -> bool:
    chunk = np.array(index.chunk)
    labelled = np.asarray(index.counts.any(axis=-1))
    start, stop = np.array(region.start), np.array(region.stop)
    # A chunk is inside if its samples are; the volume's last chunk along an axis ends where the volume does.
    inside_stop = np.where(stop == volume.shape, -(-stop // chunk), stop // chunk)
    if labelled[Box.between((-(-start // chunk)).tolist(), inside_stop.tolist()).slices].any():
        return True
    touched = Box.between((start // chunk).tolist(), (-(-stop // chunk)).tolist())
    for position in np.argwhere(labelled[touched.slices]) + touched.start:
        part = Box(tuple((position * chunk).tolist()), tuple(index.chunk)).intersect(region)
        if (volume.read_labels(labels, part) != IGNORE).any():
            return True
    return False
