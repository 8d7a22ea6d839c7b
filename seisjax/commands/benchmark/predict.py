"""What a prediction takes: windows a second, the device's share, and the seconds of reading, host work and writing."""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seisjax import experiment
from seisjax.commands.benchmark.inputs import check_alone
from seisjax.commands.benchmark.machine import record
from seisjax.commands.benchmark.turns import TURNS, Timing, alternate, disturbed_note, seconds_each
from seisjax.config import Experiment, flatten, multiples_of, to_dict
from seisjax.conventions import class_colors
from seisjax.experiment import Survey, num_classes
from seisjax.geometry import Box, format_region
from seisjax.inference import Cutting, Task, forecast, predict_volume
from seisjax.inference.products import ARRAYS
from seisjax.inference.reading import SlabReader
from seisjax.inference.views import hull
from seisjax.reporting import Progress
from seisjax.volumes import Volume, create_volume, set_cache_size

READ, DEVICE, WITHOUT, WRITE, WHOLE = "reading", "device", "without the device", "writing", "whole task"

MEANING = {
    READ: "all windows, read and cut, nothing else",
    DEVICE: "all batches, from the host and back, nothing else",
    WITHOUT: "the task with probabilities that cost nothing",
    WRITE: "the products of the task, compressed and written again",
    WHOLE: "the task",
}


def measure(config: Experiment, *, turns: int = TURNS, seconds: float = 2.0, windows: int = 64) -> dict[str, Any]:
    """Seconds of the parts of a prediction with the experiment's network, untrained, as a dict for JSON.

    The task is a part of the test split, or of the validation or the training part where there is none, of about so
    many windows; it is written to a folder of its own, which is removed. `seconds`: shortest time for which the device
    is measured. Raises UserError where the config cannot be used.
    """
    check_alone(config, "predict")
    survey = experiment.open_survey(config)
    size = config.predict.batch_size or config.data.batch_size
    mesh = experiment.make_mesh(config, survey, size)
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.fit(config, survey))
    state = segmenter.init()

    def forward(images: np.ndarray) -> jax.Array:
        return segmenter.forward(state["params"], state["rest"], images, np.float32(1))

    folder = Path(tempfile.mkdtemp(prefix="predict-"))
    try:
        parts = _Parts(_task(config, survey, size, windows), forward, folder, config.data.cache_mebibytes, seconds)
        candidates = parts.candidates()
        with Progress(turns * len(candidates), "measure", "part") as progress:
            timings = alternate(candidates, turns, progress=progress.update)
    finally:
        shutil.rmtree(folder)
    report = record(("tensorstore",)) | {
        "config": flatten(to_dict(config)),
        "window": list(survey.window),
        "batch_size": size,
        "region": format_region(parts.task.box, survey.volume.axes),
        "samples": parts.task.box.size,
        "windows": parts.plan.predicted,
        "device_share": float(np.median(parts.shares)),
        "seconds": {name: timing.as_json() for name, timing in timings.items()},
        "note": disturbed_note(timings),
    }
    report["parts"] = _split(timings)
    return report | dict(zip(("bottleneck", "change"), _verdict(report), strict=True))


def _task(config: Experiment, survey: Survey, size: int, windows: int) -> Task:
    classes = num_classes(config)

    def task(box: Box) -> Task:
        return Task(
            volume=survey.volume,
            box=box,
            cutting=Cutting(
                window=survey.window,
                padded=survey.padded,
                multiple=multiples_of(config),
                overlap=config.predict.overlap,
                directions=tuple(config.data.directions),
                neighbours=config.data.neighbours,
            ),
            batch_size=size,
            num_classes=classes,
            block_bytes=config.predict.block_mebibytes * 2**20,
            class_names=survey.class_names,
            class_colors=class_colors(classes),
            probability_dtype=config.predict.probability_dtype,
        )

    regions = survey.regions
    box = (regions.get("test") or regions.get("validation") or regions["train"])[0]
    while forecast(task(box)).predicted > windows:
        sides = [n // 2 if n > side else 0 for n, side in zip(box.shape, survey.window, strict=True)]
        if not any(sides):
            break
        axis = int(np.argmax(sides))  # what is longest is halved, but not below a window
        shape = list(box.shape)
        shape[axis] = max(sides[axis], survey.window[axis])
        box = Box(box.start, tuple(shape))
    return task(box)


class _Parts:
    """The parts of a task, each a function that measures itself and returns seconds for the whole task."""

    def __init__(
        self, task: Task, forward: Callable[[np.ndarray], jax.Array], folder: Path, cache: int, least: float
    ) -> None:
        self.task, self.plan = task, forecast(task)
        self._forward, self._folder, self._cache, self._least = forward, folder, cache, least
        self._images = np.zeros((task.batch_size, *task.cutting.image_shape), np.float32)
        self._probabilities = np.asarray(forward(self._images))
        self._count = 0
        self._written: Volume | None = None
        self.shares: list[float] = []

    def candidates(self) -> dict[str, Callable[[], float]]:
        """The parts; the whole comes first, for what it wrote is written again."""
        return {
            WHOLE: self._whole,
            READ: self._read,
            DEVICE: self._device,
            WITHOUT: lambda: self._predict(lambda images: self._probabilities)[0],
            WRITE: self._write,
        }

    def _output(self) -> str:
        self._count += 1
        return str(self._folder / f"{self._count}.zarr")

    def _predict(self, forward: Callable[[np.ndarray], Any]) -> tuple[float, Volume, float]:
        set_cache_size(self._cache)  # a new and empty one
        started = time.perf_counter()
        outcome = predict_volume(self.task, [forward], self._output())
        assert outcome.volume is not None
        return time.perf_counter() - started, outcome.volume, outcome.device_share

    def _whole(self) -> float:
        seconds, volume, share = self._predict(self._forward)
        self._remove(self._written)
        self._written = volume
        self.shares.append(share)
        return seconds

    def _read(self) -> float:
        """Lattice by lattice, slab by slab, as the task reads them."""
        set_cache_size(self._cache)
        started = time.perf_counter()
        for view in self.task.views():
            reader = SlabReader(self.task.volume, hull([view], self.task.box))
            for window in sorted(view.lattice.touching(self.task.box), key=lambda box: box.start[0]):
                reader.read(view.reads(window))
        return time.perf_counter() - started

    def _device(self) -> float:
        each = seconds_each(lambda: np.asarray(self._forward(self._images)), self._least, least_times=2)
        return each * math.ceil(self.plan.predicted / self.task.batch_size)

    def _write(self) -> float:
        """The arrays of the last whole task, shard by shard, in another volume of the same layout."""
        if self._written is None:
            self._whole()
        volume = self._written
        assert volume is not None
        names = [ARRAYS[product] for product in self.task.products]
        values = {name: [volume.read(name, box) for box in volume.shards(name)] for name in names}
        return _write_again(volume, names, values, self._output())

    def _remove(self, volume: Volume | None) -> None:
        if volume is not None:
            shutil.rmtree(volume.url)


def _write_again(volume: Volume, names: Sequence[str], values: dict[str, list[np.ndarray]], url: str) -> float:
    layout = volume.arrays[names[0]]
    started = time.perf_counter()
    with create_volume(url, volume.axes, dtype=None, chunk=layout.chunk, shard=layout.shard) as copy:
        for name in names:
            info = volume.arrays[name]
            copy.add_array(
                name,
                info.dtype,
                dimension_names=info.dimension_names,
                shape=info.shape,
                chunk=info.chunk,
                shard=info.shard,
            )
            for box, samples in zip(volume.shards(name), values[name], strict=True):
                copy.write(name, box, samples)
    return time.perf_counter() - started


def _split(timings: dict[str, Timing]) -> dict[str, float]:
    """Seconds of the parts of a task; host work is what is left without the device, reading and writing."""
    seconds = {name: timing.median for name, timing in timings.items()}
    host = max(seconds[WITHOUT] - seconds[READ] - seconds[WRITE], 0.0)
    return {"reading": seconds[READ], "device": seconds[DEVICE], "host work": host, "writing": seconds[WRITE]}


def _verdict(report: dict[str, Any]) -> tuple[str, str]:
    parts = report["parts"]
    slowest = max(parts, key=parts.__getitem__)
    medians = {name: found["median"] for name, found in report["seconds"].items()}
    if medians[DEVICE] >= medians[WITHOUT] or slowest == "device":
        advice = "predict.overlap, smaller: fewer windows; predict.batch_size; more devices or workers"
        if jax.local_devices()[0].platform != "cpu" and report["config"]["precision.compute"] == "float32":
            advice = "launch/predict.py --precision=bfloat16; then predict.overlap, smaller"
        return "the device", advice
    return slowest, {
        "reading": "predict.block_mebibytes, larger: fewer samples are read twice; data.cache_mebibytes; a nearer disk",
        "host work": "several workers (the same command again); --products, fewer of them",
        "writing": "--products, fewer of them; predict.probability_dtype=float16; a nearer disk",
    }[slowest]


def table(report: dict[str, Any]) -> str:
    """The report of `measure` for people."""
    sides, count = " x ".join(map(str, report["window"])), report["windows"]
    lines = [
        f"{count} windows of {sides}, {report['batch_size']} at a time, of {report['region']} "
        f"({report['samples']:,} samples); {report['device']} (jax {report['versions']['jax']})",
        f"{'part':<20}{'s':>10}{'windows/s':>12}  what is done",
    ]
    for name, found in report["seconds"].items():
        lines.append(f"{name:<20}{found['median']:>10,.3f}{count / found['median']:>12,.1f}  {MEANING[name]}")
    whole = report["seconds"][WHOLE]["median"]
    lines += [
        "of the task         " + ", ".join(f"{name} {s:,.3f} s" for name, s in report["parts"].items()),
        f"together            {sum(report['parts'].values()):,.3f} s one by one, {whole:,.3f} s as they overlap",
        f"device              at work {report['device_share']:.0%} of the time",
        f"bottleneck          {report['bottleneck']}",
        f"change              {report['change']}",
    ]
    return "\n".join(lines + ([f"note                {report['note']}"] if report["note"] else []))
