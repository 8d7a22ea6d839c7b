"""Temperature calibration: one number that makes a network as sure as it is right.

After Guo et al. (2017, arXiv 1706.04599): logits are divided by a temperature T before they become probabilities, the T
with which the negative log-likelihood (NLL) of labels that training has not seen is lowest. Classes stay as they are.
Of several networks that are averaged, the logits of each are divided by the same T, and the NLL is that of the average.

Everything is a function of 1/T, of which the NLL of one network is convex. It is fitted from sums over samples alone
(`tally`), in three passes over the data: a coarse grid, a fine one inside it, and what the T found does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicHermiteSpline

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.files import read_json

CALIBRATION = "calibration.json"  # in the folder of a run
BINS = 15  # of equal width over the confidences from 0 to 1

PASSES = 3  # over the data, by `fit_temperature`

_GRID = 2.0 ** np.arange(-5, 6)  # inverse temperatures of the first pass
_NOTHING = np.zeros(0)

Tally = Mapping[str, np.ndarray]
# (inverse temperatures, those whose confidences are put into bins) -> the sums of `tally` over all windows of the data
Pass = Callable[[np.ndarray, np.ndarray], Tally]


@dataclass(frozen=True)
class Reliability:
    """Samples by how sure the network is of the class it gives them: per bin their number and two sums.

    The confidence of a sample is the probability of its likeliest class; bin k of n holds those above k/n, up to
    (k+1)/n. agreement: the sum of the probabilities that the labels give that class, so that of classes it counts the
    right ones.
    """

    samples: np.ndarray
    confidence: np.ndarray
    agreement: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: mean over samples of |accuracy - confidence| of their bins."""
        return float(np.abs(self.agreement - self.confidence).sum() / self.samples.sum())

    def rows(self) -> list[dict[str, Any]]:
        """A row a bin, ready for JSON; the means of an empty bin are None."""
        edges = np.linspace(0, 1, len(self.samples) + 1)
        rows = []
        for k, count in enumerate(self.samples.tolist()):
            confidence, accuracy = (float(x[k] / count) if count else None for x in (self.confidence, self.agreement))
            bin_ = [round(float(edge), 6) for edge in edges[k : k + 2]]
            rows.append({"bin": bin_, "samples": count, "confidence": confidence, "accuracy": accuracy})
        return rows


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it does: mean NLL (nats a sample) and reliability without and with it."""

    temperature: float
    num_samples: int
    nll_before: float
    nll_after: float
    before: Reliability
    after: Reliability

    def values(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return self.scores() | {"reliability": {"before": self.before.rows(), "after": self.after.rows()}}

    def scores(self) -> dict[str, Any]:
        """The temperature, the number of samples, and mean NLL and calibration error before and after."""
        return {
            "temperature": self.temperature,
            "num_samples": self.num_samples,
            "nll_before": self.nll_before,
            "nll_after": self.nll_after,
            "ece_before": self.before.error,
            "ece_after": self.after.error,
        }

    def __str__(self) -> str:
        return (
            f"NLL {self.nll_before:.4f} -> {self.nll_after:.4f}, ECE {self.before.error:.4f} -> {self.after.error:.4f}"
        )


def tally(
    logits: Sequence[jax.Array], labels: jax.Array, inverse_temperatures: jax.Array, shown: jax.Array, label_scale: int
) -> dict[str, jax.Array]:
    """Sums over the labelled samples of each window.

    Args:
      logits: of one or more networks that are averaged, (B, *window, classes), or (B, *window, 1) of one sigmoid logit.
      labels: (B, *window) uint8, IGNORE where nothing is known.
      inverse_temperatures: (K,).
      shown: (S,) inverse temperatures whose confidences are put into bins.
      label_scale: labels are so many times the probability of class 1; 0: they are classes.

    Returns "count" (B,) int32 of samples; "nll" (3, K, B) float32: the NLL, its first and its second derivative by the
    inverse temperature; and by bin "samples" int32, "confidence" and "agreement" float32 (S, BINS, B), see
    `Reliability`.
    """
    known = labels != IGNORE
    # Chosen before anything is computed of them: not even a NaN under IGNORE is counted.
    cleaned = jnp.stack([jnp.where(known[..., None], _two_or_more(z.astype(jnp.float32)), 0.0) for z in logits])
    target = jnp.where(known[..., None], _target(labels, cleaned.shape[-1], label_scale), 0.0)
    inside = tuple(range(1, labels.ndim))

    def nll(inverse: jax.Array) -> jax.Array:
        return -(target * _log_probabilities(cleaned, inverse)).sum((*inside, labels.ndim))

    def value_and_slope(inverse: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.jvp(nll, (inverse,), (jnp.ones_like(inverse),))

    def with_derivatives(inverse: jax.Array) -> jax.Array:
        (value, slope), (_, curvature) = jax.jvp(value_and_slope, (inverse,), (jnp.ones_like(inverse),))
        return jnp.stack([value, slope, curvature])

    # One after the other, so that memory does not grow with their number.
    curves = jax.lax.map(with_derivatives, inverse_temperatures)
    bins = jax.lax.map(lambda inverse: _in_bins(_log_probabilities(cleaned, inverse), target, known), shown)
    return bins | {"nll": jnp.moveaxis(curves, 1, 0), "count": known.sum(inside, dtype=jnp.int32)}


def _in_bins(log_probabilities: jax.Array, target: jax.Array, known: jax.Array) -> dict[str, jax.Array]:
    """The sums of a `Reliability` of each window, (BINS, B)."""
    confidence, given = jnp.exp(log_probabilities.max(-1)), log_probabilities.argmax(-1)
    agreement = jnp.where(given[..., None] == jnp.arange(target.shape[-1]), target, 0.0).sum(-1)
    bins = jnp.where(known, jnp.clip(jnp.ceil(confidence * BINS).astype(jnp.int32) - 1, 0, BINS - 1), BINS)

    def in_bin(k: jax.Array) -> dict[str, jax.Array]:
        here = bins == k
        terms = {"samples": here.astype(jnp.int32), "confidence": confidence, "agreement": agreement}
        return {name: jnp.where(here, x, 0).sum(tuple(range(1, x.ndim))) for name, x in terms.items()}

    return jax.lax.map(in_bin, jnp.arange(BINS))


def _two_or_more(logits: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1) if logits.shape[-1] == 1 else logits


def _target(labels: jax.Array, classes: int, label_scale: int) -> jax.Array:
    """The probability that the labels give each class, (..., classes)."""
    if not label_scale:
        return (labels[..., None] == jnp.arange(classes)).astype(jnp.float32)
    share = labels.astype(jnp.float32) / label_scale
    return jnp.stack([1 - share, share], axis=-1)


def _log_probabilities(logits: jax.Array, inverse: jax.Array) -> jax.Array:
    """Logarithms of the mean over networks of the probabilities, (..., classes) of logits (networks, ..., classes)."""
    each = jax.nn.log_softmax(inverse * logits, axis=-1)
    return each[0] if len(each) == 1 else jax.nn.logsumexp(each, axis=0) - np.log(len(each))


def fit_temperature(over_data: Pass) -> Calibration:
    """The temperature of lowest NLL, from three passes over the data.

    Raises UserError where nothing is labelled, where an NLL is not finite and where it is lowest at no temperature that
    could be meant, as for a network that is right everywhere, or that was hardly trained.
    """
    first = over_data(_GRID, _NOTHING)
    if not first["count"]:
        raise UserError("nothing to calibrate on: no sample of the split is labelled")
    if not np.isfinite(first["nll"]).all():
        raise UserError("cannot be calibrated: the network gives logits that are not finite")
    fine = np.geomspace(*_bracket(_GRID, first["nll"]), len(_GRID))
    return effect(1 / _lowest(fine, over_data(fine, _NOTHING)["nll"]), over_data)


def effect(temperature: float, over_data: Pass) -> Calibration:
    """What a temperature does to data of which something is labelled, from one pass."""
    pair = np.array([1, 1 / temperature])
    sums = over_data(pair, pair)
    count = int(sums["count"])
    before, after = (Reliability(*(sums[name][k] for name in ("samples", "confidence", "agreement"))) for k in range(2))
    return Calibration(
        temperature=float(temperature),
        num_samples=count,
        nll_before=float(sums["nll"][0, 0] / count),
        nll_after=float(sums["nll"][0, 1] / count),
        before=before,
        after=after,
    )


def _bracket(inverse: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
    """The two neighbours on the grid between which the NLL is lowest. Raises UserError where it falls to an end."""
    values, slopes, _ = curve
    lowest = int(values.argmin())
    other = lowest + 1 if slopes[lowest] < 0 else lowest - 1
    if not 0 <= other < len(inverse):
        why = "is right everywhere" if other > lowest else "knows less than one that says the same everywhere"
        raise UserError(
            f"cannot be calibrated: the loss only falls towards a temperature of {1 / inverse[lowest]:g}, as of a "
            f"network that {why}; choose another split or checkpoint"
        )
    return inverse[min(lowest, other)], inverse[max(lowest, other)]


def _lowest(inverse: np.ndarray, curve: np.ndarray) -> float:
    """Where between the points of a fine grid the slope is 0; the best point where it is 0 between none."""
    values, slopes, curvatures = curve
    roots = CubicHermiteSpline(inverse, slopes, curvatures).solve(0.0, extrapolate=False)
    point = inverse[values.argmin()]
    return float(min(roots, key=lambda root: abs(root - point), default=point))


def found_temperature(workdir: Path, steps: Sequence[int]) -> float | None:
    """The temperature that launch/evaluate.py has fitted for these checkpoints of a run, in any order, or None.

    Raises UserError where the file is broken.
    """
    temperature, fitted = _fitted(workdir)
    return temperature if sorted(fitted) == sorted(steps) else None


def temperature_of(workdir: Path, steps: Sequence[int]) -> float:
    """As `found_temperature`. Raises UserError where there is none, or one of other checkpoints."""
    found = found_temperature(workdir, steps)
    if found is not None:
        return found
    _, fitted = _fitted(workdir)
    there = f"is of checkpoint {', '.join(map(str, fitted))}" if fitted else "is not there"
    names = ",".join(map(str, steps))
    raise UserError(
        f"{workdir / CALIBRATION}: {there}; for {names} run "
        f"launch/evaluate.py --workdir={workdir} --calibrate --checkpoint={names}"
    )


def _fitted(workdir: Path) -> tuple[float, list[int]]:
    """The temperature in a run's folder and the checkpoints that it is of, [] where there is none. Raises UserError."""
    path = workdir / CALIBRATION
    if not path.exists():
        return 1.0, []
    values = read_json(path)
    try:
        temperature, steps = float(values["temperature"]), [int(step) for step in values["checkpoints"]]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: names no temperature and checkpoints; remove it, or calibrate again") from None
    if not 0 < temperature < np.inf:
        raise UserError(f"{path}: temperature={temperature:g} is not positive; remove it, or calibrate again")
    return temperature, steps
