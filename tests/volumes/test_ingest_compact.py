"""Samples in fewer bits, and copies for sections."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes import columns
from seisjax.volumes.ingest import describe_made, ingest
from seisjax.volumes.quantization import Encoding, choose_scale
from seisjax.volumes.sources import open_reader


def noise(path: Path, heavy: bool = False) -> np.ndarray:
    """A survey of noise in a `.npy` file, with a dead trace and samples that are not finite."""
    random = np.random.default_rng(5)
    values = (random.standard_t(2, (12, 10, 40)) if heavy else random.normal(0, 3, (12, 10, 40))).astype(np.float32)
    values[2, 3], values[4, 5, 6], values[7, 8, 9] = np.nan, np.nan, np.inf
    np.save(path, values)
    return values


@pytest.mark.parametrize("dtype", ["int8", "int16", "float16"])
@pytest.mark.parametrize("heavy", [False, True])
def test_the_error_that_is_recorded_is_the_error_that_is_ingest(tmp_path: Path, dtype: str, heavy: bool):
    values = noise(tmp_path / "a.npy", heavy)
    volume = ingest(tmp_path / "a.npy", tmp_path / "a.zarr", dtype=dtype, chunk=(4, 4, 8), shard=(8, 8, 16))
    read = volume.read_amplitude(Box.whole(volume.shape))
    finite = np.isfinite(values)
    np.testing.assert_array_equal(np.isfinite(read), finite)
    difference = values[finite].astype(np.float64) - read[finite]
    attributes = volume.arrays["amplitude"].attributes
    errors = attributes["compression"]
    np.testing.assert_allclose(errors["rms_error"], np.sqrt(np.mean(difference**2)))
    np.testing.assert_allclose(errors["max_error"], np.abs(difference).max())
    power = np.mean(values[finite].astype(np.float64) ** 2) / np.mean(difference**2)
    np.testing.assert_allclose(errors["snr_db"], 10 * np.log10(power))
    if dtype != "float16":
        limit = np.iinfo(dtype).max
        past = np.abs(values[finite]) > (limit + 0.5) * attributes["scale_factor"]
        np.testing.assert_allclose(errors["saturated_share"], past.mean())
        assert np.abs(difference[~past]).max() <= attributes["scale_factor"] * 0.5001
        assert attributes["missing_value"] == np.iinfo(dtype).min
        assert "_FillValue" not in attributes
        if heavy or dtype == "int16":
            assert past.any() == (dtype == "int8")
    statistics = volume.statistics
    assert statistics is not None
    np.testing.assert_allclose([statistics.min, statistics.max], [read[finite].min(), read[finite].max()])
    assert f"stored as {dtype}" in describe_made(volume, "a.zarr")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), tail=st.floats(1.5, 20))
def test_no_other_scale_is_better(seed: int, tail: float):
    values = np.sort(np.random.default_rng(seed).standard_t(tail, 4000)).astype(np.float32)
    greatest = float(np.abs(values).max())

    def error(scale: float) -> float:
        encoding = Encoding(np.dtype("int8"), scale)
        return float(np.mean((encoding.decode(encoding.encode(values, "")) - values.astype(np.float64)) ** 2))

    chosen = choose_scale(values, np.ones(4000), np.dtype("int8"), greatest, whole=False)
    best = min(error(float(np.float32(scale))) for scale in greatest / 127 * np.geomspace(0.02, 1, 400))
    assert error(chosen) <= 1.05 * best  # the search reckons with steps evenly filled, but for the one about 0


def test_whole_numbers_that_do_not_fit_get_a_scale(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.arange(-40000, 40000, 100, dtype=np.int32).reshape(2, 4, 100))
    volume = ingest(tmp_path / "a.npy", tmp_path / "a.zarr", dtype="int16")
    np.testing.assert_allclose(volume.arrays["amplitude"].attributes["scale_factor"], 40000 / 32767)
    np.save(tmp_path / "b.npy", np.arange(-400, 400, dtype=np.int32).reshape(2, 4, 100))
    volume = ingest(tmp_path / "b.npy", tmp_path / "b.zarr", dtype="int16")
    assert "scale_factor" not in volume.arrays["amplitude"].attributes
    np.testing.assert_array_equal(volume.read_amplitude(Box.whole(volume.shape)).ravel(), np.arange(-400, 400))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_copies_for_sections_hold_the_same(tmp_path: Path, dtype: str):
    noise(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.random.default_rng(0).integers(0, 3, (12, 10, 40)))
    axes = ["inline", "crossline", "time"]
    volume = ingest(
        tmp_path / "a.npy", tmp_path / "a.zarr", labels=tmp_path / "b.npy", dtype=dtype, sections=axes,
        chunk=(4, 4, 8), shard=(8, 8, 16),
    )  # fmt: skip
    whole = Box.whole(volume.shape)
    for i, axis in enumerate(axes):
        for name in ("amplitude", "labels_facies"):
            copy, original = volume.arrays[f"sections_{axis}_{name}"], volume.arrays[name]
            assert copy.chunk[i] == 1
            assert (copy.shard, copy.dtype) == (original.shard, original.dtype)
            assert copy.attributes == original.attributes
            np.testing.assert_array_equal(volume.read(copy.name, whole), volume.read(name, whole))
    assert volume.label_names() == ["facies"]
    with pytest.raises(UserError, match="--sections=offset"):
        ingest(tmp_path / "a.npy", tmp_path / "c.zarr", sections=["offset"])


def test_long_traces_make_narrow_shards(tmp_path: Path):
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (300, 300, 6000))  # sparse
    survey = columns.Survey(open_reader([str(tmp_path / "a.npy")]), [], "float32", [])
    survey.lay_out(None, None, "zstd")
    assert survey.shard == (64, 128, 512)  # 8192 traces of 6000 samples
    survey.lay_out(None, (256, 256, 512), "zstd")
    (first, *_) = survey.columns
    parts = list(columns._parts(survey, first))
    assert max(part.size for part in parts) <= columns.COLUMN
    assert sum(part.size for part in parts) == first.size


def test_columns_in_parts_give_the_same_store(survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    labels = np.random.default_rng(0).integers(0, 3, (20, 9, 30)).astype(np.uint8)
    np.save(tmp_path / "b.npy", labels)
    options = {"labels": tmp_path / "b.npy", "chunk": (4, 4, 8), "shard": (8, 8, 16), "sections": ["time"]}
    at_once = ingest(survey, tmp_path / "a.zarr", **options)
    monkeypatch.setattr(columns, "COLUMN", 8 * 8 * 16)
    monkeypatch.setattr(columns, "PIECE", 3 * 30 * 4)  # three traces
    in_parts = ingest(survey, tmp_path / "b.zarr", **options)
    whole = Box.whole(at_once.shape)
    for name in ("amplitude", "labels_facies", "sections_time_amplitude", "sections_time_labels_facies"):
        np.testing.assert_array_equal(in_parts.read(name, whole), at_once.read(name, whole))
    for name in ("trace_mask", "cdp_x"):
        np.testing.assert_array_equal(
            in_parts.read(name, Box.whole(whole.shape[:-1])), at_once.read(name, Box.whole(whole.shape[:-1]))
        )
    a, b = at_once.statistics, in_parts.statistics
    assert a is not None
    assert b is not None
    assert (a.count, a.p50, a.min) == (b.count, b.p50, b.min)
    np.testing.assert_array_equal(at_once.label_index("facies").counts, in_parts.label_index("facies").counts)
