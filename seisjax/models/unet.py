"""The UNet of Ronneberger et al. (2015, arXiv 1505.04597) in 2 and 3 dimensions, of any depth and width."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding

from seisjax.errors import UserError, nearest
from seisjax.geometry import factors
from seisjax.models.initialize import init_parameters
from seisjax.models.layers import (
    ACTIVATIONS,
    NORMS,
    Convolution,
    Head,
    Sides,
    UpConvolution,
    beside,
    even_sides,
    max_pool,
    resized,
    within,
)

REMAT = ("none", "block", "level")


class Block(nnx.Module):
    """Twice a convolution, a norm and an activation; of the first `sides` samples, beyond which zeros stay (None: of
    all)."""

    def __init__(self, in_features: int, features: int, *, norm: str, activation: str, **options: Any):
        # A norm takes away any constant, so that the gradient of a bias before it would be rounding alone.
        options["use_bias"] = norm == "none"
        self.conv_0 = Convolution(in_features, features, **options)
        self.norm_0 = NORMS[norm](features)
        self.conv_1 = Convolution(features, features, **options)
        self.norm_1 = NORMS[norm](features)
        self.activation = activation

    def __call__(self, x: jax.Array, *, sides: Sides | None = None) -> jax.Array:
        for conv, norm in ((self.conv_0, self.norm_0), (self.conv_1, self.norm_1)):
            x = within(conv(x), sides)
            x = within(ACTIVATIONS[self.activation](x if norm is None else norm(x, sides)), sides)
        return x


class UpBlock(nnx.Module):
    """Multiplies the size by strides, puts the features of the way down (the skip) beside, and works on both with a
    block."""

    def __init__(self, in_features: int, features: int, *, strides: Sides, norm: str, dtype: jnp.dtype, **options: Any):
        self.up = UpConvolution(in_features, features, strides=strides, use_bias=norm == "none", dtype=dtype)
        self.block = Block(2 * features, features, norm=norm, dtype=dtype, **options)

    def __call__(
        self, x: jax.Array, skip: jax.Array, *, sides: Sides | None = None, split: NamedSharding | None = None
    ) -> jax.Array:
        x = within(resized(self.up(x), skip.shape[1:-1], split), sides)
        return self.block(beside(skip, x), sides=sides)


class UNet(nnx.Module):
    """From (batch, *spatial, in_features) to float32 logits (batch, *spatial, out_features).

    Features double from `base_features` at each of `levels` resolutions, the bottleneck included. Each block has
    kernels of 3 samples along every axis, or those in `kernels`, one a level; from one level to the next every side is
    halved, or divided by those in `strides` (1 or 2 along each axis), one between two levels: so does nnU-Net (Isensee
    et al. 2021, doi:10.1038/s41592-020-01008-z) where samples lie farther apart along one axis. Sides that are no
    multiple of all strides are padded with zeros at their end, and the logits cropped; where `space` shards the input,
    pad before, and call it with `split`, the layout of activations (batch, *spatial, features) on the devices: then
    nothing is gathered, whatever the sides. `norm`: one of layers.NORMS. `dropout`: share of the bottleneck's
    features dropped in training; needs a `dropout` stream in the call's `rngs`. `deep_supervision`: coarser
    resolutions, from the finest down, that have logits of their own (see `resolutions`); 0 adds no parameter. `dtype`:
    of convolutions and activations. `alone`: no array is shared out over devices; then convolutions take the
    formulation that is fastest on the platform. `remat`: what the backward pass computes again instead of keeping it
    (Chen et al. 2016, arXiv 1604.06174): "none"; "block": all inside a block, so that only what enters blocks is kept;
    "level": the skips too, so that only what enters a resolution and what comes up from the one below are kept. Blocks
    are named so that sorted names follow the data's path.
    Raises UserError for an unknown norm, activation or remat, for levels or base_features below 1, for more coarser
    resolutions than there are, and for kernels and strides of other numbers than there are levels and axes.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        spatial_ndim: int,
        base_features: int,
        levels: int,
        kernels: Sequence[Sides] = (),
        strides: Sequence[Sides] = (),
        norm: str = "group",
        activation: str = "relu",
        dropout: float = 0.0,
        deep_supervision: int = 0,
        remat: str = "none",
        dtype: Any = jnp.float32,
        alone: bool = False,
        rngs: nnx.Rngs,
    ):
        choices = (("norm", norm, NORMS), ("activation", activation, ACTIVATIONS), ("remat", remat, REMAT))
        for field, name, known in choices:
            if name not in known:
                raise UserError(f"model.{field}: unknown {field} '{name}'{nearest(name, known)}")
        for field, number in (("levels", levels), ("base_features", base_features)):
            if number < 1:
                raise UserError(f"model.{field}: {number} is too few; give 1 or more")
        if not 0 <= deep_supervision < levels:
            raise UserError(
                f"model.deep_supervision: model.levels={levels} has {levels - 1} coarser resolutions, not "
                f"{deep_supervision}; give 0 to {levels - 1}"
            )
        kernels = _of_levels("kernels", kernels, levels, spatial_ndim, usual=3)
        self.strides = _of_levels("strides", strides, levels - 1, spatial_ndim, usual=2)
        self.factors = factors(self.strides, spatial_ndim)
        widths = [base_features * 2**level for level in range(levels)]
        options: dict[str, Any] = {"norm": norm, "activation": activation, "dtype": dtype, "alone": alone}
        of_level: list[dict[str, Any]] = [options | {"kernel": kernel} for kernel in kernels]
        inputs = [in_features, *widths]
        blocks: dict[str, nnx.Module] = {
            f"0_down_{level}": Block(inputs[level], widths[level], **of_level[level]) for level in range(levels - 1)
        }
        blocks["1_bottleneck"] = Block(inputs[levels - 1], widths[-1], **of_level[-1])
        for i, level in enumerate(reversed(range(levels - 1))):
            strides_here = self.strides[level]
            blocks[f"2_up_{i}"] = UpBlock(widths[level + 1], widths[level], strides=strides_here, **of_level[level])
        blocks["3_head"] = Head(base_features, out_features, dtype=dtype)
        for k in range(1, deep_supervision + 1):
            blocks[f"4_head_{k}"] = Head(widths[k], out_features, dtype=dtype)
        self.blocks = nnx.Dict(blocks)
        self.dropout = nnx.Dropout(dropout)
        self.levels = levels
        self.deep_supervision = deep_supervision
        self.remat = remat
        params = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        nnx.update(self, init_parameters(params, rngs.params()))

    def __call__(self, x: jax.Array, *, rngs: nnx.Rngs | None = None, split: NamedSharding | None = None) -> jax.Array:
        return self.resolutions(x, rngs=rngs, split=split)[0]

    def resolutions(
        self, x: jax.Array, *, rngs: nnx.Rngs | None = None, split: NamedSharding | None = None
    ) -> tuple[jax.Array, ...]:
        """The logits, then those of each of the `deep_supervision` coarser resolutions, on sides / strides rounded up.

        After Lee et al. (2015, arXiv 1409.5185). What only the coarser ones need is not computed where, under
        `jax.jit`, only the first are used.
        """
        sides = x.shape[1:-1]
        x = _pad_sides(x, self.factors[-1])
        of_level = [tuple(map(operator.floordiv, x.shape[1:-1], by)) for by in self.factors]
        entered, skips = [], []
        for level in range(self.levels - 1):
            entered.append(x)
            skips.append(self._run(f"0_down_{level}", x, sides=of_level[level]))
            even = even_sides(skips[-1].shape[1:-1], self.strides[level], split)
            x = max_pool(resized(skips[-1], even, split), self.strides[level])
        x = self._run("1_bottleneck", x, sides=of_level[-1])
        features = [self._drop(x, of_level[-1], rngs, split)]
        for i, level in enumerate(reversed(range(self.levels - 1))):
            place = {"sides": of_level[level], "split": split}
            features.append(self._up(i, level, features[-1], entered[level], skips[level], place))
        heads = ["3_head", *(f"4_head_{k}" for k in range(1, self.deep_supervision + 1))]
        logits = [self._run(head, x) for head, x in zip(heads, reversed(features), strict=False)]
        inside = ([slice(-(-n // by)) for n, by in zip(sides, factor, strict=True)] for factor in self.factors)
        return tuple(y[(slice(None), *here)] for y, here in zip(logits, inside, strict=False))

    def _drop(self, x: jax.Array, sides: Sides, rngs: nnx.Rngs | None, split: NamedSharding | None) -> jax.Array:
        """x with some features dropped, the same whatever devices have added to `sides`."""
        if x.shape[1:-1] == sides:
            return self.dropout(x, rngs=rngs)
        kept = self.dropout(jnp.ones((len(x), *sides, x.shape[-1]), x.dtype), rngs=rngs)
        return x * resized(kept, x.shape[1:-1], split)

    def _run(self, name: str, *inputs: jax.Array, **place: Any) -> jax.Array:
        block = self.blocks[name]
        if self.remat == "none":
            return block(*inputs, **place)
        function, params, rest = _pure(block, place)
        y, rest = jax.checkpoint(function)(params, rest, *inputs)
        nnx.update(block, rest)
        return y

    def _up(
        self, i: int, level: int, below: jax.Array, entered: jax.Array, skip: jax.Array, place: dict[str, Any]
    ) -> jax.Array:
        """The i-th block of the way up, at a level that `entered` came into and `skip` goes across."""
        if self.remat != "level":
            return self._run(f"2_up_{i}", below, skip, **place)
        block = self.blocks[f"2_up_{i}"]
        function, params, rest = _pure(block, place)
        down, *down_state = _pure(self.blocks[f"0_down_{level}"], {"sides": place["sides"]})
        y, rest = _without_skip(function, lambda state, x: down(*state, x)[0])(
            (params, rest), below, skip, down_state, entered
        )
        nnx.update(block, rest)
        return y


def _pure(block: nnx.Module, place: dict[str, Any]) -> tuple[Callable[..., tuple[jax.Array, Any]], Any, Any]:
    """A block, called with `place`, as the function (parameters, rest, *inputs) -> (output, rest), and its parameters
    and rest."""
    graphdef, params, rest = nnx.split(block, nnx.Param, ...)

    def function(params: Any, rest: Any, *inputs: jax.Array) -> tuple[jax.Array, Any]:
        copy = nnx.merge(graphdef, params, rest)
        y = copy(*inputs, **place)
        return y, nnx.to_pure_dict(nnx.state(copy, nnx.Not(nnx.Param)))

    return function, nnx.to_pure_dict(params), nnx.to_pure_dict(rest)


def _without_skip(up: Callable[..., Any], down: Callable[..., jax.Array]) -> Callable[..., Any]:
    """`up(*up_state, below, skip)` as a function (up_state, below, skip, down_state, entered) that keeps no skip.

    Where skip is `down(down_state, entered)`, the backward pass computes it again from there. Its gradient is handed to
    the skip that was given, and so goes through `down` once: `jax.checkpoint` of both would send it through twice.
    """

    @jax.custom_vjp
    def function(up_state: Any, below: jax.Array, skip: jax.Array, down_state: Any, entered: jax.Array) -> Any:
        del down_state, entered
        return up(*up_state, below, skip)

    def forward(up_state: Any, below: jax.Array, skip: jax.Array, down_state: Any, entered: jax.Array) -> Any:
        return up(*up_state, below, skip), (up_state, below, down_state, entered)

    def backward(kept: Any, gradient: Any) -> tuple[Any, ...]:
        # The barrier keeps the compiler from finding the forward pass's skip, or from beginning before its turn.
        (up_state, below, down_state, entered), gradient = jax.lax.optimization_barrier((kept, gradient))
        again = jax.vjp(lambda *inputs: up(*inputs[0], *inputs[1:]), up_state, below, down(down_state, entered))[1]
        return (*again(gradient), None, None)

    function.defvjp(forward, backward)
    return function


def receptive_radius(kernels: Sequence[Sides], strides: Sequence[Sides]) -> Sides:
    """Samples on either side of a sample, along each axis, beyond which nothing changes its logits (without a norm
    over space): what two convolutions see at each resolution on either way, and the alignment of the pooling.

    kernels: one a level; strides: one between two levels; see `UNet`.
    """
    ndim, ways = len(kernels[0]), [2] * len(strides) + [1]
    spans = factors(strides, ndim)
    radius = [span - 1 for span in spans[-1]]
    for way, kernel, span in zip(ways, kernels, spans, strict=True):
        radius = [r + way * (kernel[axis] - 1) * span[axis] for axis, r in enumerate(radius)]
    return tuple(radius)


def _of_levels(field: str, given: Sequence[Sides], count: int, ndim: int, usual: int) -> tuple[Sides, ...]:
    """Kernels or strides of `count` levels, all `usual` where none are given."""
    chosen = tuple(map(tuple, given)) or ((usual,) * ndim,) * count
    if len(chosen) != count or any(len(sides) != ndim for sides in chosen):
        raise UserError(f"model.{field}: {chosen}; give {count} of them, each with {ndim} numbers")
    return chosen


def _pad_sides(x: jax.Array, multiples: Sides) -> jax.Array:
    short = [-side % multiple for side, multiple in zip(x.shape[1:-1], multiples, strict=True)]
    return jnp.pad(x, [(0, 0), *((0, n) for n in short), (0, 0)]) if any(short) else x
