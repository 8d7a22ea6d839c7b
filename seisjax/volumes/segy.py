"""SEG-Y files: the checks before one is read, and its headers and traces a few at a time (SEG-Y rev. 0 to 2.1).

segyio reads the samples of local files, TGS `segy` those of object stores and web servers. Both open some files without
saying that they cannot decode them, hence the checks here come first and read the binary header themselves.
"""

import contextlib
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import segyio

from seisjax.errors import UserError
from seisjax.volumes.segy_remote import RemoteTraces, is_remote, remote_bytes

IBM_FLOAT, INT32, INT16, IEEE_FLOAT, INT8 = 1, 2, 3, 5, 8
# Sample formats that are read: code -> (meaning, type that holds every value).
FORMATS = {
    IBM_FLOAT: ("4-byte IBM float", np.dtype("f4")),
    INT32: ("4-byte integer", np.dtype("i4")),
    INT16: ("2-byte integer", np.dtype("i2")),
    IEEE_FLOAT: ("4-byte IEEE float", np.dtype("f4")),
    INT8: ("1-byte integer", np.dtype("i1")),
}
_REFUSED = {
    4: "4-byte fixed point with gain", 6: "8-byte IEEE float", 7: "3-byte integer", 9: "8-byte integer",
    10: "4-byte unsigned integer", 11: "2-byte unsigned integer", 12: "8-byte unsigned integer",
    15: "3-byte unsigned integer", 16: "1-byte unsigned integer",
}  # fmt: skip

TEXT_HEADER, BINARY_HEADER, TRACE_HEADER = 3200, 400, 240
FORMAT_BYTE = 3225  # of the sample-format code, counted from 1
SAMPLES_BYTE, INTERVAL_BYTE = 115, 117  # of a trace header: what the binary header says at 3221 and 3217
# Standard trace headers: first byte, counted from 1 -> segyio's name.
HEADER_FIELDS = {int(byte): name for name, byte in sorted(segyio.tracefield.keys.items(), key=lambda item: item[1])}
_WIDTHS = dict(zip(HEADER_FIELDS, np.diff([*HEADER_FIELDS, TRACE_HEADER + 1]).tolist(), strict=True))

_LENGTH_UNITS = {1: "m", 2: "ft"}  # by the measurement system of the binary header

_BLOCK = 65536  # trace headers read at a time
_RUN_BYTES = 1 << 24  # samples read at a time
_SHORT_TRACE = 4096  # bytes; below, reading whole traces costs no more than reading their headers


@dataclass(frozen=True)
class SegyFile:
    """What the file's size and headers say. `interval` is in ms, or in m or ft for depth; `start` is a byte.

    `length_unit`: "m" or "ft", "" where the binary header does not say. `notes` tell what is odd and yet settled.
    """

    path: str
    sample_format: int
    num_samples: int
    num_traces: int
    interval: float
    start: int
    length_unit: str = ""
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> np.dtype:
        """The type of the samples as they are read."""
        return FORMATS[self.sample_format][1]

    @property
    def trace_bytes(self) -> int:
        """Bytes of one trace, its header included."""
        return TRACE_HEADER + self.num_samples * self.dtype.itemsize

    def __str__(self) -> str:
        return (
            f"{os.path.basename(self.path)}: SEG-Y, {FORMATS[self.sample_format][0]}, {self.num_traces} traces of "
            f"{self.num_samples} samples, interval {self.interval:g}"
        )


class _Bytes(Protocol):
    """A file of `size` bytes."""

    size: int

    def read(self, offset: int, count: int) -> bytes: ...


def check_segy(path: str | Path, interval: float | None = None) -> SegyFile:
    """Look at size, binary header and first trace header of a SEG-Y file or URL; `interval` overrules the headers'.

    Raises UserError: missing, empty, not SEG-Y, a sample format that is not read, not a whole number of traces,
    a binary header and trace headers that disagree where the file's size does not settle it.
    """
    path = os.path.expanduser(os.fspath(path).removeprefix("file://"))
    with remote_bytes(path) if is_remote(path) else _local_bytes(path) as file:
        return _parse(path, file, interval)


def file_header(file: SegyFile) -> bytes:
    """All that comes before the first trace."""
    with remote_bytes(file.path) if is_remote(file.path) else _local_bytes(file.path) as data:
        return data.read(0, file.start)


def text_header(file: SegyFile) -> str:
    """The 40 lines of text at the head of a file, EBCDIC or ASCII, in capitals."""
    raw = file_header(file)[:TEXT_HEADER]
    text = raw.decode("ascii" if raw[:1] == b"C" else "cp037", errors="replace").upper()
    return "\n".join(text[first : first + 80] for first in range(0, len(text), 80))


def _parse(path: str, file: _Bytes, interval: float | None) -> SegyFile:
    binary = file.read(TEXT_HEADER, BINARY_HEADER) if file.size else b""
    if len(binary) < BINARY_HEADER:
        size = "empty" if file.size == 0 else f"only {file.size} bytes"
        raise UserError(f"{path}: {size}; truncated, or neither SEG-Y nor another of the formats that --format lists")

    def number(kind: str, byte: int) -> int:
        return struct.unpack_from(">" + kind, binary, byte - TEXT_HEADER - 1)[0]

    sample_format = number("h", FORMAT_BYTE)
    _check_format(path, sample_format)
    revision, extended = number("B", 3501), number("h", 3505)
    if extended < 0 or (revision >= 2 and number("i", 3507) > 0):
        raise UserError(f"{path}: has text or trace headers of unstated length; rewrite it with the standard ones")
    start = TEXT_HEADER + BINARY_HEADER + extended * TEXT_HEADER
    first = file.read(start, TRACE_HEADER) if file.size >= start + TRACE_HEADER else bytes(TRACE_HEADER)
    of_trace = {byte: struct.unpack_from(">H", first, byte - 1)[0] for byte in (SAMPLES_BYTE, INTERVAL_BYTE)}
    long = number("I", 3269) if revision >= 2 else 0
    room = file.size - start, FORMATS[sample_format][1].itemsize
    num_samples, notes = _num_samples(path, long or number("H", 3221), 0 if long else of_trace[SAMPLES_BYTE], room)
    microseconds = number("H", 3217), of_trace[INTERVAL_BYTE]
    exact = number("d", 3273) if revision >= 2 else 0.0
    if interval is None and exact > 0 and math.isfinite(exact):
        interval = exact / 1000
    elif interval is None:
        interval = _interval(path, *microseconds)
    elif not interval > 0:
        raise UserError(f"{path}: a sampling interval of {interval:g}; give one above 0 (--interval)")
    num_traces = room[0] // (TRACE_HEADER + num_samples * room[1])
    stated = number("Q", 3513) if revision >= 2 else 0
    if stated and stated != num_traces:
        raise UserError(
            f"{path}: holds {num_traces} whole traces of {num_samples} samples, not {stated} traces as its binary "
            "header says; truncated, or its header is wrong"
        )
    unit = _LENGTH_UNITS.get(number("h", 3255), "")
    if unit == "ft":
        notes += ("its lengths are in feet (binary header, byte 3255)",)
    return SegyFile(path, sample_format, num_samples, num_traces, interval, start, unit, notes)


def _num_samples(path: str, binary: int, trace: int, room: tuple[int, int]) -> tuple[int, tuple[str, ...]]:
    """Samples a trace, by what the two kinds of header say and what fits `room` (bytes, and bytes a sample)."""
    stated = [count for count in dict.fromkeys((binary, trace)) if count]
    if not stated:
        raise UserError(f"{path}: its samples a trace (binary header, byte 3221) is 0; not SEG-Y, or mend its header")
    parts = {count: divmod(room[0], TRACE_HEADER + count * room[1]) for count in stated}
    fitting = [count for count, (traces, rest) in parts.items() if traces > 0 and not rest]
    both = f"{binary} samples a trace in its binary header (byte 3221), {trace} in trace 1 (byte {SAMPLES_BYTE})"
    if not fitting:
        traces, rest = parts[stated[0]]
        whole = f"{max(traces, 0)} whole traces of {stated[0]} samples and {max(rest, 0)} bytes more"
        raise UserError(
            f"{path}: holds {whole}{f' ({both})' if len(stated) > 1 else ''}; truncated, or its header is wrong"
        )
    if len(fitting) > 1:
        raise UserError(f"{path}: its headers disagree, {both}, and both fit its size; mend the wrong one")
    if binary and fitting != [binary]:
        raise UserError(f"{path}: its headers disagree, {both}; its size fits the latter: mend the binary header")
    return fitting[0], (f"{both}; its size fits the former",) if len(stated) > 1 else ()


def _interval(path: str, binary: int, trace: int) -> float:
    """The sampling interval in ms (or m) from the two kinds of header, which give it in thousandths."""
    if not binary and not trace:
        raise UserError(
            f"{path}: its sampling interval (binary header, byte 3217) is 0; not SEG-Y, or say what it is (--interval)"
        )
    if binary and trace and binary != trace:
        raise UserError(
            f"{path}: its headers disagree, sampling interval {binary / 1000:g} in its binary header (byte 3217), "
            f"{trace / 1000:g} in trace 1 (byte {INTERVAL_BYTE}); say which holds (--interval={binary / 1000:g})"
        )
    return (binary or trace) / 1000


def _check_format(path: str, code: int) -> None:
    if code in FORMATS:
        return
    known = ", ".join(f"{c} ({name})" for c, (name, _) in FORMATS.items())
    swapped = int.from_bytes(struct.pack(">h", code), "little", signed=True)
    if code in _REFUSED:
        what = f"sample format {code} ({_REFUSED[code]}) is not read"
    elif swapped in FORMATS:
        what = f"little-endian samples (format {swapped}) are not read"
    else:
        raise UserError(f"{path}: {code} is no sample format (binary header, byte {FORMAT_BYTE}); not a SEG-Y file")
    raise UserError(f"{path}: {what}; convert the file to one of {known}")


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Faults of the disk or of segyio as one clear line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); check the file and its permissions") from error


class _LocalBytes:
    def __init__(self, file: int):
        self._file, self.size = file, os.fstat(file).st_size

    def read(self, offset: int, count: int) -> bytes:
        return os.pread(self._file, count, offset)


@contextlib.contextmanager
def _local_bytes(path: str) -> Iterator[_LocalBytes]:
    if not os.path.isfile(path):
        raise UserError(f"{path}: {'is a folder' if os.path.isdir(path) else 'no such file'}; give a SEG-Y file")
    with _reading(path), open(path, "rb") as file:
        yield _LocalBytes(file.fileno())


class _LocalTraces:
    """Headers by pread (one read a trace for all fields), samples by segyio."""

    def __init__(self, file: SegyFile):
        self.file = file
        with _reading(file.path):
            self._segy = segyio.open(file.path, ignore_geometry=True)
            self._raw = os.open(file.path, os.O_RDONLY)
        if self._segy.tracecount != file.num_traces or self._segy.trace.shape != file.num_samples:
            self.close()
            raise UserError(f"{file.path}: its headers contradict its size; check the file")

    def close(self) -> None:
        os.close(self._raw)
        self._segy.close()

    def headers(self, first: int, count: int) -> bytes:
        size = self.file.trace_bytes
        start = self.file.start + first * size
        with _reading(self.file.path):
            if size > _SHORT_TRACE:
                return b"".join([os.pread(self._raw, TRACE_HEADER, start + i * size) for i in range(count)])
            whole = os.pread(self._raw, count * size, start)
            whole = whole[: len(whole) // size * size]
            return np.frombuffer(whole, np.uint8).reshape(-1, size)[:, :TRACE_HEADER].tobytes()

    def samples(self, first: int, count: int) -> np.ndarray:
        with _reading(self.file.path):
            return self._segy.trace.raw[first : first + count]


class _RemoteTraces:
    """Headers and samples from raw traces, decoded by segyio as those of a local file."""

    def __init__(self, file: SegyFile):
        self._file, self._raw = file, RemoteTraces(file.path, file.start, file.trace_bytes)
        self.headers, self.close = self._raw.headers, self._raw.close

    def samples(self, first: int, count: int) -> np.ndarray:
        raw = np.ascontiguousarray(self._raw.whole(first, count)[:, TRACE_HEADER:])
        if self._file.sample_format == IBM_FLOAT:
            return segyio.tools.native(raw.view("f4"), IBM_FLOAT)
        return raw.view(self._file.dtype.newbyteorder(">")).astype(self._file.dtype)


class SegyReader:
    """Headers and samples of an open SEG-Y file, by trace number in file order. Use as a context manager."""

    def __init__(self, path: str | Path, interval: float | None = None):
        """Open the file or URL; raises what `check_segy` raises."""
        self.file = check_segy(path, interval)
        self._source = (_RemoteTraces if is_remote(self.file.path) else _LocalTraces)(self.file)

    def __enter__(self) -> "SegyReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def raw_headers(self, traces: np.ndarray) -> np.ndarray:
        """Trace headers as they stand in the file, (traces, 240) bytes; `traces` are rising numbers."""
        headers = np.empty((len(traces), TRACE_HEADER), np.uint8)
        longest = max(_RUN_BYTES // self.file.trace_bytes, 1) if self.file.trace_bytes <= _SHORT_TRACE else _BLOCK
        for place in runs(traces, longest):
            count = place.stop - place.start
            raw = self._source.headers(int(traces[place.start]), count)
            if len(raw) != count * TRACE_HEADER:
                raise UserError(f"{self.file.path}: ends before trace {traces[place.stop - 1] + 1}; has it changed?")
            headers[place] = np.frombuffer(raw, np.uint8).reshape(count, TRACE_HEADER)
        return headers

    def traces(self, traces: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Samples of `traces` (rising numbers) run by run: the place in `traces`, and (run, sample) values."""
        longest = max(_RUN_BYTES // self.file.trace_bytes, 1)
        for place in runs(traces, longest):
            yield place, self._source.samples(int(traces[place.start]), place.stop - place.start)


class TraceList:
    """One survey in one or several files: their traces numbered through, in the order given. A context manager.

    Reads as `SegyReader` does. Not to be used by two threads at once.
    """

    def __init__(self, paths: Sequence[str | Path], interval: float | None = None):
        """Open the files. Raises UserError: no file, a file given twice, or that differs in interval or samples."""
        if not paths:
            raise UserError("--input: names no file; give a SEG-Y file")
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:  # closes what is open where a file is refused
            self.readers = [stack.enter_context(SegyReader(path, interval)) for path in paths]
            self.files = [reader.file for reader in self.readers]
            self.dtype = _common(self.files)
            self._stack = stack.pop_all()
        self.starts = np.cumsum([0, *(file.num_traces for file in self.files)])
        self.num_traces = int(self.starts[-1])
        self.num_samples, self.interval = self.files[0].num_samples, self.files[0].interval

    def __enter__(self) -> "TraceList":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def name(self) -> str:
        """The files as the user gave them."""
        return ",".join(file.path for file in self.files)

    def describe(self, trace: int) -> str:
        """What a trace is called, counted from 1 in its file."""
        file = self.file_of(trace)
        of = f" of {os.path.basename(self.files[file].path)}" if len(self.files) > 1 else ""
        return f"{trace - self.starts[file] + 1}{of}"

    def file_of(self, trace: int) -> int:
        """Number of the file that holds a trace."""
        return int(np.searchsorted(self.starts, trace, side="right")) - 1

    def fields(self, traces: np.ndarray, fields: Sequence[int]) -> dict[int, np.ndarray]:
        """Some header fields (by first byte) of some traces, int32 (traces,); reads a bounded number at a time."""
        values = {byte: np.empty(len(traces), np.int32) for byte in fields}
        for first in range(0, len(traces), _BLOCK):
            part = slice(first, min(first + _BLOCK, len(traces)))
            for run, reader, numbers in self._by_file(traces[part]):
                headers = reader.raw_headers(numbers)
                for byte in fields:
                    values[byte][part][run] = header_field(headers, byte)
        return values

    def blocks(
        self, fields: Sequence[int], stop: int | None = None
    ) -> Iterator[tuple[slice, Mapping[int, np.ndarray]]]:
        """`fields` of all traces (or the first `stop`), block by block: the place in the list, and the values."""
        stop = min(stop or self.num_traces, self.num_traces)
        for first in range(0, stop, _BLOCK):
            part = slice(first, min(first + _BLOCK, stop))
            yield part, self.fields(np.arange(part.start, part.stop), fields)

    def traces(self, traces: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Samples of `traces` (rising numbers) run by run: the place in `traces`, and (run, sample) values."""
        for run, reader, numbers in self._by_file(traces):
            for place, values in reader.traces(numbers):
                yield slice(run.start + place.start, run.start + place.stop), values

    def _by_file(self, traces: np.ndarray) -> Iterator[tuple[slice, SegyReader, np.ndarray]]:
        edges = np.searchsorted(traces, self.starts)
        for reader, begin, a, b in zip(self.readers, self.starts, edges, edges[1:], strict=False):
            if a < b:
                yield slice(int(a), int(b)), reader, traces[a:b] - begin


def _common(files: Sequence[SegyFile]) -> np.dtype:
    """The type that holds the samples of all files. Raises UserError where they are no one survey."""
    first, dtype = files[0], files[0].dtype
    seen: set[str] = set()
    for file in files:
        real = file.path if is_remote(file.path) else os.path.realpath(file.path)
        if real in seen:
            raise UserError(f"{file.path}: given twice; name each file of the survey once")
        seen.add(real)
        for what, one, other in (
            ("sampling interval", first.interval, file.interval),
            ("samples a trace", first.num_samples, file.num_samples),
            ("measurement system", first.length_unit, file.length_unit),
        ):
            if one != other:
                raise UserError(
                    f"{file.path}: {what} {_text(other)} where {first.path} has {_text(one)}; "
                    "ingest them as surveys of their own"
                )
        wider = np.promote_types(dtype, file.dtype)
        if wider.itemsize > 4:
            raise UserError(
                f"{file.path}: holds {FORMATS[file.sample_format][0]}s where others hold {dtype}; no type holds both: "
                "convert one"
            )
        dtype = wider
    return dtype


def _text(value: float | str) -> str:
    return f"'{value}'" if isinstance(value, str) else f"{value:g}"


def header_field(headers: np.ndarray, byte: int) -> np.ndarray:
    """The field that starts at `byte` of raw headers (traces, 240), int32 (traces,)."""
    width = _WIDTHS[byte]
    raw = np.ascontiguousarray(headers[:, byte - 1 : byte - 1 + width])
    return raw.view(f">i{width}")[:, 0].astype(np.int32)


def runs(numbers: np.ndarray, longest: int = 4096) -> Iterator[slice]:
    """Cut rising whole numbers where they are not consecutive, and into pieces of at most `longest`."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    for first, stop in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
        for start in range(int(first), int(stop), longest):
            yield slice(start, min(start + longest, int(stop)))
