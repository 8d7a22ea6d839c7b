"""Find microseismic events in panels of 1024 receivers x 1024 samples that are made while the network trains.

    python launch/train.py --config=configs/microseismic_1024.py --workdir=runs/1024
    python launch/evaluate.py --workdir=runs/1024 --split=test

No file is read: panel i of the stream is a function of the seed and of i. Signal-to-noise ratios run from 0.1 to 3.
7,781,777 parameters; 5.3 GiB on the device, 1.2 GiB on the host beside. It is for an accelerator and has not been
trained to its end. Expect more than configs/microseismic_small.py reaches with half the receivers and an eighteenth of
the panels (an IoU of the event class of 0.33, an event F1 of 0.72): an estimate, not a measurement.
"""

from seisjax.config import Experiment


def get_config(arg: str | None = None) -> Experiment:
    """The experiment; takes no argument."""
    del arg
    config = Experiment()
    config.data.volume = "synthetic:microseismic_1024?seed=0&examples=100000"
    config.data.labels = "event"
    config.data.window = (1, 1024, 1024)
    config.data.batch_size = 8
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
    config.data.statistics_tiles = 8
    config.model.base_features = 8
    config.model.levels = 7
    config.model.num_classes = 1
    config.loss.name = "cross_entropy+dice"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 100
    config.train.num_steps = 4000
    config.train.log_every = 20
    config.train.evaluate_every = 500
    config.train.checkpoint_every = 500
    config.evaluate.baselines = False  # they would read all that is trained on
    return config
