"""Small SEG-Y files."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segyio

TYPES = {1: "f4", 2: "i4", 3: "i2", 5: "f4", 8: "i1"}


def save_segy(
    path: Path,
    samples: np.ndarray,
    headers: Mapping[int, np.ndarray | int],
    *,
    sample_format: int = 5,
    interval: int = 4000,
) -> Path:
    """A file of `samples` (trace, sample), with header fields by their first byte; the interval in microseconds."""
    spec: Any = segyio.spec()
    spec.format, spec.tracecount, spec.samples = sample_format, len(samples), np.arange(samples.shape[1])
    fields = {byte: np.broadcast_to(values, len(samples)) for byte, values in headers.items()}
    with segyio.create(str(path), spec) as file:
        file.bin.update({3217: interval, 3501: 1})
        for i in range(len(samples)):
            file.header[i] = {byte: int(values[i]) for byte, values in fields.items()}
        file.trace.raw[:] = np.ascontiguousarray(samples, TYPES[sample_format])
    return path


@pytest.fixture(scope="session")
def write_survey() -> Callable[..., Path]:
    """`save_segy`."""
    return save_segy


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """20 inlines (10, 12 ...) by 9 crosslines (100, 101 ...) by 30 samples, values of both signs, delay 8 ms."""
    inline, crossline = (part.ravel() for part in np.mgrid[10:50:2, 100:109])
    samples = np.random.default_rng(0).normal(size=(180, 30)).astype("f4")
    headers = {189: inline, 193: crossline, 109: 8, 71: -10, 181: 1000 + inline, 185: 500 + crossline}
    return save_segy(tmp_path / "survey.segy", samples, headers)


class WebServer(http.server.SimpleHTTPRequestHandler):
    """Serves a folder as object stores do: byte ranges, no listings. `before` may answer a request in its place."""

    before: Callable[["WebServer"], bool] | None = None

    def do_GET(self) -> None:
        if self.before is not None and self.before():
            return
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            return self.send_error(404)
        data, asked = file.read_bytes(), self.headers.get("Range")
        first, last = asked.removeprefix("bytes=").split("-") if asked else ("0", "")
        start = int(first) if first else len(data) - int(last)
        stop = min(int(last) + 1, len(data)) if first and last else len(data)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(data[start:stop])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve_folder(folder: Path, before: Callable[[Any], bool] | None = None) -> Iterator[str]:
    """The URL of `folder` on a web server on this machine, up while the context is."""
    kind = type("Handler", (WebServer,), {"before": before})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[str]]:
    """`serve_folder`."""
    return serve_folder
