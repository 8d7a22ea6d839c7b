"""Panels of a passive array: one microseismic event, or none, in noise. Panel i is a pure function of (seed, i).

The story of a panel: draw an event and a medium, trace its rays, add its arrivals up, draw noise, scale the arrivals
to the signal-to-noise ratio, let receivers differ and die, label the onsets, scale each trace.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.synthetic import noise, source
from seisjax.synthetic.arrays import Receivers
from seisjax.synthetic.draws import draw
from seisjax.synthetic.effects import receiver_effects
from seisjax.synthetic.labels import onset_labels
from seisjax.synthetic.parameters import Medium, Microseismic
from seisjax.synthetic.traveltimes import trace_rays


class Event(NamedTuple):
    """What happened. Scalars; of no meaning where `present` is False."""

    present: jax.Array  # whether the panel holds an event
    origin_time: jax.Array  # s after the panel's first sample, may be negative
    x: jax.Array  # m
    y: jax.Array  # m
    z: jax.Array  # m
    snr: jax.Array  # median over receivers of max|P| over the median rms of the noise
    first_arrival: jax.Array  # s after the panel's first sample: the earliest P onset on a live receiver
    size: jax.Array  # log10 of the moment, in a unit of its own: as a magnitude, one more is ten times the amplitude


class Panel(NamedTuple):
    """One labelled example."""

    amplitude: jax.Array  # float32 (receiver, sample): scaled and clipped; 0 on dead traces
    labels: jax.Array  # uint8 (receiver, sample): numbers of the parameters' class_names; IGNORE on dead traces
    trace_mask: jax.Array  # bool (receiver,): False on dead traces
    event: Event


class Record(NamedTuple):
    """A panel before scaling, in its parts."""

    signal: jax.Array  # (phase, receiver, sample), zero in a panel without an event
    noise: jax.Array  # (receiver, sample), rms about 1
    onset: jax.Array  # (phase, receiver), s after the first sample
    duration: jax.Array  # (phase, receiver), s
    alive: jax.Array  # bool (receiver,)
    event: Event


def panel_generator(
    parameters: Microseismic, receivers: Receivers, recording: np.ndarray | None = None
) -> Callable[[int | jax.Array, int | jax.Array], Panel]:
    """A function (seed, index) -> Panel, to be jitted, and vmapped over `index`.

    receivers: their origin near the array, for places are float32 inside. recording: noise that was recorded at the
    panels' sampling interval, float32 (receiver, sample): where it is given, panels' noise is cut from it.
    Raises UserError where sources may lie above receivers, or a speed may fall below 0.
    """
    check_depths(parameters, receivers.places)

    def panel(seed, index) -> Panel:
        record = simulate(parameters, receivers, jax.random.fold_in(jax.random.key(seed), index), recording)
        amplitude = scale_traces(record.signal.sum(axis=0) + record.noise, parameters.clip)
        alive = record.alive[:, None]
        return Panel(
            amplitude=jnp.where(alive, amplitude, 0.0),
            labels=jnp.where(alive, label(parameters, record), jnp.uint8(IGNORE)),
            trace_mask=record.alive,
            event=record.event,
        )

    return panel


def check_depths(parameters: Microseismic, places: np.ndarray) -> None:
    """Raise UserError unless every source lies below every receiver, and speeds are positive at the highest one."""
    highest, lowest = places[:, 2].min(), places[:, 2].max()
    if parameters.source.depth[0] <= lowest:
        raise UserError(
            f"source.depth={parameters.source.depth}: the deepest receiver lies at {lowest:g} m; draw sources below it"
        )
    for name, medium in (("p", parameters.p), ("s", parameters.s)):
        if medium.speed[0] <= medium.gradient[1] * (places[:, 2].mean() - highest):
            raise UserError(
                f"{name}.speed={medium.speed}: falls below 0 at the highest receiver ({highest:g} m) "
                f"with {name}.gradient={medium.gradient}; raise the speed or lower the gradient"
            )


def simulate(
    parameters: Microseismic, receivers: Receivers, key: jax.Array, recording: np.ndarray | None = None
) -> Record:
    """Signal and noise of one panel, at the signal-to-noise ratio that was drawn."""
    places = receivers.places
    event_key, noise_key, trace_key, ratio_key = jax.random.split(key, 4)
    gain, level, statics, alive = receiver_effects(parameters, places, trace_key)
    background = level * gain * _background(parameters, places, noise_key)
    place, origin_time, signal, onset, duration = _event_waves(parameters, places, statics, event_key)
    signal = gain * signal

    low, high = np.log(parameters.snr)
    log_snr, chance = draw(ratio_key, (low, high), (0.0, 1.0))
    snr = jnp.exp(log_snr)
    peak = jnp.median(jnp.max(jnp.abs(signal[0]), axis=-1))
    rms = jnp.sqrt(jnp.median(jnp.mean(background**2, axis=-1)))
    present = (chance >= parameters.noise_only) & (peak > 0)
    factor = jnp.where(present, snr * rms / jnp.where(peak > 0, peak, 1.0), 0.0)
    x, y, z = place
    first = jnp.min(jnp.where(alive, onset[0], jnp.inf))
    size = jnp.where(present, jnp.log10(jnp.where(present, factor, 1.0)), 0.0)
    event = Event(present, origin_time, x, y, z, jnp.where(present, snr, 0.0), first, size)
    return Record(factor * signal, background, onset, duration, alive, event)


def label(parameters: Microseismic, record: Record) -> jax.Array:
    """Labels uint8 (receiver, sample) of a record."""
    peak = jnp.max(jnp.abs(record.signal), axis=-1)
    rms = jnp.sqrt(jnp.mean(record.noise**2, axis=-1))
    return onset_labels(parameters, peak, rms, record.onset, record.duration, record.event.present)


def scale_traces(traces: jax.Array, clip: float) -> jax.Array:
    """Traces (receiver, sample) over their robust standard deviation, 1.4826 median |x|, clipped to +-clip."""
    scale = 1.4826 * jnp.median(jnp.abs(traces), axis=-1, keepdims=True)
    return jnp.clip(traces / jnp.where(scale > 0, scale, 1.0), -clip, clip)


def _event_waves(parameters: Microseismic, receivers: np.ndarray, statics: jax.Array, key: jax.Array):
    """Place (x, y, z) and origin time of an event; its signal (phase, receiver, sample), and onsets and durations."""
    box = parameters.source
    low, high = receivers.min(axis=0) - box.margin, receivers.max(axis=0) + box.margin
    place_key, mechanism_key, pulse_key, *wave_keys = jax.random.split(key, 3 + len(parameters.phases))
    place = draw(place_key, (low[0], high[0]), (low[1], high[1]), box.depth)
    tensor = source.moment_tensor(*draw(mechanism_key, box.strike, box.dip, box.rake, box.isotropic, box.clvd))
    frequency, share = draw(pulse_key, box.frequency, parameters.first_arrival)

    media = {"P": parameters.p, "S": parameters.s}
    waves = [
        _wave(phase, media[phase], tensor, place, receivers, wave_key)
        for phase, wave_key in zip(parameters.phases, wave_keys, strict=True)
    ]
    amplitude, time, t_star = (jnp.stack(values) for values in zip(*waves, strict=True))

    length = parameters.num_samples * parameters.sampling_interval
    origin_time = share * length - jnp.min(time[0])
    onset = origin_time + time + statics * jnp.array([1.0, 2.0])[: len(waves), None]
    arrivals = jax.vmap(source.arrivals, in_axes=(0, 0, 0, None, None, None))
    signal = arrivals(amplitude, onset, t_star, frequency, parameters.num_samples, parameters.sampling_interval)
    return place, origin_time, signal, onset, source.duration(frequency, t_star)


def _wave(phase: str, medium: Medium, tensor: jax.Array, place: jax.Array, receivers: np.ndarray, key: jax.Array):
    """Amplitude on the upward component, travel time (s) and t* (s) of one wave, each (receiver,).

    Amplitudes are relative: the signal-to-noise ratio sets the scale, and density, alike for P and S, drops out.
    """
    speed, gradient, quality = draw(key, medium.speed, medium.gradient, medium.quality)
    north, east = receivers[:, 0] - place[0], receivers[:, 1] - place[1]
    offset, azimuth = jnp.hypot(north, east), jnp.arctan2(east, north)
    datum = receivers[:, 2].mean()
    depth, source_depth = receivers[:, 2] - datum, place[2] - datum
    rays = trace_rays(offset, source_depth, depth, speed, gradient)
    pattern_p, pattern_sv = source.radiation(tensor, azimuth, rays.sin_source, rays.cos_source)
    towards_up = pattern_p * rays.cos_receiver if phase == "P" else pattern_sv * rays.sin_receiver
    v_receiver, v_source = (speed + gradient * depth) / 1e3, (speed + gradient * source_depth) / 1e3
    amplitude = towards_up / (jnp.sqrt(v_receiver * v_source**5) * rays.spreading / 1e3)
    return amplitude, rays.time, rays.time / quality


def _background(parameters: Microseismic, receivers: np.ndarray, key: jax.Array) -> jax.Array:
    """Coloured noise of rms 1 plus swell noise: (receiver, sample)."""
    what, count, interval = parameters.noise, parameters.num_samples, parameters.sampling_interval
    coloured_key, swell_key, draw_key = jax.random.split(key, 3)
    slope, speed, level = draw(draw_key, what.slope, what.swell_speed, what.swell_level)
    traces = noise.coloured(coloured_key, slope, len(receivers), count, interval, what.low_cut)
    if what.swell_level[1] == 0:
        return traces
    waves = noise.swell(
        swell_key,
        jnp.asarray(receivers, jnp.float32),
        speed,
        count,
        interval,
        band=what.swell_band,
        dispersion=what.swell_dispersion,
        num_waves=what.swell_waves,
    )
    return traces + level * waves
