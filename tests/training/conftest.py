"""A layered survey on disk and an experiment on it that trains in seconds."""

from pathlib import Path

import numpy as np
import pytest

from seisjax.config import Experiment
from seisjax.geometry import Axis, Box
from seisjax.volumes import StreamingStatistics, create_volume


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 inlines, 40 crosslines, 36 samples: three layers of different frequency, parted by dipping horizons."""
    rng = np.random.default_rng(0)
    shape = (12, 40, 36)
    axes = [Axis("inline", np.arange(100, 112)), Axis("crossline", np.arange(300, 340))]
    axes.append(Axis("time", np.arange(36) * 4.0, "ms"))
    inline, crossline, sample = np.indices(shape)
    horizon = 12 + 3 * np.sin(crossline / 9) + 0.2 * inline
    labels = ((sample > horizon).astype(np.uint8) + (sample > horizon + 10)).astype(np.uint8)
    amplitude = 100 * np.sin(sample * (0.4 + 0.7 * labels)) + 20 * rng.standard_normal(shape)
    statistics = StreamingStatistics()
    statistics.update(amplitude.astype(np.float32))
    path = tmp_path_factory.mktemp("survey") / "survey.zarr"
    with create_volume(path, axes, chunk=(4, 16, 36), shard=(12, 32, 36)) as volume:
        volume.write("amplitude", Box.whole(shape), amplitude.astype(np.float32))
        volume.add_array("labels_facies", "uint8", attributes={"class_names": ["upper", "middle", "lower"]})
        volume.write("labels_facies", Box.whole(shape), labels)
        volume.set_statistics(statistics.result())
    return path


@pytest.fixture
def config(survey: Path) -> Experiment:
    """Sections of 16 x 36 samples, one device, 12 steps."""
    config = Experiment()
    config.data.volume = str(survey)
    config.data.labels = "facies"
    config.data.window = (1, 16, 36)
    config.data.batch_size = 8
    config.data.train = "crossline:300-319"
    config.data.validation = "crossline:322-329"
    config.data.test = "crossline:332-339"
    config.data.split_gap = 2
    config.augment.flip_axes = ("crossline",)
    config.augment.noise = 0.1
    config.model.base_features = 4
    config.model.levels = 3
    config.model.num_classes = 3
    config.model.dropout = 0.1
    config.optimizer.warmup_steps = 2
    config.optimizer.learning_rate = 1e-2
    config.train.num_steps = 12
    config.train.log_every = 2
    config.train.evaluate_every = 6
    config.train.checkpoint_every = 3
    config.train.figures = False
    config.mesh.data = 1
    return config
