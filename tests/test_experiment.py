"""From a config to objects: what data and options make of each other, and what is refused before anything is built."""

from pathlib import Path

import numpy as np
import pytest

from seisjax import experiment
from seisjax.config import Experiment
from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes import create_volume, open_volume


@pytest.fixture
def named(config: Experiment, tmp_path: Path) -> Experiment:
    """The same labels, whose array names five classes."""
    survey = open_volume(config.data.volume)
    labels = survey.read("labels_facies", Box.whole(survey.shape))
    with create_volume(tmp_path / "labels.zarr", survey.axes, dtype=None, chunk=(4, 16, 36)) as volume:
        volume.add_array("labels_named", values=labels, attributes={"class_names": list("abcde")})
    config.data.labels, config.data.labels_volume = "named", str(tmp_path / "labels.zarr")
    return config


def refused(config: Experiment) -> str:
    """The line with which the data are refused."""
    with pytest.raises(UserError) as error:
        experiment.open_survey(config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_split_of_classes_that_weigh_nothing_is_refused(config: Experiment):
    config.loss.class_weights = (0.0, 1.0, 1.0)
    experiment.open_survey(config)
    config.data.validation = "crossline:322-329,time:0-20"  # above the first horizon
    assert "loss.class_weights=(0.0, 1.0, 1.0): only classes of weight 0 are labelled in data.validation" in refused(
        config
    )


def test_labels_that_name_more_classes_than_the_network_has_weigh_by_those_it_has(named: Experiment):
    named.loss.class_weighting = "inverse"
    weights = experiment.fit(named, experiment.open_survey(named)).class_weights
    assert len(weights) == 3
    np.testing.assert_allclose(np.mean(weights), 1)


def test_labels_that_name_more_classes_than_the_network_has_are_drawn_by_its_shares(named: Experiment):
    named.data.sampling, named.data.class_shares = "balanced", (0.0, 1.0, 1.0)
    source = experiment.training_source(named, experiment.open_survey(named))
    assert (source.read(range(4))["labels"] != 255).any()


@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [
        ("optimizer", "accumulation", 4, "optimizer.accumulation=4, a part of data.batch_size=8: 2 windows cannot be"),
        ("evaluate", "batch_size", 6, "evaluate.batch_size: 6 windows cannot be split over mesh.data=4"),
    ],
)
def test_every_batch_of_training_is_split_evenly(config: Experiment, section: str, name: str, value: int, said: str):
    survey, config.mesh.data = experiment.open_survey(config), 4
    assert experiment.training_mesh(config, survey).size == 4
    setattr(getattr(config, section), name, value)
    with pytest.raises(UserError, match=said):
        experiment.training_mesh(config, survey)


@pytest.mark.parametrize("setting", ["data.normalization", "data.agc", "augment.time_shift", "model.vertical_position"])
def test_windows_across_the_vertical_axis_have_no_traces(config: Experiment, setting: str):
    config.data.window = (4, 16, 1)
    experiment.open_survey(config)
    section, name = setting.split(".")
    setattr(getattr(config, section), name, {"data.normalization": "trace", "data.agc": 5}.get(setting, True))
    assert f"{setting}" in (line := refused(config))
    assert "sections across time do not have; switch it off or make data.window's last side longer" in line
