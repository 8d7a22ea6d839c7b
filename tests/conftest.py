"""Eight virtual CPU devices for every test, and the surveys of the tests marked `real_data`."""

import os
import shutil
import tempfile
from pathlib import Path

import jax
import pytest
from absl import flags

# Before anything else touches JAX: the number of devices is fixed when the first one is asked for.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)

# Compiled code is shared by the tests of this process and the commands that they start, and by nobody else.
COMPILED = tempfile.mkdtemp(prefix="seisjax-tests-")
for name, value in {"compilation_cache_dir": COMPILED, "persistent_cache_min_compile_time_secs": 0.3}.items():
    jax.config.update(f"jax_{name}", value)
    os.environ[f"JAX_{name.upper()}"] = str(value)

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Flags are read without a command line (Grain reads absl flags)."""
    flags.FLAGS.mark_as_parsed()


def pytest_unconfigure() -> None:
    """Drop the compiled code."""
    shutil.rmtree(COMPILED, ignore_errors=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout: configs/, launch/, docs/."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real surveys (penobscot/, f3/, volve/ ...); the test is skipped where there is none."""
    folder = Path(os.environ.get("SEISJAX_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real surveys in {folder}; set SEISJAX_DATA")
    return folder
