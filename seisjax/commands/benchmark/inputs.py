"""Made-up batches, and what the measurements of one process ask of a config."""

from typing import Any

import jax
import numpy as np

from seisjax import distributed
from seisjax.config import Experiment, validate
from seisjax.errors import UserError


def check_alone(config: Experiment, what: str) -> None:
    """Raise UserError for a config that is not valid, and in a run of several processes."""
    validate(config)
    if distributed.several():
        raise UserError(f"--what={what}: measures one process; start it without the flags of several")


def check_whole(config: Experiment) -> None:
    """Raise UserError where the compiler would count a part of a step alone."""
    if config.optimizer.accumulation > 1:
        raise UserError(
            f"optimizer.accumulation={config.optimizer.accumulation}: the compiler counts a loop once, so that the "
            "figures would be a part of a step's; set optimizer.accumulation=1"
        )


def random_batch(shapes: Any, shardings: Any) -> Any:
    """Arrays of these shapes, on devices as the shardings say: normal amplitudes; labels 0 and 1."""
    return jax.tree.map(_random, shapes, shardings)


def _random(shape: jax.ShapeDtypeStruct, split: Any) -> jax.Array:
    random = np.random.default_rng(0)

    def part(index: tuple[slice, ...]) -> np.ndarray:
        sides = [len(range(*one.indices(side))) for one, side in zip(index, shape.shape, strict=True)]
        if np.issubdtype(shape.dtype, np.floating):
            return random.standard_normal(sides, np.float32).astype(shape.dtype)
        return random.integers(0, 2, sides, shape.dtype)

    return jax.make_array_from_callback(shape.shape, split, part)  # pyright: ignore[reportArgumentType]
