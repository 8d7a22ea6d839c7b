"""Commands start anew, once, with what glibc reads when a process starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seisjax import startup

COMMAND = """
from seisjax.startup import start_command

start_command()

import json
import os
import sys
from pathlib import Path

block = bytearray(2**29)
huge = 0  # MiB for which huge pages are asked for: how many the kernel finds is another question
for line in Path("/proc/self/smaps").read_text().splitlines():
    name, *values = line.split()
    if name == "Size:":
        size = int(values[0]) // 1024
    elif name == "VmFlags:" and "hg" in values:
        huge += size
print(json.dumps([sys.argv[1:], sys.flags.optimize, os.environ["GLIBC_TUNABLES"], huge]))
"""

needs_glibc = pytest.mark.skipif(not startup._can_be_asked_for(), reason="huge pages cannot be asked for here")


@needs_glibc
def test_the_same_command_starts_anew_with_huge_pages(tmp_path: Path):
    script = tmp_path / "a command.py"
    script.write_text(COMMAND)
    other = "glibc.malloc.tcache_count=7"
    ran = subprocess.run(
        [sys.executable, "-O", script, "--a=b c", ""],
        env=os.environ | {"GLIBC_TUNABLES": other},
        capture_output=True,
        text=True,
        check=True,
    )
    argv, optimize, settings, huge = json.loads(ran.stdout)
    assert (argv, optimize) == (["--a=b c", ""], 1)
    assert settings.split(":") == [other, "glibc.malloc.hugetlb=1"]
    assert huge >= 512


@needs_glibc
def test_a_process_that_runs_the_command_as_a_script_stays(tmp_path: Path):
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    run = f"import runpy, sys; sys.argv = [{str(script)!r}, 'a']; runpy.run_path(sys.argv[0], run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", run], env=os.environ | {"GLIBC_TUNABLES": ""}, capture_output=True)
    assert json.loads(ran.stdout)[:3] == [["a"], 0, ""]


@needs_glibc
def test_who_has_decided_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert startup.environment() == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    assert startup.environment() == {}


@pytest.mark.parametrize("said", ["[always] madvise never", "always madvise [never]", None])
def test_nothing_is_asked_where_it_changes_nothing(said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kernel = tmp_path / "enabled"
    if said is not None:
        kernel.write_text(said)
    monkeypatch.setattr(startup, "_KERNEL", kernel)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert startup.environment() == {}


def test_what_is_imported_is_left_out_of_the_search_for_garbage():
    code = """
import gc
from seisjax.startup import all_is_imported, start_command
start_command()
during = gc.isenabled()
import jax
all_is_imported()
print(during, gc.isenabled(), gc.get_freeze_count() > 100_000, len(gc.get_objects()) < 1000)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True", "True", "True"]
