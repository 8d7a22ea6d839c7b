"""Samples: what lies outside the region, dead or not finite is masked, and unlabelled windows never come."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from seisjax.conventions import IGNORE
from seisjax.data import GridWindows, UniformWindows, WindowSource
from seisjax.errors import UserError
from seisjax.geometry import Box

REGION = Box((2, 0, 0), (9, 40, 60))


def expected(cube, box: Box, region: Box, padded: tuple[int, ...]):
    """Sample by brute force: a copy of the cube that is empty outside the region, with a wide rim."""
    amplitude = np.full([n + 80 for n in cube.amplitude.shape], np.nan, np.float32)
    labels = np.full(amplitude.shape, IGNORE, np.uint8)
    place = tuple(slice(40 + a, 40 + b) for a, b in zip(region.start, region.stop, strict=True))
    amplitude[place], labels[place] = cube.amplitude[region.slices], cube.labels[region.slices]
    amplitude[~np.isfinite(amplitude)] = np.nan
    labels[np.isnan(amplitude)] = IGNORE
    window = tuple(slice(40 + a, 40 + b) for a, b in zip(box.start, box.stop, strict=True))
    pad = [(0, p - w) for p, w in zip(padded, box.shape, strict=True)]
    image = np.pad(amplitude[window], pad, constant_values=np.nan)
    return image[..., None], np.pad(labels[window], pad, constant_values=IGNORE)


@pytest.mark.parametrize("window", [(1, 24, 30), (7, 12, 60), (16, 1, 20)])
def test_samples_equal_the_cube_inside_the_region_and_are_masked_elsewhere(cube, window):
    padded = tuple(side if side == 1 else -(-side // 8) * 8 for side in window)
    sampler = UniformWindows(REGION, window, seed=4, overhang=0.25)
    source = WindowSource(cube.volume, "facies", sampler, padded, labelled_only=False)
    for i in range(20):
        sample = source[i]
        image, labels = expected(cube, sampler.draw(i).box, REGION, padded)
        np.testing.assert_array_equal(sample["image"], image)
        np.testing.assert_array_equal(sample["labels"], labels)
        assert (sample["image"].dtype, sample["labels"].dtype) == (np.float32, np.uint8)


def test_a_batch_of_samples_is_the_samples(cube):
    sampler = UniformWindows(REGION, (4, 8, 16), seed=4, overhang=0.25)
    source = WindowSource(cube.volume, "facies", sampler, (4, 8, 16), labelled_only=True)
    together = source.read([5, 9, 2])
    for row, i in enumerate([5, 9, 2]):
        for name in together:
            np.testing.assert_array_equal(together[name][row], source[i][name])


def test_windows_without_a_label_are_drawn_again_the_same_way_each_time(cube):
    sampler = UniformWindows(REGION, (1, 8, 16), seed=4, overhang=0.0)
    source = WindowSource(cube.volume, "facies", sampler, (1, 8, 16), labelled_only=True)
    anything = WindowSource(cube.volume, "facies", sampler, (1, 8, 16), labelled_only=False)
    unlabelled = [i for i in range(60) if (anything[i]["labels"] == IGNORE).all()]
    assert unlabelled
    for i in range(60):
        assert (source[i]["labels"] != IGNORE).any()
        assert i in unlabelled or (source[i]["labels"] == anything[i]["labels"]).all()


def test_the_place_of_a_sample_is_where_it_was_read(cube):
    sampler = UniformWindows(REGION, (1, 8, 16), seed=4, overhang=0.25)
    for labelled_only in (False, True):
        source = WindowSource(cube.volume, "facies", sampler, (1, 8, 16), labelled_only=labelled_only)
        for i in range(30):
            volume, box = source.place(i)
            amplitude, image = volume.read_amplitude(box), source[i]["image"][..., 0]
            assert REGION.contains(box)
            np.testing.assert_array_equal(amplitude[np.isfinite(amplitude)], image[np.isfinite(image)])
    finite = WindowSource(cube.volume, None, GridWindows([REGION], (4, 8, 16)), (4, 8, 16), labelled_only=False)
    with pytest.raises(IndexError):
        finite.place(999)


def test_a_region_without_labels_ends_in_one_line(cube):
    sampler = UniformWindows(Box((0, 0, 0), (2, 40, 60)), (1, 8, 16), seed=0, overhang=0.0)
    source = WindowSource(cube.volume, "facies", sampler, (1, 8, 16), labelled_only=True)
    with pytest.raises(UserError, match="1000 windows in a row held no sample labelled in 'facies'"):
        source[0]


def test_without_labels_all_are_ignored(cube):
    sampler = GridWindows([REGION], (4, 8, 16))
    sample = WindowSource(cube.volume, None, sampler, (4, 8, 16), labelled_only=True)[0]
    assert (sample["labels"] == IGNORE).all()
    assert np.isfinite(sample["image"]).any()


def test_past_the_end_of_a_grid_there_is_nothing(cube):
    grid = GridWindows([REGION], (4, 8, 16))
    source = WindowSource(cube.volume, "facies", grid, (4, 8, 16), labelled_only=False)
    assert len(source) == len(grid)
    sample = source[len(grid)]
    assert np.isnan(sample["image"]).all()
    assert (sample["labels"] == IGNORE).all()


def test_bytes_used_count_the_part_inside_the_region(cube):
    grid = GridWindows([REGION], (8, 40, 60))
    source = WindowSource(cube.volume, "facies", grid, (8, 40, 64), labelled_only=False)
    source.read([0, 1, 2])  # whole, one line, past the end
    assert source.bytes_used == REGION.size * 5


def test_source_may_be_pickled_and_shared_by_threads(cube):
    sampler = UniformWindows(REGION, (4, 8, 16), seed=4, overhang=0.25)
    source = WindowSource(cube.volume, "facies", sampler, (4, 8, 16), labelled_only=True)
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as pool:
        there = list(pool.map(copy.__getitem__, range(40)))
    for i, sample in enumerate(there):
        np.testing.assert_array_equal(sample["image"], source[i]["image"])
    assert copy.bytes_used == source.bytes_used
