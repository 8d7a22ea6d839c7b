"""`launch/ingest.py` as a user runs it."""

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import segyio

from seisjax.volumes import open_volume

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ingest(launch: Command) -> Command:
    """Run the command with these flags; `limit` bounds the size of the files it writes, in bytes."""
    return functools.partial(launch, "ingest")


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """12 inlines by 10 crosslines by 40 samples of noise, one of them not a number."""
    path = tmp_path / "survey.segy"
    samples = np.random.default_rng(0).normal(size=(12, 10, 40)).astype("f4")
    samples[2, 3, 4] = np.nan
    segyio.tools.from_array3D(str(path), samples, format=5)
    return path


def assert_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Status 1 and one line of standard error that holds these words."""
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("ingest.py: error: ")
    for word in words:
        assert word in line


def test_ingests_a_survey_with_labels(ingest: Command, survey: Path, tmp_path: Path):
    labels = tmp_path / "labels.segy"
    segyio.tools.from_array3D(str(labels), np.tile(np.arange(40, dtype="i2") // 20, (12, 10, 1)), format=3)
    result = ingest(
        f"--input={survey}", f"--output={tmp_path}/a.zarr", f"--labels={labels}", "--label_name=rocks",
        "--class_names=sand,shale", "--chunk=4,4,8", "--shard=8,8,40",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    summary = f"wrote {tmp_path}/a.zarr: 120 traces in 120 cells, 1 samples not finite (masked)"
    assert result.stdout.splitlines()[-1].startswith(summary)
    volume = open_volume(f"{tmp_path}/a.zarr")
    assert volume.class_names("rocks") == ["sand", "shale"]
    assert volume.arrays["amplitude"].shard == (8, 8, 40)


def test_scan_proposes_axes_and_writes_nothing(ingest: Command, survey: Path, tmp_path: Path):
    result = ingest(f"--input={survey}", "--scan")
    assert result.returncode == 0, result.stderr
    assert "--axes=inline:189,crossline:193" in result.stdout
    assert list(tmp_path.iterdir()) == [survey]


def test_scan_says_what_an_array_holds(ingest: Command, tmp_path: Path):
    np.savez(tmp_path / "a.npz", seismic=np.zeros((3, 4, 5), np.float32), il=np.array([7, 9, 11]))
    result = ingest(f"--input={tmp_path / 'a.npz'}", "--scan", "--axes=inline:il,crossline", "--interval=4")
    assert result.returncode == 0, result.stderr
    assert "3 x 4 x 5 samples of float32" in result.stdout
    assert [line.strip() for line in result.stdout.splitlines()[1:]] == ["inline:7-11", "crossline:0-3", "time:0-16 ms"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--input=none.segy", "--output=a.zarr"], ["none.segy", "no such file"]),
        (["--input=survey.segy"], ["--output", "missing"]),
        (["--input=survey.segy", "--output=a.zarr", "--axes=inline:189,crossline:17"], ["crossline:17 is 0", "--scan"]),
        (["--input=survey.segy", "--output=a.zarr", "--chunk=8,8"], ["chunk"]),
        (["--input=survey.segy", "--output=a.zarr", "--chunk=2,2,2", "--shard=3,2,2"], ["--shard", "whole chunks"]),
        (["--input=survey.segy", "--output=a.zarr", "--dataset=a"], ["--dataset=a", "survey.segy", "leave it out"]),
        (["--input=survey.segy", "--output=a.zarr", "--class_names=a,b"], ["--class_names=a,b", "--labels"]),
        (["--input=survey.segy", "--output=a.zarr", "--sections=inline,inline"], ["--sections=inline,inline", "twice"]),
        (["--input=survey.segy", "--output=a.zarr", "--sections=offset"], ["--sections=offset"]),
        (["--input=survey.segy", "--output=a.zarr", "--process_id=1"], ["--process_id=1", "--num_processes"]),
        (["--input=survey.segy", "--output=survey.segy"], ["survey.segy", "is what is read"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(ingest, survey, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    before = survey.read_bytes()
    assert_one_line(ingest(*flags), *words)
    assert list(tmp_path.iterdir()) == [survey]
    assert survey.read_bytes() == before


def stacked(path: Path, *, first: int = 1, interval: int = 4000, **bytes_of_all: int) -> Path:
    """6 inlines from `first` on, 5 crosslines, 20 samples; `bytes_of_all` (`b115=31`) in the headers of all traces."""
    segyio.tools.from_array3D(str(path), np.ones((6, 5, 20), "f4"), dt=interval)
    with segyio.open(str(path), "r+", ignore_geometry=True) as file:
        for header in file.header:
            header.update({189: header[189] + first - 1, 117: interval})
            header.update({int(name[1:]): value for name, value in bytes_of_all.items()})
    return path


def test_what_surveys_do_wrong_is_one_line(ingest: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What files disagree on, how they overlap, which lines make no grid: as a user meets it."""
    monkeypatch.chdir(tmp_path)
    stacked(tmp_path / "a.segy")
    stacked(tmp_path / "overlap.segy", first=4)
    stacked(tmp_path / "beyond.segy", first=7, interval=2000)
    stacked(tmp_path / "interval.segy", b117=2000)
    stacked(tmp_path / "samples.segy", b115=240)  # 30 traces of 320 bytes, or 8 of 1200
    stacked(tmp_path / "lines.segy", b181=0, b185=0)
    with segyio.open(str(tmp_path / "samples.segy"), "r+", ignore_geometry=True) as file:
        file.bin.update({3221: 21})
    with segyio.open(str(tmp_path / "lines.segy"), "r+", ignore_geometry=True) as file:
        for i, header in enumerate(file.header):
            header.update({189: i * i, 193: i})
    for inputs, *words in (
        ("samples.segy", "21 samples a trace in its binary header (byte 3221), 240 in trace 1 (byte 115)", "mend"),
        ("interval.segy", "its headers disagree, sampling interval 4 in its binary header", "2 in trace 1 (byte 117)"),
        ("a.segy,beyond.segy", "beyond.segy: sampling interval 2 where a.segy has 4"),
        ("a.segy,overlap.segy", "a.segy and overlap.segy overlap", "are both inline 4, crossline 1"),
        ("lines.segy", "25260 cells for 30 traces", "are missing, inline 2, 3, 5 and", "span no grid"),
        ("lines.segy --axes=x:181,y:185", "x:181 is 0 in all 30 traces", "these coordinates are all zero"),
    ):
        result = ingest(*f"--input={inputs}".split(), "--output=out.zarr")
        assert_one_line(result, *words)
        assert not list(tmp_path.glob("out*"))


def test_what_is_settled_is_told(ingest: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    stacked(tmp_path / "a.segy", b115=21)
    result = ingest("--input=a.segy", "--output=out.zarr")
    assert result.returncode == 0, result.stderr
    (line,) = (line for line in result.stderr.splitlines() if "note" in line)
    both = "20 samples a trace in its binary header (byte 3221), 21 in trace 1 (byte 115)"
    assert line == f"ingest.py: note: a.segy: {both}; its size fits the former"
    assert "its coordinates are all zero (bytes 181 and 185), so it has no cdp_x, cdp_y and no map" in result.stdout


def test_a_write_that_fails_half_way_leaves_nothing(ingest: Command, survey: Path, tmp_path: Path):
    result = ingest(
        f"--input={survey}", f"--output={tmp_path}/new/a.zarr", "--shard=4,4,40", "--chunk=4,4,40", limit=2000
    )
    assert_one_line(result, "a.zarr", "free space")
    assert list(tmp_path.iterdir()) == [survey]
