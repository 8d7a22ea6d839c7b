"""Score a run on one of its splits, beside trivial baselines.

    python launch/evaluate.py --workdir=runs/quickstart --split=test

Writes evaluation_<split>.json into the run's folder.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import distributed, runtime
from seisjax.command_line import define_processes, run
from seisjax.commands.evaluate import evaluate

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "which part of the data")
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best (lowest validation loss), last, or a step")
join = define_processes()


def main(argv: Sequence[str]) -> None:
    """Evaluate as the flags say."""
    del argv
    runtime.prepare()
    join()
    scores = evaluate(Path(WORKDIR.value), SPLIT.value, CHECKPOINT.value)
    if distributed.is_main():
        print(scores)


if __name__ == "__main__":
    run(main)
