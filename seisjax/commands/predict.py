"""Predict a volume with a run."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from seisjax.commands.predicted import class_number
from seisjax.commands.predictor import Prediction, Predictor, open_predictor
from seisjax.errors import UserError
from seisjax.geometry import Box, format_region
from seisjax.inference import Outcome, Task, forecast, predict_volume
from seisjax.inference.ledger import FOLDER as LEDGER
from seisjax.inference.products import ARRAYS
from seisjax.reporting import Progress
from seisjax.reporting.progress import clock
from seisjax.volumes import Volume
from seisjax.volumes.pyramid import FOLDER, write_pyramid
from seisjax.volumes.resampling import ResampledVolume
from seisjax.volumes.segy_export import check_segy, write_segy
from seisjax.volumes.store import Store

_SEGY = f"{LEDGER}/segy.json"  # which SEG-Y files were written of a finished prediction, with which product
_TIMED = 3  # batches whose time tells that of all


def predict(source: Path, request: Prediction) -> str:
    """Predict a volume or a region of it, as one of the workers that do so; returns a summary line.

    source: folder of a run, or file of launch/export.py. Raises UserError.
    """
    predictor, task = _open(source, request)
    with Progress(0, "predict", "window") as progress:
        outcome = predict_volume(
            task,
            predictor.forwards,
            request.output,
            attributes=predictor.attributes(request),
            command=request.command,
            overwrite=request.overwrite,
            verify=request.verify,
            max_blocks=request.max_blocks,
            progress=progress.reach,
            say=progress.print,
        )
    if outcome.last and outcome.volume is not None:
        _add_pyramid(outcome.volume, request.pyramid)
        _add_segy(outcome.volume, predictor, request)
    return _summary(outcome, task, request)


def plan_prediction(source: Path, request: Prediction) -> str:
    """What `predict` would do: lattice, blocks, reading, time and disk, as text. Nothing is written."""
    predictor, task = _open(source, request)
    plan = forecast(task)
    members = len(predictor.forwards) * 2 ** len(task.tta_axes)
    seconds = _seconds_a_batch(predictor, task)
    batches = math.ceil(plan.predicted / task.batch_size) * members
    strides = " and ".join(str(view.lattice.stride) for view in task.views())
    several = f"{members} times " if members > 1 else ""
    return "\n".join(
        [
            f"region    {format_region(task.box, task.volume.axes)} ({_sides(task.box.shape)} samples)",
            f"windows   {plan.windows} of {task.cutting.cut}, stride {strides}, {task.batch_size} at a time",
            f"blocks    {plan.blocks} of up to {_sides(plan.block)} samples",
            f"computed  each window {several}in {plan.predicted / plan.windows:.2f} runs of blocks, each sample "
            f"{members * plan.computed / plan.samples:.1f} times",
            f"read      each byte {plan.read_bytes / plan.chunk_bytes:.2f} times, {plan.read_bytes / 2**20:.1f} MiB "
            "of decoded chunks",
            f"time      {clock(batches * seconds)} on {jax.local_device_count()} x {jax.devices()[0].device_kind}, "
            f"{seconds / task.batch_size * 1e3:.3g} ms a window; windows without data take none",
            f"disk      {plan.output_bytes / 2**20:.1f} MiB before compression",
        ]
    )


def _open(source: Path, request: Prediction) -> tuple[Predictor, Task]:
    """What predicts, and what. Raises UserError for what is seen beforehand to go wrong."""
    predictor = open_predictor(source, request)
    task = predictor.task(request)
    if request.segy:
        if isinstance(predictor.volume, ResampledVolume):
            url = predictor.volume.url
            raise UserError(f"--segy: {url} is resampled, and its SEG-Y file is not; leave --segy out")
        _segy_array(predictor, request.segy_product, task.products)
        if not _is_made(request):
            options = {"template": request.segy_template, "overwrite": request.overwrite}
            check_segy(predictor.volume, task.box, Path(request.segy), **options)
    return predictor, task


def _is_made(request: Prediction) -> bool:
    """Whether this SEG-Y was written of the volume that stands already: by another worker, or an earlier start."""
    if request.overwrite or not request.segy or not Path(request.segy).exists():
        return False
    return _written_segy(request).get(str(Path(request.segy).absolute())) == request.segy_product


def _written_segy(request: Prediction) -> dict[str, str]:
    """The product in each SEG-Y file that was written of the finished volume."""
    return Store(request.output).read_json(_SEGY) or {}


def _segy_array(predictor: Predictor, product: str, products: Sequence[str]) -> tuple[str, int | None]:
    """The array that SEG-Y gets, and the class where it is the probability of one."""
    needed, index = product, None
    if product not in ARRAYS or product == "probability":
        needed = "probability"
        index = class_number("segy_product", product, predictor.class_names, predictor.num_classes)
    if needed not in products:
        raise UserError(f"--segy_product={product}: needs --products with {needed}")
    return ARRAYS[needed], index


def _add_pyramid(volume: Volume, levels: int) -> None:
    if levels and Store(volume.url).read_json(f"{FOLDER}/zarr.json") is None:
        write_pyramid(volume, levels)


def _add_segy(volume: Volume, predictor: Predictor, request: Prediction) -> None:
    if request.segy and not _is_made(request):
        array, index = _segy_array(predictor, request.segy_product, tuple(ARRAYS))
        options = {"template": request.segy_template, "overwrite": request.overwrite}
        write_segy(volume, array, Box.whole(volume.shape), request.segy, index=index, **options)
        written = {str(Path(request.segy).absolute()): request.segy_product}
        Store(volume.url).write_json(_SEGY, _written_segy(request) | written)


def _seconds_a_batch(predictor: Predictor, task: Task) -> float:
    """Time that a network takes for a batch on the devices of this process: the median of a few, once compiled."""
    images = np.zeros((task.batch_size, *task.cutting.image_shape), np.float32)
    seconds = []
    for _ in range(1 + _TIMED):
        started = time.perf_counter()
        jax.block_until_ready(predictor.forwards[0](images))
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def _summary(outcome: Outcome, task: Task, request: Prediction) -> str:
    region = format_region(task.box, task.volume.axes)
    if outcome.volume is None:
        return (
            f"{outcome.done} of {outcome.blocks} blocks of {region} predicted, {outcome.left} are left; "
            "give the same command again to go on"
        )
    if not outcome.done:
        return f"{region} is predicted in {request.output}; nothing was left to do"
    segy = f" and {request.segy}" if request.segy else ""
    return (
        f"predicted {region} into {request.output}{segy}: {outcome.done} of {outcome.blocks} blocks in "
        f"{clock(outcome.seconds)}, the device at work {outcome.device_share:.0%} of the time, "
        f"{outcome.fetched / 2**20:.1f} MiB fetched"
    )


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
