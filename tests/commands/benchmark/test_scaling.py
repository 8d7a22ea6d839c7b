"""The cost of a step on several devices, and the curves that are drawn from it."""

import importlib.util
import json
from types import ModuleType
from typing import Any

import pytest
from absl import flags

from seisjax.commands.benchmark.scaling import measure, table
from seisjax.config import Experiment
from seisjax.errors import UserError

pytestmark = pytest.mark.quick_compiler


@pytest.fixture
def tiny(config: Experiment) -> Experiment:
    config.data.batch_size = 2
    config.model.levels = 2
    config.model.dropout = 0.0
    return config


@pytest.mark.slow
def test_the_cost_of_a_step_falls_as_it_is_split(tiny: Experiment):
    report = measure(tiny, [1, 2])
    rows = {(row["split"], row["devices"]): row for row in report["rows"]}
    assert set(rows) == {(split, n) for split in ("weak", "strong", "space") for n in (1, 2)}
    alone = rows["weak", 1]
    assert alone["collectives"] == {}
    assert {rows[split, 1]["flops"] for split in ("strong", "space")} == {alone["flops"]}
    assert rows["weak", 2]["flops"] == pytest.approx(alone["flops"], rel=0.02)
    assert rows["strong", 2]["flops"] == pytest.approx(alone["flops"] / 2, rel=0.05)
    assert 0.5 * alone["flops"] < rows["space", 2]["flops"] < 0.7 * alone["flops"]  # the halos of a tiny window
    for split in ("strong", "space"):
        assert rows[split, 2]["temporary_bytes"] < 0.8 * alone["temporary_bytes"]
    gradients = 4 * report["parameters"]
    for split in ("weak", "strong"):
        assert set(rows[split, 2]["collectives"]) == {"all-reduce"}
        assert gradients < rows[split, 2]["collectives"]["all-reduce"]["bytes"] < gradients + 500
    assert set(rows["space", 2]["collectives"]) == {"all-reduce", "collective-permute"}
    assert {row["seconds"] for row in report["rows"]} == {None}
    assert not report["left_out"]
    assert json.loads(json.dumps(report)) == report
    assert len(table(report).splitlines()) == 2 + len(rows)


def test_steps_are_timed_and_what_cannot_be_split_is_left_out_and_said(tiny: Experiment):
    report = measure(tiny, [1, 3], ["strong", "space"], timed=True, steps=1)
    assert [(row["split"], row["devices"]) for row in report["rows"]] == [("strong", 1), ("space", 1)]
    assert all(row["seconds"] > 0 for row in report["rows"])
    assert f"{1e3 * report['rows'][0]['seconds']:,.1f}" in table(report).splitlines()[2]
    assert "data.batch_size" in report["left_out"][0]
    assert "mesh.space=3" in report["left_out"][1]
    assert table(report).count("left out: ") == 2


@pytest.mark.parametrize(
    ("counts", "splits", "accumulation", "message"),
    [
        ([3], ["strong"], 1, "mesh.data=3"),
        ([64], ["weak"], 1, "--devices: 64"),
        ([1], ["weak"], 2, "optimizer.accumulation=2"),
    ],
)
def test_what_cannot_be_done_is_one_line(tiny: Experiment, counts, splits, accumulation, message):
    tiny.optimizer.accumulation = accumulation
    with pytest.raises(UserError, match=message) as caught:
        measure(tiny, counts, splits)
    assert "\n" not in str(caught.value)


@pytest.fixture
def scaling_curve(repository):
    """The script as a module; its flags are forgotten at the end."""
    before = set(flags.FLAGS)
    spec = importlib.util.spec_from_file_location("scaling_curve", repository / "benchmarks" / "scaling_curve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def _hardware(module: ModuleType, **changed: float) -> Any:
    values = {"flops": 1e12, "bytes": 1e11, "link": 1e9, "latency": 1e-5, "devices_per_host": 8, "host_link": 1e8}
    return module.Hardware(**values | changed)


def _row(split: str = "weak", devices: int = 4, **changed: Any) -> dict[str, Any]:
    collectives = {"all-reduce": {"count": 2, "bytes": 30_000_000}, "collective-permute": {"count": 3, "bytes": 10**6}}
    sizes = {"batch_size": devices if split == "weak" else 8, "flops": 2e11, "bytes_accessed": 1e9}
    places = {"split": split, "devices": devices, "data": devices, "space": 1, "seconds": None}
    return places | sizes | {"collectives": collectives if devices > 1 else {}} | changed


def test_a_step_takes_what_the_model_says(scaling_curve: ModuleType):
    times = scaling_curve.expected(_row(), _hardware(scaling_curve))
    assert times.compute == pytest.approx(0.2)  # operations, for the bytes would take 0.01
    assert times.reduce == pytest.approx(2 * 3 / 4 * 0.03)
    assert times.exchange == pytest.approx(0.001)
    assert times.latency == pytest.approx((2 * 4 + 3) * 1e-5)
    assert times.apart == pytest.approx(0.2 + 0.045 + 0.001 + 1.1e-4)
    assert times.overlapped == pytest.approx(0.2 + 0.001 + 1.1e-4)
    slow = scaling_curve.expected(_row(bytes_accessed=1e11), _hardware(scaling_curve))
    assert slow.compute == pytest.approx(1.0)
    far = scaling_curve.expected(_row(), _hardware(scaling_curve, devices_per_host=2))
    assert far.reduce == pytest.approx(10 * times.reduce)
    alone = scaling_curve.expected(_row(devices=1), _hardware(scaling_curve))
    assert alone.apart == alone.overlapped == pytest.approx(0.2)


def test_gains_are_those_of_one_device(scaling_curve: ModuleType):
    rows = [_row(split, n) for split in ("strong", "weak") for n in (4, 1)]
    rows[0] |= {"flops": 5e10, "seconds": 0.1}
    rows[1] |= {"seconds": 0.3}
    lines = scaling_curve.curve(rows + [_row("space", 4)], _hardware(scaling_curve, link=1e30, latency=0.0))
    assert [(line["split"], line["devices"]) for line in lines] == [
        ("weak", 1),
        ("weak", 4),
        ("strong", 1),
        ("strong", 4),
    ]
    assert [line["gain"] for line in lines] == pytest.approx([1, 4, 1, 4])
    assert [line["measured_gain"] for line in lines] == [None, None, 1, pytest.approx(3)]


def test_weak_scaling_goes_on_beyond_the_report(scaling_curve: ModuleType):
    rows = scaling_curve.extended([_row(devices=n) for n in (1, 2)], 16)
    assert [(row["devices"], row["batch_size"]) for row in rows] == [(n, n) for n in (1, 2, 4, 8, 16)]
    lines = scaling_curve.curve(rows, _hardware(scaling_curve))
    assert lines[4]["reduce"] == pytest.approx(10 * 15 / 16 * 8 / 7 * lines[3]["reduce"])  # the hosts' links are slower
    assert scaling_curve.extended([_row("strong", 2)], 16) == [_row("strong", 2)]


def test_curves_are_drawn_and_listed(scaling_curve: ModuleType, tmp_path):
    rows = [_row(split, n, seconds=0.4 / n) for split in ("weak", "strong", "space") for n in (1, 2, 4)]
    lines = scaling_curve.curve(rows, _hardware(scaling_curve))
    scaling_curve.draw(tmp_path / "curve.png", lines, "assumed")
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    assert len(scaling_curve.table(lines).splitlines()) == 1 + len(rows)
