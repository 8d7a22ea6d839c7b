"""Coherence of neighbouring traces: near 1 where layers go on, low where something cuts them. The classical fault cue.

The semblance of analytic traces along the dip that makes it largest (Marfurt, Kirlin, Farmer & Bahorich 1998,
Geophysics 63, 1150-1165, doi:10.1190/1.1444415).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d


@dataclass(frozen=True)
class CoherenceWindow:
    """What the coherence of a sample is measured in.

    traces: to either side along inlines and along crosslines; 1 is 3 x 3 traces. samples: above and below. steepest:
    largest dip that is tried, samples a trace. steps: dips to a sample a trace.
    """

    traces: int = 1
    samples: int = 4
    steepest: float = 1.0
    steps: int = 4


def coherence(amplitude: np.ndarray, window: CoherenceWindow) -> np.ndarray:
    """Coherence float32 (inline, crossline, sample), 0 to 1; 1 where no trace has energy.

    amplitude: (inline, crossline, sample), what is not finite is no data: it and what lies outside enter nothing. One
    side of one trace makes a section. Memory: about 10 + 5 window.steps float32 numbers a sample.
    """
    live = np.isfinite(amplitude)
    shifted = _Shifted(np.where(live, amplitude, 0.0).astype(np.float32), live, window)
    best = np.zeros(amplitude.shape, np.float32)
    for dip in _dips(window, amplitude.shape):
        best = np.maximum(best, _semblance(shifted, dip, window))
    return best


def _dips(window: CoherenceWindow, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Dips along inlines and crosslines, in 1 / steps samples a trace, up to the steepest; 0 along a single trace."""
    most = math.floor(window.steepest * window.steps + 1e-6)
    along = [range(-most, most + 1) if side > 1 else (0,) for side in shape[:2]]
    return ((p, q) for p, q in itertools.product(*along) if math.hypot(p, q) <= most + 1e-6)


class _Shifted:
    """Neighbours of all traces, moved up by fractions of a sample."""

    def __init__(self, amplitude: np.ndarray, live: np.ndarray, window: CoherenceWindow):
        lateral, self.steps = window.traces, window.steps
        self.shape, self.lateral = amplitude.shape, lateral
        self.reach = math.ceil(2 * lateral * window.steepest) + 1
        around = ((lateral, lateral), (lateral, lateral), (self.reach, self.reach))
        self.values = np.pad(_analytic(amplitude, window.steps), ((0, 0), *around))
        self.power = _squares(self.values)
        self.live = np.pad(live.astype(np.float32), around)

    def __call__(self, x: int, y: int, shift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Analytic trace, its power and whether it holds data, of the neighbours (x, y), `shift` / steps below."""
        whole, part = divmod(shift, self.steps)
        start = (self.lateral + x, self.lateral + y, self.reach + whole)
        cut = tuple(slice(a, a + side) for a, side in zip(start, self.shape, strict=True))
        return self.values[part][cut], self.power[part][cut], self.live[cut]


def _semblance(shifted: _Shifted, dip: tuple[int, int], window: CoherenceWindow) -> np.ndarray:
    """Energy of the traces' mean over the mean of their energies, along one dip, of the traces that are there."""
    stack = np.zeros(shifted.shape, np.complex64)
    power, count = np.zeros(shifted.shape, np.float32), np.zeros(shifted.shape, np.float32)
    for x, y in itertools.product(range(-window.traces, window.traces + 1), repeat=2):
        values, energy, live = shifted(x, y, x * dip[0] + y * dip[1])
        stack += values
        power += energy
        count += live
    common = _squares(stack) / np.maximum(count, 1)
    common, power = (uniform_filter1d(a, 2 * window.samples + 1, mode="constant") for a in (common, power))
    seen = power > 1e-12 * max(float(power.max()), 1e-30)
    return np.where(seen, common / np.where(seen, power, 1.0), 1.0).clip(0.0, 1.0)


def _squares(values: np.ndarray) -> np.ndarray:
    return np.real(values) ** 2 + np.imag(values) ** 2


def _analytic(amplitude: np.ndarray, steps: int) -> np.ndarray:
    """Analytic traces (Taner et al. 1979) complex64 (steps, inline, crossline, sample), the k-th by k / steps down."""
    count = amplitude.shape[-1]
    length = 1 << (3 * count // 2).bit_length()  # what goes round stays outside
    spectrum = np.fft.fft(amplitude, length)
    frequency = np.arange(length // 2 + 1)
    weight = np.where((frequency == 0) | (2 * frequency == length), 1, 2)  # negative frequencies are added to positive
    parts = []
    for k in range(steps):
        turned = np.zeros_like(spectrum)
        turn = weight * np.exp(2j * np.pi * frequency * k / (steps * length))
        turned[..., : length // 2 + 1] = spectrum[..., : length // 2 + 1] * turn.astype(np.complex64)
        parts.append(np.fft.ifft(turned)[..., :count].astype(np.complex64))
    return np.stack(parts)
