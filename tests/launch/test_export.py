"""A network in one file, as somebody uses it who has neither the run nor its config."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler]

FIVE_LINES = """
import numpy as np
from seisjax.inference import load_artifact
model = load_artifact("model.seisjax")
p = model.predict(np.load("array.npy"), sampling_interval=4.0, axes=("inline", "crossline", "time"))
np.save("probabilities.npy", p)
"""


def test_a_run_is_exported_and_used_elsewhere(
    launch: Callable[..., subprocess.CompletedProcess[str]],
    trained: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    done = launch("export", f"--workdir={trained}", f"--output={tmp_path}/model.seisjax", "--platforms=cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "exported checkpoint" in done.stdout
    again = launch("export", f"--workdir={trained}", f"--output={tmp_path}/model.seisjax")
    assert again.returncode != 0
    assert "exists; choose another file or give --overwrite" in again.stderr

    array = np.random.default_rng(0).normal(0, 100, (2, 25, 50)).astype(np.float32)
    array[1] = np.nan
    np.save(tmp_path / "array.npy", array)
    elsewhere = {key: value for key, value in environment.items() if not key.startswith("SEISJAX")}
    command = [sys.executable, "-c", FIVE_LINES]
    used = subprocess.run(command, cwd=tmp_path, env=elsewhere, capture_output=True, text=True)
    assert used.returncode == 0, used.stderr
    p = np.load(tmp_path / "probabilities.npy")
    assert p.shape == (3, 2, 25, 50)
    np.testing.assert_allclose(p[:, 0].sum(0), 1, rtol=1e-5)
    assert np.isnan(p[:, 1]).all()
