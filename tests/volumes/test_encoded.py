"""Compressions, and chunks fetched as they are stored."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from seisjax.conventions import AMPLITUDE
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, bytes_read, create_volume, open_volume, set_cache_size
from seisjax.volumes.ingest import ingest
from seisjax.volumes.resampling import ResampledVolume

SHAPE = (20, 24, 40)
SAMPLES = np.random.default_rng(0).integers(-9, 9, SHAPE).astype(np.float32)


def make(path: Path, shard: tuple[int, ...] = (16, 16, 32), compression: str = "zstd") -> Volume:
    axes = [Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), SHAPE, strict=True)]
    with create_volume(path, axes, chunk=(8, 8, 16), shard=shard, compression=compression) as volume:
        volume.write(AMPLITUDE, Box.whole(SHAPE), SAMPLES)
    return open_volume(path)


def stored(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / AMPLITUDE / "c").rglob("*") if file.is_file())


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_all_compressions_are_read_by_us_and_by_zarr(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "survey.zarr"
    volume = make(path, compression=compression)
    np.testing.assert_array_equal(volume.read_amplitude(Box.whole(SHAPE)), SAMPLES)
    group = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(np.asarray(group[AMPLITUDE]), SAMPLES)
    packed = stored(path) < 0.8 * SAMPLES.nbytes
    assert packed == (compression != "none")


def test_ingest_writes_a_store_anew_in_another_compression(tmp_path: Path) -> None:
    first = make(tmp_path / "first.zarr")
    second = ingest(tmp_path / "first.zarr", tmp_path / "second.zarr", compression="none", sections=["inline"])
    copy = next(name for name in second.arrays if name.startswith("sections_inline"))
    for name in (AMPLITUDE, copy):
        np.testing.assert_array_equal(second.read(name, Box.whole(SHAPE)), SAMPLES)
    assert stored(tmp_path / "first.zarr") < 0.8 * SAMPLES.nbytes < stored(tmp_path / "second.zarr")
    assert (first.attributes["compression"], second.attributes["compression"]) == ("zstd", "none")


def test_a_compression_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--compression=gzip: choose one of zstd, lz4, none"):
        make(tmp_path / "survey.zarr", compression="gzip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shard", [(16, 16, 32), (8, 8, 16)])
@pytest.mark.parametrize("box", [Box((0, 0, 0), SHAPE), Box((7, 9, 15), (2, 8, 18)), Box((17, 0, 3), (1, 24, 1))])
def test_fetching_takes_what_reading_takes_from_storage(tmp_path: Path, shard: tuple[int, ...], box: Box) -> None:
    make(tmp_path / "survey.zarr", shard)
    taken = []
    for fetches in (True, False):
        set_cache_size(256)
        volume, before = open_volume(tmp_path / "survey.zarr"), bytes_read()
        size = volume.start_fetch(AMPLITUDE, box)() if fetches else volume.read(AMPLITUDE, box).nbytes
        assert size > 0
        taken.append(bytes_read() - before)
        if fetches:
            indices = taken[0] - size  # of the shards that the box touches
            assert (indices > 0) == (shard != (8, 8, 16))
    assert taken[0] == taken[1]


@pytest.mark.parametrize("interval", [0.25, 3.0])
@pytest.mark.parametrize("name", [AMPLITUDE, "labels_facies"])
def test_fetching_of_a_resampled_volume_takes_what_its_reading_takes(
    tmp_path: Path, interval: float, name: str
) -> None:
    axes = [Axis("inline", np.arange(20)), Axis("crossline", np.arange(24)), Axis("time", np.arange(200) * 1.0, "ms")]
    with create_volume(tmp_path / "survey.zarr", axes, chunk=(8, 8, 16), shard=(8, 8, 16)) as volume:
        volume.add_array("labels_facies", np.uint8)
        for array in (AMPLITUDE, "labels_facies"):
            volume.write(array, Box.whole(volume.shape), SAMPLES[..., :1].repeat(200, axis=-1) % 3)
    taken, part = [], Box((7, 9, 20), (2, 8, 11))
    for box in (part, Box((0, 0, 0), (1, 24, 3))):
        for fetches in (True, False):
            set_cache_size(256)
            view, before = ResampledVolume(open_volume(tmp_path / "survey.zarr"), interval), bytes_read()
            _ = view.start_fetch(name, box)() if fetches else view.read(name, box)
            taken.append(bytes_read() - before)
    assert taken[0] == taken[1] > 0
    assert taken[2] == taken[3] > 0


def test_chunks_of_another_format_and_those_that_are_not_stored(tmp_path: Path) -> None:
    options = {"shape": (8, 8, 8), "chunks": (4, 4, 4), "dtype": "f4", "fill_value": 0}
    array = zarr.create_group(tmp_path / "old.zarr", zarr_format=2).create_array("data", **options)
    array.attrs["_ARRAY_DIMENSIONS"] = ["inline", "crossline", "time"]
    array[:4] = 1.5
    files = [file for file in (tmp_path / "old.zarr" / "data").iterdir() if not file.name.startswith(".z")]
    assert len(files) == 4
    volume = open_volume(tmp_path / "old.zarr")
    assert volume.start_fetch(AMPLITUDE, Box.whole((8, 8, 8)))() == sum(file.stat().st_size for file in files)
    assert volume.start_fetch(AMPLITUDE, Box((4, 0, 0), (4, 8, 8)))() == 0
