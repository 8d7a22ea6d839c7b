"""Generators of labelled data. Everything random is a function of a seed and the number of the example."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

# What makes a window as part of a jitted function: (number of the example, start along its axes) -> image, labels.
MakeWindow = Callable[[Any, Sequence[Any]], tuple[jax.Array, jax.Array]]
