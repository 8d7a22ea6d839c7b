"""What of a split is drawn beside its scores."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from seisjax import experiment
from seisjax.commands.scoring import draw_panels, run_evaluation
from seisjax.config import Experiment
from seisjax.reporting.figures import NO_DATA

pytestmark = pytest.mark.quick_compiler


@pytest.fixture
def config(config: Experiment) -> Experiment:
    """Two windows to test on; batches of eight."""
    config.data.test, config.data.window = "inline:110-111,crossline:332-339", (1, 8, 36)
    config.model.levels = 2
    return config


def segmenter_of(config: Experiment, survey: experiment.Survey) -> experiment.Segmenter:
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    return experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 70.0))


def evaluated(config: Experiment) -> tuple[experiment.Survey, experiment.Segmenter, dict[str, np.ndarray]]:
    """A survey, a network that has learnt nothing, and the rows of the test part that are drawn of it."""
    survey = experiment.open_survey(config)
    segmenter = segmenter_of(config, survey)
    return survey, segmenter, run_evaluation(config, survey, segmenter, segmenter.init(), "test", baselines=False)[1]


def test_progress_tells_of_the_windows_of_the_network_and_then_of_the_baselines(config: Experiment):
    config.data.test, config.data.batch_size, told = "inline:109-111,crossline:332-339", 2, []
    survey = experiment.open_survey(config)
    segmenter = segmenter_of(config, survey)
    options = {"baselines": True, "progress": lambda *windows: told.append(windows)}
    run_evaluation(config, survey, segmenter, segmenter.init(), "test", **options)
    assert told == [(2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_what_fills_up_a_batch_is_not_drawn(config: Experiment):
    _, _, rows = evaluated(config)
    assert {name: len(values) for name, values in rows.items()} == {"image": 2, "labels": 2, "classes": 2}
    assert (rows["labels"] != 255).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("dead", [False, True])
def test_panels_show_where_there_are_no_data(config: Experiment, tmp_path: Path, dead: bool):
    survey, segmenter, rows = evaluated(config)
    rows["image"] = rows["image"].copy()
    rows["image"][0, :, 3:5] *= np.nan if dead else 1.0
    draw_panels(tmp_path / "panels.png", survey, segmenter, "test", rows, "Test")
    drawn = np.abs(imread(tmp_path / "panels.png")[..., :3] - to_rgb(NO_DATA)).max(axis=-1) < 0.01
    assert drawn.any() == dead
