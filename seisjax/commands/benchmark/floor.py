"""The least that a training step must do: operations, and bytes to and from memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seisjax.config import Model
from seisjax.geometry import Shape, factors

_OPTIMIZER_PASSES = 8  # gradient written and read; parameter and two moments read and written


class Layer(NamedTuple):
    """A convolution or matrix product: numbers of its kernel, samples that meet each of them, numbers in and out, and
    whether its input has a gradient."""

    kernel: int
    samples: float
    inputs: float
    outputs: float
    differentiated: bool = True


@dataclass(frozen=True)
class Work:
    """Operations (a multiplication and an addition are two) and bytes of a training step."""

    operations: float
    bytes: float

    def seconds(self, operations_per_second: float, bytes_per_second: float) -> float:
        """The time that a machine with these rates cannot do better than: the longer of the two."""
        return max(self.operations / operations_per_second, self.bytes / bytes_per_second)


def least_work(
    model: Model,
    sides: Sequence[int],
    kernels: Sequence[Shape],
    strides: Sequence[Shape],
    batch_size: int,
    *,
    inputs: int,
    itemsize: int,
    parameters: int,
) -> Work:
    """What a step of the UNet must do, whatever the formulation: norms, activations, pooling and the joining of skips
    are taken to be fused into the layers beside them, so that they move nothing.

    Of each layer the input is read and the output written; the gradient of its output is read and that of its input
    written; and for the gradient of its kernel, input and output's gradient are read. Each of the three takes the same
    operations. Nothing is computed again.

    Args:
      sides: padded sides of the window, those of 1 left out. kernels, strides: see `UNet`.
      inputs: features that enter the network.
      itemsize: bytes of a number in the network; parameters and their optimiser's state are float32.
    """
    operations = moved = 0.0
    for layer in layers(model, sides, kernels, strides, inputs):
        times = 3 if layer.differentiated else 2
        operations += 2 * times * layer.kernel * layer.samples
        moved += times * (layer.inputs + layer.outputs) * itemsize
    return Work(batch_size * operations, batch_size * moved + 4 * _OPTIMIZER_PASSES * parameters)


def layers(
    model: Model, sides: Sequence[int], kernels: Sequence[Shape], strides: Sequence[Shape], inputs: int
) -> Iterator[Layer]:
    """The layers that a UNet is made of, for one window."""
    sizes = [math.prod(sides) / math.prod(by) for by in factors(strides, len(sides))]
    widths = [model.base_features * 2**level for level in range(model.levels)]

    def convolution(level: int, features: int, *, differentiated: bool = True) -> Layer:
        size, width = sizes[level], widths[level]
        return Layer(math.prod(kernels[level]) * features * width, size, features * size, width * size, differentiated)

    for level in range(model.levels):
        yield convolution(level, inputs if level == 0 else widths[level - 1], differentiated=level > 0)
        yield convolution(level, widths[level])
    for level in reversed(range(model.levels - 1)):
        size, width = sizes[level + 1], widths[level]
        children = math.prod(strides[level])
        yield Layer(2 * width * children * width, size, 2 * width * size, width * sizes[level])
        yield convolution(level, 2 * width)
        yield convolution(level, width)
    for level in range(1 + model.deep_supervision):
        size, width = sizes[level], widths[level]
        yield Layer(width * model.num_classes, size, width * size, model.num_classes * size)
