"""Chunks as they are stored, fetched and not decoded: what the storage alone gives."""

import itertools
import struct
from collections.abc import Callable, Mapping
from typing import Any

import tensorstore as ts

from seisjax.geometry import Box, Shape
from seisjax.volumes.metadata import ArrayInfo
from seisjax.volumes.store import Store


def start_fetch(store: Store, path: str, document: Mapping[str, Any], info: ArrayInfo, box: Box) -> Callable[[], int]:
    """Begin to fetch the chunks of the array at `path` over `box`; calling what is returned gives their bytes.

    All are under way together. In shards each chunk is a range of bytes that the shard's index tells, which is fetched
    once and kept, as in reading. A chunk that is not stored has none.
    """
    reads = []
    for shard in _touched(box, info.shard):
        if info.shard == info.chunk:
            reads.append(store.start_read(f"{path}/{_key(document, shard)}"))
            continue
        first = tuple(place * side for place, side in zip(shard, info.shard, strict=True))
        inner = store.open_shard(f"{path}/{_key(document, shard)}", _sharding(document, info))
        for chunk in _touched(box.intersect(Box(first, info.shard)).relative_to(first), info.chunk):
            reads.append(inner.read(struct.pack(f">{len(chunk)}I", *chunk)))
    return lambda: sum(len(_value(read)) for read in reads)


def _value(read: ts.Future) -> bytes:
    found = read.result()
    return found.value if found.state == "value" else b""


def _touched(box: Box, sides: Shape) -> list[Shape]:
    """Places, counted in boxes of these sides, of those that a box touches."""
    ends = zip(box.start, box.stop, sides, strict=True)
    return list(itertools.product(*(range(a // side, -(-b // side)) for a, b, side in ends)))


def _key(document: Mapping[str, Any], place: Shape) -> str:
    """The key of a chunk, or of a shard, below its array's."""
    if document["zarr_format"] == 2:
        return document.get("dimension_separator", ".").join(map(str, place))
    encoding = document["chunk_key_encoding"]
    plain = encoding["name"] == "v2"
    separator = encoding.get("configuration", {}).get("separator", "." if plain else "/")
    return separator.join(([] if plain else ["c"]) + [str(i) for i in place])


def _sharding(document: Mapping[str, Any], info: ArrayInfo) -> dict[str, Any]:
    """TensorStore's specification of what a shard holds, but for where the shard is."""
    options = next(c["configuration"] for c in document["codecs"] if c["name"] == "sharding_indexed")
    return {
        "driver": "zarr3_sharding_indexed",
        "grid_shape": [shard // chunk for shard, chunk in zip(info.shard, info.chunk, strict=True)],
        "index_codecs": options["index_codecs"],
        "index_location": options.get("index_location", "end"),
    }
