"""The commands as a user runs them, in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seisjax.config import Experiment, to_dict

Launch = Callable[..., subprocess.CompletedProcess[str]]

_LIMITED = (
    "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.fixture
def arguments(repository: Path) -> Callable[..., list[str]]:
    """The argument list of `launch/NAME.py` with these flags."""
    return lambda name, *flags: [sys.executable, str(repository / "launch" / f"{name}.py"), *map(str, flags)]


@pytest.fixture
def environment(repository: Path) -> dict[str, str]:
    """The environment of the commands: this checkout's package, and the cache of compiled code."""
    return os.environ | {"PYTHONPATH": str(repository)}


@pytest.fixture
def launch(arguments: Callable[..., list[str]], environment: dict[str, str]) -> Launch:
    """Run `launch/NAME.py` with these flags; `limit` bounds the size of the files it writes, in bytes."""

    def run(name: str, *flags: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
        command = arguments(name, *flags)
        if limit:
            command = [sys.executable, "-c", _LIMITED, str(limit), *command]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

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
