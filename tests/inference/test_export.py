"""Networks of every make as functions of `jax.export`: the same numbers, for any batch."""

import functools
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from seisjax.inference.artifact import MODEL
from seisjax.inference.export import write_artifact
from seisjax.models.unet import UNet
from seisjax.normalization import Normalization
from seisjax.training import step as steps


@pytest.mark.parametrize(
    ("window", "classes", "norm", "position", "normalization"),
    [
        ((8, 8, 12), 1, "batch", True, Normalization("training", 1.0, 2.0)),
        ((1, 13, 22), 3, "instance", False, Normalization("window", 1.0, 2.0, robust=True, agc=7, clip=3.0)),
        ((12, 10), 2, "none", False, Normalization("trace", 1.0, 2.0)),
    ],
)
def test_the_function_gives_what_the_network_gives(
    tmp_path: Path, window: tuple[int, ...], classes: int, norm: str, position: bool, normalization: Normalization
) -> None:
    sides = sum(side > 1 for side in window)
    make = functools.partial(UNet, 1 + position, classes, spatial_ndim=sides, base_features=4, levels=2, norm=norm)
    init, graphdef = steps.initializer(make)
    params, rest = jax.device_get(jax.jit(init)(jax.random.key(0)))
    forward = steps.make_forward(steps.Network(graphdef, window, normalization, position))

    def network(images: jax.Array) -> jax.Array:
        return forward(params, rest, images, jnp.float32(1.5))

    write_artifact(tmp_path / "m", network, (*window, 1), {}, ["cpu", "tpu"], {"params": params, "rest": rest})
    with zipfile.ZipFile(tmp_path / "m") as archive:
        exported = export.deserialize(bytearray(archive.read(MODEL)))
    assert exported.platforms == ("cpu", "tpu")
    images = np.random.default_rng(0).normal(1, 2, (3, *window, 1)).astype(np.float32)
    images[..., :3, :] = np.nan
    expected = np.asarray(jax.jit(network)(images))
    for batch in (images, images[:1]):
        found = jax.jit(exported.call)(batch)
        np.testing.assert_allclose(found, expected[: len(batch)], rtol=0, atol=1e-6)
