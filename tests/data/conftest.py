"""A small survey with everything that a window must cope with."""

from dataclasses import dataclass

import numpy as np
import pytest

from seisjax.conventions import AMPLITUDE, IGNORE, TRACE_MASK
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, create_volume, open_volume


@dataclass
class Cube:
    """A volume, and what it must read as: NaN where there is no datum, IGNORE where nothing is known."""

    volume: Volume
    amplitude: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="session")
def cube() -> Cube:
    """20 inlines from 100, 40 crosslines from 200, 60 samples; labels on inlines 106 to 109 alone.

    Trace (4, 4) is dead, and so are lines 7, 8 along some crosslines; sample (1, 2, 3) is Inf, (6, 5, 6) is NaN.
    """
    return make_cube("memory://cube/")


@pytest.fixture(scope="session")
def stored_cube(tmp_path_factory: pytest.TempPathFactory) -> Cube:
    """The same in a folder, for other processes."""
    return make_cube(str(tmp_path_factory.mktemp("cube") / "cube.zarr"))


def make_cube(url: str) -> Cube:
    rng = np.random.default_rng(0)
    axes = [Axis("inline", np.arange(100, 120)), Axis("crossline", np.arange(200, 240))]
    axes.append(Axis("time", np.arange(60) * 4.0, "ms"))
    shape = tuple(map(len, axes))
    amplitude = rng.normal(3.0, 1.0, shape).astype(np.float32)
    amplitude[1, 2, 3], amplitude[6, 5, 6] = np.inf, np.nan
    live = np.ones(shape[:2], bool)
    live[4, 4] = live[7:9, 10:14] = False
    labels = np.full(shape, IGNORE, np.uint8)
    labels[6:10] = rng.integers(0, 3, labels[6:10].shape)
    with create_volume(url, axes, chunk=(8, 16, 16), shard=(16, 32, 32)) as volume:
        volume.write(AMPLITUDE, Box.whole(shape), amplitude)
        volume.write(TRACE_MASK, Box.whole(shape[:2]), live)
        volume.add_array("labels_facies", np.uint8)
        volume.write("labels_facies", Box.whole(shape), labels)
    amplitude[~np.isfinite(amplitude)] = np.nan
    amplitude[~live], labels[~live] = np.nan, IGNORE
    return Cube(open_volume(url), amplitude, labels)
