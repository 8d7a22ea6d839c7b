"""Three workers on one prediction that are killed at random, and started again.

SEISJAX_TEST_KILLS changes how often. What was counted is printed (pytest -s).
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from seisjax.geometry import Axis
from seisjax.volumes import create_volume

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.quick_compiler]

KILLS = int(os.environ.get("SEISJAX_TEST_KILLS", 20))
WORKERS = 3
START = 300.0  # seconds in which a block must be done, on a machine with other work

# Runs a command, and writes a line for each block that it begins and each that it has done.
WATCHED = """
import os, runpy, sys
from seisjax.inference.products import ProductsVolume

log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
empty, write = ProductsVolume.empty, ProductsVolume.write

def tell(what, block):
    os.write(log, f"{what} {os.getpid()} {','.join(map(str, block.place.start))}\\n".encode())

def begun(self, block):
    tell("begun", block)
    return empty(self, block)

def done(self, block, *rest):
    written = write(self, block, *rest)
    if written:
        tell("done", block)
    return written

ProductsVolume.empty, ProductsVolume.write, sys.argv = begun, done, sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """Noise on a grid whose labels are counts, in chunks of 2 inlines."""
    shape = (240, 80, 72)
    units = {"inline": "", "crossline": "", "time": "ms"}
    axes = [
        Axis(name, np.arange(n) * (4.0 if unit else 1), unit)
        for (name, unit), n in zip(units.items(), shape, strict=True)
    ]
    rng = np.random.default_rng(0)
    with create_volume(tmp_path / "survey.zarr", axes, chunk=(2, 16, 36), shard=(2, 32, 36)) as volume:
        for box in volume.shards():
            volume.write("amplitude", box, (70 * rng.standard_normal(box.shape)).astype(np.float32))
    return tmp_path / "survey.zarr"


@pytest.fixture
def start(arguments: Callable[..., list[str]], environment: dict[str, str], tmp_path: Path) -> Iterator[Callable]:
    """Start launch/predict.py, watched; those that a test leaves are killed."""
    started: list[subprocess.Popen[str]] = []

    def worker(*flags: str) -> subprocess.Popen[str]:
        watched = [sys.executable, "-c", WATCHED, str(tmp_path / "log")]
        command = [*watched, *arguments("predict", *flags)[1:]]
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield worker
    for process in started:
        process.kill()
        process.communicate()


def records(folder: Path) -> dict[tuple[int, ...], str]:
    """The records of the blocks that are done, by where the blocks begin."""
    found = {}
    for path in (folder / "ledger" / "blocks").glob("*.json"):
        text = path.read_text()
        parts = [float(first) for first in re.findall(r":([\d.]+)", json.loads(text)["region"])]
        found[int(parts[0]), int(parts[1]), int(parts[2] / 4)] = text
    return found


def log_lines(path: Path) -> list[tuple[str, int, tuple[int, ...]]]:
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(what, int(pid), tuple(map(int, place.split(",")))) for what, pid, place in lines]


def wait_for(blocks: int, partial: Path) -> None:
    since = time.monotonic()
    while len(list((partial / "ledger" / "blocks").glob("*.json"))) < blocks:
        assert time.monotonic() - since < START, "waited in vain"
        time.sleep(0.005)


def files(folder: Path) -> dict[str, bytes]:
    """All of a volume but its document and records, which tell the command and the time."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "blocks" not in path.parts)
    return {name: path.read_bytes() for path in paths if (name := path.relative_to(folder).as_posix()) != "zarr.json"}


def test_killed_at_random_they_end_as_one_that_was_not(trained: Path, survey: Path, start, tmp_path: Path, capsys):
    flags = [f"--workdir={trained}", f"--input={survey}", "--overlap=0.8", "--block_mebibytes=1"]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    output, error = start(*flags, f"--output={unbroken}").communicate(timeout=3600)
    number = len(records(unbroken))
    assert f"{number} of {number} blocks" in output, error
    assert number > 5 * KILLS
    (tmp_path / "log").unlink()

    draw, partial, seen, in_flight = random.Random(0), tmp_path / "broken.partial", {}, []
    workers = [start(*flags, f"--output={broken}") for _ in range(WORKERS)]
    for kill in range(KILLS):
        if kill % 4 == 3:  # whoever it is, while it starts or at work
            time.sleep(draw.uniform(0, 4))
            victim = draw.choice(workers)
        else:
            wait_for(len(records(partial)) + draw.randrange(1, 4), partial)
            at_work = {pid for _, pid, _ in log_lines(tmp_path / "log")}
            victim = draw.choice([worker for worker in workers if worker.pid in at_work] or workers)
        victim.kill()
        victim.communicate()
        now = records(partial)
        begun = {place for what, pid, place in log_lines(tmp_path / "log") if pid == victim.pid}
        in_flight.append(len(begun - now.keys()))
        assert now.keys() >= seen.keys(), "a block that was done was lost"
        assert all(now[place] == text for place, text in seen.items()), "a block that was done was done again"
        seen = now
        workers[workers.index(victim)] = start(*flags, f"--output={broken}")
    outputs = [worker.communicate(timeout=3600) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * WORKERS, outputs

    last, lines = records(broken), log_lines(tmp_path / "log")
    assert all(last[place] == text for place, text in seen.items())
    assert last.keys() == records(unbroken).keys()
    assert files(broken) == files(unbroken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "log", "survey.zarr", "unbroken"]

    begun, done = (Counter(place for what, _, place in lines if what == kind) for kind in ("begun", "done"))
    with capsys.disabled():
        print(
            f"\n{KILLS} SIGKILLs over {number} blocks and {WORKERS} workers; blocks in flight at them: {in_flight}; "
            f"{begun.total()} times a block was begun, {done.total()} times one was written"
        )
