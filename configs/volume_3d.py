"""Facies from 3-D windows: the Penobscot survey again, with volumes of 16 x 64 x 256 samples in place of sections.

    python launch/train.py --config=configs/volume_3d.py --config.data.volume=penobscot.zarr --workdir=runs/volume_3d

Windows are thin along the inlines, so that nothing is pooled along them at first, nor looked at until the third level:
that is a quarter less work than with kernels of 3 and strides of 2 everywhere. Expect a few seconds a step on two CPU
cores: it is meant for an accelerator, and as a pattern for one's own volumes.
"""

from seisjax.config import Experiment


def get_config(arg: str | None = None) -> Experiment:
    """The experiment; takes no argument."""
    del arg
    config = Experiment()
    config.data.volume = "penobscot.zarr"
    config.data.labels = "facies"
    config.data.train = "crossline:1000-1199"
    config.data.validation = "crossline:1216-1247"
    config.data.test = "crossline:1264-1480"
    config.data.split_gap = 16
    config.data.window = (16, 64, 256)
    config.data.batch_size = 2
    config.augment.flip_axes = ("inline", "crossline")
    config.augment.gain = 0.1
    config.model.base_features = 12
    config.model.levels = 4
    config.model.strides = "1,2,2"
    config.model.kernels = "1,3,3;1,3,3"
    config.model.num_classes = 8
    config.loss.name = "cross_entropy+dice"
    config.train.num_steps = 1000
    return config
