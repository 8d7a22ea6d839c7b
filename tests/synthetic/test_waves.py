"""What receivers of each component make of an event: polarity, strain, layers, the first arrival."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seisjax.synthetic import microseismic
from seisjax.synthetic.arrays import Receivers, receivers
from seisjax.synthetic.parameters import PRESETS, QUICKSTART, WHITE_NOISE, ReceiverArray, Source, Traces
from seisjax.synthetic.waves import draw_layers, event_waves

pytestmark = pytest.mark.quick_compiler

RING = 2 * np.pi * np.arange(16) / 16
GAUGE = 10.0  # m
FIBRE = np.deg2rad(25.0)


def mixed() -> Receivers:
    """A ring of z receivers; at one place all components and both ends of a gauge, along the fibre."""
    ring = np.stack([1500 * np.cos(RING), 1500 * np.sin(RING), np.full(16, 130.0)], axis=-1)
    here = np.array([700.0, 300.0, 130.0])
    half = GAUGE / 2 * np.array([np.cos(FIBRE), np.sin(FIBRE), 0.0])
    places = np.concatenate([ring, [here] * 5, [here - half] * 2, [here + half] * 2])
    component = np.array(["z"] * 16 + ["z", "n", "e", "hydrophone", "strain", "n", "e", "n", "e"])
    azimuth = np.where(component == "strain", np.rad2deg(FIBRE), 0.0)
    return Receivers(places, component, azimuth, np.full(len(places), ""))


ARRAY = mixed()
# Events right below the middle, P and S apart from one another, no noise of any importance.
CENTRAL = replace(
    QUICKSTART,
    num_samples=1500,
    sampling_interval=0.001,
    phases=("P", "S"),
    s=replace(QUICKSTART.s, speed=(700.0, 700.0)),
    source=Source(depth=(1000.0, 1001.0), wavelets=("ricker",), frequency=(15.0, 15.0), margin=-1499.0),
    first_arrival=(0.1, 0.1),
)


@functools.cache
def waves(parameters):
    draw = jax.jit(lambda i: event_waves(parameters, ARRAY, jnp.zeros(len(ARRAY.places)), jax.random.key(i)))
    return jax.tree.map(np.asarray, draw(0))


def first_motion(traces):
    """Signed largest excursion of each trace."""
    return np.take_along_axis(traces, np.abs(traces).argmax(-1)[:, None], axis=-1)[:, 0]


def central(**source):
    return replace(CENTRAL, source=replace(CENTRAL.source, **source))


def test_polarity_flips_from_quadrant_to_quadrant():
    event = waves(central(strike=(0.0, 0.0), dip=(90.0, 90.0), rake=(0.0, 0.0)))
    p = first_motion(event.signal[0, :16])
    azimuth = np.arctan2(ARRAY.places[:16, 1] - event.place[1], ARRAY.places[:16, 0] - event.place[0])
    pattern = np.sin(2 * azimuth)
    clear = np.abs(pattern) > 0.1
    np.testing.assert_array_equal(np.sign(p[clear]), np.sign(pattern[clear]))
    assert np.abs(p[~clear]).max() < 0.1 * np.abs(p).max()


def test_an_explosion_moves_all_receivers_up_and_outwards_and_has_no_s():
    event = waves(central(isotropic=(1.0, 1.0)))
    assert (first_motion(event.signal[0, :16]) > 0).all()
    z, n, e, hydrophone = first_motion(event.signal[0, 16:20])
    outward = ARRAY.places[16, :2] - event.place[:2]
    assert n / e == pytest.approx(outward[0] / outward[1], rel=1e-3)
    assert n > 0 < e
    assert np.linalg.norm([z, n, e]) == pytest.approx(hydrophone, rel=1e-3)  # a particle velocity's worth of pressure
    assert np.abs(event.signal[1]).max() < 1e-5 * hydrophone


def test_s_is_delayed_twice_as_much_as_p_at_a_receiver():
    onset = jax.jit(lambda statics: event_waves(CENTRAL, ARRAY, statics, jax.random.key(0)).onset)
    statics = np.linspace(-0.01, 0.02, len(ARRAY.places)).astype(np.float32)
    late = np.asarray(onset(statics)) - np.asarray(onset(np.zeros_like(statics)))
    np.testing.assert_allclose(late, [statics, 2 * statics], atol=1e-6)


def test_s_moves_across_the_ray():
    event = waves(central())
    z, n, e = (first_motion(event.signal[:, 16 + i]) for i in range(3))
    p, s = (np.array([n[i], e[i], -z[i]]) for i in range(2))
    p_direction = p / np.linalg.norm(p)
    # P and S do not run along quite the same ray, for their gradients differ: allow 15 degrees.
    assert abs(s @ p_direction) < np.sin(np.deg2rad(15.0)) * np.linalg.norm(s)


@pytest.mark.parametrize("phase", [0, 1])
def test_strain_is_the_difference_of_displacement_over_the_gauge(phase):
    signal = waves(replace(central(), array=ReceiverArray(gauge_length=GAUGE))).signal[phase]
    direction = np.array([np.cos(FIBRE), np.sin(FIBRE)])
    begin, end = direction @ signal[21:23], direction @ signal[23:25]
    rate = (end - begin) / GAUGE * 1e3  # per km, as slowness is in s/km
    found = np.gradient(signal[20], CENTRAL.sampling_interval)
    assert np.abs(found).max() > 0
    # Besides the times the amplitudes differ from end to end, a quarter of a period out of phase with the strain.
    assert (found @ rate) / (rate @ rate) == pytest.approx(1.0, abs=0.02)
    assert np.corrcoef(found, rate)[0, 1] > 0.995


@pytest.mark.slow
def test_longer_gauges_take_high_frequencies_away():
    sizes = [
        np.abs(waves(replace(central(), array=ReceiverArray(gauge_length=gauge))).signal[1, 20]).max()
        for gauge in (0.0, 10.0, 40.0)
    ]
    assert sizes[0] > sizes[1] > sizes[2] > 0


@pytest.mark.parametrize("model", [pytest.param("gradient", marks=pytest.mark.slow), "layered"])
def test_p_comes_first_when_it_was_drawn_to(model):
    """And labels begin there."""
    array = receivers(QUICKSTART.array)
    parameters = replace(
        QUICKSTART, model=model, traces=Traces(dead=0.3), noise=WHITE_NOISE, snr=(3.0, 3.0), noise_only=0.0
    )
    generate, key = microseismic.panel_generator(parameters, array), jax.random.key(0)
    both = jax.jit(lambda i: (generate(0, i), microseismic.simulate(parameters, array, jax.random.fold_in(key, i))))
    for i in range(4):
        panel, record = jax.tree.map(np.asarray, both(i))
        event = panel.event
        assert np.isfinite(panel.amplitude).all()
        np.testing.assert_allclose(event.first_arrival, record.onset[0][record.alive].min(), rtol=1e-6)
        length = parameters.num_samples * parameters.sampling_interval
        low, high = np.array(parameters.first_arrival) * length
        assert low - 0.03 <= event.first_arrival <= high + 0.15  # statics come on top, and dead receivers fall out
        samples = np.flatnonzero((panel.labels == 1).any(axis=0))
        assert 0 <= samples[0] * parameters.sampling_interval - event.first_arrival < 0.05


@pytest.mark.slow
def test_size_grows_by_one_for_ten_times_the_amplitude():
    quick = replace(QUICKSTART, num_samples=256, noise=WHITE_NOISE, noise_only=0.0, first_arrival=(0.1, 0.1))
    array, key = receivers(ReceiverArray(lines=2, stations=4)), jax.random.key(3)
    small, large = (
        jax.jit(lambda snr=snr: microseismic.simulate(replace(quick, snr=(snr, snr)), array, key))()
        for snr in (0.2, 2.0)
    )
    assert large.event.size - small.event.size == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(large.signal, 10 * small.signal, rtol=1e-4, atol=1e-6)


def test_layers_fill_the_model_and_vary_about_the_trend():
    parameters = replace(QUICKSTART, model="layered", layers=10, layer_contrast=0.05)
    places = receivers(parameters.array).places
    layers = [draw_layers(parameters, places, jax.random.key(i)) for i in range(50)]
    for one in layers:
        assert one.tops[0] == pytest.approx(places[:, 2].min(), rel=1e-5)
        assert (np.diff(one.tops) >= 0).all()
        assert one.tops[-1] <= one.middles[-1] <= parameters.source.depth[1]
    spread = np.std([np.log(one.factors) for one in layers])
    assert spread == pytest.approx(0.05 / np.sqrt(3), rel=0.15)


@pytest.mark.slow
def test_a_layered_medium_changes_times_and_nothing_turns():
    times = [waves(replace(CENTRAL, model=model, layer_contrast=0.1)).onset for model in ("gradient", "layered")]
    assert 1e-3 < np.abs(times[0] - times[1]).max() < 0.5


@pytest.mark.parametrize("preset", ["microseismic_small", pytest.param("microseismic_1024", marks=pytest.mark.slow)])
def test_presets_hold_the_moveout_of_p(preset):
    parameters = PRESETS[preset]
    array = receivers(parameters.array)

    def onsets(i):
        return event_waves(parameters, array, jnp.zeros(len(array.places)), jax.random.key(i)).onset[0]

    inside = (
        np.asarray(jax.jit(jax.vmap(onsets))(np.arange(30))) < parameters.num_samples * parameters.sampling_interval
    )
    assert inside.mean() > 0.99
