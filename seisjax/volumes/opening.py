"""Opening volumes: our own, and those that others wrote."""

from pathlib import Path
from typing import Any

import numpy as np

from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import foreign
from seisjax.volumes import metadata as zarr
from seisjax.volumes.store import READ_REMEDY, Store, local_path, storage_errors
from seisjax.volumes.volume import Volume


def open_volume(url: str | Path) -> Volume:
    """Open a volume: a path or a `file://`, `memory://`, `gs://`, `s3://`, `http(s)://` URL.

    A finished store of this package, MDIO v1 and v0, or any Zarr v2 or v3 group of arrays with named dimensions, the
    vertical last. `url#name` takes the array `name` for the amplitude. What others wrote can be read, not written.
    Reads the group's document and the axes; arrays are opened when first used. Raises UserError where there is no
    volume, one that was not finished, or one whose samples cannot be read, and tells what to do about it.
    """
    url, choice = _split(str(url))
    store = Store(url)
    with storage_errors(url, READ_REMEDY):
        root = store.read_json("zarr.json")
        own = zarr.own_attributes(root)
        if own is not None and choice in ("", AMPLITUDE):
            volume = Volume(url, store, (), own, document=root)
            volume.axes = tuple(_read_axis(volume, name) for name in own["axes"])
            return volume
        if zarr.is_unfinished(root):
            raise UserError(f"{url}: no volume here, but one that was never finished; write it again")
        try:
            group = foreign.read_group(url, store, root, choice)
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(f"{url}: its metadata is not as Zarr prescribes ({error!r}); write it again") from error
    path = local_path(url)
    if path is not None and path.is_file():
        raise UserError(
            f"{url}: is a file, no volume; launch/ingest.py --input={url} --output=NAME.zarr makes one of it"
        )
    if group is None:
        raise UserError(f"{url}: no volume here (no zarr.json), or one that was never finished; check the path")
    return _open_foreign(url, choice, store, group)


def _split(url: str) -> tuple[str, str]:
    """The URL and the array that stands behind its `#`. Local paths become absolute, and may hold a `#` themselves."""
    base, _, choice = url.rpartition("#")
    path = local_path(url)
    if not base or (path is not None and path.exists()):
        base, choice = url, ""
    return str(local_path(base) or base), choice


def _read_axis(volume: Volume, name: str) -> Axis:
    info = volume.arrays[name]
    return Axis(name, volume.read(name, Box.whole(info.shape)), zarr.unit_of(info.attributes))


def _open_foreign(url: str, choice: str, store: Store, group: foreign.Group) -> Volume:
    amplitude = foreign.find_amplitude(url, group, choice)
    places = foreign.named_arrays(url, store, group, amplitude)
    documents = {name: dict(group.arrays[path]) for name, path in places.items()}
    if amplitude is not None:
        attributes = {k: v for k, v in documents[AMPLITUDE]["attributes"].items() if k != "missing_value"}
        missing = foreign.missing_values(documents[AMPLITUDE])
        documents[AMPLITUDE]["attributes"] = attributes | ({"missing_value": missing} if missing else {})
    samples = AMPLITUDE if amplitude else next(name for name in documents if name.startswith(LABELS_PREFIX))
    names, shape = documents[samples]["dimension_names"], documents[samples]["shape"]
    chunk, shard = zarr.clip_layout(shape, *zarr.default_layout(shape, "survey"))  # of arrays made like these
    own = {"kind": "survey", "axes": list(names), "chunk": list(chunk), "shard": list(shard), "format": group.format}
    document: dict[str, Any] = {"consolidated_metadata": {"metadata": documents}}
    volume = Volume(f"{url}#{choice}" if choice else url, store, (), own, document=document, places=places)
    path = places[samples]
    volume.axes = tuple(_foreign_axis(volume, group, path, n, size) for n, size in zip(names, shape, strict=True))
    return volume


def _foreign_axis(volume: Volume, group: foreign.Group, samples: str, name: str, size: int) -> Axis:
    source = foreign.axis_source(group, samples, name)
    if isinstance(source, np.ndarray):
        return foreign.make_axis(name, size, source, foreign.axis_unit(group, name, {}), volume.url)
    info = volume.arrays.get(source or "")
    labels = volume.read(info.name, Box.whole(info.shape)) if info else None
    return foreign.make_axis(
        name, size, labels, foreign.axis_unit(group, name, info.attributes if info else {}), volume.url
    )
