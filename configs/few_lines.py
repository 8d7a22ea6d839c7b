"""Facies of a whole survey from 1 to 8 interpreted inlines.

    python launch/synthesize.py --generator=faults --config=faults_256 --num_examples=1 --seed=7 --output=survey.zarr
    python launch/train.py --config=configs/few_lines.py:4 --workdir=runs/few_lines
    python launch/evaluate.py --workdir=runs/few_lines --split=test

The argument is the number of labelled lines (default 4), spread evenly over the 256 inlines of that synthetic survey;
all others are the test split, so that scores are known at every distance from a label. For a survey of your own name
the lines that are interpreted: `--config.data.volume=my.zarr --config.data.train="inline:1100;inline:1180"`, with
`--config.data.test` a line that you can spare, or empty. docs/interpretation.md tells the whole way. Expect a mean IoU
of about 0.90 beyond 16 lines from a label with four lines, where interpolated horizons reach 0.68; 1000 steps took 40
minutes on two busy CPU cores.
"""

from seisjax.config import Experiment
from seisjax.errors import UserError

INLINES = 256  # of the survey that the first command makes
MOST = 8


def get_config(arg: str | None = None) -> Experiment:
    """The experiment with `arg` labelled lines, "1" to "8"."""
    if (arg or "4") not in map(str, range(1, MOST + 1)):
        raise UserError(f"configs/few_lines.py:{arg}: give the number of labelled lines, 1 to {MOST}")
    config = Experiment()
    config.data.volume = "survey.zarr"
    config.data.labels = "facies"
    config.data.train, config.data.test = lines_between(int(arg or "4"), INLINES)
    config.data.split_gap = 0  # sections are one line thick: a test line next to a labelled one shares nothing with it
    # Whole traces, for the order of the facies tells them apart; a quarter of a line, so that no two windows are alike.
    config.data.window = (1, 64, 256)
    config.data.overhang = 0.25
    config.data.batch_size = 8
    # What the lines do not show: other folds and dips (shift, stretch, warp), amplitudes, noise and gaps.
    config.augment.flip_axes = ("crossline",)
    config.augment.time_shift = 24.0
    config.augment.time_stretch = 0.1
    config.augment.warp = 4.0
    config.augment.gain = 0.2
    config.augment.depth_gain = 0.2
    config.augment.frequency = 0.2
    config.augment.noise = 0.3
    config.augment.trace_dropout = 0.1
    config.model.base_features = 8
    config.model.levels = 5
    config.model.num_classes = 6
    config.model.vertical_position = True
    config.model.dropout = 0.2
    config.loss.name = "cross_entropy+dice"
    config.optimizer.learning_rate = 4e-3
    config.optimizer.warmup_steps = 40
    config.optimizer.average = 0.99  # no line is spared to choose a checkpoint by: the last one, averaged, is taken
    config.train.num_steps = 1000
    config.train.checkpoint_every = 200
    config.predict.overlap = 0.5
    return config


def lines_between(count: int, inlines: int) -> tuple[str, str]:
    """Regions of `count` inlines in the middles of as many equal parts of 0 to inlines - 1, and of all the others."""
    lines = [(2 * k + 1) * inlines // (2 * count) for k in range(count)]
    gaps = zip([0, *(line + 1 for line in lines)], [*lines, inlines], strict=True)
    train = ";".join(f"inline:{line}" for line in lines)
    return train, ";".join(f"inline:{first}-{stop - 1}" for first, stop in gaps if stop > first)
