"""The device kept at work, and how well that was done."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

import jax
import numpy as np

_AHEAD = 2  # calls that the device has when the oldest result is asked for

T = TypeVar("T")


class DeviceQueue:
    """Sends calls to the device ahead of their results, and fetches these in a thread of its own."""

    def __init__(self) -> None:
        self._busy, self._first, self._ready = 0.0, 0.0, 0.0

    @property
    def share(self) -> float:
        """Share of the time from the first result to the last in which the device had work; 1 where there is none."""
        return self._busy / (self._ready - self._first) if self._ready > self._first else 1.0

    def __enter__(self) -> Self:
        self._fetcher = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._fetcher.shutdown(cancel_futures=True)

    def results(self, calls: Iterable[tuple[T, Callable[[], Any] | None]]) -> Iterator[tuple[T, np.ndarray | None]]:
        """Each item with what its call returned, in order; with None where it has no call."""
        waiting: deque[tuple[T, Future[np.ndarray] | None]] = deque()
        for item, call in calls:
            sent = time.perf_counter()
            waiting.append((item, self._fetcher.submit(self._fetch, sent, call()) if call else None))
            if len(waiting) > _AHEAD:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())

    def _fetch(self, sent: float, result: Any) -> np.ndarray:
        jax.block_until_ready(result)
        ready = time.perf_counter()
        if self._first:
            self._busy += ready - max(sent, self._ready)
        self._first, self._ready = self._first or ready, ready
        return np.asarray(result)


def _result(item: T, future: "Future[np.ndarray] | None") -> tuple[T, np.ndarray | None]:
    return item, None if future is None else future.result()
