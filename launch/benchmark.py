"""Measure the loader, the train step or a prediction on this machine, or say what a step costs on several devices.

    python launch/benchmark.py --what=loader --config=configs/volume_3d.py --config.data.volume=penobscot.zarr
    python launch/benchmark.py --what=step --config=configs/microseismic_1024.py --config.data.batch_size=1
    python launch/benchmark.py --what=predict --config=configs/quickstart.py --output=predict.json
    python launch/benchmark.py --what=scaling --config=configs/microseismic_4096.py --config.data.batch_size=1

loader, step and predict name the bottleneck and the setting to change; benchmarks/README.md explains the figures.
scaling compiles the step, for virtual CPU devices where the machine has too few of its own, and on several accelerators
measures it too; docs/scaling.md tells what follows from it.
"""

from seisjax.startup import start_command

if __name__ == "__main__":
    start_command()

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import distributed, runtime
from seisjax.command_line import define_processes, run
from seisjax.commands.benchmark import loader, predict, scaling, step
from seisjax.commands.benchmark.turns import TURNS
from seisjax.config_flags import define_config
from seisjax.errors import UserError
from seisjax.files import write_json

REPORTS = {"loader": loader.table, "step": step.table, "predict": predict.table, "scaling": scaling.table}

WHAT = flags.DEFINE_enum("what", None, list(REPORTS), "what to look at", required=True)
CONFIG = define_config()
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures")
TIMES = flags.DEFINE_integer("turns", TURNS, "each measurement is made so often, in turn", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 2.0, "loader, predict: shortest time of a measurement", lower_bound=0.0)
STEPS = flags.DEFINE_integer("steps", 5, "step, scaling: timed steps a turn", lower_bound=1)
WINDOWS = flags.DEFINE_integer("windows", 64, "predict: windows of the task, about", lower_bound=1)
DEVICES = flags.DEFINE_list(
    "devices", [], "scaling: numbers of devices, e.g. 1,2,3,4 (default: 1,2,4,8, or all there are)"
)
SPLIT = flags.DEFINE_multi_enum(
    "split",
    list(scaling.SPLITS),
    scaling.SPLITS,
    "scaling: weak: batch_size windows a device; strong: in all; space: each on all devices",
)
MEASURE = flags.DEFINE_bool("measure", None, "scaling: time the steps (default: where there are several accelerators)")
join = define_processes()


def main(argv: Sequence[str]) -> None:
    """Measure and report as the flags say."""
    del argv
    runtime.use_one_heap()
    if WHAT.value != "step":  # which also asks how long compiling takes
        runtime.use_compilation_cache()
    if not all(text.isdecimal() and int(text) for text in DEVICES.value):
        raise UserError(f"--devices={','.join(DEVICES.value)}: give numbers from 1 on, e.g. --devices=1,2,4")
    join()
    config, turns = CONFIG.value, TIMES.value
    if WHAT.value == "loader":
        report = loader.measure(config, turns=turns, seconds=SECONDS.value)
    elif WHAT.value == "step":
        report = step.measure(config, turns=turns, steps=STEPS.value)
    elif WHAT.value == "predict":
        report = predict.measure(config, turns=turns, seconds=SECONDS.value, windows=WINDOWS.value)
    else:
        counts = [int(text) for text in DEVICES.value]
        report = scaling.measure(config, counts, SPLIT.value, timed=MEASURE.value, steps=STEPS.value)
    if distributed.is_main():
        if OUTPUT.value:
            write_json(Path(OUTPUT.value), report)
        print(REPORTS[WHAT.value](report))


if __name__ == "__main__":
    run(main)
