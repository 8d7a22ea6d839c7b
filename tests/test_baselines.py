"""What is known of a survey without a look at its amplitudes: trivial predictors, and how far the labels are."""

import itertools

import numpy as np
import pytest

from seisjax.baselines import LabelledTraces, make_baselines, split_axis
from seisjax.conventions import IGNORE
from seisjax.geometry import Axis, Box, tiles
from seisjax.volumes import create_volume

CLASSES = 3
_numbers = itertools.count()


def labelled_volume(labels: np.ndarray, chunk=(4, 4, 8)):
    names = ("inline", "crossline", "time")[-labels.ndim :]
    axes = [Axis(name, np.arange(n)) for name, n in zip(names, labels.shape, strict=True)]
    volume = create_volume(f"memory://baselines-{next(_numbers)}/", axes, chunk=chunk, shard=chunk)
    volume.add_array("labels_facies", np.uint8, attributes={"class_names": list("abcd")})
    for name, values in (("amplitude", np.zeros(labels.shape, np.float32)), ("labels_facies", labels)):
        for box in tiles(Box.whole(labels.shape), volume.arrays[name].shard):
            volume.write(name, box, values[box.slices])
    return volume.finish()


def test_baselines_copy_what_the_training_part_holds():
    labels = np.zeros((6, 12, 8), np.uint8)
    labels[..., 3:] = 1
    labels[..., 7] = IGNORE
    labels[:, 5, :2] = 2  # the training line next to the region
    labels[2, 5] = IGNORE  # there the line before it is the nearest
    labels[2, 4, 0] = 2
    labels[3, :6] = IGNORE  # there no line is
    train, region = Box((0, 0, 0), (6, 6, 8)), Box((0, 8, 0), (6, 4, 8))
    baselines = make_baselines(labelled_volume(labels), "facies", [train], [region], CLASSES)
    window = Box((0, 8, 0), (6, 4, 10))
    predicted = {name: baseline(window) for name, baseline in baselines.items()}
    assert {p.shape for p in predicted.values()} == {window.shape}
    assert (predicted["majority_class"] == 1).all()
    np.testing.assert_array_equal(predicted["depth_mode"][4, 2], [0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    nearest = predicted["nearest_labelled_line"]
    np.testing.assert_array_equal(nearest[0, 3], [2, 2, 0, 1, 1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(nearest[2, 0], [2, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    assert (nearest[3] == 1).all()


@pytest.mark.parametrize(("train", "region"), [((0, 3), (5, 4)), ((6, 3), (0, 4)), ((2, 1), (3, 1))])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_nearest_line_is_on_the_near_side(monkeypatch, axis, train, region):
    monkeypatch.setattr("seisjax.baselines.trivial._TILE_SAMPLES", 32)  # one chunk at a time
    labels = np.random.default_rng(1).integers(0, CLASSES, (9, 9)).astype(np.uint8)

    def slab(first: int, side: int) -> Box:
        return Box((first, 0), (side, 9)) if axis == 0 else Box((0, first), (9, side))

    train_box, box = slab(*train), slab(*region)
    assert split_axis(train_box, box) == axis
    baselines = make_baselines(labelled_volume(labels, chunk=(4, 4)), "facies", [train_box], [box], CLASSES)
    line = train[0] if train[0] > region[0] else train[0] + train[1] - 1
    expected = np.broadcast_to(np.take(labels, [line], axis), box.shape)
    np.testing.assert_array_equal(baselines["nearest_labelled_line"](box), expected)


def test_the_nearest_line_of_several_regions_is_the_nearest_of_each_sample():
    labels = np.full((9, 12), IGNORE, np.uint8)
    labels[:, 2], labels[:, 10] = 0, 2  # on both sides
    labels[3, 10] = IGNORE  # there only the far side has one
    labels[5, 2] = labels[5, 10] = IGNORE  # there none has
    labels[6, 2], labels[6, 0] = IGNORE, 1  # two lines deeper
    train = [Box((0, 0), (9, 3)), Box((0, 10), (9, 2))]
    regions = [Box((0, 4), (5, 5)), Box((5, 4), (4, 5))]
    baselines = make_baselines(labelled_volume(labels, chunk=(4, 4)), "facies", train, regions, CLASSES)
    predicted = np.concatenate([baselines["nearest_labelled_line"](box) for box in regions])
    np.testing.assert_array_equal(predicted[0], [0, 0, 0, 2, 2])  # a tie goes to the first region
    np.testing.assert_array_equal(predicted[3], [0] * 5)
    np.testing.assert_array_equal(predicted[5], [0] * 5)  # the most common class, and the lower one of a tie
    np.testing.assert_array_equal(predicted[6], [1, 1, 2, 2, 2])


def test_a_part_has_no_nearest_line_in_itself():
    box = Box((0, 0, 0), (4, 4, 8))
    baselines = make_baselines(labelled_volume(np.ones(box.shape, np.uint8)), "facies", [box], [box], CLASSES)
    assert set(baselines) == {"majority_class", "depth_mode"}


# Distances.


def line(number: int, labels: np.ndarray) -> Box:
    return Box((number, 0, 0), (1, *labels.shape[1:]))


def test_distances_by_hand():
    labels = np.full((8, 5, 8), IGNORE, np.uint8)
    labels[1, :, 2] = labels[6, :, 3] = 0
    labels[6, 3:] = IGNORE  # half a line
    volume = labelled_volume(labels)
    traces = LabelledTraces(volume, "facies", [line(1, labels), line(6, labels)])
    distance = traces.distance(Box((0, 0, 0), (9, 5, 8)))  # reaches past the survey
    np.testing.assert_array_equal(distance[:, 0], [1, 0, 1, 2, 2, 1, 0, 1, 2])
    np.testing.assert_allclose(distance[:, 4], [1, 0, 1, 2, 8**0.5, 5**0.5, 2, 5**0.5, 8**0.5])
    one = LabelledTraces(volume, "facies", [line(1, labels)])  # the other line is of no training part
    np.testing.assert_array_equal(one.distance(Box((6, 2, 0), (1, 3, 8))), [[5, 5, 5]])
    none = LabelledTraces(volume, "facies", [line(3, labels)])
    assert np.isinf(none.distance(Box((0, 0, 0), (2, 2, 8)))).all()


def test_within_a_labelled_part_distances_are_zero_and_only_its_border_is_kept():
    labels = np.full((9, 9, 8), IGNORE, np.uint8)
    labels[2:7, 2:7] = 1
    labels[4, 4] = IGNORE  # a hole
    whole = Box.whole(labels.shape)
    traces = LabelledTraces(labelled_volume(labels), "facies", [whole])
    distance = traces.distance(whole)
    assert (distance[labels[..., 0] == 1] == 0).all()
    assert distance[4, 4] == 1
    assert distance[0, 0] == 8**0.5
    assert {tuple(place) for place in traces.border} == {
        (i, j) for i in range(2, 7) for j in range(2, 7) if {i, j} & {2, 6} or abs(i - 4) + abs(j - 4) == 1
    }


# Horizons between lines.


def stacked(*horizons: np.ndarray, samples: int = 24) -> np.ndarray:
    """Labels (inline, crossline, sample): how many of the horizons lie at or above each sample."""
    return np.sum([np.arange(samples) >= h[..., None] for h in horizons], axis=0).astype(np.uint8)


def horizons_of(labels: np.ndarray, lines: list[int], classes: int = CLASSES):
    train = [line(number, labels) for number in lines]
    volume = labelled_volume(labels)
    traces = LabelledTraces(volume, "facies", train)
    whole = Box.whole(labels.shape)
    return make_baselines(volume, "facies", train, [whole], classes, traces).get("interpolated_horizons")


def test_planar_horizons_are_interpolated_exactly_between_lines_and_copied_beyond():
    x, y = np.meshgrid(np.arange(12), np.arange(6), indexing="ij")
    labels = stacked(3 + x - y // 6, 9 + x)
    predict = horizons_of(labels, [2, 6, 9])
    whole = Box.whole(labels.shape)
    expected = labels.copy()
    expected[:2], expected[10:] = labels[2], labels[9]
    np.testing.assert_array_equal(predict(whole), expected)
    # Streamed, in boxes that reach past the volume: the same.
    for box in tiles(Box((0, 0, 0), (14, 7, 30)), (5, 4, 16)):
        inside = box.intersect(whole)
        np.testing.assert_array_equal(predict(box)[inside.relative_to(box.start).slices], expected[inside.slices])


def test_horizons_between_samples_go_to_the_nearest():
    x, _ = np.meshgrid(np.arange(10), np.arange(4), indexing="ij")
    labels = stacked(np.where(x == 0, 4, 6))
    thickness = (horizons_of(labels, [0, 9], classes=2)(Box((0, 1, 0), (10, 1, 24))) == 0).sum(axis=-1)[:, 0]
    # 4 samples, and 2/9 more each line.
    np.testing.assert_array_equal(thickness, [4, 4, 4, 5, 5, 5, 5, 6, 6, 6])


def test_one_line_is_copied_but_for_classes_that_recur():
    x, y = np.meshgrid(np.arange(4), np.arange(9), indexing="ij")
    labels = stacked(6 + 0 * x, 9 + 0 * y)
    labels[1, 3] = np.repeat(np.array([0, 1, 0, 1, 2], np.uint8), (4, 5, 2, 5, 8))  # a reverse fault
    labels[1, 4, :20] = IGNORE
    labels[1, 5] = np.repeat(np.array([0, 2], np.uint8), 12)  # a class pinches out
    labels[1, 6, 7:9] = IGNORE
    labels[1, 7, 8:10] = IGNORE
    predicted = horizons_of(labels, [1])(Box.whole(labels.shape))
    np.testing.assert_array_equal(predicted[0], predicted[3])
    np.testing.assert_array_equal(predicted[0, 0], labels[1, 0])
    np.testing.assert_array_equal(predicted[0, 3], np.repeat([0, 1, 2], (6, 10, 8)))  # put in order
    np.testing.assert_array_equal(predicted[0, 4], np.full(24, 2))  # what is labelled goes up and down
    np.testing.assert_array_equal(predicted[0, 5], labels[1, 5])
    np.testing.assert_array_equal(predicted[0, 6], np.repeat([0, 1, 2], (6, 2, 16)))  # a gap of 2: one each
    np.testing.assert_array_equal(predicted[0, 7], np.repeat([0, 1, 2], (6, 3, 15)))


def test_the_order_of_classes_is_found_whatever_their_numbers():
    x, _ = np.meshgrid(np.arange(6), np.arange(6), indexing="ij")
    labels = np.array([2, 0, 1], np.uint8)[stacked(4 + x, 12 + x)]
    predicted = horizons_of(labels, [0, 5])(Box.whole(labels.shape))
    np.testing.assert_array_equal(predicted, labels)


def test_classes_without_an_order_have_no_horizons():
    labels = np.zeros((4, 6, 24), np.uint8)
    labels[..., 5:8] = labels[..., 15:17] = 1  # such as faults
    assert horizons_of(labels, [1], classes=2) is None
    assert horizons_of(np.full((4, 6, 24), IGNORE, np.uint8), [1], classes=2) is None


@pytest.mark.parametrize("corner", [(0, 0), (2, 3)])
def test_horizons_of_a_polygon_in_two_directions(corner):
    """Labelled around an empty middle: a plane comes back exactly, from lines along both axes."""
    x, y = np.meshgrid(np.arange(9), np.arange(9), indexing="ij")
    labels = stacked(3 + x + y)
    a, b = corner
    known = np.full_like(labels, IGNORE)
    known[a:8, [b, 7]], known[[a, 7], b:8] = labels[a:8, [b, 7]], labels[[a, 7], b:8]
    volume = labelled_volume(known)
    whole = Box.whole(labels.shape)
    traces = LabelledTraces(volume, "facies", [whole])
    predict = make_baselines(volume, "facies", [whole], [whole], 2, traces)["interpolated_horizons"]
    inside = Box((a, b, 0), (8 - a, 8 - b, 24))
    np.testing.assert_array_equal(predict(inside), labels[inside.slices])
