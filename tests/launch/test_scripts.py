"""The scripts that start runs on one machine, under SLURM, in GKE and on TPU VMs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from seisjax.config import Experiment

STATUS_STOPPED = 75
TASKS = 2

_WORKER = """
import os, signal, sys, time
folder, behaviour, *flags = sys.argv[1:]
number = int(flags[-1].removeprefix("--process_id="))
tries = sum(name.startswith(f"{number}.") for name in os.listdir(folder))
with open(f"{folder}/{number}.{tries}", "w") as file:
    file.write(" ".join([*flags, *(os.environ.get(x, "") for x in ("JAX_NUM_CPU_DEVICES", "CUDA_VISIBLE_DEVICES"))]))
def told(*_):
    print("told to stop", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "deaf" and number == 0 else told)
print("hello from", number, flush=True)
if behaviour == "good" or (behaviour == "once" and tries):
    sys.exit(0)
if behaviour in ("once", "always", "deaf") and number == 1:
    while len(os.listdir(folder)) < 2 * (tries + 1):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""

# What SLURM does for a job of two tasks on one node: an environment for each task, and their highest status.
_SRUN = """#!{python}
import os, subprocess, sys
arguments = sys.argv[1:]
while arguments[0].startswith("--"):
    arguments.pop(0)
tasks = int(os.environ["SLURM_NTASKS"])
step = {{"SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0",
        "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_TASKS_PER_NODE": str(tasks)}}
started = [
    subprocess.Popen(arguments, env=os.environ | step | {{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}})
    for i in range(tasks)
]
with open(os.environ["FAKE_SLURM"] + "/tasks", "w") as file:
    file.write(" ".join(str(task.pid) for task in started))
sys.exit(max(code if code >= 0 else 128 - code for code in [task.wait() for task in started]))
"""

# A shell cannot trap what was ignored when it began, as SIGINT is in tests that run in the background.
_HEAR_INTERRUPTS = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)

Local = Callable[..., tuple[subprocess.Popen[str], Path]]


def _end(started: list[subprocess.Popen[str]]) -> None:
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


@pytest.fixture
def local(repository: Path, tmp_path: Path):
    """Start local.sh on a script that behaves as it is told; also the folder where its processes leave a file each."""
    script, folder = tmp_path / "worker.py", tmp_path / "started"
    script.write_text(_WORKER)
    folder.mkdir()
    running: list[subprocess.Popen[str]] = []

    def start(behaviour: str, *options: str) -> tuple[subprocess.Popen[str], Path]:
        command = [
            sys.executable,
            "-c",
            _HEAR_INTERRUPTS,
            "bash",
            str(repository / "launch" / "local.sh"),
            "-l",
            str(tmp_path / "logs"),
            *options,
        ]
        environment = os.environ | {"PYTHON": sys.executable}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        running.append(
            subprocess.Popen(
                [*command, str(script), str(folder), behaviour],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1], folder

    yield start
    _end(running)


def _scripts(repository: Path) -> list[Path]:
    return sorted(path for end in ("*.sh", "*.sbatch") for path in (repository / "launch").rglob(end))


def test_every_script_parses(repository: Path) -> None:
    scripts = _scripts(repository)
    assert {"local.sh", "environment.sh", "train.sbatch", "evaluate.sbatch", "resume.sh"} <= {x.name for x in scripts}
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)
        text = script.read_text()
        assert max(map(len, text.splitlines())) <= 120, script
        if text.startswith("#!"):
            assert "\nset -euo pipefail\n" in text, script
            assert script.suffix == ".sbatch" or os.access(script, os.X_OK), script


def test_what_starts_training_takes_the_shared_environment(repository: Path) -> None:
    for script in (path for path in (repository / "launch").rglob("*") if path.suffix in {".sh", ".sbatch", ".yaml"}):
        if re.search(r"launch/(train|evaluate)\.py", script.read_text()) and script.name != "local.sh":
            assert "source launch/environment.sh" in script.read_text(), script
    assert '/environment.sh"' in (repository / "launch" / "local.sh").read_text()


def test_the_shared_environment_keeps_what_is_set(repository: Path) -> None:
    command = f"set -eu; source {repository}/launch/environment.sh; echo $PYTHONUNBUFFERED $OMP_NUM_THREADS; ulimit -c"
    for given, printed in (({}, "1 1\n0\n"), ({"OMP_NUM_THREADS": "4"}, "1 4\n0\n")):
        environment = {"PATH": os.environ["PATH"]} | given
        assert subprocess.check_output(["bash", "-c", command], env=environment, text=True) == printed


def test_processes_of_one_machine(local: Local) -> None:
    process, folder = local("good", "-n", "3", "-d", "2")
    assert process.wait(timeout=60) == 0
    flags = [(folder / f"{i}.0").read_text().split() for i in range(3)]
    assert [x[2:] for x in flags] == [[f"--process_id={i}", "2"] for i in range(3)]
    assert len({x[0] for x in flags}) == 1
    assert re.fullmatch(r"--coordinator_address=localhost:\d+", flags[0][0])
    assert "hello from 0" in process.stdout.read()
    assert "hello from 2" in (folder.parent / "logs" / "process_2.log").read_text()


def test_one_gpu_a_process(local: Local) -> None:
    process, folder = local("good", "-g")
    assert process.wait(timeout=60) == 0
    assert [(folder / f"{i}.0").read_text().split()[-1] for i in range(2)] == ["0", "1"]


def test_a_killed_process_ends_the_others_and_all_start_again(local: Local) -> None:
    process, folder = local("once")
    assert process.wait(timeout=60) == 0
    said = process.stderr.read()
    assert "process 1 of 2 ended with status 137" in said
    assert "[1] hello from 1" in said
    assert "starting again (1 of 3)" in said
    assert "told to stop" in process.stdout.read()
    assert len(list(folder.iterdir())) == 4
    ports = {(folder / f"0.{i}").read_text().split()[0] for i in range(2)}
    assert len(ports) == 2


def test_local_gives_up_and_kills_who_does_not_listen(local: Local) -> None:
    process, folder = local("deaf", "-r", "1", "-k", "1")
    assert process.wait(timeout=60) == 137
    assert "gave up after 1 restarts" in process.stderr.read()
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("notice", [signal.SIGTERM, signal.SIGINT])
def test_a_notice_is_handed_on_once_and_nothing_starts_again(local: Local, notice: signal.Signals) -> None:
    process, folder = local("wait")
    lines = [process.stdout.readline()]
    log = folder.parent / "logs" / "process_1.log"
    while not (log.exists() and "hello" in log.read_text()):
        time.sleep(0.05)
    process.send_signal(notice)
    assert process.wait(timeout=30) == STATUS_STOPPED
    lines += process.stdout.readlines()
    assert lines == ["hello from 0\n", "told to stop\n"]
    assert log.read_text() == "hello from 1\ntold to stop\n"
    assert "starting again" not in process.stderr.read()


@pytest.mark.parametrize("options", [["-n", "two"], ["-n", "0"], ["-x"]])
def test_local_refuses_what_it_does_not_know(local: Local, options: list[str]) -> None:
    process, folder = local("good", *options)
    assert process.wait(timeout=30) == 2
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("kind", "resource"), [("gpu", "nvidia.com/gpu"), ("tpu", "google.com/tpu")])
def test_jobsets(repository: Path, kind: str, resource: str) -> None:
    jobset = yaml.safe_load((repository / "launch" / "gke" / f"train_{kind}.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    name, network = jobset["metadata"]["name"], jobset["spec"]["network"]
    (workers,) = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}

    assert network["enableDNSHostnames"]
    assert workers["replicas"] == 1
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == int(environment["NUM_PROCESSES"])
    host, port = environment["COORDINATOR"].split(":")
    assert host == f"{name}-{workers['name']}-0-0.{network['subdomain']}"
    assert container["ports"] == [{"containerPort": int(port)}]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert resource in container["resources"]["limits"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}

    # A stopped run starts again uncounted; one pod that fails otherwise ends all, which is counted.
    assert (pod["restartPolicy"], job["backoffLimit"]) == ("Never", 0)
    stopped, disrupted = job["podFailurePolicy"]["rules"]
    assert (stopped["action"], stopped["onExitCodes"]["containerName"]) == ("FailJob", container["name"])
    assert stopped["onExitCodes"]["values"] == [STATUS_STOPPED]
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    policy = jobset["spec"]["failurePolicy"]
    assert policy["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert policy["rules"][0]["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert policy["maxRestarts"] > 0
    command = container["command"][2]
    subprocess.run(["bash", "-n", "-c", command], check=True)
    assert f"--stopped_status={STATUS_STOPPED}" in command
    for flag in ("coordinator_address", "num_processes", "process_id"):
        assert f"--{flag}=" in command


def test_tpu_chips_make_the_hosts(repository: Path) -> None:
    job = yaml.safe_load((repository / "launch/gke/train_tpu.yaml").read_text())["spec"]["replicatedJobs"][0][
        "template"
    ]
    pod = job["spec"]["template"]["spec"]
    across, down = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    assert across * down == job["spec"]["parallelism"] * pod["containers"][0]["resources"]["limits"]["google.com/tpu"]


@pytest.fixture
def slurm(repository: Path, tmp_path: Path):
    """Run train.sbatch as SLURM would: a script in a folder of its own, with srun and scontrol."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text(_SRUN.format(python=sys.executable))
    (tools / "scontrol").write_text('#!/bin/sh\necho "$@" >> "$FAKE_SLURM/requeued"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    copy = tmp_path / "slurm_script"
    copy.write_text((repository / "launch" / "slurm" / "train.sbatch").read_text())
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(repository),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "FAKE_SLURM": str(tmp_path),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_SUBMIT_DIR": str(repository),
        "SLURM_NTASKS": str(TASKS),
        "SLURM_CPUS_PER_TASK": "1",
    }
    running: list[subprocess.Popen[str]] = []

    def start(restarts: int, *flags: object, code: str = "") -> subprocess.Popen[str]:
        settings = {"SLURM_RESTART_COUNT": str(restarts)}
        if code:  # in place of the interpreter, and so of train.py
            (tools / "python").write_text(f"#!{sys.executable}\n{code}")
            (tools / "python").chmod(0o755)
            settings["PYTHON"] = str(tools / "python")
        running.append(
            subprocess.Popen(
                ["bash", str(copy), *map(str, flags)],
                env=environment | settings,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return running[-1]

    yield start
    _end(running)


@pytest.mark.end_to_end
@pytest.mark.slow
def test_a_slurm_job_trains_is_stopped_and_queued_again(
    slurm: Callable[..., subprocess.Popen[str]],
    config: Experiment,
    config_file: Callable[[Experiment], Path],
    tmp_path: Path,
) -> None:
    config.mesh.data = -1
    config.train.num_steps = 100_000
    config.train.evaluate_every = 0
    config.train.checkpoint_every = 100_000
    run, requeued = tmp_path / "run", tmp_path / "requeued"
    flags = (f"--config={config_file(config)}", f"--workdir={run}")

    job = slurm(0, *flags)
    metrics = run / "metrics.jsonl"
    until = time.monotonic() + 180
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert job.poll() is None, job.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.1)
    # The time limit is near: SLURM tells the tasks.
    for pid in (tmp_path / "tasks").read_text().split():
        os.kill(int(pid), signal.SIGTERM)
    output = job.communicate(timeout=60)[0]
    assert job.returncode == 0, output
    assert f"status {STATUS_STOPPED}: queued again" in output
    assert requeued.read_text() == f"requeue {os.getpid()}\n"

    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    job = slurm(1, *flags, f"--config.train.num_steps={steps[-1] + 20}")
    output = job.communicate(timeout=180)[0]
    assert job.returncode == 0, output
    assert f"trained {steps[-1] + 20} steps" in output
    assert requeued.read_text().count("\n") == 1


_JOINS = """
import sys, jax
from seisjax import distributed
count = next(int(x.split("=")[1]) for x in sys.argv if x.startswith("--num_processes="))
distributed.initialize(None, count, None, timeout=120)
place = *distributed.several(), len(jax.devices())
sys.stdout.write(f"place {place}\\n")  # at once: both write to one pipe
distributed.meet("end")
"""


def test_a_slurm_job_finds_its_processes(slurm: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    job = slurm(0, code=_JOINS)
    output = job.communicate(timeout=120)[0]
    assert job.returncode == 0, output
    assert {line for line in output.splitlines() if line.startswith("place")} == {"place (0, 2, 2)", "place (1, 2, 2)"}
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(
    ("status", "restarts", "again"),
    [(STATUS_STOPPED, 0, True), (STATUS_STOPPED, 99, True), (1, 0, False), (137, 9, True), (137, 10, False)],
)
def test_what_is_queued_again(
    slurm: Callable[..., subprocess.Popen[str]], tmp_path: Path, status: int, restarts: int, again: bool
) -> None:
    job = slurm(restarts, code=f"import os; os._exit({status} if os.environ['SLURM_PROCID'] == '1' else 1)")
    output = job.communicate(timeout=60)[0]
    assert job.returncode == (0 if again else status), output
    assert (tmp_path / "requeued").exists() == again
