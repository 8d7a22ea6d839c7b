"""The waves of one event, from its source through the medium to what each receiver measures."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.synthetic import source
from seisjax.synthetic.arrays import Receivers
from seisjax.synthetic.coda import coda
from seisjax.synthetic.draws import draw
from seisjax.synthetic.parameters import WAVELETS, Microseismic
from seisjax.synthetic.traveltimes import Rays, trace_layered_rays, trace_rays

_CODA = 1  # which random numbers are the coda's
SV_INTO_PRESSURE = 0.05  # a hydrophone's share of SV, which turns into P at the sea floor; a mere order of magnitude


class Waves(NamedTuple):
    """An event and its arrivals, before the signal-to-noise ratio sets their size."""

    place: jax.Array  # x, y, z, m
    origin_time: jax.Array  # s after the first sample
    signal: jax.Array  # (phase, receiver, sample)
    onset: jax.Array  # (phase, receiver), s after the first sample
    duration: jax.Array  # (phase, receiver), s


class Layers(NamedTuple):
    """How a layered model departs from its trend, alike for P and S."""

    tops: jax.Array  # (layer,), m
    middles: jax.Array  # (layer,), m
    factors: jax.Array  # (layer,), speed over the trend's at the layer's middle


def event_waves(parameters: Microseismic, receivers: Receivers, statics: jax.Array, key: jax.Array) -> Waves:
    """Draw an event and its medium. statics (receiver,): delays of P at receivers, s; S is delayed twice as much."""
    box, places = parameters.source, receivers.places
    low, high = places.min(axis=0) - box.margin, places.max(axis=0) + box.margin
    place_key, mechanism_key, pulse_key, layer_key, *wave_keys = jax.random.split(key, 4 + len(parameters.phases))
    place = draw(place_key, (low[0], high[0]), (low[1], high[1]), box.depth)
    tensor = source.moment_tensor(*draw(mechanism_key, box.strike, box.dip, box.rake, box.isotropic, box.clvd))
    kinds = box.wavelets
    frequency, share, chance = draw(pulse_key, box.frequency, parameters.first_arrival, (0.0, len(kinds)))
    pulse = source.Pulse(kinds, jnp.minimum(chance.astype(jnp.int32), len(kinds) - 1), frequency)

    layers = draw_layers(parameters, places, layer_key) if parameters.model == "layered" else None
    waves = [
        _wave(phase, parameters, layers, tensor, place, receivers, wave_key)
        for phase, wave_key in zip(parameters.phases, wave_keys, strict=True)
    ]
    amplitude, time, t_star, gauge = (jnp.stack(values) for values in zip(*waves, strict=True))

    origin_time = share * parameters.num_samples * parameters.sampling_interval - jnp.min(time[0])
    onset = origin_time + time + statics * jnp.array([1.0, 2.0])[: len(waves), None]
    signal = source.arrivals(
        amplitude,
        onset,
        t_star,
        pulse,
        parameters.num_samples,
        parameters.sampling_interval,
        highest=box.frequency[1] * max(WAVELETS[kind].end for kind in kinds),
        gauge=gauge if (receivers.component == "strain").any() else None,
    )
    if box.coda_level[1] > 0:
        draw_key, coda_key = jax.random.split(jax.random.fold_in(key, _CODA))
        level, decay = draw(draw_key, box.coda_level, box.coda_decay)
        signal += coda(coda_key, signal, level, decay, parameters.sampling_interval)
    return Waves(place, origin_time, signal, onset, source.duration(pulse, t_star))


def draw_layers(parameters: Microseismic, places: np.ndarray, key: jax.Array) -> Layers:
    """Layers of random thickness from the highest receiver to the deepest source, random in speed."""
    edge_key, speed_key = jax.random.split(key)
    count, top, bottom = parameters.layers, places[:, 2].min(), parameters.source.depth[1]
    inner = jnp.sort(jax.random.uniform(edge_key, (count - 1,)))
    edges = top + (bottom - top) * jnp.concatenate([jnp.zeros(1), inner, jnp.ones(1)])
    noise = jax.random.normal(speed_key, (count + 2,))
    smooth = (noise[:-2] + noise[1:-1] + noise[2:]) / 3
    return Layers(edges[:-1], (edges[:-1] + edges[1:]) / 2, jnp.exp(parameters.layer_contrast * smooth))


def _wave(
    phase: str,
    parameters: Microseismic,
    layers: Layers | None,
    tensor: jax.Array,
    place: jax.Array,
    receivers: Receivers,
    key: jax.Array,
):
    """Amplitude, travel time (s), t* (s) and time across a fibre's gauge (s) of one wave, each (receiver,).

    Amplitudes are those of particle velocity, and relative: the signal-to-noise ratio sets the scale, and density,
    alike for P and S, drops out (Aki & Richards 2002, equation 4.97).
    """
    medium = parameters.p if phase == "P" else parameters.s
    speed, gradient, quality = draw(key, medium.speed, medium.gradient, medium.quality)
    places = receivers.places
    north, east = places[:, 0] - place[0], places[:, 1] - place[1]
    offset, azimuth = jnp.hypot(north, east), jnp.arctan2(east, north)
    datum = places[:, 2].mean()
    if layers is None:
        rays = trace_rays(offset, place[2] - datum, places[:, 2] - datum, speed, gradient)
    else:
        speeds = (speed + gradient * (layers.middles - datum)) * layers.factors
        rays = trace_layered_rays(offset, place[2], places[:, 2], layers.tops, speeds)
    pattern = source.radiation(tensor, azimuth, rays.sin_source, rays.cos_source)
    response, slowness = _response(phase, pattern, rays, azimuth, receivers)
    size = jnp.sqrt(rays.speed_receiver / 1e3 * (rays.speed_source / 1e3) ** 5) * rays.spreading / 1e3
    gauge = parameters.array.gauge_length * slowness
    return response / size, rays.time, rays.time / quality, gauge


def _response(phase: str, pattern: source.Radiation, rays: Rays, azimuth: jax.Array, receivers: Receivers):
    """What a wave of unit size does on each receiver's component, and its slowness along the azimuth, s/m.

    "z", "n", "e": particle velocity upwards, along x and along y, without the free surface's effect. "hydrophone":
    pressure over the impedance, which P brings alone but for conversion. "strain": -(u.d)(p.d), d the fibre's
    direction, u the particle velocity, p the slowness in s/km: the strain of a plane wave.
    """
    along, across, sideways = source.polarisations(azimuth, rays.sin_receiver, rays.cos_receiver)
    if phase == "P":
        motion, pressure = pattern.p[:, None] * along, pattern.p
    else:
        motion = pattern.sv[:, None] * across + pattern.sh[:, None] * sideways
        pressure = SV_INTO_PRESSURE * pattern.sv
    axis = jnp.asarray(_axes(receivers), jnp.float32)
    projected = jnp.sum(motion * axis, axis=-1)
    slowness = jnp.sum(along * axis, axis=-1) / rays.speed_receiver
    component = receivers.component
    response = jnp.where(component == "strain", -projected * slowness * 1e3, projected)
    response = jnp.where(component == "hydrophone", pressure, response)
    return response, jnp.where(component == "strain", slowness, 0.0)


def _axes(receivers: Receivers) -> np.ndarray:
    """Unit vectors (receiver, 3) that particle velocity is projected on; of no meaning for a hydrophone."""
    fixed = {"z": (0.0, 0.0, -1.0), "n": (1.0, 0.0, 0.0), "e": (0.0, 1.0, 0.0), "hydrophone": (0.0, 0.0, -1.0)}
    azimuth = np.deg2rad(receivers.azimuth)
    axes = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(len(azimuth))], axis=-1)
    for name, axis in fixed.items():
        axes[receivers.component == name] = axis
    return axes
