"""Sections with their neighbours as channels: which stand where, and that no more than the region is read."""

import numpy as np
import pytest

from seisjax.data import GridWindows, UniformWindows, WindowSource, make_sampler
from seisjax.geometry import Box, section_axis

REGION = Box((2, 3, 0), (9, 12, 60))


def beside(cube, sampler, source, index: int, offset: int) -> np.ndarray:
    """The image, without neighbours, of the window moved across its section; nothing where that leaves the region."""
    draw = sampler.draw(index)
    axis = section_axis(draw.box.shape)
    start = draw.box.start[axis] + offset
    if not draw.region.start[axis] <= start < draw.region.stop[axis]:
        return np.full(source.padded, np.nan, np.float32)
    inside = np.full(cube.amplitude.shape, np.nan, np.float32)
    inside[draw.region.slices] = cube.amplitude[draw.region.slices]
    room = np.pad(inside, 80, constant_values=np.nan)
    starts = [start if i == axis else first for i, first in enumerate(draw.box.start)]
    sides = [slice(80 + a, 80 + a + n) for a, n in zip(starts, draw.box.shape, strict=True)]
    values = room[tuple(sides)].reshape(sampler.window)
    return np.pad(
        values, [(0, p - n) for p, n in zip(source.padded, values.shape, strict=True)], constant_values=np.nan
    )


@pytest.mark.parametrize(
    ("window", "directions"),
    [((1, 24, 30), ()), ((24, 1, 30), ()), ((1, 20, 20), ("crossline", "inline")), ((20, 20, 1), ())],
    ids=str,
)
@pytest.mark.parametrize("as_stored", [False, True])
def test_channels_are_the_sections_side_by_side(cube, window, directions, as_stored):
    padded = tuple(side if side == 1 else -(-side // 8) * 8 for side in window)
    options = {"volume": cube.volume, "labels": "facies", "regions": [REGION], "window": window, "seed": 4}
    sampler = make_sampler("uniform", **options, overhang=0.25, directions=directions)
    source = WindowSource(cube.volume, "facies", sampler, padded, labelled_only=False, neighbours=2)
    plain = WindowSource(cube.volume, "facies", sampler, padded, labelled_only=False)
    numbers = list(range(12))
    batch, alone = (each.read(numbers, as_stored=as_stored) for each in (source, plain))
    np.testing.assert_array_equal(batch["labels"], alone["labels"])
    np.testing.assert_array_equal(batch["image"][..., 2:3], alone["image"])
    assert batch["image"].shape == (12, *padded, 5)
    outside = 0
    for row in numbers:
        for channel in range(5):
            wanted = beside(cube, sampler, source, row, channel - 2)
            found = np.where(np.isfinite(batch["image"][row, ..., channel]), batch["image"][row, ..., channel], np.nan)
            np.testing.assert_array_equal(found, wanted)
            outside += np.isnan(wanted).all()
    assert outside or window[2] == 1  # some draws stand at the region's edge


def test_a_part_of_a_sample_is_that_part_of_it(cube):
    sampler = UniformWindows(REGION, (1, 24, 32), seed=4, overhang=0.25)
    options = {"labelled_only": True, "neighbours": 1}
    source = WindowSource(cube.volume, "facies", sampler, (1, 24, 32), **options)
    part = Box((0, 12, 0), (1, 12, 32))
    whole, cut = source.read([5, 9, 2]), source.read([5, 9, 2], part)
    for name in whole:
        np.testing.assert_array_equal(cut[name], whole[name][(slice(None), *part.slices)])


def test_what_is_read_beside_counts(cube):
    grid = GridWindows([REGION], (1, 12, 60))
    plain, wide = (
        WindowSource(cube.volume, "facies", grid, (1, 12, 60), labelled_only=False, neighbours=n) for n in (0, 1)
    )
    plain.read(range(9))
    wide.read(range(9))
    # 9 sections of amplitudes and labels, and again the amplitudes of the 8 before and the 8 after one.
    assert plain.bytes_used == 9 * 12 * 60 * 5
    assert wide.bytes_used == plain.bytes_used + 16 * 12 * 60 * 4
