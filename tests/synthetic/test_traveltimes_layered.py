"""Direct rays in flat layers against shooting, limits and an eikonal solver; the closed form against the latter too."""

import eikonalfm
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from seisjax.synthetic.traveltimes import trace_layered_rays, trace_rays

TOPS = np.array([0.0, 200.0, 260.0, 700.0, 1200.0, 1300.0])  # m
SPEEDS = np.array([1600.0, 1750.0, 1690.0, 1900.0, 2300.0, 2200.0])  # m/s
SOURCE = 1500.0  # m
OFFSETS = np.array([0.0, 1.0, 300.0, 1500.0, 4000.0, 12000.0])

trace = jax.jit(trace_layered_rays)


def crossed(tops, speeds, top, bottom):
    """Thickness and speed of the layers between two depths, float64."""
    edges = np.concatenate([[top], np.clip(tops[1:], top, bottom), [bottom]])
    thickness = np.diff(edges)
    return thickness[thickness > 0], speeds[thickness > 0]


def shoot(offset, tops, speeds, top, bottom):
    """Time and ray parameter of the direct ray, from the root of the offset in the fastest layer's tangent."""
    thickness, speed = crossed(tops, speeds, top, bottom)
    ratio = speed / speed.max()

    def cosines(q):
        return np.sqrt((1 + (1 - ratio**2) * q**2) / (1 + q**2))

    def reached(q):
        return (thickness * ratio * q / np.sqrt(1 + (1 - ratio**2) * q**2)).sum() - offset

    q = brentq(reached, 0.0, 1e9, xtol=1e-13, rtol=1e-14) if offset else 0.0  # pyright: ignore[reportArgumentType]
    return (thickness / (speed * cosines(q))).sum(), q / np.sqrt(1 + q**2) / speed.max()  # pyright: ignore[reportOperatorIssue]


@given(
    st.lists(st.tuples(st.floats(1.0, 500.0), st.floats(300.0, 5000.0)), min_size=1, max_size=12),
    st.floats(300.0, 4000.0),
    st.floats(-500.0, 100.0),
    st.floats(0.0, 2e4),
)
@settings(max_examples=60, deadline=None)
def test_any_layers_are_solved(layers, source, receiver, offset):
    thickness, speeds = np.array(layers).T
    tops = np.concatenate([[0.0], np.cumsum(thickness)[:-1]])
    offset, source, receiver = np.array([offset, source, receiver], np.float32)
    # One compilation serves all: the last layer once more.
    tops, speeds = (np.pad(a.astype(np.float32), (0, 12 - len(a)), mode="edge") for a in (tops, speeds))
    rays = trace(np.array([offset]), source, receiver, tops, speeds)
    time, p = shoot(float(offset), tops.astype(float), speeds.astype(float), float(receiver), float(source))
    assert rays.time[0] == pytest.approx(time, rel=2e-6)
    assert rays.sin_receiver[0] == pytest.approx(p * float(rays.speed_receiver[0]), abs=3e-5)
    assert np.isfinite(np.stack(rays)).all()


def test_one_layer_gives_straight_rays():
    rays = trace(OFFSETS, SOURCE, 100.0, np.zeros(1), np.array([2000.0]))
    distance = np.hypot(OFFSETS, SOURCE - 100.0)
    np.testing.assert_allclose(rays.time, distance / 2000.0, rtol=1e-6)
    np.testing.assert_allclose(rays.spreading, distance, rtol=1e-5)
    np.testing.assert_allclose(rays.sin_source, OFFSETS / distance, atol=1e-6)
    np.testing.assert_allclose(rays.cos_receiver, (SOURCE - 100.0) / distance, atol=1e-6)


def test_thin_layers_approach_the_gradient():
    offset = np.array([0.0, 500.0, 1500.0, 2500.0])
    tops = np.arange(0.0, 1600.0, 10.0)
    layered = trace(offset, 1570.0, 0.0, tops, 1650.0 + 0.45 * (tops + 5.0))
    smooth = trace_rays(offset, 1570.0, 0.0, 1650.0, 0.45)
    np.testing.assert_allclose(layered.time, smooth.time, rtol=2e-5)
    np.testing.assert_allclose(layered.spreading, smooth.spreading, rtol=0.01)
    np.testing.assert_allclose(layered.sin_source, smooth.sin_source, atol=0.005)
    np.testing.assert_allclose(layered.cos_receiver, smooth.cos_receiver, atol=0.005)


def test_source_and_receiver_may_change_places_in_layers_too():
    there, back = trace(OFFSETS, SOURCE, 30.0, TOPS, SPEEDS), trace(OFFSETS, 30.0, SOURCE, TOPS, SPEEDS)
    np.testing.assert_allclose(there.time, back.time, rtol=1e-6)
    np.testing.assert_allclose(there.spreading * 2200.0, back.spreading * 1600.0, rtol=1e-4)
    np.testing.assert_allclose(there.sin_source, back.sin_receiver, rtol=1e-6)


def test_receivers_lie_at_depths_of_their_own():
    depths = np.array([-100.0, 0.0, 230.0])
    together = trace(np.full(3, 800.0), SOURCE, depths, TOPS, SPEEDS)
    for i, depth in enumerate(depths):
        time, _ = shoot(800.0, TOPS, SPEEDS, depth, SOURCE)
        assert together.time[i] == pytest.approx(time, rel=1e-6)
    np.testing.assert_array_equal(together.speed_receiver, [1600.0, 1600.0, 1750.0])
    np.testing.assert_array_equal(together.speed_source, 2200.0)


def test_times_are_differentiable():
    """dT/dX is the ray parameter, and dT/dz of the source the vertical slowness there."""

    @jax.jit
    def slowness(offset, depth):
        def time(x, z):
            return trace_layered_rays(x[None], z, 0.0, jnp.asarray(TOPS), jnp.asarray(SPEEDS)).time[0]

        return jax.grad(time, argnums=(0, 1))(offset, depth)

    with jax.enable_x64(True):
        for offset in (300.0, 4000.0):
            _, p = shoot(offset, TOPS, SPEEDS, 0.0, SOURCE)
            across, down = slowness(np.float64(offset), np.float64(SOURCE))
            assert across == pytest.approx(p, rel=1e-6)
            assert np.hypot(across, down) == pytest.approx(1 / 2200.0, rel=1e-6)


def eikonal(speed, step, source):
    """First arrivals at depth 0 and offsets 0, step, ...: Treister & Haber's (2016) factored fast marching."""
    place = (0, round(source / step))
    factor = eikonalfm.factored_fast_marching(speed, place, (step, step), 2)
    return (factor * eikonalfm.distance(factor.shape, (step, step), place, indexing="ij"))[:, 0]


def test_the_closed_form_agrees_with_an_eikonal_solver():
    offset, depth = np.arange(0.0, 8001.0, 10.0), np.arange(0.0, 3401.0, 10.0)
    speed = np.tile(1650.0 + 0.45 * depth, (len(offset), 1))
    rays = trace_rays(offset, 1570.0, 0.0, 1650.0, 0.45)
    np.testing.assert_allclose(rays.time, eikonal(speed, 10.0, 1570.0), atol=1e-5)  # 0.01 ms, turning rays included


def test_layers_agree_with_an_eikonal_solver_where_the_direct_ray_comes_first():
    step = 5.0
    offset, depth = np.arange(0.0, 1501.0, step), np.arange(0.0, 1601.0, step)
    layer = np.searchsorted(TOPS[1:], depth, side="right")
    slowness = 1 / SPEEDS[layer]
    for i, top in enumerate(TOPS[1:], start=1):  # a node on a boundary belongs to both layers
        slowness[depth == top] = (1 / SPEEDS[i - 1] + 1 / SPEEDS[i]) / 2
    found = trace(offset, SOURCE, 0.0, TOPS, SPEEDS).time
    expected = eikonal(np.tile(1 / slowness, (len(offset), 1)), step, SOURCE)
    np.testing.assert_allclose(found, expected, atol=5e-5)  # 0.05 ms; the solver's error halves with its step
