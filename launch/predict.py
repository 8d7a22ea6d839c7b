"""Predict a whole volume, or a region of it, with a trained run.

    python launch/predict.py --workdir=runs/penobscot --output=prediction.zarr --segy=prediction.segy

Writes classes, probabilities and entropy; `--segy` also writes the classes into a copy of the survey's SEG-Y file.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.commands.predict import Prediction, plan_prediction, predict

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
INPUT = flags.DEFINE_string("input", None, "volume to predict (default: the one trained on)")
OUTPUT = flags.DEFINE_string("output", None, "volume to write", required=True)
REGION = flags.DEFINE_string("region", "", "part to predict, e.g. inline:1075-1088 (default: all)")
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best (lowest validation loss), last, or a step")
STATISTICS = flags.DEFINE_enum("statistics", "training", ["training", "own"], "whose mean and deviation normalise")
BLEND = flags.DEFINE_enum("blend", "linear", ["linear", "uniform"], "weights of overlapping windows")
TTA = flags.DEFINE_bool("tta", False, "average over mirrored windows along the axes that training flipped")
SEGY = flags.DEFINE_string("segy", None, "SEG-Y file to write the classes to")
TEMPLATE = flags.DEFINE_string("segy_template", None, "SEG-Y file whose headers it takes (default: the ingested one)")
RESAMPLE = flags.DEFINE_bool("resample", False, "bring an input of another sampling interval to the run's")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace an output that exists")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print blocks, windows and sizes, then stop")


def main(argv: Sequence[str]) -> None:
    """Predict as the flags say."""
    del argv
    runtime.prepare()
    request = Prediction(
        input=INPUT.value,
        output=OUTPUT.value,
        region=REGION.value,
        checkpoint=CHECKPOINT.value,
        statistics=STATISTICS.value,
        blend=BLEND.value,
        tta=TTA.value,
        segy=SEGY.value,
        segy_template=TEMPLATE.value,
        resample=RESAMPLE.value,
        overwrite=OVERWRITE.value,
        command=shlex.join(sys.argv),
    )
    work = plan_prediction if DRY_RUN.value else predict
    print(work(Path(WORKDIR.value), request))


if __name__ == "__main__":
    run(main)
