"""Losses as sums over samples: numerators of the logits, denominators of the labels alone.

Both add up over devices, over the parts of an accumulated batch and over the batches of an evaluation, so that a loss
is always that of everything seen: total = sum over terms of numerator / denominator.

One ignore contract: nothing computed from the logits under an IGNORE label reaches a loss or a gradient, not even
their NaN; without any labelled sample loss and gradient are 0. Everything is float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from seisjax.conventions import IGNORE
from seisjax.errors import UserError, nearest

Scalars = tuple[jax.Array, ...]


@dataclass(frozen=True)
class Loss:
    """A sum of `terms` ("cross_entropy", "dice") over classes with these weights (2 classes for one sigmoid logit)."""

    terms: tuple[str, ...]
    class_weights: tuple[float, ...]

    def numerators(self, logits: jax.Array, labels: jax.Array) -> Scalars:
        """One float32 scalar a term. logits (B, *window, classes) or (B, *window, 1), labels (B, *window)."""
        valid = labels != IGNORE
        # Chosen before anything is computed of them: what stands under IGNORE has then no gradient either.
        logits = jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0)
        return tuple(_TERMS[term][0](logits, labels, self.class_weights) for term in self.terms)

    def denominators(self, labels: jax.Array) -> Scalars:
        """One float32 scalar a term, of labels (B, *window)."""
        return tuple(_TERMS[term][1](labels, self.class_weights) for term in self.terms)

    @staticmethod
    def total(numerators: Sequence[jax.Array], denominators: Sequence[jax.Array]) -> jax.Array:
        """The loss: the sum of numerator / denominator over the terms, 0 for terms that nothing was counted in."""
        pairs = zip(numerators, denominators, strict=True)
        return sum((jnp.where(d > 0, n / jnp.where(d > 0, d, 1.0), 0.0) for n, d in pairs), start=jnp.float32(0))


def make_loss(name: str, num_classes: int, class_weights: Sequence[float] = ()) -> Loss:
    """The loss of this name: "cross_entropy", "dice", or both joined by "+".

    num_classes: outputs of the network; 1 is one sigmoid logit, for two classes. Labels are below the number of
    classes, or IGNORE. class_weights: one a class; empty: all 1.
    Raises UserError for an unknown name, and for weights that are too many, too few, negative or all 0.
    """
    terms = tuple(name.split("+"))
    for term in terms:
        if term not in _TERMS:
            raise UserError(f"loss.name: unknown loss '{term}'{nearest(term, _TERMS)}")
    classes = max(num_classes, 2)
    weights = tuple(float(weight) for weight in class_weights) or (1.0,) * classes
    if len(weights) != classes:
        raise UserError(f"loss.class_weights: {len(weights)} weights for {classes} classes; give one a class")
    if min(weights) < 0 or max(weights) == 0:
        raise UserError("loss.class_weights: weights must be 0 or more, and one above 0")
    return Loss(terms, weights)


def _cross_entropy(logits: jax.Array, labels: jax.Array, weights: Sequence[float]) -> jax.Array:
    """Sum over labelled samples of the class's weight times -log of its probability."""
    if logits.shape[-1] == 1:
        signed = jnp.where(labels == 1, -logits[..., 0], logits[..., 0])
        surprise = jax.nn.softplus(signed)
    else:
        # The true class's logit by comparison: fused by the compiler, where an index makes a gather and a scatter.
        true = jnp.where(labels[..., None] == jnp.arange(logits.shape[-1]), logits, 0.0).sum(-1)
        surprise = jax.nn.logsumexp(logits, axis=-1) - true
    return jnp.where(labels != IGNORE, _weight_of(labels, weights) * surprise, 0.0).sum()


def _weighted_count(labels: jax.Array, weights: Sequence[float]) -> jax.Array:
    """Sum of the class weights of the labelled samples: with all weights 1, their number."""
    return (_counts(labels, len(weights)).astype(jnp.float32) * jnp.asarray(weights, jnp.float32)).sum()


def _dice(logits: jax.Array, labels: jax.Array, weights: Sequence[float]) -> jax.Array:
    """Sum over windows of 1 - the mean soft Dice coefficient of the classes that the window's labels hold.

    Dice of a class = 2 sum(p t) / (sum p + sum t), p its probability, t whether it is true, over the labelled samples
    (Milletari et al. 2016, arXiv 1606.04797, with plain sums below as in Drozdzal et al. 2016, arXiv 1608.04117). The
    mean is weighted by class. A class that a window lacks is left out of its mean: what is wrongly given to it is
    missing in the others, since probabilities add up to 1. One sigmoid logit counts as the two classes that it parts.
    """
    if logits.shape[-1] == 1:
        logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    classes = jnp.arange(logits.shape[-1])
    space = tuple(range(1, labels.ndim))
    probabilities = jnp.where((labels != IGNORE)[..., None], jax.nn.softmax(logits), 0.0)
    both = jnp.where(labels[..., None] == classes, probabilities, 0.0).sum(space)
    true = _counts(labels, len(weights)).astype(jnp.float32)
    dice = 2 * both / (probabilities.sum(space) + jnp.maximum(true, 1.0))
    present = (true > 0) * jnp.asarray(weights, jnp.float32)
    share = present / jnp.maximum(present.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    return (share * (1 - dice)).sum()


def _counted_windows(labels: jax.Array, weights: Sequence[float]) -> jax.Array:
    """Number of windows with a sample of a class of positive weight."""
    return ((_counts(labels, len(weights)) * (jnp.asarray(weights) > 0)).sum(-1) > 0).sum().astype(jnp.float32)


def _weight_of(labels: jax.Array, weights: Sequence[float]) -> jax.Array | float:
    if len(set(weights)) == 1:
        return weights[0]
    return sum((jnp.where(labels == c, weight, 0.0) for c, weight in enumerate(weights)), start=jnp.float32(0))


def _counts(labels: jax.Array, classes: int) -> jax.Array:
    """Samples of each class in each window (B, classes), int32: exact, where a float32 sum stops at 2^24."""
    space = tuple(range(1, labels.ndim))
    return jnp.stack([(labels == c).sum(space, dtype=jnp.int32) for c in range(classes)], axis=-1)


_Term = tuple[
    Callable[[jax.Array, jax.Array, Sequence[float]], jax.Array], Callable[[jax.Array, Sequence[float]], jax.Array]
]
_TERMS: dict[str, _Term] = {
    "cross_entropy": (_cross_entropy, _weighted_count),
    "dice": (_dice, _counted_windows),
}
