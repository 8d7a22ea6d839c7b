"""Volumes: what is written comes back, masked, padded and labelled; from files, memory and HTTP."""

import functools
import math
import multiprocessing
import pickle
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from seisjax.conventions import AMPLITUDE, IGNORE, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import (
    StreamingStatistics,
    Volume,
    bytes_read,
    create_volume,
    open_volume,
    set_cache_size,
)

SHAPE = (20, 24, 40)
AXES = (
    Axis("inline", np.arange(100, 120)),
    Axis("crossline", np.arange(10, 58, 2)),
    Axis("time", np.arange(40) * 4.0, "ms"),
)
AMPLITUDES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
AMPLITUDES[3, 4, 5], AMPLITUDES[3, 4, 6] = np.inf, np.nan
LABELS = np.where(AMPLITUDES > 0, 1, 0).astype(np.uint8)
LIVE = np.ones(SHAPE[:2], bool)
LIVE[7, 8] = False
WHOLE = Box.whole(SHAPE)


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "survey.zarr") if request.param == "file" else f"memory://{tmp_path.name}/survey"


def make(url: str | Path) -> Volume:
    with create_volume(url, AXES, chunk=(8, 8, 16), shard=(16, 16, 32), attributes={"source_file": "a.segy"}) as volume:
        volume.add_array("labels_facies", np.uint8, attributes={"class_names": ["shale", "sand"]})
        statistics = StreamingStatistics()
        for box in volume.shards():
            volume.write(AMPLITUDE, box, AMPLITUDES[box.slices])
            volume.write("labels_facies", box, LABELS[box.slices])
            statistics.update(AMPLITUDES[box.slices])
        for box in volume.shards(TRACE_MASK):
            volume.write(TRACE_MASK, box, LIVE[box.slices])
        volume.set_statistics(statistics.result())
    return volume


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return open_volume(make(tmp_path_factory.mktemp("volumes") / "survey.zarr").url)


def test_what_was_written_is_read(url: str) -> None:
    make(url)
    volume = open_volume(url)
    assert volume.shape == SHAPE
    assert volume.kind == "survey"
    assert volume.attributes["source_file"] == "a.segy"
    assert [(a.name, a.unit) for a in volume.axes] == [("inline", ""), ("crossline", ""), ("time", "ms")]
    for axis, expected in zip(volume.axes, AXES, strict=True):
        np.testing.assert_array_equal(axis.labels, expected.labels)
    assert volume.axes[0].labels.dtype == np.int32
    info = volume.arrays[AMPLITUDE]
    assert (info.dtype, info.chunk, info.shard) == (np.float32, (8, 8, 16), (16, 16, 32))
    assert volume.arrays[TRACE_MASK].dtype == bool
    np.testing.assert_array_equal(volume.read(AMPLITUDE, WHOLE), AMPLITUDES)
    box = Box((5, 3, 7), (9, 17, 22))
    np.testing.assert_array_equal(volume.read("labels_facies", box), LABELS[box.slices])


def test_a_box_that_reaches_past_the_volume_is_padded(survey: Volume) -> None:
    box = Box((-2, 20, 38), (5, 8, 4))
    values = survey.read_padded("labels_facies", box, 7)
    assert values.shape == box.shape
    np.testing.assert_array_equal(values[2:, :4, :2], LABELS[:3, 20:, 38:])
    values[2:, :4, :2] = 7
    assert (values == 7).all()
    assert (survey.read_padded("labels_facies", Box((50, 0, 0), (1, 2, 3)), 7) == 7).all()
    with pytest.raises(ValueError, match="reaches past"):
        survey.read(AMPLITUDE, box)


def test_boxes_of_several_shapes_are_read_into_arrays(survey: Volume) -> None:
    ends = [survey.shape, (1, *survey.shape[1:]), (2, 3, 4)]
    boxes = [Box.whole(ends[0]), Box.whole(ends[1]), Box((1, 2, 3), ends[2]), Box.whole(ends[2])]
    # Every other sample of arrays that are twice as long: what lies between stays as it is.
    arrays = [np.full((*box.shape[:-1], 2 * box.shape[-1]), -7, survey.arrays[AMPLITUDE].dtype) for box in boxes]
    survey.start_read_into(AMPLITUDE, boxes, [array[..., ::2] for array in arrays])()
    for box, array in zip(boxes, arrays, strict=True):
        np.testing.assert_array_equal(array[..., ::2], survey.read(AMPLITUDE, box))
        assert (array[..., 1::2] == -7).all()
    with pytest.raises(ValueError, match="reaches past amplitude"):
        survey.start_read_into(AMPLITUDE, [Box((1, 0, 0), survey.shape)], [arrays[0]])


def test_amplitudes_without_a_datum_are_nan(survey: Volume) -> None:
    values = survey.read_amplitude(Box((-1, 0, 0), (21, 24, 41)))
    assert values.dtype == np.float32
    expected = np.where(LIVE[..., None] & np.isfinite(AMPLITUDES), AMPLITUDES, np.nan)
    np.testing.assert_array_equal(values[1:, :, :40], expected)
    assert np.isnan(values[0]).all()
    assert np.isnan(values[..., 40]).all()
    np.testing.assert_array_equal(survey.start_amplitude(WHOLE)(), expected)


def test_labels_are_ignored_on_dead_traces_and_outside(survey: Volume) -> None:
    for name in ("facies", "labels_facies"):
        labels = survey.read_labels(name, Box((-1, 0, 0), (21, 24, 40)))
        np.testing.assert_array_equal(labels[1:], np.where(LIVE[..., None], LABELS, IGNORE))
        assert (labels[0] == IGNORE).all()
    assert survey.label_names() == ["facies"]
    assert survey.class_names("facies") == ["shale", "sand"]
    with pytest.raises(UserError, match="no labels 'facis'.*did you mean 'facies'"):
        survey.read_labels("facis", WHOLE)


def test_the_label_index_counts_every_chunk(survey: Volume) -> None:
    index = survey.label_index("facies")
    assert index.chunk == (8, 8, 16)
    assert index.counts.shape == (3, 3, 3, 2)
    assert index.counts.dtype == np.uint32
    np.testing.assert_array_equal(index.histogram, np.bincount(LABELS.ravel()))
    np.testing.assert_array_equal(index.counts[2, 2, 2], np.bincount(LABELS[16:, 16:, 32:].ravel(), minlength=2))


def test_statistics_are_kept(survey: Volume) -> None:
    finite = AMPLITUDES[np.isfinite(AMPLITUDES)].astype(np.float64)
    assert survey.statistics is not None
    assert (survey.statistics.count, survey.statistics.non_finite) == (finite.size, 2)
    assert survey.statistics.mean == pytest.approx(finite.mean(), rel=1e-9)
    assert survey.statistics.std == pytest.approx(finite.std(), rel=1e-9)
    mdio = survey.arrays[AMPLITUDE].attributes["statsV1"]
    assert mdio["sum"] == pytest.approx(finite.sum())
    assert mdio["sumSquares"] == pytest.approx(np.square(finite).sum())
    assert sum(mdio["histogram"]["counts"]) == finite.size


def test_describe_names_axes_arrays_and_classes(survey: Volume) -> None:
    text = survey.describe()
    for expected in ("20 x 24 x 40", "crossline:10-56", "time:0-156 ms", "amplitude float32", "shale", "2 not finite"):
        assert expected in text


def test_two_who_add_to_a_volume_at_once_keep_both_arrays(tmp_path: Path) -> None:
    create_volume(tmp_path / "a", AXES).finish()
    both = {name: open_volume(str(tmp_path / "a")) for name in ("one", "two")}
    for name, volume in both.items():
        volume.add_array(f"labels_{name}", values=np.ones(volume.shape, np.uint8))
    for volume in both.values():
        volume.finish()
    assert open_volume(str(tmp_path / "a")).label_names() == ["one", "two"]


def test_the_fingerprint_is_that_of_the_data(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    assert first.fingerprint == second.fingerprint == open_volume(tmp_path / "a").fingerprint
    with open_volume(tmp_path / "b") as second:
        second.add_array("pred_class", np.uint8)
    assert open_volume(tmp_path / "b").fingerprint == first.fingerprint
    statistics = StreamingStatistics()
    statistics.update(np.ones(3))
    second.set_statistics(statistics.result())
    assert second.fingerprint != first.fingerprint


def test_unwritten_samples_are_no_data_on_live_traces(url: str) -> None:
    volume = create_volume(url, AXES).finish()
    assert np.isnan(volume.read(AMPLITUDE, WHOLE)).all()
    assert volume.read(TRACE_MASK, Box.whole(SHAPE[:2])).all()
    assert volume.statistics is None


def test_whole_numbers_with_a_scale(url: str) -> None:
    volume = create_volume(url, AXES, dtype="int16")
    stored = np.arange(np.prod(SHAPE), dtype=np.int64).reshape(SHAPE) % 1000
    volume.write(AMPLITUDE, WHOLE, stored)
    volume.set_attributes(AMPLITUDE, {"scale_factor": 0.5})
    volume.finish()
    values = open_volume(url).read_amplitude(Box((0, 0, 0), (*SHAPE[:2], SHAPE[2] + 1)))
    np.testing.assert_array_equal(values[..., :-1], stored * np.float32(0.5))
    assert np.isnan(values[..., -1]).all()


def test_panels_are_stored_one_by_one(url: str) -> None:
    axes = (Axis("example", np.arange(3)), Axis("receiver", np.arange(600)), Axis("time", np.arange(700) * 1.0, "ms"))
    volume = create_volume(url, axes, kind="panels")
    info = volume.arrays[AMPLITUDE]
    assert (info.chunk, info.shard) == ((1, 512, 512), (1, 1024, 1024))
    assert [box.shape for box in volume.shards()] == [(1, 600, 700)] * 3
    panel = Box((1, 0, 0), (1, 600, 700))
    values = np.random.default_rng(0).normal(size=panel.shape).astype(np.float32)
    volume.write(AMPLITUDE, panel, values)
    volume.finish()
    np.testing.assert_array_equal(open_volume(url).read_amplitude(panel), values)


def test_an_array_with_a_class_axis_is_sharded_as_the_volume_is(url: str) -> None:
    volume = create_volume(url, AXES, chunk=(8, 8, 16), shard=(16, 16, 32), dtype=None)
    assert AMPLITUDE not in volume.arrays
    volume.add_array(
        "pred_probability", np.float32, dimension_names=("class", "inline", "crossline", "time"), shape=(3, *SHAPE)
    )
    assert volume.arrays["pred_probability"].shard == (1, 16, 16, 32)
    box = Box((0, 16, 0, 32), (3, 4, 16, 8))
    volume.write("pred_probability", box, np.ones(box.shape, np.float32))
    volume.finish()
    assert (open_volume(url).read("pred_probability", box) == 1).all()


def test_only_whole_shards_are_written(tmp_path: Path) -> None:
    volume = create_volume(tmp_path / "a", AXES, chunk=(8, 8, 16), shard=(16, 16, 32))
    with pytest.raises(ValueError, match="whole shards"):
        volume.write(AMPLITUDE, Box((0, 0, 0), (8, 16, 32)), np.zeros((8, 16, 32)))
    with pytest.raises(ValueError, match="whole shards"):
        volume.write(AMPLITUDE, Box((16, 16, 32), (16, 16, 32)), np.zeros((16, 16, 32)))
    with pytest.raises(ValueError, match="shape"):
        volume.write(AMPLITUDE, Box((16, 16, 32), (4, 8, 8)), np.zeros((4, 8, 7)))
    volume.write(AMPLITUDE, Box((16, 16, 32), (4, 8, 8)), np.zeros((4, 8, 8)))
    volume.abort()


def test_a_shard_is_written_without_being_read_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 16, 32)).astype(np.float32)
    box, empty = Box((16, 0, 0), (4, 16, 32)), Box((0, 0, 0), (16, 16, 32))
    volumes = [create_volume(tmp_path / name, AXES, chunk=(8, 8, 16), shard=(16, 16, 32)) for name in ("a", "b")]
    for volume in volumes:
        volume.write(AMPLITUDE, empty, np.ones(empty.shape))
    before = bytes_read()
    stored = volumes[0].write_shard(AMPLITUDE, box, values)
    assert volumes[0].write_shard(AMPLITUDE, empty, np.full(empty.shape, np.nan)) is None
    assert bytes_read() == before
    assert volumes[0].stored_shard(AMPLITUDE, empty) is None
    volumes[1].write(AMPLITUDE, box, values)
    assert stored == volumes[0].stored_shard(AMPLITUDE, box) == volumes[1].stored_shard(AMPLITUDE, box)
    np.testing.assert_array_equal(volumes[0].finish().read(AMPLITUDE, box), values)
    volumes[1].abort()


@pytest.mark.parametrize(("dtype", "value"), [("float16", 1e6), ("int8", 200), ("int16", 0.5), ("float32", 1e300)])
def test_values_that_the_type_does_not_hold_are_refused(tmp_path: Path, dtype: str, value: float) -> None:
    volume = create_volume(tmp_path / "a", AXES, dtype=dtype)
    with pytest.raises(UserError, match=f"amplitude: .* does not fit {dtype}"):
        volume.write(AMPLITUDE, WHOLE, np.full(SHAPE, value))
    volume.abort()


def _mean(volume: Volume) -> float:
    return float(np.nanmean(volume.read_amplitude(WHOLE)))


def test_a_pickled_volume_reads_the_same_elsewhere(survey: Volume) -> None:
    expected = _mean(survey)  # with handles open by now
    assert _mean(pickle.loads(pickle.dumps(survey))) == expected
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_mean, (survey,)) == expected


def test_threads_share_a_volume(survey: Volume) -> None:
    volume = open_volume(survey.url)
    boxes = [Box((i, 0, 0), (1, 24, 40)) for i in range(20)]
    with ThreadPoolExecutor(8) as pool:
        for box, values in zip(boxes, pool.map(functools.partial(volume.read, AMPLITUDE), boxes), strict=True):
            np.testing.assert_array_equal(values, AMPLITUDES[box.slices])


def test_opening_reads_no_samples_and_the_cache_saves_reads(survey: Volume) -> None:
    try:
        set_cache_size(16)
        before = bytes_read()
        volume = open_volume(survey.url)
        opened = bytes_read()
        first = volume.read(AMPLITUDE, Box((0, 0, 0), (8, 8, 16)))
        once = bytes_read()
        volume.read(AMPLITUDE, Box((1, 1, 1), (4, 4, 4)))
        assert 0 < opened - before < 40_000  # metadata and axes
        assert once - opened >= first.nbytes // 2
        assert bytes_read() == once
        set_cache_size(0)
        volume = open_volume(survey.url)
        for _ in range(2):
            before = bytes_read()
            volume.read(AMPLITUDE, Box((0, 0, 0), (8, 8, 16)))
            assert bytes_read() - before >= first.nbytes // 2
    finally:
        set_cache_size(256)


def test_a_volume_is_read_over_http(survey: Volume, serving: Callable[..., AbstractContextManager[str]]) -> None:
    folder = Path(survey.url)
    with serving(folder.parent) as url:
        volume = open_volume(f"{url}/{folder.name}")
        np.testing.assert_array_equal(volume.read(AMPLITUDE, WHOLE), AMPLITUDES)
        assert volume.label_index("facies").histogram.sum() == AMPLITUDES.size


def test_a_file_url_is_a_path(survey: Volume) -> None:
    assert open_volume(f"file://{survey.url}").url == survey.url


def test_shards_that_the_end_clips_take_the_room_of_one():
    shape, shard = (64, 64, 60), (16, 16, 64)
    axes = [Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), shape, strict=True)]
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with create_volume("memory://clipped/", axes, chunk=(16, 16, 16), shard=shard) as volume:
        volume.write("amplitude", Box((0, 0, 0), (16, 64, 60)), values[:16])  # what the first use takes
        tracemalloc.start()
        volume.write("amplitude", Box((16, 0, 0), (48, 64, 60)), values[16:])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 3 * 4 * math.prod(shard)
    np.testing.assert_array_equal(open_volume("memory://clipped/").read_amplitude(Box.whole(shape)), values)
