"""Real networks: no bit depends on the blocks, their order, the region or the other windows of a batch."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest

from seisjax.geometry import Box, padded_window
from seisjax.inference import work
from seisjax.models.unet import UNet
from seisjax.normalization import Normalization
from seisjax.training import step as steps

SECTIONS = {"window": (1, 7, 11), "padded": (1, 8, 12)}
CUBES = {"window": (6, 7, 10), "padded": (8, 8, 12)}
NORMS = ("group", "batch", "instance", "none")


@dataclass(frozen=True)
class Net:
    """A UNet of two levels with parameters and statistics at random, and the windows that it is given."""

    windows: dict[str, Any]
    make: Callable[[tuple[int, ...]], Callable[[np.ndarray], jax.Array]]  # for images of these sides

    def __call__(self, images: np.ndarray) -> jax.Array:
        return self.make(self.windows["padded"])(images)


def network(norm: str, windows: dict[str, Any]) -> Net:
    sides = sum(side > 1 for side in windows["window"])
    make = functools.partial(UNet, 1, 2, spatial_ndim=sides, base_features=4, levels=2, norm=norm)
    init, graphdef = steps.initializer(make)
    params, rest = jax.tree.map_with_path(_drawn, jax.eval_shape(init, jax.random.key(0)))

    @functools.cache
    def forward(padded: tuple[int, ...]) -> Callable[[np.ndarray], jax.Array]:
        forward = jax.jit(steps.make_forward(steps.Network(graphdef, padded, Normalization())))
        return lambda images: forward(params, rest, images, np.float32(1))

    return Net(windows, forward)


def _drawn(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """Parameters and statistics away from where training begins: biases of 0 would hide what they do at borders."""
    rng = np.random.default_rng(len(jax.tree_util.keystr(path)))
    if len(leaf.shape) > 1:
        return rng.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape).astype(leaf.dtype)
    middle = 1 if any(name in jax.tree_util.keystr(path) for name in ("scale", "var")) else 0
    return (middle + rng.uniform(-0.1, 0.1, leaf.shape)).astype(leaf.dtype)


@pytest.fixture(scope="module", params=[(norm, name) for norm in NORMS for name in ("sections", "cubes")], ids="-".join)
def net(request: pytest.FixtureRequest) -> Net:
    norm, name = request.param
    return network(norm, {"sections": SECTIONS, "cubes": CUBES}[name])


@pytest.fixture(scope="module")
def whole(net, values, survey, predicted, contents) -> dict[str, np.ndarray]:
    """The products of a volume that is one block."""
    return contents(predicted(survey(values, chunk=values.shape), net, **net.windows))


def check_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], box: Box) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name][(..., *box.slices)])


@pytest.mark.parametrize("windows", [(1, 1, 1), (1, 1, 2), (2, 2, 2)], ids=["one", "two", "eight"])
def test_blocks_of_any_size_give_the_same_bits(net, whole, values, survey, task, predict, contents, windows):
    block = tuple(n * side for n, side in zip(windows, net.windows["window"], strict=True))
    volume = survey(values, chunk=block)
    assert task(volume, **net.windows, block_bytes=1).layout().block == block
    outcome = predict(volume, net, **net.windows, block_bytes=1)
    assert outcome.blocks > 1
    check_equal(contents(outcome.volume), whole, Box.whole(values.shape))


@pytest.mark.parametrize(
    "box", [Box((3, 5, 7), (9, 4, 13)), Box((12, 13, 0), (1, 1, 22)), Box((0, 2, 20), (13, 11, 2))], ids=str
)
def test_regions_get_what_they_have_in_the_whole(net, whole, volume, predicted, contents, box):
    found = contents(predicted(volume, net, **net.windows, box=box, block_bytes=2**14))
    check_equal(found, whole, box)


@pytest.mark.parametrize("order", [list, lambda blocks: list(reversed(blocks))], ids=["rising", "falling"])
def test_blocks_in_any_order_give_the_same_bits(net, whole, volume, predicted, contents, order, monkeypatch):
    monkeypatch.setattr(work, "_shuffled", order)
    found = contents(predicted(volume, net, **net.windows, block_bytes=2**14))
    check_equal(found, whole, Box.whole(volume.shape))


def test_the_other_rows_of_a_batch_do_not_matter(net):
    images = np.random.default_rng(1).normal(size=(3, *net.windows["padded"], 1)).astype(np.float32)
    expected = np.asarray(net(images))
    for row in range(3):
        alone = np.full_like(images, np.nan)
        alone[row] = images[row]
        np.testing.assert_array_equal(np.asarray(net(alone))[row], expected[row])
        np.testing.assert_array_equal(np.asarray(net(np.roll(images, 1, axis=0)))[(row + 1) % 3], expected[row])


LARGE = np.random.default_rng(2).normal(size=(25, 30, 38)).astype(np.float32)


# A halo of 9 samples; windows' sides are multiples of 2, none, as long as the volume and longer.
@pytest.mark.parametrize(
    ("norm", "window"),
    [
        ("none", (1, 24, 30)),
        ("batch", (1, 24, 30)),
        ("none", (1, 23, 25)),
        ("none", (1, 21, 50)),
        ("none", (22, 29, 24)),
        ("batch", (21, 24, 39)),
    ],
    ids=str,
)
def test_cropped_windows_equal_one_dense_pass(norm, window, survey, predicted, contents):
    padded, whole = padded_window(window, 2), padded_window([*map(max, window, LARGE.shape)], 2)
    net, windows = network(norm, {"window": window, "padded": padded}), {"window": window, "padded": padded}
    images, whole = (LARGE[:, None], (1, *whole[1:])) if window[0] == 1 else (LARGE[None], whole)
    room = np.full((len(images), *whole, 1), np.nan, np.float32)
    room[:, : images.shape[1], :30, :38, 0] = images
    dense = np.asarray(net.make(whole)(room))[:, : images.shape[1], :30, :38].reshape(*LARGE.shape, 2)
    dense = np.moveaxis(dense, -1, 0)

    volume = survey(LARGE, chunk=(8, 8, 16))
    found = contents(predicted(volume, net, **windows, blend="crop", radius=9))["pred_probability"]
    np.testing.assert_allclose(found, dense, rtol=0, atol=1e-5)
    if window == (1, 24, 30):  # other weights do not
        other = contents(predicted(volume, net, **windows))["pred_probability"]
        assert np.abs(other - dense).max() > 1e-3
