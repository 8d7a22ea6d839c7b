"""Batches of ingested surveys, on disk and on a web server, beside batches of the same traces laid out by hand."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import segyio

from seisjax.conventions import AMPLITUDE, TRACE_MASK
from seisjax.data import WindowSource, make_sampler
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, create_volume, open_volume
from seisjax.volumes.ingest import ingest

# File under the real surveys: axes as header bytes, start of the traces, vertical axis, window.
SURVEYS = {
    "viking/viking_small.segy": ({"ffid": 9, "channel": 13}, 0, "time", (1, 32, 64)),
    "volve/volve10r12-full-twt-arb.sgy": ({"cdp": 21}, 4, "time", (64, 128)),
    "volve/volve10r12-full-z-il10117sub.sgy": ({"cdp": 21}, 4, "depth", (64, 128)),
    "volve/volve10-migvel-depth-sub3d.sgy": ({"inline": 189, "crossline": 193}, 0, "depth", (8, 16, 64)),
    "f3/f3.sgy": ({"inline": 189, "crossline": 193}, 4, "time", (1, 16, 32)),
    "f3/f3-withdead.sgy": ({"inline": 189, "crossline": 193}, 4, "time", (1, 16, 32)),
    "f3/f3_sparse.sgy": ({"inline": 189, "crossline": 193}, 400, "time", (8, 8, 16)),
}


def by_hand(path: Path, axes: dict[str, int], start: float, vertical: str) -> Volume:
    """The survey as a volume in memory: a cell for every pair of the line numbers that occur."""
    with segyio.open(str(path), ignore_geometry=True) as file:
        samples = file.trace.raw[:].astype(np.float32)
        lines = [np.asarray(file.attributes(byte)[:]) for byte in axes.values()]
        interval = segyio.tools.dt(file) / 1000
    labels = [np.unique(values) for values in lines]
    places = tuple(np.searchsorted(known, values) for known, values in zip(labels, lines, strict=True))
    cells = tuple(map(len, labels))
    amplitude, live = np.full((*cells, samples.shape[1]), np.nan, np.float32), np.zeros(cells, bool)
    amplitude[places], live[places] = samples, True
    unit = {"time": "ms", "depth": "m"}[vertical]
    made = [Axis(name, known) for name, known in zip(axes, labels, strict=True)]
    made.append(Axis(vertical, start + interval * np.arange(samples.shape[1]), unit))
    url = f"memory://by-hand/{path.stem}/"
    with create_volume(url, made, chunk=(16,) * amplitude.ndim, shard=(32,) * amplitude.ndim) as volume:
        volume.write(AMPLITUDE, Box.whole(amplitude.shape), amplitude)
        volume.write(TRACE_MASK, Box.whole(cells), live)
    return open_volume(url)


def batches(volume: Volume, window: tuple[int, ...]) -> str:
    """SHA-256 over 16 batches of 4 uniform windows."""
    regions = (Box.whole(volume.shape),)
    sampler = make_sampler("uniform", volume=volume, labels=None, regions=regions, window=window, seed=5, overhang=0.25)
    source = WindowSource(volume, None, sampler, window, labelled_only=False)
    digest = hashlib.sha256()
    for start in range(0, 64, 4):
        digest.update(source.read(range(start, start + 4))["image"].tobytes())
    return digest.hexdigest()


@pytest.mark.real_data
@pytest.mark.parametrize("name", SURVEYS)
def test_an_ingested_survey_gives_the_batches_of_its_traces(
    name: str, real_data: Path, tmp_path: Path, serving: Callable
) -> None:
    axes, start, vertical, window = SURVEYS[name]
    ours = ingest(real_data / name, tmp_path / "survey.zarr", axes=axes, vertical=vertical)
    expected = by_hand(real_data / name, axes, start, vertical)
    for axis, wanted in zip(ours.axes, expected.axes, strict=True):
        np.testing.assert_allclose(axis.labels, wanted.labels)
    wanted = batches(expected, window)
    assert batches(ours, window) == wanted
    with serving(tmp_path) as url:
        assert batches(open_volume(f"{url}/survey.zarr"), window) == wanted
