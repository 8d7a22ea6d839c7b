"""Runs commands in processes that need not import anything first: forks one for every line of standard input.

A line is JSON: script, flags, environment, folder, the files of its outputs, and the size that no file of it may pass
(0: any size). The answer is a line with the command's exit status.
"""

import json
import os
import resource
import runpy
import sys
from typing import Any

import grain.python  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import orbax.checkpoint  # noqa: F401
import tensorboardX  # noqa: F401

import seisjax.commands.evaluate
import seisjax.commands.plan
import seisjax.commands.predict
import seisjax.commands.train
import seisjax.commands.training_figures
import seisjax.config_flags
import seisjax.reporting.survey
import seisjax.volumes.ingest  # noqa: F401


def become(order: dict[str, Any]) -> None:
    """Make of this process what a shell would have started."""
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv = [order["script"], *order["flags"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, path in zip((1, 2), order["outputs"], strict=True):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    if order["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], order["limit"]))


def main() -> None:
    """Serve until standard input ends; in a child: run the script, and end as it does."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            become(order)
            runpy.run_path(order["script"], run_name="__main__")
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
