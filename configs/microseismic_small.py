"""Find microseismic events in panels of 512 receivers x 512 samples that are made while the network trains.

    python launch/train.py --config=configs/microseismic_small.py --workdir=runs/small
    python launch/evaluate.py --workdir=runs/small --split=test

No file is read: panel i of the stream is a function of the seed and of i. Signal-to-noise ratios run from 0.1 to 3.
1,946,001 parameters, 1.3 GiB of memory, 20 to 40 minutes on two CPU cores. Expect on the test split an IoU of the event
class of 0.33 and an event F1 of 0.72: from a ratio of 0.8 on every event is found, from 0.4 to 0.8 nine of ten, below
0.2 one of ten.
"""

from seisjax.config import Experiment


def get_config(arg: str | None = None) -> Experiment:
    """The experiment; takes no argument."""
    del arg
    config = Experiment()
    config.data.volume = "synthetic:microseismic_small?seed=0&examples=100000"
    config.data.labels = "event"
    config.data.window = (1, 512, 512)
    config.data.batch_size = 2
    # Panels are independent of one another, so that no gap is needed between the splits.
    config.data.train = "example:0-89999"
    config.data.validation = "example:90000-90031"
    config.data.test = "example:91000-91127"
    config.data.split_gap = 0
    config.data.overhang = 0.0
    # As a recording is scaled that the network is to be run on: each trace by its own noise.
    config.data.normalization = "trace"
    config.data.robust = True
    config.data.clip = 10.0
    config.data.statistics_tiles = 16
    config.model.base_features = 8
    config.model.levels = 6
    config.model.num_classes = 1
    config.loss.name = "cross_entropy+dice"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 50
    config.train.num_steps = 900
    config.train.log_every = 20
    config.train.evaluate_every = 150
    config.train.checkpoint_every = 150
    config.evaluate.baselines = False  # they would read all that is trained on
    return config
