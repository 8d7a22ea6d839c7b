"""From raw amplitudes to the network's input: moments of the data alone, no data as 0, nothing gathered unasked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P  # noqa: N817

from seisjax.errors import UserError
from seisjax.normalization import Normalization

RAW = np.array([10.0, 14.0, 2.0, 1e9, -1e9, np.nan], np.float32)


@functools.cache
def jitted(**options):
    return jax.jit(Normalization(**options))


def normalised(images, **options):
    return np.asarray(jitted(**options)(jnp.asarray(images)))


@pytest.fixture
def windows():
    """3 windows of 5 x 6 x 40 samples far from zero, a fifth of them NaN, and what a reference keeps of each."""
    rng = np.random.default_rng(1)
    images = (3000 + 50 * rng.standard_t(3, (3, 5, 6, 40, 1)) * [[[[[1.0]]]], [[[[7.0]]]], [[[[0.1]]]]]).astype("f4")
    images[rng.random(images.shape) < 0.2] = np.nan
    return images


def test_training_scope_scales_clips_and_marks_no_data_with_zero():
    images = RAW.reshape(1, 6, 1)
    result = normalised(images, center=10.0, scale=4.0, clip=5.0).ravel()
    np.testing.assert_allclose(result, [0, 1, -2, 5, -5, 0])
    result = normalised(images, center=10.0, scale=4.0).ravel()
    np.testing.assert_allclose(result, [0, 1, -2, 2.5e8, -2.5e8, 0], rtol=1e-6)
    infinite = np.array([1, np.inf, -np.inf], np.float32).reshape(1, 3, 1)
    np.testing.assert_array_equal(normalised(infinite, clip=5.0).ravel(), [1, 0, 0])


def test_result_is_float32():
    assert normalised(RAW[None, :3, None].astype(np.float16), center=10.0, scale=4.0).dtype == np.float32


@pytest.mark.parametrize("values", [[-3, 1], [2, 2, -5], [-0.5, -7, -7, 8], [0, -0.0, 1e-3, -1e-3], [1e4, -1e4, 1, 2]])
def test_medians_of_few_samples_with_signs_and_ties(values):
    data = np.float32(values)
    image = np.concatenate([data, [np.nan] * 3]).reshape(1, -1, 1).astype(np.float32)
    deviation = np.abs(data - np.median(data))
    scale = 1.4826 * np.median(deviation) or 1.2533 * deviation.mean()
    result = normalised(image, scope="trace", robust=True).ravel()
    np.testing.assert_allclose(result, [*(data - np.median(data)) / scale, 0, 0, 0], rtol=1e-5)


@pytest.mark.parametrize(("scope", "axes"), [("window", (1, 2, 3, 4)), ("trace", (3,))])
@pytest.mark.parametrize("robust", [False, True])
def test_windows_and_traces_are_scaled_by_their_own_valid_samples(windows, scope, axes, robust):
    result = normalised(windows, scope=scope, robust=robust, center=2900.0, scale=60.0, clip=4.0)
    data = windows.astype(np.float64)
    if robust:
        center = np.nanmedian(data, axes, keepdims=True)
        scale = 1.4826 * np.nanmedian(np.abs(data - center), axes, keepdims=True)
    else:
        center, scale = np.nanmean(data, axes, keepdims=True), np.nanstd(data, axes, keepdims=True)
    expected = np.nan_to_num(np.clip((data - center) / scale, -4, 4))
    np.testing.assert_allclose(result, expected, atol=2e-4)  # float32 holds 3000 to 1e-4


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("agc", [0, 7])
@pytest.mark.parametrize("scope", ["window", "trace"])
def test_constant_and_empty_become_zero(scope, robust, agc):
    images = np.full((3, 4, 30, 1), 0.3, np.float32)
    images[1] = np.nan
    images[2, :, ::3] = np.nan
    result = normalised(images, scope=scope, robust=robust, agc=agc, center=0.1, scale=0.0 if robust else 3.0)
    np.testing.assert_array_equal(result, 0)


def test_a_mute_of_more_than_half_does_not_silence_the_rest():
    image = np.zeros((1, 40, 1), np.float32)
    image[0, 28:, 0] = [3, -3] * 6
    result = normalised(image, scope="window", robust=True).ravel()
    np.testing.assert_allclose(np.abs(result[28:]), 3 / (1.2533 * 3 * 12 / 40), rtol=1e-5)
    assert (result[:28] == 0).all()


@pytest.mark.parametrize("samples", [1, 2, 5, 12, 64, 1000])
def test_gain_control_divides_by_the_deviation_around(windows, samples):
    result = normalised(windows, agc=samples, center=3000.0, scale=2.0)
    data = np.ma.masked_invalid(windows[..., 0].astype(np.float64) - 3000)
    expected = np.ma.zeros(data.shape)
    for i in range(data.shape[-1]):
        around = data[..., max(i - samples // 2, 0) : i + samples - samples // 2]
        expected[..., i] = data[..., i] / np.ma.sqrt((around**2).mean(-1))
    np.testing.assert_allclose(result[..., 0], expected.filled(0), rtol=2e-5, atol=1e-5)


def test_gain_control_comes_before_the_scope_and_clipping_last(windows):
    rows = normalised(windows, agc=9, center=3000.0, scale=50.0)
    rows = np.where(np.isnan(windows), np.nan, rows)
    expected = normalised(rows, scope="trace", clip=1.5)
    result = normalised(windows, scope="trace", agc=9, center=3000.0, scale=50.0, clip=1.5)
    np.testing.assert_allclose(result, expected, atol=2e-5)
    assert np.abs(result).max() == 1.5


def test_silence_stays_silent_under_gain_control():
    image = np.zeros((1, 64, 1), np.float32)
    image[0, 60:] = 1e-30
    result = normalised(image, agc=5).ravel()
    assert (result[:58] == 0).all()
    assert np.isfinite(result).all()


def collectives(options, spec, shape=(2, 32, 32, 1)):
    mesh = jax.make_mesh((2, 4), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, spec)
    lowered = jax.jit(Normalization(**options), in_shardings=sharding, out_shardings=sharding).lower(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    text = lowered.compile().as_text()
    return [name for name in ("all-gather", "all-to-all", "collective-permute") if f"{name}(" in text]


@pytest.mark.parametrize(
    ("options", "space_axis", "refused"),
    [
        ({"scope": "window"}, 1, False),
        ({"scope": "trace"}, 0, False),
        ({"scope": "trace"}, 1, False),
        ({"scope": "window", "robust": True}, 0, True),
        ({"scope": "trace", "robust": True}, 0, False),
        ({"scope": "trace", "robust": True}, 1, True),
        ({"agc": 9}, 0, False),
        ({"agc": 9}, 1, True),
    ],
    ids=str,
)
def test_what_a_split_axis_allows_moves_no_samples(options, space_axis, refused):
    normalization = Normalization(**options)
    if refused:
        with pytest.raises(UserError, match=r"^data\.(robust|agc)=.*mesh\.space"):
            normalization.check(space_axis, (32, 32))
    else:
        normalization.check(space_axis, (32, 32))
        assert collectives(options, P("data", *[None] * space_axis, "space")) == []
