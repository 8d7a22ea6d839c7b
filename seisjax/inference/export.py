"""Writing a network into one file that needs neither its run nor its config; see `artifact.py` for what is in it."""

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from jax.interpreters import mlir
from jaxlib.mlir.dialects import stablehlo
from jaxlib.mlir.passmanager import PassManager

from seisjax.errors import UserError
from seisjax.geometry import Shape
from seisjax.inference.artifact import FORMAT, METADATA, MODEL, NETWORK, VERSION
from seisjax.models.parts import named

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # the same network gives the same file


def check_platforms(platforms: Sequence[str]) -> None:
    """Raise UserError unless there are some, all of them known."""
    if not platforms or not set(platforms) <= set(PLATFORMS):
        raise UserError(f"--platforms={','.join(platforms)}: choose from {', '.join(PLATFORMS)}")


def write_artifact(
    path: Path,
    forward: Callable[[jax.Array], jax.Array],
    image_shape: Shape,
    metadata: Mapping[str, Any],
    platforms: Sequence[str],
    network: Mapping[str, Any],
) -> int:
    """Write a network to `path` and return the file's size in bytes.

    forward: images (B, *image_shape) float32, channels last, to probabilities (B, *padded, classes), traceable by JAX,
    parameters inside.
    platforms: some of PLATFORMS. network: {"params": ..., "rest": ...}, trees of arrays, kept beside the function.
    """
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), np.float32)
    try:
        exported = export.export(jax.jit(forward), platforms=list(platforms))(images)
        model = portable(exported)
    except ModuleNotFoundError as error:
        raise UserError(f"export needs the package {error.name}; install seisjax with what it depends on") from error
    head = {"format": FORMAT, "format_version": VERSION, "sha256": hashlib.sha256(model).hexdigest()}
    head["platforms"] = list(exported.platforms)
    text = json.dumps({**head, **metadata}, indent=2, allow_nan=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(METADATA, _NO_DATE), text, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(MODEL, _NO_DATE), model)  # parameters do not compress
        for name, leaf in named(dict(network)).items():
            with archive.open(zipfile.ZipInfo(f"{NETWORK}{name}.npy", _NO_DATE), "w") as member:
                np.lib.format.write_array(member, np.asarray(leaf), allow_pickle=False)
    return path.stat().st_size


def portable(exported: export.Exported) -> bytes:
    """The bytes of an exported function, in the oldest StableHLO that can say it and without the places of source code.

    JAX itself writes for versions of the last four weeks on, and names files of this machine. Where the oldest version
    lacks something, or JAX does this otherwise by now, it is written as JAX does.
    """
    try:
        with mlir.make_ir_context() as context:
            module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
            PassManager.parse("builtin.module(strip-debuginfo)").run(module.operation)
            oldest = stablehlo.serialize_portable_artifact(module, stablehlo.get_minimum_version())
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return bytes(exported.serialize())
    return bytes(dataclasses.replace(exported, mlir_module_serialized=oldest).serialize())
