"""Scores on a split: every labelled sample once, and what trivial predictors get."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from seisjax import metrics
from seisjax.boundaries import BoundaryError
from seisjax.conventions import IGNORE
from seisjax.evaluation import DistanceScores, count_pairs, evaluate_baselines, evaluate_batches
from seisjax.geometry import Box
from seisjax.sharding import make_mesh

CLASSES = 3


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


def test_what_is_no_class_is_left_out_wherever_it_stands():
    labels, predicted = np.array([0, 1, 1, 7, 0], np.uint8), np.array([0, 0, IGNORE, 1, 2], np.uint8)
    assert count_pairs(labels, predicted, 2).tolist() == [[1, 0], [1, 0]]
    np.testing.assert_array_equal(metrics.confusion_matrix(predicted[None], labels[None], 2), [[1, 0], [1, 0]])


def test_nothing_labelled_has_no_scores():
    result = evaluate_batches([], evaluate_step, num_classes=2, num_windows=0)
    assert result["loss"] is None
    assert result["accuracy"] is None
    assert result["confusion_matrix"] == [[0, 0], [0, 0]]


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


def test_scores_by_distance_are_those_of_the_traces_in_each_bin():
    random = np.random.default_rng(3)
    distance = np.array([0, 1, 2, 2.5, 4, 4.1, 16, 16.1, np.inf])
    truth = random.choice([0, 1, 2, IGNORE], size=(9, 20)).astype(np.uint8)
    predicted = random.integers(0, CLASSES, (9, 20)).astype(np.uint8)
    counts = DistanceScores(CLASSES, 20)
    counts.update(distance[:5].reshape(1, 5), truth[:5][None], predicted[:5][None])
    counts.update(distance[5:], truth[5:], predicted[5:])
    result = counts.result()
    assert [(scores["above"], scores["to"]) for scores in result] == [
        (None, 0), (0, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (2**21, None),
    ]  # fmt: skip
    for scores, traces in zip(result, ([0], [1], [2], [3, 4], [5], [6], [7], [8]), strict=True):
        error = BoundaryError(20)
        error.update(truth[traces], predicted[traces])
        assert scores["boundary_error"] == error.result()
        assert scores["samples"] == np.count_nonzero(truth[traces] != IGNORE)
        expected = metrics.scores(count_pairs(truth[traces], predicted[traces], CLASSES))
        assert {key: scores[key] for key in expected} == expected


def test_the_network_is_scored_by_distance_over_windows_and_not_over_what_fills_up_a_batch(batches):
    """On four devices each holds a window; the last of the twelve fills up."""
    away = np.random.default_rng(1).integers(0, 5, (11, 6)).astype(float)
    result = evaluate_batches(
        batches, evaluate_step, num_classes=CLASSES, num_windows=11, boundaries=True, distance=lambda i: away[i]
    )
    logits, labels = (np.concatenate([np.asarray(batch[key]) for batch in batches]) for key in ("image", "labels"))
    counts = DistanceScores(CLASSES, 10)
    counts.update(away, labels[:11], logits[:11].argmax(-1))
    assert result["by_distance"] == counts.result()
    assert sum(scores["samples"] for scores in result["by_distance"]) == np.sum(result["confusion_matrix"])


def test_baselines_are_scored_by_distance():
    labels = np.array([[[0, 0, 1, 1]], [[0, 1, 1, IGNORE]]], np.uint8)
    boxes = [Box((0, 0, 0), (1, 1, 4)), Box((1, 0, 0), (1, 1, 4))]
    result = evaluate_baselines(
        {"half": lambda box: np.broadcast_to(np.array([0, 0, 1, 1], np.uint8), box.shape)},
        zip(boxes, np.split(labels, 2), strict=True),
        num_classes=2,
        distance=lambda box: np.full(box.shape[:-1], 3.0 * box.start[0] + 1),
    )
    near, far = result["half"]["by_distance"]
    assert (near["to"], near["accuracy"]) == (1, 1.0)
    assert (far["above"], far["to"], far["accuracy"]) == (2, 4, 2 / 3)
