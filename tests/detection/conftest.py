"""Arrays, ground, and what an event looks like on them."""

from types import SimpleNamespace

import numpy as np
import pytest

from seisjax.detection.location import Ground, Locator, Speed
from seisjax.detection.picks import ANY, P, Picks, S

INTERVAL = 0.004


@pytest.fixture(scope="session")
def places() -> np.ndarray:
    """6 cables of 20 stations on the sea floor, in map coordinates."""
    line, station = np.indices((6, 20))
    x, y = 4.3e5 + 400.0 * line.ravel(), 6.5e6 + 120.0 * station.ravel()
    return np.stack([x, y, np.full(x.shape, 130.0)], axis=-1)


@pytest.fixture(scope="session")
def ground() -> Ground:
    p, s = Speed((1580.0, 1750.0), (0.3, 0.6)), Speed((700.0, 900.0), (0.2, 0.3))
    return Ground(p, s, depth=(1400.0, 2000.0))


@pytest.fixture(scope="session")
def locator(places: np.ndarray, ground: Ground) -> Locator:
    return Locator(places, ground)


def travel_times(places: np.ndarray, source, speed: float, gradient: float) -> np.ndarray:
    """Times (receiver,) in s through v = speed + gradient (z - 130), by the textbook's formula in float64."""
    v_r, v_s = speed, speed + gradient * (source[2] - 130.0)
    u = gradient**2 * ((places - source) ** 2).sum(axis=1) / (2 * v_r * v_s)
    return np.arccosh(1 + u) / gradient


def picks_at(times: np.ndarray, receivers: np.ndarray | None = None, phase: int = ANY) -> Picks:
    """A sure pick on each receiver at its time, s."""
    receivers = np.arange(len(times)) if receivers is None else receivers
    ones = np.ones(len(times), np.float32)
    return Picks(
        receivers.astype(np.int32), times.astype(np.float64), ones, 0.1 * ones, np.full(len(times), phase, np.int8)
    )


def event_picks(places: np.ndarray, source, origin: float, *, s: bool = False, named: bool = False) -> list[Picks]:
    """P, and S, of an event in a ground that differs a little from what is expected."""
    found = [picks_at(origin + travel_times(places, source, 1630.0, 0.4), phase=P if named else ANY)]
    if s:
        found.append(picks_at(origin + travel_times(places, source, 820.0, 0.26), phase=S if named else ANY))
    return found


def probabilities(picks: Picks, num_receivers: int, num_samples: int, lasts: float = 0.15) -> np.ndarray:
    """(2, receiver, sample): noise and event, from each onset on."""
    event = np.zeros((num_receivers, num_samples), np.float32)
    for receiver, time in zip(picks.receiver, picks.time, strict=True):
        first = int(np.ceil(time / INTERVAL))
        event[receiver, max(first, 0) : max(first + round(lasts / INTERVAL), 0)] = 0.9
    return np.stack([1 - event, event])


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """What makes events: functions of this file."""
    return SimpleNamespace(
        interval=INTERVAL,
        travel_times=travel_times,
        picks_at=picks_at,
        event_picks=event_picks,
        probabilities=probabilities,
    )
