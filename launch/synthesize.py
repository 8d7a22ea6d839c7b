"""Make a volume of labelled synthetic examples: panels of a passive array, or surveys with faults and horizons.

    python launch/synthesize.py --generator=microseismic --config=quickstart --output=panels.zarr --num_examples=200
    python launch/synthesize.py --generator=faults --config=faults_64 --output=faults.zarr --num_examples=200

`--config` names a preset, or a Python file whose `get_config()` returns the generator's parameters
(Microseismic in seisjax.synthetic.parameters, FaultedVolume in seisjax.synthetic.fault_parameters). Example i of a seed
is the same in every volume. `--num_examples=1` makes one survey of faults (inline, crossline, time), of any size.

Several processes make one volume when each is started with the same flags but for `--process_id`; the one that ends
last finishes it. What was killed goes on when it is started again; the volume grows in `panels.zarr.partial`.
"""

from seisjax.startup import start_command

if __name__ == "__main__":
    start_command()

import time
from collections.abc import Sequence

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.errors import UserError
from seisjax.reporting.progress import Progress
from seisjax.synthesis import GENERATORS, load_any, write_part

PRESETS = "; ".join(f"{name}: {', '.join(generator.presets)}" for name, generator in GENERATORS.items())

GENERATOR = flags.DEFINE_enum("generator", "microseismic", list(GENERATORS), "what is made")
CONFIG = flags.DEFINE_string("config", None, f"preset ({PRESETS}) or FILE.py with get_config(); default: the smallest")
OUTPUT = flags.DEFINE_string("output", None, "volume to write: a path or URL, e.g. panels.zarr")
NUM_EXAMPLES = flags.DEFINE_integer("num_examples", 200, "panels or volumes to make")
SEED = flags.DEFINE_integer("seed", 0, "everything random is a function of this and of the example's number")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace --output where it exists, or work begun on it")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "processes that share the work", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", 0, "number of this process, from 0", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Synthesize as the flags say."""
    del argv
    if not OUTPUT.value:
        raise UserError("--output: missing; give the volume to write")
    runtime.prepare()
    generator = GENERATORS[GENERATOR.value]
    parameters = load_any(CONFIG.value or generator.default, "--config", [GENERATOR.value])
    start = time.monotonic()
    bar = Progress(0, "synthesize", generator.examples.what)  # closed after success: bad input ends with one line
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
