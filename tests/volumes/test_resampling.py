"""Resampling: sines keep amplitude and phase, nothing folds back, gaps stay, and cutting changes no bit."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, create_volume, open_volume
from seisjax.volumes.resampling import ResampledVolume, reach, resample, sampling_interval


def sine(frequency: float, positions: np.ndarray, rate: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * positions / rate + 0.7)


@pytest.mark.parametrize("ratio", [4.0, 2.5, 1.0, 0.25])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.83])
def test_a_sine_below_the_new_nyquist_frequency_keeps_amplitude_and_phase(ratio: float, share: float):
    frequency = share * 100 / max(ratio, 1.0)  # of 200 samples a second
    values = sine(frequency, np.arange(1200), 200)[None].astype(np.float32)
    positions = np.arange(200, 1000, ratio) + 0.37
    np.testing.assert_allclose(resample(values, positions, ratio)[0], sine(frequency, positions, 200), atol=2e-4)


@pytest.mark.parametrize("frequency", [25.0, 26.0, 40.0, 99.0])
def test_nothing_above_the_new_nyquist_frequency_folds_back(frequency: float):
    values = sine(frequency, np.arange(2000), 200)[None].astype(np.float32)
    assert np.abs(resample(values, np.arange(200, 1800, 4.0), 4.0)).max() < 1e-4


def test_a_constant_stays_itself_to_the_ends():
    values = np.full((2, 50), 1e5, np.float32)
    np.testing.assert_allclose(resample(values, np.arange(0, 49.5, 0.4), 0.4), 1e5, rtol=1e-6)


def test_samples_that_stay_where_they_are_keep_their_bits():
    values = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    np.testing.assert_array_equal(resample(values, np.arange(40.0), 1.0), values)


def test_gaps_stay_gaps_and_what_is_around_them_does_not_change():
    values = np.random.default_rng(0).normal(size=(1, 400)).astype(np.float32)
    values[0, 200:220] = np.nan
    found = resample(values, np.arange(0, 400, 2.0), 2.0)[0]
    np.testing.assert_array_equal(np.isnan(found), (np.arange(0, 400, 2) >= 200) & (np.arange(0, 400, 2) < 220))
    np.testing.assert_array_equal(found[:100], resample(values[:, :200], np.arange(0, 200, 2.0), 2.0)[0])
    assert np.isnan(resample(np.full((1, 9), np.nan, np.float32), np.arange(9.0), 1.0)).all()


@settings(max_examples=40, deadline=None)
@given(
    ratio=st.sampled_from([0.5, 0.8, 1.0, 2.0, 2.5, 4.0, 1.0003]),
    cuts=st.lists(st.integers(1, 299), max_size=3, unique=True),
    gaps=st.lists(st.tuples(st.integers(0, 299), st.integers(1, 30)), max_size=2),
)
def test_values_do_not_depend_on_how_a_record_is_cut(ratio: float, cuts: list[int], gaps: list[tuple[int, int]]):
    values = np.random.default_rng(1).normal(size=(2, 300)).astype(np.float32)
    for start, length in gaps:
        values[0, start : start + length] = np.nan
    positions = np.arange(int(300 / ratio)) * ratio
    whole, padded = resample(values, positions, ratio), np.pad(values, ((0, 0), (300, 300)), constant_values=np.nan)
    edges = [0, *sorted({int(cut / ratio) for cut in cuts}), len(positions)]
    for first, stop in zip(edges[:-1], edges[1:], strict=True):
        if first < stop:
            low, high = int(positions[first]) - reach(ratio), int(positions[stop - 1]) + reach(ratio) + 1
            part = resample(padded[:, low + 300 : high + 300], positions[first:stop], ratio, low)
            np.testing.assert_array_equal(part, whole[:, first:stop])


@pytest.fixture
def recorded(tmp_path: Path) -> Volume:
    """3 receivers, 500 samples at 5 ms; the last receiver is dead, and there is a gap."""
    values = sine(7.0, np.arange(500), 200) * np.array([[1.0], [2.0], [3.0]])
    values[1, 100:150] = np.nan
    axes = [Axis("receiver", np.arange(3)), Axis("time", np.arange(500) * 5, "ms")]
    with create_volume(tmp_path / "recorded.zarr", axes, kind="recording") as volume:
        volume.write("amplitude", Box.whole((3, 500)), values.astype(np.float32))
        volume.write("trace_mask", Box.whole((3,)), np.array([True, True, False]))
        volume.add_array("receiver_x", dimension_names=["receiver"], values=np.array([1.0, 2.0, 3.0]))
    return open_volume(tmp_path / "recorded.zarr")


def test_a_volume_is_read_as_if_recorded_at_another_interval(recorded: Volume):
    view = pickle.loads(pickle.dumps(ResampledVolume(recorded, 10.0)))
    assert view.shape == (3, 250)
    assert sampling_interval(view.axes[-1]) == 10.0
    assert (view.arrays["amplitude"].shape, view.kind) == ((3, 250), "recording")
    whole = view.read_amplitude(Box.whole(view.shape))
    np.testing.assert_allclose(whole[0, 40:-40], sine(7.0, np.arange(40, 210) * 2, 200), atol=2e-4)
    assert np.isnan(whole[1, 50:75]).all()
    assert np.isnan(whole[2]).all()
    assert np.isfinite(whole[1, :50]).all()
    for box in (Box((0, 30), (3, 47)), Box((1, 0), (1, 250)), Box((0, 249), (2, 1))):
        np.testing.assert_array_equal(view.read_amplitude(box), whole[box.slices])
    past = view.read_amplitude(Box((0, -3), (4, 256)))
    np.testing.assert_array_equal(past[:3, 3:253], whole)
    assert np.isnan(past[:, :3]).all()
    assert np.isnan(past[:, 253:]).all()
    assert np.isnan(view.read_amplitude(Box((0, 300), (3, 4)))).all()
    np.testing.assert_array_equal(view.read("receiver_x", Box((1,), (2,))), [2.0, 3.0])
    assert view.fingerprint != recorded.fingerprint


@pytest.mark.parametrize("interval", [8.0, 3.0, 2.0])
def test_labels_are_those_of_the_nearest_old_sample_and_are_counted(tmp_path: Path, interval: float):
    shape, rng = (6, 8, 50), np.random.default_rng(0)
    axes = [Axis("inline", np.arange(6)), Axis("crossline", np.arange(8)), Axis("time", np.arange(50) * 4.0, "ms")]
    labels = np.full(shape, IGNORE, np.uint8)
    labels[2:4, :, 5:] = rng.integers(0, 3, (2, 8, 45))
    with create_volume(tmp_path / "labelled.zarr", axes, chunk=(2, 4, 16), shard=(2, 8, 32)) as volume:
        volume.write("amplitude", Box.whole(shape), rng.normal(size=shape).astype(np.float32))
        volume.add_array("labels_facies", np.uint8)
        volume.write("labels_facies", Box.whole(shape), labels)
    source = open_volume(tmp_path / "labelled.zarr")
    view = pickle.loads(pickle.dumps(ResampledVolume(source, interval)))
    times = np.arange(view.shape[-1]) * interval
    expected = labels[..., np.floor(times / 4 + 0.5).astype(int).clip(max=49)]
    np.testing.assert_array_equal(view.read_labels("facies", Box.whole(view.shape)), expected)
    box = Box((2, -1, 3), (2, 5, view.shape[-1]))
    inside = box.intersect(Box.whole(view.shape))
    found = view.read_labels("facies", box)
    np.testing.assert_array_equal(found[inside.relative_to(box.start).slices], expected[inside.slices])
    assert (found[:, 0] == IGNORE).all()
    index = view.label_index("facies")
    np.testing.assert_array_equal(index.histogram, np.bincount(expected[expected != IGNORE]))
    assert source.label_index("facies").histogram.sum() == (labels != IGNORE).sum()


def test_an_axis_without_an_interval_cannot_be_resampled(tmp_path: Path):
    axes = [Axis("receiver", np.arange(2)), Axis("time", np.array([0.0, 1.0, 5.0]), "ms")]
    with create_volume(tmp_path / "uneven.zarr", axes) as volume:
        volume.write("amplitude", Box.whole((2, 3)), np.zeros((2, 3), np.float32))
    assert sampling_interval(axes[-1]) is None
    with pytest.raises(UserError, match=r"uneven\.zarr: its time axis has no even interval"):
        ResampledVolume(open_volume(tmp_path / "uneven.zarr"), 2.0)
