"""Augmentation: a pure function of seed and place, image and labels together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P  # noqa: N817

from seisjax.augment import Augmentation
from seisjax.conventions import IGNORE
from seisjax.errors import UserError

pytestmark = pytest.mark.quick_compiler

SCALES = {"polarity": 0.5, "gain": 0.3, "noise": 0.4, "frequency": 0.5, "depth_gain": 0.5, "trace_dropout": 0.5}
MOVES = {"time_shift": 3.0, "time_stretch": 0.1, "warp": 1.0, "warp_spacing": 4}
EVERYTHING = {"flip_axes": (0, 1)} | SCALES | MOVES


@functools.cache
def jitted(**options):
    return jax.jit(functools.partial(Augmentation(**options), seed=5))


def changed(batch, **options):
    images, labels, valid, indices = batch
    return jitted(**options)(images, labels, valid, indices=indices)


@pytest.fixture
def batch():
    """32 samples whose labels count the samples along the window, with a corner that holds no data."""
    shape = (32, 6, 8)
    labels = np.broadcast_to(np.arange(48, dtype=np.uint8).reshape(6, 8), shape).copy()
    images = labels[..., None].astype(np.float32) + 1
    valid = np.ones_like(images, bool)
    images[:, :2, 6:], labels[:, :2, 6:], valid[:, :2, 6:] = 0, IGNORE, False
    return jnp.asarray(images), jnp.asarray(labels), jnp.asarray(valid), jnp.arange(100, 132, dtype=jnp.uint32)


def test_without_options_nothing_changes(batch):
    images, labels = changed(batch)
    np.testing.assert_array_equal(images, batch[0])
    np.testing.assert_array_equal(labels, batch[1])


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_flips_move_image_and_labels_together_along_allowed_axes(batch, axes):
    images, labels = (np.asarray(x) for x in changed(batch, flip_axes=axes))
    np.testing.assert_array_equal(images[..., 0], np.where(labels == IGNORE, 0, labels + 1.0))
    seen = {label.tobytes() for label in labels}
    allowed = {np.flip(batch[1][0], axis).tobytes() for axis in [(), *((a,) for a in axes), tuple(axes)]}
    assert seen == allowed


def test_polarity_and_gain_act_on_whole_windows(batch):
    images, labels = changed(batch, polarity=0.5)
    ratio = np.asarray(images / jnp.where(batch[2], batch[0], 1))[:, -1]
    assert set(np.unique(ratio)) == {-1, 1}
    assert (ratio == ratio[:, :1]).all()
    np.testing.assert_array_equal(labels, batch[1])
    scaled, _ = changed(batch, gain=0.5)
    ratio = np.asarray(scaled / jnp.where(batch[2], batch[0], 1))[:, -1, :, 0]
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones(8), rtol=1e-5)
    assert 0.3 < np.log(ratio[:, 0]).std() < 0.7


def test_no_data_stays_zero(batch):
    images, labels = changed(batch, **EVERYTHING)
    assert (np.asarray(images)[np.asarray(labels) == IGNORE] == 0).all()


def test_noise_is_white_and_of_random_level():
    images = jnp.zeros((16, 64, 64, 1))
    labels = jnp.zeros((16, 64, 64), jnp.uint8)
    noisy, _ = changed((images, labels, jnp.ones_like(images, bool), jnp.arange(16)), noise=0.5)
    deviation = np.asarray(noisy).std((1, 2, 3))
    assert 0.2 < np.sqrt((deviation**2).mean()) < 0.9
    assert len(np.unique(deviation)) == 16


def test_a_sample_does_not_depend_on_its_batch(batch):
    whole = changed(batch, **EVERYTHING)
    order = np.random.default_rng(0).permutation(32)[:8]
    some = changed(tuple(x[order] for x in batch), **EVERYTHING)
    for a, b in zip(whole, some, strict=True):
        np.testing.assert_array_equal(a[order], b)


def test_switching_one_change_on_leaves_the_others(batch):
    moves = {"flip_axes": (0, 1)} | MOVES
    _, moved_alone = changed(batch, **moves)
    _, with_all = changed(batch, **EVERYTHING)
    np.testing.assert_array_equal(moved_alone, with_all)
    ones = (jnp.ones_like(batch[0]), *batch[1:])
    scales = {name: SCALES[name] for name in ("polarity", "gain", "depth_gain", "trace_dropout")}
    product = np.prod([changed(ones, **{name: strength})[0] for name, strength in scales.items()], axis=0)
    np.testing.assert_allclose(changed(ones, **scales)[0], product, rtol=1e-5)


def ramps(*window, batch=64):
    """Windows whose image at a sample is its number along the last axis, and so are its labels; all is data."""
    labels = np.broadcast_to(np.arange(window[-1], dtype=np.uint8), (batch, *window))
    images = labels[..., None].astype(np.float32)
    return jnp.asarray(images), jnp.asarray(labels), jnp.ones(images.shape, bool), jnp.arange(batch)


def linear(images, labels, middle):
    """What a + b (t - middle) fits best to each window's samples with data, and the largest misfit."""
    fits = []
    for image, label in zip(np.asarray(images), np.asarray(labels), strict=True):
        t = np.broadcast_to(np.arange(label.shape[-1]), label.shape)[label != IGNORE] - middle
        values = image[label != IGNORE, 0]
        slope, start = np.polyfit(t, values, 1)
        fits.append((start, slope, np.abs(start + slope * t - values).max()))
    return np.array(fits).T


@pytest.mark.parametrize("window", [(1, 4, 33), (3, 33)])
def test_shifts_are_uniform_and_move_image_and_labels_alike(window):
    images, labels = changed(ramps(*window), time_shift=6.0)
    start, slope, misfit = linear(images, labels, 0.0)
    np.testing.assert_allclose(slope, 1, atol=1e-5)
    assert misfit.max() < 1e-4
    assert start.min() < -4
    assert start.max() > 4
    assert np.abs(start).max() <= 6
    assert abs(np.std(start) - 6 / 3**0.5) < 0.6
    known = np.asarray(labels) != IGNORE
    assert (np.abs(np.asarray(images)[..., 0] - labels)[known] <= 0.5).all()
    inside = (np.arange(33) + start[:, None] >= 1e-4) & (np.arange(33) + start[:, None] <= 32 - 1e-4)
    np.testing.assert_array_equal(known.reshape(64, -1, 33)[:, 0], inside)
    assert (np.asarray(images)[~known] == 0).all()


def test_stretches_are_lognormal_about_the_middle():
    images, labels = changed(ramps(2, 65), time_stretch=0.2)
    start, slope, misfit = linear(images, labels, 32.0)
    np.testing.assert_allclose(start, 32, atol=1e-4)
    assert misfit.max() < 1e-4
    assert 0.15 < np.log(slope).std() < 0.25
    known = np.asarray(labels) != IGNORE
    assert (np.abs(np.asarray(images)[..., 0] - labels)[known] <= 0.5).all()


@pytest.mark.parametrize("window", [(1, 40, 48), (20, 24, 28), (48, 40, 1)])
def test_warps_are_smooth_of_the_given_deviation_and_leave_short_sides(window):
    """Images and labels that are the sample's number along an axis show how far it was displaced along that axis."""
    sides = [axis for axis, side in enumerate(window) if side > 1]
    for axis in sides:
        where = np.broadcast_to(
            np.arange(window[axis]).reshape([-1 if i == axis else 1 for i in range(len(window))]), window
        )
        labels = jnp.asarray(np.broadcast_to(where, (12, *window)), jnp.uint8)
        images = labels[..., None].astype(jnp.float32)
        moved, moved_labels = changed(
            (images, labels, jnp.ones_like(images, bool), jnp.arange(12)), warp=2.0, warp_spacing=8
        )
        known = np.asarray(moved_labels) != IGNORE
        displacement = np.where(known, np.asarray(moved)[..., 0] - where, np.nan)
        assert 1.4 < np.nanstd(displacement) < 2.4
        assert np.nanmax(np.abs(np.diff(displacement, axis=sides[0] + 1))) < 2.5
        assert (np.abs(np.asarray(moved)[..., 0] - moved_labels)[known] <= 0.5 + 1e-4).all()


def test_warps_take_samples_bilinearly():
    """Of an image x y the warped sample is the product of the places of the warped x and of the warped y."""
    x, y = np.indices((24, 32)).astype(np.float32)
    warped = []
    for image in (x, y, x * y):
        images = jnp.asarray(np.broadcast_to(image[None, :, :, None], (4, 24, 32, 1)))
        labels = jnp.zeros((4, 24, 32), jnp.uint8)
        images, labels = changed((images, labels, jnp.ones_like(images, bool), jnp.arange(4)), warp=3.0)
        warped.append(np.asarray(images)[np.asarray(labels) != IGNORE])
    np.testing.assert_allclose(warped[0] * warped[1], warped[2], rtol=1e-4, atol=1e-3)


def test_what_touches_no_data_is_no_data(batch):
    """No value that stands where there is no data reaches a sample, and labels end where data end."""
    images, labels, valid, indices = batch
    poisoned = jnp.where(valid, images, 1e6)
    moves = {"flip_axes": (1,)} | MOVES
    clean, dirty = (changed((x, labels, valid, indices), **moves) for x in (images, poisoned))
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (np.asarray(clean[0])[np.asarray(clean[1]) == IGNORE] == 0).all()
    assert (np.asarray(clean[1]) != IGNORE).any()


def test_still_moves_change_nothing(batch):
    images, labels = changed(batch, time_shift=1e-30, warp=1e-30)
    np.testing.assert_array_equal(images, batch[0])
    np.testing.assert_array_equal(labels, batch[1])


def test_dropped_traces_are_silent_and_at_most_the_given_share():
    images, labels = jnp.ones((200, 5, 8, 16, 1)), jnp.zeros((200, 5, 8, 16), jnp.uint8)
    result, kept = changed((images, labels, jnp.ones_like(images, bool), jnp.arange(200)), trace_dropout=0.3, noise=0.1)
    silent = (np.asarray(result)[..., 0] == 0).reshape(200, 40, 16)
    assert (silent.all(-1) == silent.any(-1)).all()
    counts = silent.all(-1).sum(-1)
    assert set(counts) == set(range(12))
    assert silent.all(-1).any(0).all()
    np.testing.assert_array_equal(kept, labels)


def test_frequency_filters_scale_smoothly_without_a_change_of_phase():
    """Of a single spike in the middle a zero-phase filter makes something symmetric; in all traces the same."""
    images = jnp.zeros((256, 3, 129, 1)).at[:, :, 64].set(1.0)
    labels = jnp.zeros((256, 3, 129), jnp.uint8)
    images, _ = changed((images, labels, jnp.ones_like(images, bool), jnp.arange(256)), frequency=0.4)
    images = np.asarray(images)[..., 0]
    np.testing.assert_allclose(images, images[:, :1] * np.ones((3, 1)), atol=1e-6)
    np.testing.assert_allclose(images, images[..., ::-1], atol=1e-5)
    spectra = np.log(np.abs(np.fft.rfft(images[:, 0])))
    assert abs(spectra.std(axis=0).mean() - 0.4) < 0.05
    assert np.abs(np.diff(spectra, axis=1)).max() < 0.3
    assert np.abs(images[:, 0, :32]).max() < 0.05  # short enough for the mirrored ends


def test_filters_keep_a_constant_spectrum_scaled_at_the_ends_of_traces():
    images, labels = jnp.ones((16, 2, 40, 1)), jnp.zeros((16, 2, 40), jnp.uint8)
    images, _ = changed((images, labels, jnp.ones_like(images, bool), jnp.arange(16)), frequency=0.5)
    images = np.asarray(images)
    np.testing.assert_allclose(images, images[:, :1, :1] * np.ones((2, 40, 1)), rtol=1e-4)
    assert np.log(images[:, 0, 0, 0]).std() > 0.2


def test_depth_gain_is_exponential_along_the_last_axis():
    images, labels = jnp.ones((64, 2, 21, 1)), jnp.zeros((64, 2, 21), jnp.uint8)
    images, _ = changed((images, labels, jnp.ones_like(images, bool), jnp.arange(64)), depth_gain=0.5)
    logarithm = np.log(np.asarray(images))[:, 0, :, 0]
    np.testing.assert_allclose(logarithm, logarithm[:, -1:] * np.linspace(-1, 1, 21), atol=1e-5)
    assert 0.35 < logarithm[:, -1].std() < 0.65


def test_each_kind_alone():
    everything = Augmentation(**EVERYTHING)
    alone = everything.alone()
    assert set(alone) == set(EVERYTHING) - {"warp_spacing"}
    assert alone["warp"] == Augmentation(warp=1.0, warp_spacing=4)
    assert alone["gain"] == Augmentation(gain=0.3, warp_spacing=4)
    assert Augmentation().alone() == {}


def test_what_would_move_samples_between_devices_is_refused():
    for name in ("time_shift", "time_stretch", "frequency", "warp"):
        with pytest.raises(UserError, match=rf"^augment\.{name}=0.5 .* mesh\.space"):
            Augmentation(**{name: 0.5}).check(1, (64, 64))
    with pytest.raises(UserError, match=r"^augment\.warp"):
        Augmentation(warp=1.0).check(1, (1, 64, 64))
    Augmentation(time_shift=1.0, time_stretch=0.1, frequency=0.1, trace_dropout=0.1, flip_axes=(0,)).check(0, (64, 64))
    Augmentation(trace_dropout=0.1, depth_gain=0.1, noise=0.1, flip_axes=(1,)).check(1, (64, 64))


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (P("data", "space"), {"time_shift": 3.0, "time_stretch": 0.1, "frequency": 0.5} | SCALES),
        (P("data", None, "space"), {"depth_gain": 0.5, "polarity": 0.5, "gain": 0.3, "trace_dropout": 0.5}),
    ],
)
def test_what_is_not_refused_gathers_no_window(spec, options):
    mesh = jax.make_mesh((2, 4), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    batch = [
        jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))
        for shape, dtype in (((4, 32, 32, 1), "f4"), ((4, 32, 32), "u1"), ((4, 32, 32, 1), "?"))
    ]
    index = jax.ShapeDtypeStruct((4,), "u4", sharding=NamedSharding(mesh, P("data")))
    text = jitted(**options).lower(*batch, indices=index).compile().as_text()
    for line in text.splitlines():
        if any(f" {name}(" in line for name in ("all-gather", "all-to-all")):
            assert "32,32" not in line, line


@pytest.mark.parametrize(("mesh_shape", "spec"), [((8, 1), P("data")), ((2, 4), P("data", None, "space"))])
def test_devices_do_not_matter(batch, mesh_shape, spec):
    mesh = jax.make_mesh(mesh_shape, ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    *arrays, indices = batch
    put = jax.device_put(tuple(arrays), NamedSharding(mesh, spec))
    one = changed(batch, **EVERYTHING)
    many = changed((*put, jax.device_put(indices, NamedSharding(mesh, P("data")))), **EVERYTHING)
    np.testing.assert_array_equal(one[1], many[1])
    np.testing.assert_allclose(one[0], many[0], rtol=1e-6, atol=1e-6)


def sections(batch=16):
    """Windows of one section with two neighbours on either side, which are the numbers 0 to 4."""
    images = jnp.broadcast_to(jnp.arange(5.0), (batch, 1, 6, 8, 5))
    return images, jnp.zeros((batch, 1, 6, 8), jnp.uint8), jnp.ones(images.shape, bool)


def test_a_flip_across_sections_turns_their_order_round():
    images, labels, valid = sections()
    found, _ = jitted(flip_axes=(0,))(images, labels, valid, indices=jnp.arange(16))
    first = np.asarray(found)[:, 0, 0, 0, 0]
    assert set(first) == {0.0, 4.0}
    np.testing.assert_array_equal(found, np.where((first == 0)[:, None, None, None, None], images, 4 - images))


def test_labels_move_with_their_own_section_whatever_is_known_of_the_others():
    images, labels, valid = sections()
    labels, valid = labels.at[:].set(3), valid.at[..., :2].set(False)
    for options in ({"time_shift": 2.0}, {"warp": 0.5, "warp_spacing": 4}):
        _, moved = jitted(**options)(images, labels, valid, indices=jnp.arange(16))
        assert (np.asarray(moved) == 3).any()
        _, nothing = jitted(**options)(images, labels, valid.at[..., 2].set(False), indices=jnp.arange(16))
        assert (np.asarray(nothing) == IGNORE).all()


def test_traces_of_neighbours_are_dropped_for_themselves():
    images, labels, valid = sections()
    found, _ = jitted(trace_dropout=0.9)(images + 1, labels, valid, indices=jnp.arange(16))
    silent = (np.asarray(found) == 0).all(axis=3)[:, 0]  # (batch, traces, sections)
    assert (silent.any(axis=(1, 2)) & ~silent.all(axis=(1, 2))).any()
    assert (silent.any(-1) & ~silent.all(-1)).any()
