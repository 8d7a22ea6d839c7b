"""Candidates in processes of their own."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from seisjax.commands.benchmark.turns import alternate
from seisjax.commands.benchmark.workers import CandidateError, Worker

CANDIDATE = """
import os
import sys


class Candidate:
    def __init__(self, seconds, end_at):
        self.facts = {"process": os.getpid(), "loaded": sorted({"jax", "tensorstore"} & set(sys.modules))}
        self._seconds, self._end_at, self._turn = seconds, end_at, 0

    def measure(self):
        self._turn += 1
        if self._turn == self._end_at:
            raise RuntimeError("out of breath")
        if self._turn == -self._end_at:
            os._exit(7)
        return self._seconds

    def memory(self):
        return {"temporaries": 1}

    def close(self):
        print("closed", flush=True)


def missing():
    import a_library_that_nobody_has
"""


@pytest.fixture
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that other processes can import."""
    (tmp_path / "candidate_of_a_test.py").write_text(CANDIDATE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("candidate_of_a_test")
    del sys.modules["candidate_of_a_test"]


def test_two_candidates_are_measured_in_turns_in_their_own_processes(candidate: ModuleType, capfd):
    with Worker(candidate.Candidate, 2.0, 9) as slow, Worker(candidate.Candidate, 1.0, 9) as fast:
        assert len({slow.facts["process"], fast.facts["process"], os.getpid()}) == 3
        assert slow.facts["loaded"] == []  # neither the threads nor the memory of libraries that it does not use
        timings = alternate({"slow": slow, "fast": fast}, 2, reference=lambda: 1.0)
        assert {name: timing.values for name, timing in timings.items()} == {"slow": (2.0, 2.0), "fast": (1.0, 1.0)}
        memory = fast.memory()
        assert memory["temporaries"] == 1
        assert 2**20 < memory["resident_peak"] < 2**33
    assert capfd.readouterr().out.splitlines() == ["closed", "closed"]
    assert not Path(f"/proc/{fast.facts['process']}").exists()


def test_what_breaks_says_why(candidate: ModuleType):
    with pytest.raises(CandidateError, match="a_library_that_nobody_has"):
        Worker(candidate.missing)
    with Worker(candidate.Candidate, 1.0, 2) as worker:
        assert worker() == 1.0
        with pytest.raises(CandidateError, match="RuntimeError: out of breath"):
            worker()
    with Worker(candidate.Candidate, 1.0, -1) as worker, pytest.raises(CandidateError, match="ended with status 7"):
        worker()
