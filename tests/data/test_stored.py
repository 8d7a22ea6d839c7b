"""Batches as they are stored, decoded on the device, are the batches that are decoded on the host."""

from collections.abc import Mapping
from itertools import islice

import jax
import numpy as np
import pytest

from seisjax.conventions import AMPLITUDE, TRACE_MASK
from seisjax.data import WindowSource, make_sampler, training_batches
from seisjax.geometry import Axis, Box
from seisjax.sharding import make_mesh
from seisjax.training.step import decode
from seisjax.volumes import create_volume, open_volume

SHAPE, WINDOW, PADDED = (12, 20, 30), (3, 7, 13), (4, 8, 16)
MISSING = {"missing_value": -128}
TWO_MISSING = {"missing_value": [-128, 7]}
SCALED = {"scale_factor": 0.037}
SHIFTED = SCALED | {"add_offset": -1.3}


def make_volume(dtype: str, attributes: Mapping[str, object]):
    """Whole numbers with dead traces and missing or not finite samples; labels on some lines alone."""
    random = np.random.default_rng(0)
    axes = [Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), SHAPE, strict=True)]
    samples = random.integers(-120, 120, SHAPE).astype(dtype)
    lowest = -128 if np.dtype(dtype).kind == "i" else np.nan
    samples[random.random(SHAPE) < 0.1] = lowest
    live = random.random(SHAPE[:2]) < 0.8
    known = random.integers(0, 3, SHAPE).astype(np.uint8)
    known[:3] = known[8:] = 255
    url = f"memory://stored-{dtype}-{len(attributes)}/"
    with create_volume(url, axes, dtype=dtype, chunk=(4, 8, 8), shard=SHAPE, overwrite=True) as volume:
        if lowest != lowest:
            samples[2, 3, 4], samples[5, 6, 7] = np.inf, -np.inf
        volume.write(AMPLITUDE, Box.whole(SHAPE), samples)
        volume.write(TRACE_MASK, Box.whole(SHAPE[:2]), live)
        volume.set_attributes(AMPLITUDE, attributes)
        volume.add_array("labels_facies", np.uint8)
        volume.write("labels_facies", Box.whole(SHAPE), known)
    return open_volume(url)


def stream(volume, kind, *, as_stored, space_dim=None, mesh=(1, 1), directions=(), window=WINDOW, padded=PADDED):
    options = {"regions": [Box((1, 0, 0), (10, 20, 30))], "window": window, "seed": 5, "overhang": 0.3}
    sampler = make_sampler(kind, volume=volume, labels="facies", batch_size=8, directions=directions, **options)
    source = WindowSource(volume, "facies", sampler, padded, labelled_only=True)
    options = {"space_dim": space_dim, "mesh": make_mesh(*mesh), "num_threads": 2, "prefetch": 2}
    batches = training_batches(source, batch_size=8, start_step=0, as_stored=as_stored, **options)
    found = list(islice(batches, 3))
    batches.close()
    assert source.bytes_used > 0
    return found


STORES = {
    "float32": ("float32", {}),
    "float16": ("float16", {}),
    "int8": ("int8", MISSING),
    "int8 scaled": ("int8", MISSING | SCALED),
    "int32 scaled": ("int32", MISSING | SCALED),
}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("kind", ["uniform", "blocks"])
def test_what_the_device_decodes_is_what_the_host_decodes(store, kind):
    dtype, attributes = STORES[store]
    volume = make_volume(dtype, attributes)
    mesh = {"mesh": (2, 2), "space_dim": 3} if kind == "uniform" else {}
    decoded = jax.jit(lambda batch: decode(batch, volume.coding))
    for raw, batch in zip(
        stream(volume, kind, as_stored=True, **mesh), stream(volume, kind, as_stored=False), strict=True
    ):
        assert raw["image"].dtype == dtype
        images, labels, valid = map(np.asarray, decoded(raw))
        np.testing.assert_array_equal(np.where(valid, images, np.nan), batch["image"])
        np.testing.assert_array_equal(labels, batch["labels"])
        assert images.dtype == np.float32


def test_sections_of_every_direction_are_laid_out_alike():
    volume = make_volume("int8", MISSING)
    options = {"directions": ("inline", "crossline", "time"), "window": (1, 9, 9), "padded": (1, 12, 12)}
    raw, plain = (stream(volume, "uniform", as_stored=stored, **options) for stored in (True, False))
    for one, other in zip(raw, plain, strict=True):
        images, labels, _ = decode(one, volume.coding)
        np.testing.assert_array_equal(images, other["image"])
        np.testing.assert_array_equal(labels, other["labels"])


@pytest.mark.parametrize(
    ("dtype", "attributes"),
    [("int8", SCALED), ("int16", MISSING | SHIFTED), ("float32", SCALED), ("float32", MISSING), ("int32", TWO_MISSING)],
)
def test_what_the_device_cannot_tell_is_decoded_before(dtype, attributes):
    """Whole numbers of which none or several say that there is no datum, or with an offset; floats that stand for
    others."""
    volume = make_volume(dtype, attributes)
    for one, other in zip(*(stream(volume, "uniform", as_stored=stored) for stored in (True, False)), strict=True):
        assert one["image"].dtype == np.float32
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
