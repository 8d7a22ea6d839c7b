"""Opening volumes."""

from pathlib import Path

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import metadata as zarr
from seisjax.volumes.store import READ_REMEDY, Store, local_path, storage_errors
from seisjax.volumes.volume import Volume


def open_volume(url: str | Path) -> Volume:
    """Open a finished volume: a path or a `file://`, `memory://`, `gs://`, `s3://`, `http(s)://` URL.

    Reads the group's document and the axes; arrays are opened when first used. Raises UserError where there is no
    volume, or one that was not finished.
    """
    url = str(url)
    url = str(local_path(url) or url)
    store = Store(url)
    with storage_errors(url, READ_REMEDY):
        document = store.read_json("zarr.json")
    if document is None:
        raise UserError(f"{url}: no volume here (no zarr.json), or one that was never finished; check the path")
    own = zarr.own_attributes(document)
    if own is None:
        raise UserError(f"{url}: a Zarr group, but not a volume of this package; ingest it first")
    volume = Volume(url, store, (), own, document=document)
    volume.axes = tuple(_read_axis(volume, name) for name in own["axes"])
    return volume


def _read_axis(volume: Volume, name: str) -> Axis:
    info = volume.arrays[name]
    return Axis(name, volume.read(name, Box.whole(info.shape)), zarr.unit_of(info.attributes))
