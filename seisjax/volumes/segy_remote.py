"""Bytes of SEG-Y files in object stores and on web servers, through TGS `segy` and fsspec (the extra `cloud`).

Raw bytes only: what they mean is decided in one place for local and remote files.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from seisjax.errors import UserError

_SCHEMES = ("http://", "https://", "gs://", "s3://")
_BACKENDS = {"s3": "s3fs", "gs": "gcsfs"}  # what fsspec reads these with; not in the extra, as few need both
_WAITS = (0.5, 1.0, 2.0)  # seconds before a failed read is tried again
_FEW_BYTES = 1 << 14  # of a trace; below, fetching whole traces is faster than a request for each header
_HEADER = 240

_T = TypeVar("_T")


def is_remote(path: str) -> bool:
    """Whether the path is a URL that is read over the network."""
    return path.startswith(_SCHEMES)


def _file_system(path: str) -> tuple[Any, str]:
    try:
        import segy  # noqa: F401  (what reads the traces; asked for first, so that its absence is told first)
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UserError(
            f"{path}: reading SEG-Y over the network needs {error.name or error}; pip install 'seisjax[cloud]', "
            "or copy the file here"
        ) from error
    try:
        return url_to_fs(path)
    except ImportError as error:
        needed = _BACKENDS.get(path.partition(":")[0], "'seisjax[cloud]'")
        raise UserError(f"{path}: {error}; pip install {needed}, or copy the file here") from error


def _patiently(path: str, read: Callable[[], _T]) -> _T:
    """What `read` gives, tried again a few times. Every backend has errors of its own, hence all are caught."""
    for wait in (*_WAITS, None):
        try:
            return read()
        except Exception as error:
            if _is_absent(error):
                raise UserError(f"{path}: no such file; give the URL of a SEG-Y file") from error
            if wait is None:
                tries = f"{len(_WAITS) + 1} times"
                met = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
                cause = " ".join(f"{type(met).__name__} {met}".split())[:200]
                raise UserError(
                    f"{path}: cannot be read, tried {tries} ({cause}); check the URL, the access to it, and that its "
                    "server answers range requests"
                ) from error
            time.sleep(wait)
    raise AssertionError


def _is_absent(error: Exception) -> bool:
    # fsspec says "not found" of a web server that cannot be reached too; what it met stands behind.
    behind = error.__cause__
    return isinstance(error, FileNotFoundError) and (behind is None or getattr(behind, "status", 0) == 404)


class RemoteBytes:
    """A file of `size` bytes."""

    def __init__(self, path: str):
        """Ask for the size. Raises UserError: no such file, no access, the extra is missing."""
        self._path = path
        self._files, self._url = _file_system(path)
        self.size = int(_patiently(path, lambda: self._files.info(self._url)["size"]))

    def read(self, offset: int, count: int) -> bytes:
        """Bytes [offset, offset + count), fewer at the end of the file."""
        stop = min(offset + count, self.size)

        def read() -> bytes:
            data = self._files.cat_file(self._url, start=offset, end=stop)
            if len(data) != stop - offset:
                raise ValueError(f"{len(data)} bytes instead of {stop - offset}")
            return data

        return _patiently(self._path, read)


@contextlib.contextmanager
def remote_bytes(path: str) -> Iterator[RemoteBytes]:
    """A remote file to read parts of."""
    yield RemoteBytes(path)


class _RaisingRanges:
    """A file system's `cat_ranges` that raises what went wrong: TGS `segy` would join errors with the bytes."""

    def __init__(self, files: Any):
        self._files = files

    def cat_ranges(self, **ranges: Any) -> list[bytes]:
        found = self._files.cat_ranges(**ranges)
        for error in found:
            if isinstance(error, BaseException):
                raise error
        return found


class RemoteTraces:
    """Raw traces of a remote file, by TGS `segy`: requests of neighbouring traces are merged and made side by side."""

    def __init__(self, path: str, start: int, trace_bytes: int):
        """`start`: first byte of the first trace. Raises UserError where TGS `segy` finds another layout."""
        from segy import SegyFile

        self._path, self._trace_bytes = path, trace_bytes
        self._file = _patiently(path, lambda: SegyFile(path))
        layout = self._file.spec.trace
        if (layout.offset, layout.itemsize) != (start, trace_bytes):
            raise UserError(f"{path}: its layout is not read over the network; copy the file here")
        self._file.fs = _RaisingRanges(self._file.fs)  # pyright: ignore[reportAttributeAccessIssue]

    def close(self) -> None:
        """Nothing is held open."""

    def headers(self, first: int, count: int) -> bytes:
        """240 bytes each."""
        if self._trace_bytes <= _FEW_BYTES:
            return np.ascontiguousarray(self.whole(first, count)[:, :_HEADER]).tobytes()
        return self._fetch(self._file.header, first, count, _HEADER).tobytes()

    def whole(self, first: int, count: int) -> np.ndarray:
        """Whole traces, (count, trace_bytes) bytes."""
        return self._fetch(self._file.trace, first, count, self._trace_bytes)

    def _fetch(self, indexer: Any, first: int, count: int, size: int) -> np.ndarray:
        def read() -> np.ndarray:
            raw = indexer.fetch(np.arange(first, first + count), raw=True)
            return np.frombuffer(np.atleast_1d(raw).tobytes(), np.uint8).reshape(count, size)

        return _patiently(self._path, read)
