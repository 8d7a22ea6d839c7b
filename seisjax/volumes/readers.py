"""What every survey format gives to ingest: axes, a type, and the traces above any box of cells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from seisjax.geometry import Axis, Box, Shape


@dataclass(frozen=True)
class Column:
    """The traces above a box of cells, laid out on them.

    `samples` is (*cells, num_samples) in the reader's type: NaN (floats) or 0 where there is no datum. `live` is
    (*cells,) boolean: a trace is there and not dead. `headers` are trace-wise arrays over the cells: float64
    coordinates (NaN where there is no trace), whole numbers (0 where there is none).
    """

    samples: np.ndarray
    live: np.ndarray
    headers: dict[str, np.ndarray] = field(default_factory=dict)


class SurveyReader(Protocol):
    """A survey that is read column by column; a context manager.

    `dtype` holds every sample; `attributes` is what the volume is to remember of its source (e.g. source_file,
    header_bytes, sampling_interval, sample_format, num_traces).
    """

    @property
    def name(self) -> str:
        """What messages call it: the path or URL."""
        ...

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Slowest first, the vertical last."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The native type of the samples."""
        ...

    @property
    def attributes(self) -> dict[str, Any]:
        """What the volume remembers of its source."""
        ...

    @property
    def array_attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """What the volume's arrays remember, by their names: units, and what an array of another volume knew."""
        ...

    def column(self, cells: Box) -> Column:
        """The traces above `cells`, a box over all axes but the last, which lies inside the survey."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def shape_of(reader: SurveyReader) -> Shape:
    """Samples along each axis."""
    return tuple(len(axis) for axis in reader.axes)
