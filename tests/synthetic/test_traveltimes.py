"""Rays in v(z) = v0 + k z against quadrature, finite differences and limits."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq

from seisjax.synthetic.traveltimes import trace_rays

SPEED, GRADIENT, DEPTH = 1650.0, 0.45, 1570.0  # m/s, 1/s, m
OFFSETS = np.array([0.0, 200.0, 1000.0, 2500.0, 3500.0, 3800.0, 5000.0, 8000.0])  # turning rays from about 3.7 km on


def quadrature(p: float, top: float, bottom: float) -> tuple[float, float]:
    """Offset and time of a ray of parameter p along dx = tan(i) dz and dt = dz / (v cos(i)); v = SPEED + GRADIENT z.

    With sin(i) = p v and dz = cos(i) di / (p k) neither integrand is singular where the ray turns.
    """
    low, high = (np.arcsin(min(p * (SPEED + GRADIENT * z), 1.0)) for z in (top, bottom))
    offset = quad(lambda i: np.sin(i) / (p * GRADIENT), low, high, epsabs=1e-10)[0]
    time = quad(lambda i: 1 / (GRADIENT * np.sin(i)), low, high, epsabs=1e-12)[0]
    return offset, time


def numerical_ray(offset: float) -> tuple[float, float, bool]:
    """Time, ray parameter and whether the ray dives first, found by shooting."""
    v_source = SPEED + GRADIENT * DEPTH
    grazing = 1 / v_source
    dives = offset > quadrature(grazing, 0.0, DEPTH)[0]

    def shoot(p):
        up = quadrature(p, 0.0, DEPTH)
        turn = quadrature(p, DEPTH, (1 / p - SPEED) / GRADIENT) if dives else (0.0, 0.0)
        return up[0] + 2 * turn[0], up[1] + 2 * turn[1]

    bounds = (grazing * 0.2, grazing * (1 - 1e-13)) if dives else (1e-9, grazing)
    p = float(brentq(lambda p: shoot(p)[0] - offset, *bounds, xtol=1e-18))  # pyright: ignore[reportArgumentType]
    return shoot(p)[1], p, dives


def test_time_and_angles_equal_numerical_rays_turning_ones_too():
    rays = trace_rays(OFFSETS, DEPTH, 0.0, SPEED, GRADIENT)
    for i, offset in enumerate(OFFSETS[1:], start=1):
        time, p, dives = numerical_ray(offset)
        assert rays.time[i] == pytest.approx(time, abs=2e-6)
        assert rays.sin_source[i] == pytest.approx(p * (SPEED + GRADIENT * DEPTH), abs=2e-6)
        assert rays.sin_receiver[i] == pytest.approx(p * SPEED, abs=2e-6)
        assert (rays.cos_source[i] < 0) == dives
    assert rays.time[0] == pytest.approx(np.log1p(GRADIENT * DEPTH / SPEED) / GRADIENT, abs=1e-6)
    for sin, cos in ((rays.sin_source, rays.cos_source), (rays.sin_receiver, rays.cos_receiver)):
        np.testing.assert_allclose(np.hypot(sin, cos), 1.0, atol=2e-6)
    assert (np.asarray(rays.cos_receiver) > 0).all()


def test_spreading_equals_the_width_of_a_ray_tube():
    """L^2 = cos(i_s) cos(i_r) (X / p) |dX/dp| / v_s^2, with dX/dp from neighbouring rays, in float64."""
    with jax.enable_x64(True):
        offset, step = np.array([300.0, 1500.0, 3000.0, 6000.0]), 0.5
        before, here, after = (trace_rays(offset + d, DEPTH, 0.0, SPEED, GRADIENT) for d in (-step, 0.0, step))
        p, width = here.sin_receiver / SPEED, (after.sin_receiver - before.sin_receiver) / SPEED / (2 * step)
        tube = np.abs(here.cos_source * here.cos_receiver / width) * offset / p / (SPEED + GRADIENT * DEPTH) ** 2
        np.testing.assert_allclose(here.spreading, np.sqrt(tube), rtol=1e-5)


@given(st.floats(0.0, 1e4), st.floats(100.0, 4e3), st.floats(200.0, 3e3))
@settings(max_examples=50, deadline=None)
def test_a_vanishing_gradient_gives_straight_rays(offset, depth, speed):
    rays = trace_rays(np.array(offset), depth, 0.0, speed, 1e-6)
    distance = np.hypot(offset, depth)
    assert rays.time == pytest.approx(distance / speed, rel=2e-5)
    assert rays.spreading == pytest.approx(distance, rel=2e-5)
    assert rays.sin_source == pytest.approx(offset / distance, abs=2e-5)


def test_source_and_receiver_may_change_places():
    there = trace_rays(OFFSETS, 1570.0, 40.0, SPEED, GRADIENT)
    back = trace_rays(OFFSETS, 40.0, 1570.0, SPEED, GRADIENT)
    np.testing.assert_allclose(there.time, back.time, rtol=1e-6)
    v_deep, v_shallow = SPEED + GRADIENT * 1570.0, SPEED + GRADIENT * 40.0
    np.testing.assert_allclose(there.spreading * v_deep, back.spreading * v_shallow, rtol=1e-6)
    np.testing.assert_allclose(there.sin_source, back.sin_receiver, atol=1e-6)
