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

def mebibytes():
    lines = open("/proc/self/smaps_rollup")
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("Rss:"))

runtime.use_one_heap()
before = mebibytes()
block = bytearray(2**27)
del block
kept = mebibytes()
jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", 2.0)
given_back = mebibytes()
block = bytearray(2**30 + 1)
del block
print(kept - before, given_back - before, mebibytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is told so on Linux alone")
def test_the_heap_keeps_what_is_freed_but_for_large_blocks_and_what_compiling_took():
    ran = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True)
    kept, given_back, after_large = map(int, ran.stdout.split())
    assert kept > 100  # MiB
    assert given_back < 28
    assert after_large < 28


HOLES = """
import ctypes

import jax

from seisjax import runtime

def address(block):
    return ctypes.addressof(ctypes.c_char.from_buffer(block))

def how_many_lie_in_holes():
    new = [bytearray(8000) for _ in range(500)]
    return sum(address(block) in holes for block in new)

runtime.use_one_heap()
blocks = [bytearray(8000) for _ in range(4000)]
holes = set(map(address, blocks[::2]))
del blocks[::2]
before = how_many_lie_in_holes()
jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", 2.0)
print(before, how_many_lie_in_holes())
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the heap of glibc on Linux")
def test_holes_that_compiling_left_are_not_used_again():
    ran = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    before, after = map(int, ran.stdout.split())
    assert before > 100
    assert after < 10


def test_jax_tells_when_it_has_compiled():
    """The name that the heap waits for."""
    told = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **more: told.append(event))
    jax.jit(lambda x: x * 3.25)(jnp.ones(7))
    assert any(event.endswith("backend_compile_duration") for event in told)
