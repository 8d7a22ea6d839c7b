"""Regions of the splits: what is proved before anything trains."""

import pytest

from seisjax.data import check_labelled, resolve_splits
from seisjax.errors import UserError
from seisjax.geometry import Box

WINDOW = (1, 16, 32)


def resolve(volume, train="inline:100-109", validation="", test="", *, window=WINDOW, gap=-1):
    return resolve_splits(volume, train, validation, test, window, gap)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
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
