"""Scores from a confusion matrix: counts, which add up over samples, batches and devices, and ratios of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.conventions import IGNORE


def predict_classes(logits: jax.Array) -> jax.Array:
    """The likeliest class, uint8 (...), of logits (..., classes); of (..., 1), one sigmoid logit, 0 or 1."""
    if logits.shape[-1] == 1:
        return (logits[..., 0] > 0).astype(jnp.uint8)
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8)


def as_classes(labels: Any, label_scale: int) -> Any:
    """Labels as classes, uint8 on the device or the host; IGNORE stays.

    label_scale: 0 where they are classes already; else they are so many times the probability of class 1, and 1 where
    that is 1/2 or more.
    """
    if not label_scale:
        return labels
    where = jnp.where if isinstance(labels, jax.Array) else np.where
    return where(labels == IGNORE, labels, (labels >= -(-label_scale // 2)).astype(labels.dtype))


def probabilities(logits: jax.Array) -> jax.Array:
    """Class probabilities, float32 (..., classes), of logits (..., classes); two classes for one sigmoid logit."""
    logits = logits.astype(jnp.float32)
    if logits.shape[-1] == 1:
        return jnp.concatenate([jax.nn.sigmoid(-logits), jax.nn.sigmoid(logits)], axis=-1)
    return jax.nn.softmax(logits, axis=-1)


def confusion_matrix(predicted: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """Samples of each true class (row) that were given each class (column): int32 (num_classes, num_classes), exact.

    predicted, labels (B, *window): whole numbers; samples labelled IGNORE, or anything else that is no class, are left
    out.
    """
    bins = num_classes * num_classes
    labelled = (labels < num_classes) & (predicted < num_classes)
    pairs = jnp.where(labelled, labels.astype(jnp.int32) * num_classes + predicted, bins)

    # A histogram for each row of each window: nothing moves between devices, and few samples write to the same bin.
    def histogram(pairs: jax.Array) -> jax.Array:
        return jnp.zeros(bins, jnp.int32).at[pairs].add(1, mode="drop")

    return jax.vmap(jax.vmap(histogram))(pairs).sum((0, 1)).reshape(num_classes, num_classes)


def scores(confusion: np.ndarray) -> dict[str, Any]:
    """Scores of a confusion matrix (rows are the truth), ready for JSON; what is undefined is None.

    accuracy: share of samples given their true class. With TP a class's right samples, FP those wrongly given to it and
    FN those it lost: precision = TP / (TP + FP), recall = TP / (TP + FN), iou = TP / (TP + FP + FN),
    f1 = 2 TP / (2 TP + FP + FN). A ratio whose denominator is 0 is None and left out of the mean over classes: iou and
    f1 of a class that is neither true nor predicted anywhere, precision of one that is never predicted, recall of one
    that is never true.
    """
    confusion = np.asarray(confusion)
    confusion = confusion.astype(np.result_type(confusion, np.int64))  # shares of counts stay fractions
    right, given, true = np.diagonal(confusion), confusion.sum(0), confusion.sum(1)
    ratios = {
        "iou": (right, given + true - right),
        "precision": (right, given),
        "recall": (right, true),
        "f1": (2 * right, given + true),
    }
    result: dict[str, Any] = {"accuracy": ratio(right.sum(), confusion.sum())}
    for name, (numerators, denominators) in ratios.items():
        per_class = [ratio(n, d) for n, d in zip(numerators, denominators, strict=True)]
        defined = [score for score in per_class if score is not None]
        result[f"mean_{name}"] = float(np.mean(defined)) if defined else None
        result[f"{name}_per_class"] = per_class
    return result | {"confusion_matrix": confusion.tolist()}


def score_text(score: float | None, digits: int = 3) -> str:
    """A score for people; "-" for what is undefined."""
    return "-" if score is None else f"{score:.{digits}f}"


def ratio(part: float | np.integer, whole: float | np.integer) -> float | None:
    """A share; None where the whole is 0."""
    return float(part / whole) if whole else None
