"""The loop: next batch, step, log, validate, save. What each does is handed in."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

from seisjax.errors import UserError
from seisjax.training.state import NO_STEP, State

# Steps that may be under way at once: enough to keep the device busy, few enough to bound the batches alive. On
# processors a step takes its memory when it is started, not when its turn comes; and starting one takes no time.
_IN_FLIGHT = {"cpu": 1}
_USUAL_IN_FLIGHT = 2


@dataclass(frozen=True)
class Schedule:
    """What happens after which step. Intervals of 0 never come; the last step validates and saves in any case."""

    num_steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int

    def logs(self, step: int) -> bool:
        """Whether metrics are written after `step`."""
        return _due(step, self.log_every) or step == self.num_steps

    def evaluates(self, step: int) -> bool:
        """Whether `step` is followed by a validation."""
        return _due(step, self.evaluate_every) or step == self.num_steps

    def saves(self, step: int) -> bool:
        """Whether `step` is followed by a checkpoint."""
        return _due(step, self.checkpoint_every) or self.evaluates(step)


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


@dataclass(frozen=True)
class Validation:
    """What a validation found: its loss, None where there was nothing to take it of."""

    loss: float | None


@dataclass(frozen=True)
class Actions:
    """What the loop calls; every step counts from 1 and has been taken.

    log(step, totals, samples_per_second, waiting_share), evaluate(step, state) -> validation, or None where it was
    broken off to stop, save(step, state, validation or None), clear(state) -> the state with its totals at zero,
    advance(step, samples_per_second, waiting_share) for the progress bar, stop_requested() -> reason or "", and
    alive(what comes next) for whoever watches that the loop moves.
    """

    log: Callable[[int, dict[str, Any], float, float], None]
    evaluate: Callable[[int, State], Validation | None]
    save: Callable[[int, State, Validation | None], None]
    clear: Callable[[State], State]
    advance: Callable[[int, float, float], None]
    stop_requested: Callable[[], str]
    alive: Callable[[str], None]


def run_steps(
    state: State,
    batches: Iterator[Any],
    train_step: Callable[[State, Any], tuple[State, dict[str, jax.Array]]],
    schedule: Schedule,
    actions: Actions,
    batch_size: int,
    *,
    owed: bool = False,
) -> tuple[State, str]:
    """Train from the state's step to the last; returns the state and why the loop ended early ("" if it did not).

    Who asks to stop seldom leaves time for a validation: the state is saved at once, and a validation that was due
    then comes first when the run goes on (`owed`: whether one is due at the state's step).
    Raises UserError that names the step where the loss stops being finite; nothing is saved from there on.
    """
    first = int(state["step"])
    if owed and (reason := _validate_and_save(first, state, actions, "")):
        return state, reason
    pace, under_way = _Pace(batch_size), deque[jax.Array]()
    in_flight = _IN_FLIGHT.get(jax.default_backend(), _USUAL_IN_FLIGHT)
    for step in range(first + 1, schedule.num_steps + 1):
        actions.alive(f"step {step}")
        while len(under_way) >= in_flight:
            under_way.popleft().block_until_ready()
            pace.count()
        with pace.waiting(under_way):
            batch = next(batches)
        state, metrics = train_step(state, batch)
        under_way.append(metrics["loss"])
        actions.advance(step, pace.samples_per_second, pace.waiting_share)

        reason = actions.stop_requested()
        saves = schedule.saves(step) or bool(reason)
        if schedule.logs(step) or saves:
            totals = _checked(state)
            pace.count(len(under_way))
            under_way.clear()
            if schedule.logs(step):
                actions.log(step, totals, pace.samples_per_second, pace.waiting_share)
                state = actions.clear(state)
            if schedule.evaluates(step):
                reason = _validate_and_save(step, state, actions, reason)
            elif saves:
                actions.save(step, state, None)
            pace.restart()
        if reason:
            return state, reason
    return state, ""


def _validate_and_save(step: int, state: State, actions: Actions, reason: str) -> str:
    """Returns the reason to stop where that kept the validation from being done."""
    validation = None if reason else actions.evaluate(step, state)
    actions.save(step, state, validation)
    return "" if validation else reason or actions.stop_requested()


def _checked(state: State) -> dict[str, Any]:
    totals = jax.device_get(state["totals"])
    if totals["first_bad"] != NO_STEP:
        raise UserError(
            f"training: the loss is not finite at step {totals['first_bad']}; the last checkpoint is from before it. "
            "Lower optimizer.learning_rate, or set optimizer.clip_norm, and start with a new --workdir"
        )
    return totals


class _Pace:
    """Samples a second and the share of time the device waits for data, since the last restart."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._steps, self._before = 0, (0.0, 0.0)
        self.restart()

    def restart(self) -> None:
        self._before = self.samples_per_second, self.waiting_share
        self._since, self._steps, self._waited = time.monotonic(), 0, 0.0

    def count(self, steps: int = 1) -> None:
        self._steps += steps

    @contextlib.contextmanager
    def waiting(self, under_way: deque[jax.Array]) -> Iterator[None]:
        """Times the wait for a batch; it counts as the device's only if no earlier step was still busy at its end."""
        since = time.monotonic()
        yield
        if all(loss.is_ready() for loss in under_way):  # pyright: ignore[reportAttributeAccessIssue]
            self._waited += time.monotonic() - since

    @property
    def samples_per_second(self) -> float:
        """Since the restart; as long as no step is counted, as before it."""
        if not self._steps:
            return self._before[0]
        return self._steps * self._batch_size / max(time.monotonic() - self._since, 1e-9)

    @property
    def waiting_share(self) -> float:
        """Since the restart; as long as no step is counted, as before it."""
        if not self._steps:
            return self._before[1]
        return self._waited / max(time.monotonic() - self._since, 1e-9)
