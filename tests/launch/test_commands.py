"""What all commands do alike."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.end_to_end


@pytest.mark.slow
def test_every_command_starts_by_itself_and_names_a_flag_that_it_does_not_know(
    repository: Path, arguments: Callable[..., list[str]], environment: dict[str, str]
):
    """In new processes, where nothing is imported that the command does not import."""
    names = sorted(path.stem for path in (repository / "launch").glob("*.py"))
    assert {"train", "evaluate", "predict", "ingest"} <= set(names)
    for name in names:
        done = subprocess.run(
            arguments(name, "--sigelvl=1"), capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith(f"{name}.py: error: ")
        assert "sigelvl" in done.stderr
        assert len(done.stderr.splitlines()) == 1
