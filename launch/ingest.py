"""Turn a survey file into a volume.

    python launch/ingest.py --input=survey.segy --output=survey.zarr --scan
    python launch/ingest.py --input=survey.segy --output=survey.zarr --labels=facies.segy --label_name=facies

`--scan` says which header bytes hold the line numbers and writes nothing.
"""

import math
import time
from collections.abc import Sequence

from absl import flags

from seisjax.command_line import run
from seisjax.errors import UserError
from seisjax.reporting.progress import Progress
from seisjax.volumes import set_cache_size
from seisjax.volumes.ingest import ingest_segy, parse_sides
from seisjax.volumes.segy_grid import parse_axes
from seisjax.volumes.segy_scan import describe_scan

INPUT = flags.DEFINE_string("input", None, "survey file (SEG-Y)")
OUTPUT = flags.DEFINE_string("output", None, "volume to write: a path or URL, e.g. survey.zarr")
FORMAT = flags.DEFINE_enum("format", "auto", ["auto", "segy"], "format of --input; auto: by its content")
LABELS = flags.DEFINE_string("labels", None, "a second file on the same grid: whole numbers 0 to 254, 255 = unlabelled")
LABEL_NAME = flags.DEFINE_string("label_name", "facies", "the labels are stored as labels_<label_name>")
CLASS_NAMES = flags.DEFINE_list("class_names", [], "names of classes 0, 1, ...; default: class 0, class 1, ...")
AXES = flags.DEFINE_string("axes", "inline:189,crossline:193", "name:header byte of each axis, slowest first")
VERTICAL = flags.DEFINE_enum("vertical", "time", ["time", "depth"], "axis of the samples: time in ms, depth in m")
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16", "int16", "int8"], "stored type of the amplitudes")
CHUNK = flags.DEFINE_list("chunk", [], "samples read as a whole, e.g. 64,64,64")
SHARD = flags.DEFINE_list("shard", [], "samples written as a whole, one file; whole chunks, e.g. 256,256,512")
SCAN = flags.DEFINE_bool("scan", False, "report geometry and propose --axes; write nothing")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace --output where it exists")


def main(argv: Sequence[str]) -> None:
    """Ingest as the flags say."""
    del argv
    if not INPUT.value:
        raise UserError("--input: missing; give the survey file")
    if SCAN.value:
        print(describe_scan(INPUT.value))
        return
    if not OUTPUT.value:
        raise UserError("--output: missing; give the volume to write")
    set_cache_size(0)  # what is written is not read again
    start = time.monotonic()
    bar = Progress(0, "ingest", "shard column")  # closed after success alone: bad input ends with one line
    volume = ingest_segy(
        INPUT.value,
        OUTPUT.value,
        labels=LABELS.value,
        label_name=LABEL_NAME.value,
        class_names=CLASS_NAMES.value,
        axes=parse_axes(AXES.value),
        vertical=VERTICAL.value,
        dtype=DTYPE.value,
        chunk=parse_sides("chunk", CHUNK.value),
        shard=parse_sides("shard", SHARD.value),
        overwrite=OVERWRITE.value,
        progress=bar.reach,
    )
    bar.close()
    traces, cells = volume.attributes["num_traces"], math.prod(volume.shape[:-1])
    masked = volume.statistics.non_finite if volume.statistics else 0
    print(
        f"{volume.describe()}\nwrote {OUTPUT.value}: {traces} traces in {cells} cells, "
        f"{masked} samples not finite (masked), in {time.monotonic() - start:.1f} s"
    )


if __name__ == "__main__":
    run(main)
