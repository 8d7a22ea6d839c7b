"""The heap of a process that reads and computes."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

ALLOCATE = """
import jax

from seisjax import runtime

def mebibytes(field):
    lines = open("/proc/self/smaps_rollup")
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(field + ":"))

before = mebibytes("Rss")
runtime.use_one_heap()
asked = mebibytes("Rss")
block = bytearray(2**28)
huge = mebibytes("AnonHugePages")
del block
kept = mebibytes("Rss")
jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", 2.0)
given_back = mebibytes("Rss")
block = bytearray(2**28)
print(asked - before, huge, kept - asked, given_back - asked, mebibytes("AnonHugePages"))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is told so on Linux alone")
def test_the_heap_has_huge_pages_keeps_what_is_freed_and_gives_back_what_compiling_took():
    ran = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True)
    asked, huge, kept, given_back, huge_again = map(int, ran.stdout.split())
    assert asked < 16  # MiB: addresses alone
    assert kept > 200
    assert given_back < 56
    granted = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if granted.exists() and "[never]" not in granted.read_text():
        assert min(huge, huge_again) > 200


def test_jax_tells_when_it_has_compiled():
    """The name that the heap waits for."""
    told = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **more: told.append(event))
    jax.jit(lambda x: x * 3.25)(jnp.ones(7))
    assert any(event.endswith("backend_compile_duration") for event in told)
