"""From a generator to a volume of labelled panels on disk."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np

from seisjax.conventions import AMPLITUDE, LABELS_PREFIX, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.microseismic import Event, panel_generator
from seisjax.synthetic.parameters import Microseismic
from seisjax.volumes import StreamingStatistics, Volume, create_volume

_EVENT_UNITS = {"origin_time": "s", "x": "m", "y": "m", "z": "m", "snr": "", "first_arrival": "s", "size": ""}


def write_microseismic(
    url: str | Path,
    parameters: Microseismic,
    num_examples: int,
    seed: int,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Volume:
    """Write panels 0 to num_examples - 1 of a seed as a volume of kind "panels"; memory holds two of them at a time.

    Axes (example, receiver, time in ms). Arrays: `amplitude`, `trace_mask`, `labels_event` (or `labels_phase`),
    `receiver_x/y/z` (m), and the event table: `event_panel` (the example), `event_origin_time` (s after the panel's
    first sample), `event_x/y/z` (m), `event_snr`, one row an event. Attributes: generator, parameters, seed.
    `progress(done, total)` is called after each panel. Raises UserError.
    """
    if num_examples < 1:
        raise UserError(f"num_examples={num_examples}: must be at least 1")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}: must lie between 0 and 2^32 - 1")
    array = receivers(parameters.array)
    places = array.places
    centre = np.append(places[:, :2].mean(axis=0), 0.0)  # float32 holds map coordinates to half a metre only
    generate = jax.jit(panel_generator(parameters, array._replace(places=places - centre)))
    label = LABELS_PREFIX + parameters.classes
    with _create(url, parameters, len(places), num_examples, seed, overwrite) as volume:
        volume.add_array(label, np.uint8, attributes={"class_names": list(parameters.class_names)})
        statistics, events = StreamingStatistics(), []
        ahead = generate(seed, 0)
        for i in range(num_examples):
            panel, ahead = ahead, generate(seed, i + 1)  # the next one is computed while this one is written
            box = Box((i, 0, 0), (1, *volume.shape[1:]))
            amplitude, live = np.asarray(panel.amplitude), np.asarray(panel.trace_mask)
            volume.write(AMPLITUDE, box, amplitude[None])
            volume.write(TRACE_MASK, Box(box.start[:2], box.shape[:2]), live[None])
            volume.write(label, box, np.asarray(panel.labels)[None])
            statistics.update(amplitude[live])
            if panel.event.present:
                events.append((i, panel.event))
            if progress:
                progress(i + 1, num_examples)
        volume.set_statistics(statistics.result())
        _add_receivers(volume, places)
        _add_events(volume, events, centre)
    return volume


def _create(
    url: str | Path, parameters: Microseismic, num_receivers: int, num_examples: int, seed: int, overwrite: bool
) -> Volume:
    time = np.arange(parameters.num_samples) * parameters.sampling_interval * 1e3
    axes = (
        Axis("example", np.arange(num_examples)),
        Axis("receiver", np.arange(num_receivers)),
        Axis("time", time.round(6), "ms"),
    )
    attributes = {
        "generator": "microseismic",
        "parameters": asdict(parameters),
        "seed": seed,
        "sampling_interval": parameters.sampling_interval * 1e3,
    }
    return create_volume(url, axes, kind="panels", attributes=attributes, overwrite=overwrite)


def _add_receivers(volume: Volume, places: np.ndarray) -> None:
    for name, values in zip("xyz", places.T, strict=True):
        metres = {"unitsV1": {"length": "m"}}
        volume.add_array(f"receiver_{name}", dimension_names=["receiver"], values=values, attributes=metres)


def _add_events(volume: Volume, events: list[tuple[int, Event]], centre: np.ndarray) -> None:
    """The event table; x and y in the receivers' coordinates again."""
    panels = np.array([i for i, _ in events], np.int32)
    volume.add_array("event_panel", dimension_names=["event"], values=panels)
    for name, unit in _EVENT_UNITS.items():
        values = np.array([getattr(event, name) for _, event in events], np.float64)
        if name in ("x", "y"):
            values += centre["xy".index(name)]
        attributes = {"unitsV1": {"length" if unit == "m" else "time": unit}} if unit else {}
        volume.add_array(f"event_{name}", dimension_names=["event"], values=values, attributes=attributes)
