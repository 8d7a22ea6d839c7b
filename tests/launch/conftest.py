"""The commands as a user runs them, in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seisjax.config import Experiment, to_dict

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def arguments(repository: Path) -> Callable[..., list[str]]:
    """The argument list of `launch/NAME.py` with these flags."""
    return lambda name, *flags: [sys.executable, str(repository / "launch" / f"{name}.py"), *map(str, flags)]


@pytest.fixture
def environment(repository: Path) -> dict[str, str]:
    """The environment of the commands: this checkout's package, and the cache of compiled code."""
    return os.environ | {"PYTHONPATH": str(repository)}


@pytest.fixture(scope="session")
def warm(repository: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has imported what the commands import, and forks them: imports cost more than most commands."""
    # One thread: a process of several must not be forked. JAX's settings are those of the import: of all commands.
    environment = os.environ | {"PYTHONPATH": str(repository), "OPENBLAS_NUM_THREADS": "1"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    script = Path(__file__).with_name("warm.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process


@pytest.fixture
def launch(
    warm: subprocess.Popen[str],
    arguments: Callable[..., list[str]],
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Launch:
    """Run `launch/NAME.py` with these flags in a process of its own, as `arguments` would.

    `limit` bounds the size of the files it writes, in bytes; `environment` stands for the usual one.
    """

    def run(
        name: str, *flags: object, limit: int = 0, environment: dict[str, str] = environment
    ) -> subprocess.CompletedProcess[str]:
        command = arguments(name, *flags)
        outputs = [tmp_path_factory.mktemp("output") / stream for stream in ("stdout", "stderr")]
        for path in outputs:
            path.touch()
        order = {
            "script": command[1],
            "flags": command[2:],
            "environment": environment,
            "folder": os.getcwd(),
            "outputs": [str(path) for path in outputs],
            "limit": limit,
        }
        assert warm.stdin is not None
        assert warm.stdout is not None
        print(json.dumps(order), file=warm.stdin, flush=True)
        status = int(warm.stdout.readline())
        return subprocess.CompletedProcess(command, status, *(path.read_text() for path in outputs))

    return run


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[[Experiment], Path]:
    """Write an experiment as a file for `--config`."""

    def write(config: Experiment) -> Path:
        path = tmp_path / "experiment.py"
        text = json.dumps(json.dumps(to_dict(config)))
        path.write_text(
            f"import json\nfrom seisjax.config import from_dict\n\n\n"
            f"def get_config(arg=None):\n    return from_dict(json.loads({text}))\n"
        )
        return path

    return write


@pytest.fixture
def start_processes(
    arguments: Callable[..., list[str]], free_port: Callable[[], int], environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., list[subprocess.Popen[str]]]]:
    """Start `launch/NAME.py` in several processes of one JAX run, each with virtual devices and pipes for its output.

    Those that a test leaves are killed.
    """
    started: list[subprocess.Popen[str]] = []

    def start(count: int, name: str, *flags: object, devices: int = 1) -> list[subprocess.Popen[str]]:
        several = [f"--coordinator_address=localhost:{free_port()}", f"--num_processes={count}"]
        run = [
            subprocess.Popen(
                arguments(name, *flags, *several, f"--process_id={i}"),
                env=environment | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(count)
        ]
        started.extend(run)
        return run

    yield start
    for process in started:
        process.kill()
        process.communicate()
