"""Turn a survey into a volume, or a volume into another.

    python launch/ingest.py --input=survey.segy --output=survey.zarr --labels=facies.segy --label_name=facies

Given again, a command that was killed goes on. --scan proposes --axes, or lists receivers, and writes nothing.
"""

import time
from collections.abc import Sequence

from absl import flags

from seisjax.command_line import run
from seisjax.errors import UserError
from seisjax.reporting.progress import Progress
from seisjax.reporting.survey import report
from seisjax.volumes import open_volume, set_cache_size
from seisjax.volumes.ingest import describe_made, ingest_part, parse_sides, report_folder
from seisjax.volumes.metadata import COMPRESSIONS
from seisjax.volumes.sources import FORMATS, describe_input

INPUT = flags.DEFINE_list("input", [], "survey file, volume, folder or pattern; several, comma between, are one survey")
OUTPUT = flags.DEFINE_string("output", None, "volume to write: a path or URL, e.g. survey.zarr")
CHUNK = flags.DEFINE_list("chunk", [], "samples read as a whole, e.g. 64,64,64")
SHARD = flags.DEFINE_list("shard", [], "samples written as a whole, one file; whole chunks, e.g. 256,256,512")
SCAN = flags.DEFINE_bool("scan", False, "report geometry and propose --axes; write nothing")
REPORT = flags.DEFINE_bool("report", False, "draw and describe --output in <output>_report; without it, --input")
PLAIN: list = [
    flags.DEFINE_string("labels", None, "labels on the same grid: whole numbers 0 to 254, 255 = unlabelled"),
    flags.DEFINE_enum("format", "auto", FORMATS, "format of --input; auto: by its content"),
    flags.DEFINE_string("label_name", "facies", "the labels are stored as labels_<label_name>"),
    flags.DEFINE_list("class_names", [], "names of classes 0, 1, ...; default: class 0, class 1, ..."),
    flags.DEFINE_string("axes", "", "name:header byte of each axis, slowest first (default inline:189,crossline:193)"),
    flags.DEFINE_enum("vertical", "time", ["time", "depth"], "axis of the samples: time in ms, depth in m"),
    flags.DEFINE_enum("duplicates", "refuse", ["refuse", "first", "last", "mean"], "of traces in one place, which"),
    flags.DEFINE_float("interval", None, "sampling interval, ms or m, where the file's own is wrong or missing"),
    flags.DEFINE_string("dataset", "", "array of an .npz or HDF5 file, where it holds several"),
    flags.DEFINE_string("stations", "", "CSV of stations: name and x,y,z (m, z down) or latitude,longitude,elevation"),
    flags.DEFINE_float("resample", None, "rate in Hz that all waveforms or DAS channels are brought to"),
    flags.DEFINE_string("bandpass", "", "LOW,HIGH in Hz: a causal filter on waveforms or DAS; 2, keeps all above 2 Hz"),
    flags.DEFINE_enum("dtype", "float32", ["float32", "float16", "int16", "int8"], "stored type of the amplitudes"),
    flags.DEFINE_enum("compression", "zstd", COMPRESSIONS, "of chunks: zstd is smallest, lz4 and none are read faster"),
    flags.DEFINE_list("sections", [], "axes for which second copies are kept, quick to read section by section"),
    flags.DEFINE_bool("overwrite", False, "replace --output, or what another command began of it"),
    flags.DEFINE_integer("num_processes", 1, "processes that share the work, each started with the same flags"),
    flags.DEFINE_integer("process_id", 0, "which of them this one is, from 0"),
]
SCANNED = ("format", "axes", "vertical", "interval", "dataset")  # those of them that --scan takes


def main(_: Sequence[str]) -> None:
    """Scan, report or ingest, as the flags say."""
    if SCAN.value and INPUT.value:
        print(describe_input(INPUT.value, **{flag.name: flag.value for flag in PLAIN if flag.name in SCANNED}))
    elif REPORT.value and INPUT.value and not OUTPUT.value:
        print(report(open_volume(INPUT.value[0]), report_folder(INPUT.value[0])))
    elif not (INPUT.value or flags.FLAGS.labels) or not OUTPUT.value:
        raise UserError(f"--{'output' if INPUT.value else 'input'}: missing; give a survey and the volume to make")
    else:
        make(OUTPUT.value)


def make(output: str) -> None:
    """Make the volume, or this process's part of it."""
    set_cache_size(0)  # what is written is not read again
    start, bar = time.monotonic(), Progress(0, "ingest", "shard column")  # bar: not closed after an error's one line
    plain = {flag.name: flag.value for flag in PLAIN}
    chunk, shard = (parse_sides(flag.name, flag.value) for flag in (CHUNK, SHARD))
    volume = ingest_part(INPUT.value, output, chunk=chunk, shard=shard, progress=bar.reach, say=print, **plain)
    bar.close()
    if volume and REPORT.value:
        print(report(volume, report_folder(output)))
    print(f"{describe_made(volume, output)}, in {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run(main)
