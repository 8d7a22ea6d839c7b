"""Scores on a split: every labelled sample once, and what trivial predictors get."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from seisjax import metrics
from seisjax.baselines import make_baselines, split_axis
from seisjax.boundaries import BoundaryError
from seisjax.conventions import IGNORE
from seisjax.evaluation import count_pairs, evaluate_baselines, evaluate_batches
from seisjax.geometry import Axis, Box, tiles
from seisjax.sharding import make_mesh
from seisjax.volumes import create_volume

CLASSES = 3
_numbers = itertools.count()


def labelled_volume(labels: np.ndarray, chunk=(4, 4, 8)):
    names = ("inline", "crossline", "time")[-labels.ndim :]
    axes = [Axis(name, np.arange(n)) for name, n in zip(names, labels.shape, strict=True)]
    volume = create_volume(f"memory://evaluation-{next(_numbers)}/", axes, chunk=chunk, shard=chunk)
    volume.add_array("labels_facies", np.uint8, attributes={"class_names": list("abcd")})
    for name, values in (("amplitude", np.zeros(labels.shape, np.float32)), ("labels_facies", labels)):
        for box in tiles(Box.whole(labels.shape), volume.arrays[name].shard):
            volume.write(name, box, values[box.slices])
    return volume.finish()


@pytest.fixture(scope="module")
def batches():
    """Three batches of four windows on four devices; the last window of all is filled up."""
    random = np.random.default_rng(0)
    sharding = NamedSharding(make_mesh(4, 1, jax.devices()[:4]), PartitionSpec("data"))
    logits = random.normal(size=(12, 6, 10, CLASSES)).astype(np.float32)
    labels = random.choice([0, 1, 2, IGNORE], size=(12, 6, 10)).astype(np.uint8)
    labels[11] = IGNORE
    return [
        {"image": jax.device_put(i, sharding), "labels": jax.device_put(j, sharding)}
        for i, j in zip(np.split(logits, 3), np.split(labels, 3), strict=True)
    ]


@jax.jit
def evaluate_step(batch):
    """A network that hands its input on."""
    logits, labels = batch["image"], batch["labels"]
    known = labels < CLASSES
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.where(known, labels, 0)[..., None], -1)[..., 0]
    classes = metrics.predict_classes(logits)
    return {
        "numerators": jnp.stack([-(picked * known).sum(), 0.0]),
        "denominators": jnp.stack([known.sum().astype(jnp.float32), 0.0]),
        "confusion": metrics.confusion_matrix(classes, labels, CLASSES),
        "classes": classes,
    }


def test_every_labelled_sample_counts_once(batches):
    progress = []
    result = evaluate_batches(
        batches,
        evaluate_step,
        num_classes=CLASSES,
        num_windows=11,
        boundaries=True,
        progress=lambda done, total: progress.append((done, total)),
    )
    logits, labels = (np.concatenate([np.asarray(batch[key]) for batch in batches]) for key in ("image", "labels"))
    known = labels != IGNORE
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = metrics.scores(count_pairs(labels, logits.argmax(-1), CLASSES))
    error = BoundaryError(10)
    error.update(labels, logits.argmax(-1))
    assert result.pop("loss") == pytest.approx(-np.log(shares[known, labels[known]]).mean(), rel=1e-5)
    assert result.pop("boundary_error") == error.result()
    assert result.pop("num_windows") == 11
    assert result == expected
    assert np.sum(result["confusion_matrix"]) == known.sum()
    assert progress == [(4, 11), (8, 11), (11, 11)]


def test_results_are_fetched_one_batch_late(batches):
    under_way, most = 0, 0

    class Counts:
        """Stands for a result on the device; counts how many were asked for and not fetched yet."""

        def copy_to_host_async(self):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)

        def __array__(self, dtype=None, copy=None):
            nonlocal under_way
            under_way -= 1
            return np.zeros((CLASSES, CLASSES), dtype)

    def step(batch):
        return {"confusion": Counts(), "numerators": jnp.ones(1), "denominators": jnp.ones(1)}

    result = evaluate_batches(batches, step, num_classes=CLASSES, num_windows=11)
    assert (most, under_way) == (2, 0)
    assert result["loss"] == 1.0


def test_nothing_labelled_has_no_scores():
    result = evaluate_batches([], evaluate_step, num_classes=2, num_windows=0)
    assert result["loss"] is None
    assert result["accuracy"] is None
    assert result["confusion_matrix"] == [[0, 0], [0, 0]]


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
    monkeypatch.setattr("seisjax.baselines._TILE_SAMPLES", 32)  # one chunk at a time
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


def test_scores_of_baselines():
    labels = np.array([[[0, 0, 1, 1]], [[0, 1, 1, IGNORE]]], np.uint8)
    boxes = [Box((0, 0, 0), (1, 1, 4)), Box((1, 0, 0), (1, 1, 4))]
    baselines = {"half": lambda box: np.broadcast_to(np.array([0, 0, 1, 1], np.uint8), box.shape)}
    result = evaluate_baselines(baselines, zip(boxes, np.split(labels, 2), strict=True), num_classes=2, trace_length=4)[
        "half"
    ]
    assert result["confusion_matrix"] == [[3, 0], [1, 3]]
    assert result["accuracy"] == 6 / 7
    assert result["boundary_error"] == {"mean": 0.5, "median": 0, "p90": 1, "missed": 0.0}
