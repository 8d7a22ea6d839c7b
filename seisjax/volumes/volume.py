"""`Volume`: named arrays over named axes in a sharded Zarr v3 group."""

import copy
import hashlib
import json
import math
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorstore as ts
from absl import logging

from seisjax.conventions import (
    AMPLITUDE,
    IGNORE,
    INDEX_PREFIX,
    LABELS_PREFIX,
    SECTIONS_PREFIX,
    TRACE_MASK,
    class_colors,
)
from seisjax.errors import UserError, nearest
from seisjax.geometry import Axis, Box, Shape, round_up, tiles
from seisjax.volumes import metadata as zarr
from seisjax.volumes.coding import Coding
from seisjax.volumes.encoded import start_fetch
from seisjax.volumes.label_index import LabelCounter, LabelIndex, as_classes, count_labels
from seisjax.volumes.metadata import ArrayInfo
from seisjax.volumes.retries import samples_of
from seisjax.volumes.staging import Staging
from seisjax.volumes.statistics import ArrayStatistics
from seisjax.volumes.store import READ_REMEDY, WRITE_REMEDY, Store, default_json, storage_errors

_EACH_AXIS = ts.d[:]
_ANY_VERTICAL = {"sample", "samples"}  # what MDIO v0 calls time and depth alike

# Samples under way: calling it waits for them.
Pending = Callable[[], np.ndarray]


class Volume:
    """A group of arrays over named axes, slowest first, the vertical last. Made by `open_volume` and `create_volume`.

    Holds the URL and the metadata; array handles are opened when first used, shared by all threads, and left behind
    when the volume is pickled. As a context manager it finishes on leaving, and takes back what it wrote after an
    exception.
    """

    url: str
    axes: tuple[Axis, ...]
    attributes: dict[str, Any]  # the group's own: kind, and whatever its writer remembers
    arrays: dict[str, ArrayInfo]
    reads_alone = True  # TensorStore reads what is stored; else samples are made of it by the thread that asks

    def __init__(
        self,
        url: str,
        store: Store,
        axes: Sequence[Axis],
        attributes: dict[str, Any],
        *,
        document: dict[str, Any] | None = None,
        staging: Staging | None = None,
        shared: bool = False,
        places: Mapping[str, str] | None = None,
    ):
        self.url = url
        self.axes = tuple(axes)
        self.attributes = attributes
        self.arrays = {}
        self._store = store
        self._staging = staging
        self._shared = shared  # other processes write it too: arrays that stand there are kept
        self._documents: dict[str, dict[str, Any]] = {}  # the arrays' Zarr documents; ArrayInfo.attributes lie in them
        self._finished = copy.deepcopy(document)  # the group's document as it stands in the store
        self._added: set[str] = set()
        self._counters: dict[str, LabelCounter] = {}
        # Arrays that lie elsewhere than under their name in this store. `places` are given where others wrote it.
        self._places = {name: (store, path) for name, path in (places or {}).items()}
        self._indices: dict[str, LabelIndex] = {}  # of labels that were counted, not written, by this package
        self._reads_only = places is not None
        self._handles: dict[str, ts.TensorStore] = {}
        self._lock = threading.RLock()
        for name, array in document["consolidated_metadata"]["metadata"].items() if document else ():
            self._remember(name, array)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_handles", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _handles={}, _lock=threading.RLock())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception: object, *_: object) -> None:
        try:
            if exception is None:
                self.finish()
        except BaseException:
            self.abort()
            raise
        if exception is not None:
            self.abort()

    # What the volume is.

    @property
    def shape(self) -> Shape:
        """Samples along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def kind(self) -> str:
        """ "survey", "panels" or "recording"."""
        return self.attributes["kind"]

    @property
    def place(self) -> str:
        """URL of the folder that holds its arrays: the volume's own, or that in which an unfinished one grows."""
        return self._store.url

    @property
    def statistics(self) -> ArrayStatistics | None:
        """Statistics of the amplitude as its writer set them; None where it did not."""
        return ArrayStatistics.from_attributes(self.arrays[AMPLITUDE].attributes) if AMPLITUDE in self.arrays else None

    @property
    def coding(self) -> Coding:
        """What the stored numbers of the amplitude stand for."""
        return Coding.of(self._info(AMPLITUDE).attributes)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over axes, amplitude type and statistics; labels and predictions do not enter."""
        digest = hashlib.sha256()
        for axis in self.axes:
            digest.update(f"{axis.name}/{axis.unit}/".encode() + np.asarray(axis.labels, np.float64).tobytes())
        if AMPLITUDE in self.arrays:
            info = self.arrays[AMPLITUDE]
            digest.update(f"{info.dtype}/{self.statistics or info.attributes.get('statsV1')}".encode())
        return digest.hexdigest()[:16]

    def shards(self, name: str = AMPLITUDE) -> Iterator[Box]:
        """The boxes in which an array is written, clipped to it, in C order."""
        info = self._info(name)
        return tiles(Box.whole(info.shape), info.shard)

    def label_names(self) -> list[str]:
        """Names of the label arrays, without their prefix."""
        return sorted(name.removeprefix(LABELS_PREFIX) for name in self.arrays if name.startswith(LABELS_PREFIX))

    def class_names(self, name: str) -> list[str]:
        """Class names of a label array, in the order of their values; "class 0" and so on where it has none."""
        attributes = self._info(self._label_array(name)).attributes
        return list(attributes.get("class_names") or _numbered(len(self.label_index(name).histogram)))

    def describe(self) -> str:
        """A few lines for people: axes, arrays, statistics, labels."""
        lines = [f"{self.url}: {self.kind}, " + " x ".join(map(str, self.shape))]
        lines += [f"  axis {axis} {axis.unit}".rstrip() for axis in self.axes]
        hidden = (*self._axis_names, *(copy for name in self.arrays for copy in self._copies(name)))
        for info in self.arrays.values():
            if info.name not in hidden and not info.name.startswith(INDEX_PREFIX):
                layouts = [f"chunk {info.chunk}, shard {info.shard}"]
                layouts += [f"copy with chunk {self.arrays[name].chunk}" for name in self._copies(info.name)]
                lines.append(f"  {info.name} {info.dtype} {info.shape}, {', '.join(layouts)}")
        if self.statistics:
            s = self.statistics
            lines.append(f"  mean {s.mean:.6g}, std {s.std:.6g}, {s.min:.6g} to {s.max:.6g}, {s.non_finite} not finite")
        for name in self.label_names():
            scale = self._info(self._label_array(name)).attributes.get("label_scale")
            if scale:
                lines.append(f"  {name}: 0 to {scale}, which stands for a probability of 1")
            elif self._is_indexed(name):  # else all labels would be read for it
                counts = zip(self.class_names(name), self.label_index(name).histogram, strict=True)
                lines.append(f"  {name}: " + ", ".join(f"{label} {count}" for label, count in counts))
        return "\n".join(lines)

    # Reading.

    def read(self, name: str, box: Box) -> np.ndarray:
        """The samples of an array in `box`, which lies inside it, in the stored type."""
        return self.start_read(name, box)()

    def start_read(self, name: str, box: Box) -> Pending:
        """Begin `read` and return at once; calling what is returned waits for the samples.

        What fails for a passing reason is read again, as `set_retry_minutes` says.
        """
        info = self._info(name)
        if not Box.whole(info.shape).contains(box):
            raise ValueError(f"{box} reaches past {name} {info.shape}")

        def begin() -> ts.Future:
            return self._handle(name)[box.slices].read()

        with storage_errors(self._where(name), READ_REMEDY):
            reading = begin()
        return lambda: samples_of(self._where(name), reading, begin)

    def start_read_into(self, name: str, boxes: Sequence[Box], outs: Sequence[np.ndarray]) -> Callable[[], None]:
        """As `start_read`, for many boxes, the samples of each put into its array of `outs`; what is returned waits.

        Where the array has copies in other chunks, the nearest one is read for each box. Boxes of one shape are one
        read: at the end of each read a thread of TensorStore waits for Python's lock, and decodes nothing meanwhile.
        Samples that are not stored as they are read (made, resampled) are there when this returns.
        Raises ValueError for a box that reaches past the array.
        """
        whole = Box.whole(self._info(name).shape)
        alike: dict[Shape, list[tuple[Box, np.ndarray]]] = {}
        for box, out in zip(boxes, outs, strict=True):
            if not whole.contains(box):
                raise ValueError(f"{box} reaches past {name} {whole.shape}")
            alike.setdefault(box.shape, []).append((box, out))
        reads = [self._start_alike(name, *zip(*pairs, strict=True)) for pairs in alike.values()]

        def finish() -> None:
            for wait in reads:
                wait()

        return finish

    def _start_alike(self, name: str, boxes: Sequence[Box], outs: Sequence[np.ndarray]) -> Callable[[], object]:
        """As `start_read_into`, for boxes of one shape."""
        names = [self.nearest_copy(name, box) for box in boxes]
        # One target for all of them would make the threads that fill it wait for each other.
        target = ts.stack([ts.array(out, copy=False, write=True) for out in outs])

        def begin() -> ts.WriteFutures:
            from_origin = (_EACH_AXIS[box.slices].translate_to[0] for box in boxes)  # only equal domains can be stacked
            views = [self._handle(copy)[part] for copy, part in zip(names, from_origin, strict=True)]
            return target.write(ts.stack(views))

        with storage_errors(self._where(name), READ_REMEDY):
            reading = begin()
        return lambda: samples_of(self._where(name), reading, begin)

    def _read_each_into(self, name: str, boxes: Sequence[Box], outs: Sequence[np.ndarray]) -> Callable[[], None]:
        """`start_read_into` where samples are made out of what is read: done at once, one box after the other."""
        reads = [self.start_read(name, box) for box in boxes]
        for out, read in zip(outs, reads, strict=True):
            np.copyto(out, read())
        return lambda: None

    def start_fetch(self, name: str, box: Box) -> Callable[[], int]:
        """Begin to fetch an array's chunks over `box`, which lies inside it, and return at once.

        Calling what is returned waits for them and tells how many bytes they are. Nothing is decoded or kept: this is
        to find out what the storage gives.
        """
        store, path = self._places.get(name, (self._store, name))
        with storage_errors(self._where(name), READ_REMEDY):
            return start_fetch(store, path, self._documents[name], self._info(name), box)

    def read_scaled(self, name: str, box: Box) -> np.ndarray:
        """What the samples of an array in `box` stand for, float32, NaN where missing; see `read_amplitude`."""
        return Coding.of(self._info(name).attributes).amplitudes(self.read(name, box))

    def read_padded(self, name: str, box: Box, fill: Any) -> np.ndarray:
        """The samples of an array in `box`; `fill` where it reaches past the array."""
        return self._start_padded(name, box, fill)()

    def _start_padded(self, name: str, box: Box, fill: Any, dtype: Any = None) -> Pending:
        info = self._info(name)
        inner = box.intersect(Box.whole(info.shape))
        if inner == box:
            return self.start_read(name, box)
        reading = self.start_read(name, inner) if inner.size else None

        def finish() -> np.ndarray:
            values = np.full(box.shape, fill, dtype or info.dtype)
            if reading is not None:
                values[inner.relative_to(box.start).slices] = reading()
            return values

        return finish

    def read_amplitude(self, box: Box) -> np.ndarray:
        """float32 amplitudes in `box`, NaN where there is no datum: dead traces, NaN and Inf, past the volume.

        Samples equal to the attribute `missing_value` are no data; the others are multiplied by `scale_factor`, then
        `add_offset` is added, where the array has these attributes (they are those of the CF conventions).
        """
        return self.start_amplitude(box)()

    def start_amplitude(self, box: Box) -> Pending:
        """Begin `read_amplitude` and return at once; calling what is returned waits for the samples.

        Where the array has copies in other chunks, the one is read whose chunks over `box` hold the fewest samples.
        """
        reading = self._start_padded(self.nearest_copy(AMPLITUDE, box), box, np.nan, np.float32)
        live, coding = self.start_live(box), self.coding

        def finish() -> np.ndarray:
            values = coding.amplitudes(reading())
            values[~live()] = np.nan
            return values

        return finish

    def read_labels(self, name: str, box: Box) -> np.ndarray:
        """uint8 classes in `box`, IGNORE where unlabelled, on dead traces and past the volume.

        Arrays of other types are labels too: values outside 0 to 254 become IGNORE.
        """
        return self.start_labels(name, box)()

    def start_labels(self, name: str, box: Box) -> Pending:
        """Begin `read_labels` and return at once; calling what is returned waits for the labels."""
        array = self._label_array(name)
        dtype = np.uint8 if self._info(array).dtype == np.uint8 else np.int64  # one that holds IGNORE
        reading = self._start_padded(self.nearest_copy(array, box), box, IGNORE, dtype)
        live = self.start_live(box)

        def finish() -> np.ndarray:
            labels = as_classes(reading())
            labels[~live()] = IGNORE
            return labels

        return finish

    def label_index(self, name: str) -> LabelIndex:
        """Class counts of every chunk of a label array, read from the store.

        Labels that came without an index are read once, as a stream, and counted; the counts stay with this object
        and with what is pickled from it.
        """
        array = self._label_array(name)
        index = INDEX_PREFIX + array.removeprefix(LABELS_PREFIX)
        if index in self.arrays:
            return LabelIndex(self._info(array).chunk, self.read(index, Box.whole(self._info(index).shape)))
        with self._lock:
            if array not in self._indices:
                info = self._info(array)
                size = math.prod(info.shape)
                logging.info("%s has no label index: reading all %d labels once", self._where(array), size)
                names = info.attributes.get("class_names", ())
                index = count_labels(info, len(names), lambda box: as_classes(self.read(array, box)))
                if names:
                    _check_classes(self._where(array), len(index.histogram), len(names))
                self._indices[array] = index
            return self._indices[array]

    def _is_indexed(self, name: str) -> bool:
        return INDEX_PREFIX + name in self.arrays or LABELS_PREFIX + name in self._indices

    def with_labels(self, other: "Volume") -> Self:
        """This volume with the labels of `other` in place of its own, for stores that cannot be written to.

        Can be read and pickled, not written. Raises UserError where the axes are not the same, or `other` has none.
        """
        _check_same_axes(self, other)
        if not other.label_names():
            raise UserError(f"{other.url}: holds no labels; give a volume with an array {LABELS_PREFIX}<name>")
        volume = copy.copy(self)
        taken = [name for name in other.arrays if _is_of_labels(name)]
        volume._documents = {n: d for n, d in self._documents.items() if not _is_of_labels(n)}
        volume._documents |= {name: other._documents[name] for name in taken}
        volume.arrays = {n: info for n, info in self.arrays.items() if not _is_of_labels(n)}
        volume.arrays |= {name: other.arrays[name] for name in taken}
        volume._places = self._places | {name: other._places.get(name, (other._store, name)) for name in taken}
        volume._indices = dict(other._indices)
        volume._reads_only = True
        return volume

    def _copies(self, name: str) -> list[str]:
        """Copies of an array in chunks made for sections across one axis."""
        names = (f"{SECTIONS_PREFIX}{axis}_{name}" for axis in self._axis_names)
        return [n for n in names if n in self.arrays and self.arrays[n].shape == self.arrays[name].shape]

    def nearest_copy(self, name: str, box: Box) -> str:
        """The array, or that copy of it, whose chunks over `box` hold the fewest samples."""
        copies = self._copies(name)
        if not copies:
            return name
        box = box.intersect(Box.whole(self._info(name).shape))

        def covered(candidate: str) -> int:
            sides = zip(box.start, box.stop, self.arrays[candidate].chunk, strict=True)
            return math.prod((round_up(b, c) - a // c * c) for a, b, c in sides)

        return min([name, *copies], key=covered)

    def start_live(self, box: Box) -> Pending:
        """Begin to read which traces of `box` hold data: a boolean array over the axes above the vertical."""
        traces = Box(box.start[:-1], box.shape[:-1])
        if TRACE_MASK not in self.arrays:
            return lambda: np.ones(traces.shape, bool)
        reading = self._start_padded(TRACE_MASK, traces, False)
        return lambda: reading().astype(bool, copy=False)

    # Writing.

    def add_array(
        self,
        name: str,
        dtype: Any = None,
        *,
        dimension_names: Sequence[str] | None = None,
        shape: Sequence[int] | None = None,
        chunk: Sequence[int] | None = None,
        shard: Sequence[int] | None = None,
        fill: Any = None,
        attributes: Mapping[str, Any] | None = None,
        values: np.ndarray | None = None,
    ) -> None:
        """Add an array, seen by others once `finish` was called.

        It lies over all axes unless `dimension_names` says otherwise; `shape` is needed where a dimension is no axis.
        Chunk and shard are those of the volume, 1 along dimensions that are no axes. `fill` is what unwritten samples
        read as: NaN, 0, False, and IGNORE for labels. With `values` the array is written as a whole.
        Raises UserError where the array exists.
        """
        self._check_writable()
        if name in self.arrays:
            raise UserError(f"{self.url}: array '{name}' exists; choose another name or another output")
        names = tuple(dimension_names) if dimension_names else self._axis_names
        dtype = np.dtype(dtype if dtype is not None else np.asarray(values).dtype)
        is_label = name.startswith(LABELS_PREFIX)
        if is_label and dtype != np.uint8:
            raise ValueError(f"{name}: labels are uint8")
        if shape is None:
            sides = {axis.name: len(axis) for axis in self.axes}
            shape = values.shape if values is not None else [sides[n] for n in names]
        default_chunk, default_shard = self._layout(names, shape)
        chunk, shard = zarr.clip_layout(shape, chunk or default_chunk, shard or default_shard)
        if fill is None:
            fill = IGNORE if is_label else zarr.default_fill(dtype)
        compression = self.attributes.get("compression", zarr.COMPRESSIONS[0])
        document = zarr.array_metadata(shape, dtype, chunk, shard, fill, names, attributes or {}, compression)
        with storage_errors(f"{self.url}/{name}", WRITE_REMEDY):
            self._added.add(name)
            standing = self._store.read_json(f"{name}/zarr.json") if self._shared else None
            self._remember(name, standing or self._store.create_array(name, document, replace=not self._shared))
        if is_label:
            self._counters[name] = LabelCounter(shape, chunk)
        if values is not None:
            self.write(name, Box.whole(shape), values)

    def remove_array(self, name: str) -> None:
        """Take an array of an unfinished volume away again, and what was written of it."""
        self._check_writable()
        with storage_errors(f"{self.url}/{name}", WRITE_REMEDY):
            self._store.delete_array(name)
        for known in (self.arrays, self._documents, self._handles, self._counters):
            known.pop(name, None)
        self._added.discard(name)

    def write(self, name: str, box: Box, values: Any) -> None:
        """Write whole shards of an array (clipped where the array ends); labels are counted on the way.

        Shards may be written from several threads. Raises ValueError for a box of parts of shards and for values of
        another shape, UserError for values that the array's type does not hold, and when the storage fails.
        """
        values = self._prepare(name, box, values)
        with storage_errors(f"{self.url}/{name}", WRITE_REMEDY):
            _write_shards(self._handle(name), self._info(name), box, values)

    def write_shard(self, name: str, box: Box, values: Any) -> bytes | None:
        """Write one shard as `write` does; returns what `stored_shard` would, and reads nothing back for it."""
        values, key = self._prepare(name, box, values), self._shard_key(name, box)
        memory = Store(f"memory://{uuid.uuid4()}/")
        with storage_errors(f"{self.url}/{name}", WRITE_REMEDY):
            _write_shards(memory.open_array(name, self._whole_shards(name)), self._info(name), box, values)
            stored = memory.read_bytes(key)
            memory.delete(key)
            if stored is None:
                self._store.delete(key)
            else:
                self._store.write_bytes(key, stored)
        return stored

    def _prepare(self, name: str, box: Box, values: Any) -> np.ndarray:
        """Values as an array takes them, checked and, if they are labels, counted."""
        self._check_writable()
        info = self._info(name)
        _check_whole_shards(info, box)
        with np.errstate(all="ignore"):
            values = self._cast(np.asarray(values), info)
        if values.shape != box.shape:
            raise ValueError(f"{name}: values of shape {values.shape} for a box of {box.shape}")
        if name in self._counters:
            with self._lock:
                self._counters[name].count(box, values)
        return values

    def stored_shard(self, name: str, box: Box) -> bytes | None:
        """The bytes in which the store keeps a shard; None where it has none, for every sample is the fill value."""
        with storage_errors(self._where(name), READ_REMEDY):
            return self._store.read_bytes(self._shard_key(name, box))

    def _shard_key(self, name: str, box: Box) -> str:
        place = "/".join(str(a // s) for a, s in zip(box.start, self._info(name).shard, strict=True))
        return f"{name}/c/{place}"

    def chunk_counts(self, name: str, box: Box) -> np.ndarray:
        """Class counts (chunks along each axis ..., classes) of the labels written to `box`, made of whole chunks."""
        return self._counters[name].counts[self._chunks(name, box)]

    def set_chunk_counts(self, name: str, box: Box, counts: np.ndarray) -> None:
        """Take over the class counts of what another process wrote to `box`."""
        counter = self._counters[name]
        counter.ensure(counts.shape[-1])
        counter.counts[(*self._chunks(name, box), slice(counts.shape[-1]))] = counts

    def _chunks(self, name: str, box: Box) -> tuple[slice, ...]:
        sides = zip(box.start, box.stop, self._info(name).chunk, strict=True)
        return tuple(slice(a // c, -(-b // c)) for a, b, c in sides)

    def set_attributes(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Set attributes of an array; stored by `finish`."""
        self._check_writable()
        self._info(name).attributes.update(attributes)

    def set_statistics(self, statistics: ArrayStatistics, name: str = AMPLITUDE) -> None:
        """Set an array's statistics (MDIO's `statsV1` and our own); stored by `finish`."""
        self.set_attributes(name, statistics.attributes())

    def finish(self) -> Self:
        """Store label indices and attributes, then the group's document, last; then move a new local store in place.

        Raises UserError for labels outside the classes named, and when the storage fails.
        """
        if self._reads_only:
            return self
        with storage_errors(self.url, WRITE_REMEDY):
            for name, counter in self._counters.items():
                self._write_label_index(name, counter)
            for name in self.arrays:
                for twin in self._copies(name):
                    self.arrays[twin].attributes.update(self.arrays[name].attributes)
            self._take_over()
            self._link_coordinates()
            self._write_documents()
        self._counters, self._added = {}, set()
        if self._staging:
            self._staging.commit()
            self._store, self._staging, self._handles = Store(self.url), None, {}
        return self

    def abort(self) -> None:
        """Remove what was written since the volume was finished last, and nothing else."""
        self._handles = {}
        if self._staging:
            self._staging.discard()
            return
        for name in self._added:
            self._store.delete_array(name)
            self.arrays.pop(name, None)
            self._documents.pop(name, None)
        self._counters, self._added = {}, set()

    def _write_label_index(self, name: str, counter: LabelCounter) -> None:
        info, label = self._info(name), name.removeprefix(LABELS_PREFIX)
        classes = info.attributes.setdefault("class_names", _numbered(counter.counts.shape[-1]))
        # Labels of a scale are shares of it: of class 1, whatever their number.
        values = max(len(classes), info.attributes.get("label_scale", 0) + 1)
        _check_classes(f"{self.url}/{name}", counter.counts.shape[-1], values)
        info.attributes.setdefault("class_colors", class_colors(len(classes)))
        counter.ensure(values)
        # Names of its own: xarray wants one size a name in the whole group.
        dimensions = [f"{label}_{axis}_chunk" for axis in info.dimension_names] + [f"{label}_class"]
        whole = counter.counts.shape
        self.add_array(
            INDEX_PREFIX + label, dimension_names=dimensions, chunk=whole, shard=whole, values=counter.counts
        )

    def _link_coordinates(self) -> None:
        """Name, on arrays of samples, the coordinates that lie over some of their dimensions, as CF and MDIO do."""
        present = [self.arrays[name] for name in zarr.COORDINATES if name in self.arrays]
        for info in self.arrays.values():
            over = [c.name for c in present if set(c.dimension_names) <= set(info.dimension_names) and c is not info]
            if over and info.name not in zarr.COORDINATES and len(info.dimension_names) > 1:
                info.attributes["coordinates"] = " ".join(over)

    def _take_over(self) -> None:
        """Know the arrays that others have added since this finished volume was opened: its document names them too."""
        standing = self._store.read_json("zarr.json") if self._finished else None
        if standing and standing != self._finished:
            for name, array in standing["consolidated_metadata"]["metadata"].items():
                if name not in self._documents:
                    self._remember(name, array)
            self._finished = standing

    def _write_documents(self) -> None:
        stored = self._finished["consolidated_metadata"]["metadata"] if self._finished else {}
        for name, document in self._documents.items():
            if document != stored.get(name):
                self._store.write_json(f"{name}/zarr.json", document)
        title = Path(self.url.rstrip("/")).stem
        document = zarr.group_document(title, self.attributes, self._documents)
        if self._finished:
            document["attributes"] = {**self._finished["attributes"], "attributes": {zarr.OWN: self.attributes}}
        document = json.loads(json.dumps(document, default=default_json))
        if document != self._finished:
            self._store.write_json("zarr.json", document)
            self._finished = document

    # Inside.

    def _info(self, name: str) -> ArrayInfo:
        if name not in self.arrays:
            raise UserError(f"{self.url}: no array '{name}'{nearest(name, self.arrays)}")
        return self.arrays[name]

    def _label_array(self, name: str) -> str:
        """The array of the labels `name`, given with or without the prefix."""
        short = name.removeprefix(LABELS_PREFIX)
        if LABELS_PREFIX + short not in self.arrays:
            raise UserError(f"{self.url}: no labels '{short}'{nearest(short, self.label_names())}")
        return LABELS_PREFIX + short

    def _remember(self, name: str, document: dict[str, Any]) -> None:
        document.setdefault("attributes", {})
        self._documents[name] = document
        self.arrays[name] = zarr.array_info(name, document)

    def _layout(self, names: Sequence[str], shape: Sequence[int]) -> tuple[Shape, Shape]:
        """Chunk and shard of an array over these dimensions: a trace's array is stored in one chunk a shard."""
        chunk, shard = (dict(zip(self._axis_names, self.attributes[key], strict=True)) for key in ("chunk", "shard"))
        if not any(n in chunk for n in names):
            return tuple(shape), tuple(shape)
        if self._axis_names[-1] not in names:
            chunk = shard
        return tuple(chunk.get(n, 1) for n in names), tuple(shard.get(n, 1) for n in names)

    @property
    def _axis_names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    def _cast(self, values: np.ndarray, info: ArrayInfo) -> np.ndarray:
        """The values in the array's type; UserError where that does not hold them."""
        cast = np.ascontiguousarray(values, info.dtype)
        if info.dtype.kind == "f":
            lost = np.isinf(cast) & np.isfinite(values) if values.dtype.itemsize > info.dtype.itemsize else np.False_
        else:
            lost = cast != values if values.dtype != info.dtype else np.False_
        if lost.any():
            raise UserError(f"{self.url}/{info.name}: {values[lost][0]} does not fit {info.dtype}; choose a wider type")
        return cast

    def _handle(self, name: str) -> ts.TensorStore:
        with self._lock:
            if name not in self._handles:
                store, path = self._places.get(name, (self._store, name))
                document = self._documents[name] if self._reads_only else self._whole_shards(name)
                self._handles[name] = store.open_array(path, document)
            return self._handles[name]

    def _whole_shards(self, name: str) -> dict[str, Any]:
        """The document of an array with a shape of whole shards: TensorStore reads a shard that reaches past the end
        before it writes it, and would fail on one that is damaged."""
        info = self._info(name)
        return self._documents[name] | {"shape": [*map(round_up, info.shape, info.shard)]}

    def _where(self, name: str) -> str:
        """What messages call an array."""
        store, path = self._places.get(name, (self._store, name))
        return f"{self.url if store is self._store else store.url}/{path}"

    def _check_writable(self) -> None:
        if self._reads_only:
            raise UserError(f"{self.url}: is read, not written, by this package; write to a volume of its own")


def _write_shards(handle: ts.TensorStore, info: ArrayInfo, box: Box, values: np.ndarray) -> None:
    """Write whole shards; those that the array's end clips are filled up one by one, for all at once would take the
    room of the values again."""
    whole = Box.between(box.start, [b // s * s for b, s in zip(box.stop, info.shard, strict=True)])
    if whole.size:
        handle[whole.slices].write(values[whole.relative_to(box.start).slices]).result()
    for part in tiles(box, info.shard):
        if part.shape != info.shard:
            filled = np.full(info.shard, handle.fill_value, info.dtype)
            filled[tuple(slice(side) for side in part.shape)] = values[part.relative_to(box.start).slices]
            handle[Box(part.start, info.shard).slices].write(filled).result()


def _check_whole_shards(info: ArrayInfo, box: Box) -> None:
    whole = Box.whole(info.shape).contains(box) and all(
        a % s == 0 and (b % s == 0 or b == n)
        for a, b, s, n in zip(box.start, box.stop, info.shard, info.shape, strict=True)
    )
    if not whole:
        raise ValueError(f"{info.name}: {box} is not made of whole shards {info.shard} of the array {info.shape}")


def _is_of_labels(name: str) -> bool:
    """Whether an array holds labels, a copy of them, or their index."""
    return name.startswith((LABELS_PREFIX, INDEX_PREFIX)) or (
        name.startswith(SECTIONS_PREFIX) and f"_{LABELS_PREFIX}" in name
    )


def _numbered(classes: int) -> list[str]:
    return [f"class {i}" for i in range(classes or 1)]


def _check_classes(where: str, found: int, named: int) -> None:
    if found > named:
        raise UserError(
            f"{where}: holds value {found - 1} but has {named} classes "
            f"(0 to {named - 1}, {IGNORE} = unlabelled); name more classes or mend the labels"
        )


def _check_same_axes(volume: Volume, other: Volume) -> None:
    where = f"{other.url}: its labels lie on other axes than {volume.url}"
    remedy = "label the volume that is read"
    if len(volume.axes) != len(other.axes):
        raise UserError(f"{where}: {len(other.axes)} of them, not {len(volume.axes)}; {remedy}")
    for ours, theirs in zip(volume.axes, other.axes, strict=True):
        if ours.name != theirs.name and not {ours.name, theirs.name} & _ANY_VERTICAL:
            raise UserError(f"{where}: {theirs.name} where it has {ours.name}; {remedy}")
        same = len(ours) == len(theirs) and np.allclose(ours.labels, theirs.labels, rtol=1e-9, atol=1e-9)
        if not same or len({ours.unit, theirs.unit} - {""}) > 1:
            said = (f"{axis} {axis.unit}".rstrip() + f" ({len(axis)})" for axis in (theirs, ours))
            raise UserError(f"{where}: {' where it has '.join(said)}; {remedy}")
