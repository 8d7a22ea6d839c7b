"""What the loop does after which step, with a step that only counts."""

import dataclasses
import time

import jax.numpy as jnp
import pytest

from seisjax.errors import UserError
from seisjax.training.loop import Actions, Schedule, Validation, run_steps
from seisjax.training.state import add_totals, zero_totals


class Recorder:
    """Actions that write down when they were called."""

    def __init__(self, stop_at: int = -1, break_off: bool = False):
        self.calls: list[tuple[str, int]] = []
        self.stop_at, self.break_off, self.step, self.where = stop_at, break_off, 0, ""

    def actions(self) -> Actions:
        return Actions(
            log=lambda step, *_: self.calls.append(("log", step)),
            evaluate=self.evaluate,
            save=lambda step, state, validation: self.calls.append(("save best" if validation else "save", step)),
            clear=lambda state: state | {"totals": zero_totals(2)},
            advance=lambda step, *_: setattr(self, "step", step),
            stop_requested=lambda: "SIGTERM" if self.step == self.stop_at else "",
            alive=lambda where: setattr(self, "where", where),
        )

    def evaluate(self, step: int, state) -> Validation | None:
        self.calls.append(("evaluate", step))
        if self.break_off:
            self.stop_at = self.step
            return None
        return Validation(1.0)


def count(state, batch):
    """A step whose loss is the batch."""
    number = state["step"] + 1
    loss = jnp.float32(batch)
    totals = add_totals(state["totals"], number, loss, loss, jnp.zeros((2, 2)))
    return {"step": number, "totals": totals}, {"loss": loss}


def run(recorder: Recorder, schedule: Schedule, batches=(1.0,) * 100, first: int = 0, owed: bool = False):
    state = {"step": jnp.int32(first), "totals": zero_totals(2)}
    return run_steps(state, iter(batches), count, schedule, recorder.actions(), batch_size=1, owed=owed)


def test_order_and_intervals():
    recorder = Recorder()
    state, reason = run(recorder, Schedule(7, log_every=3, evaluate_every=4, checkpoint_every=3))
    assert (int(state["step"]), reason) == (7, "")
    assert recorder.calls == [
        ("log", 3),
        ("save", 3),
        ("evaluate", 4),
        ("save best", 4),
        ("log", 6),
        ("save", 6),
        ("log", 7),
        ("evaluate", 7),
        ("save best", 7),
    ]


def test_goes_on_from_the_states_step():
    recorder = Recorder()
    run(recorder, Schedule(7, log_every=3, evaluate_every=0, checkpoint_every=0), first=4)
    assert recorder.calls == [("log", 6), ("log", 7), ("evaluate", 7), ("save best", 7)]


def test_a_finished_run_does_nothing():
    recorder = Recorder()
    state, _ = run(recorder, Schedule(4, 1, 1, 1), first=4)
    assert int(state["step"]) == 4
    assert recorder.calls == []


def test_a_stop_request_saves_at_the_next_step():
    recorder = Recorder(stop_at=5)
    state, reason = run(recorder, Schedule(100, 0, 0, 0))
    assert (int(state["step"]), reason) == (5, "SIGTERM")
    assert recorder.calls == [("save", 5)]


def test_a_stop_request_leaves_no_time_for_a_validation_that_is_due():
    recorder = Recorder(stop_at=4)
    state, reason = run(recorder, Schedule(8, log_every=4, evaluate_every=4, checkpoint_every=0))
    assert (int(state["step"]), reason) == (4, "SIGTERM")
    assert recorder.calls == [("log", 4), ("save", 4)]


def test_a_stop_request_breaks_a_validation_off():
    recorder = Recorder(break_off=True)
    state, reason = run(recorder, Schedule(8, log_every=0, evaluate_every=4, checkpoint_every=0))
    assert (int(state["step"]), reason) == (4, "SIGTERM")
    assert recorder.calls == [("evaluate", 4), ("save", 4)]


def test_a_validation_that_is_owed_comes_first():
    recorder = Recorder()
    schedule = Schedule(8, log_every=0, evaluate_every=4, checkpoint_every=0)
    assert run(recorder, schedule, first=4, owed=True)[1] == ""
    assert recorder.calls == [("evaluate", 4), ("save best", 4), ("log", 8), ("evaluate", 8), ("save best", 8)]
    recorder = Recorder(break_off=True)
    assert run(recorder, schedule, first=4, owed=True)[1] == "SIGTERM"
    assert recorder.calls == [("evaluate", 4), ("save", 4)]


def test_a_run_stopped_at_its_last_step_is_only_done_with_its_validation():
    recorder = Recorder(stop_at=8)
    schedule = Schedule(8, log_every=0, evaluate_every=0, checkpoint_every=0)
    assert run(recorder, schedule)[1] == "SIGTERM"
    recorder.stop_at = -1
    assert run(recorder, schedule, first=8, owed=True)[1] == ""
    assert recorder.calls == [("log", 8), ("save", 8), ("evaluate", 8), ("save best", 8)]


def test_who_watches_learns_of_every_step():
    recorder = Recorder()
    run(recorder, Schedule(3, log_every=0, evaluate_every=0, checkpoint_every=0))
    assert recorder.where == "step 3"


def test_a_loss_that_is_not_finite_ends_the_run_by_its_step_and_saves_nothing():
    recorder = Recorder()
    losses = [1.0, 1.0, float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0]
    with pytest.raises(UserError, match="not finite at step 3"):
        run(recorder, Schedule(8, log_every=5, evaluate_every=0, checkpoint_every=4), losses)
    assert recorder.calls == []


def test_the_pace_is_known_right_after_it_was_logged():
    recorder, paces = Recorder(), []
    actions = dataclasses.replace(recorder.actions(), advance=lambda step, pace, waiting: paces.append(pace))
    state = {"step": jnp.int32(0), "totals": zero_totals(2)}
    run_steps(state, iter((1.0,) * 4), count, Schedule(4, 2, 0, 0), actions, batch_size=1)
    assert len(paces) == 4
    assert all(pace > 0 for pace in paces[2:])


def test_the_wait_for_the_first_batch_alone_is_no_share():
    def batches():
        for step in range(4):
            time.sleep(0.2 if step == 2 else 0)
            yield 1.0

    recorder, shares = Recorder(), []
    actions = dataclasses.replace(recorder.actions(), advance=lambda step, pace, waiting: shares.append(waiting))
    state = {"step": jnp.int32(0), "totals": zero_totals(2)}
    run_steps(state, batches(), count, Schedule(4, 2, 0, 0), actions, batch_size=1)
    assert shares[2] < shares[3]


def test_a_step_before_a_save_counts_before_it():
    def batches():
        while True:
            time.sleep(0.05)
            yield 1.0

    paces = []
    actions = dataclasses.replace(Recorder().actions(), log=lambda step, totals, pace, waiting: paces.append(pace))
    state = {"step": jnp.int32(0), "totals": zero_totals(2)}
    run_steps(state, batches(), count, Schedule(6, 3, 0, 2), actions, batch_size=1)
    assert len(paces) == 2
    assert all(0 < pace <= 1 / 0.05 for pace in paces)  # no step takes less than its batch
