"""A training step of the same network in seisjax, PyTorch, MONAI and nnU-Net: time, memory and time to the first step.

    python benchmarks/step_peers.py --output=step_peers.json                         # base 8 x 7 levels, 1024 x 1024
    python benchmarks/step_peers.py --base_features=32 --levels=5 --side=512
    python benchmarks/step_peers.py --device=gpu --side=4096 --compute=bfloat16      # on a GPU
    python benchmarks/step_peers.py --side=4096 --apart --turns=1 --steps=1 \\
        --candidates=seisjax,seisjax+block,seisjax+level,torch,torch+checkpoint      # memory, one after the other

Each candidate has a process of its own, made first and then measured in turns, `--steps` steps each, while the others
rest; on processors each uses all of them. A step is forward, binary cross-entropy, backward and Adam on one batch that
lies on the device. seisjax's is that of training: it also normalises, and counts what it logs. PyTorch's networks are
channels_last; "compiled" is torch.compile, "+checkpoint" torch.utils.checkpoint around each block. MONAI's DynUNet and
nnU-Net's PlainConvUNet are of the same widths and depth, but step down by strides instead of pooling; MONAI's BasicUNet
has five levels alone. What is not installed (benchmarks/requirements.txt) or cannot be made is left out, and said.
"""

# pyright: reportMissingImports=false

import contextlib
import functools
import importlib.metadata
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from seisjax.commands.benchmark.turns import alternate, disturbed_note
from seisjax.commands.benchmark.workers import CandidateError, Worker
from seisjax.files import write_json

NAMES = ("seisjax", "torch", "torch compiled", "monai", "monai basic", "nnunet")
BASE = flags.DEFINE_integer("base_features", 8, "features at full resolution, doubled at each level")
LEVELS = flags.DEFINE_integer("levels", 7, "resolutions, the bottleneck included")
SIDE = flags.DEFINE_integer("side", 1024, "samples along both sides of a window")
BATCH = flags.DEFINE_integer("batch_size", 1, "windows of a batch")
NORM = flags.DEFINE_enum(
    "norm", "batch", ["batch", "instance", "none"], "of all networks; none: seisjax and torch alone"
)
COMPUTE = flags.DEFINE_enum("compute", "float32", ["float32", "bfloat16"], "bfloat16 is autocast in PyTorch")
DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "where the steps run")
CANDIDATES = flags.DEFINE_list("candidates", list(NAMES), "some of these; seisjax+block, +level, torch+checkpoint too")
TIMES = flags.DEFINE_integer("turns", 5, "so often is each measured", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 5, "steps each time", lower_bound=1)
APART = flags.DEFINE_bool("apart", False, "make a candidate when it is measured, and end it before the next is made")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures")


@dataclass(frozen=True)
class Case:
    """The network and its batch; `steps` are taken each time that a candidate measures itself."""

    base_features: int
    levels: int
    side: int
    batch_size: int
    norm: str
    compute: str
    device: str
    steps: int

    @property
    def widths(self) -> list[int]:
        """Features at each level."""
        return [self.base_features * 2**level for level in range(self.levels)]


class Candidate:
    """One library's step: what workers.Worker asks for."""

    def __init__(
        self, case: Case, step: Callable[[], Any], wait: Callable[[], Any], memory: Callable[[], dict], **facts
    ):
        """`step` starts a step, `wait` waits for all that were started."""
        self._case, self._step, self._wait, self.memory = case, step, wait, memory
        started = time.perf_counter()
        step()
        wait()
        self.facts = facts | {"first_step_seconds": time.perf_counter() - started}

    def measure(self) -> float:
        """Seconds a step, after one that does not count."""
        self._step()
        self._wait()
        started = time.perf_counter()
        for _ in range(self._case.steps):
            self._step()
        self._wait()
        return (time.perf_counter() - started) / self._case.steps

    def close(self) -> None:
        """Nothing is left open."""


def make_seisjax(case: Case, remat: str = "none") -> Candidate:
    """The train step of a run of seisjax, on a made-up volume."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the others want memory too
    import jax

    jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[case.device])
    from seisjax import experiment, runtime
    from seisjax.models.initialize import parameter_count
    from seisjax.sharding import batch_sharding

    runtime.use_one_heap()
    folder = Path(tempfile.mkdtemp(prefix="step_peers-"))
    try:
        config = seisjax_config(case, folder, remat)
        survey = experiment.open_survey(config)
        mesh = experiment.make_mesh(config, survey, case.batch_size)
        segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 1.0))
    finally:
        shutil.rmtree(folder)
    images, labels = arrays(case)
    dim = experiment.space_axis(config, survey) + 1
    batch: Any = {"image": images[:, None, :, :, None], "labels": labels[:, None]}
    batch = {name: jax.device_put(x, batch_sharding(mesh, x.ndim, dim)) for name, x in batch.items()}
    state: Any = segmenter.init()
    train_step: Any = segmenter.train_step

    def step() -> None:
        nonlocal state
        state, _ = train_step(state, batch)
        if case.device == "cpu":
            # As in training, one step after the other, with some work for the host between them: a step that is started
            # in the microseconds before the last one's memory is free takes as much again.
            jax.block_until_ready(state)
            time.sleep(1e-3)

    def known() -> dict[str, int]:
        device = jax.local_devices()[0]
        memory = train_step.lower(experiment.abstract_state(segmenter), batch).compile().memory_analysis()
        found = {"temporaries": memory.temp_size_in_bytes, "arguments": memory.argument_size_in_bytes}
        return found | ({} if case.device == "cpu" else {"device_peak": device.memory_stats()["peak_bytes_in_use"]})

    parameters = parameter_count(state["params"])
    return Candidate(case, step, lambda: jax.block_until_ready(state), known, parameters=parameters)


def seisjax_config(case: Case, folder: Path, remat: str) -> Any:
    """The experiment of a case, on a volume of zeros in `folder`."""
    from seisjax.config import Experiment
    from seisjax.geometry import Axis, Box
    from seisjax.volumes import create_volume

    shape = (1, case.side, case.side)
    axes = [Axis(name, np.arange(n)) for name, n in zip(("example", "receiver", "time"), shape, strict=True)]
    path = folder / "panel.zarr"
    with create_volume(path, axes, kind="panels") as volume:
        volume.write("amplitude", Box.whole(shape), np.zeros(shape, np.float32))
        volume.add_array("labels_event", np.uint8, attributes={"class_names": ["noise", "event"]})
        volume.write("labels_event", Box.whole(shape), np.zeros(shape, np.uint8))
    config = Experiment()
    config.data.volume, config.data.labels, config.data.train = str(path), "event", "example:0"
    config.data.window, config.data.batch_size, config.data.clip = shape, case.batch_size, 0.0
    config.model.base_features, config.model.levels, config.model.num_classes = case.base_features, case.levels, 1
    config.model.norm, config.model.remat, config.precision.compute = case.norm, remat, case.compute
    config.optimizer.weight_decay, config.optimizer.clip_norm, config.optimizer.schedule = 0.0, 0.0, "constant"
    config.mesh.data = 1
    return config


def arrays(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Images (B, side, side) and labels 0 or 1 of the same shape."""
    random = np.random.default_rng(0)
    shape = (case.batch_size, case.side, case.side)
    return random.standard_normal(shape, np.float32), random.integers(0, 2, shape, np.uint8)


def make_torch(case: Case, network: str, *, compiled: bool = False, checkpoint: bool = False) -> Candidate:
    """A step of one of NETWORKS in PyTorch."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_float32_matmul_precision("high")  # as JAX computes on GPUs
    device = torch.device({"cpu": "cpu", "gpu": "cuda"}[case.device])
    model: Any = NETWORKS[network](case, checkpoint).to(device, memory_format=torch.channels_last)
    parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    run = torch.compile(model) if compiled else model
    images, labels = arrays(case)
    image = torch.from_numpy(images[:, None]).to(device, memory_format=torch.channels_last)
    label = torch.from_numpy(labels[:, None].astype(np.float32)).to(device)
    lower = case.compute == "bfloat16"

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=lower):
            logits = run(image)
        binary_cross_entropy_with_logits(logits.float(), label).backward()
        optimizer.step()

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def known() -> dict[str, int]:
        return {"device_peak": torch.cuda.max_memory_allocated()} if device.type == "cuda" else {}

    return Candidate(case, step, wait, known, parameters=parameters, torch=torch.__version__)


def torch_unet(case: Case, checkpoint: bool) -> Any:
    """seisjax's network, layer by layer, in PyTorch; the only one that can be checkpointed block by block."""
    import torch
    from torch import nn
    from torch.utils.checkpoint import checkpoint as recompute

    plain = case.norm == "none"

    def norm(features: int) -> nn.Module:
        kinds = {"batch": nn.BatchNorm2d, "instance": functools.partial(nn.InstanceNorm2d, affine=True)}
        return nn.Identity() if plain else kinds[case.norm](features)

    def block(features: int, width: int) -> nn.Sequential:
        layers = []
        for inputs in (features, width):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=plain), norm(width), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = case.widths
            self.down = nn.ModuleList(block(a, b) for a, b in zip([1, *widths[:-1]], widths, strict=True))
            pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
            self.grow = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2, bias=plain) for a, b in pairs)
            self.up = nn.ModuleList(block(2 * b, b) for _, b in pairs)
            self.head = nn.Conv2d(widths[0], 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            def call(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
                return recompute(part, x, use_reentrant=False) if checkpoint else part(x)

            skips = []
            for level, part in enumerate(self.down):
                x = call(part, x if level == 0 else nn.functional.max_pool2d(x, 2))
                skips.append(x)
            for grow, part, skip in zip(self.grow, self.up, skips[-2::-1], strict=True):
                x = call(part, torch.cat([skip, grow(x)], dim=1))
            return self.head(x)

    return UNet()


def monai_basic(case: Case, checkpoint: bool) -> Any:
    """MONAI's BasicUNet: two convolutions a level and pooling, five levels."""
    from monai.networks.nets import BasicUNet

    if case.levels != 5:
        raise ValueError(f"monai basic: has 5 levels, not {case.levels}")
    features = (*case.widths, case.base_features)
    return BasicUNet(2, 1, 1, features, act="relu", norm=_named_norm(case, checkpoint), bias=False)


def monai_dynamic(case: Case, checkpoint: bool) -> Any:
    """MONAI's DynUNet, after nnU-Net."""
    from monai.networks.nets import DynUNet

    strides = [1] + [2] * (case.levels - 1)
    options = {"filters": case.widths, "norm_name": _named_norm(case, checkpoint), "act_name": "relu"}
    return DynUNet(2, 1, 1, [3] * case.levels, strides, strides[1:], **options)


def nnunet(case: Case, checkpoint: bool) -> Any:
    """nnU-Net's PlainConvUNet."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    kinds = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
    norm = kinds[_named_norm(case, checkpoint)]
    strides = [1] + [2] * (case.levels - 1)
    return PlainConvUNet(
        *(1, case.levels, case.widths, nn.Conv2d, 3, strides, 2, 1, 2),
        norm_op=norm,
        norm_op_kwargs={"affine": True},
        nonlin=nn.ReLU,
        nonlin_kwargs={"inplace": True},
    )


def _named_norm(case: Case, checkpoint: bool) -> str:
    if case.norm == "none":
        raise ValueError("--norm=none: has a norm by design")
    if checkpoint:
        raise ValueError("+checkpoint: torch alone")
    return case.norm


NETWORKS = {"torch": torch_unet, "monai": monai_dynamic, "monai basic": monai_basic, "nnunet": nnunet}


def maker(name: str) -> tuple[Callable[..., Candidate], tuple[Any, ...]]:
    """What makes a candidate: a function of the case, and the arguments after it."""
    base, _, option = name.partition("+")
    if base == "seisjax":
        return make_seisjax, (option or "none",)
    compiled = base.endswith(" compiled")
    network = base.removesuffix(" compiled")
    if network not in NETWORKS:
        raise app.UsageError(f"--candidates: no '{name}'; choose from {', '.join(NAMES)}")
    return _make_torch, (network, compiled, option == "checkpoint")


def _make_torch(case: Case, network: str, compiled: bool, checkpoint: bool) -> Candidate:
    return make_torch(case, network, compiled=compiled, checkpoint=checkpoint)


def compare(case: Case, names: Sequence[str], turns: int, *, apart: bool) -> dict[str, Any]:
    """Measure the candidates; a dict for JSON with one row each, and why others are left out."""
    left_out, rows, timings = {}, {}, {}
    makers = {name: maker(name) for name in names}
    with contextlib.ExitStack() as stack:
        workers = {}
        for name, (make, arguments) in makers.items():
            ours = make is make_seisjax  # each is started as its users start it
            try:
                if apart:
                    with Worker(make, case, *arguments, huge_pages=ours) as worker:
                        timings |= alternate({name: worker}, turns)
                        rows[name] = worker.facts | {"memory": worker.memory()}
                else:
                    workers[name] = stack.enter_context(Worker(make, case, *arguments, huge_pages=ours))
            except CandidateError as error:
                left_out[name] = str(error)
        timings |= alternate(workers, turns)
        rows |= {name: worker.facts | {"memory": worker.memory()} for name, worker in workers.items()}
    rows = {name: rows[name] | {"seconds": timings[name].as_json()} for name in names if name in rows}
    return {"case": asdict(case), "rows": rows, "left_out": left_out, "note": disturbed_note(timings)}


def report(result: dict[str, Any]) -> str:
    """The result for people: ratios are the candidate's time over seisjax's, above 1 where seisjax is faster."""
    case = result["case"]
    ours = next((row["seconds"]["median"] for name, row in result["rows"].items() if name == "seisjax"), math.nan)
    lines = [
        f"base {case['base_features']} x {case['levels']} levels, {case['batch_size']} x {case['side']} x "
        f"{case['side']}, {case['compute']}, {case['norm']} norm, {case['device']}",
        f"{'':<22}{'ms a step':>11}{'/ seisjax':>11}{'first step s':>14}{'peak MiB':>10}{'of':>8}{'parameters':>13}",
    ]
    for name, row in result["rows"].items():
        seconds, memory = row["seconds"]["median"], row["memory"]
        of = "device" if "device_peak" in memory else "host"
        peak = memory["device_peak" if of == "device" else "resident_peak"] / 2**20
        lines.append(
            f"{name:<22}{1e3 * seconds:>11,.1f}{seconds / ours:>11.2f}{row['first_step_seconds']:>14.1f}"
            f"{peak:>10,.0f}{of:>8}{row['parameters']:>13,}"
        )
    lines += [f"left out: {name}: {why}" for name, why in result["left_out"].items()]
    return "\n".join(lines + ([result["note"]] if result["note"] else []))


def main(_: list[str]) -> None:
    case = Case(
        *(BASE.value, LEVELS.value, SIDE.value, BATCH.value, NORM.value, COMPUTE.value, DEVICE.value, STEPS.value)
    )
    result = compare(case, CANDIDATES.value, TIMES.value, apart=APART.value)
    print(report(result))
    if OUTPUT.value:
        known = ("jax", "jaxlib", "flax", "torch", "monai", "dynamic-network-architectures")
        versions = {}
        for name in known:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
        machine = {"cpus": os.cpu_count(), "load_average": os.getloadavg()[0]}
        write_json(Path(OUTPUT.value), {"date": time.strftime("%Y-%m-%d"), "versions": versions} | machine | result)


if __name__ == "__main__":
    app.run(main)
