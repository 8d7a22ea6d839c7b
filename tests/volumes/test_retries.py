"""Reads that fail for a passing reason are tried again; what is wrong for good is not."""

import errno
import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import create_volume, open_volume, retries, store

SHAPE = (4, 5, 8)
WHOLE = Box.whole(SHAPE)
VALUES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
LINE = re.compile(r"^\S+/amplitude: .+; trying again in \d+ s, for at most [\d.]+ min in all$")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow at once, for 6 seconds at most; web servers are asked twice a try."""
    for name, value in {"_FIRST_DELAY": 0.02, "_LONGEST_DELAY": 0.05, "_minutes": 0.1, "_silent_until": {}}.items():
        monkeypatch.setattr(retries, name, value)
    attempts = {"max_retries": 1, "initial_delay": "1ms", "max_delay": "1ms"}
    monkeypatch.setattr(store, "_context", ts.Context({"http_request_retries": attempts}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    axes = [Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), SHAPE, strict=True)]
    with create_volume(tmp_path / "a.zarr", axes, chunk=SHAPE, shard=SHAPE) as volume:
        volume.write("amplitude", WHOLE, VALUES)
    return tmp_path / "a.zarr"


@dataclass
class Outage:
    """What the web server does with requests for samples, so many times."""

    url: str = ""
    failures: int = 0
    requests: int = 0
    fail: Callable[[http.server.BaseHTTPRequestHandler], Any] = lambda handler: handler.send_error(503)


@pytest.fixture
def outage(path: Path, serving: Callable) -> Iterator[Outage]:
    state, lock = Outage(), threading.Lock()

    def before(handler: http.server.SimpleHTTPRequestHandler) -> bool:
        if "/amplitude/c/" not in handler.path:
            return False
        with lock:
            state.requests += 1
            fails = state.failures > 0
            state.failures -= 1
        if fails:
            state.fail(handler)
        return fails

    with serving(path.parent, before) as url:
        state.url = f"{url}/{path.name}"
        yield state


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_server_that_comes_back(outage: Outage, capsys: pytest.CaptureFixture[str]) -> None:
    volume = open_volume(outage.url)
    outage.failures = 7  # two requests a try
    np.testing.assert_array_equal(volume.read_amplitude(WHOLE), VALUES)
    lines = _lines(capsys)
    assert len(lines) == 3
    assert all(LINE.match(line) and outage.url in line and "503" in line for line in lines), lines


def test_a_good_read_says_nothing(outage: Outage, capsys: pytest.CaptureFixture[str]) -> None:
    np.testing.assert_array_equal(open_volume(outage.url).read_amplitude(WHOLE), VALUES)
    assert outage.requests == 1
    assert _lines(capsys) == []


def test_a_server_that_stays_away(
    outage: Outage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retries, "_minutes", 0.01)
    volume = open_volume(outage.url)
    outage.failures = 10**6
    began = time.monotonic()
    with pytest.raises(
        UserError, match=r"503.* \(tried again \d+ times over 0.01 minutes\); check that the store"
    ) as e:
        volume.read_amplitude(WHOLE)
    assert 0.6 <= time.monotonic() - began < 3
    assert "\n" not in str(e.value)
    assert f"{outage.url}/amplitude" in str(e.value)
    assert len(_lines(capsys)) == int(re.findall(r"again (\d+) times", str(e.value))[0])


def test_tries_drift_apart_and_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    for name, value in {"_FIRST_DELAY": 1.0, "_LONGEST_DELAY": 30.0, "_minutes": 2.0}.items():
        monkeypatch.setattr(retries, name, value)
    monkeypatch.setattr(retries.time, "monotonic", lambda: now[0])
    taken = []
    for delay in retries._delays():
        taken.append(delay)
        now[0] += delay + 0.5  # what the try itself takes
    assert taken[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert sum(taken) + 0.5 * (len(taken) - 1) <= 120


@pytest.mark.parametrize("status", [403, 410])
def test_what_a_server_refuses_is_not_asked_again(
    outage: Outage, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = open_volume(outage.url)
    outage.failures, outage.fail = 10**6, lambda handler: handler.send_error(status)
    with pytest.raises(UserError, match=f"{status}.*; check that the store"):
        volume.read_amplitude(WHOLE)
    assert outage.requests == 1
    assert _lines(capsys) == []


def test_a_refusal_after_an_outage_ends_it(outage: Outage) -> None:
    volume = open_volume(outage.url)
    outage.failures = 10**6
    outage.fail = lambda handler: handler.send_error(503 if outage.requests <= 4 else 403)
    with pytest.raises(UserError, match=r"403\]; check that the store"):
        volume.read_amplitude(WHOLE)
    assert outage.requests == 5


def test_a_file_system_that_comes_back(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A link to itself stands for a file that the system cannot open just now.
    monkeypatch.setattr(retries, "_PASSING_NUMBERS", {errno.ELOOP})
    volume = open_volume(path)
    chunk = path / "amplitude" / "c" / "0" / "0" / "0"
    away = chunk.rename(chunk.with_name("away"))
    chunk.symlink_to(chunk)
    failures, lock, report = 0, threading.Lock(), retries._report

    def counted(*arguments: Any) -> None:
        nonlocal failures
        report(*arguments)
        with lock:
            failures += 1
            if failures == 12:
                away.replace(chunk)

    monkeypatch.setattr(retries, "_report", counted)
    with ThreadPoolExecutor(4) as threads:  # as the loader reads
        for values in threads.map(lambda _: volume.read_amplitude(WHOLE), range(8)):
            np.testing.assert_array_equal(values, VALUES)
    lines = _lines(capsys)
    assert all(LINE.match(line) and str(chunk) in line for line in lines), lines
    assert 1 <= len(lines) < failures  # one a try, not one a thread and try


def test_a_corrupt_chunk_is_not_read_again(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunk = path / "amplitude" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"amplitude: .*; check that the store is whole"):
        open_volume(path).read_amplitude(WHOLE)
    assert _lines(capsys) == []


def test_no_minutes_mean_no_other_try(outage: Outage) -> None:
    volume = open_volume(outage.url)
    retries.set_retry_minutes(0)
    outage.failures = 10**6
    with pytest.raises(UserError, match=r"503.*; check that the store"):
        volume.read_amplitude(WHOLE)
    assert outage.requests == 2


def _failure(number: int) -> ValueError:
    return ValueError(f"UNKNOWN: Error reading local file \"/a\": Failed to read [os_error_code='{number}']")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ENOTCONN])
def test_what_passes(number: int) -> None:
    assert retries.is_passing(_failure(number))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP])
def test_what_does_not_pass(number: int) -> None:
    assert not retries.is_passing(_failure(number))


@pytest.mark.parametrize("code", ["NOT_FOUND", "PERMISSION_DENIED", "FAILED_PRECONDITION", "DATA_LOSS"])
def test_codes_that_do_not_pass(code: str) -> None:
    assert not retries.is_passing(ValueError(f"{code}: the path /UNAVAILABLE/ABORTED is wrong"))
