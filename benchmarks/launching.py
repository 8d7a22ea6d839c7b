"""Runs the commands of `launch/` for benchmarks that go through several of them."""

import subprocess
import sys
from pathlib import Path

LAUNCH = Path(__file__).resolve().parent.parent / "launch"


def launch(name: str, *arguments: str, **named: object) -> None:
    """Run a command; end with its status where it fails."""
    command = [sys.executable, str(LAUNCH / f"{name}.py"), *arguments, *(f"--{k}={v}" for k, v in named.items())]
    print("$", *command, flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)
