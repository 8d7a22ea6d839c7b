"""Amplitudes in fewer bits: whole numbers with a scale, 16-bit floats, and the error that this makes."""

import math
from dataclasses import astuple, dataclass, fields
from typing import Any, Self

import numpy as np

from seisjax.errors import WrongDataError

SCALED = ("int8", "int16")


@dataclass(frozen=True)
class Encoding:
    """How samples are stored: as `dtype`, whole numbers divided by `scale` where there is one.

    With a scale, `missing` (the type's lowest value) stands for no datum, and what is past the type's range
    saturates. Whole numbers without a scale hold the source's own.
    """

    dtype: np.dtype
    scale: float | None = None

    @property
    def limit(self) -> int:
        """The greatest whole number that stands for a sample; so does its negative."""
        return int(np.iinfo(self.dtype).max)

    @property
    def missing(self) -> float:
        """What is stored where there is no datum."""
        if self.scale is not None:
            return int(np.iinfo(self.dtype).min)
        return math.nan if self.dtype.kind == "f" else 0

    @property
    def lossy(self) -> bool:
        """Whether the error is worth recording."""
        return self.scale is not None or self.dtype == np.float16

    def attributes(self) -> dict[str, Any]:
        """Array attributes that say how to read it."""
        return {} if self.scale is None else {"scale_factor": self.scale, "missing_value": self.missing}

    def encode(self, values: np.ndarray, name: str) -> np.ndarray:
        """Samples as they are stored. Raises WrongDataError where a type without a scale does not hold them."""
        if self.scale is not None:
            scaled = np.rint(values.astype(np.float32, copy=False) / np.float32(self.scale))
            gone = ~np.isfinite(scaled)
            stored = np.clip(np.where(gone, 0, scaled), -self.limit, self.limit).astype(self.dtype)
            stored[gone] = self.missing
            return stored
        if self.dtype == np.float32 or values.dtype == self.dtype:
            return values.astype(self.dtype, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            stored = values.astype(self.dtype)
        if self.dtype.kind == "f":  # neither too large nor so small that nothing is left of it
            holds = (np.isfinite(stored) == np.isfinite(values)) & ((stored == 0) == (values == 0))
        else:
            holds = stored == values
        if not np.all(holds):
            raise WrongDataError(
                f"{name}: sample {values[~holds][0]} does not fit --dtype={self.dtype}; use --dtype=float32 or int16"
            )
        return stored

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """float32 samples as a reader gets them, NaN where there is no datum."""
        values = stored.astype(np.float32, copy=False)
        if self.scale is not None:
            values = np.where(stored == self.missing, np.float32(np.nan), values * np.float32(self.scale))
        return values


@dataclass(frozen=True)
class Errors:
    """What storing changed: sums over samples, in float64."""

    count: int = 0
    signal: float = 0.0  # sum of squares of the samples
    noise: float = 0.0  # sum of squares of the differences
    worst: float = 0.0
    saturated: int = 0

    @classmethod
    def between(cls, values: np.ndarray, decoded: np.ndarray, encoding: Encoding) -> Self:
        """Of samples and what is read back; NaN and Inf are left out."""
        wide = values.astype(np.float64)
        wide = wide[np.isfinite(wide)]
        if not wide.size:
            return cls()
        difference = wide - decoded[np.isfinite(values)]
        saturated = 0
        if encoding.scale is not None:
            saturated = int(np.count_nonzero(np.abs(wide) > (encoding.limit + 0.5) * encoding.scale))
        worst = float(np.abs(difference).max())
        return cls(wide.size, float(wide @ wide), float(difference @ difference), worst, saturated)

    def merge(self, other: Self) -> Self:
        """Of both."""
        return type(self)(
            self.count + other.count,
            self.signal + other.signal,
            self.noise + other.noise,
            max(self.worst, other.worst),
            self.saturated + other.saturated,
        )

    def array(self) -> np.ndarray:
        """The fields as float64."""
        return np.array(astuple(self), np.float64)

    @classmethod
    def from_array(cls, values: np.ndarray) -> Self:
        """What `array` was made of."""
        count, signal, noise, worst, saturated = values.tolist()
        return cls(int(count), signal, noise, worst, int(saturated))

    def summary(self) -> dict[str, float | None]:
        """For an array's attributes: errors in the samples' own units; `snr_db` is None where nothing changed."""
        snr = 10 * math.log10(self.signal / self.noise) if self.noise and self.signal else None
        count = max(self.count, 1)
        return {
            "rms_error": math.sqrt(self.noise / count),
            "max_error": self.worst,
            "snr_db": snr,
            "saturated_share": self.saturated / count,
        }


NUM_ERRORS = len(fields(Errors))


def choose_scale(values: np.ndarray, counts: np.ndarray, dtype: np.dtype, greatest: float, whole: bool) -> float:
    """The scale of least mean square error for samples of which `counts` lie at `values`.

    Rounding errors are taken as spread evenly over a step; what becomes 0 and what is past the range is counted as it
    is. `greatest` is the greatest absolute sample. Samples that are all whole numbers and fit are stored as they are.
    """
    limit = int(np.iinfo(dtype).max)
    if not greatest:
        return 1.0
    if whole and greatest <= limit:
        return 1.0
    values, counts = values[values != 0], counts[values != 0]  # 0 stays 0
    order = np.argsort(np.abs(values))
    sizes, weights = np.abs(values)[order].astype(np.float64), counts[order].astype(np.float64)
    above = [np.concatenate([np.cumsum((weights * sizes**power)[::-1])[::-1], [0.0]]) for power in range(3)]

    def error(ends: np.ndarray) -> np.ndarray:
        step = ends / limit
        rounded = np.searchsorted(sizes, step / 2)
        first = np.searchsorted(sizes, ends + step / 2, side="right")
        zeroed = above[2][0] - above[2][rounded]
        clipped = above[2][first] - 2 * ends * above[1][first] + ends**2 * above[0][first]
        return zeroed + (above[0][rounded] - above[0][first]) * step**2 / 12 + clipped

    ends = greatest * 2.0 ** -np.arange(0, 16, 1 / 16)
    best = ends[np.argmin(error(ends))]
    ends = np.minimum(best * 2.0 ** np.linspace(-1 / 16, 1 / 16, 257), greatest)
    return float(np.float32(ends[np.argmin(error(ends))] / limit))
