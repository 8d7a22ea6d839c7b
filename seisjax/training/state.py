"""The state of a run: one pure tree, born with its sharding."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

State = dict[str, Any]

NO_STEP = 2**31 - 1


def init_state(
    key: jax.Array,
    init_parameters: Callable[[jax.Array], tuple[Any, Any]],
    optimizer: optax.GradientTransformation,
    num_classes: int,
    *,
    average: float = 0.0,
) -> State:
    """The state before the first step.

    `init_parameters(key)` gives the parameters and the rest of the network's state (running statistics).
    average: decay of a running average of the parameters; 0: none.
    Keys: `step` int32, `params`, `rest`, `optimizer`, where there is an average `average`, and `totals`, what has been
    summed since the last log step; the totals are part of the state so that a run that was stopped between two log
    steps logs the same numbers as one that was not.
    """
    params, rest = init_parameters(key)
    averages = {"average": jax.tree.map(jnp.copy, params)} if average > 0 else {}
    return averages | {
        "step": jnp.zeros((), jnp.int32),
        "params": params,
        "rest": rest,
        "optimizer": optimizer.init(params),
        "totals": zero_totals(num_classes),
    }


def averaged(state: State) -> Any:
    """The parameters to evaluate and predict with: the averaged ones where there are any."""
    return state.get("average", state["params"])


def add_to_average(average: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """The exponential running average of the parameters after one more step (`step` counts from 0).

    Polyak & Juditsky (1992, doi:10.1137/0330046) as it is used for networks: the decay rises as (1 + step) /
    (10 + step) to its value, so that the average soon forgets where training began.
    """
    keep = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    # So written that what does not change keeps its bits.
    return jax.tree.map(lambda old, new: old + (1 - keep) * (new - old), average, params)


def zero_totals(num_classes: int) -> dict[str, jax.Array]:
    """Totals of no step: `steps`, sums of `loss` and `gradient_norm`, `confusion` (classes, classes) as the sum of each
    step's confusion matrix divided by its count, and `first_bad`, the first step whose loss was not finite."""
    return {
        "steps": jnp.zeros((), jnp.int32),
        "loss": jnp.zeros((), jnp.float32),
        "gradient_norm": jnp.zeros((), jnp.float32),
        "confusion": jnp.zeros((num_classes, num_classes), jnp.float32),
        "first_bad": jnp.full((), NO_STEP, jnp.int32),
    }


def add_totals(
    totals: dict[str, jax.Array], step: jax.Array, loss: jax.Array, gradient_norm: jax.Array, confusion: jax.Array
) -> dict[str, jax.Array]:
    """The totals with one more step (`step` counts from 1)."""
    bad = ~(jnp.isfinite(loss) & jnp.isfinite(gradient_norm))
    confusion = confusion.astype(jnp.float32)
    return {
        "steps": totals["steps"] + 1,
        "loss": totals["loss"] + loss,
        "gradient_norm": totals["gradient_norm"] + gradient_norm,
        "confusion": totals["confusion"] + confusion / jnp.maximum(confusion.sum(), 1.0),
        "first_bad": jnp.minimum(totals["first_bad"], jnp.where(bad, step, NO_STEP)),
    }
