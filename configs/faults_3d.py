"""Faults in 3-D, learnt from synthetic cubes alone, which are made while the network trains.

    python launch/train.py --config=configs/faults_3d.py --workdir=runs/faults
    python launch/evaluate.py --workdir=runs/faults --split=test
    python launch/predict.py --workdir=runs/faults --input=survey.zarr --output=faults.zarr
    python benchmarks/faults.py --workdir=runs/faults --output=scores.json --figure=scores.png

The argument is "small" (the default), cubes of 64^3 for two CPU cores, or "full", cubes of 128^3 for an accelerator,
which makes them itself. Cube i of the stream is a function of the seed and of i; what cubes are drawn from stands in
configs/volumes/fault_training.py.

small: 350,753 parameters, 0.9 GiB of memory, 49 minutes of processor time. Expect on unseen cubes at a
signal-to-noise ratio of 4 an F1 of 0.79 and an IoU of 0.65 of the fault class, and an F1 of 0.98 where a call may lie
one sample off; coherence at its best gets 0.24, 0.14 and 0.52 (docs/interpretation.md). After 300 of the 4000 steps it
is 0.50, 0.34 and 0.88.
full: 5,646,145 parameters. Not run here.
"""

from pathlib import Path

from seisjax.config import Experiment
from seisjax.errors import UserError

CUBES = Path(__file__).parent / "volumes/fault_training.py"


def get_config(arg: str | None = None) -> Experiment:
    """The experiment; the argument is "small" (the default) or "full"."""
    if arg not in (None, "small", "full"):
        raise UserError(f"faults_3d: the argument '{arg}' is neither small nor full")
    side = 128 if arg == "full" else 64
    config = Experiment()
    config.data.volume = f"synthetic:{CUBES}:{side}?seed=0&examples=100000"
    config.data.labels = "fault"
    config.data.window = (1, side, side, side)
    config.data.batch_size = 1
    # Cubes are independent of one another, so that no gap is needed between the splits.
    config.data.train = "example:0-89999"
    config.data.validation = "example:90000-90015"
    config.data.test = "example:91000-91063"
    config.data.split_gap = 0
    config.data.overhang = 0.0
    # Each window by its own deviation: surveys come in any units, and are as loud here as there.
    config.data.normalization = "window"
    config.data.statistics_tiles = 16
    config.model.base_features = 8
    config.model.levels = 4
    config.model.num_classes = 1
    config.loss.name = "cross_entropy+dice"
    # A constant rate and averaged parameters: a run may end at any step, and may be taken further.
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_steps = 50
    config.optimizer.average = 0.99
    config.train.num_steps = 4000
    config.train.log_every = 10
    config.train.evaluate_every = 200
    config.train.checkpoint_every = 200
    config.evaluate.baselines = False  # they would read all that is trained on
    if arg == "full":
        enlarge(config)
    return config


def enlarge(config: Experiment) -> None:
    """The network, batch and length of training for an accelerator."""
    config.data.synthesis = "device"
    config.data.batch_size = 4
    config.model.base_features = 16
    config.model.levels = 5
    config.precision.compute = "bfloat16"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.average = 0.999
    config.train.num_steps = 20000
    config.train.log_every = 50
    config.train.evaluate_every = 1000
    config.train.checkpoint_every = 1000
