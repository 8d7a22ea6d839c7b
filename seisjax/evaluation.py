"""Scores on a split: exact sums of counts over every labelled sample, for a network and for trivial predictors."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from seisjax import distributed, metrics
from seisjax.baselines import Predictor
from seisjax.boundaries import BoundaryError
from seisjax.geometry import Box
from seisjax.together import from_all


def evaluate_batches(
    batches: Iterable[dict[str, jax.Array]],
    evaluate_step: Callable[[dict[str, jax.Array]], dict[str, jax.Array]],
    *,
    num_classes: int,
    num_windows: int,
    boundaries: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The network's loss and scores over batches of windows.

    Args:
      batches: {"image", "labels": uint8 (B, *sides)}; every sample that counts stands in them once, windows that fill
        up a batch hold IGNORE alone.
      evaluate_step: batch -> {"numerators" (terms,), "denominators" (terms,), "confusion" (classes, classes) with rows
        of truth, "classes": uint8 (B, *sides)}; all sums over the global batch.
      num_classes: classes in the scores (2 for a network with one sigmoid logit).
      num_windows: windows in the split; those that fill up a batch do not count.
      boundaries: also take the boundary error along the last axis.
      progress: called as progress(windows done, num_windows).

    Returns `loss` (None where nothing is labelled), the keys of `metrics.scores`, `num_windows` and, with `boundaries`,
    `boundary_error` (see `BoundaryError.result`). All processes of a run get the same.
    """
    totals = _Totals(num_classes, boundaries)
    done, previous = 0, None
    for batch in batches:
        output = evaluate_step(batch)
        for key in ("numerators", "denominators", "confusion"):
            output[key].copy_to_host_async()
        # Results are fetched one batch late, so that the device always has work.
        if previous is not None:
            totals.add(*previous)
        previous = output, batch["labels"]
        done = min(done + len(batch["labels"]), num_windows)
        if progress is not None:
            progress(done, num_windows)
    if previous is not None:
        totals.add(*previous)
    return totals.result() | {"num_windows": num_windows}


def evaluate_baselines(
    baselines: Mapping[str, Predictor],
    windows: Iterable[tuple[Box, np.ndarray]],
    *,
    num_classes: int,
    trace_length: int = 0,
) -> dict[str, dict[str, Any]]:
    """The scores of trivial predictors over the windows that the network is scored on.

    Args:
      baselines: predictors by name.
      windows: boxes with their labels (uint8 of the box's shape, IGNORE where a sample does not count); in a run of
        several processes those of this process, which all are summed.
      num_classes: classes in the scores.
      trace_length: samples that a box has at most along its last axis, to also take the boundary error; 0: not.

    Returns by name the keys of `metrics.scores` and, where it is taken, `boundary_error`. All processes get the same.
    """
    confusion = {name: np.zeros((num_classes, num_classes), np.int64) for name in baselines}
    errors = {name: BoundaryError(trace_length) for name in baselines if trace_length}
    for box, truth in windows:
        for name, predictor in baselines.items():
            predicted = predictor(box)
            confusion[name] += count_pairs(truth, predicted, num_classes)
            if errors:
                errors[name].update(truth, predicted)
    scores = {name: metrics.scores(_sum_over_processes(counts)) for name, counts in confusion.items()}
    for name, error in errors.items():
        error.counts = _sum_over_processes(error.counts)
        scores[name]["boundary_error"] = error.result()
    return scores


def count_pairs(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """The confusion matrix on the host: int64 (classes, classes), rows are the truth; what is no class is left out."""
    known = labels < num_classes
    pairs = labels[known].astype(np.int64) * num_classes + predicted[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


class _Totals:
    """Sums over batches, on the host: counts as int64, loss terms as float64."""

    def __init__(self, num_classes: int, boundaries: bool):
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.numerators: np.ndarray | float = 0.0
        self.denominators: np.ndarray | float = 0.0
        self._boundaries = boundaries
        self._errors: BoundaryError | None = None

    def add(self, output: dict[str, jax.Array], labels: jax.Array) -> None:
        self.confusion += np.asarray(output["confusion"], np.int64)
        self.numerators = self.numerators + np.asarray(output["numerators"], np.float64)
        self.denominators = self.denominators + np.asarray(output["denominators"], np.float64)
        if self._boundaries:
            if self._errors is None:
                self._errors = BoundaryError(labels.shape[-1])
            for truth, predicted in _on_this_process(labels, output["classes"]):
                self._errors.update(truth, predicted)

    def result(self) -> dict[str, Any]:
        numerators, denominators = np.atleast_1d(self.numerators), np.atleast_1d(self.denominators)
        terms = [n / d for n, d in zip(numerators, denominators, strict=True) if d > 0]
        result: dict[str, Any] = {"loss": float(sum(terms)) if terms else None}
        result |= metrics.scores(self.confusion)
        if self._errors is not None:
            self._errors.counts = _sum_over_processes(self._errors.counts)
            result["boundary_error"] = self._errors.result()
        return result


def _on_this_process(*arrays: jax.Array) -> Iterable[tuple[np.ndarray, ...]]:
    """The parts of equally sharded arrays that lie on this process; over all processes each part comes once.

    Traces come whole: where the last axis is split, process 0 is given all of them.
    """
    if all(array.is_fully_addressable for array in arrays):
        yield tuple(np.asarray(array) for array in arrays)
        return
    if arrays[0].sharding.shard_shape(arrays[0].shape)[-1] < arrays[0].shape[-1]:
        whole = distributed.gathered(arrays)
        if distributed.is_main():
            yield whole
        return
    for shards in zip(*(array.addressable_shards for array in arrays), strict=True):
        if any(shard.index != shards[0].index for shard in shards):
            raise ValueError("labels and predicted classes lie differently on the devices; give them one sharding")
        if shards[0].replica_id == 0:
            yield tuple(np.asarray(shard.data) for shard in shards)


def _sum_over_processes(counts: np.ndarray) -> np.ndarray:
    """The sum of int64 counts over all processes."""
    return np.sum([given["counts"] for given in from_all({"counts": counts})], axis=0)
