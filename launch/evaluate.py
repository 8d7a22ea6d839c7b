"""Score a run on one of its splits, beside trivial baselines.

    python launch/evaluate.py --workdir=runs/quickstart --split=test

Writes evaluation_<split>.json into the run's folder.

    python launch/evaluate.py --workdir=runs/quickstart --calibrate

Fits the temperature with which the network is as sure as it is right, on the validation part, instead; writes
calibration.json and figures/calibration.png.
"""

from seisjax.startup import start_command

if __name__ == "__main__":
    start_command()

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import distributed, runtime
from seisjax.command_line import define_processes, run
from seisjax.commands.calibrate import calibrate
from seisjax.commands.evaluate import evaluate

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
SPLIT = flags.DEFINE_enum(
    "split", None, ["train", "validation", "test"], "which part of the data (default: test; to calibrate: validation)"
)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "best", "best (lowest validation loss), last, or a step; to calibrate also several, to be averaged"
)
CALIBRATE = flags.DEFINE_boolean("calibrate", False, "fit a temperature for the probabilities instead of scoring")
join = define_processes()


def main(argv: Sequence[str]) -> None:
    """Evaluate or calibrate as the flags say."""
    del argv
    runtime.prepare()
    join()
    work, usual = (calibrate, "validation") if CALIBRATE.value else (evaluate, "test")
    result = work(Path(WORKDIR.value), SPLIT.value or usual, CHECKPOINT.value)
    if distributed.is_main():
        print(result)


if __name__ == "__main__":
    run(main)
