"""Scores on a split: exact sums of counts over every labelled sample, for a network and for trivial predictors."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from seisjax import distributed, metrics
from seisjax.baselines import Predictor
from seisjax.boundaries import BoundaryError
from seisjax.geometry import Box
from seisjax.together import from_all

_DISTANCE_BINS = 24  # 0, and powers of two up to 4 million lines


def evaluate_batches(
    batches: Iterable[dict[str, jax.Array]],
    evaluate_step: Callable[[dict[str, jax.Array]], dict[str, jax.Array]],
    *,
    num_classes: int,
    num_windows: int,
    boundaries: bool = False,
    distance: Callable[[int], np.ndarray] | None = None,
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
      distance: gives the distance (*sides but the last) of the traces of window number i to the nearest label, to
        also take the scores by it.
      progress: called as progress(windows done, num_windows).

    Returns `loss` (None where nothing is labelled), the keys of `metrics.scores`, `num_windows` and, with `boundaries`,
    `boundary_error` (see `BoundaryError.result`), with `distance` `by_distance` (see `DistanceScores.result`). All
    processes of a run get the same.
    """
    totals = _Totals(num_classes, num_windows, boundaries, distance)
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
    distance: Callable[[Box], np.ndarray] | None = None,
) -> dict[str, dict[str, Any]]:
    """The scores of trivial predictors over the windows that the network is scored on.

    Args:
      baselines: predictors by name.
      windows: boxes with their labels (uint8 of the box's shape, IGNORE where a sample does not count); in a run of
        several processes those of this process, which all are summed.
      num_classes: classes in the scores.
      trace_length: samples that a box has at most along its last axis, to also take the boundary error; 0: not.
      distance: gives the distance of a box's traces to the nearest label, to also take the scores by it.

    Returns by name the keys of `metrics.scores` and, where they are taken, `boundary_error` and `by_distance`. All
    processes get the same.
    """
    confusion = {name: np.zeros((num_classes, num_classes), np.int64) for name in baselines}
    errors = {name: BoundaryError(trace_length) for name in baselines if trace_length}
    by_distance = {name: DistanceScores(num_classes, trace_length) for name in baselines if distance}
    for box, truth in windows:
        away = distance(box) if distance else None
        for name, predictor in baselines.items():
            predicted = predictor(box)
            confusion[name] += count_pairs(truth, predicted, num_classes)
            if errors:
                errors[name].update(truth, predicted)
            if away is not None:
                by_distance[name].update(away, truth, predicted)
    scores = {name: metrics.scores(_sum_over_processes(counts)) for name, counts in confusion.items()}
    for name, error in errors.items():
        error.counts = _sum_over_processes(error.counts)
        scores[name]["boundary_error"] = error.result()
    for name, counts in by_distance.items():
        scores[name]["by_distance"] = counts.result()
    return scores


def count_pairs(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """The confusion matrix on the host: int64 (classes, classes), rows are the truth; what is no class is left out."""
    known = (labels < num_classes) & (predicted < num_classes)
    pairs = labels[known].astype(np.int64) * num_classes + predicted[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


class DistanceScores:
    """Counts by the distance of a trace to the nearest label, in bins that double: 0, up to 1, up to 2, up to 4, ...

    Only counts are kept, so sums over windows and processes are exact.
    """

    def __init__(self, num_classes: int, trace_length: int = 0):
        """`trace_length`: samples that a trace has at most, to also take the boundary error; 0: not."""
        self._num_classes = num_classes
        self._confusion = np.zeros((_DISTANCE_BINS, num_classes, num_classes), np.int64)
        self._errors = [BoundaryError(trace_length) for _ in range(_DISTANCE_BINS if trace_length else 0)]

    def update(self, distance: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add traces: distances (...), two uint8 arrays (..., samples); truth may hold IGNORE."""
        bins = np.ceil(np.log2(np.clip(distance, 1.0, 2.0 ** (_DISTANCE_BINS - 2)))).astype(int) + 1
        bins[distance == 0] = 0
        for number in np.unique(bins):
            here = bins == number
            self._confusion[number] += count_pairs(truth[here], predicted[here], self._num_classes)
            if self._errors:
                self._errors[number].update(truth[here], predicted[here])

    def result(self) -> list[dict[str, Any]]:
        """The scores of each bin that holds labelled samples, the nearest first: `above` < distance <= `to`, lines.

        `above` is null in the bin of labelled traces, `to` in the last there can be. Each has its number of labelled
        `samples`, the keys of `metrics.scores` and, where it is taken, `boundary_error`. Summed over all processes,
        which all must call this.
        """
        confusion, result = _sum_over_processes(self._confusion), []
        for error in self._errors:
            error.counts = _sum_over_processes(error.counts)
        for number in np.flatnonzero(confusion.sum(axis=(1, 2))):
            edges = [0.0, *(2.0**k for k in range(_DISTANCE_BINS - 2)), None]
            scores: dict[str, Any] = {"above": edges[number - 1] if number else None, "to": edges[number]}
            scores |= {"samples": int(confusion[number].sum())} | metrics.scores(confusion[number])
            if self._errors:
                scores["boundary_error"] = self._errors[number].result()
            result.append(scores)
        return result


class _Totals:
    """Sums over batches, on the host: counts as int64, loss terms as float64."""

    def __init__(
        self, num_classes: int, num_windows: int, boundaries: bool, distance: Callable[[int], np.ndarray] | None
    ):
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.numerators: np.ndarray | float = 0.0
        self.denominators: np.ndarray | float = 0.0
        self._num_windows, self._seen = num_windows, 0
        self._boundaries = boundaries
        self._errors: BoundaryError | None = None
        self._distance = distance
        self._by_distance: DistanceScores | None = None

    def add(self, output: dict[str, jax.Array], labels: jax.Array) -> None:
        self.confusion += np.asarray(output["confusion"], np.int64)
        self.numerators = self.numerators + np.asarray(output["numerators"], np.float64)
        self.denominators = self.denominators + np.asarray(output["denominators"], np.float64)
        if self._errors is None and self._by_distance is None:
            length = labels.shape[-1] if self._boundaries else 0
            self._errors = BoundaryError(length) if length else None
            self._by_distance = DistanceScores(len(self.confusion), length) if self._distance else None
        if self._errors is not None or self._by_distance is not None:
            for index, truth, predicted in _on_this_process(labels, output["classes"]):
                self._add_traces(index, truth, predicted)
        self._seen += len(labels)

    def _add_traces(self, index: tuple[slice, ...], truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add a part of a batch; `index` tells which part of the batch it is."""
        if self._errors is not None:
            self._errors.update(truth, predicted)
        if self._by_distance is not None and self._distance is not None:
            first = self._seen + (index[0].start or 0)
            numbers = range(first, min(first + len(truth), self._num_windows))  # what fills up a batch is no window
            for number, true, given in zip(numbers, truth, predicted, strict=False):
                self._by_distance.update(self._distance(number)[index[1:-1]], true, given)

    def result(self) -> dict[str, Any]:
        numerators, denominators = np.atleast_1d(self.numerators), np.atleast_1d(self.denominators)
        terms = [n / d for n, d in zip(numerators, denominators, strict=True) if d > 0]
        result: dict[str, Any] = {"loss": float(sum(terms)) if terms else None}
        result |= metrics.scores(self.confusion)
        if self._errors is not None:
            self._errors.counts = _sum_over_processes(self._errors.counts)
            result["boundary_error"] = self._errors.result()
        if self._by_distance is not None:
            result["by_distance"] = self._by_distance.result()
        return result


def _on_this_process(*arrays: jax.Array) -> Iterator[tuple[Any, ...]]:
    """The parts of equally sharded arrays that lie on this process, each with its index in front; over all processes
    each part comes once.

    Traces come whole: where the last axis is split, process 0 is given all of them.
    """
    everything = (slice(None),) * arrays[0].ndim
    if all(array.is_fully_addressable for array in arrays):
        yield everything, *(np.asarray(array) for array in arrays)
        return
    if arrays[0].sharding.shard_shape(arrays[0].shape)[-1] < arrays[0].shape[-1]:
        whole = distributed.gathered(arrays)
        if distributed.is_main():
            yield everything, *whole
        return
    for shards in zip(*(array.addressable_shards for array in arrays), strict=True):
        if any(shard.index != shards[0].index for shard in shards):
            raise ValueError("labels and predicted classes lie differently on the devices; give them one sharding")
        if shards[0].replica_id == 0:
            yield shards[0].index, *(np.asarray(shard.data) for shard in shards)


def _sum_over_processes(counts: np.ndarray) -> np.ndarray:
    """The sum of int64 counts over all processes."""
    return np.sum([given["counts"] for given in from_all({"counts": counts})], axis=0)
