"""What clusters do to a run of two processes under launch/local.sh: killed, told to end, broken, stuck.

SEISJAX_TEST_KILLS and SEISJAX_TEST_TERMINATIONS change how often. Times are printed (pytest -s).
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seisjax.commands.load import load
from seisjax.config import Experiment

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.slow,
    pytest.mark.quick_compiler,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux"),
]

KILLS = int(os.environ.get("SEISJAX_TEST_KILLS", 20))
TERMINATIONS = int(os.environ.get("SEISJAX_TEST_TERMINATIONS", 10))
GONE_WITHIN = 30.0  # seconds
START = 300.0  # seconds that processes may take to their first step, on a machine with other work


def metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what the clock says; a torn last line is left out."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


def last_step(workdir: Path) -> int:
    return max((row["step"] for row in metrics(workdir)), default=0)


def wait_until(seconds: float, true: Callable[..., bool], *arguments: Any) -> float:
    """Seconds until it was true."""
    since = time.monotonic()
    while not true(*arguments):
        assert time.monotonic() - since < seconds, "waited in vain"
        time.sleep(0.005)
    return time.monotonic() - since


def has_passed(workdir: Path, step: int) -> bool:
    return last_step(workdir) > step


def state_of(pid: int) -> tuple[str, int]:
    """State and parent of a process; a zombie is one that is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "gone", 0
    return ("gone" if state in "ZX" else state), int(parent)


def are_gone(*pids: int) -> bool:
    return all(state_of(pid)[0] == "gone" for pid in pids)


def have_ended(processes: list[subprocess.Popen[str]]) -> bool:
    return all(process.poll() is not None for process in processes)


def parameters(workdir: Path) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(load(workdir, "last").state["params"])]


def check_same(unbroken: Path, broken: Path) -> None:
    """The same lines, and the same parameters bit for bit."""
    assert metrics(unbroken) == metrics(broken)
    assert all(np.array_equal(a, b) for a, b in zip(parameters(unbroken), parameters(broken), strict=True))


class Local:
    """A run of two processes under launch/local.sh."""

    def __init__(self, command: list[str], environment: dict[str, str], output: Path):
        self.output = output
        with output.open("w") as file:
            self.shell = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)

    def processes(self) -> dict[int, int]:
        """Process ids by their number in the run."""
        found = {}
        for entry in Path("/proc").iterdir():
            if (
                entry.name.isdigit()
                and state_of(int(entry.name))[1] == self.shell.pid
                and not are_gone(int(entry.name))
            ):
                number = re.search(rb"--process_id=(\d+)", (entry / "cmdline").read_bytes())
                if number:
                    found[int(number[1])] = int(entry.name)
        return found

    def wait_for_new(self, before: set[int]) -> dict[int, int]:
        """The two processes of the next start."""
        since = time.monotonic()
        while True:
            found = self.processes()
            if len(found) == 2 and not before & set(found.values()):
                return found
            assert self.shell.poll() is None, self.output.read_text()
            assert time.monotonic() - since < START
            time.sleep(0.01)

    def end(self) -> None:
        """Leave nothing behind."""
        for pid in self.processes().values():
            os.kill(pid, signal.SIGKILL)
        self.shell.kill()
        self.shell.wait()


@pytest.fixture
def local(
    repository: Path, config_file, small: Experiment, environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., Local]]:
    """Start the run `small` in a folder under launch/local.sh."""
    started: list[Local] = []

    def start(workdir: Path, *flags: str, restarts: int = 0) -> Local:
        script, logs = repository / "launch" / "local.sh", f"{workdir}-logs"
        # Long enough for the survivors to end by themselves: that is what is measured.
        shell = ["bash", str(script), "-n2", "-d1", f"-r{restarts}", "-k60", "-l", logs]
        command = [str(repository / "launch" / "train.py"), f"--config={config_file(small)}", f"--workdir={workdir}"]
        started.append(
            Local([*shell, *command, *flags], environment | {"PYTHON": sys.executable}, Path(f"{workdir}.out"))
        )
        return started[-1]

    yield start
    for run in started:
        run.end()


@pytest.fixture
def small(config: Experiment) -> Experiment:
    """Enough steps to be broken in, with validations and checkpoints at other intervals."""
    config.model.base_features, config.model.levels = 2, 2
    config.optimizer.learning_rate, config.optimizer.decay_steps = 1e-3, 1000
    config.train.log_every, config.train.checkpoint_every, config.train.evaluate_every = 1, 7, 45
    config.model.activation, config.mesh.data = "gelu", -1  # smooth: rounding stays small where a ReLU has its kink
    return config


def test_killed_at_random_it_ends_as_the_unbroken_run(small: Experiment, local, tmp_path: Path, capsys):
    small.train.num_steps = 60 * KILLS
    assert local(tmp_path / "unbroken").shell.wait(3600) == 0
    draw, seconds, broken = random.Random(0), [], tmp_path / "broken"
    run, pids = local(broken, restarts=KILLS), {}
    for kill in range(KILLS):
        pids = run.wait_for_new(set(pids.values()))
        if kill % 4 == 3:  # while it starts
            time.sleep(draw.uniform(0, 4))
        else:
            wait_until(START, has_passed, broken, last_step(broken) + draw.randrange(25))
        victim = draw.randrange(2)
        os.kill(pids[victim], signal.SIGKILL)
        seconds.append(wait_until(GONE_WITHIN, are_gone, pids[1 - victim]))
    assert run.shell.wait(3600) == 0, run.output.read_text()
    with capsys.disabled():
        print(f"\n{KILLS} SIGKILLs; the other was gone after {', '.join(f'{s:.1f}' for s in seconds)} s")
    assert run.output.read_text().count("starting again") == KILLS
    check_same(tmp_path / "unbroken", broken)


def test_told_to_end_it_loses_no_step(small: Experiment, local, tmp_path: Path, capsys):
    small.train.num_steps = 400 * TERMINATIONS + 200
    small.train.checkpoint_every = 0  # only those that the termination asks for, and those of validations
    draw, seconds, broken = random.Random(1), [], tmp_path / "broken"
    run, pids = local(broken, "--stopped_status=75", restarts=TERMINATIONS), {}
    for number in range(TERMINATIONS):
        pids = run.wait_for_new(set(pids.values()))
        wait_until(START, has_passed, broken, last_step(broken))
        os.kill(pids[draw.randrange(2)], signal.SIGTERM)
        seconds.append(wait_until(GONE_WITHIN, are_gone, *pids.values()))
        stops = [int(step) for step in re.findall(r"stopped at step (\d+)", run.output.read_text())]
        assert len(stops) == number + 1, run.output.read_text()
        assert stops[-1] == last_step(broken)
    assert run.shell.wait(3600) == 0, run.output.read_text()
    with capsys.disabled():
        print(f"\n{TERMINATIONS} SIGTERMs; both were gone after {', '.join(f'{s:.1f}' for s in seconds)} s")
    assert local(tmp_path / "unbroken").shell.wait(3600) == 0
    check_same(tmp_path / "unbroken", broken)


BROKEN = """
import runpy, sys, time
from seisjax.commands import train

log = train._Run._log

def broken(self, step, *rest):
    log(self, step, *rest)
    if step == 3:
        {what}

if "--process_id=1" in sys.argv:
    train._Run._log = broken
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def both_with(what: str, command: list[str], environment: dict[str, str], port: int) -> list[subprocess.Popen[str]]:
    """A run of two processes, the second of which does something at step 3."""
    several = [f"--coordinator_address=localhost:{port}", "--num_processes=2"]
    return [
        subprocess.Popen(
            [sys.executable, "-c", BROKEN.format(what=what), *command[1:], *several, f"--process_id={i}"],
            env=environment | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("raise RuntimeError('the third step is too many')", 1, "the third step is too many"),
        ("raise __import__('seisjax.errors').errors.UserError('data: mend this')", 1, "error: data: mend this"),
        ("__import__('os').abort()", -signal.SIGABRT, ""),
    ],
)
def test_one_process_fails_and_the_other_ends_with_a_word(
    what: str, status: int, said: str, small, config_file, arguments, environment, free_port, tmp_path: Path, capsys
):
    small.train.num_steps, small.train.checkpoint_every, run = 10**6, 2, tmp_path / "run"  # a save is under way
    command = arguments("train", f"--config={config_file(small)}", f"--workdir={run}")
    processes = both_with(what, command, environment, free_port())
    try:
        wait_until(START, has_passed, run, 1)
        seconds = wait_until(GONE_WITHIN, have_ended, processes)
    finally:
        for process in processes:
            process.kill()
        outputs = [process.communicate() for process in processes]
    with capsys.disabled():
        print(f"\n{what}: both were gone after {seconds:.1f} s; process 0 said:\n{outputs[0][1][-1500:]}")
    assert processes[1].returncode == status
    assert said in outputs[1][1]
    assert processes[0].returncode != 0
    assert outputs[0][1].strip()


def test_one_process_is_stuck_and_all_end_with_their_stacks(
    small, config_file, arguments, environment, free_port, tmp_path: Path, capsys
):
    small.train.num_steps, small.train.hang_minutes, run = 10**6, 1.0, tmp_path / "run"
    command = arguments("train", f"--config={config_file(small)}", f"--workdir={run}")
    processes = both_with("time.sleep(1000)", command, environment, free_port())
    try:
        wait_until(START, has_passed, run, 1)
        seconds = wait_until(60 + GONE_WITHIN, have_ended, processes)
    finally:
        for process in processes:
            process.kill()
        outputs = [process.communicate() for process in processes]
    said = "".join(error for _, error in outputs)
    with capsys.disabled():
        print(f"\nstuck: both were gone after {seconds:.1f} s, 60 s of which were allowed")
    assert re.search(r"process \d of 2: error: .*step \d+.*: has not come back for 1 minutes; the stacks follow", said)
    assert "most recent call first" in said


def test_the_run_goes_on_in_other_numbers_of_processes(small: Experiment, config_file, start_processes, tmp_path: Path):
    small.train.evaluate_every = 6
    run, alone = tmp_path / "run", tmp_path / "alone"
    for workdir, count, steps in ((run, 2, 6), (run, 4, 12), (run, 1, 18), (alone, 2, 18)):
        flags = [f"--config={config_file(small)}", f"--config.train.num_steps={steps}", f"--workdir={workdir}"]
        processes = start_processes(count, "train", *flags, devices=4 // count)
        outputs = [process.communicate(timeout=600) for process in processes]
        assert not any(process.returncode for process in processes), outputs
    lines = [metrics(workdir) for workdir in (alone, run)]
    assert [(row["step"], row["split"]) for row in lines[0]] == [(row["step"], row["split"]) for row in lines[1]]
    assert [row["loss"] for row in lines[0]] == pytest.approx([row["loss"] for row in lines[1]], rel=1e-5)
    pairs = list(zip(parameters(alone), parameters(run), strict=True))
    assert (sum(((a - b) ** 2).sum() for a, b in pairs) / sum((a**2).sum() for a, _ in pairs)) ** 0.5 <= 1e-5
