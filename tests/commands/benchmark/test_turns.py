"""Measurements in turns, what disturbs them, and the least work of a step."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from seisjax.commands.benchmark.floor import Work, layers, least_work
from seisjax.commands.benchmark.machine import MATMUL, MEMORY, rates
from seisjax.commands.benchmark.turns import Timing, alternate, disturbed_note
from seisjax.config import Model
from seisjax.models.unet import UNet
from seisjax.training.step import initializer


def test_candidates_take_turns_and_the_order_turns_round():
    calls = []

    def candidate(name, values):
        return lambda: calls.append(name) or next(values)

    timings = alternate(
        {"a": candidate("a", iter([1.0, 9.0, 2.0])), "b": candidate("b", iter([4.0, 5.0, 6.0]))},
        3,
        reference=lambda: 1.0,
    )
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert timings["a"].median == 2.0
    assert timings["b"].as_json() == {"median": 5.0, "turns": [4.0, 5.0, 6.0], "disturbed": [False] * 3}
    assert disturbed_note(timings) == ""


def test_what_ran_beside_other_work_is_left_out():
    # a is measured first, fourth and fifth; around the fourth the calculation takes twice as long.
    seconds, values = iter([1.0, 1.0, 1.1, 1.1, 2.0, 1.0, 1.0]), iter([3.0, 8.0, 4.0])
    timings = alternate({"a": lambda: next(values), "b": lambda: 5.0}, 3, reference=lambda: next(seconds))
    assert timings["a"].disturbed == (False, True, True)
    assert timings["b"].disturbed == (False, False, False)
    assert timings["a"].median == 3.0


def test_a_row_that_was_always_disturbed_keeps_its_median():
    timing = Timing((3.0, 1.0, 2.0), (True, True, True))
    assert timing.median == 2.0
    assert disturbed_note({"a": timing}).startswith("other work disturbed 3 of 3 measurements")
    assert "but for 1 rows" in disturbed_note({"a": timing})


def test_rates_are_those_of_a_machine():
    found = {name: 1 / measure() for name, measure in rates(jnp.float32, mebibytes=16, least=0.01).items()}
    assert 1e8 < found[MEMORY] < 1e14
    assert 1e8 < found[MATMUL] < 1e16


@pytest.mark.parametrize(
    ("kernels", "strides", "inputs", "coarse"),
    [
        (((3, 3),) * 3, ((2, 2),) * 2, 1, 0),
        (((3, 3, 3),) * 2, ((2, 2, 2),), 2, 0),
        (((3, 3),) * 4, ((2, 2),) * 3, 2, 2),
        (((3, 3),), (), 1, 0),
        (((1, 3, 3), (1, 3, 3), (3, 3, 3)), ((1, 2, 2), (2, 2, 1)), 1, 1),
    ],
)
def test_the_least_work_is_that_of_the_networks_kernels(kernels: Any, strides: Any, inputs: int, coarse: int):
    ndim, levels = len(kernels[0]), len(kernels)
    model = Model(base_features=4, levels=levels, num_classes=3, deep_supervision=coarse)

    def make(rngs):
        options = {"base_features": 4, "levels": levels, "kernels": kernels, "strides": strides}
        return UNet(inputs, 3, spatial_ndim=ndim, deep_supervision=coarse, **options, rngs=rngs)

    params = jax.eval_shape(initializer(make)[0], jax.random.key(0))[0]
    sizes = [x.size for path, x in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "kernel"]
    assert sorted(layer.kernel for layer in layers(model, (16,) * ndim, kernels, strides, inputs)) == sorted(sizes)


def test_the_least_work_of_two_convolutions_and_a_head():
    model = Model(base_features=4, levels=1, num_classes=3)
    work = least_work(model, (8, 16), ((3, 3),), (), 2, inputs=1, itemsize=4, parameters=10)
    # 2 windows of 128 samples; the first layer's input needs no gradient.
    assert work.operations == 2 * 2 * 128 * (2 * 9 * 4 + 3 * 9 * 16 + 3 * 12)
    assert work.bytes == 2 * 4 * 128 * (2 * 5 + 3 * 8 + 3 * 7) + 8 * 4 * 10


def test_the_papers_step_is_bound_by_memory_on_a_large_accelerator():
    model, plain = Model(base_features=8, levels=7, num_classes=1), (((3, 3),) * 7, ((2, 2),) * 6)
    work = least_work(model, (4096, 4096), *plain, 1, inputs=1, itemsize=2, parameters=7_779_241)
    assert work.operations == pytest.approx(1.7e12, rel=0.03)
    assert 15e9 < work.bytes < 20e9
    assert work.seconds(790e12, 4.3e12) == work.bytes / 4.3e12
    assert Work(10.0, 1.0).seconds(2.0, 1.0) == 5.0
    twice = least_work(model, (4096, 4096), *plain, 2, inputs=1, itemsize=2, parameters=0)
    assert twice.operations == 2 * work.operations
    assert twice.bytes == 2 * (work.bytes - 32 * 7_779_241)
