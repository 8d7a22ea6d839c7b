"""What is refused before a SEG-Y file is read, and reading it."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import segyio

from seisjax.errors import UserError
from seisjax.volumes.segy import HEADER_FIELDS, SegyReader, TraceList, check_segy, header_field, runs


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


def test_revision_2_states_the_interval_and_the_unit_of_lengths_exactly(survey: Path):
    data = bytearray(survey.read_bytes())
    data[3254:3256], data[3272:3280] = (2).to_bytes(2, "big"), struct.pack(">d", 4166.667)
    survey.write_bytes(data)
    assert check_segy(survey).interval == 4.0  # revision 1 knows no such number
    data[3500] = 2
    survey.write_bytes(data)
    found = check_segy(survey)
    assert found.interval == 4.166667
    assert found.length_unit == "ft"
    assert any("feet (binary header, byte 3255)" in line for line in found.notes)


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
        np.testing.assert_array_equal(header_field(reader.raw_headers(wanted), 189), wanted)


def test_runs_are_consecutive_and_bounded():
    numbers = np.array([1, 2, 3, 4, 7, 9, 10])
    assert [list(numbers[run]) for run in runs(numbers, longest=3)] == [[1, 2, 3], [4], [7], [9, 10]]
    assert list(runs(np.array([], int))) == []


@pytest.mark.parametrize("num_samples", [7, 1500])  # traces that are read whole for their headers, and headers alone
def test_every_header_field_reads_as_segyio_does(tmp_path: Path, write_survey, num_samples: int):
    random = np.random.default_rng(2)
    fields = {byte: random.integers(-(2**15), 2**15, 5) for byte in HEADER_FIELDS if byte not in (115, 117)}
    path = write_survey(tmp_path / "a.segy", np.ones((5, num_samples)), fields)
    with SegyReader(path) as reader, segyio.open(str(path), ignore_geometry=True) as expected:
        headers = reader.raw_headers(np.array([0, 1, 3, 4]))
        for byte in HEADER_FIELDS:
            np.testing.assert_array_equal(header_field(headers, byte), expected.attributes(byte)[:][[0, 1, 3, 4]])


def patched(path: Path, values: dict[int, int], at: int = 0) -> None:
    """Two-byte whole numbers in place of those at some bytes, counted from 1, of the part that starts at `at`."""
    data = bytearray(path.read_bytes())
    for byte, value in values.items():
        data[at + byte - 1 : at + byte + 1] = value.to_bytes(2, "big")
    path.write_bytes(data)


def test_headers_that_disagree_on_samples(survey: Path):
    patched(survey, {115: 31}, at=3600)
    assert "30 samples a trace in its binary header (byte 3221), 31 in trace 1" in check_segy(survey).notes[0]
    patched(survey, {115: 30}, at=3600)
    patched(survey, {3221: 29})
    message = refused(survey)
    assert "29 samples a trace in its binary header (byte 3221), 30 in trace 1 (byte 115)" in message
    assert "fits the latter" in message
    patched(survey, {115: 32}, at=3600)
    assert "32 in trace 1 (byte 115)); truncated" in refused(survey)
    patched(survey, {3221: 0, 115: 30}, at=0)
    patched(survey, {115: 30}, at=3600)
    assert check_segy(survey).num_samples == 30
    patched(survey, {3221: 30, 115: 30}, at=0)
    patched(survey, {115: 120}, at=3600)  # 180 traces of 360 bytes, or 90 of 720
    assert "both fit its size" in refused(survey)


def test_headers_that_disagree_on_the_interval(survey: Path):
    patched(survey, {117: 2000}, at=3600)
    message = refused(survey)
    assert "sampling interval 4 in its binary header (byte 3217), 2 in trace 1 (byte 117)" in message
    assert "--interval=4" in message
    assert check_segy(survey, interval=2.0).interval == 2.0
    patched(survey, {3217: 0})
    assert check_segy(survey).interval == 2.0


def test_files_are_one_list_of_traces(tmp_path: Path, write_survey: Callable[..., Path]):
    samples = np.random.default_rng(3).integers(-99, 99, (9, 6))
    paths = [
        write_survey(tmp_path / "a.segy", samples[:4], {9: np.arange(4)}, sample_format=3),
        write_survey(tmp_path / "b.segy", samples[4:], {9: np.arange(4, 9)}, sample_format=1),
    ]
    wanted = np.array([0, 2, 3, 4, 5, 8])
    with TraceList(paths) as traces:
        assert (traces.num_traces, traces.dtype) == (9, np.float32)
        np.testing.assert_array_equal(traces.fields(wanted, [9])[9], wanted)
        for place, values in traces.traces(wanted):
            np.testing.assert_array_equal(values, samples[wanted[place]])
        assert [traces.describe(trace) for trace in (3, 4)] == ["4 of a.segy", "1 of b.segy"]


@pytest.mark.parametrize(
    ("shape", "options", "what"),
    [
        ((2, 6), {"interval": 2000}, "b.segy: sampling interval 2 where .*a.segy has 4"),
        ((2, 5), {}, "b.segy: samples a trace 5 where .*a.segy has 6"),
        ((2, 6), {"sample_format": 2}, "b.segy: holds 4-byte integers where others hold float32"),
    ],
)
def test_files_that_are_no_one_survey(tmp_path: Path, write_survey, shape, options, what: str):
    write_survey(tmp_path / "a.segy", np.ones((2, 6)), {})
    write_survey(tmp_path / "b.segy", np.ones(shape), {}, **options)
    with pytest.raises(UserError, match=what):
        TraceList([tmp_path / "a.segy", tmp_path / "b.segy"])
    with pytest.raises(UserError, match="given twice"):
        TraceList([tmp_path / "a.segy", tmp_path / "." / "a.segy"])
