"""Faults: what they do to layers, and that they are drawn as asked."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.synthetic import fault_parameters
from seisjax.synthetic.fault_parameters import FaultedVolume
from seisjax.synthetic.faulting import Faults, Places, axes, draw_faults, undo

pytestmark = pytest.mark.quick_compiler

SHAPE = (44, 46, 48)
CENTRE = (22.0, 23.0, 24.0)


def faults(*which, **common):
    """Faults through the middle of a volume, oldest first, each given by the fields that differ from a plain one."""
    plain = {"centre": CENTRE, "strike": 0.0, "dip": 60.0, "rake": 90.0, "slip": 6.0, "curvature": 0.0}
    plain |= dict.fromkeys(("half_length", "half_height", "falloff"), np.inf) | common
    rows = [plain | one for one in which]
    arrays = {name: jnp.array([row[name] for row in rows], jnp.float32) for name in plain}
    return Faults(count=jnp.int32(len(rows)), **arrays)


def faulted(which, least_slip=1.0):
    x, y, z = (jnp.arange(n, dtype=jnp.float32) for n in SHAPE)
    places = Places(x[:, None, None], y[None, :, None], z[None, None, :])
    return jax.tree.map(np.asarray, jax.jit(undo)(which, places, least_slip))


def on_hanging_wall(strike, dip):
    """Whether each sample lies above a plane through the middle that dips to the right of its strike."""
    x, y, z = np.indices(SHAPE) - np.array(CENTRE)[:, None, None, None]
    s, d = np.deg2rad([strike, dip])
    depth = np.tan(d) * (-np.sin(s) * x + np.cos(s) * y)  # of the plane
    return z < depth, np.abs(z - depth) * np.cos(d)  # and the distance from it


@pytest.mark.parametrize(("strike", "dip", "rake"), [(0, 60, 90), (130, 75, 90), (250, 55, 70), (40, 88, 110)])
def test_time_jumps_across_a_fault_by_its_slip(strike, dip, rake):
    found = faulted(faults({"strike": strike, "dip": dip, "rake": rake}))
    above, distance = on_hanging_wall(strike, dip)
    x, y, z = np.indices(SHAPE)
    throw = z - found.places.z
    np.testing.assert_allclose(
        throw[above & (distance > 0.1)], 6 * np.sin(np.deg2rad(dip)) * np.sin(np.deg2rad(rake)), rtol=1e-4
    )
    assert not throw[~above & (distance > 0.1)].any()  # the foot wall stays, and the hanging wall came down
    moved = above & (distance > 0.1)
    heave = np.hypot(x - found.places.x, y - found.places.y)[moved]
    np.testing.assert_allclose(np.hypot(heave, throw[moved]), 6, rtol=1e-4)
    np.testing.assert_array_equal(np.abs(found.slip[found.number > 0]), 6)


@pytest.mark.parametrize(("strike", "dip"), [(0, 60), (33, 80), (210, 57), (300, 70)])
def test_dip_and_strike_are_those_asked_for(strike, dip):
    found = faulted(faults({"strike": strike, "dip": dip}))
    points = np.argwhere(found.number == 1)
    normal = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][-1]
    assert np.rad2deg(np.arccos(abs(normal[2]))) == pytest.approx(dip, abs=1.0)
    along = np.rad2deg(np.arctan2(normal[0], -normal[1])) % 180  # the level direction in the plane
    assert min(abs(along - strike % 180), 180 - abs(along - strike % 180)) < 1.0
    normal = np.abs(axes(np.float32(strike), np.float32(dip))[2])
    across = (found.number > 0).sum(axis=int(np.argmax(normal)))
    across = across[across > 0]  # no holes: at least one sample
    inner = across[len(across) // 4 : -len(across) // 4]
    assert inner.mean() == pytest.approx(1 / normal.max() ** 2, rel=0.1)


def test_a_younger_fault_offsets_an_older_one():
    steep = {"strike": 90.0, "dip": 90.0, "slip": 3.0}
    found = faulted(faults(steep, {"strike": 0.0, "dip": 60.0, "rake": 0.0, "slip": 8.0}))
    above, distance = on_hanging_wall(0, 60)
    x = np.indices(SHAPE)[0]
    places = [x[(found.number == 1) & side & (distance > 1)].mean() for side in (above, ~above)]
    assert places[0] - places[1] == pytest.approx(8.0, abs=0.05)  # a slip along strike: along x
    lone = faulted(faults({"strike": 0.0, "dip": 60.0, "rake": 0.0, "slip": 8.0}))
    np.testing.assert_array_equal(found.number == 2, lone.number == 1)  # and is not offset itself


def test_the_slip_of_an_ellipse_falls_to_nothing():
    # No exponential decay: what is seen is the profile alone.
    found = faulted(faults({"half_length": 12.0, "half_height": 16.0, "dip": 70.0}), least_slip=0.5)
    x, y, z = (np.indices(SHAPE) - np.array(CENTRE)[:, None, None, None])[:, found.number == 1]
    v = y * np.cos(np.deg2rad(70)) + z * np.sin(np.deg2rad(70))
    r2 = (x / 12) ** 2 + (v / 16) ** 2
    slip = found.slip[found.number == 1]
    np.testing.assert_allclose(slip, 6 * (1 - r2) * np.sqrt(1 + r2), rtol=1e-3, atol=1e-3)
    assert slip.min() >= 0.5
    assert slip.max() == pytest.approx(6, rel=0.01)
    near, far = (faulted(faults({"half_length": 12.0, "half_height": 16.0, "falloff": d})).places for d in (5.0, 50.0))
    moved = [np.abs(np.arange(SHAPE[2]) - places.z).mean() for places in (near, far)]
    assert 0 < moved[0] < moved[1]


def test_a_reverse_fault_repeats_layers_and_a_normal_one_leaves_some_out():
    for slip in (6.0, -6.0):
        depth = faulted(faults({"slip": slip})).places.z
        jumps = np.diff(depth, axis=-1)
        assert jumps.flat[np.argmax(np.abs(jumps - 1))] == pytest.approx(1 + slip * np.sin(np.deg2rad(60)), rel=1e-3)


def test_what_slipped_too_little_has_no_label():
    assert faulted(faults({"slip": 0.9})).number.sum() == 0
    assert faulted(faults({"slip": 0.9}), least_slip=0.5).number.sum() > 0


def drawn(parameters, count):
    draw = jax.jit(jax.vmap(lambda number: draw_faults(parameters, jax.random.key(number))))
    return jax.tree.map(np.asarray, draw(np.arange(count)))


def test_faults_are_drawn_from_their_ranges():
    parameters = FaultedVolume()
    many = drawn(parameters, 400)
    assert set(np.unique(many.count)) == set(range(3, 9))
    ranges = parameters.faults
    for values, (low, high) in ((many.dip, ranges.dip), (np.abs(many.slip), ranges.slip)):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high
    assert (many.slip < 0).mean() == pytest.approx(0.25, abs=0.03)
    assert many.rake.mean() == pytest.approx(90, abs=1)
    assert many.rake.std() == pytest.approx(12, abs=1)
    through = np.isinf(many.half_length)
    assert through.mean() == pytest.approx(0.4, abs=0.03)
    np.testing.assert_array_equal(through, np.isinf(many.falloff))
    assert ((many.centre >= 0.1 * 128) & (many.centre <= 0.9 * 128)).all()


def test_strikes_gather_about_two_directions():
    parameters = replace(FaultedVolume(), faults=replace(FaultedVolume().faults, strike_spread=0.0, count=(8, 8)))
    for strikes in drawn(parameters, 20).strike:
        assert len(np.unique((strikes % 180).round(2))) <= 2
    spread = replace(parameters, faults=replace(parameters.faults, strike_spread=15.0, families=1, strike=(90.0, 90.0)))
    many = drawn(spread, 200).strike
    assert (many % 180 - 90).std() == pytest.approx(15, abs=1)
    assert (many > 180).mean() == pytest.approx(0.5, abs=0.05)  # they dip to either side


def test_faults_keep_apart():
    many = drawn(FaultedVolume(), 100).centre
    gaps = np.linalg.norm(many[:, :, None] - many[:, None], axis=-1)
    gaps = gaps[:, *np.triu_indices(8, 1)].min(axis=1)
    random = np.random.default_rng(0).uniform(12.8, 115.2, (100, 8, 3))
    loose = np.linalg.norm(random[:, :, None] - random[:, None], axis=-1)[:, *np.triu_indices(8, 1)].min(axis=1)
    assert np.median(gaps) > 1.5 * np.median(loose)


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("faults", {"count": (3, 300)}, r"faults\.count=\(3, 300\): must be at most 254"),
        ("faults", {"count": (3.0, 4.0)}, r"faults\.count=.*whole numbers"),
        ("faults", {"count": (5, 3)}, r"faults\.count=.*\(low, high\)"),
        ("faults", {"dip": (0.0, 80.0)}, r"faults\.dip=.*above 0"),
        ("faults", {"slip": (-4.0, 30.0)}, r"faults\.slip=.*faults\.reverse"),
        ("faults", {"through": 1.5}, r"faults\.through=1\.5: must lie between 0 and 1"),
        ("folds", {"width": (0.0, 0.3)}, r"folds\.width=.*positive"),
        (
            "layers",
            {"horizons": 30},
            r"layers\.horizons=30: lie 4\.\d+ samples apart of 128; each needs 8",
        ),
        ("layers", {"least_thickness": 0.0}, r"layers\.least_thickness=0\.0: must be positive"),
    ],
)
def test_bad_parameters_are_one_line(field, change, message):
    with pytest.raises(UserError, match=message) as error:
        replace(FaultedVolume(), **{field: replace(getattr(FaultedVolume(), field), **change)})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (128, 128)}, r"shape=\(128, 128\): write \(inlines, crosslines, samples\)"),
        ({"shape": (128, 128, 1)}, "whole number above 1"),
        ({"frequency": (18.0, 60.0)}, r"frequency=.*2\.5 times it must lie below Nyquist \(125 Hz\)"),
        ({"snr": (0.0, 6.0)}, "snr=.*must be positive"),
        ({"noise_width": (0.0, 9.0)}, "noise_width=.*between 0 and 2"),
    ],
)
def test_bad_volumes_are_one_line(change, message):
    with pytest.raises(UserError, match=message):
        replace(FaultedVolume(), **change)


def test_parameters_for_any_size_keep_the_share_of_faults():
    assert fault_parameters.sized((128, 128, 128)) == replace(
        FaultedVolume(), layers=replace(FaultedVolume().layers, horizons=4)
    )
    assert fault_parameters.sized((64, 64, 64)).faults.count == (2, 4)
    assert fault_parameters.sized((512, 512, 16)).faults.count == (12, 32)
    assert fault_parameters.sized((512, 512, 16)).layers.horizons == 1
