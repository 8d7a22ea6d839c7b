"""Evaluation scores events where the windows are whole panels of a volume that knows them."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from seisjax import experiment
from seisjax.commands.event_scores import event_scorer
from seisjax.commands.scoring import run_evaluation
from seisjax.config import Experiment
from seisjax.conventions import IGNORE
from seisjax.geometry import Box
from seisjax.synthesis import write_microseismic
from seisjax.synthetic.parameters import QUICKSTART, ReceiverArray

pytestmark = pytest.mark.quick_compiler

KEYS = {"event_precision", "event_recall", "event_f1", "false_alarms_per_hour", "onset_error_s", "events"}


@pytest.fixture(scope="module")
def panels(tmp_path_factory) -> str:
    """8 panels of 24 receivers and 256 samples; a quarter holds no event."""
    parameters = replace(QUICKSTART, array=ReceiverArray(lines=3, stations=8, station_spacing=150.0), num_samples=256)
    path = tmp_path_factory.mktemp("panels") / "panels.zarr"
    write_microseismic(path, replace(parameters, noise_only=0.25, snr=(1.5, 3.0)), 8, seed=0)
    return str(path)


@pytest.fixture
def config(panels) -> Experiment:
    config = Experiment()
    config.data.volume, config.data.labels, config.data.window = panels, "event", (1, 24, 256)
    config.data.train, config.data.test, config.data.split_gap = "example:0-3", "example:4-7", 0
    config.data.batch_size = 2
    config.evaluate.batch_size = 3  # which does not divide the panels
    config.model.num_classes, config.model.levels, config.model.base_features = 1, 2, 2
    config.mesh.data = 1
    return config


def test_labels_taken_for_probabilities_find_every_event(config):
    survey = experiment.open_survey(config)
    scorer = event_scorer(config, survey, "test")
    labels = survey.volume.read_labels("event", Box((4, 0, 0), (4, 24, 256)))
    event = np.where(labels == IGNORE, np.nan, labels).astype(np.float32)
    padded = np.pad(np.stack([1 - event, event], axis=-1)[:, None], ((0, 0), (0, 0), (0, 8), (0, 16), (0, 0)))
    shown = np.pad(labels[:, None], ((0, 0), (0, 0), (0, 8), (0, 16)))
    scorer.add(jax.numpy.asarray(padded[:3]), jax.numpy.asarray(shown[:3]))
    scorer.add(jax.numpy.asarray(np.roll(padded, 1, 0)[:3]), jax.numpy.asarray(np.roll(shown, 1, 0)[:3]))
    result = scorer.result()
    assert 0 < result["events"]["num_events"] <= 4
    assert result["event_f1"] == 1.0
    assert result["onset_error_s"] < 0.02
    assert result["false_alarms_per_hour"] == 0.0
    assert result["events"]["hours"] == pytest.approx(4 * 256 * 0.004 / 3600)
    assert result["events"]["located"]
    assert result["events"]["epicentre_error_m"] < 300.0
    assert (result["events"]["pick_precision"], result["events"]["pick_recall"]) == (1.0, 1.0)
    assert result["events"]["pick_error_s"] < 0.001
    assert sum(row["num_events"] for row in result["events"]["recall_by_snr"]) == result["events"]["num_events"]


def test_evaluation_adds_event_scores_and_changes_no_other(config):
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    segmenter = experiment.make_segmenter(config, survey, mesh, experiment.Fit(0.0, 1.0))
    state = segmenter.init()
    with_events, plain = (
        run_evaluation(config, survey, segmenter, state, "test", baselines=False, events=events)[0]
        for events in (True, False)
    )
    assert with_events.keys() - plain.keys() == KEYS
    assert {key: with_events[key] for key in plain} == plain


def test_events_are_not_scored_where_windows_are_parts_of_panels(config):
    config.data.window = (1, 24, 128)
    assert event_scorer(config, experiment.open_survey(config), "test") is None


def test_volumes_without_events_have_no_event_scores(layers, config):
    config.data.volume, config.data.labels, config.data.window = str(layers), "facies", (1, 16, 36)
    config.data.train, config.data.test, config.model.num_classes = "inline:100-105", "inline:106-111", 3
    assert event_scorer(config, experiment.open_survey(config), "test") is None
