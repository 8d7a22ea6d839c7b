"""The paper's experiment: events on panels of a whole seabed array, 3458 receivers x 4096 samples.

    python launch/train.py --config=configs/microseismic_4096.py --workdir=runs/4096
    python launch/train.py --config=configs/microseismic_4096.py:device --workdir=runs/4096   # panels made on the GPU

After Birnie, Jarraya & Hansteen (2021, arXiv 2102.13003): panels padded to 4096 x 4096, a UNet of 8 features at 7
resolutions, its batch split over all devices. What the generator draws from is this project's own. The argument
`device` makes the panels on the accelerator, where no host could keep up; without it they are made on the host. A
stored set is named by `--config.data.volume=panels.zarr`.

7,781,777 parameters; 7,779,241 without norm (`--config.model.norm=none`), as the paper's. A device that works on one
panel at a time needs 10.5 GiB in float32, 5.5 with `--config.model.remat=block` (jax 0.11); the host 1.3 GiB beside.
`--config.precision.compute=bfloat16` is for accelerators. Here it was trained for 20 steps, on one panel. Expect more
than configs/microseismic_small.py reaches with a seventh of the receivers and 1/22 of the panels (an IoU of the event
class of 0.33, an event F1 of 0.72): an estimate, not a measurement.
"""

from seisjax.config import Experiment
from seisjax.errors import UserError, nearest


def get_config(arg: str | None = None) -> Experiment:
    """The experiment; `device` makes its panels on the accelerator."""
    if arg not in (None, "host", "device"):
        raise UserError(f"microseismic_4096:{arg}: unknown{nearest(arg, ('host', 'device'))}")
    config = Experiment()
    config.data.volume = "synthetic:microseismic_4096?seed=0&examples=1000000"
    config.data.synthesis = arg or "host"
    config.data.labels = "event"
    config.data.window = (1, 3458, 4096)
    config.data.pad_to = (1, 4096, 4096)  # as in the paper; without it 3520 x 4096, a seventh less to compute
    config.data.batch_size = 8  # over all devices; as many as there are, or a multiple
    # Panels are independent of one another, so that no gap is needed between the splits.
    config.data.train = "example:0-899999"
    config.data.validation = "example:900000-900015"
    config.data.test = "example:910000-910063"
    config.data.split_gap = 0
    config.data.overhang = 0.0
    # As a recording is scaled that the network is to be run on: each trace by its own noise.
    config.data.normalization = "trace"
    config.data.robust = True
    config.data.clip = 10.0
    config.data.statistics_tiles = 4
    config.data.prefetch = 1  # a panel of 67 MB each, and as many more on their way
    config.model.base_features = 8
    config.model.levels = 7
    config.model.num_classes = 1
    config.loss.name = "cross_entropy+dice"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 200
    config.train.num_steps = 5000
    config.train.log_every = 20
    config.train.evaluate_every = 500
    config.train.checkpoint_every = 500
    config.evaluate.batch_size = 8
    config.evaluate.baselines = False  # they would read all that is trained on
    return config
