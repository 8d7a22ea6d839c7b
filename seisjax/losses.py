"""Losses as sums over samples: numerators of the logits, denominators of the labels alone.

Both add up over devices, over the parts of an accumulated batch and over the batches of an evaluation, so that a loss
is always that of everything seen: total = sum over terms of numerator / denominator.

One ignore contract: nothing computed from the logits under an IGNORE label reaches a loss or a gradient, not even
their NaN; without any labelled sample loss and gradient are 0. Everything is float32.

Labels are classes, or with a `label_scale` (soft labels, for one sigmoid logit) that many times the probability of
class 1. Each term then has its best value where the network states that probability, and is what it is for classes
where that is 0 or 1.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seisjax.conventions import IGNORE
from seisjax.errors import UserError, nearest
from seisjax.geometry import Shape, for_each

Scalars = tuple[jax.Array, ...]


@dataclass(frozen=True)
class Loss:
    """A sum of `terms` (names of TERMS) over classes with these weights (2 classes for one sigmoid logit).

    focal_gamma: see `focal`. label_scale: 0 where labels are classes. With a boundary_weight > 0, samples within
    boundary_radius of a class boundary weigh 1 + boundary_weight in the terms that are means over samples:
    cross_entropy and focal.
    """

    terms: tuple[str, ...]
    class_weights: tuple[float, ...]
    focal_gamma: float
    boundary_weight: float
    boundary_radius: int
    label_scale: int = 0

    def numerators(self, logits: jax.Array, labels: jax.Array) -> Scalars:
        """One float32 scalar a term. logits (B, *window, classes) or (B, *window, 1), labels (B, *window)."""
        valid = labels != IGNORE
        # Chosen before anything is computed of them: what stands under IGNORE has then no gradient either.
        logits = jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0)
        return tuple(TERMS[term][0](self, logits, labels) for term in self.terms)

    def denominators(self, labels: jax.Array) -> Scalars:
        """One float32 scalar a term, of labels (B, *window)."""
        return tuple(TERMS[term][1](self, labels) for term in self.terms)

    @staticmethod
    def total(numerators: Sequence[jax.Array], denominators: Sequence[jax.Array]) -> jax.Array:
        """The loss: the sum of numerator / denominator over the terms, 0 for terms that nothing was counted in."""
        pairs = zip(numerators, denominators, strict=True)
        return sum((jnp.where(d > 0, n / jnp.where(d > 0, d, 1.0), 0.0) for n, d in pairs), start=jnp.float32(0))


@dataclass(frozen=True)
class DeepSupervision:
    """A loss at several resolutions, the finest first, as numerators and denominators too.

    After Lee et al. (2015, arXiv 1409.5185), with the weights of nnU-Net (Isensee et al. 2021,
    doi:10.1038/s41592-020-01008-z): the k-th coarser resolution weighs 1 / 2^k, and all add up to 1. It is scored
    against `coarser_labels` (of soft labels, their mean); boundaries are then near within boundary_radius / (the
    longest side of its block) of its samples, at least 1.
    blocks: of each coarser resolution, the samples of the window that one of its own stands for, one number for all
    axes or one each; without any it is the loss itself.
    """

    loss: Loss
    blocks: Sequence[int | Shape] = ()

    def numerators(self, logits: Sequence[jax.Array], labels: jax.Array) -> Scalars:
        """One scalar a term and resolution, times its weight: `Loss.total` of them is the loss.

        logits, the finest first: (B, *window / block, outputs), sides rounded up; labels (B, *window).
        """
        scales = list(self._scales(labels))
        weight = 1 / sum(2.0**-k for k in range(len(scales)))
        parts = zip(scales, logits, strict=True)
        return tuple(
            weight / 2**k * n for k, ((loss, labels), x) in enumerate(parts) for n in loss.numerators(x, labels)
        )

    def denominators(self, labels: jax.Array) -> Scalars:
        """One scalar a term and resolution, of labels (B, *window)."""
        return tuple(d for loss, labels in self._scales(labels) for d in loss.denominators(labels))

    def _scales(self, labels: jax.Array) -> Iterator[tuple[Loss, jax.Array]]:
        classes = len(self.loss.class_weights)
        yield self.loss, labels
        for given in self.blocks:
            block = for_each(given, labels.shape[1:])
            loss = replace(self.loss, boundary_radius=max(self.loss.boundary_radius // max(block), 1))
            coarser = _coarser_means(labels, block) if loss.label_scale else coarser_labels(labels, block, classes)
            yield loss, coarser


def make_loss(
    name: str,
    num_classes: int,
    class_weights: Sequence[float] = (),
    *,
    focal_gamma: float = 2.0,
    boundary_weight: float = 0.0,
    boundary_radius: int = 2,
    label_scale: int = 0,
) -> Loss:
    """The loss of this name: "cross_entropy", "focal", "dice", "generalized_dice", or several joined by "+".

    num_classes: outputs of the network; 1 is one sigmoid logit, for two classes. Labels are below the number of
    classes, or IGNORE. class_weights: one a class; empty: all 1. label_scale: labels are up to this, so many times the
    probability of class 1, and weigh what that probability makes of the two weights; 0: they are classes.
    Raises UserError for an unknown or repeated name, for weights that are too many, too few, negative or all 0,
    for a negative focal_gamma or boundary_weight or a boundary_radius below 1, and for soft labels with several
    outputs or a boundary_weight.
    """
    terms = tuple(name.split("+"))
    for term in terms:
        if term not in TERMS:
            raise UserError(f"loss.name: unknown loss '{term}'{nearest(term, TERMS)}")
    if len(set(terms)) < len(terms):
        raise UserError(f"loss.name='{name}': names a loss twice; name each once")
    classes = max(num_classes, 2)
    weights = tuple(float(weight) for weight in class_weights) or (1.0,) * classes
    if len(weights) != classes:
        raise UserError(f"loss.class_weights: {len(weights)} weights for {classes} classes; give one a class")
    if min(weights) < 0 or max(weights) == 0:
        raise UserError("loss.class_weights: weights must be 0 or more, and one above 0")
    for field, value, least in (
        ("focal_gamma", focal_gamma, 0),
        ("boundary_weight", boundary_weight, 0),
        ("boundary_radius", boundary_radius, 1),
    ):
        if not value >= least:
            raise UserError(f"loss.{field}: {value} is too small; give {least} or more")
    if label_scale:
        _check_soft(label_scale, num_classes, boundary_weight)
    return Loss(terms, weights, focal_gamma, boundary_weight, boundary_radius, label_scale)


def _check_soft(label_scale: int, num_classes: int, boundary_weight: float) -> None:
    if not 0 < label_scale < IGNORE:
        raise UserError(f"data.label_scale: {label_scale} is no scale of 8-bit labels; give 1 to {IGNORE - 1}")
    if num_classes != 1:
        raise UserError(
            f"model.num_classes={num_classes}: labels that are {label_scale} times the probability of class 1 need "
            "one logit; set model.num_classes=1"
        )
    if boundary_weight > 0:
        raise UserError(
            f"loss.boundary_weight={boundary_weight}: labels that are {label_scale} times the probability of class 1 "
            "have no boundary; set loss.boundary_weight=0"
        )


_RARITY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": np.ones_like,
    "inverse": lambda counts: 1 / counts,
    "inverse_sqrt": lambda counts: 1 / np.sqrt(counts),
}


def class_weights(counts: Sequence[int] | np.ndarray, kind: str) -> tuple[float, ...]:
    """Weights from the number of labelled samples of each class: the mean over the classes that are there is 1.

    kind: "inverse" of the number, its square root "inverse_sqrt", or "none": all 1. A class without a sample weighs 1:
    where it does turn up (in a validation part), it counts as the average class does.
    Raises UserError for another kind.
    """
    if kind not in _RARITY:
        raise UserError(f"loss.class_weighting: unknown weighting '{kind}'{nearest(kind, _RARITY)}")
    counts = np.asarray(counts, np.float64)
    weights, present = np.ones_like(counts), counts > 0
    rarity = _RARITY[kind](counts[present])
    weights[present] = rarity / rarity.mean() if rarity.size else rarity
    return tuple(weights.tolist())


def coarser_labels(labels: jax.Array, block: int | Shape, classes: int) -> jax.Array:
    """The most common class among the labelled samples of each block of `block` samples a side, one number for all
    sides or one each; IGNORE without any.

    labels (B, *window) to (B, *window / block), sides rounded up; sides of 1 stay. Of classes alike in number the
    first is taken.
    """
    most, result = jnp.int32(0), jnp.asarray(IGNORE, labels.dtype)
    for c in range(classes):
        count = _block_sums(labels == c, block)
        result = jnp.where(count > most, jnp.asarray(c, labels.dtype), result)
        most = jnp.maximum(most, count)
    return result


def _coarser_means(labels: jax.Array, block: int | Shape) -> jax.Array:
    """As `coarser_labels`, of soft labels: the mean of those that a block holds, rounded."""
    valid = labels != IGNORE
    count = _block_sums(valid, block)
    mean = _block_sums(jnp.where(valid, labels, 0), block) / jnp.maximum(count, 1)
    return jnp.where(count > 0, jnp.round(mean).astype(labels.dtype), jnp.asarray(IGNORE, labels.dtype))


def _block_sums(values: jax.Array, block: int | Shape) -> jax.Array:
    """Sums (B, *window / block) int32, sides rounded up, over blocks of `block` samples a side; sides of 1 stay.

    Not a reshape, which would gather what devices share out in blocks that some of them hold parts of.
    """
    sides = values.shape[1:]
    window = [1, *(1 if side == 1 else by for side, by in zip(sides, for_each(block, sides), strict=True))]
    fill = [(0, -side % n) for side, n in zip(values.shape, window, strict=True)]
    return lax.reduce_window(values.astype(jnp.int32), np.int32(0), lax.add, window, window, fill)


def near_boundary(labels: jax.Array, radius: int) -> jax.Array:
    """Where (B, *window) a labelled sample lies within `radius` samples, along every axis, of a class boundary.

    A boundary runs between two neighbours (across corners too) that are labelled with different classes: IGNORE makes
    none. radius 1 is the samples on either side of it.
    """
    valid = labels != IGNORE
    highest = _pooled(jnp.where(valid, labels, 0), 1, lax.max, 0)
    lowest = _pooled(labels, 1, lax.min, IGNORE)
    edge = valid & (highest > lowest)
    return valid & _pooled(edge, radius - 1, lax.bitwise_or, False)


def _pooled(x: jax.Array, radius: int, function: Callable[..., Any], start: int | bool) -> jax.Array:
    """`function` over all samples within `radius` along every axis, one axis after the other."""
    for axis in range(1, x.ndim):
        if x.shape[axis] > 1 and radius > 0:
            window = [1 + 2 * radius if i == axis else 1 for i in range(x.ndim)]
            x = lax.reduce_window(x, np.asarray(start, x.dtype), function, window, [1] * x.ndim, "SAME")
    return x


def cross_entropy(loss: Loss, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sum over labelled samples of the sample's weight times -log of its class's probability.

    Of soft labels t: -t log p - (1 - t) log(1 - p).
    """
    return _weighted_sum(loss, _surprise(loss, logits, labels), labels)


def focal(loss: Loss, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sum over labelled samples of weight (1 - p)^gamma (-log p), p the probability of the sample's class.

    Lin et al. (2017, arXiv 1708.02002), divided by the same sum of weights as the cross-entropy, which it is for a
    gamma of 0. Of soft labels t: |t - p|^gamma times their cross-entropy (Li et al. 2020, arXiv 2006.04388).
    """
    surprise = _surprise(loss, logits, labels)
    # 1 - p without cancellation; held above 0, where a power below 1 has no slope.
    doubt = -jnp.expm1(-surprise)
    if loss.label_scale:
        doubt = jnp.abs(jax.nn.sigmoid(logits[..., 0]) - _share(loss, labels))
    doubt = jnp.maximum(doubt, 1e-20)
    return _weighted_sum(loss, doubt**loss.focal_gamma * surprise, labels)


def _surprise(loss: Loss, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """-log of the probability of each sample's class; of soft labels its mean over the two classes."""
    if loss.label_scale:
        return jax.nn.softplus(logits[..., 0]) - _share(loss, labels) * logits[..., 0]
    if logits.shape[-1] == 1:
        return jax.nn.softplus(jnp.where(labels == 1, -logits[..., 0], logits[..., 0]))
    # The true class's logit by comparison: fused by the compiler, where an index makes a gather and a scatter.
    true = jnp.where(labels[..., None] == jnp.arange(logits.shape[-1]), logits, 0.0).sum(-1)
    return jax.nn.logsumexp(logits, axis=-1) - true


def _share(loss: Loss, labels: jax.Array) -> jax.Array:
    """The probability of class 1 that soft labels state, float32; 0 under IGNORE."""
    return jnp.where(labels != IGNORE, labels, 0).astype(jnp.float32) / loss.label_scale


def _weighted_sum(loss: Loss, values: jax.Array, labels: jax.Array) -> jax.Array:
    values = _weight_of(loss, labels) * values
    if loss.boundary_weight > 0:
        values = jnp.where(near_boundary(labels, loss.boundary_radius), 1 + loss.boundary_weight, 1.0) * values
    return jnp.where(labels != IGNORE, values, 0.0).sum()


def _weight_sum(loss: Loss, labels: jax.Array) -> jax.Array:
    """Sum of the weights of the labelled samples: with all weights 1, their number."""
    counts = _counts(loss, labels).astype(jnp.float32)
    if loss.boundary_weight > 0:
        near = jnp.where(near_boundary(labels, loss.boundary_radius), labels, IGNORE)
        counts += loss.boundary_weight * _counts(loss, near).astype(jnp.float32)
    return (counts * jnp.asarray(loss.class_weights, jnp.float32)).sum()


def dice(loss: Loss, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sum over windows of 1 - the mean soft Dice coefficient of the classes that the window's labels hold.

    Dice of a class = 2 sum(p t) / (sum p + sum t), p its probability, t whether it is true, over the labelled samples
    (Milletari et al. 2016, arXiv 1606.04797, with plain sums below as in Drozdzal et al. 2016, arXiv 1608.04117). The
    mean is weighted by class. A class that a window lacks is left out of its mean: what is wrongly given to it is
    missing in the others, since probabilities add up to 1. One sigmoid logit counts as the two classes that it parts.
    Of soft labels min(p, t) takes the place of p t (Wang et al. 2023, arXiv 2303.16296).
    """
    both, given, true = _overlap(loss, logits, labels)
    coefficients = 2 * both / (given + jnp.where(true > 0, true, 1.0))
    present = (true > 0) * jnp.asarray(loss.class_weights, jnp.float32)
    share = present / jnp.maximum(present.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    return (share * (1 - coefficients)).sum()


def generalized_dice(loss: Loss, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sum over windows of 1 - 2 sum_c(v_c sum(p t)) / sum_c(v_c (sum p + sum t)), v_c = weight / (sum t)^2.

    Sudre et al. (2017, arXiv 1707.03237), p and t as in `dice`: one coefficient a window, in which small classes count
    as much as large ones. A class that a window lacks is left out, as in `dice`.
    """
    both, given, true = _overlap(loss, logits, labels)
    # Relative to the smallest class of the window: the common factor cancels, and nothing overflows.
    smallest = jnp.where(true > 0, true, jnp.inf).min(-1, keepdims=True)
    size = jnp.where(true > 0, smallest / jnp.where(true > 0, true, 1.0), 0.0)
    value = size**2 * jnp.asarray(loss.class_weights, jnp.float32)
    below = (value * (given + true)).sum(-1)
    coefficient = 2 * (value * both).sum(-1) / jnp.where(below > 0, below, 1.0)
    return jnp.where(below > 0, 1 - coefficient, 0.0).sum()


def _overlap(loss: Loss, logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """sum(p t), sum(p) and sum(t) over each window's labelled samples, float32 (B, classes) each."""
    classes = len(loss.class_weights)
    if logits.shape[-1] == 1:
        logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    space = tuple(range(1, labels.ndim))
    probabilities = jnp.where((labels != IGNORE)[..., None], jax.nn.softmax(logits), 0.0)
    if loss.label_scale:
        true = _share(loss, labels)
        common = jnp.minimum(probabilities, jnp.stack([1 - true, true], axis=-1))
    else:
        common = jnp.where(labels[..., None] == jnp.arange(classes), probabilities, 0.0)
    return common.sum(space), probabilities.sum(space), _counts(loss, labels).astype(jnp.float32)


def _counted_windows(loss: Loss, labels: jax.Array) -> jax.Array:
    """Number of windows with a sample of a class of positive weight."""
    counted = _counts(loss, labels) * (jnp.asarray(loss.class_weights) > 0)
    return (counted.sum(-1) > 0).sum().astype(jnp.float32)


def _weight_of(loss: Loss, labels: jax.Array) -> jax.Array | float:
    weights = loss.class_weights
    if len(set(weights)) == 1:
        return weights[0]
    if loss.label_scale:
        return weights[0] + (weights[1] - weights[0]) * _share(loss, labels)
    return sum((jnp.where(labels == c, weight, 0.0) for c, weight in enumerate(weights)), start=jnp.float32(0))


def _counts(loss: Loss, labels: jax.Array) -> jax.Array:
    """Samples of each class in each window (B, classes), int32: exact, where a float32 sum stops at 2^24.

    Of soft labels the sums of the classes' probabilities, float32.
    """
    space = tuple(range(1, labels.ndim))
    if not loss.label_scale:
        return jnp.stack([(labels == c).sum(space, dtype=jnp.int32) for c in range(len(loss.class_weights))], axis=-1)
    valid = labels != IGNORE
    # Whole numbers along the last axis first, which they are exact along.
    scaled = jnp.where(valid, labels, 0).sum(-1, dtype=jnp.int32).astype(jnp.float32)
    one = scaled.sum(space[:-1]) / loss.label_scale
    return jnp.stack([valid.sum(space, dtype=jnp.int32) - one, one], axis=-1)


# Numerator and denominator of each term.
TERMS: dict[str, tuple[Callable[[Loss, jax.Array, jax.Array], jax.Array], Callable[[Loss, jax.Array], jax.Array]]] = {
    "cross_entropy": (cross_entropy, _weight_sum),
    "focal": (focal, _weight_sum),
    "dice": (dice, _counted_windows),
    "generalized_dice": (generalized_dice, _counted_windows),
}
