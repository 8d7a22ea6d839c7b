"""Small SEG-Y files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segyio

TYPES = {1: "f4", 2: "i4", 3: "i2", 5: "f4", 8: "i1"}


def save_segy(
    path: Path,
    samples: np.ndarray,
    headers: Mapping[int, np.ndarray | int],
    *,
    sample_format: int = 5,
    interval: int = 4000,
) -> Path:
    """A file of `samples` (trace, sample), with header fields by their first byte; the interval in microseconds."""
    spec: Any = segyio.spec()
    spec.format, spec.tracecount, spec.samples = sample_format, len(samples), np.arange(samples.shape[1])
    fields = {byte: np.broadcast_to(values, len(samples)) for byte, values in headers.items()}
    with segyio.create(str(path), spec) as file:
        file.bin.update({3217: interval, 3501: 1})
        for i in range(len(samples)):
            file.header[i] = {byte: int(values[i]) for byte, values in fields.items()}
        file.trace.raw[:] = np.ascontiguousarray(samples, TYPES[sample_format])
    return path


@pytest.fixture(scope="session")
def write_survey() -> Callable[..., Path]:
    """`save_segy`."""
    return save_segy


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """20 inlines (10, 12 ...) by 9 crosslines (100, 101 ...) by 30 samples, values of both signs, delay 8 ms."""
    inline, crossline = (part.ravel() for part in np.mgrid[10:50:2, 100:109])
    samples = np.random.default_rng(0).normal(size=(180, 30)).astype("f4")
    headers = {189: inline, 193: crossline, 109: 8, 71: -10, 181: 1000 + inline, 185: 500 + crossline}
    return save_segy(tmp_path / "survey.segy", samples, headers)
