"""SEG-Y files: the checks before one is read, and its headers and traces a few at a time (SEG-Y rev. 0 to 2.1).

segyio reads samples and headers. It opens some sample formats without saying that it cannot decode them, hence the
checks here come first and read the binary header themselves.
"""

import contextlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import segyio

from seisjax.errors import UserError

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
# Standard trace headers: first byte, counted from 1 -> segyio's name.
HEADER_FIELDS = {int(byte): name for name, byte in segyio.tracefield.keys.items()}

_BLOCK = 65536  # trace headers read at a time


@dataclass(frozen=True)
class SegyFile:
    """What the file's size and binary header say. `interval` is in ms, or in m for depth; `start` is a byte."""

    path: Path
    sample_format: int
    num_samples: int
    num_traces: int
    interval: float
    start: int

    @property
    def trace_bytes(self) -> int:
        """Bytes of one trace, its header included."""
        return TRACE_HEADER + self.num_samples * FORMATS[self.sample_format][1].itemsize

    def __str__(self) -> str:
        return (
            f"{self.path.name}: SEG-Y, {FORMATS[self.sample_format][0]}, {self.num_traces} traces of "
            f"{self.num_samples} samples, interval {self.interval:g}"
        )


def check_segy(path: str | Path) -> SegyFile:
    """Look at size and binary header of a SEG-Y file.

    Raises UserError: missing, empty, not SEG-Y, a sample format that is not read, not a whole number of traces.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a SEG-Y file")
    size = path.stat().st_size
    with _reading(path), path.open("rb") as file:
        file.seek(TEXT_HEADER)
        binary = file.read(BINARY_HEADER)
        first_trace = file.read(TRACE_HEADER)
    if len(binary) < BINARY_HEADER:
        raise UserError(f"{path}: {'empty' if size == 0 else f'only {size} bytes'}; not a SEG-Y file, or truncated")

    def number(kind: str, byte: int) -> int:
        return struct.unpack_from(">" + kind, binary, byte - TEXT_HEADER - 1)[0]

    sample_format = number("h", FORMAT_BYTE)
    _check_format(path, sample_format)
    revision, extended = number("B", 3501), number("h", 3505)
    num_samples, interval = number("H", 3221), number("H", 3217)
    if revision >= 2 and number("I", 3269):
        num_samples = number("I", 3269)
    if not interval and len(first_trace) == TRACE_HEADER:
        interval = struct.unpack_from(">H", first_trace, 116)[0]
    for what, value, byte in (("samples a trace", num_samples, 3221), ("sampling interval", interval, 3217)):
        if value == 0:
            raise UserError(f"{path}: its {what} (binary header, byte {byte}) is 0; not SEG-Y, or mend its header")
    if extended < 0 or (revision >= 2 and number("i", 3507) > 0):
        raise UserError(f"{path}: has text or trace headers of unstated length; rewrite it with the standard ones")

    start = TEXT_HEADER + BINARY_HEADER + extended * TEXT_HEADER
    trace_bytes = TRACE_HEADER + num_samples * FORMATS[sample_format][1].itemsize
    num_traces, rest = divmod(size - start, trace_bytes)
    stated = number("Q", 3513) if revision >= 2 else 0
    if num_traces < 1 or rest or (stated and stated != num_traces):
        whole = f"{max(num_traces, 0)} whole traces of {num_samples} samples and {max(rest, 0)} bytes more"
        raise UserError(
            f"{path}: holds {whole}{f', not {stated} traces' if stated else ''}; truncated, or its header is wrong"
        )
    return SegyFile(path, sample_format, num_samples, num_traces, interval / 1000, start)


def _check_format(path: Path, code: int) -> None:
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
def _reading(path: Path) -> Iterator[None]:
    """Faults of the disk or of segyio as one clear line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); check the file and its permissions") from error


class SegyReader:
    """Headers and samples of an open SEG-Y file, by trace number in file order. Use as a context manager."""

    def __init__(self, path: str | Path):
        """Open the file; raises what `check_segy` raises."""
        self.file = check_segy(path)
        with _reading(self.file.path):
            self._segy = segyio.open(str(self.file.path), ignore_geometry=True)
        if self._segy.tracecount != self.file.num_traces or self._segy.trace.shape != self.file.num_samples:
            self._segy.close()
            raise UserError(f"{path}: its headers contradict its size; check the file")

    def __enter__(self) -> "SegyReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._segy.close()

    def header(self, byte: int, traces: np.ndarray) -> np.ndarray:
        """Values of one header field at some traces, int32."""
        with _reading(self.file.path):
            return np.asarray(self._segy.attributes(byte)[traces], np.int32)

    def headers(self, fields: Sequence[int], stop: int | None = None) -> dict[int, np.ndarray]:
        """Several fields of the first `stop` traces (all by default), in one pass over the file."""
        stop = min(stop or self.file.num_traces, self.file.num_traces)
        values = {byte: np.empty(stop, np.int32) for byte in fields}
        with _reading(self.file.path):
            for first in range(0, stop, _BLOCK):
                part = slice(first, min(first + _BLOCK, stop))
                for byte in fields:
                    values[byte][part] = self._segy.attributes(byte)[part]
        return values

    def traces(self, traces: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Samples of `traces` (rising numbers) run by run: the place in `traces`, and (run, sample) values."""
        with _reading(self.file.path):
            for place in runs(traces):
                first = int(traces[place.start])
                yield place, self._segy.trace.raw[first : first + place.stop - place.start]


def runs(numbers: np.ndarray, longest: int = 4096) -> Iterator[slice]:
    """Cut rising whole numbers where they are not consecutive, and into pieces of at most `longest`."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    for first, stop in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
        for start in range(int(first), int(stop), longest):
            yield slice(start, min(start + longest, int(stop)))
