"""Several workers on one prediction: they come late, are overtaken, fail and are killed, and the bits stay the same."""

import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seisjax.errors import UserError
from seisjax.geometry import Box, format_region
from seisjax.inference import site
from seisjax.inference.views import hull
from seisjax.volumes import create_volume, open_volume

BLOCKS = {"block_bytes": 300 * 130}


def files(folder: Path, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    """What a volume consists of, but for the records of who did what, and when it was created."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "blocks" not in path.parts)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    found["zarr.json"] = re.sub(rb'"createdOn": "[^"]*"', b"", found["zarr.json"])
    return {name: content for name, content in found.items() if name not in but}


@pytest.fixture(scope="module")
def alone(volume, predict, tmp_path_factory) -> Path:
    """What one worker makes."""
    folder = tmp_path_factory.mktemp("alone") / "prediction"
    assert predict(volume, output=folder, **BLOCKS).done > 8
    return folder


class Gate:
    """A network that waits at its first batch."""

    def __init__(self, forward):
        self.forward, self.reached, self.open, self.calls = forward, threading.Event(), threading.Event(), 0

    def __call__(self, images):
        self.calls += 1
        self.reached.set()
        assert self.open.wait(60)
        return self.forward(images)


def test_three_workers_make_what_one_makes(volume, alone, predict, forward, tmp_path):
    output = tmp_path / "prediction"
    gates = [Gate(forward) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(predict, volume, gate, output, **BLOCKS) for gate in gates]
        for gate in gates:
            assert gate.reached.wait(60)
        for gate in gates:
            gate.open.set()
        outcomes = [worker.result() for worker in workers]
    assert [outcome.left for outcome in outcomes] == [0, 0, 0]
    assert sum(outcome.last for outcome in outcomes) == 1
    assert sum(outcome.done for outcome in outcomes) >= outcomes[0].blocks  # two may have done one at a time
    assert files(output) == files(alone)
    assert [path.name for path in tmp_path.iterdir()] == ["prediction"]


def test_a_worker_that_is_overtaken_leaves(volume, alone, predict, forward, tmp_path):
    output, gate = tmp_path / "prediction", Gate(forward)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(predict, volume, gate, output, **BLOCKS)
        assert gate.reached.wait(60)
        quick = predict(volume, output=output, **BLOCKS)
        assert quick.last
        assert quick.done == quick.blocks
        gate.open.set()
        late = slow.result()
    assert (late.done, late.left, late.last) == (0, 0, False)
    assert late.volume is not None
    assert gate.calls <= 8  # what it had read ahead
    assert files(output) == files(alone)
    assert [path.name for path in tmp_path.iterdir()] == ["prediction"]


@pytest.mark.parametrize("url", ["memory://a-survey", "a-survey"])
def test_only_predictions_are_replaced_by_one(volume, predict, tmp_path, url):
    url = url if "://" in url else str(tmp_path / url)
    create_volume(url, volume.axes).finish()
    with pytest.raises(UserError, match=r"exists and is another kind of volume \(survey\)"):
        predict(volume, output=url, overwrite=True, **BLOCKS)
    assert "amplitude" in open_volume(url).arrays
    with pytest.raises(UserError, match="is what is read"):
        predict(volume, output=volume.url, overwrite=True, **BLOCKS)
    first = predict(volume, output=f"{url}-new", **BLOCKS)
    assert predict(volume, output=f"{url}-new", overwrite=True, **BLOCKS).done == first.done


def test_a_worker_that_comes_after_the_end_returns_at_once(volume, alone, predict):
    before = files(alone)

    def never(images):
        raise AssertionError

    outcome = predict(volume, never, alone, **BLOCKS)
    assert (outcome.done, outcome.left, outcome.last) == (0, 0, True)
    assert files(alone) == before


def test_a_worker_that_comes_as_another_finishes_finds_the_volume(volume, alone, predict, monkeypatch, tmp_path):
    output, opened = tmp_path / "prediction", site.SharedStaging

    def late(*arguments, **options):
        """Between a look at the place and the way in, another worker does all there is."""
        monkeypatch.undo()
        predict(volume, output=output, **BLOCKS)
        return opened(*arguments, **options)

    monkeypatch.setattr(site, "SharedStaging", late)
    outcome = predict(volume, output=output, **BLOCKS)
    assert (outcome.done, outcome.left) == (0, 0)
    assert files(output) == files(alone)
    assert [path.name for path in tmp_path.iterdir()] == ["prediction"]


def test_a_place_that_is_taken_is_left_as_it_is(volume, predict, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, message in (("folder", "is not a volume"), ("file", "is a file")):
        with pytest.raises(UserError, match=f"{name}: exists and {message}"):
            predict(volume, output=tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "notes.txt"]


def test_blocks_are_done_some_at_a_time(volume, alone, predict, tmp_path):
    output = tmp_path / "prediction"
    first = predict(volume, output=output, max_blocks=5, **BLOCKS)
    assert (first.done, first.left, first.last, first.volume) == (5, first.blocks - 5, False, None)
    assert not output.exists()
    second = predict(volume, output=output, **BLOCKS)
    assert (second.done, second.left, second.last) == (first.left, 0, True)
    assert files(output) == files(alone)


# Predicts, and is stuck when it finishes the volume.
STUCK = """
import runpy, sys, time
from pathlib import Path
from seisjax.inference.products import ProductsVolume
from seisjax.volumes import open_volume

def finish(self):
    Path(sys.argv[3] + ".finishing").touch()
    time.sleep(600)

ProductsVolume.finish = finish
helpers = runpy.run_path(sys.argv[1])
helpers["run_prediction"](open_volume(sys.argv[2]), output=sys.argv[3], block_bytes=int(sys.argv[4]))
"""


def test_a_worker_that_is_killed_while_it_finishes_is_succeeded(values, survey, predict, alone, repository, tmp_path):
    volume, output = survey(values, url=tmp_path / "survey"), tmp_path / "prediction"
    arguments = [Path(__file__).with_name("conftest.py"), volume.url, output, BLOCKS["block_bytes"]]
    environment = os.environ | {"PYTHONPATH": str(repository), "JAX_PLATFORMS": "cpu"}
    with (
        subprocess.Popen([sys.executable, "-c", STUCK, *map(str, arguments)], env=environment) as stuck,
        ThreadPoolExecutor(1) as pool,
    ):
        while not Path(f"{output}.finishing").exists():
            assert stuck.poll() is None
            time.sleep(0.01)
        waiting = pool.submit(predict, volume, output=output, **BLOCKS)
        time.sleep(0.5)
        assert not waiting.done()
        assert not output.exists()
        stuck.kill()
        outcome = waiting.result(60)
    assert (outcome.done, outcome.left, outcome.last) == (0, 0, True)
    assert files(output, but=("zarr.json",)) == files(alone, but=("zarr.json",))  # which names another survey
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prediction", "prediction.finishing", "survey"]


def test_blocks_that_cannot_be_read_are_listed_after_all_others_are_done(
    values, survey, predict, task, alone, tmp_path
):
    volume, output, said = survey(values, url=tmp_path / "survey"), tmp_path / "prediction", []
    chunk = Path(volume.url, "amplitude", "c", "1", "2", "1")
    whole, lost = chunk.read_bytes(), Box((4, 8, 8), (4, 4, 8))
    chunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"\d+ blocks could not be predicted, inline:.*amplitude.*mend that") as error:
        predict(open_volume(volume.url), output=output, say=said.append, **BLOCKS)
    assert "\n" not in str(error.value)

    planned = task(volume, **BLOCKS)
    blocks = planned.layout().blocks()
    touching = [block for block in blocks if hull(planned.views(), block.box).intersect(lost).size]
    assert 0 < len(touching) < len(blocks)
    regions = [format_region(block.box, volume.axes) for block in touching]
    assert sorted(line.split(": ")[1] for line in said) == sorted(regions)
    done = {int(path.stem) for path in Path(f"{output}.partial", "ledger", "blocks").iterdir()}
    assert done == {block.number for block in blocks} - {block.number for block in touching}

    chunk.write_bytes(whole)
    mended = predict(open_volume(volume.url), output=output, **BLOCKS)
    assert (mended.done, mended.last) == (len(touching), True)
    assert files(output, but=("zarr.json",)) == files(alone, but=("zarr.json",))
