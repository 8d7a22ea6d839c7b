"""Beginning with the parameters of a network that was trained before.

Arrays are matched by name (models/parts.py): source and run may be of any origin as long as their networks are built
alike. Two things may differ. A head for another number of classes begins at random. New inputs (neighbouring sections,
the vertical position) begin with kernels of 0, so that the network begins as the same function of the inputs it knows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.errors import UserError
from seisjax.models.parts import PARTS, block_of, name_of, named, part_of
from seisjax.training.state import State

# The parts that each choice of `train.init_part` takes.
TAKEN = {"all": PARTS, "body": ("encoder", "decoder"), "encoder": ("encoder",)}

# Options of a network that its parameters do not depend on, or its head alone, or its inputs alone.
_FREE = {"num_classes", "dropout", "deep_supervision", "remat", "vertical_position"}
_INSTEAD = "or leave train.init_from out"


@dataclass(frozen=True)
class Source:
    """A network to begin with.

    network: {"params": ..., "rest": ...}, trees of arrays. model: the options of the network by name, `model.*` of the
    config of its run. where: what messages call it. origin: what is noted of it, ready for JSON.
    """

    network: Mapping[str, Any]
    model: Mapping[str, Any]
    where: str
    origin: Mapping[str, Any]


@dataclass(frozen=True)
class Match:
    """What is taken of a source: arrays by name, the blocks that begin at random, and inputs that begin at zero."""

    arrays: Mapping[str, np.ndarray]
    fresh: tuple[str, ...]
    new_inputs: int

    def __str__(self) -> str:
        parts = [f"{len(self.arrays)} arrays taken"]
        parts += [f"new at random: {', '.join(self.fresh)}"] if self.fresh else []
        parts += [f"new inputs at zero: {self.new_inputs}"] if self.new_inputs else []
        return "; ".join(parts)


def match(source: Source, state: State, part: str, model: Mapping[str, Any]) -> Match:
    """What is taken of a source for a state (of arrays or shapes) whose network has the options `model`.

    part: a key of TAKEN. A head is taken if all its arrays have the shapes of the source's. Raises UserError where
    another part differs, with the option that is behind it.
    """
    there = {name: np.asarray(leaf) for name, leaf in named(dict(source.network)).items()}
    here = {name: tuple(leaf.shape) for name, leaf in named({kind: state[kind] for kind in ("params", "rest")}).items()}
    first = min(name for name in here if name.endswith("conv_0.kernel"))
    _check_dimensions(source, first, there, here)
    _check_options(source, model)
    known = there[first].shape[-2]
    there[first] = _with_new_inputs(source, first, there[first], here[first], model)

    wanted = [name for name in here if part_of(name) in TAKEN[part]]
    unlike = [name for name in wanted if name not in there or there[name].shape != here[name]]
    other_heads = {block_of(name) for name in unlike if part_of(name) == "head"}
    for name in unlike:
        if block_of(name) not in other_heads:
            shape = list(there[name].shape) if name in there else "absent"
            raise UserError(f"{source.where}: '{name}' is {shape} there, {list(here[name])} here; {_INSTEAD[3:]}")
    arrays = {name: there[name] for name in wanted if block_of(name) not in other_heads}
    fresh = sorted({block_of(name) for name in here if name not in arrays})
    return Match(arrays, tuple(fresh), here[first][-2] - known)


def adopt(state: State, match: Match) -> State:
    """The state with what was taken of a source, bit for bit; an average of the parameters begins there too."""

    def chosen(kind: str) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: match.arrays.get(f"{kind}.{name_of(path)}", leaf), state[kind]
        )

    adopted = {kind: _copy(chosen(kind), state[kind]) for kind in ("params", "rest")}
    if "average" in state:
        adopted["average"] = _copy(adopted["params"], state["average"])
    return state | adopted


def _copy(values: Any, like: Any) -> Any:
    """Arrays of their own, laid out as `like`: the first step gives the memory of the state away."""
    places = jax.tree.map(lambda leaf: leaf.sharding, like)
    copy: Callable[[Any], Any] = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=places)
    return copy(values)


def _check_dimensions(
    source: Source, first: str, there: Mapping[str, np.ndarray], here: Mapping[str, tuple[int, ...]]
) -> None:
    old, new = (list(there[first].shape) if first in there else []), list(here[first])
    if len(old) != len(new):
        raise UserError(
            f"{source.where}: its kernels have {len(old) - 2} dimensions ('{first}' is {old}), those for data.window "
            f"{len(new) - 2} ({new}); begin with a network of as many, {_INSTEAD}"
        )


def _check_options(source: Source, model: Mapping[str, Any]) -> None:
    for name, value in model.items():
        if name not in _FREE and source.model.get(name) != value:
            was = source.model.get(name)
            raise UserError(f"{source.where}: has model.{name}={was!r}, this run {value!r}; set the same, {_INSTEAD}")


def _with_new_inputs(
    source: Source, name: str, kernel: np.ndarray, shape: tuple[int, ...], model: Mapping[str, Any]
) -> np.ndarray:
    """The first kernel for as many inputs as `shape` has: (*sides, inputs, features).

    Inputs are sections, of which those of the source are the middle ones, and then, where there is one, the position.
    """
    was, now = kernel.shape[-2], shape[-2]
    positions = [int(options["vertical_position"]) for options in (source.model, model)]
    sections = [was - positions[0], now - positions[1]]
    more = sections[1] - sections[0]
    if more < 0 or more % 2 or positions[0] > positions[1]:
        raise UserError(
            f"{source.where}: takes {sections[0]} sections and {positions[0]} positions ('{name}' is "
            f"{list(kernel.shape)}), this run {sections[1]} and {positions[1]} ({list(shape)}); inputs can be added on "
            f"both sides alike, not left out; set the same, {_INSTEAD}"
        )
    wider = np.zeros((*kernel.shape[:-2], now, kernel.shape[-1]), kernel.dtype)
    wider[..., more // 2 : more // 2 + sections[0], :] = kernel[..., : sections[0], :]
    if positions[0]:
        wider[..., -1, :] = kernel[..., -1, :]
    return wider
