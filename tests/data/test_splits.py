"""Regions of the splits: what is proved before anything trains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.conventions import AMPLITUDE
from seisjax.data import GridWindows, WindowSource, check_labelled, make_sampler, resolve_splits
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box, format_regions, section_windows
from seisjax.volumes import create_volume

WINDOW = (1, 16, 32)


def resolve(volume, train="inline:100-109", validation="", test="", *, window=WINDOW, gap=-1, directions=()):
    return resolve_splits(volume, train, validation, test, window, gap, directions)


def test_splits_become_boxes(cube):
    splits = resolve(cube.volume, "inline:100-109", "inline:111-113", "crossline:216-239,inline:115-119")
    assert splits == {
        "train": (Box((0, 0, 0), (10, 40, 60)),),
        "validation": (Box((11, 0, 0), (3, 40, 60)),),
        "test": (Box((15, 16, 0), (5, 24, 60)),),
    }
    assert list(resolve(cube.volume)) == ["train"]


def test_the_gap_is_the_window_unless_given(cube):
    train, test = "crossline:200-209", "crossline:220-239"
    with pytest.raises(UserError, match="parted by only 10 along crossline where 16"):
        resolve(cube.volume, train, test=test)
    assert len(resolve(cube.volume, train, test=test, gap=10)) == 2
    assert len(resolve(cube.volume, "inline:100-104", "inline:105-109", gap=0)) == 2


def test_a_split_may_be_several_regions(cube):
    splits = resolve(
        cube.volume, "inline:100-103; inline:107,crossline:205-209;", test="inline:105;time:0-8,inline:110"
    )
    assert splits["train"] == (Box((0, 0, 0), (4, 40, 60)), Box((7, 5, 0), (1, 5, 60)))
    assert splits["test"] == (Box((5, 0, 0), (1, 40, 60)), Box((10, 0, 0), (1, 40, 3)))


def test_the_gap_is_the_longest_window_of_all_directions(cube):
    options = {"train": "inline:100-104", "test": "inline:110-119", "window": (1, 8, 16)}
    assert len(resolve(cube.volume, **options)) == 2
    with pytest.raises(UserError, match="parted by only 5 along inline where 8 must lie"):
        resolve(cube.volume, **options, directions=("inline", "crossline"))


@pytest.mark.parametrize("directions", [(), ("inline", "crossline")])
def test_lines_of_both_directions_across_splits_are_refused(cube, directions):
    with pytest.raises(UserError, match="cross: .* overlap in inline:100-109,crossline:220-225,time:0-236, where"):
        resolve(cube.volume, "inline:100-109", test="crossline:220-225", directions=directions, window=(1, 4, 8))
    message = "data.train and data.validation cross: inline:104-104,.* and inline:102-110,crossline:230-230"
    with pytest.raises(UserError, match=message):
        resolve(cube.volume, "inline:100;inline:104", "inline:118;crossline:230,inline:102-110", gap=0)


AXES = tuple(Axis(name, np.arange(n)) for name, n in (("inline", 24), ("crossline", 14), ("time", 8)))
SHAPE = tuple(map(len, AXES))


@pytest.fixture(scope="module")
def unit_volume():
    with create_volume("memory://splits/", AXES, chunk=(8, 8, 8), shard=SHAPE) as volume:
        volume.write(AMPLITUDE, Box.whole(SHAPE), np.ones(SHAPE, np.float32))
    return volume


@st.composite
def geometries(draw) -> tuple[str, str, str]:
    """The texts of three splits: slabs along one axis, each given to a split or to none, some cut along another axis
    too; and now and then a box anywhere, which often is too near or overlaps."""
    axis, regions = draw(st.integers(0, 1)), ([], [], [])
    cuts = draw(st.lists(st.integers(0, SHAPE[axis]), min_size=4, max_size=10, unique=True).map(sorted))
    for number, (first, stop) in enumerate(zip(cuts, cuts[1:], strict=False)):
        owner = number % 4 // 2 if number % 2 == 0 else draw(st.sampled_from([None, None, None, 2]))
        if owner is not None:
            box = draw(sub_boxes(st.just(1 - axis)))
            start, end = list(box.start), list(box.stop)
            start[axis], end[axis] = first, stop
            regions[owner].append(Box.between(start, end))
    if draw(st.integers(0, 9)) == 0:
        box = draw(sub_boxes(st.integers(0, 2)))
        owner = draw(st.integers(0, 2))
        if not any(box.intersect(other).size for other in regions[owner]):
            regions[owner].append(box)
    train, validation, test = (format_regions(boxes, AXES) for boxes in regions)
    return train, validation, test


@st.composite
def sub_boxes(draw, axes) -> Box:
    start, stop = [0] * 3, list(SHAPE)
    for i in draw(st.sets(axes, max_size=2)):
        start[i] = draw(st.integers(0, stop[i] - 1))
        stop[i] = draw(st.integers(start[i] + 1, stop[i]))
    return Box.between(start, stop)


def too_near(a: Box, b: Box, gap: list[int]) -> bool:
    """Whether no axis has `gap` samples between the boxes, by brute force."""
    for i, side in enumerate(gap):
        near = {x + d for x in range(a.start[i], a.stop[i]) for d in range(-side, side + 1)}
        if not near & set(range(b.start[i], b.stop[i])):
            return False
    return True


@settings(max_examples=1000, deadline=None)
@given(
    geometries(),
    st.sampled_from([(1, 7, 6), (6, 1, 8), (6, 7, 1), (6, 7, 4)]),
    st.sampled_from([(), ("inline",), ("inline", "crossline"), ("inline", "crossline", "time")]),
    st.sampled_from([0, 0, 1, 2, -1]),
    st.integers(0, 1000),
)
def test_no_sample_is_read_for_two_splits(unit_volume, texts, window, directions, gap, seed):
    directions = directions if 1 in window else ()
    windows = [window, *section_windows(window, directions, AXES)]
    gaps = [max(sides) if gap < 0 else gap for sides in zip(*windows, strict=True)]
    try:
        splits = resolve_splits(unit_volume, *texts, window, gap, directions)
    except UserError:
        splits = [resolve_splits(unit_volume, text, "", "", window, gap)["train"] for text in texts if text]
        pairs = [(a, b) for m in range(len(splits)) for n in range(m) for a in splits[m] for b in splits[n]]
        assert any(too_near(a, b, gaps) for a, b in pairs)
        return
    read = {name: np.zeros(unit_volume.shape, bool) for name in splits}
    for name, regions in splits.items():
        options = {"seed": seed, "overhang": 0.5, "directions": directions, "labels": None}
        anywhere = make_sampler("uniform", volume=unit_volume, regions=regions, window=window, **options)
        grid = GridWindows(regions, window)
        for sampler, count in ((anywhere, 10), (grid, len(grid))):
            source = WindowSource(Recorder(unit_volume, read[name]), None, sampler, window, labelled_only=False)
            source.read(range(count))
        assert all(read[name][region.slices].all() for region in regions)
    assert sum(held.astype(int) for held in read.values()).max() == 1


class Recorder:
    """A volume that notes which samples are read."""

    def __init__(self, volume, seen: np.ndarray) -> None:
        self._volume, self._seen = volume, seen
        self.arrays, self.coding = volume.arrays, volume.coding

    def start_amplitude(self, box: Box):
        self._seen[box.slices] = True
        return lambda: np.ones(box.shape, np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train": "inline:100-109;inline:105"},
            "data.train: regions 'inline:100-109' and 'inline:105' share inline:105",
        ),
        ({"directions": ("depth",)}, "data.directions: the volume has no axis 'depth'"),
        ({"train": " "}, "data.train: no region is given; write e.g. data.train='inline:100-119'"),
        ({"test": "inline:105-112"}, "data.train and data.test overlap by 5 along inline"),
        ({"validation": "inlin:105-112"}, "data.validation: region 'inlin:105-112': .*did you mean 'inline'"),
        ({"window": (1, 16)}, r"data.window=\(1, 16\): the volume has 3 axes \(inline, crossline, time\)"),
        ({"window": ()}, r"data.window=\(\): the volume has 3 axes"),
        ({"window": (1, 0, 16)}, "at least 1 sample"),
        ({"window": (1, 64, 32)}, "its 64 samples along crossline are more than the volume's 40"),
    ],
)
def test_bad_splits_are_one_line(cube, options, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve(cube.volume, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("region", "labelled"),
    [
        (Box((0, 0, 0), (20, 40, 60)), True),
        (Box((0, 0, 0), (6, 40, 60)), False),  # in a chunk that holds labels, but beside them
        (Box((0, 0, 0), (7, 40, 60)), True),
        (Box((6, 5, 5), (1, 1, 1)), True),
        (Box((10, 0, 0), (10, 40, 60)), False),
    ],
)
def test_labels_are_looked_for_exactly(cube, region, labelled):
    if labelled:
        check_labelled(cube.volume, "facies", {"train": (region,)})
    else:
        with pytest.raises(UserError, match="data.train: no sample of labels 'facies'"):
            check_labelled(cube.volume, "facies", {"train": (region,)})
        with pytest.raises(UserError, match="data.test .region 2 of 2.: no sample of labels 'facies'"):
            check_labelled(cube.volume, "facies", {"test": (Box((6, 0, 0), (1, 40, 60)), region)})


def test_labels_without_data_are_none(cube):
    with pytest.raises(UserError, match="data.test: no sample of labels 'facies' is labelled there and has data"):
        check_labelled(cube.volume, "facies", {"test": (Box((6, 5, 6), (1, 1, 1)),)})  # NaN
    with pytest.raises(UserError, match="data.test: no sample of labels 'facies' is labelled there and has data"):
        check_labelled(cube.volume, "facies", {"test": (Box((7, 10, 0), (2, 4, 60)),)})  # dead
    check_labelled(cube.volume, "facies", {"test": (Box((6, 5, 6), (1, 1, 2)), Box((7, 10, 0), (2, 5, 60)))})
