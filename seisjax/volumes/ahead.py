"""Reading in order, some reads ahead."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np

from seisjax.volumes.volume import Pending

T = TypeVar("T")


def read_ahead(reads: Iterable[tuple[T, Pending]], ahead: int) -> Iterator[tuple[T, np.ndarray]]:
    """The samples of each read, with what it goes by; `ahead` reads are under way at a time.

    `reads` begins a read whenever it is asked for the next one.
    """
    reads = iter(reads)
    under_way = deque(islice(reads, ahead))
    while under_way:
        what, wait = under_way.popleft()
        samples = wait()
        under_way.extend(islice(reads, 1))
        yield what, samples
