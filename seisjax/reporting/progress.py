"""How far a long piece of work has come: a bar in a terminal, a line now and then in a log file."""

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

# In a log file, seconds between two lines.
INTERVAL = 5.0


class Progress:
    """Progress of `total` units of work, on stderr. Silent where `enabled` is false: all processes but the first.

        with Progress(num_steps, "train", "step", initial=restored_step) as progress:
            progress.update(samples_per_second=12.5, waiting="3 %")

    A long function that calls back as `progress(done, total)` takes the bound method `reach`.
    """

    def __init__(
        self,
        total: int,
        description: str,
        unit: str = "",
        *,
        initial: int = 0,
        enabled: bool = True,
        file: TextIO | None = None,
    ) -> None:
        """`total`: 0 where `reach` will tell. `initial`: done by an earlier launch. `file`: in place of stderr."""
        self.total, self.description, self.unit = total, description, unit
        self.done = self._initial = initial
        self._file = file or sys.stderr
        self._started = self._printed = time.monotonic()
        self._postfix: dict[str, Any] = {}
        self._bar = None
        self._plain = enabled and not self._file.isatty()
        if enabled and self._file.isatty():
            shape = {"total": total or None, "initial": initial, "unit": f" {unit}" if unit else "it"}
            self._bar = tqdm(desc=description, file=self._file, dynamic_ncols=True, **shape)

    def update(self, n: int = 1, **postfix: Any) -> None:
        """`n` more units are done; `postfix` (names to numbers or text) stays beside the bar until given anew."""
        self.done += n
        self._postfix |= postfix
        if self._bar is not None:
            self._bar.set_postfix_str(self._describe_postfix(), refresh=False)
            self._bar.update(n)
        elif self._plain and time.monotonic() - self._printed >= INTERVAL:
            self._printed = time.monotonic()
            self._print_line(f", {clock(self._seconds_left())} left")

    def reach(self, done: int, total: int | None = None) -> None:
        """`done` units in all are done, of `total` where that is known only now."""
        if total is not None and total != self.total:
            self.total = total
            if self._bar is not None:
                self._bar.total = total
        self.update(done - self.done)

    def print(self, line: str) -> None:
        """A line on stdout that does not tear the bar; nothing where progress is not enabled."""
        if self._bar is not None:
            self._bar.write(line)
        elif self._plain:
            print(line, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands; in a log, print a last line if all is done (what failed says so itself)."""
        if self._bar is not None:
            self._bar.close()
        elif self._plain and self.done >= max(self.total, self._initial + 1):
            self._print_line(f", took {clock(time.monotonic() - self._started)}")
        self._bar, self._plain = None, False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _seconds_left(self) -> float:
        pace = (time.monotonic() - self._started) / max(self.done - self._initial, 1)
        return pace * (self.total - self.done)

    def _describe_postfix(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in self._postfix.items())

    def _print_line(self, end: str) -> None:
        share = f" ({100 * self.done // self.total} %)" if self.total else ""
        unit = f" {self.unit}s" if self.unit else ""
        postfix = f", {self._describe_postfix()}" if self._postfix else ""
        line = f"{self.description}: {self.done}/{self.total}{unit}{share}{postfix}{end}"
        print(line, file=self._file, flush=True)


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
