"""Creating volumes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seisjax.conventions import AMPLITUDE, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Axis
from seisjax.volumes import metadata as zarr
from seisjax.volumes.staging import LEDGER, PLAN, Staging
from seisjax.volumes.store import READ_REMEDY, WRITE_REMEDY, Store, local_path, same_place, storage_errors
from seisjax.volumes.volume import Volume

_DTYPES = ("float32", "float16", "int8", "int16", "int32")


def create_volume(
    url: str | Path,
    axes: Sequence[Axis],
    *,
    dtype: Any = "float32",
    chunk: Sequence[int] | None = None,
    shard: Sequence[int] | None = None,
    compression: str = zarr.COMPRESSIONS[0],
    kind: str = "survey",
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    staging: Staging | None = None,
    shared: bool = False,
) -> Volume:
    """Start a volume; nobody else sees it before `finish`.

    It gets the axes' coordinate arrays and, unless `dtype` is None, `amplitude` (unwritten: NaN) and `trace_mask` (over
    all axes but the last; unwritten: True = the trace holds data). `kind` ("survey", "panels" or "recording") chooses
    the default chunk and shard. A local store grows in a folder beside its place; elsewhere it grows in place.
    Chunks and shards are clipped to the volume, shards rounded to whole chunks. `compression`: of all arrays, one of
    metadata.COMPRESSIONS.
    `shared`: other processes start the same volume, each with the same arguments, and what stands there already is
    kept; the caller has called `check_free`, and gives the folder of a local store as `staging`.
    Raises UserError where something stands at `url` that may not be overwritten, and for an impossible type or layout.
    """
    url = str(url)
    path = local_path(url)
    url = str(path or url)
    if dtype is not None:
        check_dtype(dtype)
    check_layout(axes, chunk, shard)
    check_compression(compression)
    if not shared:
        stands = check_free(url, overwrite)
        staging = Staging(path, replace=overwrite) if path else None
        if stands and not staging:
            with storage_errors(url, WRITE_REMEDY):
                Store(url).clear()
    shape = tuple(len(axis) for axis in axes)
    default_chunk, default_shard = zarr.default_layout(shape, kind)
    chunk, shard = zarr.clip_layout(shape, chunk or default_chunk, shard or default_shard)
    names = [axis.name for axis in axes]
    own = {**(attributes or {}), "kind": kind, "axes": names, "chunk": list(chunk), "shard": list(shard)}
    own["compression"] = compression
    volume = Volume(url, Store(str(staging.folder) if staging else url), axes, own, staging=staging, shared=shared)
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


def check_dtype(dtype: Any) -> None:
    """Raise UserError unless samples can be stored as this type."""
    try:
        known = np.dtype(dtype).name in _DTYPES
    except TypeError:
        known = False
    if not known:
        raise UserError(f"--dtype={dtype}: samples are stored as one of {', '.join(_DTYPES)}")


def check_layout(axes: Sequence[Axis], chunk: Sequence[int] | None, shard: Sequence[int] | None) -> None:
    """Raise UserError unless the sides that are given are one for each axis, and above 0."""
    names = ",".join(axis.name for axis in axes)
    for flag, sides in (("--chunk", chunk), ("--shard", shard)):
        if sides is not None and (len(sides) != len(axes) or min(sides) < 1):
            raise UserError(f"{flag}={','.join(map(str, sides))}: give one side above 0 for each of {names}")


def check_compression(name: str) -> None:
    """Raise UserError unless chunks can be compressed so."""
    if name not in zarr.COMPRESSIONS:
        raise UserError(f"--compression={name}: choose one of {', '.join(zarr.COMPRESSIONS)}")


def check_free(url: str, overwrite: bool, ledger: str = LEDGER, only: str = "") -> bool:
    """Let nothing be overwritten but a volume, and only where asked for; returns whether one stands there.

    What is not local grows in place: it may go on where `ledger` holds the plan of one that is not finished.
    `only`: volumes alone that have this attribute, which says what they were made from.
    """
    path = local_path(url)
    if path is not None and (not path.exists() or (path.is_dir() and not any(path.iterdir()))):
        return False
    if path is not None and not path.is_dir():
        raise UserError(f"{url}: exists and is a file; choose another --output")
    store = Store(url)
    with storage_errors(url, READ_REMEDY):
        document = store.read_json("zarr.json")
        if document is None and path is None:
            begun = store.read_bytes(f"{ledger}/{PLAN}") is not None
            if not begun and (key := store.first_key()) is not None:
                raise UserError(f"{url}: holds other things (such as {key}) and no volume; choose another --output")
            return False
    own = zarr.own_attributes(document) if document else None
    if own is None:
        raise UserError(f"{url}: exists and is not a volume; choose another --output")
    if only and only not in own:
        raise UserError(f"{url}: exists and is another kind of volume ({own.get('kind')}); choose another --output")
    if not overwrite:
        raise UserError(f"{url}: exists; choose another --output or give --overwrite")
    return True


def check_apart(output: str | Path, inputs: Iterable[str | Path | None], flag: str = "--output") -> None:
    """Raise UserError where the output is one of the stores or files that are read."""
    if any(one and same_place(output, one) for one in inputs):
        raise UserError(f"{flag}={output}: is what is read; choose another place")


def _narrow(labels: np.ndarray) -> np.ndarray:
    """Coordinate labels as MDIO keeps them: int32 where whole numbers of that size, else as float64."""
    if labels.dtype.kind in "iu":
        fits = labels.size == 0 or (labels.min() >= -(2**31) and labels.max() < 2**31)
        return labels.astype(np.int32 if fits else np.int64)
    return labels.astype(np.float64)
