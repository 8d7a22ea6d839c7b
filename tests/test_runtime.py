"""The heap of a process that reads and computes."""

import subprocess
import sys
from pathlib import Path

import pytest

ALLOCATE = """
from seisjax import runtime

def kibibytes(field):
    return next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith(field + ":"))

before = kibibytes("Rss")
runtime.use_one_heap()
asked = kibibytes("Rss")
block = bytearray(2**28)
huge = kibibytes("AnonHugePages")
del block
kept = kibibytes("Rss")
print(asked - before, huge, kept - asked)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is told so on Linux alone")
def test_the_heap_is_of_huge_pages_takes_no_memory_before_use_and_keeps_what_it_had():
    ran = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True)
    asked, huge, kept = (int(n) / 1024 for n in ran.stdout.split())
    assert asked < 16  # MiB
    assert kept > 200
    granted = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if granted.exists() and "[never]" not in granted.read_text():
        assert huge > 200
