"""Predict a whole volume, or a region of it, with a trained run.

    python launch/predict.py --workdir=runs/penobscot --output=prediction.zarr --segy=prediction.segy

Writes classes, probabilities and entropy; `--segy` also writes the classes into a copy of the survey's SEG-Y file.
The same command goes on where it was stopped, and started several times, on one machine or many, it shares the work.
"""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.commands.predict import plan_prediction, predict
from seisjax.commands.predictor import Prediction
from seisjax.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run")
ARTIFACT = flags.DEFINE_string("artifact", None, "file of launch/export.py, in place of a run's folder")
flags.DEFINE_string("input", None, "volume to predict (default: the one trained on)")
flags.DEFINE_string("output", None, "volume to write", required=True)
flags.DEFINE_string("region", "", "part to predict, e.g. inline:1075-1088 (default: all)")
flags.DEFINE_string("checkpoint", "best", "best (lowest validation loss), last, a step; several (a,b) are averaged")
flags.DEFINE_enum("statistics", "training", ["training", "own"], "whose mean and deviation normalise")
flags.DEFINE_bool("calibrated", False, "with the temperature that launch/evaluate.py --calibrate fitted")
flags.DEFINE_enum("blend", "linear", ["linear", "uniform", "crop"], "weights of overlapping windows")
flags.DEFINE_list("directions", [], "axes across which sections are cut, e.g. inline,crossline (default: the run's)")
flags.DEFINE_bool("tta", False, "average over mirrored windows along the axes that training flipped")
flags.DEFINE_list("products", [], "what is written: class, probability, entropy, spread (default: all there are)")
flags.DEFINE_enum("probability_dtype", "", ["", "float32", "float16", "uint8"], "their type (default: the run's)")
flags.DEFINE_float("overlap", None, "share of a window's side that neighbours share (default: the run's)")
flags.DEFINE_integer("batch_size", 0, "windows at a time (default: the run's)", lower_bound=0)
flags.DEFINE_integer("block_mebibytes", 0, "memory of the blocks in work (default: the run's)", lower_bound=0)
flags.DEFINE_enum("precision", "", ["", "float32", "bfloat16"], "number format of the network (default: the run's)")
flags.DEFINE_integer("pyramid", 0, "coarser copies for viewing, each of half the samples", lower_bound=0)
flags.DEFINE_string("segy", None, "SEG-Y file to write too")
flags.DEFINE_string("segy_template", None, "SEG-Y file whose headers it takes (default: the ingested one)")
flags.DEFINE_string("segy_product", "class", "what it holds: class, entropy, spread, or a class: its probability")
flags.DEFINE_bool("resample", False, "bring an input of another sampling interval to the run's")
flags.DEFINE_bool("verify", False, "look for missing, cut or altered shards of what was predicted, and redo them")
flags.DEFINE_integer("max_blocks", 0, "stop after so many blocks (default: never)", lower_bound=0)
flags.DEFINE_bool("overwrite", False, "replace an output that exists")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print windows, blocks, reading, time and disk, then stop")


def main(argv: Sequence[str]) -> None:
    """Predict as the flags say."""
    del argv
    runtime.prepare()
    source = WORKDIR.value or ARTIFACT.value
    if not source or (WORKDIR.value and ARTIFACT.value):
        raise UserError("give either --workdir=FOLDER of a run or --artifact=FILE of launch/export.py")
    names = [field.name for field in dataclasses.fields(Prediction)]
    values: dict[str, Any] = {name: flags.FLAGS[name].value for name in names if name != "command"}
    values |= {name: tuple(values[name]) for name in ("directions", "products")}
    request = Prediction(**values, command=shlex.join(sys.argv))
    work = plan_prediction if DRY_RUN.value else predict
    print(work(Path(source), request))


if __name__ == "__main__":
    run(main)
