"""Labels of a survey out of horizons, fault sticks and polygons.

    python launch/label.py --input=survey.zarr --horizons=top.txt,base.csv --kind=areas --output=facies.zarr
    python launch/label.py --input=survey.zarr --faults=faults.txt --width=3samples --label_name=fault
    python launch/label.py --input=survey.zarr --polygons=salt.csv --label_name=salt --output=salt.zarr

Files are CSV with a header, or Charisma 3D interpretation lines and Charisma fault sticks, which Petrel writes and
reads and OpendTect imports; docs/interpretation.md has their columns. Without --output the survey gets the labels.
"""

import shlex
import sys
import time
from collections.abc import Sequence

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.commands.label import Labelling, label
from seisjax.volumes import set_cache_size

LISTS: list = [
    flags.DEFINE_list("horizons", [], "files of one horizon each, for --kind=areas from the top down"),
    flags.DEFINE_list("faults", [], "files of fault sticks"),
    flags.DEFINE_list("polygons", [], "CSV files of polygons on inlines and crosslines"),
    flags.DEFINE_list("class_names", [], "names of classes 0, 1, ...; default: from the files"),
]
PLAIN: list = [
    flags.DEFINE_string("input", None, "survey that is interpreted, a volume", required=True),
    flags.DEFINE_string("output", "", "volume of labels to write; without it they are added to --input"),
    flags.DEFINE_string("label_name", "interpretation", "the labels are stored as labels_<label_name>"),
    flags.DEFINE_enum(
        "kind", "bands", ["bands", "areas"], "what horizons label: bands along them, or what lies between"
    ),
    flags.DEFINE_string("width", "3samples", "of bands along horizons and faults: 3samples, 20ms, 15m"),
    flags.DEFINE_string("unit", "", "of z where a file does not say: ms, s, m, km, ft; default: the survey's"),
    flags.DEFINE_string("interpreted", "", "regions, parted by ;, outside which nothing is labelled"),
    flags.DEFINE_bool("background", True, "class 0 is what the interpretation leaves over; else that is unlabelled"),
    flags.DEFINE_float("fill", 0, "interpolate horizons on traces that lie no farther than so many from a point", 0),
    flags.DEFINE_enum(
        "duplicates", "refuse", ["refuse", "first", "last", "mean"], "of several picks of a trace, which"
    ),
    flags.DEFINE_enum("outside", "refuse", ["refuse", "skip"], "points of horizons outside the survey"),
    flags.DEFINE_bool("overwrite", False, "replace --output where it exists"),
]


def main(argv: Sequence[str]) -> None:
    """Label as the flags say."""
    del argv
    runtime.use_one_heap()
    set_cache_size(0)  # what is written is not read again
    start = time.monotonic()
    lists = {flag.name: tuple(flag.value) for flag in LISTS}
    plain = {flag.name: flag.value for flag in PLAIN}
    print(f"{label(Labelling(command=shlex.join(sys.argv), **lists, **plain))}, in {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run(main)
