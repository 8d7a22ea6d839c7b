"""Predict a whole volume, or a region of it, with a trained run.

    python launch/predict.py --workdir=runs/penobscot --output=prediction.zarr --segy=prediction.segy

Writes classes, probabilities and entropy; `--segy` also writes the classes into a copy of the survey's SEG-Y file.
The same command goes on where it was stopped, and started several times, on one machine or many, it shares the work.
"""

from seisjax.startup import start_command

if __name__ == "__main__":
    start_command()

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

USUAL = Prediction(input=None, output="")  # the defaults stand there

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run")
ARTIFACT = flags.DEFINE_string("artifact", None, "file of launch/export.py, in place of a run's folder")
flags.DEFINE_string("input", None, "volume to predict (default: the one trained on)")
flags.DEFINE_string("output", None, "volume to write", required=True)
flags.DEFINE_string("region", USUAL.region, "part to predict, e.g. inline:1075-1088 (default: all)")
flags.DEFINE_string("checkpoint", USUAL.checkpoint, "best (lowest validation loss), last, a step; a,b: averaged")
flags.DEFINE_enum("statistics", USUAL.statistics, ["training", "own"], "whose mean and deviation normalise")
flags.DEFINE_bool("calibrated", USUAL.calibrated, "with the temperature that launch/evaluate.py --calibrate fitted")
flags.DEFINE_enum("blend", USUAL.blend, ["linear", "uniform", "crop"], "weights of overlapping windows")
flags.DEFINE_list("directions", [], "axes across which sections are cut, e.g. inline,crossline (default: the run's)")
flags.DEFINE_bool("tta", USUAL.tta, "average over mirrored windows along the axes that training flipped")
flags.DEFINE_list("products", [], "what is written: class, probability, entropy, spread (default: all there are)")
flags.DEFINE_enum(
    "probability_dtype", USUAL.probability_dtype, ["", "float32", "float16", "uint8"], "(default: the run's)"
)
flags.DEFINE_float("overlap", USUAL.overlap, "share of a window's side that neighbours share (default: the run's)")
flags.DEFINE_integer("batch_size", USUAL.batch_size, "windows at a time (default: the run's)", lower_bound=0)
flags.DEFINE_integer("block_mebibytes", USUAL.block_mebibytes, "memory of blocks (default: the run's)", lower_bound=0)
flags.DEFINE_enum("precision", USUAL.precision, ["", "float32", "bfloat16"], "number format (default: the run's)")
flags.DEFINE_integer("pyramid", USUAL.pyramid, "coarser copies for viewing, each of half the samples", lower_bound=0)
flags.DEFINE_string("segy", USUAL.segy, "SEG-Y file to write too")
flags.DEFINE_string("segy_template", USUAL.segy_template, "SEG-Y file whose headers it takes (default: the ingested)")
flags.DEFINE_string("segy_product", USUAL.segy_product, "what it holds: class, entropy, spread, or a class's name")
flags.DEFINE_bool("resample", USUAL.resample, "bring an input of another sampling interval to the run's")
flags.DEFINE_bool("verify", USUAL.verify, "look for missing, cut or altered shards, and redo them")
flags.DEFINE_integer("max_blocks", USUAL.max_blocks, "stop after so many blocks (default: never)", lower_bound=0)
flags.DEFINE_bool("overwrite", USUAL.overwrite, "replace an output that exists")
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
