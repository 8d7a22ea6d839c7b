"""Objects, horizons and fault sticks out of a predicted volume.

    python launch/extract.py --predictions=prediction.zarr --class=fault --objects=faults.zarr --table=faults.csv
    python launch/extract.py --predictions=prediction.zarr --class=fault --sticks=faults.txt --every=20
    python launch/extract.py --predictions=prediction.zarr --horizons=top.csv --between=upper,lower

Objects are connected samples of a class, numbered by size, the same however much is worked on at a time. A horizon is
one pick a trace, where one class gives way to another, or in the middle of a band.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.commands.extract import Extraction, extract
from seisjax.volumes import set_cache_size

CLASS = flags.DEFINE_string("class", "", "class whose objects are wanted, its name or number")
BETWEEN = flags.DEFINE_list("between", [], "the horizon between two classes, the upper one first")
PLAIN: list = [
    flags.DEFINE_string("predictions", None, "volume that launch/predict.py wrote", required=True),
    flags.DEFINE_string("labels", "", "take the labels of this name for the predicted classes"),
    flags.DEFINE_string("objects", "", "volume to write: the number of the object that each sample belongs to"),
    flags.DEFINE_float(
        "threshold", None, "least probability of a sample of an object (default: where it is predicted)"
    ),
    flags.DEFINE_integer("connectivity", 1, "samples touch over faces (1), edges (2), corners too (3)", 1, 3),
    flags.DEFINE_integer("min_size", 1, "samples of the smallest object that is kept", lower_bound=1),
    flags.DEFINE_integer("every", 10, "of so many sections one has sticks or polygons", lower_bound=1),
    flags.DEFINE_bool("ordered", False, "--between: all classes from UPPER up against all from LOWER down, by number"),
    flags.DEFINE_string("below", "", "the horizon that this class lies below: its top"),
    flags.DEFINE_string("above", "", "the horizon that this class lies above: its base"),
    flags.DEFINE_string("along", "", "the horizon in the middle of this class, a band"),
    flags.DEFINE_integer("block_mebibytes", 512, "memory to work in, beside Python and its packages", lower_bound=1),
    flags.DEFINE_bool("overwrite", False, "replace outputs that exist"),
]
FILES: list = [
    flags.DEFINE_string("table", None, "CSV file to write: a row for each object"),
    flags.DEFINE_string("sticks", None, "fault sticks to write, NAME.csv or, with any other ending, as Charisma lines"),
    flags.DEFINE_string("polygons", None, "CSV file to write: the outlines of --class on inlines"),
    flags.DEFINE_string("horizons", None, "picks to write, NAME.csv or, with any other ending, as Charisma lines"),
]

_CACHE = 16  # MiB: what is read is not read again, but for the shards' tables of contents


def main(argv: Sequence[str]) -> None:
    """Extract as the flags say."""
    del argv
    runtime.use_one_heap()
    set_cache_size(_CACHE)
    files = {flag.name: Path(flag.value) for flag in FILES if flag.value}
    plain = {flag.name: flag.value for flag in PLAIN}
    command = shlex.join(sys.argv)
    print(extract(Extraction(class_name=CLASS.value, between=tuple(BETWEEN.value), command=command, **files, **plain)))


if __name__ == "__main__":
    run(main)
