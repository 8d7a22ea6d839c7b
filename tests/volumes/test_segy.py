"""What is refused before a SEG-Y file is read, and reading it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import segyio

from seisjax.errors import UserError
from seisjax.volumes.segy import SegyReader, check_segy, runs


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        check_segy(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_says_what_the_file_holds(survey: Path):
    file = check_segy(survey)
    assert (file.num_traces, file.num_samples, file.sample_format, file.interval) == (180, 30, 5, 4.0)


def test_missing_empty_short_and_folder(tmp_path: Path):
    assert "no such file" in refused(tmp_path / "none.segy")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "empty.segy").touch()
    assert "empty" in refused(tmp_path / "empty.segy")
    (tmp_path / "short.segy").write_bytes(bytes(1000))
    assert "only 1000 bytes" in refused(tmp_path / "short.segy")


def test_random_bytes_are_no_segy(tmp_path: Path):
    path = tmp_path / "random.segy"
    path.write_bytes(np.random.default_rng(0).bytes(20_000))
    assert "not a SEG-Y file" in refused(path)


@pytest.mark.parametrize("cut", [1, 100, 360 - 1])
def test_a_broken_last_trace_is_truncation(survey: Path, cut: int):
    data = survey.read_bytes()
    survey.write_bytes(data[:-cut])
    assert "truncated" in refused(survey)


def test_headers_without_traces_are_truncation(survey: Path):
    survey.write_bytes(survey.read_bytes()[:3600])
    assert "0 whole traces" in refused(survey)


def test_revision_2_states_the_number_of_traces(survey: Path):
    data = bytearray(survey.read_bytes())
    data[3500], data[3512:3520] = 2, (180).to_bytes(8, "big")
    survey.write_bytes(data)
    assert check_segy(survey).num_traces == 180
    survey.write_bytes(data[: -(240 + 120)])  # a whole trace less
    assert "not 180 traces" in refused(survey)


@pytest.mark.parametrize("code", [4, 6, 7, 9, 10, 11, 12, 15, 16])
def test_formats_that_would_be_misread_are_refused(survey: Path, code: int):
    data = bytearray(survey.read_bytes())
    data[3224:3226] = code.to_bytes(2, "big")
    survey.write_bytes(data)
    assert f"sample format {code}" in refused(survey)


def test_little_endian_is_named(survey: Path):
    data = bytearray(survey.read_bytes())
    data[3224:3226] = (5).to_bytes(2, "little")
    survey.write_bytes(data)
    assert "little-endian" in refused(survey)


@pytest.mark.parametrize(("byte", "what"), [(3217, "sampling interval"), (3221, "samples a trace")])
def test_headers_of_zero_are_named(survey: Path, byte: int, what: str):
    data = bytearray(survey.read_bytes())
    data[byte - 1 : byte + 1] = bytes(2)
    survey.write_bytes(data)
    assert what in refused(survey)


@pytest.mark.parametrize("sample_format", [1, 2, 3, 5, 8])
def test_every_format_reads_as_segyio_does(tmp_path: Path, write_survey: Callable[..., Path], sample_format: int):
    samples = np.random.default_rng(1).integers(-100, 100, (7, 11))
    path = write_survey(tmp_path / "a.segy", samples, {189: np.arange(7)}, sample_format=sample_format)
    wanted = np.array([0, 2, 3, 6])
    with SegyReader(path) as reader, segyio.open(str(path), ignore_geometry=True) as expected:
        read = np.concatenate([values for _, values in reader.traces(wanted)])
        np.testing.assert_array_equal(read, expected.trace.raw[:][wanted])
        np.testing.assert_array_equal(read, samples[wanted])
        np.testing.assert_array_equal(reader.header(189, wanted), wanted)


def test_runs_are_consecutive_and_bounded():
    numbers = np.array([1, 2, 3, 4, 7, 9, 10])
    assert [list(numbers[run]) for run in runs(numbers, longest=3)] == [[1, 2, 3], [4], [7], [9, 10]]
    assert list(runs(np.array([], int))) == []
