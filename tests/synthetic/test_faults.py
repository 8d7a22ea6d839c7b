"""Faulted volumes: randomness, blocks that fit, signal and noise, and the short cuts that labels must not have."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.synthetic.fault_parameters import FAULTS_64, FAULTS_128, FaultedVolume, Faults, Folds, Layers
from seisjax.synthetic.faults import (
    Block,
    block_generator,
    draw_earth,
    geology,
    see,
    smooth_noise,
    wavelet,
    wavelet_reach,
    white_noise,
)
from seisjax.synthetic.layering import FINE, reach, reflections

pytestmark = pytest.mark.quick_compiler

SHAPE = (21, 26, 48)  # not a cube, no multiple of anything
TINY = FaultedVolume(
    shape=SHAPE,
    faults=Faults(count=(2, 4), slip=(3.0, 9.0)),
    folds=Folds(height=(-4.0, 4.0)),
    layers=Layers(horizons=3),
)
LABELS = ("fault", "facies", "horizon", "fault_id")


def volume(make, index=0, start=(0, 0), seed=0) -> Block:
    return jax.tree.map(np.asarray, make(seed, index, jnp.array(start, jnp.int32)))


@pytest.fixture(scope="module")
def generate():
    return jax.jit(block_generator(TINY, SHAPE[:2]))


@pytest.fixture(scope="module")
def volumes(generate):
    return [volume(generate, index) for index in range(6)]


def test_a_volume_is_a_function_of_seed_and_index(generate, volumes):
    same = jax.tree.map(lambda a, b: np.array_equal(a, b, equal_nan=True), volume(generate, 3), volumes[3])
    assert all(same)
    for other in (volumes[4], volume(generate, 3, seed=1)):
        assert not np.array_equal(volumes[3].amplitude, other.amplitude)
        assert not np.array_equal(volumes[3].facies, other.facies)


def test_every_array_is_of_its_type_and_finite(volumes):
    for block in volumes:
        for name, values in block._asdict().items():
            assert values.dtype == (np.uint8 if name in LABELS else np.float32), name
            assert values.shape == ((*SHAPE[:2], 3) if name == "horizon_depth" else SHAPE)
            assert name == "horizon_depth" or np.isfinite(values).all()
        assert block.amplitude.std() == pytest.approx(1, rel=0.05)
        assert block.amplitude.mean() == pytest.approx(0, abs=0.1)


def test_blocks_fit_together_under_vmap(volumes):
    make = jax.jit(jax.vmap(block_generator(TINY, (12, 16)), in_axes=(None, 0, 0)))
    places = [(2, 0, 0), (2, 9, 10), (2, 4, 3), (5, 1, 2), (2, -3, 20)]  # the last one reaches past the volume
    blocks = jax.tree.map(np.asarray, make(0, np.array(places)[:, 0], np.array(places)[:, 1:]))
    for row, (index, *start) in enumerate(places):
        inner = tuple(slice(max(-a, 0), n - a) for a, n in zip(start, SHAPE, strict=False))
        cut = tuple(slice(max(a, 0), a + n) for a, n in zip(start, (12, 16), strict=True))
        for name, values in blocks._asdict().items():
            part, whole = values[row][inner], getattr(volumes[index], name)[cut]
            if name in LABELS:
                assert (part != whole).mean() < 1e-4, name
            else:
                np.testing.assert_allclose(part, whole, atol=1e-3, err_msg=name)


def test_labels_tell_the_same_story(volumes):
    for block in volumes:
        np.testing.assert_array_equal(block.fault, block.fault_id > 0)
        np.testing.assert_array_equal(block.fault_slip != 0, block.fault_id > 0)
        assert np.abs(block.fault_slip[block.fault == 1]).min() >= 1
        rising = np.diff(block.facies.astype(int), axis=-1) > 0
        np.testing.assert_array_equal(rising <= (np.diff(block.geological_time, axis=-1) > 0), True)
        # A horizon's label lies on a facies' first or last sample, and on no trace more often than it crosses it.
        x, y, z = np.nonzero(block.horizon)
        number = block.horizon[x, y, z]
        here, under, over = (block.facies[x, y, np.clip(z + d, 0, SHAPE[2] - 1)] for d in (0, 1, -1))
        edge = (z == SHAPE[2] - 1) & (here == number - 1)
        assert (((here == number) & (over < number)) | ((here < number) & (under >= number)) | edge).all()


def test_no_horizon_runs_where_time_jumps(volumes):
    jumps = 0
    for block in volumes:
        step = np.diff(block.geological_time, axis=-1)
        facies = block.facies.astype(int)
        crossing = facies[..., 1:] > facies[..., :-1]
        torn = crossing & (np.abs(step) >= 2.5)
        jumps += torn.sum()
        quiet = np.argwhere(torn)
        for x, y, z in quiet:
            number = facies[x, y, z + 1]
            others = crossing[x, y] & (np.abs(step[x, y]) < 2.5) & (facies[x, y, 1:] == number)
            near = np.flatnonzero(others)
            if not len(near) or np.abs(near - z).min() > 1:
                assert block.horizon[x, y, z] != number
                assert block.horizon[x, y, z + 1] != number
        assert (block.horizon > 0).sum() <= (crossing & (np.abs(step) < 2.5)).sum() + SHAPE[0] * SHAPE[1]
    assert jumps > 100


def test_horizons_lie_at_one_time(volumes):
    for block in volumes:
        sample = np.arange(SHAPE[2])
        seen = np.isfinite(block.horizon_depth)
        assert seen.any()
        times = np.full(seen.shape, np.nan)
        for x, y, k in np.argwhere(seen):
            times[x, y, k] = np.interp(block.horizon_depth[x, y, k], sample, block.geological_time[x, y])
            nearest = round(float(block.horizon_depth[x, y, k]))
            assert abs(block.horizon_depth[x, y, k] % 1 - 0.5) < 1e-3 or block.horizon[x, y, nearest] == k + 1
        spread = np.nanmax(times, axis=(0, 1)) - np.nanmin(times, axis=(0, 1))
        assert (spread[np.isfinite(spread)] < 2e-3).all()


def test_the_share_of_faults_is_three_to_nine_percent():
    inline, crossline = jnp.arange(4, 128, 8), jnp.arange(4, 128, 8)

    def share(index):
        faulting, _ = geology(FAULTS_128, draw_earth(FAULTS_128, jax.random.key(index)), inline, crossline)
        reach = wavelet_reach(FAULTS_128)
        return jnp.mean(faulting.number[..., reach:-reach] > 0)

    shares = np.asarray(jax.jit(lambda numbers: jax.lax.map(share, numbers))(np.arange(60)))
    assert 0.03 < shares.mean() < 0.09
    assert ((shares > 0.015) & (shares < 0.12)).mean() > 0.9


def test_what_is_the_same_everywhere_reflects_nothing_not_even_at_faults():
    @jax.jit
    def constant(key):
        earth = draw_earth(TINY, key)
        plain = earth.layers._replace(reflections=jnp.ones_like(earth.layers.reflections))
        faulting, time = geology(TINY, earth, jnp.arange(SHAPE[0]), jnp.arange(SHAPE[1]))
        return faulting.number, see(TINY, earth.frequency, reflections(TINY, plain, time))

    number, seen = constant(jax.random.key(0))
    assert (np.asarray(number) > 0).sum() > 100
    assert np.abs(seen).max() < 1e-5


@pytest.fixture(scope="module")
def quiet():
    """What makes volumes of 64^3 without noise, compiled."""
    make = jax.jit(block_generator(replace(FAULTS_64, snr=(1e5, 1e5)), (64, 64)))
    return make.lower(0, 0, jnp.zeros(2, jnp.int32)).compile()


@pytest.fixture(scope="module")
def clean(quiet):
    return [volume(quiet, index) for index in range(6)]


def test_memory_is_that_of_what_is_made(quiet):
    memory = quiet.memory_analysis()
    assert memory.temp_size_in_bytes < memory.output_size_in_bytes + 2**22


def test_faults_are_no_brighter_than_what_lies_beside_them(clean):
    on, beside = [], []
    for block in clean:
        strong = np.abs(block.fault_slip) > 6
        on.append(np.mean(block.amplitude[strong] ** 2) if strong.any() else 0.0)
        near = strong.copy()
        for axis in (0, 1):
            for shift in range(-4, 5):
                near |= np.roll(strong, shift, axis)
        beside.append(np.mean(block.amplitude[near & (block.fault == 0)] ** 2) if strong.any() else 0.0)
    assert 0 < np.mean(on) < 1.1 * np.mean(beside)


def test_the_ratio_of_signal_to_noise_is_the_one_asked_for(clean):
    make = jax.jit(block_generator(replace(FAULTS_64, snr=(3.0, 3.0)), (64, 64)))
    for index in range(2):
        noise = volume(make, index).amplitude * np.sqrt(1 + 1 / 9) - clean[index].amplitude
        assert clean[index].amplitude.std() / noise.std() == pytest.approx(3.0, rel=0.05)
        assert abs(np.corrcoef(clean[index].amplitude.ravel(), noise.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_noise_is_as_smooth_as_asked_for_and_of_rms_one(width):
    numbers = np.random.default_rng(0).integers(0, 256, (46, 46, 50), np.uint8)
    noise = np.asarray(jax.jit(smooth_noise)(numbers, jnp.array([width, 0.0])))
    assert noise.shape == (40, 40, 50)
    assert noise.std() == pytest.approx(1, rel=0.03)
    wanted = 0.0 if width == 0 else np.exp(-1 / 4)  # of a Gaussian mean of standard deviation 1
    assert np.mean(noise[:-1] * noise[1:]) == pytest.approx(wanted, abs=0.02)
    assert np.mean(noise[:, :-1] * noise[:, 1:]) == pytest.approx(0, abs=0.02)


def test_noise_has_the_spectrum_of_the_wavelet():
    parameters = replace(TINY, shape=(16, 16, 256), frequency=(25.0, 25.0))

    @jax.jit
    def noise(key):
        numbers = white_noise(parameters, jnp.zeros(2, jnp.int32), (16, 16), key)
        return see(parameters, jnp.float32(25.0), smooth_noise(numbers, jnp.zeros(2)))

    values = np.asarray(noise(jax.random.key(0)))
    assert values.std() == pytest.approx(1, rel=0.02)
    frequency = np.fft.rfftfreq(256, 0.004)
    power = np.mean(np.abs(np.fft.rfft(values * np.hanning(256), axis=-1)) ** 2, axis=(0, 1))
    ricker = frequency**4 * np.exp(-2 * (frequency / 25) ** 2)  # Ricker (1953), power
    assert np.corrcoef(power, ricker)[0, 1] > 0.99
    assert frequency[np.argmax(np.convolve(power, np.ones(9), "same"))] == pytest.approx(25, abs=2)
    assert np.mean(values**4) / np.mean(values**2) ** 2 > 2.75  # all but Gaussian, for which it is 3


def test_the_wavelet_is_zero_phase_of_its_frequency():
    values = np.asarray(wavelet(TINY, jnp.float32(30.0)))
    np.testing.assert_allclose(values, values[::-1], atol=1e-7)
    assert len(values) == 2 * wavelet_reach(TINY) + 1
    assert np.sum(values**2) == pytest.approx(1, rel=1e-5)
    assert values.sum() == pytest.approx(0, abs=1e-5)
    spectrum = np.abs(np.fft.rfft(values, 4096))
    assert np.fft.rfftfreq(4096, 0.004)[np.argmax(spectrum)] == pytest.approx(30, abs=0.3)


def test_two_flat_layers_show_the_wavelet_where_they_meet():
    flat = replace(TINY, faults=Faults(count=(0, 0)), folds=Folds(tilt=(0.0, 0.0), count=(0, 0)))

    @jax.jit
    def two_layers(key):
        earth = draw_earth(flat, key)
        table = jnp.zeros_like(earth.layers.reflections).at[(24 + reach(flat)) * FINE].set(1.0)
        faulting, time = geology(flat, earth, jnp.arange(3), jnp.arange(4))
        seen = see(flat, earth.frequency, reflections(flat, earth.layers._replace(reflections=table), time))
        return faulting.number, time, seen, wavelet(flat, earth.frequency)

    number, time, seen, pulse = map(np.asarray, two_layers(jax.random.key(1)))
    middle = wavelet_reach(flat)
    assert (number == 0).all()
    np.testing.assert_allclose(time[0, 0], np.arange(-middle, 48 + middle), atol=1e-5)
    np.testing.assert_allclose(seen[2, 3, 24 - 15 : 24 + 16], pulse[middle - 15 : middle + 16], atol=1e-4)
