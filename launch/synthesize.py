"""Make a volume of labelled synthetic panels.

    python launch/synthesize.py --generator=microseismic --config=quickstart --output=panels.zarr --num_examples=200

`--config` names a preset, or a Python file whose `get_config()` returns the generator's parameters
(seisjax.synthetic.parameters.Microseismic). Panel i of a seed is the same in every volume.

Several processes make one volume when each is started with the same flags but for `--process_id`; the one that ends
last finishes it. What was killed goes on when it is started again; the volume grows in `panels.zarr.partial`.
"""

import time
from collections.abc import Sequence

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.errors import UserError
from seisjax.reporting.progress import Progress
from seisjax.synthesis import load_parameters, write_part
from seisjax.synthetic.parameters import PRESETS

GENERATOR = flags.DEFINE_enum("generator", "microseismic", ["microseismic", "faults"], "what is made")
CONFIG = flags.DEFINE_string("config", "quickstart", f"preset ({', '.join(PRESETS)}) or FILE.py with get_config()")
OUTPUT = flags.DEFINE_string("output", None, "volume to write: a path or URL, e.g. panels.zarr")
NUM_EXAMPLES = flags.DEFINE_integer("num_examples", 200, "panels to make")
SEED = flags.DEFINE_integer("seed", 0, "everything random is a function of this and of the panel's number")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace --output where it exists, or work begun on it")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "processes that share the panels", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", 0, "number of this process, from 0", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Synthesize as the flags say."""
    del argv
    if GENERATOR.value != "microseismic":
        raise UserError(f"--generator={GENERATOR.value}: not there yet; use --generator=microseismic")
    if not OUTPUT.value:
        raise UserError("--output: missing; give the volume to write")
    runtime.prepare()
    parameters = load_parameters(CONFIG.value)
    start = time.monotonic()
    bar = Progress(
        NUM_EXAMPLES.value, "synthesize", "panel"
    )  # closed after success alone: bad input ends with one line
    volume = write_part(
        OUTPUT.value,
        parameters,
        NUM_EXAMPLES.value,
        SEED.value,
        overwrite=OVERWRITE.value,
        num_processes=NUM_PROCESSES.value,
        process_id=PROCESS_ID.value,
        progress=bar.reach,
        say=bar.print,
    )
    bar.close()
    seconds = f"{time.monotonic() - start:.1f} s"
    if volume is None:
        print(f"this process has done its part of {OUTPUT.value} in {seconds}")
    else:
        print(f"{volume.describe()}\nwrote {OUTPUT.value} in {seconds}")


if __name__ == "__main__":
    run(main)
