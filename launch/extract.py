"""Objects and horizons out of a predicted volume.

    python launch/extract.py --predictions=prediction.zarr --class=fault --objects=faults.zarr --table=faults.csv
    python launch/extract.py --predictions=prediction.zarr --horizons=top.csv --between=upper,lower

Objects are connected samples of a class, numbered by size, the same however much is worked on at a time. A horizon is
one pick a trace, where one class gives way to another.
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

PREDICTIONS = flags.DEFINE_string("predictions", None, "volume that launch/predict.py wrote", required=True)
OBJECTS = flags.DEFINE_string("objects", "", "volume to write: the number of the object that each sample belongs to")
TABLE = flags.DEFINE_string("table", None, "CSV file to write: a row for each object")
CLASS = flags.DEFINE_string("class", "", "class whose objects are wanted, its name or number")
THRESHOLD = flags.DEFINE_float(
    "threshold", None, "least probability of a sample of an object (default: where the class is predicted)"
)
CONNECTIVITY = flags.DEFINE_integer(
    "connectivity", 1, "samples touch over faces (1), edges too (2), corners too (3)", lower_bound=1, upper_bound=3
)
MIN_SIZE = flags.DEFINE_integer("min_size", 1, "samples of the smallest object that is kept", lower_bound=1)
HORIZONS = flags.DEFINE_string("horizons", None, "CSV file to write: a pick for each trace")
BETWEEN = flags.DEFINE_list("between", [], "the horizon between two classes, the upper one first")
BELOW = flags.DEFINE_string("below", "", "the horizon that this class lies below: its top")
ABOVE = flags.DEFINE_string("above", "", "the horizon that this class lies above: its base")
BLOCK = flags.DEFINE_integer(
    "block_mebibytes", 512, "memory to work in, beside what Python and its packages take", lower_bound=1
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace outputs that exist")

_CACHE = 16  # MiB: what is read is not read again, but for the shards' tables of contents


def main(argv: Sequence[str]) -> None:
    """Extract as the flags say."""
    del argv
    runtime.use_one_heap()
    set_cache_size(_CACHE)
    request = Extraction(
        predictions=PREDICTIONS.value,
        objects=OBJECTS.value,
        table=Path(TABLE.value) if TABLE.value else None,
        class_name=CLASS.value,
        threshold=THRESHOLD.value,
        connectivity=CONNECTIVITY.value,
        min_size=MIN_SIZE.value,
        horizons=Path(HORIZONS.value) if HORIZONS.value else None,
        between=tuple(BETWEEN.value),
        below=BELOW.value,
        above=ABOVE.value,
        block_mebibytes=BLOCK.value,
        overwrite=OVERWRITE.value,
        command=shlex.join(sys.argv),
    )
    print(extract(request))


if __name__ == "__main__":
    run(main)
