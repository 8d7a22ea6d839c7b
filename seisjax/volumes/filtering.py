"""A band-pass for recordings: causal, so that nothing comes before its onset."""

import numpy as np

from seisjax.errors import UserError

Band = tuple[float | None, float | None]  # Hz; None: no bound

_ORDER = 4


def parse_band(text: str) -> Band:
    """A band from "LOW,HIGH" (Hz), either of which may be missing: "2,20", "2," or ",20". Raises UserError."""
    low, comma, high = text.partition(",")
    try:
        band = tuple(float(part) if part.strip() else None for part in (low, high))
    except ValueError:
        band = (None, None)
    bounds = [bound for bound in band if bound is not None]
    if not comma or not bounds or min(bounds) <= 0 or bounds != sorted(set(bounds)):
        raise UserError(f"--bandpass={text}: write LOW,HIGH in Hz, e.g. 2,20, or 2, to keep all above 2 Hz")
    return band[0], band[1]


def check_band(band: Band, interval: float) -> None:
    """Raise UserError for a band that reaches the Nyquist frequency of the interval (s)."""
    nyquist = 0.5 / interval
    for bound in band:
        if bound is not None and bound >= nyquist:
            raise UserError(f"--bandpass: {bound:g} Hz is not below Nyquist ({nyquist:g} Hz); lower it or leave it out")


def bandpass(samples: np.ndarray, interval: float, band: Band) -> np.ndarray:
    """Samples (rows, samples) through a Butterworth filter of 4 poles a bound, float32; NaN stays NaN.

    Every unbroken stretch is filtered by itself, as if its first value had stood for ever; `interval` in s.
    """
    from scipy import signal

    low, high = band
    kind = "bandpass" if low and high else "highpass" if low else "lowpass"
    bounds = [bound for bound in band if bound is not None]
    sections = signal.butter(_ORDER, bounds if len(bounds) > 1 else bounds[0], kind, fs=1 / interval, output="sos")
    rest = signal.sosfilt_zi(sections)
    result = np.full(samples.shape, np.nan, np.float32)
    for row, values in zip(result, samples, strict=True):
        edges = np.flatnonzero(np.diff(np.isfinite(values), prepend=False, append=False))
        for first, stop in edges.reshape(-1, 2):
            stretch = values[first:stop].astype(np.float64)
            row[first:stop] = signal.sosfilt(sections, stretch, zi=rest * stretch[0])[0]
    return result
