"""The folder that a run owns, and the record of how it was made."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

import seisjax
from seisjax.errors import UserError
from seisjax.files import read_json, write_json

CONFIG = "config.json"
RUN = "run.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
FIGURES = "figures"


def config_of(workdir: Path) -> dict[str, Any] | None:
    """The config that the run in `workdir` was started with; None where there is no run yet.

    A folder for checkpoints that holds no file is what a start leaves that was ended in its first moments.
    Raises UserError where the folder holds something else, which a run must not mix with.
    """
    if (workdir / CONFIG).exists():
        return read_json(workdir / CONFIG)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: is a file; choose a folder")
    if workdir.is_dir() and not all(entry.name.startswith(".") or _begun(entry) for entry in workdir.iterdir()):
        raise UserError(f"--workdir={workdir}: holds files but no run ({CONFIG}); choose an empty or a new folder")
    return None


def _begun(entry: Path) -> bool:
    return entry.name == CHECKPOINTS and entry.is_dir() and not any(path.is_file() for path in entry.rglob("*"))


def write_run_record(
    workdir: Path,
    config: dict[str, Any],
    command: str,
    fingerprint: str,
    mixture: Sequence[str] = (),
    init: dict[str, Any] | None = None,
) -> None:
    """Write `config.json` and `run.json` (command, time, versions, git commit, devices, data fingerprints).

    init: what the run began with, where that was another network (see pretrained.py).
    """
    write_json(workdir / CONFIG, config)
    record = {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "git_commit": _git_commit(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "processes": jax.process_count(),
        "host": platform.node(),
        "data_fingerprint": fingerprint,
        "mixture_fingerprints": list(mixture),
        **({"init": init} if init else {}),
    }
    write_json(workdir / RUN, record)


def _versions() -> dict[str, str]:
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorstore", "numpy")
    versions = {"seisjax": seisjax.__version__, "python": platform.python_version()}
    return versions | {package: importlib.metadata.version(package) for package in packages}


def _git_commit() -> str | None:
    """The commit of the code, with "+changes" where files differ from it; None outside a checkout."""
    try:
        changes = _git("status", "--porcelain", "--untracked-files=no")
        return _git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
