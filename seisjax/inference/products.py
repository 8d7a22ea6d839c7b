"""The volume that a prediction is written to."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from seisjax.conventions import (
    AMPLITUDE,
    CLASS_AXIS,
    IGNORE,
    PRED_CLASS,
    PRED_ENTROPY,
    PRED_PROBABILITY,
    TRACE_MASK,
)
from seisjax.geometry import Axis, Box, format_region, grow, tiles
from seisjax.inference.blend import BlockSums, entropy, most_probable
from seisjax.volumes import Volume, create_volume
from seisjax.volumes.metadata import COORDINATES

_RECEIVER_ARRAYS = ("receiver_component", "receiver_shift", "distance")
_RECORDING = ("start_time", "sampling_interval", "origin")  # attributes of recordings, and those of every receiver
_OF_RECEIVERS = ("receiver_names", "receiver_components")
Product = tuple[str, Box, np.ndarray]


def bytes_per_sample(num_classes: int, dtype: str) -> int:
    """Memory that one sample of a block takes: float64 sums and weights, the data mask, and the products."""
    return 8 * (num_classes + 1) + 1 + 1 + (num_classes + 1) * np.dtype(dtype).itemsize


class ProductsVolume:
    """A new volume over a box of a survey, written shard by shard.

    As a context manager it leaves nothing behind after an error.
    """

    def __init__(
        self,
        survey: Volume,
        box: Box,
        url: str,
        *,
        num_classes: int,
        classes: Mapping[str, Sequence[str]],
        dtype: str,
        block_bytes: int,
        attributes: Mapping[str, Any],
        overwrite: bool,
    ):
        """Create the volume with the coordinates of `box`; nobody else sees it yet.

        Chunks are those of the survey's amplitude; shards too, unless one needs more than `block_bytes` to be worked
        on. `classes`: class_names and class_colors, stored with classes and probabilities.
        Raises UserError where something stands at `url` that may not be overwritten.
        """
        self.num_classes = num_classes
        self._origin, self._dtype = box.start, np.dtype(dtype)
        self._block_samples = block_bytes // bytes_per_sample(num_classes, dtype)
        layout = survey.arrays[AMPLITUDE]
        self._volume = create_volume(
            url,
            [Axis(a.name, a.labels[part], a.unit) for a, part in zip(survey.axes, box.slices, strict=True)],
            dtype=None,
            chunk=layout.chunk,
            shard=grow(layout.chunk, tuple(map(min, layout.shard, box.shape)), self._block_samples),
            kind=survey.kind,
            attributes=_recording(survey, box)
            | {"predicted_from": survey.url, "region": format_region(box, survey.axes), **attributes},
            overwrite=overwrite,
        )
        try:
            self._add_arrays(num_classes, classes)
            for name in (TRACE_MASK, *COORDINATES, *_RECEIVER_ARRAYS):
                if name in survey.arrays:
                    self._copy(survey, name)
        except BaseException:
            self._volume.abort()
            raise

    def _add_arrays(self, num_classes: int, classes: Mapping[str, Sequence[str]]) -> None:
        named = {key: list(values) for key, values in classes.items() if values}
        names, shape = [axis.name for axis in self._volume.axes], self._volume.shape
        self._volume.add_array(PRED_CLASS, np.uint8, fill=IGNORE, attributes=named)
        self._volume.add_array(
            PRED_PROBABILITY, self._dtype, dimension_names=[CLASS_AXIS, *names], shape=(num_classes, *shape),
            attributes=named,
        )  # fmt: skip
        self._volume.add_array(PRED_ENTROPY, self._dtype, attributes={"units": "nat"})

    def _copy(self, survey: Volume, name: str) -> None:
        """Copy the part of a coordinate array or mask that belongs to the volume, shard by shard."""
        info = survey.arrays[name]
        place = {axis.name: i for i, axis in enumerate(self._volume.axes)}
        origin = [self._origin[place[n]] for n in info.dimension_names]
        attributes = {key: value for key, value in info.attributes.items() if key != "coordinates"}
        self._volume.add_array(name, info.dtype, dimension_names=info.dimension_names, attributes=attributes)
        copied = self._volume.arrays[name]
        for tile in tiles(Box.whole(copied.shape), copied.shard):
            self._volume.write(name, tile, survey.read(name, _shifted(tile, origin)))

    @property
    def blocks(self) -> list[Box]:
        """The blocks to be predicted, in the survey's samples: whole shards, as many as may be worked on at a time."""
        whole, shard = Box.whole(self._volume.shape), self._volume.arrays[PRED_CLASS].shard
        block = grow(shard, whole.shape, self._block_samples)
        return [_shifted(tile, self._origin) for tile in tiles(whole, block)]

    def make(self, sums: BlockSums) -> Iterator[Product]:
        """The products of a block: array, place and values of each shard."""
        block = sums.block.relative_to(self._origin)
        for shard in tiles(block, self._volume.arrays[PRED_CLASS].shard):
            probabilities = sums.probabilities(_shifted(shard, self._origin))
            yield PRED_CLASS, shard, most_probable(probabilities)
            yield PRED_ENTROPY, shard, entropy(probabilities).astype(self._dtype)
            every_class = Box((0, *shard.start), probabilities.shape)
            yield PRED_PROBABILITY, every_class, probabilities.astype(self._dtype)

    def write(self, product: Product) -> None:
        """Write what `make` gave; may be called from another thread."""
        self._volume.write(*product)

    def finish(self) -> Volume:
        """The volume, whole and seen by all."""
        return self._volume.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception: object, *_: object) -> None:
        if exception is not None:
            self._volume.abort()


def _recording(survey: Volume, box: Box) -> dict[str, Any]:
    """What a recording says of its times and receivers, for the receivers of `box`; nothing for other volumes."""
    if "start_time" not in survey.attributes:
        return {}
    kept = {name: survey.attributes[name] for name in _RECORDING if name in survey.attributes}
    for axis, part in zip(survey.axes, box.slices, strict=True):
        known = (name for name in _OF_RECEIVERS if axis.name == "receiver" and name in survey.attributes)
        kept |= {name: survey.attributes[name][part] for name in known}
    return kept


def _shifted(box: Box, by: Sequence[int]) -> Box:
    return Box(tuple(a + b for a, b in zip(box.start, by, strict=True)), box.shape)
