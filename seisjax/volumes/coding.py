"""What stored samples stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class Coding:
    """A stored number x is the amplitude x * scale + offset, or no datum where it is one of `missing` or not finite.

    As the attributes `scale_factor`, `add_offset` and `missing_value` of the CF conventions say.
    """

    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Self:
        """The coding that an array's attributes tell."""
        missing = np.atleast_1d(attributes.get("missing_value", []))
        return cls(attributes.get("scale_factor", 1), attributes.get("add_offset", 0), tuple(missing.tolist()))

    def amplitudes(self, stored: np.ndarray) -> np.ndarray:
        """float32, NaN where there is no datum; float32 samples are changed in place."""
        with np.errstate(over="ignore"):  # float64 past float32 counts as Inf
            values = stored.astype(np.float32, copy=False)
        values[np.isinf(values)] = np.nan
        for number in self.missing:
            values[values == np.float32(number)] = np.nan
        scale, offset = np.float32(self.scale), np.float32(self.offset)
        if scale != 1:
            values *= scale
        if offset != 0:
            values += offset
        return values

    def fill(self, dtype: np.dtype) -> Any:
        """What stands for no datum where samples of this type are handed to the device as they are stored; None where
        nothing does, or where the device would not know what they stand for: they have to be decoded before.

        Floats are handed over where they are amplitudes themselves, whole numbers where exactly one is missing and
        there is no offset: a device may round a product and a sum once, where the host rounds twice.
        """
        if dtype.kind == "f" and dtype.itemsize <= 4 and self == Coding():
            return np.nan
        if dtype.kind in "iu" and dtype.itemsize <= 4 and self.offset == 0:
            limits = np.iinfo(dtype)
            numbers = {int(m) for m in self.missing if float(m).is_integer() and limits.min <= m <= limits.max}
            return numbers.pop() if len(numbers) == 1 else None
        return None
