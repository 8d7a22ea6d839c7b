"""Whether a run fits, and what would make it fit: the rules alone, with memory that is made up."""

import jax
import pytest

from seisjax.commands.fitting import Limits, Memory, find_limits, try_options
from seisjax.config import Data, Experiment
from seisjax.errors import UserError
from seisjax.memory import host_bytes

MIB = 2**20


def memory(device: int, host: int = 100) -> Memory:
    """So many MiB a device, which is no processor, and a host."""
    return Memory(device * MIB, 0, 0, 0, 0, 0, host * MIB)


def takes(config: Experiment) -> Memory:
    """A made-up step of 1000 MiB: each option halves it but for those that move Adam's moments, which are 40 MiB."""
    if config.mesh.space * max(config.mesh.data, 1) > 8:
        raise UserError("mesh: too few devices")
    size = 960 // config.optimizer.accumulation // config.mesh.space
    size //= {"none": 1, "block": 2, "level": 3}[config.model.remat]
    size //= 2 if config.precision.compute == "bfloat16" else 1
    return memory(size + (5 if config.optimizer.shard else 40))


@pytest.fixture
def config() -> Experiment:
    return Experiment(data=Data(volume="v", labels="l", window=(1, 64, 64), train="a:1-2", batch_size=32))


def tried(config: Experiment, limit: int, devices: int) -> tuple[list[str], list[str]]:
    """The options that were tried, as flags without their `--config.`, and all lines."""
    lines = list(try_options(config, Limits(limit * MIB, 1000 * MIB), devices, takes))
    rows = [line.removeprefix("--config.") for line in lines if line.startswith("--")]
    return [" ".join(row.split()[:-3]).replace(" --config.", " ") for row in rows], lines


def test_margins_are_those_of_the_tightest():
    limits = Limits(500 * MIB, 200 * MIB)
    assert limits.allow(memory(500, 200))
    assert not limits.allow(memory(501, 100))
    assert not limits.allow(memory(100, 201))
    assert limits.verdict(memory(400)) == "yes: 100 of 500 MiB a device to spare, 100 of 200 MiB a host to spare"
    assert limits.verdict(memory(700)) == "no: 200 of 500 MiB a device too few, 100 of 200 MiB a host to spare"
    shared = Limits(0, 200 * MIB)  # processors have no memory of their own
    assert shared.verdict(memory(700)) == "yes: 100 of 200 MiB a host to spare"


def test_each_option_is_tried_alone_and_the_first_that_fits_is_named(config: Experiment):
    options, lines = tried(config, 400, devices=8)
    assert options == [
        "precision.compute=bfloat16",
        "model.remat=block",
        "model.remat=level",
        "optimizer.accumulation=2",
        "optimizer.accumulation=4",  # 32 windows over 8 devices
        "optimizer.shard=True",
        "mesh.space=2",
        "mesh.space=4",
        "mesh.space=8",
    ]
    assert lines[-1] == "the first that fits: --config.model.remat=level"
    assert [line.split()[-1] for line in lines[1:-1]] == ["no", "no", "yes", "no", "yes", "no", "no", "yes", "yes"]


def test_several_together_until_they_fit(config: Experiment):
    options, lines = tried(config, 60, devices=2)
    assert options[-2:] == [
        "model.remat=level precision.compute=bfloat16",
        "model.remat=level precision.compute=bfloat16 optimizer.accumulation=16",
    ]
    assert lines[-1].endswith("--config.precision.compute=bfloat16 --config.optimizer.accumulation=16")
    assert "none of these fits" in tried(config, 4, devices=2)[1][-1]


def test_each_line_is_there_before_the_next_is_measured(config: Experiment):
    measured: list[Experiment] = []

    def measure(changed: Experiment) -> Memory:
        measured.append(changed)
        return takes(changed)

    lines = try_options(config, Limits(400 * MIB, 1000 * MIB), 8, measure)
    assert (next(lines).split()[0], len(measured)) == ("with", 0)
    assert (next(lines).split()[0], len(measured)) == ("--config.precision.compute=bfloat16", 1)


def test_what_a_run_has_already_or_cannot_have_is_left_out(config: Experiment):
    config.data.batch_size, config.precision.compute, config.model.remat = 1, "bfloat16", "level"
    assert "none of these fits" in tried(config, 1, devices=1)[1][-1]
    options, _ = tried(config, 300, devices=8)
    assert options == ["mesh.space=2 mesh.data=1", "mesh.space=4 mesh.data=1", "mesh.space=8"]


def test_the_limit_is_this_machines_or_the_one_given():
    here = find_limits()
    assert here.device == 0  # processors
    assert 2**30 < here.host == host_bytes()
    assert find_limits(1.5) == Limits(3 * 2**29, here.host)
    assert jax.local_devices()[0].platform == "cpu"
