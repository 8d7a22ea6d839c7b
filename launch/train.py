"""Train a network, or take a run up again.

    python launch/train.py --config=configs/quickstart.py --workdir=runs/quickstart

Started again with the same command, a run goes on from its last checkpoint. `--dry_run` says what would be done.
"""

from seisjax.startup import start_command

if __name__ == "__main__":
    start_command()

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import distributed, runtime
from seisjax.command_line import define_processes, run
from seisjax.commands.plan import plan_lines
from seisjax.commands.train import train
from seisjax.config_flags import define_config
from seisjax.errors import UserError
from seisjax.hardware import EXAMPLES, find_hardware

CONFIG = define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "folder that the run owns")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print config, shapes, parameters, memory and plan, then stop")
DEVICE = flags.DEFINE_float(
    "device_gibibytes", 0.0, "with --dry_run: memory of the device planned for, GiB; 0: what it has", lower_bound=0
)
PLAN_FOR = flags.DEFINE_string(
    "plan_for",
    "",
    f"with --dry_run: devices to compile for in place of this machine's, which need not be there: {EXAMPLES}",
)
STOPPED_STATUS = flags.DEFINE_integer(
    "stopped_status", 0, "exit status where SIGTERM, Ctrl-C, a preemption notice or train.max_minutes stopped the run"
)
join = define_processes()


def main(argv: Sequence[str]) -> int:
    """Train as the flags say."""
    del argv
    runtime.prepare()
    if PLAN_FOR.value and not DRY_RUN.value:
        raise UserError("--plan_for: goes with --dry_run alone; leave it out to train on what is here")
    hardware = find_hardware(PLAN_FOR.value) if PLAN_FOR.value else None
    if hardware is None:
        join()
    if DRY_RUN.value:
        for line in plan_lines(CONFIG.value, DEVICE.value, hardware):
            if distributed.is_main():
                print(line, flush=True)
        return 0
    if not WORKDIR.value:
        raise UserError("--workdir: missing; give the folder that the run shall own")
    ended = train(CONFIG.value, Path(WORKDIR.value), command=shlex.join(sys.argv))
    if distributed.is_main():
        print(ended.summary)
    return STOPPED_STATUS.value if ended.stopped else 0


if __name__ == "__main__":
    run(main)
