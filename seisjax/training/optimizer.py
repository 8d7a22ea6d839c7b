"""AdamW with warm-up, decay and clipping, by Optax."""

from collections.abc import Hashable, Mapping
from typing import Any

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seisjax.conventions import DATA
from seisjax.models.parts import parts


def make_schedule(kind: str, learning_rate: float, warmup_steps: int, decay_steps: int) -> optax.Schedule:
    """The learning rate as a function of the step: a linear rise from 0, then "cosine" down to 0 or "constant"."""
    warmup_steps = min(warmup_steps, max(decay_steps - 1, 0)) if kind == "cosine" else warmup_steps
    if kind == "cosine":
        after = optax.cosine_decay_schedule(learning_rate, max(decay_steps - warmup_steps, 1))
    elif kind == "constant":
        after = optax.constant_schedule(learning_rate)
    else:
        raise ValueError(f"unknown schedule '{kind}'")
    # The first update is made with step 0; a rise that began at 0 would waste it.
    rise = optax.linear_schedule(learning_rate / (warmup_steps + 1), learning_rate, warmup_steps)
    return optax.join_schedules([rise, after], [warmup_steps])


def make_optimizer(
    schedule: optax.Schedule, weight_decay: float, clip_norm: float, part_rates: Mapping[str, float] | None = None
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101); gradients clipped to the global norm `clip_norm` if > 0.

    The decay works on convolution kernels alone: pulling norm scales and biases to 0 regularises nothing.
    part_rates: for each of models.parts.PARTS, what updates are multiplied by, the decay's included; 0: the part stays
    as it is, and no moments are kept for it. The norm that is clipped is that of all parts together.
    """
    adamw = optax.adamw(schedule, weight_decay=weight_decay, mask=_kernels)
    if part_rates and set(part_rates.values()) != {1.0}:
        of_part: dict[Hashable, optax.GradientTransformation] = {
            part: optax.chain(adamw, optax.scale(rate)) if rate else optax.set_to_zero()
            for part, rate in part_rates.items()
        }
        adamw = optax.multi_transform(of_part, parts)
    return optax.chain(optax.clip_by_global_norm(clip_norm), adamw) if clip_norm > 0 else adamw


def shard_moments(state: Any, mesh: Mesh) -> Any:
    """Shardings of an optimiser's state, a tree of arrays or shapes: each leaf is split over the mesh's data axis.

    Stage 1 of Rajbhandari et al. (2020, arXiv 1910.02054): a device updates its part of the parameters from its part
    of the moments, and all devices share the result. A kernel is split along the longest of its dimensions that the
    number of devices divides. What has no such dimension is whole everywhere, and so is a vector: those of scales and
    biases are many and small, and each would be a transfer of its own.
    """
    devices = mesh.shape[DATA]

    def split(leaf: Any) -> NamedSharding:
        fitting = [dim for dim, side in enumerate(leaf.shape) if side % devices == 0]
        spec: list[str | None] = [None] * leaf.ndim
        if fitting and leaf.ndim > 1 and devices > 1:
            spec[max(fitting, key=lambda dim: leaf.shape[dim])] = DATA
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(split, state)


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
