"""Pick P and S on the records of your own network of seismometers, after training on synthetic panels alone.

    python launch/train.py --config=configs/local_network.py:receivers.csv --workdir=runs/network
    python launch/predict.py --workdir=runs/network --input=records.zarr --output=picked.zarr
    python launch/detect.py --predictions=picked.zarr --medium=configs/panels/local_network.py:receivers.csv \\
        --output=events.csv

The argument is RECEIVERS.csv[,HZ], as configs/panels/local_network.py takes it; the receivers in the order of the
records'. Without it a small star of stations is taken, to try it out.

486,307 parameters and 1 GiB of memory; 1200 steps take a quarter of an hour on two CPU cores for 36 receivers. Expect
on validation panels an IoU of about 0.3 for P and 0.4 for S; docs/passive.md tells what came of it on real records.
"""

from pathlib import Path

from seisjax.config import Experiment
from seisjax.synthesis import load_parameters
from seisjax.synthetic.arrays import receivers

PANELS = Path(__file__).parent / "panels/local_network.py"


def get_config(arg: str | None = None) -> Experiment:
    """The experiment for RECEIVERS.csv[,HZ]."""
    panels = str(PANELS) + (f":{arg}" if arg else "")
    parameters = load_parameters(panels)
    config = Experiment()
    config.data.volume = f"synthetic:{panels}?seed=0&examples=100000"
    config.data.labels = "phase"
    config.data.window = (1, len(receivers(parameters.array).places), parameters.num_samples)
    config.data.batch_size = 4
    config.data.train = "example:0-89999"
    config.data.validation = "example:90000-90063"
    config.data.test = "example:91000-91127"
    config.data.split_gap = 0  # panels are independent of one another
    config.data.overhang = 0.0
    config.data.normalization = "trace"
    config.data.robust = True
    config.data.clip = 10.0
    config.data.statistics_tiles = 16
    config.augment.polarity = 0.5
    config.model.base_features = 8
    config.model.levels = 5
    config.model.num_classes = 3
    config.loss.name = "cross_entropy+dice"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.average = 0.99
    config.train.num_steps = 1200
    config.train.log_every = 20
    config.train.evaluate_every = 200
    config.train.checkpoint_every = 200
    config.evaluate.baselines = False
    return config
