"""Survey to volume: one pass over the samples, shard column by shard column, whole shards only.

In memory are one shard column (all samples of the traces above one shard, or a part of them where traces are long) and
what the reader holds of the geometry. Several processes share the columns of one volume, and whoever is killed goes on.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX
from seisjax.errors import UserError, WrongDataError
from seisjax.geometry import Axis, Box
from seisjax.volumes.columns import Labels, Survey, finish_headers, scan_column, write_column
from seisjax.volumes.creating import check_apart, check_free
from seisjax.volumes.ledger import Ledger, read_counts, write_counts
from seisjax.volumes.metadata import COMPRESSIONS
from seisjax.volumes.quantization import NUM_ERRORS, SCALED, Encoding, Errors, choose_scale
from seisjax.volumes.readers import SurveyReader
from seisjax.volumes.segy_survey import COORDINATES, GATHER_COORDINATES
from seisjax.volumes.sources import expand_inputs, open_reader
from seisjax.volumes.statistics import Moments
from seisjax.volumes.store import WRITE_REMEDY, local_path, storage_errors
from seisjax.volumes.volume import Volume
from seisjax.volumes.volume_reader import LabelsReader, VolumeReader
from seisjax.volumes.work import SharedWork

_NUM_MOMENTS = len(Moments.of(np.zeros(0, np.float32)).array())


def ingest(inputs: str | Path | Sequence[str | Path], output: str | Path, **options: Any) -> Volume:
    """Make the whole volume `output` in this process; options, errors and all else are those of `ingest_part`."""
    volume = ingest_part(inputs, output, **options)
    assert volume is not None, "num_processes is for ingest_part"
    return volume


def ingest_part(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    labels: str | Path | None = None,
    label_name: str = "facies",
    class_names: Sequence[str] = (),
    format: str = "auto",
    axes: Mapping[str, Any] | str | None = None,
    vertical: str = "time",
    duplicates: str = "refuse",
    interval: float | None = None,
    dataset: str = "",
    stations: str = "",
    resample: float | None = None,
    bandpass: str = "",
    dtype: str = "float32",
    chunk: Sequence[int] | None = None,
    shard: Sequence[int] | None = None,
    compression: str = COMPRESSIONS[0],
    sections: Sequence[str] = (),
    overwrite: bool = False,
    num_processes: int = 1,
    process_id: int = 0,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = logging.info,
) -> Volume | None:
    """Make the volume `output` of a survey, or a part of it.

    `open_reader` says what is read, and what the options from `format` to `bandpass` mean. `labels` is a survey on the
    same grid, in any format: whole numbers 0 to 254, below len(class_names) where names are given; 255 or NaN where
    unlabelled. Without inputs the volume holds labels alone. A volume as input hands on its labels too. Samples are
    stored as `dtype`. float32 rounds 32-bit integers above 2^24; int8 and int16 get a scale where the source is not
    made of whole numbers that fit, found in a first pass over the data, and the error is recorded; float16 must hold
    every sample. Cells without a trace and dead traces are masked. NaN and Inf stay (as NaN among whole numbers) and
    are counted. `sections`: axes for which copies are kept in chunks one sample thick. `compression`: `create_volume`.

    Each of `num_processes` processes, started with the same arguments, makes every num_processes-th shard column; the
    one that finds all made returns the volume, the others None. What is made lies in NAME.partial; the same call goes
    on with it, after an error too. `progress` gets the columns done and their number, `say` what else there is to tell.
    Raises UserError for what is wrong with files, grid, labels or storage, or in NAME.partial.
    """
    if not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id}: must lie from 0 to {num_processes - 1} (--num_processes less one)")
    paths = expand_inputs([str(p) for p in ([inputs] if isinstance(inputs, str | Path) else inputs)], format)
    options = {"format": format, "axes": axes, "vertical": vertical, "duplicates": duplicates, "interval": interval}
    options |= {"dataset": dataset, "stations": stations, "resample": resample, "bandpass": bandpass}
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader(paths, **options)) if paths else None
        label_sets = _open_labels(stack, reader, labels, label_name, class_names, options)
        survey = Survey(reader, label_sets, dtype, sections)
        survey.lay_out(chunk, shard, compression)
        check_apart(output, [*paths, labels])
        check_free(str(local_path(str(output)) or output), overwrite)
        files = {"input": _signature(paths), "labels": _signature([labels]), "stations": _signature([stations])}
        wanted = options | files | {"label_name": label_name, "class_names": list(class_names), "dtype": dtype}
        wanted |= {"chunk": survey.chunk, "shard": survey.shard, "sections": list(sections), "compression": compression}
        work = _Work(str(output), wanted, num_processes, process_id, overwrite, progress, say)
        stack.callback(work.release)
        try:
            return work.run(survey)
        except UserError as error:
            work.give_up(error)
            raise


def parse_sides(name: str, sides: Sequence[str]) -> tuple[int, ...] | None:
    """Sides of a chunk or shard as the flag `--name` gives them; None for none. Raises UserError."""
    if not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        raise UserError(f"--{name}={','.join(sides)}: not whole numbers above 0; write e.g. 64,64,64")
    return tuple(int(side) for side in sides) or None


def _open_labels(
    stack: ExitStack,
    reader: SurveyReader | None,
    labels: str | Path | None,
    label_name: str,
    class_names: Sequence[str],
    options: Mapping[str, Any],
) -> list[Labels]:
    """The labels that are given, and those of a volume that is the input."""
    found = []
    if labels:
        if not label_name.isidentifier():
            raise UserError(f"--label_name={label_name}: not a name; use letters, digits and _")
        if len(class_names) > IGNORE:
            raise UserError(f"--class_names: {len(class_names)} names; there are at most {IGNORE} classes")
        options = {**options, "label": label_name, "stations": "", "resample": None, "bandpass": ""}
        if reader:  # its grid is the measure
            options |= {
                "format": "auto",
                "dataset": "",
                "axes": reader.attributes.get("header_bytes"),
                "like": reader.axes,
            }
        if options["duplicates"] == "mean":
            options["duplicates"] = "first"
        opened = stack.enter_context(open_reader([str(labels)], **options))
        names = [name.strip() for name in class_names]
        if not names and isinstance(opened, LabelsReader):
            names = opened.class_names
        if reader:
            _check_same_grid(reader.axes, opened)
        found.append(Labels(LABELS_PREFIX + label_name, opened, names))
    elif class_names:
        raise UserError(f"--class_names={','.join(class_names)}: names the classes of --labels; give that too")
    if isinstance(reader, VolumeReader):
        carried = [LabelsReader(reader.volume, name) for name in reader.volume.label_names()]
        taken = {one.array for one in found}
        found += [Labels(a, r, r.class_names) for r in carried if (a := LABELS_PREFIX + r.label) not in taken]
    return found


def _check_same_grid(axes: Sequence[Axis], labels: SurveyReader) -> None:
    """Raise UserError unless labels have the axes of the survey."""
    if len(axes) != len(labels.axes):
        raise UserError(f"{labels.name}: has {len(labels.axes)} axes where the survey has {len(axes)}")
    for axis, found in zip(axes, labels.axes, strict=True):
        if len(axis) != len(found) or not np.allclose(axis.labels, found.labels, rtol=0, atol=1e-3):
            raise UserError(
                f"{labels.name}: {found} ({len(found)}) where the survey has {axis} ({len(axis)}); "
                "labels must lie on the survey's own grid"
            )


def _signature(paths: Sequence[str | Path | None]) -> list[Any]:
    """What tells whether files are those of an earlier start: name, size and time of change where they are local."""
    found: list[Any] = []
    for path in map(str, filter(None, paths)):
        local = local_path(path)
        if local is None or not local.exists():
            found.append(path)
            continue
        status = (local / "zarr.json" if local.is_dir() and (local / "zarr.json").exists() else local).stat()
        found.append([str(local), status.st_size, status.st_mtime_ns])
    return found


class _Work(SharedWork):
    """This process's share of an ingest."""

    def run(self, survey: Survey) -> Volume | None:
        """Make this process's columns; finish the volume if all columns are made."""
        columns = list(enumerate(survey.columns))
        own = columns[self.process :: self.num_processes]
        encoding = self._encoding(survey, own)
        volume = survey.create(self.output, encoding, self.staging)
        ledger = Ledger(self.store, "write", self.process, self.teams)
        done = ledger.done()
        reached = sum(number in done for number, _ in own)
        for number, column in own:
            if number in done:
                continue
            record = write_column(survey, volume, encoding, ledger, column)
            for one in survey.labels:
                with storage_errors(self.output, WRITE_REMEDY):
                    write_counts(self.store, one.array, number, volume.chunk_counts(one.array, column))
            self.note(ledger, number, record)
            reached += 1
            self.progress(reached, len(own))
        left = len(columns) - len(ledger.done())
        if not self.claims_finish(left, len(columns), "shard columns"):
            return None
        return self._finish(survey, volume, encoding, ledger)

    def _encoding(self, survey: Survey, own: list[tuple[int, Box]]) -> Encoding | None:
        """How amplitudes are stored; where that takes a scale, after a first pass over the samples."""
        if survey.reader is None:
            return None
        if survey.wanted.name not in SCALED or np.can_cast(survey.reader.dtype, survey.wanted):
            return Encoding(survey.wanted)
        ledger = Ledger(self.store, "scan", self.process, self.teams)
        done = ledger.done()
        for number, column in own:
            if number not in done:
                moments, whole = scan_column(survey.reader, ledger, column)
                self.note(ledger, number, np.append(moments.array(), whole))
        told = 0
        while left := len(survey.columns) - len(ledger.done()):
            if left != told:  # once, not every time it is looked at
                columns = f"{left} shard column{'s'[: left > 1]} of other processes"
                self.say(f"first pass: waiting for {columns}; give the command of one that was killed again")
            told = left
            time.sleep(2)
        records, statistics, _ = ledger.merged()
        statistics.set_moments(records[:, :_NUM_MOMENTS])
        seen, whole = statistics.moments, bool(records[:, _NUM_MOMENTS].all())
        greatest = max(abs(seen.min), abs(seen.max)) if seen.count else 0.0
        if survey.reader.dtype.kind in "iu" and greatest <= np.iinfo(survey.wanted).max:
            return Encoding(survey.wanted)
        return Encoding(survey.wanted, choose_scale(*statistics.values(), survey.wanted, greatest, whole))

    def _finish(self, survey: Survey, volume: Volume, encoding: Encoding | None, ledger: Ledger) -> Volume:
        """Statistics, errors and label indices from what all processes saw; then the volume stands in its place."""
        records, statistics, names = ledger.merged()
        if encoding and survey.reader:
            statistics.set_moments(records[:, :_NUM_MOMENTS])
            if not statistics.count:
                raise WrongDataError(f"{survey.name}: holds no finite sample on a live trace; nothing to ingest")
            volume.set_statistics(statistics.result())
            errors = Errors()
            for record in records:
                errors = errors.merge(Errors.from_array(record[_NUM_MOMENTS : _NUM_MOMENTS + NUM_ERRORS]))
            if encoding.lossy:
                volume.set_attributes(AMPLITUDE, {"compression": errors.summary()})
        finish_headers(survey, volume, names)
        first = _NUM_MOMENTS + NUM_ERRORS + 1
        volume.attributes.setdefault("num_traces", int(records[:, first - 1].sum()))
        for i, one in enumerate(survey.labels):
            if not records[:, first + i].any() and not isinstance(one.reader, LabelsReader):
                nothing = f"labels no sample (all are {IGNORE}, or on dead traces); check it"
                raise WrongDataError(f"{one.reader.name}: {nothing}")
            for number, column in enumerate(survey.columns):
                volume.set_chunk_counts(one.array, column, read_counts(self.store, one.array, number))
        volume.finish()
        self.close()
        return volume


# What is said of it.


def describe_made(volume: Volume | None, output: str) -> str:
    """A few lines for people on what `ingest` returned; the last says what was written."""
    if volume is None:
        return f"this process has done its part of {output}"
    lines = [volume.describe()]
    info = volume.arrays.get(AMPLITUDE)
    errors = info.attributes.get("compression") if info else None
    if info and errors:
        scale = f", scale {info.attributes['scale_factor']:g}" if "scale_factor" in info.attributes else ""
        ratio = "no loss" if errors["snr_db"] is None else f"signal to noise {errors['snr_db']:.1f} dB"
        lines.append(
            f"  stored as {info.dtype}{scale}: {ratio}, error {errors['rms_error']:.4g} rms and "
            f"{errors['max_error']:.4g} at most, {errors['saturated_share']:.2%} of the samples saturated"
        )
    if "header_bytes" in volume.attributes and not {*COORDINATES, *GATHER_COORDINATES} & set(volume.arrays):
        lines.append("  its coordinates are all zero (bytes 181 and 185), so it has no cdp_x, cdp_y and no map")
    traces, cells = volume.attributes["num_traces"], math.prod(volume.shape[:-1])
    masked = volume.statistics.non_finite if volume.statistics else 0
    lines.append(f"wrote {output}: {traces} traces in {cells} cells, {masked} samples not finite (masked)")
    return "\n".join(lines)


def report_folder(url: str) -> Path:
    """Where the report on a volume goes: beside it, or into the working folder where it is not local."""
    path = local_path(url.partition("#")[0]) or Path(url.rstrip("/")).name
    return Path(path).with_name(f"{Path(path).stem}_report")
