"""Say what a train step costs on 1, 2, 4, 8 devices; docs/scaling.md tells what follows from it.

    python launch/benchmark.py --what=scaling --config=configs/microseismic_4096.py --config.data.batch_size=1 \
        --output=scaling.json

The step is compiled, not run, for virtual CPU devices where the machine has too few of its own. On several accelerators
it is measured too.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import distributed, runtime
from seisjax.command_line import define_processes, run
from seisjax.commands.benchmark import SPLITS, scaling, table
from seisjax.config_flags import define_config
from seisjax.errors import UserError
from seisjax.files import write_json

WHAT = flags.DEFINE_enum("what", None, ["scaling"], "what to look at", required=True)
CONFIG = define_config()
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures")
DEVICES = flags.DEFINE_list("devices", [], "numbers of devices, e.g. 1,2,3,4 (default: 1,2,4,8, or all accelerators)")
SPLIT = flags.DEFINE_multi_enum(
    "split", list(SPLITS), SPLITS, "weak: batch_size windows a device; strong: in all; space: each on all devices"
)
MEASURE = flags.DEFINE_bool("measure", None, "time the steps (default: where there are several accelerators)")
STEPS = flags.DEFINE_integer("steps", 5, "timed steps of each mesh, three times", lower_bound=1)
join = define_processes()


def main(argv: Sequence[str]) -> None:
    """Compile and report as the flags say."""
    del argv
    runtime.prepare()
    if not all(text.isdecimal() and int(text) for text in DEVICES.value):
        raise UserError(f"--devices={','.join(DEVICES.value)}: give numbers from 1 on, e.g. --devices=1,2,4")
    join()
    counts = [int(text) for text in DEVICES.value]
    report = scaling(CONFIG.value, counts, SPLIT.value, measure=MEASURE.value, steps=STEPS.value)
    if distributed.is_main():
        if OUTPUT.value:
            write_json(Path(OUTPUT.value), report)
        print(table(report))


if __name__ == "__main__":
    run(main)
