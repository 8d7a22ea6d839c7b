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
from seisjax.synthetic import noise, recorded
from seisjax.synthetic.arrays import Receivers
from seisjax.synthetic.draws import draw
from seisjax.synthetic.effects import receiver_effects, spoiled
from seisjax.synthetic.labels import onset_labels
from seisjax.synthetic.medians import median_magnitude
from seisjax.synthetic.parameters import Microseismic
from seisjax.synthetic.waves import event_waves


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
    panels' sampling interval, float32 (receiver, sample), NaN in gaps; `parameters.noise` says what becomes of it.
    Raises UserError where sources may lie above receivers, or a speed may fall below 0.
    """
    check_depths(parameters, receivers.places)
    if recording is not None:
        recording = recorded.prepared(parameters.noise, recording, len(receivers.places), parameters.num_samples)

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
    """Raise UserError unless receivers lie below the water, sources below receivers, and speeds are positive there."""
    highest, lowest = places[:, 2].min(), places[:, 2].max()
    if parameters.water_depth > 0 and highest < parameters.water_depth - 1e-3:
        raise UserError(
            f"water_depth={parameters.water_depth:g}: receiver {places[:, 2].argmin()} lies at {highest:g} m, above "
            "the sea floor; give the depth of the shallowest sea floor, or water_depth=0 for an array on land"
        )
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
    event_key, noise_key, trace_key, ratio_key, bad_key = jax.random.split(key, 5)
    gain, level, statics, alive = receiver_effects(parameters, places, trace_key)
    what, count, interval = parameters.noise, parameters.num_samples, parameters.sampling_interval
    background = level * gain * noise.background(what, places, count, interval, noise_key, recording)
    if recording is not None:  # it may lack receivers
        alive &= jnp.any(background != 0, axis=-1)
    waves = event_waves(parameters, receivers, statics, event_key)
    signal = gain * waves.signal

    low, high = np.log(parameters.snr)
    log_snr, chance = draw(ratio_key, (low, high), (0.0, 1.0))
    snr = jnp.exp(log_snr)
    peak = jnp.median(jnp.max(jnp.abs(signal[0]), axis=-1))
    rms = jnp.sqrt(jnp.median(jnp.mean(background**2, axis=-1)))
    present = (chance >= parameters.noise_only) & (peak > 0)
    factor = jnp.where(present, snr * rms / jnp.where(peak > 0, peak, 1.0), 0.0)
    first = jnp.min(jnp.where(alive | ~jnp.any(alive), waves.onset[0], jnp.inf))
    size = jnp.where(present, jnp.log10(jnp.where(present, factor, 1.0)), 0.0)
    x, y, z = waves.place
    event = Event(present, waves.origin_time, x, y, z, jnp.where(present, snr, 0.0), first, size)
    background = spoiled(parameters.traces, background, rms, bad_key)
    return Record(factor * signal, background, waves.onset, waves.duration, alive, event)


def label(parameters: Microseismic, record: Record) -> jax.Array:
    """Labels uint8 (receiver, sample) of a record."""
    peak = jnp.max(jnp.abs(record.signal), axis=-1)
    rms = jnp.sqrt(jnp.mean(record.noise**2, axis=-1))
    return onset_labels(parameters, peak, rms, record.onset, record.duration, record.event.present)


def scale_traces(traces: jax.Array, clip: float) -> jax.Array:
    """Traces (receiver, sample) over their robust standard deviation, 1.4826 median |x|, clipped to +-clip."""
    scale = 1.4826 * median_magnitude(traces)[:, None]
    return jnp.clip(traces / jnp.where(scale > 0, scale, 1.0), -clip, clip)
