"""Devices that are not at hand, to compile for."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from seisjax import hardware
from seisjax.commands.plan import plan
from seisjax.config import Experiment
from seisjax.errors import UserError
from seisjax.hardware import find_hardware


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h10:8", r"--plan_for: unknown 'h10' \(did you mean 'h100'\?\); give a kind and how many, e.g. h100:8"),
        (":8", "unknown ''"),
        ("nowhere.txtpb:2", "--plan_for: nowhere.txtpb cannot be read"),
    ],
)
def test_what_is_unknown_is_one_line(text: str, message: str):
    with pytest.raises(UserError, match=message) as raised:
        find_hardware(text)
    assert "\n" not in str(raised.value)


def test_a_description_without_a_size_is_refused(tmp_path: Path):
    (tmp_path / "gpu.txtpb").write_text('platform_name: "CUDA"\n')
    with pytest.raises(UserError, match=r"gpu.txtpb: holds no device_memory_size; give a GpuTargetConfigProto"):
        find_hardware(f"{tmp_path}/gpu.txtpb:2")


@pytest.mark.parametrize(("text", "extra"), [("h100:8", "cuda"), ("v5e:2x4", "tpu")])
def test_a_compiler_that_is_not_installed_is_named(text: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"the compiler for {text[:3]}.* is not installed; .*'\.\[{extra}\]'"):
        find_hardware(text)


def _with(module: str, extra: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"needs the compiler of seisjax[{extra}]")


@pytest.mark.parametrize(
    ("text", "kind", "mebibytes", "wrong"),
    [
        pytest.param("h100:2x2", "NVIDIA H100 80GB HBM3", "81,008", "h100:x", marks=_with("jax_plugins", "cuda")),
        pytest.param("v5e:2x2", "TPU v5 lite", "16,384", "v5e:3x3", marks=_with("libtpu", "tpu")),
    ],
)
def test_a_run_is_planned_for_devices_that_are_not_there(
    config: Experiment, text: str, kind: str, mebibytes: str, wrong: str
):
    config.data.batch_size, config.mesh.data, config.model.levels = 8, -1, 2
    planned = plan(config, hardware=find_hardware(text))
    assert f"mesh        {{'data': 4, 'space': 1}} of {kind}" in planned
    assert f"of {mebibytes} MiB a device to spare" in planned
    with pytest.raises(UserError, match=f"--plan_for={wrong}: .*; give a kind and how many"):
        find_hardware(wrong)
