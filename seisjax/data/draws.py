"""What every sampler is made of: draws, their random numbers, and the turns that several parts take."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from grain.experimental import index_shuffle

from seisjax.geometry import Box, Shape

_ROUNDS = 4  # of the block cipher behind index_shuffle: Grain's own number
_SMALL = 4096  # index_shuffle tries numbers up to 2^16 until one fits, so fewer than this are shuffled as a list
_NOTHING = np.zeros(4, np.uint64)  # Philox's buffer
_CYCLE = 4096  # turns after which they repeat, where no shorter cycle has the shares


@dataclass(frozen=True)
class Draw:
    """One window: its `box`, and the `region` outside which nothing of it is read."""

    box: Box
    region: Box

    @property
    def inner(self) -> Box:
        """What is read: the part of the window inside its region."""
        return self.box.intersect(self.region)


class Sampler(Protocol):
    """What a `WindowSource` asks of a sampler."""

    @property
    def window(self) -> Shape:
        """Sides of the samples; a draw's box may be cut in another direction, with the same long sides."""
        ...

    def draw(self, index: int, attempt: int = 0) -> Draw | None:
        """Sample number `index`, None past the end of a finite sampler; pure. Attempts above 0 are asked for where a
        window held no label."""
        ...

    def read_ahead(self, indices: Sequence[int]) -> None:
        """Begin to read what `draw` needs to look at for these samples, if anything."""
        ...


class Blind:
    """A sampler that looks at no data when it draws."""

    def read_ahead(self, indices: Sequence[int]) -> None:
        """Nothing."""


class _Random(threading.local):
    """A thread's own: a new one asks the system for entropy that nobody wants, which takes longer than to draw."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(0)
        self.generator = np.random.Generator(self.bits)


_random = _Random()


def generator(seed: int, index: int, attempt: int = 0, part: int = 0) -> np.random.Generator:
    """Random numbers that belong to these four numbers alone; good until this thread asks for the next generator."""
    # Philox is counter-based (Salmon et al., SC 2011): a stream of its own for each sample and attempt, at no set-up
    # cost that grows with either. The first counter word is the generator's own.
    state = {
        "counter": np.array([0, part, attempt, index], np.uint64),
        "key": np.array([seed % 2**64, seed % 2**128 >> 64], np.uint64),
    }
    _random.bits.state = {
        "bit_generator": "Philox",
        "state": state,  # pyright: ignore[reportAttributeAccessIssue]
        "buffer": _NOTHING,
        "buffer_pos": len(_NOTHING),  # all of it used
        "has_uint32": 0,
        "uinteger": 0,
    }
    return _random.generator


def shuffled(position: int, count: int, random: np.random.Generator) -> int:
    """What stands at `position` of the numbers below `count` in the order that `random` gives; no list of many."""
    if count <= _SMALL:
        return int(random.permutation(count)[position])
    return index_shuffle(position, count - 1, int(random.integers(2**32)), _ROUNDS)


class Turns:
    """Who of several comes at each turn, by their shares, and how often each came before: in closed form.

    Each comes as evenly as can be. Shares are met exactly where a cycle of up to 4096 turns can, and else to the next
    1/4096 (whoever has a share comes at least once a cycle; less than a billionth of all may count as none).

    Args:
      shares: one not negative number each, not all 0; they need not sum to 1.
    """

    def __init__(self, shares: Sequence[float] | np.ndarray) -> None:
        self.counts = _apportion(np.asarray(shares, np.float64))
        who = np.repeat(np.arange(len(self.counts)), self.counts)
        before = np.concatenate([np.arange(n) for n in self.counts])
        order = np.lexsort((who, (before + 0.5) / self.counts[who]))
        self._who, self._before = who[order], before[order]

    def __getitem__(self, turn: int) -> tuple[int, int]:
        """Who comes at this turn, and its number among their own turns."""
        cycle, position = divmod(turn, len(self._who))
        who = int(self._who[position])
        return who, cycle * int(self.counts[who]) + int(self._before[position])

    def most(self, turns: int) -> np.ndarray:
        """How often each comes at most among so many turns in a row."""
        cycles, rest = divmod(turns, len(self._who))
        hits = self._who[:, None] == np.arange(len(self.counts))
        sums = np.concatenate([np.zeros_like(hits[:1], int), np.cumsum(np.concatenate([hits, hits]), axis=0)])
        return cycles * self.counts + (sums[rest : rest + len(hits)] - sums[: len(hits)]).max(axis=0)


def _apportion(shares: np.ndarray) -> np.ndarray:
    """How often each comes in a cycle."""
    shares = shares / shares.sum()
    lengths = np.arange(1, _CYCLE + 1)[:, None]
    counts = np.rint(lengths * shares)
    exact = (np.abs(counts - lengths * shares) < 1e-9 * lengths).all(axis=1)
    if exact.any():
        return counts[exact.argmax()].astype(int)
    length = max(_CYCLE, 16 * len(shares))
    counts = np.where(shares > 0, np.maximum(np.floor(length * shares), 1), 0).astype(int)
    # The largest remainders get what is left (nothing where many came up to 1).
    missing = max(length - counts.sum(), 0)
    counts[np.argsort(counts - length * shares, kind="stable")[:missing]] += 1
    return counts
