"""Stores behind web servers and in object stores."""

import functools
import http.server
import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import xarray
import zarr

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import create_volume, open_volume, retries, store

SHAPE = (6, 7, 20)
WHOLE = Box.whole(SHAPE)
VALUES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
NAMES = ("inline", "crossline", "time")


@dataclass
class Server:
    """A web server on this machine, and what is wrong with it: from request `first` on, `failures` times."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    first: int = 0
    failures: int = 0
    fail: Callable[[http.server.BaseHTTPRequestHandler], None] = lambda handler: handler.send_error(503)


@pytest.fixture
def server(tmp_path: Path, serving: Callable) -> Iterator[Server]:
    state = Server()

    def before(handler: http.server.SimpleHTTPRequestHandler) -> bool:
        state.requests.append(handler.path)
        failing = len(state.requests) > state.first and state.failures > 0
        if failing:
            state.failures -= 1
            state.fail(handler)
        return failing

    with serving(tmp_path, before) as url:
        state.url = url
        yield state


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three attempts within a second."""
    attempts = {"max_retries": 2, "initial_delay": "20ms", "max_delay": "100ms"}
    names = ("http_request_retries", "s3_request_retries")
    monkeypatch.setattr(store, "_context", ts.Context(dict.fromkeys(names, attempts)))
    monkeypatch.setattr(retries, "_minutes", 0.0)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    axes = [Axis(name, np.arange(n)) for name, n in zip(NAMES, SHAPE, strict=True)]
    with create_volume(tmp_path / "ours", axes, chunk=(2, 4, 8), shard=(2, 8, 24)) as volume:
        volume.write("amplitude", WHOLE, VALUES)
    return tmp_path / "ours"


def save_foreign(path: Path, version: int = 3, *, consolidated: bool = True, name: str = "v") -> Path:
    data = xarray.Dataset({name: (NAMES, VALUES)}, {"inline": np.arange(3, 9)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.to_zarr(path, zarr_format=version, consolidated=consolidated)  # pyright: ignore
    return path


class PlainServer(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def drop(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def cut(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Promise more than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True


@pytest.mark.parametrize("version", [2, 3])
def test_a_foreign_store_over_http(tmp_path: Path, server: Server, version: int) -> None:
    save_foreign(tmp_path / "a.zarr", version)
    for url in (f"{server.url}/a.zarr", f"{server.url}/a.zarr/", f"{server.url}/a.zarr#v"):
        volume = open_volume(url)
        np.testing.assert_array_equal(volume.read_amplitude(WHOLE), VALUES)
        assert volume.axes[0].labels[0] == 3


@pytest.mark.parametrize("version", [2, 3])
def test_a_web_server_does_not_list(tmp_path: Path, server: Server, version: int) -> None:
    save_foreign(tmp_path / "a.zarr", version, consolidated=False)
    with pytest.raises(UserError, match="not consolidated .* run zarr.consolidate_metadata on the store") as error:
        open_volume(f"{server.url}/a.zarr")
    assert "\n" not in str(error.value)
    volume = open_volume(f"{server.url}/a.zarr#v")
    np.testing.assert_array_equal(volume.read_amplitude(WHOLE), VALUES)
    assert volume.axes[0].labels[0] == 3
    with pytest.raises(UserError, match="no array 'w'"):
        open_volume(f"{server.url}/a.zarr#w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(tmp_path / "a.zarr"))
    assert open_volume(f"{server.url}/a.zarr").fingerprint == volume.fingerprint


def test_mdio_says_what_it_holds(tmp_path: Path, server: Server) -> None:
    path = save_foreign(tmp_path / "a.mdio", consolidated=False, name="velocity")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"] = {"apiVersion": "1.1.3", "attributes": {"defaultVariableName": "velocity"}}
    (path / "zarr.json").write_text(json.dumps(document))
    np.testing.assert_array_equal(open_volume(f"{server.url}/a.mdio").read_amplitude(WHOLE), VALUES)


def test_nothing_there(server: Server) -> None:
    with pytest.raises(UserError, match="no volume here"):
        open_volume(f"{server.url}/nowhere")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fail", [lambda handler: handler.send_error(503), drop, cut])
def test_a_server_that_stumbles(ours: Path, server: Server, fail: Callable) -> None:
    volume = open_volume(f"{server.url}/ours")
    server.first, server.failures, server.fail = len(server.requests), 2, fail
    np.testing.assert_array_equal(volume.read_amplitude(WHOLE), VALUES)
    assert server.failures == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fail", [lambda handler: handler.send_error(500), drop, cut])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_server_that_fails_half_way(ours: Path, server: Server, fail: Callable, after: int) -> None:
    server.first, server.failures, server.fail = after, 10**6, fail
    with pytest.raises(
        UserError, match=r"All 2 retry attempts failed: .*; check that the store .* can be reached"
    ) as e:
        open_volume(f"{server.url}/ours").read_amplitude(WHOLE)
    assert "\n" not in str(e.value)
    assert "html" not in str(e.value)


def test_a_server_without_byte_ranges(ours: Path) -> None:
    kind = functools.partial(PlainServer, directory=str(ours.parent))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    with pytest.raises(UserError, match="ignored by server; use a web server that answers requests for byte ranges"):
        open_volume(f"http://127.0.0.1:{httpd.server_address[1]}/ours").read_amplitude(Box((0, 0, 0), (1, 1, 1)))
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_gone(ours: Path) -> None:
    with pytest.raises(UserError, match="http://127.0.0.1:9/ours: .*can be reached"):
        open_volume("http://127.0.0.1:9/ours")


@pytest.mark.slow
@pytest.mark.parametrize("fail", [lambda handler: handler.send_error(503), lambda handler: time.sleep(90)])
def test_how_long_one_try_takes(ours: Path, server: Server, monkeypatch: pytest.MonkeyPatch, fail: Callable) -> None:
    monkeypatch.setattr(retries, "_minutes", 0.0)
    volume = open_volume(f"{server.url}/ours")
    server.first, server.failures, server.fail = len(server.requests), 10**6, fail
    start = time.monotonic()
    with pytest.raises(UserError, match="can be reached"):
        volume.read_amplitude(WHOLE)
    print(f"gave up after {time.monotonic() - start:.1f} s")
    assert 5 < time.monotonic() - start < 100


# Object stores.


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket `surveys` on an S3 server on this machine, named in the environment as Amazon's tools have it."""
    pytest.importorskip("moto", reason="moto is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="surveys")
    yield client
    moto.stop()


def upload(client: Any, folder: Path, prefix: str) -> None:
    for file in filter(Path.is_file, folder.rglob("*")):
        client.put_object(Bucket="surveys", Key=f"{prefix}/{file.relative_to(folder)}", Body=file.read_bytes())


@pytest.mark.usefixtures("impatient")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_object_stores(bucket: Any, ours: Path, tmp_path: Path) -> None:
    upload(bucket, ours, "north/ours")
    upload(bucket, save_foreign(tmp_path / "v2", 2), "v2")
    upload(bucket, save_foreign(tmp_path / "v3", 3, consolidated=False), "v3")
    for name in ("north/ours", "v2", "v3"):
        np.testing.assert_array_equal(open_volume(f"s3://surveys/{name}").read_amplitude(WHOLE), VALUES)
    with pytest.raises(UserError, match="no volume here"):
        open_volume("s3://surveys/nowhere")
    with pytest.raises(UserError, match="s3://other-bucket/a: "):
        open_volume("s3://other-bucket/a")
    axes = [Axis(name, np.arange(n)) for name, n in zip(NAMES, SHAPE, strict=True)]
    with create_volume("s3://surveys/written", axes) as volume:
        volume.write("amplitude", WHOLE, VALUES)
    np.testing.assert_array_equal(open_volume("s3://surveys/written").read_amplitude(WHOLE), VALUES)


def test_google_cloud_storage_is_accepted() -> None:
    assert store.Store("gs://surveys/north/a.zarr").spec == {
        "driver": "gcs",
        "bucket": "surveys",
        "path": "north/a.zarr/",
    }
