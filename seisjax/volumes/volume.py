"""`Volume`: named arrays over named axes in a sharded Zarr v3 group."""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorstore as ts

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX, TRACE_MASK
from seisjax.errors import UserError, nearest
from seisjax.geometry import Axis, Box, Shape
from seisjax.volumes import metadata as zarr
from seisjax.volumes.label_index import LabelCounter, LabelIndex
from seisjax.volumes.metadata import ArrayInfo
from seisjax.volumes.staging import Staging
from seisjax.volumes.statistics import ArrayStatistics
from seisjax.volumes.store import Store, default_json, local_path, storage_errors

_INDEX_PREFIX = "chunk_counts_"
_READ_REMEDY = "check that the store is whole and can be reached"
_WRITE_REMEDY = "check free space and permissions"


class Volume:
    """A group of arrays over named axes, slowest first, the vertical last. Made by `open_volume` and `create_volume`.

    Holds the URL and the metadata; array handles are opened when first used, shared by all threads, and left behind when
    the volume is pickled. As a context manager it finishes on leaving, and takes back what it wrote after an exception.
    """

    url: str
    axes: tuple[Axis, ...]
    attributes: dict[str, Any]  # the group's own: kind, and whatever its writer remembers
    arrays: dict[str, ArrayInfo]

    def __init__(self, url: str, store: Store, axes: Sequence[Axis], attributes: dict[str, Any]):
        self.url = url
        self.axes = tuple(axes)
        self.attributes = attributes
        self.arrays = {}
        self._store = store
        self._staging: Staging | None = None
        self._documents: dict[str, dict[str, Any]] = {}  # the arrays' Zarr documents; ArrayInfo.attributes lie in them
        self._finished: dict[str, Any] | None = None  # the group's document as it stands in the store
        self._added: set[str] = set()
        self._counters: dict[str, LabelCounter] = {}
        self._handles: dict[str, ts.TensorStore] = {}
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_handles", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _handles={}, _lock=threading.RLock())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception: object, *_: object) -> None:
        if exception is None:
            self.finish()
        else:
            self.abort()

    # What the volume is.

    @property
    def shape(self) -> Shape:
        """Samples along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def kind(self) -> str:
        """ "survey" or "panels"."""
        return self.attributes["kind"]

    @property
    def statistics(self) -> ArrayStatistics | None:
        """Statistics of the amplitude as its writer set them; None where it did not."""
        return ArrayStatistics.from_attributes(self.arrays[AMPLITUDE].attributes) if AMPLITUDE in self.arrays else None

    @property
    def fingerprint(self) -> str:
        """16 hex digits over axes, amplitude type and statistics; labels and predictions do not enter."""
        digest = hashlib.sha256()
        for axis in self.axes:
            digest.update(f"{axis.name}/{axis.unit}/".encode() + np.asarray(axis.labels, np.float64).tobytes())
        if AMPLITUDE in self.arrays:
            digest.update(f"{self.arrays[AMPLITUDE].dtype}/{self.statistics}".encode())
        return digest.hexdigest()[:16]

    def label_names(self) -> list[str]:
        """Names of the label arrays, without their prefix."""
        return sorted(name.removeprefix(LABELS_PREFIX) for name in self.arrays if name.startswith(LABELS_PREFIX))

    def class_names(self, name: str) -> list[str]:
        """Class names of a label array, in the order of their values."""
        return list(self._info(self._label_array(name)).attributes["class_names"])

    def describe(self) -> str:
        """A few lines for people: axes, arrays, statistics, labels."""
        lines = [f"{self.url}: {self.kind}, " + " x ".join(map(str, self.shape))]
        lines += [f"  axis {axis} {axis.unit}".rstrip() for axis in self.axes]
        axis_names = [axis.name for axis in self.axes]
        for info in self.arrays.values():
            if info.name not in axis_names and not info.name.startswith(_INDEX_PREFIX):
                lines.append(f"  {info.name} {info.dtype} {info.shape}, chunk {info.chunk}, shard {info.shard}")
        if self.statistics:
            s = self.statistics
            lines.append(f"  mean {s.mean:.6g}, std {s.std:.6g}, {s.min:.6g} to {s.max:.6g}, {s.non_finite} not finite")
        for name in self.label_names():
            counts = self.label_index(name).histogram
            lines.append(
                f"  {name}: " + ", ".join(f"{c} {n}" for c, n in zip(self.class_names(name), counts, strict=False))
            )
        return "\n".join(lines)

    # Reading.

    def read(self, name: str, box: Box) -> np.ndarray:
        """The samples of an array in `box`, which lies inside it, in the stored type."""
        info = self._info(name)
        if not Box.whole(info.shape).contains(box):
            raise ValueError(f"{box} reaches past {name} {info.shape}")
        with storage_errors(f"{self.url}/{name}", _READ_REMEDY):
            return self._handle(name)[box.slices].read().result()

    def read_padded(self, name: str, box: Box, fill: Any) -> np.ndarray:
        """The samples of an array in `box`; `fill` where it reaches past the array."""
        info = self._info(name)
        inner = box.intersect(Box.whole(info.shape))
        if inner == box:
            return self.read(name, box)
        values = np.full(box.shape, fill, info.dtype)
        if inner.size:
            values[inner.relative_to(box.start).slices] = self.read(name, inner)
        return values

    def read_amplitude(self, box: Box) -> np.ndarray:
        """float32 amplitudes in `box`, NaN where there is no datum: dead traces, NaN and Inf, past the volume."""
        values = self.read_padded(AMPLITUDE, box, np.nan).astype(np.float32, copy=False)
        values[np.isinf(values)] = np.nan
        values[~self._live(box)] = np.nan
        return values

    def read_labels(self, name: str, box: Box) -> np.ndarray:
        """uint8 classes in `box`, IGNORE where unlabelled, on dead traces and past the volume."""
        labels = self.read_padded(self._label_array(name), box, IGNORE)
        labels[~self._live(box)] = IGNORE
        return labels

    def label_index(self, name: str) -> LabelIndex:
        """Class counts of every chunk of a label array, read from the store."""
        array = self._label_array(name)
        index = _INDEX_PREFIX + array.removeprefix(LABELS_PREFIX)
        if index not in self.arrays:
            raise UserError(f"{self.url}: {array} has no label index; write the labels again")
        return LabelIndex(self._info(array).chunk, self.read(index, Box.whole(self._info(index).shape)))

    def _live(self, box: Box) -> np.ndarray:
        """Traces of `box` that hold data, a boolean array over the axes above the vertical."""
        traces = Box(box.start[:-1], box.shape[:-1])
        if TRACE_MASK not in self.arrays:
            return np.ones(traces.shape, bool)
        return self.read_padded(TRACE_MASK, traces, False)

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
        if name in self.arrays:
            raise UserError(f"{self.url}: array '{name}' exists; choose another name or another output")
        names = tuple(dimension_names) if dimension_names else tuple(axis.name for axis in self.axes)
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
        document = zarr.array_metadata(shape, dtype, chunk, shard, fill, names, attributes or {})
        with storage_errors(f"{self.url}/{name}", _WRITE_REMEDY):
            self._added.add(name)
            self._remember(name, self._store.create_array(name, document))
        if is_label:
            self._counters[name] = LabelCounter(shape, chunk)
        if values is not None:
            self.write(name, Box.whole(shape), values)

    def write(self, name: str, box: Box, values: Any) -> None:
        """Write whole shards of an array (clipped where the array ends); labels are counted on the way.

        Shards may be written from several threads. Raises ValueError for a box of parts of shards, for values of another
        shape, and for whole numbers that the array's type does not hold; UserError when the storage fails.
        """
        info = self._info(name)
        _check_whole_shards(info, box)
        values = _cast(values, info)
        if values.shape != box.shape:
            raise ValueError(f"{name}: values of shape {values.shape} for a box of {box.shape}")
        if name in self._counters:
            with self._lock:
                self._counters[name].count(box, values)
        with storage_errors(f"{self.url}/{name}", _WRITE_REMEDY):
            self._handle(name)[box.slices].write(values).result()

    def set_attributes(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Set attributes of an array; stored by `finish`."""
        self._info(name).attributes.update(attributes)

    def set_statistics(self, statistics: ArrayStatistics, name: str = AMPLITUDE) -> None:
        """Set an array's statistics (MDIO's `statsV1` and our own); stored by `finish`."""
        self.set_attributes(name, statistics.attributes())

    def finish(self) -> Self:
        """Store label indices and attributes, then the group's document, last; then move a new local store in place.

        Raises UserError for labels outside the classes named, and when the storage fails.
        """
        with storage_errors(self.url, _WRITE_REMEDY):
            for name, counter in self._counters.items():
                self._write_label_index(name, counter)
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
            self._store.delete(f"{name}/")
            self.arrays.pop(name, None)
            self._documents.pop(name, None)
        self._counters, self._added = {}, set()

    def _write_label_index(self, name: str, counter: LabelCounter) -> None:
        info, label = self._info(name), name.removeprefix(LABELS_PREFIX)
        classes = info.attributes.setdefault("class_names", [f"class {i}" for i in range(counter.counts.shape[-1])])
        if counter.counts.shape[-1] > len(classes):
            raise UserError(
                f"{self.url}/{name}: holds value {counter.counts.shape[-1] - 1} but there are only {len(classes)} classes "
                f"(0 to {len(classes) - 1}, {IGNORE} = unlabelled); name more classes or mend the labels"
            )
        counter.ensure(len(classes))
        # Names of its own: xarray wants one size a name in the whole group.
        dimensions = [f"{label}_{axis}_chunk" for axis in info.dimension_names] + [f"{label}_class"]
        whole = counter.counts.shape
        self.add_array(
            _INDEX_PREFIX + label, dimension_names=dimensions, chunk=whole, shard=whole, values=counter.counts
        )

    def _link_coordinates(self) -> None:
        """Name, on arrays of samples, the coordinates that lie over some of their dimensions, as CF and MDIO do."""
        present = [self.arrays[name] for name in zarr.COORDINATES if name in self.arrays]
        for info in self.arrays.values():
            over = [c.name for c in present if set(c.dimension_names) <= set(info.dimension_names) and c is not info]
            if over and info.name not in zarr.COORDINATES and len(info.dimension_names) > 1:
                info.attributes["coordinates"] = " ".join(over)

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

    def _handle(self, name: str) -> ts.TensorStore:
        with self._lock:
            if name not in self._handles:
                self._handles[name] = self._store.open_array(name, self._documents[name])
            return self._handles[name]


def _check_whole_shards(info: ArrayInfo, box: Box) -> None:
    whole = Box.whole(info.shape).contains(box) and all(
        a % s == 0 and (b % s == 0 or b == n)
        for a, b, s, n in zip(box.start, box.stop, info.shard, info.shape, strict=True)
    )
    if not whole:
        raise ValueError(f"{info.name}: {box} is not made of whole shards {info.shard} of the array {info.shape}")


def _cast(values: Any, info: ArrayInfo) -> np.ndarray:
    values = np.asarray(values)
    if info.dtype.kind in "iu" and values.dtype != info.dtype and values.size:
        low, high = np.iinfo(info.dtype).min, np.iinfo(info.dtype).max
        if values.dtype.kind not in "biu" or values.min() < low or values.max() > high:
            raise ValueError(f"{info.name}: values {values.min()} to {values.max()} do not fit {info.dtype}")
    return np.ascontiguousarray(values, info.dtype)


def open_volume(url: str | Path) -> Volume:
    """Open a finished volume: a path or a `file://`, `memory://`, `gs://`, `s3://`, `http(s)://` URL.

    Reads the group's document and the axes; arrays are opened when first used. Raises UserError where there is no
    volume, or one that was not finished.
    """
    url = str(url)
    url = str(local_path(url) or url)
    store = Store(url)
    with storage_errors(url, _READ_REMEDY):
        document = store.read_json("zarr.json")
    if document is None:
        raise UserError(f"{url}: no volume here (no zarr.json), or one that was never finished; check the path")
    own = document.get("attributes", {}).get("attributes", {}).get(zarr.OWN)
    if own is None or "consolidated_metadata" not in document:
        raise UserError(f"{url}: a Zarr group, but not a volume of this package; ingest it first")
    volume = Volume(url, store, (), own)
    volume._finished = json.loads(json.dumps(document))
    for name, array in document["consolidated_metadata"]["metadata"].items():
        volume._remember(name, array)
    volume.axes = tuple(_read_axis(volume, name) for name in own["axes"])
    return volume


def _read_axis(volume: Volume, name: str) -> Axis:
    info = volume.arrays[name]
    return Axis(name, volume.read(name, Box.whole(info.shape)), zarr.unit_of(info.attributes))


def create_volume(
    url: str | Path,
    axes: Sequence[Axis],
    *,
    dtype: Any = "float32",
    chunk: Sequence[int] | None = None,
    shard: Sequence[int] | None = None,
    kind: str = "survey",
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Volume:
    """Start a volume; nobody else sees it before `finish`.

    It gets the axes' coordinate arrays and, unless `dtype` is None, `amplitude` (unwritten: NaN) and `trace_mask` (over
    all axes but the last; unwritten: True = the trace holds data). `kind` is "survey" or "panels" and chooses the
    default chunk and shard. A local store grows in a folder beside its place; elsewhere it grows in place.
    Raises UserError where something stands at `url` that may not be overwritten.
    """
    url = str(url)
    path = local_path(url)
    url = str(path or url)
    _check_free(url, overwrite)
    shape = tuple(len(axis) for axis in axes)
    default_chunk, default_shard = zarr.default_layout(shape, kind)
    chunk, shard = zarr.clip_layout(shape, chunk or default_chunk, shard or default_shard)
    names = [axis.name for axis in axes]
    own = {**(attributes or {}), "kind": kind, "axes": names, "chunk": list(chunk), "shard": list(shard)}
    staging = Staging(path) if path else None
    volume = Volume(url, Store(str(staging.folder) if staging else url), axes, own)
    volume._staging = staging
    try:
        for axis in axes:
            labels = _narrow(np.asarray(axis.labels))
            whole = labels.shape
            volume.add_array(
                axis.name,
                dimension_names=[axis.name],
                chunk=whole,
                shard=whole,
                values=labels,
                attributes=zarr.unit_attributes(axis.unit),
            )
        if dtype is not None:
            volume.add_array(AMPLITUDE, dtype)
            volume.add_array(TRACE_MASK, bool, dimension_names=names[:-1], fill=True)
    except BaseException:
        volume.abort()
        raise
    return volume


def _check_free(url: str, overwrite: bool) -> None:
    """Let nothing be overwritten but a volume, and that only where it was asked for; elsewhere than locally, clear it."""
    path = local_path(url)
    if path is not None and (not path.exists() or (path.is_dir() and not any(path.iterdir()))):
        return
    if path is not None and not path.is_dir():
        raise UserError(f"{url}: exists and is a file; choose another --output")
    store = Store(url)
    with storage_errors(url, _READ_REMEDY):
        document = store.read_json("zarr.json")
    if document is None and path is None:
        return
    if document is None or zarr.OWN not in document.get("attributes", {}).get("attributes", {}):
        raise UserError(f"{url}: exists and is not a volume; choose another --output")
    if not overwrite:
        raise UserError(f"{url}: exists; choose another --output or give --overwrite")
    if path is None:
        with storage_errors(url, _WRITE_REMEDY):
            store.delete("zarr.json")
            store.delete("")


def _narrow(labels: np.ndarray) -> np.ndarray:
    """Coordinate labels as MDIO keeps them: int32 where whole numbers of that size, else as float64."""
    if labels.dtype.kind in "iu":
        fits = labels.size == 0 or (labels.min() >= -(2**31) and labels.max() < 2**31)
        return labels.astype(np.int32 if fits else np.int64)
    return labels.astype(np.float64)
