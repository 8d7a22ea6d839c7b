"""Make a volume of labelled synthetic panels.

    python launch/synthesize.py --generator=microseismic --config=quickstart --output=panels.zarr --num_examples=200

`--config` names a preset, or a Python file whose `get_config()` returns the generator's parameters
(seisjax.synthetic.parameters.Microseismic). Panel i of a seed is the same in every volume.
"""

import time
from collections.abc import Sequence

from absl import flags

from seisjax.command_line import run
from seisjax.errors import UserError
from seisjax.reporting.progress import Progress
from seisjax.synthesis import load_parameters, write_microseismic
from seisjax.synthetic.parameters import PRESETS

GENERATOR = flags.DEFINE_enum("generator", "microseismic", ["microseismic", "faults"], "what is made")
CONFIG = flags.DEFINE_string("config", "quickstart", f"preset ({', '.join(PRESETS)}) or FILE.py with get_config()")
OUTPUT = flags.DEFINE_string("output", None, "volume to write: a path or URL, e.g. panels.zarr")
NUM_EXAMPLES = flags.DEFINE_integer("num_examples", 200, "panels to make")
SEED = flags.DEFINE_integer("seed", 0, "everything random is a function of this and of the panel's number")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace --output where it exists")


def main(argv: Sequence[str]) -> None:
    """Synthesize as the flags say."""
    del argv
    if GENERATOR.value != "microseismic":
        raise UserError(f"--generator={GENERATOR.value}: not there yet; use --generator=microseismic")
    if not OUTPUT.value:
        raise UserError("--output: missing; give the volume to write")
    parameters = load_parameters(CONFIG.value)
    start = time.monotonic()
    bar = Progress(
        NUM_EXAMPLES.value, "synthesize", "panel"
    )  # closed after success alone: bad input ends with one line
    volume = write_microseismic(
        OUTPUT.value, parameters, NUM_EXAMPLES.value, SEED.value, overwrite=OVERWRITE.value, progress=bar.reach
    )
    bar.close()
    print(f"{volume.describe()}\nwrote {OUTPUT.value} in {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run(main)
