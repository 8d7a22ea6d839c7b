"""What of a split is drawn beside its scores."""

import numpy as np
import pytest

from seisjax import experiment
from seisjax.commands.scoring import run_evaluation
from seisjax.config import Experiment

pytestmark = pytest.mark.quick_compiler


@pytest.fixture
def config(config: Experiment) -> Experiment:
    """Two windows to test on, half of each outside the split; batches of eight."""
    config.data.test, config.model.levels = "inline:110-111,crossline:332-339", 2
    return config


def evaluated(config: Experiment) -> tuple[experiment.Survey, experiment.Segmenter, dict[str, np.ndarray]]:
    """A survey, a network that has learnt nothing, and the rows of the test part that are drawn of it."""
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 70.0))
    return survey, segmenter, run_evaluation(config, survey, segmenter, segmenter.init(), "test", baselines=False)[1]


def test_what_fills_up_a_batch_is_not_drawn(config: Experiment):
    _, _, rows = evaluated(config)
    assert {name: len(values) for name, values in rows.items()} == {"image": 2, "labels": 2, "classes": 2}
    assert (rows["labels"] != 255).any(axis=(1, 2, 3)).all()
