"""Progress: lines in a log, a bar in a terminal, silence elsewhere."""

import io

import pytest

from seisjax.reporting import Progress, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 1000, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    log = io.StringIO()
    with Progress(20, "train", "step", initial=10, file=log) as bar:
        for _ in range(10):
            bar.update(samples_per_second=12.3456, waiting="3 %")
    lines = log.getvalue().splitlines()
    assert 2 <= len(lines) < 10
    assert lines[0].startswith("train: 1")
    assert "samples per second 12.3, waiting 3 %" in lines[0]
    assert lines[0].endswith("left")
    assert lines[-1].startswith("train: 20/20 steps (100 %)")


def test_a_short_job_leaves_one_line() -> None:
    log = io.StringIO()
    with Progress(3, "ingest", file=log) as bar:
        bar.reach(1)
        bar.reach(4, 4)
    assert log.getvalue().splitlines() == ["ingest: 4/4 (100 %), took 0:00"]


def test_a_terminal_gets_a_bar() -> None:
    terminal = Terminal()
    with Progress(8, "train", "step", initial=4, file=terminal) as bar:
        bar.update(4, loss=0.123456)
        bar.print("a line")
    assert "train" in terminal.getvalue()
    assert "8/8" in terminal.getvalue()
    assert "loss 0.123" in terminal.getvalue()


@pytest.mark.parametrize("file", [io.StringIO(), Terminal()])
def test_other_processes_are_silent(file: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, "train", enabled=False, file=file) as bar:
        bar.update(2)
        bar.print("nothing")
    assert file.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_unfinished_work_has_no_last_line() -> None:
    log = io.StringIO()
    with Progress(0, "ingest", file=log):
        pass
    with Progress(8, "train", file=log) as bar:
        bar.update(3)
    assert log.getvalue() == ""
