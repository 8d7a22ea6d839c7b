"""Eight virtual CPU devices for every test, the surveys of the tests marked `real_data`, a small run to train."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from hypothesis import settings

from seisjax.config import Experiment
from seisjax.geometry import Axis, Box
from seisjax.volumes import StreamingStatistics, create_volume

# Before anything else touches JAX: the number of devices is fixed when the first one is asked for.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)

# Compiled code is shared by the tests of this process and the commands that they start, and by nobody else.
COMPILED = tempfile.mkdtemp(prefix="seisjax-tests-")
for name, value in {"compilation_cache_dir": COMPILED, "persistent_cache_min_compile_time_secs": 0.3}.items():
    jax.config.update(f"jax_{name}", value)
    os.environ[f"JAX_{name.upper()}"] = str(value)

# Half of the time of compiling; sums come in another order, and most programs of tests run for no time at all.
QUICK = "disable_most_optimizations"

# No test is timed: whether an example is slow says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Flags are read without a command line (Grain reads absl flags)."""
    flags.FLAGS.mark_as_parsed()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Of tests marked `quick_compiler`, and of what is made for them, XLA's programs without LLVM's optimisations."""
    marker = item.get_closest_marker("quick_compiler")
    quick = marker is not None and (not marker.args or marker.args[0])
    jax.config.update(f"jax_{QUICK}", quick)
    os.environ[f"JAX_{QUICK.upper()}"] = str(int(quick))
    return (yield)


def pytest_unconfigure() -> None:
    """Drop the compiled code."""
    shutil.rmtree(COMPILED, ignore_errors=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout: configs/, launch/, docs/."""
    return REPOSITORY


_JOIN = """
import os, sys
import jax
# The code's lines go to a file of their own: Gloo tells of its connections on stdout, in the middle of other lines.
sys.stdout = open(os.environ["SEISJAX_TEST_OUTPUT"], "w", buffering=1)
jax.distributed.initialize(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), heartbeat_timeout_seconds=20)
"""


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Ports of this machine that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            return probe.getsockname()[1]

    return find


@pytest.fixture(scope="session")
def processes(
    repository: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """Run Python code in several processes of one JAX run, each with virtual devices; returns what each printed.

    `arguments` are sys.argv[4:] of the code; the first three are the address of process 0, their number and its own.
    """

    def run(count: int, code: str, *arguments: object, devices: int = 1, timeout: float = 240) -> list[str]:
        environment = os.environ | {
            "PYTHONPATH": str(repository),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
        }
        address = f"localhost:{free_port()}"
        folder = tmp_path_factory.mktemp("processes")
        outputs = [folder / f"output_{i}.txt" for i in range(count)]
        started = [
            subprocess.Popen(
                [sys.executable, "-c", _JOIN + code, address, str(count), str(i), *map(str, arguments)],
                env=environment | {"SEISJAX_TEST_OUTPUT": str(output)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i, output in enumerate(outputs)
        ]
        try:
            errors = [process.communicate(timeout=timeout)[1] for process in started]
        finally:
            for process in started:
                process.kill()
        failed = [i for i, process in enumerate(started) if process.returncode]
        assert not failed, f"processes {failed} of {count} failed:\n" + "\n".join(errors)
        return [output.read_text().rstrip("\n") for output in outputs]

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real surveys (penobscot/, f3/, volve/ ...); the test is skipped where there is none."""
    folder = Path(os.environ.get("SEISJAX_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real surveys in {folder}; set SEISJAX_DATA")
    return folder


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 inlines, 40 crosslines, 36 samples: three layers of different frequency, parted by dipping horizons."""
    rng = np.random.default_rng(0)
    shape = (12, 40, 36)
    axes = [Axis("inline", np.arange(100, 112)), Axis("crossline", np.arange(300, 340))]
    axes.append(Axis("time", np.arange(36) * 4.0, "ms"))
    inline, crossline, sample = np.indices(shape)
    horizon = 12 + 3 * np.sin(crossline / 9) + 0.2 * inline
    labels = ((sample > horizon).astype(np.uint8) + (sample > horizon + 10)).astype(np.uint8)
    amplitude = 100 * np.sin(sample * (0.4 + 0.7 * labels)) + 20 * rng.standard_normal(shape)
    statistics = StreamingStatistics()
    statistics.update(amplitude.astype(np.float32))
    path = tmp_path_factory.mktemp("survey") / "survey.zarr"
    with create_volume(path, axes, chunk=(4, 16, 36), shard=(12, 32, 36)) as volume:
        volume.write("amplitude", Box.whole(shape), amplitude.astype(np.float32))
        volume.add_array("labels_facies", "uint8", attributes={"class_names": ["upper", "middle", "lower"]})
        volume.write("labels_facies", Box.whole(shape), labels)
        volume.set_statistics(statistics.result())
    return path


@pytest.fixture(scope="session")
def new_config(layers: Path) -> Callable[[], Experiment]:
    """What makes `config`, for fixtures of any scope."""
    return lambda: _small(layers)


@pytest.fixture
def config(layers: Path) -> Experiment:
    """Sections of 16 x 36 samples, one device, 12 steps."""
    return _small(layers)


@pytest.fixture(scope="session")
def trained(layers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of `config` with two levels and averaged parameters; leave it as it is."""
    from seisjax.commands.train import train  # here, because most tests do without what it imports

    config = _small(layers)
    config.model.levels, config.optimizer.average = 2, 0.9
    workdir = tmp_path_factory.mktemp("trained") / "run"
    train(config, workdir, "train")
    return workdir


def _small(layers: Path) -> Experiment:
    config = Experiment()
    config.data.volume = str(layers)
    config.data.labels = "facies"
    config.data.window = (1, 16, 36)
    config.data.batch_size = 8
    config.data.train = "crossline:300-319"
    config.data.validation = "crossline:322-329"
    config.data.test = "crossline:332-339"
    config.data.split_gap = 2
    config.augment.flip_axes = ("crossline",)
    config.augment.noise = 0.1
    config.model.base_features = 4
    config.model.levels = 3
    config.model.num_classes = 3
    config.model.dropout = 0.1
    config.optimizer.warmup_steps = 2
    config.optimizer.learning_rate = 1e-2
    config.train.num_steps = 12
    config.train.log_every = 2
    config.train.evaluate_every = 6
    config.train.checkpoint_every = 3
    config.train.figures = False
    config.mesh.data = 1
    return config
