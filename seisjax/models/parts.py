"""What the arrays of a network are called, and which part of it they belong to."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

PARTS = ("encoder", "decoder", "head")
# How the UNet's blocks begin: the way down and the bottleneck, the way up, the logits of each resolution.
_BLOCKS = {"0_down": "encoder", "1_bottleneck": "encoder", "2_up": "decoder", "3_head": "head", "4_head": "head"}


def name_of(path: tuple[Any, ...]) -> str:
    """The name of a leaf from its path in a tree of dicts: "blocks.3_head.kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by name."""
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of dicts whose leaves have these names."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *folders, last = name.split(".")
        inner = tree
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = leaf
    return tree


def block_of(name: str) -> str:
    """The block of the UNet that an array belongs to: "3_head" of "params.blocks.3_head.kernel"."""
    return next(word for word in name.split(".") if word[:1].isdigit())


def part_of(name: str) -> str:
    """Which of PARTS an array of the UNet belongs to, by its name."""
    return next(part for start, part in _BLOCKS.items() if block_of(name).startswith(start))


def parts(tree: Any) -> Any:
    """A tree like that of the UNet's parameters, with the part in place of each leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, _: part_of(name_of(path)), tree)


def fingerprint(*networks: Mapping[str, Any]) -> str:
    """16 hex digits over names, dtypes, shapes and bytes of networks {"params": tree, "rest": tree}, in their order."""
    digest = hashlib.sha256()
    for network in networks:
        for path, leaf in jax.tree_util.tree_flatten_with_path(dict(network))[0]:
            values = np.asarray(leaf)
            digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape} ".encode())
            digest.update(values.tobytes())
    return digest.hexdigest()[:16]
