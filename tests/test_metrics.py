"""Metrics: exact counts, definitions, undefined ratios."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P  # noqa: N817

from seisjax.conventions import IGNORE
from seisjax.metrics import as_classes, confusion_matrix, predict_classes, probabilities, score_text, scores

confusion = jax.jit(confusion_matrix, static_argnums=2)


def example(classes, shape):
    rng = np.random.default_rng(1)
    predicted, labels = (rng.integers(0, classes, shape).astype(np.uint8) for _ in range(2))
    labels[rng.random(shape) < 0.2] = IGNORE
    expected = np.zeros((classes, classes), np.int64)
    valid = labels != IGNORE
    np.add.at(expected, (labels[valid], predicted[valid]), 1)
    return predicted, labels, expected


@pytest.mark.parametrize(("classes", "shape"), [(2, (3, 7, 9)), (8, (2, 5, 6, 7)), (5, (4, 33))])
def test_confusion_counts_every_labelled_sample(classes, shape):
    predicted, labels, expected = example(classes, shape)
    result = confusion(predicted, labels, classes)
    assert result.dtype == jnp.int32
    np.testing.assert_array_equal(result, expected)


def test_confusion_is_exact_beyond_what_float32_can_count():
    labels = np.ones((1, 4100, 4100), np.uint8)
    labels[0, 0, 0] = IGNORE
    np.testing.assert_array_equal(confusion(np.ones_like(labels), labels, 2), [[0, 0], [0, 4100 * 4100 - 1]])


def test_confusion_leaves_out_what_is_no_class():
    labels = np.array([[[0, 1, 7, IGNORE]]], np.uint8)
    np.testing.assert_array_equal(confusion(np.zeros_like(labels), labels, 2), [[1, 0], [1, 0]])


@pytest.mark.parametrize("spec", [P(("data", "space")), P("data", "space"), P("data", None, "space")])
def test_confusion_of_a_sharded_batch(spec):
    predicted, labels, expected = example(8, (8, 12, 16))
    mesh = jax.make_mesh((2, 4), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    predicted, labels = jax.device_put((predicted, labels), NamedSharding(mesh, spec))
    np.testing.assert_array_equal(confusion(predicted, labels, 8), expected)
    program = confusion.lower(predicted, labels, 8).compile().as_text()
    assert program
    assert "all-gather" not in program


def test_scores_of_a_known_matrix():
    result = scores(np.array([[6, 2], [1, 3]]))
    assert result["accuracy"] == pytest.approx(9 / 12)
    assert result["iou_per_class"] == pytest.approx([6 / 9, 3 / 6])
    assert result["precision_per_class"] == pytest.approx([6 / 7, 3 / 5])
    assert result["recall_per_class"] == pytest.approx([6 / 8, 3 / 4])
    assert result["f1_per_class"] == pytest.approx([12 / 15, 6 / 9])
    for name in ("iou", "precision", "recall", "f1"):
        assert result[f"mean_{name}"] == pytest.approx(np.mean(result[f"{name}_per_class"]))
    assert result["confusion_matrix"] == [[6, 2], [1, 3]]
    assert json.loads(json.dumps(result)) == result


def test_absent_classes_are_null_and_left_out_of_means():
    # Class 1 is true but never predicted, class 2 predicted but never true, class 3 neither.
    result = scores(np.array([[5, 0, 1, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert result["iou_per_class"] == pytest.approx([5 / 8, 0, 0, None])
    assert result["precision_per_class"] == pytest.approx([5 / 7, None, 0, None])
    assert result["recall_per_class"] == pytest.approx([5 / 6, 0, None, None])
    assert result["f1_per_class"] == pytest.approx([10 / 13, 0, 0, None])
    assert result["mean_iou"] == pytest.approx(5 / 24)
    assert result["mean_precision"] == pytest.approx(5 / 14)


def test_a_score_is_written_as_short_as_asked_and_what_is_undefined_as_a_dash():
    assert [score_text(0.12345), score_text(0.12345, 4), score_text(None), score_text(0.0)] == [
        *("0.123", "0.1235", "-", "0.000")
    ]


def test_no_sample_gives_no_score():
    result = scores(np.zeros((2, 2), np.int64))
    assert result["accuracy"] is None
    assert result["mean_f1"] is None


@pytest.mark.parametrize("outputs", [1, 3])
def test_probabilities_agree_with_classes(outputs):
    logits = jax.random.normal(jax.random.key(0), (2, 4, 5, outputs)) * 3
    classes, p = predict_classes(logits), probabilities(logits)
    assert classes.dtype == jnp.uint8
    assert p.shape == (2, 4, 5, max(outputs, 2))
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(p.argmax(-1), classes)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_soft_labels_are_class_1_from_one_half_on(array):
    labels = array(np.array([0, 49, 50, 51, 100, IGNORE], np.uint8))
    classes = as_classes(labels, 100)
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, [0, 0, 1, 1, 1, IGNORE])
    np.testing.assert_array_equal(as_classes(array(np.array([2, 3, 4], np.uint8)), 5), [0, 1, 1])
    assert as_classes(labels, 0) is labels
