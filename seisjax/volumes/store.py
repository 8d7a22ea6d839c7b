"""Where volumes live: URLs, the one TensorStore context of this process, JSON documents and array handles.

All reading and writing of a store, metadata too, goes through TensorStore's key-value stores, so local folders,
`memory://`, `gs://`, `s3://` and `http(s)://` take the same path through the code.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from seisjax.errors import UserError

READ_REMEDY = "check that the store is whole and can be reached"
WRITE_REMEDY = "check free space and permissions"
DOCUMENTS = ("zarr.json", ".zarray", ".zattrs", ".zgroup")

# A server that fails is asked again, six times over about 15 seconds in all; one that falls silent is given up after
# 10 seconds each time. Whoever sets these variables knows better.
_RETRIES = {"max_retries": 6, "initial_delay": "500ms", "max_delay": "4s"}
for _name, _value in {"LOW_SPEED_TIME_SECONDS": 10, "LOW_SPEED_LIMIT_BYTES": 1, "CONNECT_TIMEOUT_SECONDS": 10}.items():
    os.environ.setdefault(f"TENSORSTORE_CURL_{_name}", str(_value))

# The root holds what must outlive a change of the cache's size: the contents of `memory://`.
_root = ts.Context({f"{scheme}_request_retries": _RETRIES for scheme in ("http", "s3", "gcs")})
_context = ts.Context({"cache_pool": {"total_bytes_limit": 256 * 2**20}}, _root)


def set_cache_size(mebibytes: int) -> None:
    """Bound the decoded chunks that TensorStore keeps in this process (256 MiB at first), for arrays opened later."""
    global _context
    _context = ts.Context({"cache_pool": {"total_bytes_limit": mebibytes * 2**20}}, _root)


def bytes_read() -> int:
    """Bytes fetched so far in this process from files and object stores; `memory://` does not count."""
    metrics = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/")
    return sum(int(m["values"][0]["value"]) for m in metrics if m["name"].endswith("/bytes_read"))


def local_path(url: str) -> Path | None:
    """The absolute path that a plain path or a `file://` URL means; None for other URLs."""
    if url.startswith("file://"):
        url = url.removeprefix("file://")
    return None if "://" in url else Path(url).expanduser().absolute()


def same_place(url: str | Path, other: str | Path) -> bool:
    """Whether two URLs name one store, as far as their text and the links of this machine tell."""
    places = [str(one).partition("#")[0] for one in (url, other)]
    paths = [local_path(place) for place in places]
    if None in paths:
        return places[0].rstrip("/") == places[1].rstrip("/")
    return paths[0].resolve() == paths[1].resolve()  # pyright: ignore[reportOptionalMemberAccess]


def default_json(value: Any) -> Any:
    """What `json` does not know: numpy scalars and arrays, paths."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else os.fspath(value)


def reason_of(error: Exception) -> str:
    """What an error of TensorStore says, without its appendices."""
    appendices = "tensorstore_spec|http_response_body|curl_code|os_error_code|source locations"
    return re.split(rf" \[(?:{appendices})\b|\n", str(error))[0]


@contextmanager
def storage_errors(what: str, remedy: str) -> Iterator[None]:
    """Turn an error of TensorStore (they come as ValueError) into a UserError of one line."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = reason_of(error)
        if "was ignored by server" in reason:  # python -m http.server is one of these
            remedy = "use a web server that answers requests for byte ranges"
        raise UserError(f"{what}: {reason}; {remedy}") from error


class Store:
    """A folder of a key-value store. Picklable: it holds the folder's URL and specification alone.

    `s3://` follows the variables that Amazon's own tools follow: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL (any server
    that speaks S3), AWS_REGION or AWS_DEFAULT_REGION, and for credentials AWS_ACCESS_KEY_ID and its companions, else
    the profile, else the machine's role.
    """

    def __init__(self, url: str):
        self.url = url
        path = local_path(url)
        if path is not None:
            self.spec = {"driver": "file", "path": f"{path}/"}
            return
        with storage_errors(url, "use a path, file://, memory://, gs://, s3://, http:// or https://"):
            self.spec = ts.KvStore.Spec(url if url.endswith("/") else url + "/").to_json()
        if self.spec["driver"] == "s3":
            self.spec |= _s3_environment()

    def _kvstore(self) -> ts.KvStore:
        return ts.KvStore.open(self.spec, context=_context).result()

    def read_json(self, key: str) -> dict[str, Any] | None:
        """The JSON document under `key`, or None where there is none."""
        found = self._kvstore().read(key).result()
        return json.loads(found.value) if found.state == "value" else None

    def read_jsons(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The JSON documents under these keys, all asked for together; those that are not there are left out."""
        kvstore = self._kvstore()
        reads = {key: kvstore.read(key) for key in keys}
        found = {key: read.result() for key, read in reads.items()}
        return {key: json.loads(read.value) for key, read in found.items() if read.state == "value"}

    def metadata_keys(self) -> list[str] | None:
        """Keys of all Zarr documents, by listing the store; None where it cannot be listed (a web server)."""
        if self.spec["driver"] == "http":
            return None
        if self.spec["driver"] == "file":
            return sorted(_local_metadata_keys(Path(self.spec["path"])))
        keys = (key.decode() for key in self._kvstore().list().result())
        return sorted(key for key in keys if key.rpartition("/")[2] in DOCUMENTS)

    def write_json(self, key: str, document: dict[str, Any]) -> None:
        """Replace the document under `key` in one step: readers see the old one or the new one, whole."""
        text = json.dumps(document, indent=1, default=default_json)
        self._kvstore().write(key, text.encode()).result()

    def clear(self) -> None:
        """Delete everything, the group's document first."""
        self._kvstore().write("zarr.json", None).result()
        self._kvstore().delete_range(ts.KvStore.KeyRange()).result()

    def delete_array(self, name: str) -> None:
        """Delete the array `name`, whole or not."""
        if self.spec["driver"] == "file":  # else empty folders stay
            shutil.rmtree(Path(self.spec["path"], name), ignore_errors=True)
        else:
            self._kvstore().delete_range(ts.KvStore.KeyRange(f"{name}/", f"{name}0")).result()  # "0" follows "/"

    def read_bytes(self, key: str) -> bytes | None:
        """The bytes under `key`, or None where there are none."""
        found = self._kvstore().read(key).result()
        return found.value if found.state == "value" else None

    def start_read(self, key: str) -> ts.Future:
        """Begin to read what is under `key`."""
        return self._kvstore().read(key)

    def open_shard(self, key: str, sharding: dict[str, Any]) -> ts.KvStore:
        """The encoded chunks that the shard under `key` holds: the key of each is its place, big-endian uint32s.

        `sharding`: the specification of a `zarr3_sharding_indexed` driver, but for its base.
        """
        base = {**self.spec, "path": self.spec["path"] + key}
        return ts.KvStore.open({**sharding, "base": base}, context=_context).result()

    def present(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys under which there is something, all asked for together."""
        kvstore = self._kvstore()
        reads = [(key, kvstore.read(key)) for key in keys]
        return {key for key, read in reads if read.result().state == "value"}

    def write_bytes(self, key: str, value: bytes) -> None:
        """Replace what is under `key` in one step: readers see the old bytes or the new ones, whole."""
        self._kvstore().write(key, value).result()

    def delete(self, key: str) -> None:
        """Delete what is under `key`, if anything is."""
        self._kvstore().write(key, None).result()

    def first_key(self) -> str | None:
        """The first of all keys; None where there is nothing."""
        return min((key.decode() for key in self._kvstore().list().result()), default=None)

    def keys(self, folder: str) -> list[str]:
        """What lies under `folder/`, without that."""
        prefix = f"{folder}/"
        found = self._kvstore().list(ts.KvStore.KeyRange(prefix, f"{folder}0")).result()  # "0" follows "/"
        return sorted(key.decode().removeprefix(prefix) for key in found)

    def write_first(self, key: str, value: bytes) -> bool:
        """Write under `key` if nothing is there; of several processes that try, exactly one is told True."""
        kvstore = self._kvstore()
        found = kvstore.read(key).result()
        if found.state == "value":
            return False
        written = kvstore.write(key, value, if_equal=found.stamp.generation).result()
        return bool(written.generation)

    def create_array(self, name: str, metadata: dict[str, Any], *, replace: bool = True) -> dict[str, Any]:
        """Create the array `name` from its Zarr v3 metadata and return what was stored.

        `replace` takes away an earlier one; without it an equal array that another process just made is kept.
        """
        spec = self._array(name, metadata)
        ts.open(spec, open=not replace, create=True, delete_existing=replace, context=_context).result()
        stored = self.read_json(f"{name}/zarr.json")
        assert stored is not None
        return stored

    def open_array(self, name: str, metadata: dict[str, Any]) -> ts.TensorStore:
        """A handle on an array whose metadata is known already (nothing is fetched).

        `metadata` is its `zarr.json`, or its `.zarray` (Zarr v2) with `attributes` and `dimension_names` added.
        """
        return ts.open(self._array(name, metadata), open=True, assume_metadata=True, context=_context).result()

    def _array(self, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
        kvstore = {**self.spec, "path": f"{self.spec['path']}{name}/"}
        driver = "zarr3"
        if metadata["zarr_format"] == 2:
            driver = "zarr"
            metadata = {key: value for key, value in metadata.items() if key not in ("attributes", "dimension_names")}
        # A cached chunk is asked after once per handle, not at every read.
        return {"driver": driver, "kvstore": kvstore, "metadata": metadata, "recheck_cached_data": "open"}


def _s3_environment() -> dict[str, Any]:
    environ = os.environ
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    credentials = {"type": "environment"} if "AWS_ACCESS_KEY_ID" in environ else None
    found = {"endpoint": endpoint, "aws_region": region, "aws_credentials": credentials}
    return {key: value for key, value in found.items() if value}


def _local_metadata_keys(root: Path) -> Iterator[str]:
    for folder, inner, files in os.walk(root):
        documents = [name for name in files if name in DOCUMENTS]
        if ".zarray" in documents or ("zarr.json" in documents and _is_array(Path(folder, "zarr.json"))):
            inner.clear()  # below it lie its chunks
        yield from (Path(folder, name).relative_to(root).as_posix() for name in documents)


def _is_array(document: Path) -> bool:
    return json.loads(document.read_bytes()).get("node_type") == "array"
