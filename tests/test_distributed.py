"""How the processes of a run find each other, what is said of those that do not come, and how one's error ends all."""

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from seisjax import distributed, roll_call, sharding
from seisjax.errors import UserError
from seisjax.roll_call import call_roll, spans

SLURM = {"SLURM_NODEID": "0", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x3),1"}


def _roll(port: int, callers: list[tuple[int, int]], timeout: float) -> list[str]:
    """What each caller, (number, count), hears; "" is go."""

    def one(caller: tuple[int, int]) -> str:
        number, count = caller
        try:
            call_roll(f"localhost:{port}", count, number, timeout)
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(callers)) as pool:
        return list(pool.map(one, callers))


def test_all_come(free_port):
    assert _roll(free_port(), [(i, 5) for i in (3, 1, 0, 4, 2)], timeout=30) == [""] * 5


def test_who_does_not_come_is_named_to_all(free_port):
    port = free_port()
    heard = _roll(port, [(0, 6), (2, 6)], timeout=1)
    assert heard[0] == heard[1]
    assert heard[0].startswith("--start_timeout: processes 1, 3-5 of 6 did not come to process 0")
    assert f"port {port}, within 1 s" in heard[0]


def test_process_0_does_not_come(free_port):
    port = free_port()
    assert f"localhost:{port}: process 0 of 2 did not come within 1 s" in _roll(port, [(1, 2)], timeout=1)[0]


def test_two_of_one_number(free_port):
    heard = set(_roll(free_port(), [(0, 3), (1, 3), (1, 3)], timeout=20))
    assert len(heard) == 1
    assert heard.pop().startswith("--process_id: 1 came twice")


def test_other_number_of_processes(free_port):
    heard = set(_roll(free_port(), [(0, 2), (1, 3)], timeout=20))
    assert len(heard) == 1
    assert heard.pop().startswith("--num_processes: process 1 on")


def test_a_port_that_is_taken(free_port):
    with (
        socket.create_server(("", port := free_port())),
        pytest.raises(UserError, match=f"cannot listen on port {port}"),
    ):
        call_roll(f"localhost:{port}", 2, 0, timeout=5)


def test_strangers_and_those_who_left_are_not_counted(free_port):
    port = free_port()

    def visit(text: bytes) -> None:
        while True:
            try:
                with socket.create_connection(("localhost", port)) as connection:
                    connection.sendall(text)
                    time.sleep(0.3)
                return
            except OSError:
                time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_roll, port, [(0, 3)], 3)
        visit(b"GET / HTTP/1.0\r\n\r\n\n")
        visit(b"[1]\n")
        visit(b'{"process": 1, "of": 3, "host": "a"}\n')  # killed while it waited
        assert "processes 1-2 of 3 did not come" in answer.result()[0]


def test_who_is_waited_for_is_said(free_port, monkeypatch, capfd):
    monkeypatch.setattr(roll_call, "_SAY_EVERY", 0.2)
    _roll(free_port(), [(0, 2)], timeout=1)
    assert "waiting for process 1 of 2" in capfd.readouterr().err
    _roll(free_port(), [(1, 2)], timeout=1)
    assert "process 1 of 2 waits for process 0 at localhost" in capfd.readouterr().err


@pytest.mark.parametrize(("numbers", "text"), [([3], "3"), ([0, 1], "0-1"), ([7, 1, 5, 6], "1, 5-7"), ([2, 4], "2, 4")])
def test_spans(numbers, text):
    assert spans(numbers) == text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("localhost:1234", None, None), "together"),
        ((None, 2, 0), "together"),
        (("localhost:1234", 2, 2), "--process_id=2: the run has 2 processes"),
        (("localhost", 2, 0), "no host:port"),
        (("localhost:0", 2, 0), "no host:port"),
        ((None, 16, None), r"--num_processes=16: 1 found \(no cluster\)"),
    ],
)
def test_flags_that_do_not_go_together(given, message):
    with pytest.raises(UserError, match=message):
        distributed.initialize(*given)


@pytest.mark.parametrize("count", [None, 1])
def test_without_a_cluster_a_process_is_alone(count):
    distributed.initialize(None, count, None)
    assert distributed.several() is None
    assert distributed.is_main()
    distributed.meet("nobody else")


def test_a_step_of_another_size_than_expected(monkeypatch):
    for name, value in (SLURM | {"SLURM_STEP_NODELIST": "n[01-04]", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "7")
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")
    with pytest.raises(UserError, match=r"--num_processes=8: 7 found \(SLURM step of 7 tasks\)"):
        distributed.initialize(None, 8, None)


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, []),  # no GPUs
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "2"}, [1]),  # both tasks see both
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_GPUS_ON_NODE": "4"}, [2, 3]),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "2"}, []),  # --gpus-per-task=1: its own is the 0th
        ({"CUDA_VISIBLE_DEVICES": "2,3", "SLURM_GPUS_ON_NODE": "4"}, []),
        ({"ROCR_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "2"}, [1]),
        # Alone on the last node: all that are there.
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "2", "SLURM_NODEID": "3", "SLURM_LOCALID": "0"}, []),
    ],
)
def test_devices_of_a_task(environment, devices):
    assert distributed.local_devices(SLURM | environment) == devices


def test_gathered_in_one_process():
    mesh = sharding.make_mesh(4, 2)
    split = jax.device_put(np.arange(32.0).reshape(8, 4), sharding.batch_sharding(mesh, 2, space_dim=1))
    tree = distributed.gathered({"split": split, "number": 3, "host": np.ones(2)})
    np.testing.assert_array_equal(tree["split"], np.arange(32.0).reshape(8, 4))
    assert all(isinstance(x, np.ndarray) for x in tree.values())


_GATHERS = """
import numpy as np
from seisjax import distributed, sharding
mesh = sharding.make_mesh(2, 2)
whole = np.arange(24.0).reshape(4, 6)
make = lambda s: jax.make_array_from_callback(whole.shape, s, lambda i: whole[i])
tree = {"a": make(sharding.batch_sharding(mesh, 2, space_dim=1)), "b": [make(sharding.replicated(mesh)), 1, whole]}
got = distributed.gathered(tree)
same = all(np.array_equal(x, whole) for x in (got["a"], got["b"][0], got["b"][2]))
print(same, type(got["a"]).__name__, int(got["b"][1]), distributed.is_main())
distributed.meet("end")
"""


def test_gathered_in_two_processes(processes):
    assert processes(2, _GATHERS, devices=2) == ["True ndarray 1 True", "True ndarray 1 False"]


_FAILS = """
import sys, jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from seisjax import command_line, distributed
from seisjax.errors import UserError
join = command_line.define_processes()

def main(argv):
    join()
    print("joined", distributed.several(), flush=True)
    if distributed.several()[0] == 1:
        raise ERROR
    for _ in range(1000):
        multihost_utils.process_allgather(jnp.ones(1))

command_line.run(main)
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("RuntimeError('it broke')", "process 1 of 2: error: RuntimeError: it broke"),
        pytest.param(
            "UserError('data.volume: gone; find it')",
            "process 1 of 2: error: data.volume: gone; find it",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_error_on_one_process_ends_all(repository, free_port, tmp_path, error, line):
    code = tmp_path / "fails.py"
    code.write_text(_FAILS.replace("ERROR", error))
    place = [f"--coordinator_address=localhost:{free_port()}", "--num_processes=2"]
    environment = {"PYTHONPATH": str(repository), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, code, *place, f"--process_id={i}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        told = started[1].communicate(timeout=60)[1]
        gone = time.monotonic()
        other, survivor = started[0].communicate(timeout=30)
        assert time.monotonic() - gone < 30
    finally:
        for process in started:
            process.kill()
    assert f"fails.py: {line}\n" in told
    assert ("Traceback" in told) == ("RuntimeError" in error)
    assert "joined (0, 2)" in other
    assert [process.returncode for process in started] == [1, 1]
    assert "fails.py: process 0 of 2: error: " in survivor
