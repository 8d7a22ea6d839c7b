"""Coarser copies of a volume: every sample is what its cell says, on axes that lie where the cells lie."""

import collections
from pathlib import Path

import numpy as np
import pytest
import xarray

from seisjax.conventions import IGNORE
from seisjax.geometry import Axis, Box
from seisjax.volumes import StreamingStatistics, Volume, create_volume, open_volume
from seisjax.volumes.pyramid import write_pyramid

SHAPE = (9, 6, 21)
CHUNK = (4, 8, 4)  # the second axis is within one chunk
NAMES = ("inline", "crossline", "time")
rng = np.random.default_rng(0)
CLASSES = rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), SHAPE)
CLASSES[:2, 0, :2] = IGNORE  # a cell that knows nothing
ENTROPY = np.where(CLASSES == IGNORE, np.nan, rng.random(SHAPE)).astype(np.float16)
SHARES = np.where(CLASSES == IGNORE, 255, rng.integers(0, 254, (2, *SHAPE))).astype(np.uint8)
IDS = rng.integers(0, 5, SHAPE).astype(np.uint32)
LIVE = rng.random(SHAPE[:2]) < 0.3
CDP_X = np.where(LIVE, rng.normal(5e5, 1e3, SHAPE[:2]), np.nan)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    axes = [Axis("inline", np.arange(100, 109)), Axis("crossline", np.arange(6)), Axis("time", np.arange(21) * 4, "ms")]
    url = tmp_path_factory.mktemp("pyramid") / "prediction.zarr"
    attributes = {"prediction": {"run": "r"}, "source_file": "a.segy"}
    volume = create_volume(url, axes, dtype=None, chunk=CHUNK, shard=(4, 8, 8), attributes=attributes)
    statistics = StreamingStatistics()
    statistics.update(ENTROPY[np.isfinite(ENTROPY)].astype(np.float32))
    with volume:
        volume.add_array("pred_class", fill=IGNORE, values=CLASSES, attributes={"class_names": ["a", "b", "c"]})
        scaled = {"scale_factor": 1 / 254, "missing_value": 255}
        volume.add_array("pred_probability", dimension_names=("class", *NAMES), values=SHARES, attributes=scaled)
        volume.add_array("pred_entropy", values=ENTROPY, attributes=statistics.result().attributes())
        volume.add_array("object_id", values=IDS)
        volume.add_array("trace_mask", dimension_names=NAMES[:2], values=LIVE)
        volume.add_array("cdp_x", dimension_names=NAMES[:2], values=CDP_X)
    return volume


@pytest.fixture(scope="module")
def levels(predicted: Volume) -> list[Volume]:
    assert write_pyramid(predicted, 5) == 3
    return [open_volume(f"{predicted.url}/pyramid/{k}") for k in (1, 2, 3)]


def whole(volume: Volume, name: str) -> np.ndarray:
    return volume.read(name, Box.whole(volume.arrays[name].shape))


def cells(values: np.ndarray, sides: tuple[int, ...]):
    """Index and samples of every cell."""
    for index in np.ndindex(*(-(-n // side) for n, side in zip(values.shape, sides, strict=True))):
        yield index, values[tuple(slice(i * s, i * s + s) for i, s in zip(index, sides, strict=True))].ravel()


def most_frequent(values: np.ndarray, missing: int | None) -> int:
    counts = collections.Counter(int(v) for v in values if v != missing)
    return min(counts, key=lambda v: (-counts[v], v)) if counts else int(values[0])


def test_there_are_as_many_levels_as_axes_are_longer_than_a_chunk(levels: list[Volume]) -> None:
    assert [level.shape for level in levels] == [(5, 6, 11), (3, 6, 6), (3, 6, 3)]
    assert levels[2].attributes["pyramid"] == {"level": 3, "factor": {"inline": 4, "crossline": 1, "time": 8}}
    assert levels[0].attributes["prediction"] == {"run": "r"}
    assert "source_file" not in levels[0].attributes


def test_every_sample_is_what_its_cell_says(levels: list[Volume]) -> None:
    sides = (2, 1, 2)
    for name, values, missing in (("pred_class", CLASSES, IGNORE), ("object_id", IDS, None)):
        found = whole(levels[0], name)
        for index, cell in cells(values, sides):
            assert found[index] == most_frequent(cell, missing), (name, index)
    assert whole(levels[0], "pred_class")[0, 0, 0] == IGNORE
    found = whole(levels[0], "pred_entropy")
    for index, cell in cells(ENTROPY, sides):
        expected = np.float16(np.nanmean(cell.astype(np.float32)) if np.isfinite(cell).any() else np.nan)
        np.testing.assert_allclose(found[index], expected, rtol=1e-3)
    for shares, stored in zip(whole(levels[0], "pred_probability"), SHARES, strict=True):
        for index, cell in cells(stored, sides):
            known = cell[cell != 255]
            assert shares[index] == (np.rint(known.astype(np.float32).mean()) if len(known) else 255)


def test_traces_and_axes_lie_where_the_cells_lie(levels: list[Volume]) -> None:
    first = levels[0]
    for index, cell in cells(LIVE, (2, 1)):
        assert whole(first, "trace_mask")[index] == cell.any()
    for index, cell in cells(CDP_X, (2, 1)):
        expected = np.nan if np.isnan(cell).all() else np.nanmean(cell)
        np.testing.assert_allclose(whole(first, "cdp_x")[index], expected)
    np.testing.assert_array_equal(first.axes[0].labels, [100.5, 102.5, 104.5, 106.5, 108.5])
    np.testing.assert_array_equal(first.axes[1].labels, np.arange(6))
    np.testing.assert_array_equal(first.axes[2].labels, np.arange(11) * 8 + 2)
    assert first.axes[2].unit == "ms"


def test_xarray_opens_every_level(predicted: Volume, levels: list[Volume]) -> None:
    for level in levels:
        dataset = xarray.open_zarr(level.url)
        assert dataset["pred_class"].shape == level.shape
        assert dataset["cdp_x"].dims == ("inline", "crossline")
        assert "statsV1" not in dataset["pred_entropy"].attrs
    assert set(xarray.open_zarr(predicted.url)) == {
        "pred_class",
        "pred_probability",
        "pred_entropy",
        "object_id",
        "trace_mask",
    }


def test_a_second_one_writes_the_same(predicted: Volume, levels: list[Volume]) -> None:
    def contents() -> dict[Path, bytes]:
        files = [path for path in Path(predicted.url, "pyramid").rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files if path.name != "zarr.json"}  # which holds the time

    before = contents()
    assert write_pyramid(predicted, 3) == 3
    assert contents() == before


def test_levels_of_an_unfinished_volume_come_with_it(tmp_path: Path) -> None:
    axes = [Axis("inline", np.arange(5)), Axis("time", np.arange(9) * 4, "ms")]
    volume = create_volume(tmp_path / "p.zarr", axes, dtype=None, chunk=(4, 4), shard=(4, 4))
    with volume:
        volume.add_array("pred_class", fill=IGNORE, values=np.ones((5, 9), np.uint8))
        write_pyramid(volume, 1)
        assert not (tmp_path / "p.zarr").exists()
    assert open_volume(f"{volume.url}/pyramid/1").shape == (3, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["p.zarr"]


def test_examples_stay_and_small_volumes_have_no_levels() -> None:
    axes = [Axis("example", np.arange(3)), Axis("receiver", np.arange(10)), Axis("time", np.arange(12) * 2, "ms")]
    with create_volume("memory://panels.zarr", axes, kind="panels", chunk=(1, 4, 4), dtype=None) as volume:
        volume.add_array("labels_event", values=np.ones((3, 10, 12), np.uint8))
    assert write_pyramid(volume, 1) == 1
    level = open_volume("memory://panels.zarr/pyramid/1")
    assert level.shape == (3, 5, 6)
    np.testing.assert_array_equal(level.label_index("event").histogram, [0, 90])
    with create_volume("memory://small.zarr", axes, kind="panels", chunk=(3, 10, 12), dtype=None) as volume:
        pass
    assert write_pyramid(volume, 3) == 0
