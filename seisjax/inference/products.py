"""The volume that a prediction is written to, by any number of workers."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from seisjax.conventions import (
    AMPLITUDE,
    CLASS_AXIS,
    IGNORE,
    PRED_CLASS,
    PRED_ENTROPY,
    PRED_PROBABILITY,
    PRED_SPREAD,
    TRACE_MASK,
)
from seisjax.geometry import Axis, Box, format_region, tiles
from seisjax.inference.blend import entropy, most_probable
from seisjax.inference.blocks import Block, Layout
from seisjax.inference.ledger import checksum, checksums, shard_name
from seisjax.inference.site import MARK, Site
from seisjax.volumes import Volume, create_volume
from seisjax.volumes.metadata import COORDINATES, own_attributes
from seisjax.volumes.store import WRITE_REMEDY, storage_errors

ARRAYS = {"class": PRED_CLASS, "probability": PRED_PROBABILITY, "entropy": PRED_ENTROPY, "spread": PRED_SPREAD}
PROBABILITY_DTYPES = ("float32", "float16", "uint8")
_WRITERS = 4  # shards that are compressed and written at a time
_STEPS = 254  # uint8 probabilities are multiples of 1/254, and 255 means that there is none
_RECEIVER_ARRAYS = ("receiver_component", "receiver_shift", "distance")
_RECORDING = ("start_time", "sampling_interval", "origin")  # attributes of recordings, and those of every receiver
_OF_RECEIVERS = ("receiver_names", "receiver_components")


def bytes_per_sample(rows: int, products: Sequence[str], num_classes: int, dtype: str, depth: float) -> float:
    """Memory that one sample of a block takes: float64 sums and the data mask of as many blocks as a window is deep
    (`depth`), the products of the block that is made, those of the one that is written, once more as they are
    compressed, and the samples read in and around the windows."""
    return depth * (8 * rows + 1) + 3 * stored_bytes(products, num_classes, dtype) + 6 * (depth + 2)


def stored_bytes(products: Sequence[str], num_classes: int, dtype: str) -> int:
    """Bytes of a sample's products before compression."""
    one = _measure_dtype(dtype).itemsize
    sizes = {"class": 1, "probability": num_classes * np.dtype(dtype).itemsize, "entropy": one, "spread": one}
    return sum(sizes[product] for product in products)


def _measure_dtype(dtype: str) -> np.dtype:
    """The type of what is no probability: uint8 holds nothing between 0 and 1, and float16 stands in."""
    return np.dtype(np.float16 if dtype == "uint8" else dtype)


class ProductsVolume:
    """A volume over a box of a survey that grows at a site, block by block."""

    def __init__(
        self,
        survey: Volume,
        box: Box,
        site: Site,
        layout: Layout,
        *,
        products: Sequence[str],
        num_classes: int,
        classes: Mapping[str, Sequence[str]],
        dtype: str,
        attributes: Mapping[str, Any],
    ):
        """Open what stands at the site, or create it with the coordinates of `box`.

        Chunks are those of the survey's amplitude. `products`: some of ARRAYS; `classes`: class_names and
        class_colors, stored with classes and probabilities.
        """
        self._survey, self._box, self._layout = survey, box, layout
        self._products, self._num_classes = tuple(products), num_classes
        self._dtype, self._float = np.dtype(dtype), _measure_dtype(dtype)
        self.ledger = site.ledger
        self._site = site
        with storage_errors(site.url, WRITE_REMEDY):
            self.volume = site.join(lambda: self._create(classes, attributes)) or self._open()

    @property
    def _axes(self) -> list[Axis]:
        parts = zip(self._survey.axes, self._box.slices, strict=True)
        return [Axis(axis.name, axis.labels[part], axis.unit) for axis, part in parts]

    def _open(self) -> Volume:
        """What stands in its place; the axes are known, and those that are stored may be damaged."""
        document = self._site.store.read_json("zarr.json")
        attributes = own_attributes(document)
        assert attributes is not None  # else the site would not call it finished
        return Volume(self._site.url, self._site.store, self._axes, attributes, document=document)

    def _create(self, classes: Mapping[str, Sequence[str]], attributes: Mapping[str, Any]) -> Volume:
        survey, box = self._survey, self._box
        volume = create_volume(
            self._site.url,
            self._axes,
            dtype=None,
            chunk=survey.arrays[AMPLITUDE].chunk,
            shard=self._layout.shard,
            kind=survey.kind,
            attributes=_recording(survey, box)
            | {MARK: survey.url, "region": format_region(box, survey.axes), **attributes},
            staging=self._site.staging,
            shared=True,
        )
        self._add_arrays(volume, {key: list(values) for key, values in classes.items() if values})
        for name in self._copied:
            info = survey.arrays[name]
            kept = {key: value for key, value in info.attributes.items() if key != "coordinates"}
            volume.add_array(name, info.dtype, dimension_names=info.dimension_names, attributes=kept)
            self._copy(volume, name)
        return volume

    def _add_arrays(self, volume: Volume, named: dict[str, list[str]]) -> None:
        names, shape = [axis.name for axis in volume.axes], volume.shape
        if "class" in self._products:
            volume.add_array(PRED_CLASS, np.uint8, fill=IGNORE, attributes=named)
        if "probability" in self._products:
            scaled = self._dtype == np.uint8
            scale = {"scale_factor": 1 / _STEPS, "missing_value": IGNORE} if scaled else {}
            volume.add_array(
                PRED_PROBABILITY, self._dtype, dimension_names=[CLASS_AXIS, *names], attributes=named | scale,
                shape=(self._num_classes, *shape), fill=IGNORE if scaled else None,
            )  # fmt: skip
        if "entropy" in self._products:
            volume.add_array(PRED_ENTROPY, self._float, attributes={"units": "nat"})
        if "spread" in self._products:
            volume.add_array(PRED_SPREAD, self._float)

    @property
    def _copied(self) -> list[str]:
        """Arrays of the survey that the prediction has too."""
        return [name for name in (TRACE_MASK, *COORDINATES, *_RECEIVER_ARRAYS) if name in self._survey.arrays]

    def _copy(self, volume: Volume, name: str) -> None:
        """Copy the part of an array that belongs to the volume, shard by shard."""
        info = volume.arrays[name]
        place = {axis.name: i for i, axis in enumerate(volume.axes)}
        origin = [self._box.start[place[n]] for n in info.dimension_names]
        for tile in volume.shards(name):
            volume.write(name, tile, self._survey.read(name, _shifted(tile, origin)))

    def region(self, block: Block) -> str:
        """A block's place in coordinate labels."""
        return format_region(block.place, self._survey.axes)

    def begin(self, block: Block) -> bool:
        """Say that the run that starts with a block is being worked on.

        Returns False where another worker has said so, or has finished the volume.
        """
        if self._site.finished:  # nothing but damage is mended there: no hint is to stay
            return True
        with self._site.writing() as may_write:
            return may_write and self.ledger.begin(block.number)

    def empty(self, block: Block) -> dict[str, np.ndarray]:
        """Room for the products of a block, by name."""
        return {
            product: np.empty(self._in_array(product, block.box).shape, self.volume.arrays[ARRAYS[product]].dtype)
            for product in self._products
        }

    def fill(self, made: dict[str, np.ndarray], block: Block, part: Box, rows: np.ndarray) -> None:
        """Make the products of a part of a block, of which `rows` (rows, *part) are the means; from any thread."""
        inside = part.relative_to(block.place.start).slices
        for product, values in made.items():
            values[(..., *inside)] = self._value(product, rows)

    def write(self, block: Block, made: Mapping[str, np.ndarray], command: str) -> bool:
        """Write a block and its record; may be called from another thread.

        Returns False where that is another worker's: it has done the block, or finished the volume.
        """
        with self._site.writing() as may_write:
            if not may_write or self.ledger.has(block.number):
                return False
            with ThreadPoolExecutor(_WRITERS) as writers:
                shards = dict(writers.map(self._write_shard, self._shards(block, made)))
            with storage_errors(self._site.url, WRITE_REMEDY):
                self.ledger.add(block.number, self.region(block), command, shards)
        return True

    def _write_shard(self, shard: tuple[str, Box, np.ndarray]) -> tuple[str, str]:
        """Write a shard; returns its name in records, and its checksum."""
        name, box, values = shard
        return shard_name(name, box), checksum(self.volume.write_shard(name, box, values))

    def _shards(self, block: Block, made: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Box, np.ndarray]]:
        """The shards of a block: array, place and values."""
        for product, values in made.items():
            whole = self._in_array(product, block.box)
            for box in tiles(whole, self.volume.arrays[ARRAYS[product]].shard):
                yield ARRAYS[product], box, values[box.relative_to(whole.start).slices]

    def _value(self, product: str, rows: np.ndarray) -> np.ndarray:
        probabilities = rows[: self._num_classes]
        if product == "class":
            return most_probable(probabilities)
        if product == "entropy":
            return entropy(probabilities).astype(self._float)
        if product == "spread":  # the last row is a variance
            return np.sqrt(rows[-1]).astype(self._float)
        if self._dtype != np.uint8:
            return probabilities.astype(self._dtype)
        steps = np.rint(np.clip(probabilities, 0, 1) * np.float32(_STEPS))
        return np.where(np.isnan(steps), IGNORE, steps).astype(np.uint8)

    def _in_array(self, product: str, box: Box) -> Box:
        """Where a box of the volume lies in a product's array."""
        return Box((0, *box.start), (self._num_classes, *box.shape)) if product == "probability" else box

    def _checksums(self, block: Block) -> dict[str, str]:
        places = (
            (ARRAYS[product], shard)
            for product in self._products
            for shard in tiles(self._in_array(product, block.box), self.volume.arrays[ARRAYS[product]].shard)
        )
        return checksums(self.volume, places)

    def damaged(self, blocks: Sequence[Block]) -> list[Block]:
        """Blocks whose shards are not what their records say: missing, cut short or altered.

        Raises UserError where the store cannot be read.
        """
        done = (block for block in blocks if self.ledger.has(block.number))
        return [b for b in done if (self.ledger.record(b.number) or {}).get("shards") != self._checksums(b)]

    def mend(self) -> list[str]:
        """Write those arrays again that are no block's, coordinates and the mask, where they are not as they were.

        Returns their names. In a volume that still grows they are written at each start.
        """
        if not self._site.finished:
            return []
        rest, found = self.ledger.rest(), self._rest()
        names = sorted({place.split(" at ")[0] for place in rest if rest[place] != found.get(place)})
        labels = {axis.name: axis.labels for axis in self._axes}
        for name in names:
            if name in labels:
                self.volume.write(name, Box.whole(labels[name].shape), labels[name])
            else:
                self._copy(self.volume, name)
        return names

    def _rest(self) -> dict[str, str]:
        names = [*(axis.name for axis in self._axes), *self._copied]
        return checksums(self.volume, ((name, box) for name in names for box in self.volume.shards(name)))

    def finish(self) -> Volume:
        """The volume, whole and seen by all."""
        self.ledger.finish(self._rest())
        return self.volume.finish()


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
