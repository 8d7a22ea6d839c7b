"""Zarr groups that others wrote: MDIO v1 and v0, xarray's, any group of Zarr v2 or v3 arrays with named dimensions."""

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import logging

from seisjax.conventions import AMPLITUDE, INDEX_PREFIX, LABELS_PREFIX, SECTIONS_PREFIX, TRACE_MASK
from seisjax.errors import UserError, nearest, note
from seisjax.geometry import Axis
from seisjax.volumes import metadata as zarr
from seisjax.volumes.store import Store

# Dimensions with these names are the vertical, which has to be the last.
_VERTICALS = ("time", "depth", "twt", "twtt", "tvd", "tvdss", "sample", "samples", "z")
_NO_SAMPLES = (LABELS_PREFIX, "pred_", SECTIONS_PREFIX, INDEX_PREFIX)
_LIVE_MASK = "metadata/live_mask"  # of MDIO v0
_REWRITE = "write it again as plain numbers, uncompressed or with blosc, zstd or gzip (xarray or zarr do it)"

Document = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """A group's attributes, and its arrays' documents by their path below it.

    A document is an array's `zarr.json`, or its `.zarray` (v2) with `attributes`; both have `dimension_names`, which
    is () where nothing names the dimensions.
    """

    attributes: dict[str, Any]
    arrays: dict[str, Document]

    @property
    def format(self) -> str:
        """What people call it."""
        version = self.attributes.get("apiVersion") or self.attributes.get("api_version")
        return f"MDIO {version}" if version else "Zarr"


def read_group(url: str, store: Store, root: Document | None, choice: str) -> Group | None:
    """The group whose `zarr.json` is `root` (None where it has none); None where there is no group.

    Arrays come from the consolidated metadata, else from listing the store, else (a web server) from the names that
    are known: `choice`, or the variable that MDIO v1 names in the group's attributes.
    Raises UserError where none of this tells which arrays there are, and where `url` is an array.
    """
    if root is None:
        found = store.read_jsons([".zgroup", ".zattrs", ".zmetadata", ".zarray"])
        _refuse_array(url, ".zarray" in found)
        if ".zgroup" not in found and ".zmetadata" not in found:
            return None
        attributes, consolidated = found.get(".zattrs", {}), found.get(".zmetadata")
    else:
        found = root if isinstance(root, dict) else {}
        _refuse_array(url, found.get("node_type") == "array")
        if found.get("node_type") != "group":
            raise UserError(f"{url}: its zarr.json is not that of a Zarr group; check the path")
        attributes, consolidated = found.get("attributes") or {}, found.get("consolidated_metadata")
    if consolidated:
        documents = consolidated["metadata"]
        attributes = documents.get(".zattrs", attributes)
        if root is not None:
            documents = {f"{path}/zarr.json": document for path, document in documents.items()}
    else:
        files = [".zarray", ".zattrs"] if root is None else ["zarr.json"]
        documents = _read_documents(url, store, attributes, choice, files)
    return Group(attributes, _arrays(documents, attributes))


def _refuse_array(url: str, is_array: bool) -> None:
    if is_array:
        parent, _, name = url.rstrip("/").rpartition("/")
        raise UserError(f"{url}: one array, not the group that holds it; open {parent}#{name}")


def _read_documents(
    url: str, store: Store, attributes: Mapping[str, Any], choice: str, files: Sequence[str]
) -> dict[str, Document]:
    def fetch(*names: str) -> dict[str, Document]:
        return store.read_jsons([f"{name}/{file}" for name in names for file in files])

    keys = store.metadata_keys()
    if keys is not None:
        return store.read_jsons(keys)
    known = choice or _mdio_default(attributes)
    if not known:
        raise UserError(
            f"{url}: its metadata is not consolidated and a web server does not list what a group holds; "
            f"run zarr.consolidate_metadata on the store, or name the array: {url}#<name>"
        )
    documents = fetch(known)
    for array in _arrays(documents, attributes).values():
        coordinates = str(array["attributes"].get("coordinates", "")).split()
        documents |= fetch(*array["dimension_names"], *coordinates, TRACE_MASK)
    note(
        f"{url}: its metadata is not consolidated, so only '{known}' and its coordinates are seen; "
        "run zarr.consolidate_metadata on the store for the rest"
    )
    return documents


def _arrays(documents: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Document]:
    """Arrays by path, out of documents by key."""
    found = {}
    for key, document in documents.items():
        path, _, file = key.rpartition("/")
        if path and file == ".zarray":
            found[path] = {**document, "attributes": documents.get(f"{path}/.zattrs", {})}
        elif path and file == "zarr.json" and document.get("node_type") == "array":
            found[path] = {**document, "attributes": document.get("attributes") or {}}
    for document in found.values():
        document["dimension_names"] = _dimension_names(document, attributes)
    return found


def _dimension_names(document: Document, attributes: Mapping[str, Any]) -> tuple[str, ...]:
    ndim = len(document["shape"])
    names = document.get("dimension_names") or document["attributes"].get("_ARRAY_DIMENSIONS")
    if not names:  # MDIO v0: the axes stand at the group, and live traces and headers lie over all but the last
        names = [axis["name"] for axis in _mdio_v0_axes(attributes)]
        names = names[:ndim] if ndim in (len(names), len(names) - 1) else ()
    return tuple(names) if len(names) == ndim and all(isinstance(n, str) for n in names) else ()


def _mdio_default(attributes: Mapping[str, Any]) -> str:
    inner = attributes.get("attributes")
    return str(inner.get("defaultVariableName", "")) if isinstance(inner, dict) else ""


def _mdio_v0_axes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name and coords of every axis of an MDIO v0 group; nothing for others."""
    return attributes["dimension"] if "api_version" in attributes and "dimension" in attributes else []


def find_amplitude(url: str, group: Group, choice: str) -> str | None:
    """Path of the array of samples; None for a group that holds labels alone.

    It is `choice`, else `amplitude`, else MDIO's default variable, else the one array of numbers of most dimensions.
    Raises UserError where that is not there, or several are.
    """
    if choice:
        if choice not in group.arrays:
            raise UserError(f"{url}: no array '{choice}'{nearest(choice, group.arrays)}")
        return choice
    sure = [AMPLITUDE, _mdio_default(group.attributes)]
    if _mdio_v0_axes(group.attributes):  # chunked along all axes, as MDIO v0 itself prefers it
        sure.append("data/chunked_" + "".join(map(str, range(len(group.attributes["dimension"])))))
    for name in sure:
        if name in group.arrays:
            return name
    candidates = _candidates(group)
    most = max((len(group.arrays[path]["shape"]) for path in candidates), default=0)
    candidates = [path for path in candidates if len(group.arrays[path]["shape"]) == most]
    if len(candidates) > 1:
        names = ", ".join(candidates)
        raise UserError(f"{url}: which of {names} is the amplitude? choose one, e.g. {url}#{candidates[0]}")
    if candidates:
        return candidates[0]
    if any(path.startswith(LABELS_PREFIX) for path in group.arrays):
        return None
    raise UserError(f"{url}: no volume here: the group holds no array of numbers with two or more dimensions")


def _candidates(group: Group) -> list[str]:
    """Arrays that may hold samples: numbers over two or more dimensions, no labels, no coordinates."""
    others = {TRACE_MASK, _LIVE_MASK, *zarr.COORDINATES}
    for document in group.arrays.values():
        others |= {*document["dimension_names"], *str(document["attributes"].get("coordinates", "")).split()}
    return [
        path
        for path, document in group.arrays.items()
        if len(document["shape"]) > 1 and _kind(document) in "iuf"
        if not {path, path.rpartition("/")[2]} & others and not path.startswith(_NO_SAMPLES)
    ]


def _kind(document: Document) -> str:
    """numpy's letter for the kind of an array's type; "V" for records, text and whatever numpy has no name for."""
    try:
        return np.dtype(document.get("data_type") or document["dtype"]).kind
    except (TypeError, ValueError):
        return "V"


def named_arrays(url: str, store: Store, group: Group, amplitude: str | None) -> dict[str, str]:
    """Name in the volume -> path in the store, of every array that can be read.

    The amplitude becomes `amplitude` with its copies for sections, MDIO v0's live mask `trace_mask`. Arrays that
    TensorStore cannot open, and labels or a mask over other axes, are left out.
    Raises UserError where the amplitude is among them, or where its dimensions have no names or the wrong order.
    """
    first = amplitude or next(path for path in group.arrays if path.startswith(LABELS_PREFIX))
    dimensions, shape = group.arrays[first]["dimension_names"], tuple(group.arrays[first]["shape"])
    _check_dimensions(f"{url}: '{first}'", dimensions)
    names = {}
    for path, document in group.arrays.items():
        reason = _why_not(store, path, document)
        if reason and path == first:
            raise UserError(f"{url}: '{path}' cannot be read ({reason}); {_REWRITE}")
        name = _name(path, amplitude)
        own, over = document["dimension_names"], tuple(document["shape"])
        if not reason and name.startswith(LABELS_PREFIX) and (over != shape or _kind(document) not in "iub"):
            reason = "labels are whole numbers over the axes of the samples"
        if not reason and name == TRACE_MASK and (over != shape[:-1] or own != dimensions[:-1]):
            reason = "not over the axes above the vertical"
        if not reason and name:
            names[name] = path
        elif reason:
            logging.info("%s/%s is left out: %s", url, path, reason)
    return names


def _name(path: str, amplitude: str | None) -> str:
    """What the volume calls an array; "" where another one is called so."""
    if amplitude is None or amplitude == AMPLITUDE:
        return TRACE_MASK if path == _LIVE_MASK else path
    if path == amplitude:
        return AMPLITUDE
    if path.startswith(SECTIONS_PREFIX) and path.endswith("_" + AMPLITUDE):
        return ""
    if path.startswith(SECTIONS_PREFIX) and path.endswith("_" + amplitude):
        return path.removesuffix(amplitude) + AMPLITUDE
    return {AMPLITUDE: "", _LIVE_MASK: TRACE_MASK}.get(path, path)


def _check_dimensions(what: str, dimensions: tuple[str, ...]) -> None:
    if not dimensions:
        raise UserError(f"{what}: its dimensions have no names; name them as xarray does, or give the array to ingest")
    vertical = [name for name in dimensions if name.lower() in _VERTICALS]
    if vertical and dimensions[-1] not in vertical:
        order = ", ".join(name for name in dimensions if name != vertical[0])
        raise UserError(
            f"{what}: {vertical[0]} has to be the last of its dimensions ({', '.join(dimensions)}); "
            f"write it in the order ({order}, {vertical[0]}), e.g. with xarray's transpose"
        )


def _why_not(store: Store, path: str, document: Document) -> str:
    """Why an array cannot be read; "" where it can."""
    if not document["dimension_names"] and document["shape"]:
        return "its dimensions have no names"
    codecs = [codec.get("name") for codec in document.get("codecs", ())]
    codecs += [(document.get(key) or {}).get("id") for key in ("compressor",)]
    odd = [str(codec) for codec in codecs if codec and "zfp" in str(codec)]
    if odd:
        return f"codec {odd[0]}"
    if _kind(document) not in "biuf":
        return f"type {str(document.get('data_type') or document.get('dtype'))[:80]}"
    try:
        zarr.array_info(path, document)
        store.open_array(path, document)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        return str(error).split("\n")[0].split(" [tensorstore_spec")[0][:200]
    return ""


def missing_values(document: Document) -> list[float]:
    """Samples with these values are no data: `missing_value`, `_FillValue`, and what Zarr v2 fills with unless 0."""
    values = [document["attributes"].get("missing_value"), document["attributes"].get("_FillValue")]
    if document["zarr_format"] == 2:
        values.append(document.get("fill_value") or None)
    numbers = set()
    for value in values:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, str):
                number = _decode_fill(number)
            if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
                numbers.add(number)
    return sorted(numbers)


def _decode_fill(text: str) -> float | None:
    """A float as xarray writes it into Zarr v3 attributes: eight bytes in base64; None for other text."""
    try:
        return struct.unpack("<d", base64.b64decode(text, validate=True))[0]
    except (ValueError, struct.error):
        return None


def make_axis(name: str, size: int, labels: np.ndarray | None, unit: str, url: str) -> Axis:
    """The axis with these coordinate labels, or numbered from 0 where they are missing or do not rise."""
    if labels is None:
        return Axis(name, np.arange(size), "")
    with np.errstate(all="ignore"):
        usable = (
            labels.shape == (size,) and np.isfinite(labels).all() and (np.diff(labels.astype(np.float64)) > 0).all()
        )
    if not usable:
        note(f"{url}: the labels of {name} do not rise; it is numbered from 0 to {size - 1}")
        return Axis(name, np.arange(size), "")
    return Axis(name, labels, unit)


def axis_source(group: Group, path: str, name: str) -> str | np.ndarray | None:
    """Where the labels of an axis of the array `path` are: an array's path, the labels themselves, or nowhere."""
    for axis in _mdio_v0_axes(group.attributes):
        if axis["name"] == name:
            return np.asarray(axis["coords"])
    beside = f"{path.rpartition('/')[0]}/{name}".lstrip("/")
    found = [p for p in (beside, name) if p in group.arrays and len(group.arrays[p]["shape"]) == 1]
    return found[0] if found else None


def axis_unit(group: Group, name: str, attributes: Mapping[str, Any]) -> str:
    """The unit that an axis states; milliseconds for the time axis of an MDIO store that states none."""
    return zarr.unit_of(attributes) or ("ms" if name == "time" and group.format.startswith("MDIO") else "")
