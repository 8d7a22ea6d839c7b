"""Processes that hang are ended, and say where."""

import subprocess
import sys
import time

import pytest

START = """
import ctypes, sys, threading, time
from seisjax.watchdog import Watchdog
watchdog = Watchdog(minutes=0.4 / 60, who="process 1 of 2")
"""


def run(code: str) -> tuple[subprocess.CompletedProcess[str], float]:
    since = time.monotonic()
    result = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, timeout=60)
    return result, time.monotonic() - since


def test_what_hangs_is_named_with_the_stacks_and_ended():
    result, seconds = run("watchdog.alive('step 7')\ndef stuck():\n    time.sleep(50)\nstuck()")
    assert result.returncode == 1
    assert seconds < 20
    first = result.stderr.splitlines()[0]
    assert first.startswith("process 1 of 2: error: step 7: ")
    assert "in stuck" in result.stderr


def test_a_thread_that_keeps_pythons_lock_does_not_keep_the_process():
    result, seconds = run("watchdog.alive('step 7')\ndef stuck():\n    ctypes.PyDLL(None).sleep(50)\nstuck()")
    assert result.returncode == 1
    assert seconds < 20
    assert "in stuck" in result.stderr


def test_who_is_alive_goes_on():
    code = "for i in range(20):\n    watchdog.alive(f'step {i}')\n    time.sleep(0.05)\n"
    result, _ = run(code + "watchdog.close()\ntime.sleep(1)\nprint('done')")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


@pytest.mark.parametrize("minutes", [0.0, -1.0])
def test_no_minutes_watch_nothing(minutes: float):
    result, _ = run(f"watchdog.close()\nwith Watchdog({minutes}):\n    time.sleep(0.7)\nprint('done')")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
