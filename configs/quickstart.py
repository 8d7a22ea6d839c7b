"""Find microseismic events in small synthetic panels: what `make demo` trains, in a few minutes on two CPU cores.

    python launch/synthesize.py --config=quickstart --num_examples=200 --output=demo/panels.zarr
    python launch/train.py --config=configs/quickstart.py --workdir=demo/run

Expect an IoU of the event class above 0.5 on the test split (signal-to-noise ratios from 1 to 3).
"""

from seisjax.config import Experiment


def get_config(arg: str | None = None) -> Experiment:
    """The experiment; takes no argument."""
    del arg
    config = Experiment()
    config.data.volume = "demo/panels.zarr"
    config.data.labels = "event"
    config.data.window = (1, 128, 512)  # one panel: 128 receivers, 512 samples
    config.data.batch_size = 8
    # Panels are independent of one another, so that no gap is needed between the splits.
    config.data.train = "example:0-159"
    config.data.validation = "example:160-179"
    config.data.test = "example:180-199"
    config.data.split_gap = 0
    config.data.overhang = 0.0
    config.augment.polarity = 0.5
    config.augment.gain = 0.1
    config.model.base_features = 8
    config.model.levels = 4
    config.model.num_classes = 1
    config.loss.name = "cross_entropy+dice"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 20
    config.train.num_steps = 200
    config.train.log_every = 10
    config.train.evaluate_every = 50
    config.train.checkpoint_every = 50
    return config
