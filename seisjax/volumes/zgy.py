"""Surveys in ZGY files, through pyzgy (the extra `zgy`)."""

import contextlib
import gc
import io
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes.array_files import reading
from seisjax.volumes.readers import Column


class ZgyReader:
    """A ZGY file as a survey: bricks of 64^3 decoded to float32, coordinates from the corners of the survey.

    Raises UserError where pyzgy is missing or the file is not whole.
    """

    array_attributes: Mapping[str, Mapping[str, Any]] = {}

    def __init__(self, path: str, vertical: str = ""):
        """`vertical`: what the last axis is where the file does not say."""
        api = _openzgy()
        self.name = path
        self._errors = api.ZgyError
        self._file = self._open(api)
        self.dtype = np.dtype(np.float32)
        size, first, step = self._file.size, self._file.annotstart, self._file.annotinc
        depth = self._file.zunitdim == api.UnitDimension.length
        if not depth and self._file.zunitdim != api.UnitDimension.time:
            depth = vertical == "depth"
        lines = [_lines(n, a, d) for n, a, d in zip(size[:2], first, step, strict=True)]
        self._flip = [d < 0 for d in step[:2]]
        factor = self._file.zunitfactor if depth else 1000 * self._file.zunitfactor  # to m, or to ms
        if self._file.zunitdim == api.UnitDimension.unknown:
            factor = 1.0
        labels = np.round(factor * (self._file.zstart + self._file.zinc * np.arange(size[2])), 6)
        whole = np.array_equal(labels, np.round(labels))
        samples = labels.astype(np.int32) if whole else labels.astype(np.float64)
        self.axes = (
            Axis("inline", lines[0]),
            Axis("crossline", lines[1]),
            Axis("depth" if depth else "time", samples, "m" if depth else "ms"),
        )
        self.attributes: dict[str, Any] = {
            "source_file": os.path.abspath(path),
            "sampling_interval": round(factor * self._file.zinc, 6),
            "sample_format": self._file.datatype.name,
            "num_traces": size[0] * size[1],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def column(self, cells: Box) -> Column:
        """The traces above `cells`. ZGY has no dead traces: one that is 0 throughout is taken for none."""
        size = self._file.size
        places = zip(size, cells.start, cells.shape, self._flip, strict=False)
        start = [n - a - c if flip else a for n, a, c, flip in places]
        samples = np.zeros((*cells.shape, size[2]), np.float32)
        with self._reading():
            self._file.read((*start, 0), samples)
        samples = np.ascontiguousarray(samples[tuple(slice(None, None, -1 if flip else 1) for flip in self._flip)])
        live = np.asarray(samples.any(axis=-1))
        samples[~live] = np.nan
        return Column(samples, live, self._coordinates(cells))

    def _open(self, api: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # after an error the library leaves the file open
            try:
                return api.ZgyReader(self.name)
            except Exception as error:  # it falls over files that are no ZGY in ways of its own
                reason = str(error)
            gc.collect()
        raise UserError(f"{self.name}: cannot be read as ZGY ({reason}); check the file and its permissions")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with reading(self.name):
            try:
                yield
            except self._errors as error:
                raise UserError(f"{self.name}: cannot be read as ZGY ({error}); check the file") from error

    def _coordinates(self, cells: Box) -> dict[str, np.ndarray]:
        """x and y of the cells, linear between the corners."""
        corners, size = np.asarray(self._file.corners, np.float64), self._file.size
        if not corners.any():
            return {}
        steps = [(corners[1] - corners[0]) / max(size[0] - 1, 1), (corners[2] - corners[0]) / max(size[1] - 1, 1)]
        places = []
        for i in range(2):
            index = np.arange(cells.start[i], cells.stop[i], dtype=np.float64)
            places.append(size[i] - 1 - index if self._flip[i] else index)
        inline, crossline = np.meshgrid(*places, indexing="ij")
        place = [corners[0][i] + inline * steps[0][i] + crossline * steps[1][i] for i in range(2)]
        return {"cdp_x": place[0], "cdp_y": place[1]}


def _lines(count: int, first: float, step: float) -> np.ndarray:
    """Rising line numbers."""
    labels = np.sort(first + (step or 1) * np.arange(count))
    whole = np.array_equal(labels, np.round(labels))
    return labels.astype(np.int32) if whole else labels


def _openzgy() -> Any:
    """The module, without what it says about parts of it that are missing here."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            import openzgy.api
    except ImportError as error:
        raise UserError("ZGY files need pyzgy; pip install 'seisjax[zgy]'") from error
    return openzgy.api
