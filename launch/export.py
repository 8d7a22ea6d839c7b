"""Write a trained network into one file that predicts without the run and without its config.

    python launch/export.py --workdir=runs/penobscot --output=penobscot.seisjax

The file holds parameters, normalisation, classes, window, axes, sampling interval, licence and where all that comes
from. It is used with `seisjax.inference.load_artifact`, or with `launch/predict.py --artifact`.
"""

from seisjax.startup import start_command

if __name__ == "__main__":
    start_command()

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.commands.export import export_run

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
OUTPUT = flags.DEFINE_string("output", None, "file to write", required=True)
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best (lowest validation loss), last, or a step")
LICENCE = flags.DEFINE_string("licence", "", "what the file may be used for, e.g. CC-BY-4.0")
PLATFORMS = flags.DEFINE_list("platforms", ["cpu", "cuda", "tpu"], "devices that it can run on: cpu, cuda, rocm, tpu")
CALIBRATED = flags.DEFINE_bool("calibrated", False, "with the temperature that launch/evaluate.py --calibrate fitted")
PRECISION = flags.DEFINE_enum("precision", "", ["", "float32", "bfloat16"], "number format (default: the run's)")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace an output that exists")


def main(argv: Sequence[str]) -> None:
    """Export as the flags say."""
    del argv
    runtime.prepare()
    summary = export_run(
        Path(WORKDIR.value),
        Path(OUTPUT.value),
        CHECKPOINT.value,
        licence=LICENCE.value,
        platforms=PLATFORMS.value,
        calibrated=CALIBRATED.value,
        precision=PRECISION.value,
        overwrite=OVERWRITE.value,
    )
    print(summary)


if __name__ == "__main__":
    run(main)
