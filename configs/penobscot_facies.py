"""Eight facies of the Penobscot 3-D survey (Baroni et al. 2020, Zenodo 3924682), from inline sections.

    python launch/ingest.py --input=amplitude.segy --labels=facies.segy --label_name=facies --output=penobscot.zarr
    python launch/train.py --config=configs/penobscot_facies.py:crossline --workdir=runs/penobscot

The argument chooses the split: `inline` keeps whole lines apart, and since neighbouring lines are alike it proves the
plumbing only; `crossline` (default) trains on one side of the survey and tests on the other. `both` has that split too,
and sections of either direction, so that `launch/predict.py` can average predictions along inlines and along
crosslines. docs/penobscot.md holds the scores that they reach.
"""

from seisjax.config import Experiment
from seisjax.errors import UserError

SPLITS = {
    "inline": ("inline:1075-1088", "inline:1091-1093", "inline:1096-1098", -1),
    # 8 crosslines on either side of the validation, 64 between training and test.
    "crossline": ("crossline:1000-1199", "crossline:1208-1255", "crossline:1264-1480", 8),
}


def get_config(arg: str | None = None) -> Experiment:
    """The experiment named `arg`: "crossline", "inline" or "both"."""
    if arg == "both":
        return _both()
    if (arg or "crossline") not in SPLITS:
        raise UserError(f"configs/penobscot_facies.py:{arg}: no such split; choose one of {', '.join(SPLITS)}, both")
    config = Experiment()
    config.data.volume = "penobscot.zarr"
    config.data.labels = "facies"
    config.data.train, config.data.validation, config.data.test, config.data.split_gap = SPLITS[arg or "crossline"]
    # Whole traces, for the order of the facies from top to bottom tells them apart; as wide as the validation, since
    # a network with group norm does not take half-empty windows well.
    config.data.window = (1, 48, 1501)
    config.data.batch_size = 4
    config.augment.flip_axes = ("crossline",)
    config.augment.gain = 0.1
    config.augment.noise = 0.1
    config.model.base_features = 8
    config.model.levels = 6
    config.model.num_classes = 8
    config.model.vertical_position = True
    config.loss.name = "cross_entropy+dice"
    config.loss.class_weights = (2.0, 1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 1.0)  # water and the two thin facies
    config.optimizer.learning_rate = 4e-3
    config.optimizer.warmup_steps = 30
    config.train.num_steps = 850
    config.train.evaluate_every = 200
    config.train.checkpoint_every = 200
    return config


def _both() -> Experiment:
    """The split by crosslines, with sections across inlines and across crosslines, drawn alike."""
    config = get_config("crossline")
    config.data.directions = ("inline", "crossline")
    config.data.window = (1, 24, 1501)  # the survey has no more than 24 inlines
    config.data.batch_size = 8
    config.augment.flip_axes = ("inline", "crossline")
    config.model.levels = 4  # 24 traces are then whole at every level, and neighbouring windows share two thirds
    config.train.num_steps = 600
    return config
