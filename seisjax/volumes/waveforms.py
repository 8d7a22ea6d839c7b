"""Records of seismic networks (miniSEED, SAC, SEG-2, GSE, SLIST, ...) through obspy (the extra `passive`)."""

import bz2
import contextlib
import glob
import gzip
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seisjax.errors import UserError, note
from seisjax.volumes.filtering import Band
from seisjax.volumes.recording import Piece, Receiver, RecordingReader, Stretch, snap_interval

_COMPONENTS = "ZNE123"  # the order of a station's channels
_PICKLE = b"\x80"  # obspy would run what is in it


def waveform_format(start: bytes) -> str | None:
    """obspy's name for the format of a file that begins with these bytes (400 or more), None where it is not known."""
    with contextlib.suppress(OSError, EOFError):
        if start.startswith(b"\x1f\x8b"):
            start = _unpack(gzip.open, start)
        elif start.startswith(b"BZh"):
            start = _unpack(bz2.open, start)
    if re.match(rb"[0-9]{6}[DRQM][ \0]", start) or start.startswith(b"MS\x03"):
        return "MSEED"
    if start.startswith((b"\x55\x3a", b"\x3a\x55")):
        return "SEG2"
    if start.startswith((b"WID2", b"BEGIN GSE2")):
        return "GSE2"
    if start.startswith((b"WID1", b"XW01")):
        return "GSE1"
    if start.startswith(b"TIMESERIES"):
        return "TSPAIR" if b"TSPAIR" in start.split(b"\n")[0] else "SLIST"
    version = start[304:308]
    return "SAC" if version in (b"\6\0\0\0", b"\7\0\0\0", b"\0\0\0\6", b"\0\0\0\7") else None


def _unpack(kind: Any, start: bytes) -> bytes:
    with kind(io.BytesIO(start)) as file:
        unpacked = b""
        with contextlib.suppress(OSError, EOFError):  # it ends where what was read of the file ends
            while len(unpacked) < 400 and (more := file.read1(400)):
                unpacked += more
        return unpacked


class WaveformReader(RecordingReader):
    """Files of any format that obspy reads, as one recording: every channel of every station is a receiver.

    Receivers are sorted by network, station, location and instrument, then Z, N, E (or Z, 1, 2); a channel's files
    follow one another in time. Channels without a station (SEG-2) are numbered as they stand in their file.
    Only headers are held in memory; samples are read some receivers at a time. Raises UserError where obspy is
    missing, a file cannot be read, or holds no trace or one without samples, and what `RecordingReader` raises.
    """

    def __init__(
        self, paths: Sequence[str], *, stations: str = "", rate: float | None = None, band: Band | None = None
    ):
        self._formats: dict[str, str] = {}
        receivers = scan_waveforms(paths, self._formats)
        attributes = {"sample_format": ",".join(sorted(set(self._formats.values())))}
        super().__init__(paths, receivers, attributes, stations=stations, rate=rate, band=band)

    def _read(self, source: str, receivers: Sequence[Receiver]) -> Iterator[Stretch]:
        """Every trace of a file that belongs to one of the receivers."""
        wanted = {receiver.name for receiver in receivers}
        for number, trace in enumerate(_traces(source, self._formats)):
            name = _code(trace, number)[0]
            if name in wanted:
                values = np.ma.filled(np.ma.asarray(trace.data).astype(np.float32), np.nan)
                yield name, trace.stats.starttime.ns, snap_interval(trace.stats.sampling_rate), values


def scan_waveforms(paths: Sequence[str], formats: dict[str, str] | None = None) -> list[Receiver]:
    """The receivers of some files, from their headers; `formats` is filled with obspy's name of each file's format."""
    formats, pieces = {} if formats is None else formats, {}
    for path in paths:
        for number, trace in enumerate(_traces(path, formats, headonly=True)):
            code, stats = _code(trace, number), trace.stats
            if not stats.npts:
                raise UserError(f"{path}: trace {code[0]} has no samples; leave the file out")
            if not stats.sampling_rate > 0:
                raise UserError(f"{path}: trace {code[0]} has no sampling rate; mend its header")
            piece = Piece(stats.starttime.ns, snap_interval(stats.sampling_rate), stats.npts, path)
            pieces.setdefault(code, []).append(piece)
    ordered = sorted(pieces, key=_sorting)
    return [Receiver(code[0], _aliases(code), _component(code[-1]), tuple(pieces[code])) for code in ordered]


def _traces(path: str, formats: dict[str, str], headonly: bool = False) -> Any:
    """The traces of a file, by obspy; what it warns of is noted once, when the headers are read."""
    obspy = _obspy()
    if path not in formats:
        formats[path] = _find_format(path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            stream = obspy.read(glob.escape(path), formats[path] or None, headonly=headonly)
        except Exception as error:  # every format fails in ways of its own
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(f"{path}: cannot be read as waveforms ({reason}); check the file") from error
    if not len(stream):
        raise UserError(f"{path}: holds no trace; leave the file out")
    formats[path] = stream[0].stats._format
    if headonly:
        for text in dict.fromkeys(str(one.message).partition("\n")[0] for one in told if _concerns(one.category)):
            note(f"{path}: {text}")
    return stream


def _find_format(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); check the file and its permissions") from error
    if not start:
        raise UserError(f"{path}: is empty; leave the file out")
    if start.startswith(_PICKLE):
        raise UserError(f"{path}: is a pickle, which may run anything; write it as miniSEED")
    return waveform_format(start) or ""


def _code(trace: Any, number: int) -> tuple[str, ...]:
    """Name, network, station, location, channel of a trace; without a station its number in the file, from 1."""
    stats = trace.stats
    if stats.station:
        return trace.id, stats.network, stats.station, stats.location, stats.channel
    name = f"{number + 1:04d}"
    return name, "", name, "", stats.channel


def _aliases(code: tuple[str, ...]) -> tuple[str, ...]:
    name, network, station, *_ = code
    return name, f"{network}.{station}", station.lstrip("0") or station, station


def _component(channel: str) -> str:
    """z, n, e, 1, 2, ... of a SEED channel; hydrophone for its instrument code D."""
    if len(channel) == 3 and channel[1].upper() == "D":
        return "hydrophone"
    return channel[-1:].lower()


def _sorting(code: tuple[str, ...]) -> tuple[Any, ...]:
    name, network, station, location, channel = code
    place = _COMPONENTS.find(channel[-1:].upper()) if channel else -1
    return network, station, location, channel[:-1], place if place >= 0 else len(_COMPONENTS), channel, name


def _concerns(category: type[Warning]) -> bool:
    """Whether a warning is about the file."""
    return not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning | ResourceWarning)


def _obspy() -> Any:
    """The package, without what its import warns of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import obspy
    except ImportError as error:
        raise UserError("waveforms need obspy; pip install 'seisjax[passive]'") from error
    return obspy
