"""launch/benchmark.py --what=step, loader and predict, tiny."""

import json
from pathlib import Path

import pytest

from seisjax.commands.benchmark import loader, predict, step
from seisjax.config import Experiment
from seisjax.errors import UserError

pytestmark = pytest.mark.quick_compiler


@pytest.fixture
def tiny(config: Experiment) -> Experiment:
    config.model.levels = 2
    return config


def test_a_step_is_measured_part_by_part(tiny: Experiment):
    report = step.measure(tiny, turns=1, steps=1)
    parts = report["parts"]
    assert list(parts) == ["prepare", "forward", "forward + backward", "optimizer", "whole step"]
    assert all(part["seconds"]["median"] > 0 for part in parts.values())
    operations = {name: part["operations"] for name, part in parts.items()}
    assert 2 * operations["forward"] < operations["forward + backward"] < operations["whole step"]
    assert parts["forward"]["temporary_bytes"] < parts["whole step"]["temporary_bytes"]
    floor, memory = report["floor"], report["memory"]
    assert 0 < floor["share"] < 1
    assert floor["seconds"] == pytest.approx(max(floor["operations_seconds"], floor["bytes_seconds"]))
    assert memory["given_up"] > 8 * report["parameters"]  # the state makes room for the next one
    assert memory["peak"] > memory["arguments"] + memory["temporaries"]
    assert json.loads(json.dumps(report)) == report
    lines = step.table(report).splitlines()
    assert [line.split("  ")[0] for line in lines[2:7]] == list(parts)
    assert any(line.startswith("change     ") for line in lines)


@pytest.mark.parametrize("sampling", ["uniform", "blocks"])
def test_a_stream_is_measured_stage_by_stage(tiny: Experiment, sampling: str):
    tiny.data.sampling, tiny.data.window, tiny.data.cache_mebibytes, tiny.data.block_mebibytes = (
        sampling,
        (1, 8, 12),
        2,
        1,
    )
    report = loader.measure(tiny, turns=1, seconds=0.02)
    seconds = {name: found["median"] for name, found in report["seconds"].items()}
    assert list(seconds) == ["draw", "fetch", "fetch + decode", "read", "transfer", "stream", "step", "training"]
    assert min(seconds.values()) >= 0
    assert seconds["step"] > 0
    samples = 8 * 8 * 12
    assert report["batch_bytes"] == 5 * samples  # float32 and uint8
    assert 0 < report["used_a_batch"] <= 5 * samples
    assert 0 <= report["waiting_share"] <= 1
    assert sum(report["parts"].values()) > 0
    assert json.loads(json.dumps(report)) == report
    text = loader.table(report)
    assert "bottleneck" in text
    assert "change" in text
    assert len(text.splitlines()) >= 2 + len(seconds) + 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("synthesis", "stages"),
    [
        ("host", ["draw", "fetch + decode", "read", "transfer", "stream", "step", "training"]),
        ("device", ["draw", "stream", "step", "training"]),
    ],
)
def test_panels_that_are_made_have_the_stages_that_they_pass(
    tiny: Experiment, tmp_path: Path, synthesis: str, stages: list[str]
):
    path = tmp_path / "tiny.py"
    path.write_text(
        "from dataclasses import replace\n"
        "from seisjax.synthetic.parameters import QUICKSTART, ReceiverArray, WHITE_NOISE\n\n"
        "def get_config():\n"
        "    array = ReceiverArray(lines=2, stations=8)\n"
        "    return replace(QUICKSTART, array=array, num_samples=96, noise=WHITE_NOISE)\n"
    )
    data = tiny.data
    data.volume, data.labels, data.synthesis = f"synthetic:{path}?examples=40", "event", synthesis
    data.train, data.validation, data.test, data.split_gap = "example:0-19", "example:20-29", "example:30-39", 0
    data.window, data.batch_size, data.statistics_tiles = (1, 16, 96), 2, 2
    tiny.model.num_classes, tiny.augment.flip_axes = 1, ()
    report = loader.measure(tiny, turns=1, seconds=0.02)
    assert list(report["seconds"]) == stages
    assert report["made"]
    assert report["bottleneck"] in loader.table(report)


def _stream_report(waiting: float, sampling: str = "uniform", made: bool = False, **parts: float):
    stages = {"stream": 2.0, "step": 1.0} | ({} if "step only" in parts else {"fetch + decode": 1.0})
    return {
        "seconds": {name: {"median": value} for name, value in stages.items()},
        "waiting_share": waiting,
        "made": made,
        "surveys": [],
        "fetched_a_batch": 9.0,
        "used_a_batch": 3.0,
        "parts": {"reading": 0.1, "decoding": 0.1, "host work": 0.1, "transfer": 0.1, "step": 1.0} | parts,
    }


@pytest.mark.parametrize(
    ("report", "sampling", "bottleneck", "change"),
    [
        (_stream_report(0.01, decoding=5.0), "uniform", "the step", "--what=step"),
        (_stream_report(0.5, decoding=5.0), "uniform", "decoding", "data.sampling=blocks: 3.0 bytes"),
        (_stream_report(0.5, reading=5.0), "uniform", "reading", "data.sampling=blocks"),
        (_stream_report(0.5, reading=5.0), "blocks", "reading", "--dtype"),
        (_stream_report(0.5, **{"host work": 5.0}), "uniform", "host work", "data.num_threads"),
        (_stream_report(0.5, transfer=5.0), "uniform", "transfer", "more devices"),
        (_stream_report(0.5, made=True, decoding=5.0), "uniform", "making panels", "data.synthesis=device"),
        (_stream_report(0.5, **{"step only": 1.0}), "uniform", "making panels on the device", "data.synthesis=host"),
    ],
)
def test_the_bottleneck_and_the_setting_are_named(tiny: Experiment, report, sampling, bottleneck, change):
    tiny.data.sampling = sampling
    found, advice = loader._verdict(tiny, report)
    assert found.startswith(bottleneck)
    assert change in advice


def test_a_prediction_is_measured_part_by_part(tiny: Experiment):
    report = predict.measure(tiny, turns=1, seconds=0.02, windows=10)
    assert list(report["seconds"]) == ["whole task", "reading", "device", "without the device", "writing"]
    assert all(found["median"] > 0 for found in report["seconds"].values())
    assert 1 <= report["windows"] <= 10
    assert report["region"].startswith("inline:100-1")
    assert "crossline:332-339" in report["region"]
    assert 0 < report["device_share"] <= 1
    assert json.loads(json.dumps(report)) == report
    assert f"change              {report['change']}" in predict.table(report)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("optimizer.accumulation", 2, "optimizer.accumulation=2"), ("data.window", (), "config.data.window is empty")],
)
def test_what_cannot_be_measured_is_one_line(tiny: Experiment, field: str, value, message: str):
    part, name = field.split(".")
    setattr(getattr(tiny, part), name, value)
    with pytest.raises(UserError, match=message) as caught:
        step.measure(tiny)
    assert "\n" not in str(caught.value)
