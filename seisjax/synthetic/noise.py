"""What an array records when nothing happens.

Most kinds are made as spectra, few frequencies where they fill a band, and share one inverse transform. Tones and
bursts are products of a receiver's factor and a factor of time: one matrix product. Whatever has a level that is
always 0 costs nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.errors import UserError
from seisjax.synthetic import recorded
from seisjax.synthetic.checks import Range
from seisjax.synthetic.draws import draw
from seisjax.synthetic.parameters import Noise
from seisjax.synthetic.phasors import phasor
from seisjax.synthetic.source import PADDING, fast_length

_FAINTEST = 1e-6  # of what a band's spectrum may have for its best frequency: fainter ones are 0 when squared


class Grid(NamedTuple):
    """The time axis of a panel and of its transform."""

    num_samples: int
    interval: float  # s
    length: int  # samples of the transform: longer than the trace, so that its two ends are not alike
    frequency: np.ndarray  # Hz, float32


class Band(NamedTuple):
    """A spectrum that fills some of the grid's frequencies."""

    first: int  # number of its lowest frequency
    spectrum: jax.Array  # complex64 (receiver, frequency)


class Products(NamedTuple):
    """Noise that is a sum of a few products receivers @ time."""

    receivers: jax.Array  # (receiver, term)
    time: jax.Array  # (term, sample)


def time_grid(num_samples: int, interval: float) -> Grid:
    """The times of traces every `interval` s, and the frequencies (Hz) of a transform that is `PADDING` s longer."""
    length = fast_length(num_samples + round(PADDING / interval))
    frequency = (np.arange(length // 2 + 1) / (length * interval)).astype(np.float32)
    return Grid(num_samples, interval, length, frequency)


def background(
    what: Noise,
    places: np.ndarray,
    num_samples: int,
    interval: float,
    key: jax.Array,
    recording: jax.Array | np.ndarray | None = None,
) -> jax.Array:
    """Noise of all kinds whose level may exceed 0: float32 (receiver, sample).

    places (receiver, 3) in m, interval in s. `recording` (receiver, sample), where `what.recording` names one, comes
    from `recorded.prepared`; where a receiver of it recorded nothing, it adds 0. Raises UserError where it is missing.
    """
    if what.recording and recording is None:
        raise UserError(f"noise.recording={what.recording}: was not read; hand its samples to the generator")
    grid = time_grid(num_samples, interval)
    shape = (len(places), num_samples)
    draw_key, recorded_key, spike_key, *keys = jax.random.split(key, 9)
    traces = jnp.zeros(shape, jnp.float32)
    bands = spectra(what, places, grid, keys[:4])
    if recording is not None and what.recording_level[1] > 0:
        (level,) = draw(draw_key, what.recording_level)
        if what.recording_use == "cut":
            traces += level * recorded.cut(recorded_key, recording, *shape, what.recording_rows)
        else:
            random = recorded.resembling(recorded_key, recording, *shape, grid.length, what)
            bands.append(Band(0, level * random))
    if bands:
        traces += transform(bands, len(places), grid)[:, :num_samples]
    for products in (platform(keys[4], what, places, grid), bursts(keys[5], what, len(places), grid)):
        if products is not None:
            traces += jnp.matmul(products.receivers, products.time, precision="highest")  # not TF32 on a GPU
    return spikes(spike_key, what, traces, interval)


def spectra(what: Noise, places: np.ndarray, grid: Grid, keys: list[jax.Array]) -> list[Band]:
    """Noise that is made by frequency, at its level."""
    kinds = (
        (what.coloured_level, coloured),
        (what.swell_level, swell),
        (what.water_level, water),
        (what.interference_level, interference),
    )
    return [kind(key, what, places, grid) for (level, kind), key in zip(kinds, keys, strict=True) if level[1] > 0]


def transform(bands: list[Band], num_receivers: int, grid: Grid) -> jax.Array:
    """The sum of spectra in time: (receiver, grid.length)."""
    whole = jnp.zeros((num_receivers, len(grid.frequency)), jnp.complex64)
    for first, spectrum in bands:
        whole = whole.at[:, first : first + spectrum.shape[1]].add(spectrum)
    return jnp.fft.irfft(whole, grid.length)


def coloured(key: jax.Array, what: Noise, places: np.ndarray, grid: Grid) -> Band:
    """Gaussian noise with power spectrum f^-slope, its covariance between receivers exp(-distance / l)."""
    normal_key, draw_key = jax.random.split(key)
    slope, level = draw(draw_key, what.slope, what.coloured_level)
    f = grid.frequency[1:-1]  # without 0 Hz and Nyquist
    shape = jnp.maximum(f, what.low_cut) ** (-slope / 2)
    if what.low_cut > 0:
        shape *= -jnp.expm1(-((f / what.low_cut) ** 4))
    parts = jax.random.normal(normal_key, (2, len(places), len(f)))
    if what.correlation_length > 0:
        factor = covariance_factor(places, what.correlation_length)
        parts = jnp.einsum("rs,psf->prf", factor, parts, precision="highest")
    return Band(1, level * _unit(shape * jax.lax.complex(*parts), grid))


def covariance_factor(places: np.ndarray, length: float) -> np.ndarray:
    """Factor F (receiver, receiver), F F^T = exp(-distance / length), float32."""
    distance = np.sqrt(np.square(places[:, None] - places[None]).sum(axis=-1))
    same = 1e-6 * np.eye(len(places))  # receivers at one place would make it singular
    return np.linalg.cholesky(np.exp(-distance / length) + same).astype(np.float32)


def swell(key: jax.Array, what: Noise, places: np.ndarray, grid: Grid) -> Band:
    """Surface waves from all sides, their speed falling as f^-dispersion.

    Many plane waves make isotropic noise, whose coherence over a distance d is J0(2 pi f d / c) (Aki 1957).
    """
    direction_key, spectrum_key, draw_key = jax.random.split(key, 3)
    speed, level = draw(draw_key, what.swell_speed, what.swell_level)
    first, f, shape = _band(what.swell_band, grid)
    directions = jax.random.uniform(direction_key, (what.swell_waves,), maxval=2 * jnp.pi)
    rate = f * (f / np.sqrt(what.swell_band[0] * what.swell_band[1])) ** what.swell_dispersion
    waves = shape * _complex_normal(spectrum_key, (what.swell_waves, len(f)))
    return Band(first, level * _unit(_add_waves(_along(places, directions) / speed, waves, rate), grid))


def water(key: jax.Array, what: Noise, places: np.ndarray, grid: Grid) -> Band:
    """Waves through the water, from about one side, all frequencies at one speed."""
    direction_key, spectrum_key, draw_key = jax.random.split(key, 3)
    side, speed, level = draw(draw_key, (0.0, 2 * np.pi), what.water_speed, what.water_level)
    first, f, shape = _band(what.water_band, grid)
    spread = np.deg2rad(what.water_spread) * jax.random.normal(direction_key, (what.water_waves,))
    waves = shape * _complex_normal(spectrum_key, (what.water_waves, len(f)))
    return Band(first, level * _unit(_add_waves(_along(places, side + spread) / speed, waves, f), grid))


def interference(key: jax.Array, what: Noise, places: np.ndarray, grid: Grid) -> Band:
    """Shots of another survey far away: nearly plane, dispersed, high frequencies first; peak 1 on an average trace.

    The transform repeats itself, and so do the shots: what leaves the panel at its end comes back as the next shot's,
    one length of the transform (the panel's and 1 s) later.
    """
    side, distance, speed, start, middle, width, delay, level, chance = draw(
        key,
        (0.0, 2 * np.pi),
        what.interference_distance,
        what.interference_speed,
        (0.0, grid.length * grid.interval),
        what.interference_frequency,
        what.interference_width,
        what.interference_delay,
        what.interference_level,
        (0.0, 1.0),
    )
    first, f, _ = _band((1.0, 0.5 / grid.interval), grid)
    x, y, _ = _centred(places)
    path = jnp.hypot(x - distance * jnp.cos(side), y - distance * jnp.sin(side))
    mean = jnp.mean(path)
    logarithm = jnp.log(f / middle)
    shape = jnp.where(jnp.abs(logarithm) < 2 * width, jnp.exp(-0.5 * (logarithm / width) ** 2), 0.0)
    pulse = shape * phasor(delay * middle * logarithm)  # whose group delay is delay * middle / f
    tau = start + (path - mean) / speed
    spectrum = jnp.sqrt(mean / path)[:, None] * _add_waves(tau[None], pulse[None], f)
    pulse = jnp.zeros(len(grid.frequency), jnp.complex64).at[first : first + len(f)].set(pulse)
    peak = jnp.max(jnp.abs(jnp.fft.irfft(pulse, grid.length)))
    return Band(first, jnp.where(chance < what.interference_share, level / peak, 0.0) * spectrum)


def platform(key: jax.Array, what: Noise, places: np.ndarray, grid: Grid) -> Products | None:
    """Tones of a platform or vessel: harmonics, modulated in amplitude, delayed by R/c and falling off as 1/R.

    A modulated tone is three steady ones: (1 + m sin a) sin b = sin b + m/2 cos(b - a) - m/2 cos(b + a).
    """
    if what.platform_level[1] == 0 or what.platform_harmonics == 0:
        return None
    count = what.platform_harmonics
    draw_key, phase_key, rate_key, size_key = jax.random.split(key, 4)
    side, away, speed, lowest, level = draw(
        draw_key, (0.0, 2 * np.pi), what.platform_distance, what.platform_speed, what.platform_tone, what.platform_level
    )
    phase, slow_phase = jax.random.uniform(phase_key, (2, count))  # in cycles
    rate = draw(rate_key, *[what.platform_modulation_rate] * count)
    number = np.arange(1, count + 1, dtype=np.float32)
    size = jnp.exp(0.5 * jax.random.normal(size_key, (count,))) / number
    half = what.platform_modulation / 2 * size
    tone = number * lowest
    # sin x = cos(x - a quarter of a cycle)
    tones = jnp.concatenate([tone, tone - rate, tone + rate])
    phases = jnp.concatenate([phase - 0.25, phase - slow_phase, phase + slow_phase])
    sizes = jnp.concatenate([size, half, -half])
    sizes = level * sizes / jnp.sqrt(jnp.sum(sizes**2) / 2)

    x, y, z = _centred(places)
    distance = jnp.sqrt((x - away * jnp.cos(side)) ** 2 + (y - away * jnp.sin(side)) ** 2 + z**2)
    decay = 1 / jnp.maximum(distance, 1.0)
    decay = decay / jnp.sqrt(jnp.mean(decay**2))
    time = np.arange(grid.num_samples, dtype=np.float32) * np.float32(grid.interval)
    there = decay[:, None] * phasor(tones * distance[:, None] / speed)
    then = sizes[:, None] * phasor(-(tones[:, None] * time + phases[:, None]))
    return Products(jnp.concatenate([there.real, -there.imag], axis=1), jnp.concatenate([then.real, then.imag], axis=0))


def bursts(key: jax.Array, what: Noise, num_receivers: int, grid: Grid) -> Products | None:
    """Short wave trains on a few neighbouring traces: a Gaussian envelope in time, a raised cosine over traces."""
    if what.burst_level[1] == 0 or what.bursts == 0:
        return None
    end = grid.num_samples * grid.interval
    ranges = (
        (0.0, float(num_receivers - 1)),
        what.burst_traces,
        (0.0, end),
        what.burst_duration,
        what.burst_frequency,
        what.burst_level,
        (0.0, 1.0),
    )
    columns = jax.vmap(lambda k: draw(k, *ranges))(jax.random.split(key, what.bursts)).T
    middle, width, moment, duration, frequency, level, phase = columns[:, :, None]
    away = jnp.abs(np.arange(num_receivers) - jnp.round(middle)) / (width + 1)
    across = jnp.where(away < 1, jnp.cos(jnp.pi / 2 * away) ** 2, 0.0)
    time = np.arange(grid.num_samples) * grid.interval - moment
    pulse = jnp.exp(-0.5 * (time / duration) ** 2) * phasor(frequency * time + phase).real
    return Products(across.T, level * pulse)


def spikes(key: jax.Array, what: Noise, traces: jax.Array, interval: float) -> jax.Array:
    """`traces` with single samples that are wrong by either sign."""
    count, num_samples = traces.shape
    mean = what.spike_rate * count * num_samples * interval
    if what.spike_level[1] == 0 or mean == 0:
        return traces
    slots = int(mean + 6 * mean**0.5) + 2  # more are asked for once in a billion panels
    chance, share, sign = jax.random.uniform(key, (3, slots))
    place_key, time_key = jax.random.split(jax.random.fold_in(key, 1))
    low, high = what.spike_level
    size = jnp.where(sign < 0.5, -1.0, 1.0) * (low + (high - low) * share)
    size = jnp.where(chance < mean / slots, size, 0.0)
    where = (
        jax.random.randint(place_key, (slots,), 0, count),
        jax.random.randint(time_key, (slots,), 0, num_samples),
    )
    return traces.at[where].add(size)


def _add_waves(delay: jax.Array, spectra: jax.Array, rate: jax.Array | np.ndarray) -> jax.Array:
    """Sum over waves of spectra (wave, frequency) * exp(-2 pi i delay (wave, receiver) * rate (frequency,))."""

    def add(total, wave):
        wave_delay, spectrum = wave
        return total + spectrum * phasor(wave_delay[:, None] * rate), None

    zeros = jnp.zeros((delay.shape[1], spectra.shape[1]), jnp.complex64)
    return jax.lax.scan(add, zeros, (delay, spectra))[0]


def _band(band: Range, grid: Grid) -> tuple[int, np.ndarray, jax.Array]:
    """First number, frequencies and log-normal shape of a spectrum whose standard deviations end at `band`."""
    f = grid.frequency[1:-1]
    shape = np.exp(-0.5 * (np.log(f / np.sqrt(band[0] * band[1])) / np.log(band[1] / band[0]) * 2) ** 2)
    inside = np.flatnonzero((f >= band[0] / 2) & (f <= band[1] * 2))
    if shape[inside].max(initial=0.0) < _FAINTEST:
        step = 1 / (grid.length * grid.interval)
        raise UserError(
            f"noise: no multiple of {step:g} Hz lies in {band} Hz; make panels longer, or the band wider or higher"
        )
    return int(inside[0]) + 1, f[inside], jnp.asarray(shape[inside], jnp.float32)


def _unit(spectrum: jax.Array, grid: Grid) -> jax.Array:
    """A spectrum (receiver, frequency), without 0 Hz and Nyquist, at rms 1 over receivers and the transform's time."""
    power = 2 * jnp.sum(jnp.square(spectrum.real) + jnp.square(spectrum.imag)) / grid.length**2 / len(spectrum)
    return spectrum / jnp.sqrt(power)


def _along(places: np.ndarray, directions: jax.Array) -> jax.Array:
    """Distance along each direction (wave,), radians from x to y: (wave, receiver), m."""
    x, y, _ = _centred(places)
    return jnp.cos(directions)[:, None] * x + jnp.sin(directions)[:, None] * y


def _centred(places: np.ndarray) -> np.ndarray:
    """Rows x, y from the array's middle and z as it is: float32 (3, receiver)."""
    return (places - places.mean(axis=0) * [1, 1, 0]).T.astype(np.float32)


def _complex_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    real, imaginary = jax.random.normal(key, (2, *shape))
    return jax.lax.complex(real, imaginary)
