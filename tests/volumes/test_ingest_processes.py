"""One volume made by several processes, and by processes that are killed: the same bytes as by one that is not."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes import open_volume
from seisjax.volumes.ingest import ingest, ingest_part

SMALL: dict[str, Any] = {"chunk": (4, 4, 8), "shard": (8, 8, 16), "dtype": "int8", "sections": ["inline"]}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of the survey in layers, a few samples unlabelled."""
    values = np.tile(np.arange(30, dtype=np.uint8) // 10, (20, 9, 1))
    values[3:6, :, 4:9] = 255
    np.save(tmp_path / "labels.npy", values)
    return tmp_path / "labels.npy"


def files_of(store: Path) -> dict[str, bytes]:
    """All files of a store but the group's document, which holds the hour."""
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file() and p.parent != store}


def interrupt(seconds: float) -> None:
    """In place of waiting: the process is stopped and started again later."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("num_processes", [2, 3, 7])
def test_the_store_is_the_same_for_any_number_of_processes(survey, labels, tmp_path, monkeypatch, num_processes: int):
    expected = ingest(survey, tmp_path / "one.zarr", labels=labels, **SMALL)
    said: list[str] = []
    team: dict[str, Any] = {"labels": labels, "num_processes": num_processes, "say": said.append, **SMALL}
    monkeypatch.setattr("seisjax.volumes.ingest.time.sleep", interrupt)
    for process in range(1, num_processes):  # each waits for the first pass of the others
        with pytest.raises(KeyboardInterrupt):
            ingest_part(survey, tmp_path / "team.zarr", process_id=process, **team)
    for process in (0, *range(num_processes - 1, 1, -1)):
        assert ingest_part(survey, tmp_path / "team.zarr", process_id=process, **team) is None
    volume = ingest_part(survey, tmp_path / "team.zarr", process_id=1, **team)
    assert volume is not None
    assert volume.statistics == expected.statistics
    assert files_of(tmp_path / "team.zarr") == files_of(tmp_path / "one.zarr")
    assert sum("left to other processes" in line for line in said) == num_processes - 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.npy", "one.zarr", "survey.segy", "team.zarr"]


RUN = """
import os, signal, sys
from seisjax.volumes.ingest import ingest, ingest_part
kill, process, processes = map(int, sys.argv[4:])
volume = ingest_part(sys.argv[1], sys.argv[2], labels=sys.argv[3], chunk=(4, 4, 8), shard=(8, 8, 16), dtype="int8",
                     sections=["inline"], num_processes=processes, process_id=process,
                     progress=lambda done, total: kill == done and os.kill(os.getpid(), signal.SIGKILL))
print(volume is not None)
"""


def test_exactly_one_of_several_processes_at_once_finishes(
    survey: Path, labels: Path, tmp_path: Path, repository: Path
):
    ingest(survey, tmp_path / "one.zarr", labels=labels, **SMALL)
    command = [sys.executable, "-c", RUN, survey, tmp_path / "team.zarr", labels, "0"]
    running = [
        subprocess.Popen([*command, str(i), "3"], cwd=repository, stdout=subprocess.PIPE, text=True) for i in range(3)
    ]
    said = sorted(process.communicate()[0].strip() for process in running)
    assert [process.returncode for process in running] == [0, 0, 0]
    assert said == ["False", "False", "True"]
    assert files_of(tmp_path / "team.zarr") == files_of(tmp_path / "one.zarr")
    assert not (tmp_path / "team.zarr" / ".ledger").exists()


def test_what_was_killed_goes_on_where_it_ended(survey: Path, labels: Path, tmp_path: Path, repository: Path):
    ingest(survey, tmp_path / "one.zarr", labels=labels, **SMALL)
    command = [sys.executable, "-c", RUN, survey, tmp_path / "team.zarr", labels, "2", "0", "1"]
    killed = subprocess.run(command, cwd=repository, check=False)
    assert killed.returncode == -9
    calls: list[tuple[int, int]] = []
    ingest(survey, tmp_path / "team.zarr", labels=labels, **SMALL, progress=lambda *call: calls.append(call))
    assert calls == [(done, 6) for done in range(3, 7)]  # the two that were done are not done again
    assert files_of(tmp_path / "team.zarr") == files_of(tmp_path / "one.zarr")


def test_waiting_for_others_is_said_once(survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 5:
            raise KeyboardInterrupt

    said: list[str] = []
    monkeypatch.setattr("seisjax.volumes.ingest.time.sleep", nap)
    with pytest.raises(KeyboardInterrupt):
        ingest_part(survey, tmp_path / "a.zarr", num_processes=2, say=said.append, **SMALL)
    assert len(said) == 1
    assert "waiting for 3 shard columns" in said[0]
    assert "killed" in said[0]


def test_a_process_does_not_work_twice_at_once(survey: Path, tmp_path: Path):
    def again(done: int, total: int) -> None:
        del done, total
        ingest(survey, tmp_path / "a.zarr", **SMALL)

    with pytest.raises(UserError, match="--process_id=0 is at work"):
        ingest(survey, tmp_path / "a.zarr", **SMALL, progress=again)
    assert ingest(survey, tmp_path / "a.zarr", **SMALL).statistics is not None  # goes on with what is done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "survey.segy"]


def test_another_number_of_processes_may_go_on_but_not_join(survey: Path, tmp_path: Path):
    options: dict[str, Any] = {**SMALL, "dtype": "float32"}
    assert ingest_part(survey, tmp_path / "a.zarr", num_processes=2, process_id=1, **options) is None

    def join(done: int, total: int) -> None:
        del done, total
        with pytest.raises(UserError, match="--num_processes=3"):
            ingest_part(survey, tmp_path / "a.zarr", num_processes=2, process_id=0, **options)

    assert ingest_part(survey, tmp_path / "a.zarr", num_processes=3, process_id=2, **options, progress=join) is None
    volume = ingest(survey, tmp_path / "a.zarr", **options)
    expected = ingest(survey, tmp_path / "b.zarr", **options)
    assert volume is not None
    assert volume.statistics == expected.statistics
    assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "b.zarr")


def test_processes_share_a_store_that_is_not_local(survey: Path):
    options: dict[str, Any] = {**SMALL, "dtype": "float32", "num_processes": 2}
    assert ingest_part(survey, "memory://team/a.zarr", process_id=0, **options) is None
    volume = ingest_part(survey, "memory://team/a.zarr", process_id=1, **options)
    assert volume is not None
    whole = Box.whole(volume.shape)
    np.testing.assert_array_equal(
        open_volume("memory://team/a.zarr").read_amplitude(whole), volume.read_amplitude(whole)
    )
    assert volume._store.read_bytes(".ledger/plan.json") is None
