"""Train a network, or take a run up again.

    python launch/train.py --config=configs/quickstart.py --workdir=runs/quickstart

Started again with the same command, a run goes on from its last checkpoint. `--dry_run` says what would be done.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.commands.plan import plan
from seisjax.commands.train import train
from seisjax.config_flags import define_config
from seisjax.errors import UserError
from seisjax.sharding import initialize_distributed

CONFIG = define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "folder that the run owns")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print config, shapes, parameters, memory and plan, then stop")
COORDINATOR = flags.DEFINE_string("coordinator_address", None, "host:port of process 0, in a run of several processes")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "processes of the run", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "number of this process, from 0", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Train as the flags say."""
    del argv
    runtime.prepare()
    initialize_distributed(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    if DRY_RUN.value:
        print(plan(CONFIG.value))
        return
    if not WORKDIR.value:
        raise UserError("--workdir: missing; give the folder that the run shall own")
    print(train(CONFIG.value, Path(WORKDIR.value), command=shlex.join(sys.argv)))


if __name__ == "__main__":
    run(main)
