"""Temperatures: known ones are found, from sums that are right and the same on any number of devices."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy.special import expit, log_softmax, softmax

from seisjax.calibration import BINS, CALIBRATION, Pass, fit_temperature, found_temperature, tally, temperature_of
from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.sharding import make_mesh

SHAPE = (8, 1, 64, 100)
Arrays = Sequence[np.ndarray]


@functools.cache
def jitted(label_scale: int) -> Callable:
    return jax.jit(functools.partial(tally, label_scale=label_scale))


def over(logits: Arrays, labels: np.ndarray, label_scale: int = 0, place: Callable = np.asarray) -> Pass:
    """A pass over one batch."""

    def one_pass(inverse_temperatures: np.ndarray, shown: np.ndarray) -> dict[str, np.ndarray]:
        grids = inverse_temperatures.astype(np.float32), shown.astype(np.float32)
        sums = jitted(label_scale)([place(z) for z in logits], place(labels), *grids)
        return {name: np.asarray(x, np.float64).sum(-1) for name, x in sums.items()}

    return one_pass


def draw(logits: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels of the classes' probabilities, a tenth of them unknown."""
    random = np.random.default_rng(seed)
    levels = softmax(logits, axis=-1).cumsum(-1)
    labels = (levels[..., :-1] < random.random(SHAPE)[..., None]).sum(-1).astype(np.uint8)
    labels[random.random(SHAPE) < 0.1] = IGNORE
    return labels


def normal(outputs: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (*SHAPE, outputs)).astype(np.float32)


@pytest.fixture(scope="module")
def sure() -> tuple[np.ndarray, np.ndarray]:
    """Logits that are three times too far apart, and labels."""
    logits = normal(3)
    return 3 * logits, draw(logits)


def test_a_network_that_is_too_sure_is_found_out(sure: tuple[np.ndarray, np.ndarray]):
    logits, labels = sure
    found = fit_temperature(over([logits], labels))
    assert found.temperature == pytest.approx(3.0, rel=0.01)
    assert found.num_samples == (labels != IGNORE).sum()
    assert found.nll_after < 0.7 * found.nll_before
    values = json.loads(json.dumps(found.values(), allow_nan=False))
    assert values["ece_after"] < 0.1 * values["ece_before"]
    for side in ("before", "after"):
        rows = values["reliability"][side]
        assert len(rows) == BINS
        assert sum(row["samples"] for row in rows) == found.num_samples
        assert rows[0] == {"bin": [0.0, 0.066667], "samples": 0, "confidence": None, "accuracy": None}


@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.3])
def test_one_logit_and_labels_that_are_probabilities_give_it_exactly(temperature: float):
    logits = normal(1)
    labels = np.round(254 * expit(logits[..., 0])).astype(np.uint8)
    found = fit_temperature(over([temperature * logits], labels, label_scale=254))
    assert found.temperature == pytest.approx(temperature, rel=1e-3)
    assert found.after.error < 2e-3


def test_of_several_networks_it_is_the_averages(sure: tuple[np.ndarray, np.ndarray]):
    logits, labels = sure
    alone = fit_temperature(over([logits], labels))
    twice = fit_temperature(over([logits, logits], labels))
    assert twice.temperature == pytest.approx(alone.temperature, rel=1e-4)
    other = logits + 3 * normal(3, seed=2)
    both = fit_temperature(over([logits, other], labels))
    # By brute force.
    known = labels != IGNORE

    def nll(temperature: float) -> float:
        mean = (softmax(logits[known] / temperature, -1) + softmax(other[known] / temperature, -1)) / 2
        return -np.log(np.take_along_axis(mean, labels[known][:, None].astype(int), -1)).mean()

    assert both.nll_after == pytest.approx(nll(both.temperature), rel=1e-5)
    assert both.nll_after < min(nll(0.98 * both.temperature), nll(1.02 * both.temperature))


def test_sums_are_those_of_numpy_and_eight_devices_give_them_too(sure: tuple[np.ndarray, np.ndarray]):
    logits, labels = sure
    unknown = (labels == IGNORE)[..., None]
    holed = np.where(unknown, np.nan, logits)  # what stands where nothing is known does not count
    grid = np.array([0.5, 2.0])
    sums = over([holed], labels)(grid, grid[:1])
    z, y = logits[labels != IGNORE].astype(np.float64), labels[labels != IGNORE].astype(int)
    for k, inverse in enumerate(grid):
        shares, right = softmax(inverse * z, -1), np.arange(3) == y[:, None]
        mean = (shares * z).sum(-1)
        expected = [
            -log_softmax(inverse * z, -1)[right].sum(),
            (mean - z[right]).sum(),
            ((shares * z**2).sum(-1) - mean**2).sum(),
        ]
        np.testing.assert_allclose(sums["nll"][:, k], expected, rtol=1e-5)
    shares = softmax(0.5 * z, -1)
    bins, right = np.ceil(shares.max(-1) * BINS).astype(int) - 1, shares.argmax(-1) == y
    np.testing.assert_allclose(sums["samples"][0], np.bincount(bins, minlength=BINS), atol=2)
    np.testing.assert_allclose(sums["agreement"][0], np.bincount(bins, right, BINS), atol=2)
    np.testing.assert_allclose(sums["confidence"][0], np.bincount(bins, shares.max(-1), BINS), rtol=1e-3)

    mesh = make_mesh(2, 4)

    def place(array: np.ndarray) -> jax.Array:
        spec = PartitionSpec("data", None, "space", *[None] * (array.ndim - 3))
        return jax.device_put(array, NamedSharding(mesh, spec))

    split = over([holed], labels, place=place)(grid, grid[:1])
    for name, values in sums.items():
        np.testing.assert_allclose(split[name], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda z, y: (z, np.full_like(y, IGNORE)), "no sample of the split is labelled"),
        (lambda z, y: (z, z.argmax(-1).astype(np.uint8)), "0.03125, .*right everywhere"),
        (lambda z, y: (z, z.argmin(-1).astype(np.uint8)), "of 32, .*says the same"),
        (lambda z, y: (np.where(y[..., None] == 0, np.nan, z), y), "not finite"),
    ],
)
def test_what_cannot_be_calibrated_is_said(sure: tuple[np.ndarray, np.ndarray], spoil: Callable, message: str):
    logits, labels = spoil(*sure)
    with pytest.raises(UserError, match=message) as error:
        fit_temperature(over([logits], labels))
    assert "\n" not in str(error.value)


def test_a_temperature_is_of_its_checkpoints(tmp_path: Path):
    with pytest.raises(
        UserError, match="is not there; for 9,12 run launch/evaluate.py .* --calibrate --checkpoint=9,12"
    ):
        temperature_of(tmp_path, [9, 12])
    (tmp_path / CALIBRATION).write_text(json.dumps({"temperature": 1.5, "checkpoints": [12, 9]}))
    assert temperature_of(tmp_path, [9, 12]) == found_temperature(tmp_path, [12, 9]) == 1.5
    assert found_temperature(tmp_path, [9]) is None
    with pytest.raises(UserError, match="is of checkpoint 12, 9; for 9 run .* --checkpoint=9$"):
        temperature_of(tmp_path, [9])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"temperature": 1.5', "is no JSON"),
        ('{"temperature": 1.5}', "names no temperature and checkpoints"),
        ('{"checkpoints": [12], "temperature": null}', "names no temperature and checkpoints"),
        ('{"checkpoints": 12, "temperature": 1.5}', "names no temperature and checkpoints"),
        ("[]", "names no temperature and checkpoints"),
        ('{"checkpoints": [12], "temperature": 0}', "temperature=0 is not positive"),
        ('{"checkpoints": [12], "temperature": NaN}', "temperature=nan is not positive"),
    ],
)
def test_a_broken_calibration_is_named(tmp_path: Path, text: str, message: str):
    (tmp_path / CALIBRATION).write_text(text)
    with pytest.raises(UserError, match=f"{CALIBRATION}: {message}"):
        found_temperature(tmp_path, [12])
