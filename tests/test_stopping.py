"""A reason to stop, seen by all at the same point."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from seisjax.stopping import StopNotice


@contextlib.contextmanager
def _interrupts_heard(handler: Any = signal.default_int_handler) -> Iterator[None]:
    """Ctrl-C goes to this handler, whatever became of it in the shell that runs the tests."""
    before = signal.signal(signal.SIGINT, handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_termination_is_a_reason_and_its_handler_goes_again():
    before = signal.getsignal(signal.SIGTERM)
    with StopNotice() as notice:
        assert notice.reached() == ""
        os.kill(os.getpid(), signal.SIGTERM)
        assert notice.reached() == "SIGTERM"
        assert notice.reached() == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_first_interrupt_is_a_reason_and_the_second_aborts(capfd: pytest.CaptureFixture[str]):
    with _interrupts_heard(), StopNotice() as notice:
        assert notice.reached() == ""
        os.kill(os.getpid(), signal.SIGINT)
        assert notice.reached() == "Ctrl-C"
        assert "once more ends it at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_that_is_ignored_stays_so():
    with _interrupts_heard(signal.SIG_IGN), StopNotice() as notice:
        os.kill(os.getpid(), signal.SIGINT)
        assert notice.reached() == ""


def test_the_first_request_is_the_reason():
    with StopNotice() as notice:
        notice.request("enough")
        notice.request("too much")
        assert notice.reached() == "enough"


def test_the_time_allowed_may_have_begun_before():
    with StopNotice(max_minutes=1, since=time.monotonic() - 61) as notice:
        assert notice.reached() == "train.max_minutes is over"


def test_the_time_allowed_is_over():
    with StopNotice(max_minutes=0.1 / 60) as notice:
        assert notice.reached() == ""
        time.sleep(0.15)
        assert "max_minutes" in notice.reached()


SEVERAL = """
import os
import signal
import time
from seisjax import together
from seisjax.stopping import StopNotice

process = int(sys.argv[3])
print(together.process_name())
print(together.unlike_main({"process": process}) + "|" + together.unlike_main({"processes": 2}))
print(together.of_main({"process": process, "nothing": None, "share": [1 / 3] * process}))
signal.signal(signal.SIGINT, signal.default_int_handler)
with StopNotice() as notice:
    for step in range(1000):
        if step == 3 and process == 1:
            os.kill(os.getpid(), signal.SIGINT)
        if reason := notice.reached():
            break
        time.sleep(0.05 if process else 0.02)
print(step)
print(reason)
"""


def test_an_interrupt_of_one_process_stops_all_at_the_same_point(processes):
    first, second = (output.splitlines() for output in processes(2, SEVERAL))
    assert (first[0], second[0]) == ("process 0 of 2", "process 1 of 2")
    assert first[1] == second[1] == "1|"
    assert first[2] == second[2] == "{'process': 0, 'nothing': None, 'share': []}"
    assert first[3] == second[3]
    assert 3 < int(first[3]) < 999
    assert second[4] == "Ctrl-C"
    assert "SIGTERM" in first[4]
