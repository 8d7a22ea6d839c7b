"""What `--dry_run` says of a run's memory."""

import contextlib
import dataclasses
import json
import mmap
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from seisjax import experiment
from seisjax.commands.benchmark.inputs import random_batch
from seisjax.commands.plan import abstract_batch, plan, plan_lines, plan_memory
from seisjax.config import Experiment
from seisjax.hardware import Hardware
from seisjax.memory import resident_bytes
from seisjax.volumes.ingest import ingest

pytestmark = pytest.mark.quick_compiler


def test_memory_of_the_plan_adds_up(config: Experiment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("seisjax.commands.plan.resident_bytes", lambda: 123456789)
    memory = plan_memory(config)
    image = 8 * 16 * 36 * 5  # a float32 and a byte each; 3 levels divide 16 x 36
    assert memory.batches == (config.data.prefetch + 2) * image
    assert memory.chunks == (20 + 8 + 8) * 12 * 36 * 5  # of the whole volume less its gaps: less than the cache
    assert memory.device > memory.saving > 4 * 3 * 1000  # parameters and two moments
    assert memory.devices == 1
    assert memory.program == 123456789
    assert memory.panels == 0
    assert memory.host == memory.device + memory.batches + memory.chunks + memory.saving + memory.program


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "int8"])
def test_batches_count_as_they_reach_the_devices(config: Experiment, layers: Path, tmp_path: Path, dtype: str):
    ingest(layers, tmp_path / "compact.zarr", dtype=dtype)
    config.data.volume = str(tmp_path / "compact.zarr")
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    source = experiment.training_source(config, survey)
    with contextlib.closing(experiment.training_stream(config, survey, source, mesh, 0)) as stream:
        batch = next(stream)
    assert batch["image"].dtype == dtype
    planned = abstract_batch(config, survey)
    assert {name: (x.shape, x.dtype) for name, x in planned.items()} == {
        name: (x.shape, x.dtype) for name, x in batch.items()
    }
    made = random_batch(planned, {name: x.sharding for name, x in batch.items()})
    assert {name: x.dtype for name, x in made.items()} == {name: x.dtype for name, x in batch.items()}


def test_a_compact_store_takes_less_memory_on_its_way(config: Experiment, layers: Path, tmp_path: Path):
    config.model.levels = 2
    stored = plan_memory(config)
    ingest(layers, tmp_path / "compact.zarr", dtype="int8")
    config.data.volume = str(tmp_path / "compact.zarr")
    compact = plan_memory(config)
    assert compact.batches == stored.batches * 2 // 5  # a byte for an amplitude, and one for a label
    assert "  image       int8 (8, 1, 16, 36, 1), labels uint8 (8, 1, 16, 36)\n" in plan(config)
    mixed = dataclasses.replace(config, data=dataclasses.replace(config.data, mixture_volumes=(str(layers),)))
    assert abstract_batch(mixed, experiment.open_survey(mixed))["image"].dtype == "float32"


@pytest.mark.slow
def test_a_processors_devices_share_the_hosts_memory(config: Experiment):
    config.mesh.data, config.mesh.space = 4, 2
    config.model.levels, config.optimizer.shard, config.precision.compute = 2, True, "bfloat16"
    text = plan(config)
    device, host, steps = (
        int(re.search(pattern, text)[1].replace(",", ""))  # pyright: ignore[reportOptionalSubscript]
        for pattern in (r"([\d,]+) MiB a device", r"([\d,]+) MiB a host", r"MiB a host: ([\d,]+) steps")
    )
    assert abs(steps - 8 * device) <= 8  # each is rounded to a MiB
    assert host > steps
    assert re.search(r"\n  fits        yes: [\d,]+ of [\d,]+ MiB a host to spare\n", text)


def test_all_but_memory_is_told_before_anything_is_compiled(config: Experiment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(jax.stages.Lowered, "compile")
    lines = []
    with pytest.raises(AttributeError, match="compile"):
        lines.extend(plan_lines(config))  # keeps what came before
    assert lines[0] == "config"
    assert lines[-1].startswith("  parameters")


def test_a_run_is_planned_for_other_devices(config: Experiment):
    config.model.levels, config.mesh.data = 2, -1
    text = plan(config, hardware=Hardware(jax.devices()[:4], 2**40))
    assert "mesh        {'data': 4, 'space': 1} of cpu" in text
    assert "of 1,048,576 MiB a device to spare" in text
    assert "of 2,048 MiB a device to spare" in plan(config, 2.0, Hardware(jax.devices()[:4], 2**40))


def test_what_a_compiler_refuses_takes_what_it_says(config: Experiment, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: jax.stages.Lowered) -> None:
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    message = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (18.94G) exceeds available HBM (15.75G). HLO module: jit_step."
    )
    assert plan_memory(config).device == int(18.94 * 2**30)
    message = "INTERNAL: 18.94G of something else"
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        plan_memory(config)


@pytest.mark.slow
def test_what_does_not_fit_is_told_what_would(config: Experiment):
    config.data.batch_size, config.model.levels, config.model.dropout = 1, 2, 0.0
    memory = plan_memory(config)
    text = plan(config, device_gibibytes=0.7 * memory.device / 2**30)
    assert "fits        no: 0 of 0 MiB a device too few" in text
    rows = {line.split()[0]: line.split()[-1] for line in text.splitlines() if line.strip().startswith("--config")}
    assert rows["--config.mesh.space=4"] == "yes"
    assert list(rows)[:3] == [
        "--config.precision.compute=bfloat16",
        "--config.model.remat=block",
        "--config.model.remat=level",
    ]
    assert "the first that fits: --config" in text
    assert "fits        yes" in plan(config, device_gibibytes=1.1 * memory.device / 2**30)


@pytest.mark.slow
def test_panels_that_are_made_take_memory_where_they_are_made(config: Experiment, tmp_path: Path):
    recipe = "from dataclasses import replace\nfrom seisjax.synthetic.parameters import QUICKSTART as Q\n"
    recipe += "def get_config(): return replace(Q, array=replace(Q.array, lines=2, stations=8), num_samples=256)\n"
    (tmp_path / "tiny.py").write_text(recipe)
    config.data.volume, config.data.labels = f"synthetic:{tmp_path}/tiny.py?examples=100", "event"
    config.data.train, config.data.validation, config.data.test = "example:0-79", "", ""
    config.data.window, config.data.overhang = (1, 16, 256), 0.0
    config.augment.flip_axes, config.model.num_classes, config.evaluate.baselines = (), 1, False
    config.model.levels = 2
    panel = 16 * 256 * 5
    host = plan_memory(config)
    assert host.panels > 4 * panel
    assert host.chunks == 0
    config.data.synthesis = "device"
    device = plan_memory(config)
    assert device.panels == device.batches == 0
    assert device.device > host.device + panel


def test_peak_memory_is_the_highest():
    before = resident_bytes(peak=True)
    assert before + 2**22 > resident_bytes() > 2**24  # the kernel counts a few pages of each thread late
    # More than there ever was, not from the heap, which may keep what is freed.
    with mmap.mmap(-1, before - resident_bytes() + 2**26) as block:
        block[::4096] = b"1" * -(-len(block) // 4096)
        assert resident_bytes(peak=True) > before + 2**24
    assert resident_bytes() < resident_bytes(peak=True) - 2**24


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["none", "level"])
def test_the_plan_is_within_a_fifth_of_the_peak(repository: Path, tmp_path: Path, remat: str):
    output = tmp_path / "panel.json"
    command = ["benchmarks/panel_4096.py", "--preset=microseismic_1024", "--side=1024", "--steps=3"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    subprocess.run(
        [sys.executable, *command, f"--remat={remat}", f"--output={output}"],
        cwd=repository,
        env=environment | {"PYTHONPATH": str(repository)},
        check=True,
    )
    [result] = json.loads(output.read_text())["rows"]
    assert 0.8 < result["peak_bytes"] / result["planned_bytes"]["host"] < 1.2
    assert result["losses"][-1] < result["losses"][0]
