"""From a generator to a volume of labelled panels on disk, by any number of processes that may be killed."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from seisjax.conventions import AMPLITUDE, LABELS_PREFIX, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.synthesis.panels import Panels
from seisjax.synthesis.tables import (
    EVENT_UNITS,
    event_arrays,
    event_table,
    panel_axes,
    receiver_arrays,
    volume_attributes,
)
from seisjax.synthetic.microseismic import Panel
from seisjax.synthetic.parameters import Microseismic
from seisjax.volumes import Volume, create_volume
from seisjax.volumes.creating import check_free
from seisjax.volumes.ledger import Ledger, read_counts, write_counts
from seisjax.volumes.statistics import Moments
from seisjax.volumes.store import WRITE_REMEDY, local_path, storage_errors
from seisjax.volumes.work import SharedWork

_UNIT = 2**25  # samples that a process makes before it writes down that they are done: seconds of work
_MANY = 64  # units that there are at least, where there are panels enough, so that processes have equal shares
_NUM_MOMENTS = len(Moments.of(np.zeros(0, np.float32)).array())


def write_microseismic(
    url: str | Path, parameters: Microseismic, num_examples: int, seed: int, **options: Any
) -> Volume:
    """Make the whole volume in this process; options, errors and all else are those of `write_part`."""
    volume = write_part(url, parameters, num_examples, seed, **options)
    assert volume is not None, "num_processes is for write_part"
    return volume


def write_part(
    url: str | Path,
    parameters: Microseismic,
    num_examples: int,
    seed: int,
    *,
    overwrite: bool = False,
    num_processes: int = 1,
    process_id: int = 0,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = logging.info,
) -> Volume | None:
    """Write panels 0 to num_examples - 1 of a seed as a volume of kind "panels", or one process's part of them.

    Axes (example, receiver, time in ms). Arrays: `amplitude`, `trace_mask`, `labels_<classes>`; `receiver_x/y/z` (m),
    `receiver_component` (numbers of its attribute component_names), `receiver_azimuth`; and the event table, one row an
    event: `event_panel` (the example), `event_origin_time` and `event_first_arrival` (s after the panel's first
    sample), `event_x/y/z` (m), `event_snr`, `event_size`. Attributes: generator, generator_version, parameters, seed,
    receiver_names; of the labels class_names and, of onset labels, label_scale. Memory holds two panels at a time.

    `num_processes` processes, told apart by `process_id`, make one volume when each is started with the same
    arguments; the one that ends last finishes it and returns it, the others return None. A process that is killed and
    started again goes on with what is missing; a local volume grows in `NAME.partial` beside its place. The volume is
    the same, byte for byte, for any number of processes and starts.
    `progress(done, total)` is called after each panel with this process's numbers, `say(line)` with what else to tell.
    Raises UserError.
    """
    if num_examples < 1:
        raise UserError(f"num_examples={num_examples}: must be at least 1")
    if not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id}: must lie between 0 and --num_processes - 1, {num_processes - 1}")
    panels = Panels(parameters, seed)
    check_free(str(local_path(str(url)) or url), overwrite)
    wanted = {"num_examples": num_examples, "seed": seed, "config": f"panels {panels.fingerprint}"}
    work = _Work(str(url), wanted, num_processes, process_id, overwrite, progress, say)
    try:
        return work.run(panels, num_examples)
    except UserError:
        work.discard()
        raise
    finally:
        work.release()


class _Work(SharedWork):
    """This process's share of the panels."""

    def run(self, panels: Panels, num_examples: int) -> Volume | None:
        """Make this process's panels; finish the volume if all are made."""
        volume = self._create(panels, num_examples)
        units = list(enumerate(_units(num_examples, int(np.prod(volume.shape[1:])))))
        own = units[self.process :: self.num_processes]
        ledger = Ledger(self.store, "write", self.process, self.teams)
        done = ledger.done()
        to_do = [(number, unit) for number, unit in own if number not in done]
        total = sum(len(unit) for _, unit in own)
        reached = total - sum(len(unit) for _, unit in to_do)
        label, made = _label(panels), _ahead(panels, (i for _, unit in to_do for i in unit))
        for number, unit in to_do:
            moments, events = Moments.of(np.zeros(0, np.float32)), []
            for i, panel in zip(unit, made, strict=False):
                moments = moments.merge(_write_panel(volume, label, i, panel, ledger))
                events.append((i, panels.placed(panel.event)))
                reached += 1
                self.progress(reached, total)
            with storage_errors(self.output, WRITE_REMEDY):
                write_counts(self.store, label, number, volume.chunk_counts(label, _box(volume, unit)))
            rows = _event_rows(events, len(units[0][1]))
            self.note(ledger, number, np.concatenate([moments.array(), rows.ravel()]))
        left = len(units) - len(ledger.done())
        if not self.claims_finish(left, len(units), "parts"):
            return None
        return self._finish(panels, volume, ledger, [unit for _, unit in units])

    def _create(self, panels: Panels, num_examples: int) -> Volume:
        """Start the volume, or open what other processes have started of it."""
        axes = panel_axes(panels.parameters, len(panels.receivers.places), num_examples)
        attributes = volume_attributes(panels)
        volume = create_volume(
            self.output, axes, kind="panels", attributes=attributes, staging=self.staging, shared=True
        )
        volume.add_array(_label(panels), np.uint8, attributes=panels.label_attributes)
        return volume

    def _finish(self, panels: Panels, volume: Volume, ledger: Ledger, units: list[range]) -> Volume:
        """Statistics, label index, receivers and events; then the volume stands in its place."""
        records, statistics, _ = ledger.merged()
        statistics.set_moments(records[:, :_NUM_MOMENTS])
        volume.set_statistics(statistics.result())
        for name, (values, attributes) in receiver_arrays(panels).items():
            volume.add_array(name, dimension_names=["receiver"], values=values, attributes=attributes)
        table = _event_table(records[:, _NUM_MOMENTS:])
        for name, (values, attributes) in event_arrays(table).items():
            volume.add_array(name, dimension_names=["event"], values=values, attributes=attributes)
        label = _label(panels)
        for number, unit in enumerate(units):
            volume.set_chunk_counts(label, _box(volume, unit), read_counts(self.store, label, number))
        volume.finish()
        self.close()
        return volume


def _units(num_examples: int, samples: int) -> Iterator[range]:
    """The panels, in stretches of one unit of work; their number does not depend on that of the processes."""
    length = max(min(_UNIT // samples, -(-num_examples // _MANY)), 1)
    return (range(i, min(i + length, num_examples)) for i in range(0, num_examples, length))


def _ahead(panels: Panels, numbers: Iterable[int]) -> Iterator[Panel]:
    """The panels of these numbers; the next one is computed while one is worked on."""
    numbers = iter(numbers)
    ahead = [panels.panel(number) for _, number in zip(range(1), numbers, strict=False)]
    while ahead:
        panel = ahead.pop()
        ahead += [panels.panel(number) for _, number in zip(range(1), numbers, strict=False)]
        yield panel


def _write_panel(volume: Volume, label: str, number: int, panel: Panel, ledger: Ledger) -> Moments:
    box = _box(volume, range(number, number + 1))
    amplitude, live = np.asarray(panel.amplitude), np.asarray(panel.trace_mask)
    volume.write(AMPLITUDE, box, amplitude[None])
    volume.write(TRACE_MASK, Box(box.start[:2], box.shape[:2]), live[None])
    volume.write(label, box, np.asarray(panel.labels)[None])
    return ledger.statistics.update(amplitude[live])


def _event_rows(events: list[tuple[int, dict[str, float]]], rows: int) -> np.ndarray:
    """What happened in the panels of a unit, float64 (rows, 2 + columns of the event table); NaN past its last."""
    found = np.full((rows, 2 + len(EVENT_UNITS)), np.nan)
    for row, (number, event) in zip(found, events, strict=False):
        row[:] = [number, event["present"], *(event[name] for name in EVENT_UNITS)]
    return found


def _event_table(rows: np.ndarray) -> dict[str, np.ndarray]:
    names = ["present", *EVENT_UNITS]
    rows = rows.reshape(-1, 1 + len(names))
    rows = rows[np.isfinite(rows[:, 0])]
    return event_table((int(row[0]), dict(zip(names, row[1:].tolist(), strict=True))) for row in rows)


def _label(panels: Panels) -> str:
    return LABELS_PREFIX + panels.parameters.classes


def _box(volume: Volume, unit: range) -> Box:
    return Box((unit.start, 0, 0), (len(unit), *volume.shape[1:]))
