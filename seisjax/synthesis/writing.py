"""From a generator to a labelled volume on disk, by any number of processes that may be killed."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from seisjax.conventions import AMPLITUDE, LABELS_PREFIX, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Box, Shape, tiles
from seisjax.synthesis.examples import Examples, Made
from seisjax.synthesis.generators import make_examples
from seisjax.synthetic.parameters import Microseismic
from seisjax.volumes import Volume, create_volume
from seisjax.volumes.creating import check_free
from seisjax.volumes.ledger import Ledger, read_counts, write_counts
from seisjax.volumes.statistics import Moments
from seisjax.volumes.store import WRITE_REMEDY, local_path, storage_errors
from seisjax.volumes.work import SharedWork

_UNIT = 2**25  # samples of panels that a process makes before it writes down that they are done: seconds of work
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
    parameters: Any,
    num_examples: int,
    seed: int,
    *,
    overwrite: bool = False,
    num_processes: int = 1,
    process_id: int = 0,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = logging.info,
) -> Volume | None:
    """Write examples 0 to num_examples - 1 of a seed as a volume, or one process's part of them.

    parameters: those of any generator (seisjax.synthesis.generators); they say what comes of it.

    Microseismic: kind "panels", axes (example, receiver, time in ms). Arrays: `amplitude`, `trace_mask`,
    `labels_<classes>`; `receiver_x/y/z` (m), `receiver_component` (numbers of its attribute component_names),
    `receiver_azimuth`; and the event table, one row an event: `event_panel` (the example), `event_origin_time` and
    `event_first_arrival` (s after the panel's first sample), `event_x/y/z` (m), `event_snr`, `event_size`. Attributes:
    those of all, and receiver_names; of the labels class_names and, of onset labels, label_scale.

    FaultedVolume: axes (example, inline, crossline, time in ms) and kind "panels"; a single one has no example axis and
    is of kind "survey". Arrays: `amplitude`, `labels_fault`, `labels_facies`, `labels_horizon`; `fault_id` (uint8),
    `fault_slip` and `geological_time` (samples); over the traces `horizon_1`, `horizon_2`, ... (ms, NaN where it is not
    seen); `example_snr`, `example_frequency` (Hz), `example_faults` (how many); and the faults, one row each:
    `faults_example`, `faults_number`, `faults_strike`, `faults_dip`, `faults_rake` (degrees), `faults_slip` (samples).

    Attributes of all: generator, generator_version, parameters, seed, sampling_interval (ms). Memory holds two blocks
    (panels, or traces of a volume) at a time.

    `num_processes` processes, told apart by `process_id`, make one volume when each is started with the same
    arguments; the one that ends last finishes it and returns it, the others return None. A process that is killed and
    started again goes on with what is missing; a local volume grows in `NAME.partial` beside its place. The volume is
    the same, byte for byte, for any number of processes and starts.
    `progress(done, total)` is called after each block with this process's numbers, `say(line)` with what else to tell.
    Raises UserError.
    """
    if num_examples < 1:
        raise UserError(f"num_examples={num_examples}: must be at least 1")
    if not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id}: must lie between 0 and --num_processes - 1, {num_processes - 1}")
    examples = make_examples(parameters, seed)
    check_free(str(local_path(str(url)) or url), overwrite)
    wanted = {"num_examples": num_examples, "seed": seed, "config": f"{examples.generator} {examples.fingerprint}"}
    work = _Work(str(url), wanted, num_processes, process_id, overwrite, progress, say)
    try:
        return work.run(examples, num_examples)
    except UserError as error:
        work.give_up(error)
        raise
    finally:
        work.release()


class _Work(SharedWork):
    """This process's share of the examples."""

    def run(self, examples: Examples, num_examples: int) -> Volume | None:
        """Make this process's blocks; finish the volume if all are made."""
        volume, block = self._create(examples, num_examples), examples.layout(num_examples)[1]
        sides = _unit(volume.shape, block)
        units = list(enumerate(tiles(Box.whole(volume.shape), sides)))
        own = units[self.process :: self.num_processes]
        ledger = Ledger(self.store, "write", self.process, self.teams)
        done = ledger.done()
        blocks = {number: list(tiles(unit, block)) for number, unit in own}
        to_do = [(number, unit) for number, unit in own if number not in done]
        total = sum(map(len, blocks.values()))
        reached = total - sum(len(blocks[number]) for number, _ in to_do)
        made = _ahead(examples, (box for number, _ in to_do for box in blocks[number]))
        for number, unit in to_do:
            moments, events = Moments.of(np.zeros(0, np.float32)), []
            for box, one in zip(blocks[number], made, strict=False):
                moments = moments.merge(_write_block(volume, box, one, ledger))
                events.append((box.start[0], one.event or {}))
                reached += 1
                self.progress(reached, total)
            with storage_errors(self.output, WRITE_REMEDY):
                for label in _labels(volume):
                    write_counts(self.store, label, number, volume.chunk_counts(label, unit))
            rows = _event_rows(events, sides[0] // block[0], examples.event_names)
            self.note(ledger, number, np.concatenate([moments.array(), rows.ravel()]))
        left = len(units) - len(ledger.done())
        if not self.claims_finish(left, len(units), "parts"):
            return None
        return self._finish(examples, volume, ledger, units)

    def _create(self, examples: Examples, num_examples: int) -> Volume:
        """Start the volume, or open what other processes have started of it."""
        chunk, block = examples.layout(num_examples)
        layout = {"chunk": chunk, "shard": block} if chunk else {}
        options = {"kind": examples.kind(num_examples), "attributes": examples.attributes, **layout}
        axes = examples.axes(num_examples)
        volume = create_volume(self.output, axes, staging=self.staging, shared=True, **options)
        for name, (dtype, fill, attributes, traces) in examples.arrays().items():
            names = [axis.name for axis in axes][: len(axes) - traces]
            volume.add_array(name, dtype, fill=fill, dimension_names=names, attributes=attributes)
        return volume

    def _finish(self, examples: Examples, volume: Volume, ledger: Ledger, units: list[tuple[int, Box]]) -> Volume:
        """Statistics, label indices and tables; then the volume stands in its place."""
        records, statistics, _ = ledger.merged()
        statistics.set_moments(records[:, :_NUM_MOMENTS])
        volume.set_statistics(statistics.result())
        num_examples = len(volume.axes[0]) if volume.kind == "panels" else 1
        events = _events(records[:, _NUM_MOMENTS:], examples.event_names)
        for name, table in (examples.constants() | examples.tables(num_examples, events)).items():
            volume.add_array(name, **table._asdict())
        for label in _labels(volume):
            for number, unit in units:
                volume.set_chunk_counts(label, unit, read_counts(self.store, label, number))
        volume.finish()
        self.close()
        return volume


def _unit(shape: Shape, block: Shape) -> Shape:
    """Sides of a unit of work, of whole blocks: several examples where they are small, else one block. They do not
    depend on the number of processes."""
    several = block[0] == 1 and block[1:] == shape[1:]
    length = max(min(_UNIT // math.prod(block), -(-shape[0] // _MANY)), 1) if several else block[0]
    return (length, *block[1:])


def _labels(volume: Volume) -> list[str]:
    return [LABELS_PREFIX + name for name in volume.label_names()]


def _ahead(examples: Examples, blocks: Iterable[Box]) -> Iterator[Made]:
    """These blocks; the next one is computed while one is worked on."""
    blocks = iter(blocks)
    ahead = [examples.start(box) for _, box in zip(range(1), blocks, strict=False)]
    while ahead:
        block = ahead.pop()
        ahead += [examples.start(box) for _, box in zip(range(1), blocks, strict=False)]
        yield block()


def _write_block(volume: Volume, box: Box, made: Made, ledger: Ledger) -> Moments:
    for name, values in made.arrays.items():
        volume.write(name, Box(box.start[: values.ndim], box.shape[: values.ndim]), values)
    amplitude = made.arrays[AMPLITUDE]
    live = made.arrays.get(TRACE_MASK)
    return ledger.statistics.update(amplitude if live is None else amplitude[live])


def _event_rows(events: list[tuple[int, dict[str, float]]], rows: int, names: Sequence[str]) -> np.ndarray:
    """What happened in the blocks of a unit, float64 (rows, 1 + names): number and event; NaN past its last."""
    found = np.full((rows, 1 + len(names)), np.nan)
    for row, (number, event) in zip(found, events, strict=False):
        row[:] = [number, *(event[name] for name in names)]
    return found


def _events(rows: np.ndarray, names: Sequence[str]) -> list[tuple[int, dict[str, float]]]:
    """Numbers and events of all rows."""
    rows = rows.reshape(-1, 1 + len(names))
    rows = rows[np.isfinite(rows[:, 0])]
    return [(int(row[0]), dict(zip(names, row[1:].tolist(), strict=True))) for row in rows]
