"""Fibre-optic recordings (DAS, any of the interrogators' HDF5 layouts) through dascore (the extra `das`)."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from seisjax.errors import UserError
from seisjax.volumes.filtering import Band
from seisjax.volumes.recording import Piece, Receiver, RecordingReader, Stretch

_UNEVEN = 0.5  # samples that one may lie off an even axis of times
_KEPT = ("data_type", "data_units", "gauge_length", "instrument_id")  # of what dascore knows of a recording


def is_das(path: str) -> bool:
    """Whether dascore knows the layout of an HDF5 file; False where dascore is missing."""
    try:
        dascore = _dascore()
    except UserError:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dascore.get_format(path)
        except Exception:  # an unknown layout, or one that dascore trips over
            return False
    return True


class DasReader(RecordingReader):
    """Files of one fibre, as one recording: every channel is a receiver, named by its number from 0.

    The distance along the fibre (m) becomes the array `distance`. Files follow one another in time. Channels are read
    some at a time, in whatever order the file has time and distance. Raises UserError where dascore is missing, a file
    cannot be read, has other axes or uneven times, other distances than the first, or no samples, and what
    `RecordingReader` raises.
    """

    def __init__(
        self, paths: Sequence[str], *, stations: str = "", rate: float | None = None, band: Band | None = None
    ):
        pieces, attributes, distance = [], {}, None
        self._stated: dict[str, np.ndarray] = {}  # distances as each file states them, in its own unit
        for path in paths:
            found, kept, along, self._stated[path] = _scan(path)
            if distance is not None and (len(along) != len(distance) or not np.allclose(along, distance, atol=1e-3)):
                raise UserError(f"{path}: its channels lie elsewhere than those of {paths[0]}; ingest them apart")
            distance, attributes = (along, kept) if distance is None else (distance, attributes)
            pieces += found
        assert distance is not None
        self._distance = distance
        shared = tuple(pieces)
        receivers = [Receiver(str(i), (str(i),), "strain", shared) for i in range(len(distance))]
        super().__init__(paths, receivers, attributes, stations=stations, rate=rate, band=band)
        self._channels = np.array([int(receiver.name) for receiver in self.receivers])

    def _headers(self, rows: slice) -> dict[str, np.ndarray]:
        return {"distance": self._distance[self._channels[rows]]}

    def _read(self, source: str, receivers: Sequence[Receiver]) -> Iterator[Stretch]:
        """The channels of a file from the first to the last that is wanted."""
        channels = [int(receiver.name) for receiver in receivers]
        first, last = min(channels), max(channels)
        along = self._stated[source]
        margin = 0.25 * np.diff(along).min() if len(along) > 1 else 1.0
        for patch in _patches(source, distance=(along[first] - margin, along[last] + margin)):
            data = np.asarray(patch.transpose("distance", "time").data, np.float32)
            start, interval = _times(source, patch)
            for channel in channels:
                yield str(channel), start, interval, data[channel - first]


def _scan(path: str) -> tuple[list[Piece], dict[str, Any], np.ndarray, np.ndarray]:
    """A file's stretches, attributes and channels' distances, in m and in its own unit, without its samples but one
    channel's and one time's."""
    summaries = _call(path, lambda dascore: dascore.scan(path))
    pieces, kept, distance, stated = [], {}, None, np.zeros(0)
    for summary in summaries:
        if set(summary.dim_tuple) != {"time", "distance"}:
            raise UserError(f"{path}: has the axes {', '.join(summary.dim_tuple)}; a recording has time and distance")
        along, span = summary.coords["distance"], summary.coords["time"]
        times = _patches(path, time=(span.min, span.max), distance=(along.min, along.min))
        if not times or not times[0].data.size:
            raise UserError(f"{path}: holds no samples; leave the file out")
        start, interval = _times(path, times[0])
        pieces.append(Piece(start, interval, len(times[0].get_coord("time")), path))
        places = _patches(path, time=(span.min, span.min))[0].get_coord("distance")
        metres = np.asarray(places.convert_units("m").values if places.units else places.values, np.float64)
        if distance is not None and (len(metres) != len(distance) or not np.allclose(metres, distance, atol=1e-3)):
            raise UserError(f"{path}: holds recordings of different channels; ingest them apart")
        distance, stated = metres, np.asarray(places.values, np.float64)
        known = {name: getattr(summary, name, None) for name in _KEPT}
        kept = {name: _plain(value) for name, value in known.items() if value not in (None, "")}
    if distance is None:
        raise UserError(f"{path}: holds no recording that dascore can read; check the file")
    return pieces, kept, distance, stated


def _plain(value: Any) -> Any:
    """What JSON can hold of an attribute."""
    return float(value) if isinstance(value, float | np.floating) else str(value)


def _times(path: str, patch: Any) -> tuple[int, float]:
    """First time in ns since 1970, and the interval in s."""
    times = np.asarray(patch.get_coord("time").values)
    if times.dtype.kind != "M":
        raise UserError(f"{path}: its times are no dates but {times.dtype}; a recording needs the time of its start")
    numbers = times.astype("datetime64[ns]").astype(np.int64)
    if len(numbers) < 2:
        raise UserError(f"{path}: holds {len(numbers)} times a channel; leave the file out")
    interval = float(numbers[-1] - numbers[0]) / (len(numbers) - 1)
    even = numbers[0] + interval * np.arange(len(numbers))
    if interval <= 0 or np.abs(numbers - even).max() > _UNEVEN * interval:
        raise UserError(f"{path}: its times are not evenly apart; resample it with dascore first")
    return int(numbers[0]), round(interval) * 1e-9 if abs(interval - round(interval)) < 1e-3 else interval * 1e-9


def _patches(path: str, **bounds: Any) -> list[Any]:
    """The parts of a file that dascore calls patches, within bounds of time or distance."""
    return list(_call(path, lambda dascore: dascore.read(path, **bounds)))


def _call(path: str, work: Any) -> Any:
    dascore = _dascore()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        try:
            return work(dascore)
        except Exception as error:  # every layout fails in ways of its own
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(f"{path}: cannot be read as DAS ({reason}); check the file") from error


def _dascore() -> Any:
    """The package, without what its import warns of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import dascore
    except ImportError as error:
        raise UserError("DAS recordings need dascore; pip install 'seisjax[das]'") from error
    return dascore
