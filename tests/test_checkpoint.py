"""Checkpoints: what is kept, what is refused, what is torn, and meshes and processes of any number."""

import contextlib
import errno
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from seisjax import checkpoint
from seisjax.checkpoint import Checkpoints
from seisjax.errors import UserError
from seisjax.sharding import make_mesh

# A state and its digest, as every process of any mesh makes them. Moments may be split over `data`.
STATE = """
import hashlib
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from seisjax.sharding import make_mesh

def values(step):
    rng = np.random.default_rng(step)
    weights = {"down": {"kernel": rng.normal(size=(3, 3, 5, 16)).astype("f4"), "scale": rng.normal(size=16).astype("f4")}}
    moments = jax.tree.map(lambda x: rng.normal(size=x.shape).astype("f4"), weights)
    half = rng.normal(size=(4, 8)).astype(jnp.bfloat16)
    return {"step": np.int32(step), "params": weights, "optimizer": moments, "half": half}

def target(mesh, shard, step=0):
    def place(path, x):
        split = shard and path[0].key == "optimizer"
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, P(*[None] * (x.ndim - 1), "data") if split else P()))
    return jax.tree_util.tree_map_with_path(place, values(step))

def placed(mesh, shard, step):
    put = lambda x, t: jax.make_array_from_callback(x.shape, t.sharding, lambda index: x[index])
    return jax.tree.map(put, values(step), target(mesh, shard))

def digest(state):
    if jax.process_count() > 1:
        whole = jax.tree.map(lambda x: NamedSharding(x.sharding.mesh, P()), state)
        state = jax.tree.map(lambda x: x.addressable_data(0), jax.jit(lambda x: x, out_shardings=whole)(state))
    hashed = hashlib.sha256()
    for path, x in jax.tree_util.tree_flatten_with_path(state)[0]:
        hashed.update(f"{path} {x.dtype} {x.shape}".encode() + np.asarray(x).tobytes())
    return hashed.hexdigest()[:16]
"""  # noqa: E501
made: dict[str, Any] = {}
exec(STATE, made)


def _save(folder: Path, losses: dict[int, float | None]) -> None:
    checkpoints = Checkpoints(folder)
    mesh = make_mesh(1, 1)
    for step, loss in losses.items():
        checkpoints.save(step, made["placed"](mesh, False, step), {"told": f"at {step}"}, loss)
    checkpoints.close()


def _restored(folder: Path, mesh: Any = None, shard: bool = False) -> tuple[int | None, int | None, str]:
    """The newest step, the best, and the digest of the newest."""
    checkpoints = Checkpoints(folder)
    try:
        latest = checkpoints.latest
        if latest is None:
            return None, None, ""
        assert checkpoints.record(latest) == {"told": f"at {latest}"}
        state = checkpoints.restore(latest, made["target"](mesh or make_mesh(1, 1), shard))
        return latest, checkpoints.best, made["digest"](state)
    finally:
        checkpoints.close()


def _expected(step: int) -> str:
    return made["digest"](made["placed"](make_mesh(1, 1), False, step))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 3, 6 and 9; the best is 3."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    _save(folder, {3: 1.0, 6: None, 9: 2.0})
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "checkpoints")


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# What is kept.


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    checkpoints, mesh = Checkpoints(folder), make_mesh(1, 1)
    assert (checkpoints.steps, checkpoints.latest, checkpoints.best) == ([], None, None)
    losses = {1: None, 2: 0.5, 3: math.nan, 4: 0.5, 5: math.inf, 6: None, 7: -math.inf, 8: 0.7}
    kept = {1: [1], 2: [1, 2], 3: [2, 3], 4: [2, 3, 4], 5: [2, 4, 5], 6: [2, 5, 6], 7: [2, 6, 7], 8: [2, 7, 8]}
    for step, loss in losses.items():
        checkpoints.save(step, made["placed"](mesh, False, step), {"told": f"at {step}"}, loss)
        checkpoints.wait()
        assert checkpoints.steps == kept[step] == sorted(map(int, _names(folder)))
        assert checkpoints.best == (1 if step == 1 else 2)
    checkpoints.close()
    assert _restored(folder) == (8, 2, _expected(8))
    again = Checkpoints(folder)
    assert again.steps == [2, 7, 8]
    again.save(9, made["placed"](mesh, False, 9), {}, 0.4)
    again.close()
    assert (again.steps, again.best) == ([8, 9], 9)
    assert _names(folder) == {"8", "9"}


def test_a_step_is_amended_and_never_written_again(folder: Path) -> None:
    def files(step: int) -> dict[str, bytes]:
        found = (file for file in (folder / str(step)).rglob("*") if file.is_file())
        return {str(file.relative_to(folder)): file.read_bytes() for file in found}

    before, checkpoints = files(9), Checkpoints(folder)
    with pytest.raises(ValueError, match="holds step 9 already"):
        checkpoints.save(9, made["placed"](make_mesh(1, 1), False, 9), {}, 0.1)
    checkpoints.amend(9, {"owed": False}, 0.1)
    assert checkpoints.best == 9
    checkpoints.close()
    assert before.items() <= files(9).items()
    checkpoints = Checkpoints(folder)
    assert (checkpoints.best, checkpoints.record(9)) == (9, {"told": "at 9", "owed": False})
    for step in (12, 15):
        checkpoints.save(step, made["placed"](make_mesh(1, 1), False, step), {"told": f"at {step}"}, 0.3)
    checkpoints.close()
    assert _names(folder) == {"9", "12", "15"}
    assert _restored(folder) == (15, 9, _expected(15))


@pytest.mark.parametrize("loss", [None, math.nan])
def test_a_validation_may_find_no_loss(folder: Path, loss: float | None) -> None:
    checkpoints = Checkpoints(folder)
    checkpoints.amend(9, {"owed": False}, loss)
    checkpoints.close()
    again = Checkpoints(folder, writes=False)
    assert (again.best, again.record(9)) == (3, {"told": "at 9", "owed": False})


def test_looking_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "12.orbax-checkpoint-tmp").mkdir()  # another process is training
    (folder / "9" / "commit_success.txt").unlink()
    before = _names(folder)
    checkpoints = Checkpoints(folder, writes=False)
    assert (checkpoints.steps, checkpoints.latest, checkpoints.best) == ([3, 6], 6, 3)
    assert made["digest"](checkpoints.restore(6, made["target"](make_mesh(1, 1), False))) == _expected(6)
    checkpoints.close()
    assert _names(folder) == before
    assert f"{folder}/9: torn, not used" in capsys.readouterr().err
    assert Checkpoints(folder / "nowhere", writes=False).latest is None
    assert not (folder / "nowhere").exists()


# What is refused.


def _changed(tree: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    copied = jax.tree.map(lambda x: x, tree)
    change(copied)
    return copied


def _resized(x: Any, shape: tuple[int, ...] = (17,), dtype: Any = np.float32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=x.sharding)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t["params"]["down"].update(scale=_resized(t["step"])),
            "'params.down.scale' is float32[16] there, float32[17]",
        ),
        (lambda t: t.update(half=_resized(t["step"], (4, 8))), "'half' is bfloat16[4, 8] there, float32[4, 8] in"),
        (lambda t: t.update(step=_resized(t["step"], (), np.int64)), "'step' is int32[] there, int64[] in"),
        (lambda t: t.update(extra=t["step"]), "'extra' is absent there, int32[] in"),
        (lambda t: t.pop("half"), "'half' is bfloat16[4, 8] there, absent in"),
        (
            lambda t: t["params"].update(up=t["params"].pop("down")),
            "'params.down.kernel' is float32[3, 3, 5, 16] there, absent in",
        ),
    ],
)
def test_another_network_is_refused(saved: Path, change: Callable, said: str) -> None:
    checkpoints = Checkpoints(saved, writes=False)
    with pytest.raises(UserError) as error:
        checkpoints.restore(9, _changed(made["target"](make_mesh(1, 1), False), change))
    assert said in str(error.value)
    assert str(error.value).endswith("use the config it was trained with, or another --workdir")


# What is torn.


FILES = (
    *("commit_success.txt", "_CHECKPOINT_METADATA", "state/_METADATA", "state/manifest.ocdbt"),
    *("state/d/*", "state/ocdbt.process_0/d/*"),
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["absent", "cut off"])
def test_a_torn_checkpoint_is_not_loaded(folder: Path, name: str, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = (folder / "9").glob(name)
    whole = file.read_bytes()
    file.unlink()
    if how == "cut off":
        file.write_bytes(whole[: len(whole) // 2])
    if (name, how) == ("commit_success.txt", "cut off"):
        assert _restored(folder) == (9, 3, _expected(9))  # that it is there says that the rest was written before it
        return
    assert _restored(folder) == (6, 3, _expected(6))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{folder}/9: torn, not used (")
    assert said[0].endswith("; it is now 9.torn")
    assert _names(folder) == {"3", "6", "9.torn"}
    _save(folder, {9: 0.5})
    assert _restored(folder) == (9, 9, _expected(9))


def test_torn_best_and_newest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (3, 9):
        (file,) = (folder / str(step)).glob("state/ocdbt.process_0/d/*")
        os.truncate(file, 100)
    assert _restored(folder) == (6, 6, _expected(6))
    assert len(capsys.readouterr().err.splitlines()) == 2
    (folder / "6" / "_CHECKPOINT_METADATA").write_text("")
    assert _restored(folder) == (None, None, "")


def test_what_is_left_of_a_save_is_cleaned_up(folder: Path) -> None:
    (folder / "9").rename(folder / "9.orbax-checkpoint-tmp")
    assert _restored(folder) == (6, 3, _expected(6))
    assert _names(folder) == {"3", "6"}


KILLED = (
    """
import sys, threading, os, time
import jax
jax.config.update("jax_platforms", "cpu")
from pathlib import Path
from absl import logging
logging.set_verbosity(logging.FATAL)
from seisjax.checkpoint import Checkpoints
"""
    + STATE
    + """
checkpoints, mesh, delay = Checkpoints(Path(sys.argv[1])), make_mesh(1, 1), float(sys.argv[2])
state = placed(mesh, False, 12) | {"large": jax.numpy.zeros((64, 1 << 16))}
for x in jax.tree.leaves(state):
    x.block_until_ready()
threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), 9))).start()
checkpoints.save(12, state, {"told": "at 12"}, 0.1)
checkpoints.wait()
time.sleep(9)
"""
)


@pytest.mark.parametrize(
    "delay", [0.02, *(pytest.param(t, marks=pytest.mark.slow) for t in (0.0, 0.005, 0.01, 0.05, 0.1))]
)
def test_killed_while_saving(folder: Path, repository: Path, delay: float) -> None:
    environment = os.environ | {"PYTHONPATH": str(repository), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    code = [sys.executable, "-c", KILLED, str(folder), str(delay)]
    assert subprocess.run(code, env=environment, timeout=120).returncode == -9
    checkpoints = Checkpoints(folder)
    latest = checkpoints.latest
    assert latest in (9, 12)
    target = made["target"](make_mesh(1, 1), False)
    if latest == 12:
        target["large"] = jax.ShapeDtypeStruct((64, 1 << 16), np.float32, sharding=target["step"].sharding)
    state = checkpoints.restore(latest, target)
    state.pop("large", None)
    assert made["digest"](state) == _expected(latest)
    checkpoints.close()


# What fails.


def _save_and_wait(checkpoints: Checkpoints, step: int) -> None:
    checkpoints.save(step, made["placed"](make_mesh(1, 1), False, step), {}, 0.1)
    checkpoints.wait()


@contextlib.contextmanager
def _small_files_only() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_save_that_fails_is_one_line(folder: Path) -> None:
    checkpoints = Checkpoints(folder)
    with (
        _small_files_only(),
        pytest.raises(UserError, match=r"a checkpoint cannot be written \(.+\); the one before it is whole") as error,
    ):
        _save_and_wait(checkpoints, 12)
    assert "\n" not in str(error.value)
    checkpoints.close()
    assert _restored(folder) == (9, 3, _expected(9))


@pytest.mark.parametrize("place", ["/proc/checkpoints", "file/checkpoints"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"checkpoints: a checkpoint cannot be written \(.+\); mend that, then start"):
        Checkpoints(tmp_path / place)


def test_a_folder_that_is_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:  # whoever runs the tests may be allowed everything
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        Checkpoints(folder)


def test_a_storage_that_has_gone(folder: Path) -> None:
    checkpoints = Checkpoints(folder)
    away = folder.rename(folder.with_name("away"))
    folder.write_text("")
    with pytest.raises(UserError, match=r"a checkpoint cannot be written \(File exists\); mend that"):
        checkpoints.save(12, made["placed"](make_mesh(1, 1), False, 12), {}, 0.1)
    checkpoints.close()
    folder.unlink()
    away.rename(folder)
    assert _restored(folder) == (9, 3, _expected(9))


FAILING = (
    STATE
    + """
import os
from pathlib import Path
from seisjax.checkpoint import Checkpoints
from seisjax.errors import UserError
folder = Path(sys.argv[4])
checkpoints = Checkpoints(folder, writes=False)
(file,) = (folder / "9").glob("state/ocdbt.process_0/d/*")
os.truncate(file, 100)
try:
    checkpoints.restore(9, target(make_mesh(1, 1), False))
except UserError as error:
    print(error)
"""
)


def test_the_storage_fails_while_restoring(folder: Path, processes: Callable) -> None:
    # In a process of its own: what Orbax leaves of the reads under way ends with warnings, whenever that is.
    (said,) = processes(1, FAILING, folder)
    assert re.fullmatch(r".+checkpoints/9: cannot be read \(.+\); check the storage, then .+", said)


def test_a_step_that_is_neither_newest_nor_best_is_torn(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (file,) = (folder / "6").glob("state/ocdbt.process_0/d/*")
    os.truncate(file, 100)
    checkpoints = Checkpoints(folder, writes=False)
    for read in (checkpoints.record, lambda step: checkpoints.restore(step, made["target"](make_mesh(1, 1), False))):
        with pytest.raises(UserError, match=r"checkpoints/6: cannot be read \(.+\); check the storage"):
            read(6)
    assert capfd.readouterr().err == ""
    assert made["digest"](checkpoints.restore(9, made["target"](make_mesh(1, 1), False))) == _expected(9)


# Other meshes, other processes.

SAVING = (
    STATE
    + """
from pathlib import Path
from seisjax.checkpoint import Checkpoints
folder, data, space, shard = Path(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), sys.argv[7] == "True"
mesh = make_mesh(data, space)
checkpoints = Checkpoints(folder)
for step, loss in ((6, 1.0), (9, 2.0)):
    checkpoints.save(step, placed(mesh, shard, step), {"told": f"at {step}"}, loss)
checkpoints.close()
print(checkpoints.latest, checkpoints.best)
"""
)
RESTORING = (
    STATE
    + """
import os
from pathlib import Path
from seisjax.checkpoint import Checkpoints
folder, data, space, shard = Path(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), sys.argv[7] == "True"
for torn in (False, True):
    if torn and jax.process_index() == 0:
        for file in (folder / "9").glob("state/d/*"):
            os.truncate(file, 10)
    checkpoints = Checkpoints(folder)
    state = checkpoints.restore(checkpoints.latest, target(make_mesh(data, space), shard))
    print(checkpoints.steps, checkpoints.latest, checkpoints.best, digest(state))
    checkpoints.close()
"""
)


def test_other_processes_and_meshes(processes: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    assert set(processes(4, SAVING, folder, 4, 2, True, devices=2)) == {"9 6"}
    for data, space, shard in ((1, 1, False), (1, 8, False), (2, 4, False), (2, 4, True), (8, 1, True)):
        assert _restored(folder, make_mesh(data, space), shard) == (9, 6, _expected(9))
    lines = {f"[6, 9] 9 6 {_expected(9)}\n[6] 6 6 {_expected(6)}"}
    assert set(processes(2, RESTORING, folder, 2, 4, False, devices=4)) == lines


def test_sharded_and_whole(tmp_path: Path) -> None:
    mesh = make_mesh(8, 1)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, made["placed"](mesh, True, 1), {"told": "at 1"})
    checkpoints.wait()
    whole = checkpoints.restore(1, made["target"](mesh, False))
    assert whole["optimizer"]["down"]["kernel"].is_fully_replicated
    checkpoints.save(2, whole, {"told": "at 2"})
    checkpoints.close()
    again = Checkpoints(tmp_path, writes=False).restore(2, made["target"](mesh, True))
    kernel = again["optimizer"]["down"]["kernel"]
    assert kernel.sharding == NamedSharding(mesh, PartitionSpec(None, None, None, "data"))
    assert made["digest"](again) == _expected(1)


# A process that sees another folder than process 0.


def _as_process_1(monkeypatch: pytest.MonkeyPatch, seen: dict[str, Any]) -> None:
    monkeypatch.setattr(checkpoint, "of_main", lambda _: json.loads(json.dumps(seen)))
    monkeypatch.setattr(checkpoint, "_LAG_SECONDS", 0.5)
    monkeypatch.setattr(checkpoint, "process_name", lambda: "process 1 of 2")


@pytest.mark.parametrize("there", [[3, 6], [3, 6, 9, 12], []])
def test_a_folder_of_its_own_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch, there: list[int]) -> None:
    _as_process_1(monkeypatch, {"losses": [], "read": [], "amended": [], "folders": there})
    with pytest.raises(UserError, match=r"process 1 of 2 sees the steps 3, 6, 9, process 0 sees .*all hosts share"):
        Checkpoints(saved, writes=False)


def test_a_file_system_that_lags(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _as_process_1(
        monkeypatch, {"losses": [[3, 1.0], [6, None], [9, 2.0]], "read": [], "amended": [], "folders": [3, 6, 9]}
    )
    late = (folder / "9").rename(folder / "late")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            late.rename(folder / "9")

    monkeypatch.setattr(checkpoint.time, "sleep", wait)
    checkpoints = Checkpoints(folder, writes=False)
    assert (checkpoints.latest, checkpoints.best, len(waits)) == (9, 3, 3)
