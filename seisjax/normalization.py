"""From raw amplitudes to what the network sees; pure, on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from seisjax.errors import UserError

SIGMA_OF_MEDIAN_DEVIATION = 1.4826  # a Gaussian's standard deviation over its median absolute deviation
_SIGMA_OF_MEAN_DEVIATION = 1.2533  # and over its mean absolute deviation
_ROUNDING = 1e-5  # levelled amplitudes that deviate by less are alike but for rounding


@dataclass(frozen=True)
class Normalization:
    """Amplitudes as deviations from a centre over a scale; NaN and infinity are no data, enter nothing and become 0.

    scope: whose centre and scale: "training" takes those given, "window" those of each window, "trace" those of each
      trace, that is of each line of samples along the window's last axis. What is constant becomes 0.
    center, scale: of the training data, in the data's units: mean and standard deviation, or median and scaled MAD.
    robust: windows and traces take their median and 1.4826 times their median absolute deviation instead of mean and
      standard deviation. Where more than half of the samples are equal, as in a mute, that deviation is 0, and 1.2533
      times the mean absolute deviation from the median stands in (Iglewicz & Hoaglin 1993).
    agc: each sample is first divided by the root mean square deviation from `center` of so many samples around it
      along its trace, the window's ends cut off (automatic gain control). 0: none. Levelled amplitudes have a scale
      of 1, so that scope "training" does not scale them again.
    clip: results are clipped to +-clip, last. 0: no clipping.
    """

    scope: str = "training"
    center: float = 0.0
    scale: float = 1.0
    robust: bool = False
    agc: int = 0
    clip: float = 0.0

    def __call__(self, images: jax.Array) -> jax.Array:
        """Normalised images, float32. images: (B, *window, channels) in the data's units.

        Channels are sections side by side: each has traces of its own, and all of them together are the window.
        """
        raw = images.astype(jnp.float32)
        valid = jnp.isfinite(raw)
        # Whatever the scope, all that follows is blind to the data's units, and no square overflows.
        values = jnp.where(valid, (raw - self.center) / (self.scale if self.scale > 0 else 1.0), 0.0)
        if self.agc > 0:
            values = _level(values, valid, self.agc)
        if self.scope != "training":
            axes = tuple(range(1, raw.ndim)) if self.scope == "window" else (-2,)
            center, scale = (_robust_moments if self.robust else _moments)(values, valid, axes)
            tiny = _ROUNDING if self.agc > 0 else 0.0
            values = jnp.where(scale > tiny, (values - center) / jnp.where(scale > tiny, scale, 1.0), 0.0)
        if self.clip > 0:
            values = jnp.clip(values, -self.clip, self.clip)
        return jnp.where(valid, values, 0.0)

    def check(self, space_axis: int, window: Sequence[int]) -> None:
        """Raise UserError where normalising windows that devices split along axis `space_axis` would hold them up.

        window: the window's sides. For meshes with space > 1: a sum over the split axis costs next to nothing, but a
        median waits for 32 sums in turn, twice, and gain control moves samples between devices.
        """
        last = space_axis == len(window) - 1
        medians = self.robust and (self.scope == "window" or (self.scope == "trace" and last))
        settings = {
            f"data.robust=True with data.normalization='{self.scope}'": medians,
            f"data.agc={self.agc}": self.agc > 0 and last,
        }
        for setting, refused in settings.items():
            if refused:
                raise UserError(
                    f"{setting} needs samples together that mesh.space splits; "
                    "choose another normalisation, another mesh.space_axis or mesh.space=1"
                )


def _moments(values: jax.Array, valid: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation over `axes` of the valid samples; a deviation of exactly 0 where they are equal."""
    lowest = jnp.where(valid, values, jnp.inf).min(axes, keepdims=True)
    highest = jnp.where(valid, values, -jnp.inf).max(axes, keepdims=True)
    middle = jnp.where(lowest <= highest, (lowest + highest) / 2, 0.0)  # without valid samples it is nowhere
    offset = middle + _mean(values - middle, valid, axes)
    return offset, jnp.sqrt(_mean((values - offset) ** 2, valid, axes))


def _robust_moments(values: jax.Array, valid: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Median over `axes` of the valid samples, and the deviation of a Gaussian that deviates from it as they do."""
    center = _median(values, valid, axes)
    deviations = jnp.abs(values - center)
    typical = SIGMA_OF_MEDIAN_DEVIATION * _median(deviations, valid, axes)
    return center, jnp.where(typical > 0, typical, _SIGMA_OF_MEAN_DEVIATION * _mean(deviations, valid, axes))


def _mean(values: jax.Array, valid: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    count = jnp.maximum(valid.sum(axes, keepdims=True), 1)
    return jnp.where(valid, values, 0.0).sum(axes, keepdims=True) / count


def _median(values: jax.Array, valid: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Median over `axes` of the valid samples, 0 where there is none.

    The middle sample is found bit by bit, from the highest, by counting the samples below: 32 sums over the window
    are far quicker than sorting it.
    """
    count = valid.sum(axes, keepdims=True)
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    highest = jnp.uint32(1 << 31)
    keys = jnp.where(bits >= highest, ~bits, bits | highest)  # in the order of the values
    keys = jnp.where(valid, keys, jnp.uint32(0xFFFFFFFF))

    def narrow(i: jax.Array, found: jax.Array) -> jax.Array:
        higher = found | (highest >> i.astype(jnp.uint32))
        return jnp.where((keys < higher).sum(axes, keepdims=True) <= (count - 1) // 2, higher, found)

    found = jax.lax.fori_loop(0, 32, narrow, jnp.zeros(count.shape, jnp.uint32))
    bits = jnp.where(found >= highest, found ^ highest, ~found)
    low = jax.lax.bitcast_convert_type(bits, jnp.float32)
    next_above = jnp.where(valid & (keys > found), values, jnp.inf).min(axes, keepdims=True)
    high = jnp.where((keys <= found).sum(axes, keepdims=True) > count // 2, low, next_above)
    return jnp.where(count > 0, (low + high) / 2, 0.0)


def _level(values: jax.Array, valid: jax.Array, samples: int) -> jax.Array:
    """Values (B, *window, channels) over the root mean square of the `samples` around each along its trace."""
    samples = min(samples, 2 * values.shape[-2] - 1)  # from any sample that reaches both ends
    around = [(0, 0)] * (values.ndim - 2) + [(samples // 2, samples - 1 - samples // 2), (0, 0)]
    power = _sliding_sum(jnp.pad(values**2, around), samples)
    count = _sliding_sum(jnp.pad(valid.astype(jnp.float32), around), samples)
    level = jnp.sqrt(power / jnp.maximum(count, 1))
    return jnp.where(level > 0, values / jnp.where(level > 0, level, 1.0), 0.0)


def _sliding_sum(values: jax.Array, samples: int) -> jax.Array:
    """Sums of `samples` neighbours along the second last axis, which gets shorter by samples - 1.

    Made of sums of 1, 2, 4 ... neighbours: few additions, and no difference of large sums as in a running total.
    """
    length = values.shape[-2] - samples + 1
    result, start, width = jnp.zeros(()), 0, 1
    while samples:
        if samples & 1:
            result = result + jax.lax.slice_in_dim(values, start, start + length, axis=-2)
            start += width
        samples >>= 1
        if samples:
            kept = values.shape[-2] - width
            values = values[..., :kept, :] + values[..., width:, :]
            width *= 2
    return result
