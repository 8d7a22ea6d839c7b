"""Facies from sections with their neighbours (2.5-D): the network sees five sections side by side and labels one.

    python launch/ingest.py --input=amplitude.segy --labels=facies.segy --label_name=facies --output=penobscot.zarr
    python launch/train.py --config=configs/facies_25d.py --workdir=runs/facies_25d

That is the Penobscot survey of configs/penobscot_facies.py with the same split by crosslines and the same network; what
differs is `data.neighbours` (two inlines on either side of the one that is labelled stand beside it as channels), and
that windows are mirrored across inlines too. Expect the time of that config (16 minutes on two cores): four channels
more enter the first convolution, which adds 1.3 % of operations. No more labels are needed, for only the section in the
middle has any. Expect no gain on this survey: after 850 steps the mean IoU on the test split is 0.793, where that
config has 0.864 and the most common class at each depth 0.805. It is 0.925 up to 128 lines from the training part,
0.869 up to 256 and 0.329 beyond, towards the survey's edge, where the last windows are half empty (one run of each).

For a survey of one's own, sections of 128 traces and 256 samples, two on either side, drawn around each class alike:

    python launch/train.py --config=configs/facies_25d.py:survey --config.data.volume=survey.zarr \\
        --config.data.labels=facies --config.data.train="inline:100-300" --config.data.validation="inline:310-330" \\
        --config.data.test="inline:340-400" --config.model.num_classes=6 --workdir=runs/survey

`--config.data.directions="('inline','crossline')"` takes sections of both directions, each with neighbours of its own.
Where only a few lines are labelled, name a region around them as data.train: neighbours are read inside it alone.
"""

from seisjax.config import Experiment
from seisjax.errors import UserError


def get_config(arg: str | None = None) -> Experiment:
    """The experiment named `arg`: "penobscot" (default) or "survey"."""
    if (arg or "penobscot") not in ("penobscot", "survey"):
        raise UserError(f"configs/facies_25d.py:{arg}: no such experiment; choose penobscot or survey")
    config = Experiment()
    config.data.neighbours = 2
    config.augment.gain = 0.1
    config.augment.noise = 0.1
    config.model.num_classes = 8
    config.loss.name = "cross_entropy+dice"
    return _survey(config) if arg == "survey" else _penobscot(config)


def _penobscot(config: Experiment) -> Experiment:
    """As configs/penobscot_facies.py:crossline, which says why."""
    config.data.volume = "penobscot.zarr"
    config.data.labels = "facies"
    config.data.train, config.data.validation = "crossline:1000-1199", "crossline:1208-1255"
    config.data.test, config.data.split_gap = "crossline:1264-1480", 8
    config.data.window = (1, 48, 1501)
    config.data.batch_size = 4
    # Inlines too: their order is turned round.
    config.augment.flip_axes = ("inline", "crossline")
    config.model.base_features = 8
    config.model.levels = 6
    config.model.vertical_position = True
    config.loss.class_weights = (2.0, 1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 1.0)
    config.optimizer.learning_rate = 4e-3
    config.optimizer.warmup_steps = 30
    config.train.num_steps = 850
    config.train.evaluate_every = 200
    config.train.checkpoint_every = 200
    return config


def _survey(config: Experiment) -> Experiment:
    """Sections of any survey; volume, labels and regions are those of the command."""
    config.data.window = (1, 128, 256)
    config.data.sampling = "balanced"
    config.augment.flip_axes = ("inline", "crossline")
    config.model.deep_supervision = 2
    config.train.num_steps = 4000
    return config
