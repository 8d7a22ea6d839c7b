"""What a network is to say about each sample."""

import jax
import jax.numpy as jnp

from seisjax.synthetic.parameters import Microseismic


def onset_labels(
    parameters: Microseismic, peak: jax.Array, rms: jax.Array, onset: jax.Array, duration: jax.Array, present: jax.Array
) -> jax.Array:
    """Labels uint8 (receiver, sample) of the visible arrivals.

    classes "event" and "phase": the class's number from an arrival's onset for its duration, later phases on top;
    "onset": round(label_scale * exp(-(t - onset)^2 / (2 onset_sigma^2))) of the nearest onset.

    peak, onset (s after the first sample) and duration (s) of each arrival: (phase, receiver); rms of the noise
    (receiver,). An arrival is visible in a panel with an event (`present`) where its peak exceeds label_floor * rms.
    """
    time = jnp.arange(parameters.num_samples) * parameters.sampling_interval
    visible = (peak > parameters.label_floor * rms) & present
    if parameters.classes == "onset":
        nearest = jnp.min(jnp.abs(time - jnp.where(visible, onset, jnp.inf)[..., None]), axis=0)
        probability = jnp.exp(-0.5 * (nearest / parameters.onset_sigma) ** 2)
        return jnp.round(parameters.label_scale * probability).astype(jnp.uint8)
    during = (time >= onset[..., None]) & (time <= (onset + duration)[..., None]) & visible[..., None]
    labels = jnp.zeros((len(rms), len(time)), jnp.uint8)
    for number, phase in enumerate(during, start=1):
        labels = jnp.where(phase, jnp.uint8(number if parameters.classes == "phase" else 1), labels)
    return labels
