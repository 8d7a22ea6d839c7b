"""Zarr v3 documents with MDIO v1's names: arrays, and the group with inline consolidated metadata.

Zarr v3: https://zarr-specs.readthedocs.io/en/latest/v3/core/; MDIO v1: https://mdio-python.readthedocs.io (data model).
"""

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seisjax.conventions import RECEIVER_PLACES
from seisjax.geometry import Shape, round_up

# Attributes of the group that hold what MDIO leaves to its users.
OWN = "seisjax"
MDIO_VERSION = "1.1.3"

# How chunks are compressed: little (Zstandard), fast (LZ4), or not at all, which is read the fastest from a fast disk.
COMPRESSIONS = ("zstd", "lz4", "none")

# One-dimensional or trace-wise arrays that xarray shows as coordinates of the samples.
COORDINATES = ("cdp_x", "cdp_y", *RECEIVER_PLACES)

_CHUNKS = {1: (65536,), 2: (512, 512), 3: (64, 64, 64)}
_HELD = 2**26  # samples of a recording's receivers that are held at a time
_SHARDS = {1: (65536,), 2: (4096, 4096), 3: (256, 256, 512)}


@dataclass(frozen=True)
class ArrayInfo:
    """One array of a volume: sides in samples; `chunk` is read as a whole, `shard` is written as a whole."""

    name: str
    shape: Shape
    dtype: np.dtype
    dimension_names: tuple[str, ...]
    chunk: Shape
    shard: Shape
    attributes: dict[str, Any]


def array_info(name: str, metadata: Mapping[str, Any]) -> ArrayInfo:
    """What an array's document says: `zarr.json`, or `.zarray` (Zarr v2) with `attributes` and `dimension_names` added.

    Raises KeyError, TypeError or ValueError for what is no array of numbers in regular chunks.
    """
    shape, names = tuple(metadata["shape"]), tuple(metadata["dimension_names"])
    if metadata["zarr_format"] == 2:
        inner = shard = tuple(metadata["chunks"])
        dtype = np.dtype(metadata["dtype"]).newbyteorder("=")
    else:
        inner = shard = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        dtype = np.dtype(metadata["data_type"])
        for codec in metadata["codecs"]:
            if codec["name"] == "sharding_indexed":
                inner = tuple(codec["configuration"]["chunk_shape"])
    return ArrayInfo(name, shape, dtype, names, inner, shard, metadata["attributes"])


def default_layout(shape: Sequence[int], kind: str) -> tuple[Shape, Shape]:
    """Chunk and shard of a volume, not yet clipped to it.

    A survey has chunks of 64^3 (1 MiB of float32) in shards of (256, 256, 512); panels are stored one by one, in
    chunks of (1, 512, 512). Recordings too long for 512 receivers to be held at a time have chunks of fewer receivers
    and more samples, so that ingest reads its files once. Surveys of more than three axes have short leading sides, so
    that a chunk stays 1 MiB.
    """
    ndim = len(shape)
    if kind == "panels":
        leading = (1,) * (ndim - 2)
        return leading + (512,) * min(ndim, 2), leading + tuple(shape[-2:])
    if kind == "recording" and ndim == 2:
        rows = _CHUNKS[2][0]
        while rows > 4 and min(rows, shape[0]) * shape[1] > _HELD:
            rows //= 2
        samples = math.prod(_CHUNKS[2]) // rows
        return (rows, samples), (_SHARDS[2][0], max(_SHARDS[2][1], samples))
    if ndim > 3:
        return (8,) * (ndim - 3) + (32, 32, 32), (16,) * (ndim - 3) + (128, 128, 512)
    return _CHUNKS[ndim], _SHARDS[ndim]


def clip_layout(shape: Sequence[int], chunk: Sequence[int], shard: Sequence[int]) -> tuple[Shape, Shape]:
    """Chunk no longer than the array, shard of whole chunks and no longer than what covers the array."""
    chunk = tuple(max(min(c, n), 1) for c, n in zip(chunk, shape, strict=True))
    sides = zip(shape, chunk, shard, strict=True)
    return chunk, tuple(round_up(max(min(s, n), 1), c) for n, c, s in sides)


def array_metadata(
    shape: Sequence[int],
    dtype: np.dtype,
    chunk: Shape,
    shard: Shape,
    fill: Any,
    dimension_names: Sequence[str],
    attributes: Mapping[str, Any],
    compression: str = COMPRESSIONS[0],
) -> dict[str, Any]:
    """The Zarr v3 document of an array: blosc-zstd-5-shuffle unless `compression` says otherwise, sharded where a shard
    holds more than one chunk."""
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}} if dtype.itemsize > 1 else {"name": "bytes"}
    ]
    if compression != "none":
        shuffle = "shuffle" if dtype.itemsize > 1 else "noshuffle"
        blosc = {"cname": compression, "clevel": 5, "shuffle": shuffle, "typesize": dtype.itemsize, "blocksize": 0}
        codecs.append({"name": "blosc", "configuration": blosc})
    if shard != chunk:
        index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        sharding = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": index_codecs, "index_location": "end"}
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill_to_json(fill),
        "codecs": codecs,
        "dimension_names": list(dimension_names),
        "attributes": dict(attributes),
    }


def default_fill(dtype: np.dtype) -> Any:
    """NaN for floats, 0 for whole numbers, False for booleans."""
    return math.nan if dtype.kind == "f" else dtype.type(0).item()


def fill_to_json(fill: Any) -> Any:
    """A fill value as Zarr v3 writes it."""
    if isinstance(fill, float | np.floating) and not math.isfinite(fill):
        return "NaN" if math.isnan(fill) else ("Infinity" if fill > 0 else "-Infinity")
    return fill.item() if isinstance(fill, np.generic) else fill


def group_document(name: str, own: Mapping[str, Any], arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The group's Zarr v3 document: MDIO v1 attributes, our own under `attributes`, every array's document inline."""
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "apiVersion": MDIO_VERSION,
            "createdOn": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "name": name,
            "attributes": {OWN: dict(own)},
        },
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": dict(arrays)},
    }


def own_attributes(document: Any) -> dict[str, Any] | None:
    """Our own attributes out of a group's document; None where it is of another kind."""
    try:
        return document["attributes"]["attributes"][OWN] if document["consolidated_metadata"]["metadata"] else None
    except (KeyError, TypeError):
        return None


def is_unfinished(document: Any) -> bool:
    """Whether a group's document has our attributes, but not the consolidated metadata that we write last."""
    try:
        return OWN in document["attributes"]["attributes"] and own_attributes(document) is None
    except (KeyError, TypeError):
        return False


_LENGTHS = ("mm", "cm", "m", "km", "in", "ft", "yd", "mi")


def unit_attributes(unit: str) -> dict[str, Any]:
    """MDIO's `unitsV1` for a unit of time or length; nothing for line numbers."""
    if not unit:
        return {}
    return {"unitsV1": {"length" if unit in _LENGTHS else "time": unit}}


def unit_of(attributes: Mapping[str, Any]) -> str:
    """The unit that `unitsV1` (an object, or the same as JSON text) or `units` states, or ""."""
    units = attributes.get("unitsV1", {})
    units = json.loads(units) if isinstance(units, str) else units
    unit = next(iter(units.values()), "") or attributes.get("units", "")
    return unit if isinstance(unit, str) and " since " not in unit else ""  # "days since 1970-01-01" is a calendar
