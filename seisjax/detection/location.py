"""Where events may be, and when their waves reach each receiver: tables of travel times to search in."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from seisjax.synthetic.traveltimes import trace_rays

_LARGEST_TABLE = 4000  # nodes; a finer grid would find no more at a coarse tolerance
_BLOCK = 256  # nodes whose travel times are computed together


@dataclass(frozen=True)
class Speed:
    """A wave's speed v(z) = speed + gradient * (z - mean receiver depth): ranges (low, high), m/s and 1/s."""

    speed: tuple[float, float]
    gradient: tuple[float, float]

    @property
    def middle(self) -> tuple[float, float]:
        """Speed and gradient in the middle of their ranges."""
        return sum(self.speed) / 2, sum(self.gradient) / 2


@dataclass(frozen=True)
class Ground:
    """What is known about the ground and the events in it."""

    p: Speed
    s: Speed | None
    depth: tuple[float, float]  # of sources, m
    margin: float = 0.0  # epicentres lie up to so far outside the receivers' bounding box, m

    @classmethod
    def of(cls, parameters: Any) -> Self:
        """From the parameters of the microseismic generator: the object, or the tree of dicts that volumes keep."""

        def get(node: Any, name: str) -> Any:
            return node[name] if isinstance(node, Mapping) else getattr(node, name)

        def speed(name: str) -> Speed:
            medium = get(parameters, name)
            return Speed(tuple(get(medium, "speed")), tuple(get(medium, "gradient")))

        source = get(parameters, "source")
        s = speed("s") if "S" in get(parameters, "phases") else None
        return cls(speed("p"), s, tuple(get(source, "depth")), float(get(source, "margin")))


class Nodes(NamedTuple):
    """Candidates for what crossed the array, and when each receiver would see it."""

    places: np.ndarray  # (node, 3) m in the receivers' coordinates; NaN for plane waves
    times: np.ndarray  # float32 (node, receiver) s after the origin time; of plane waves: after they pass the middle


class Locator:
    """Travel times from places under an array to its receivers."""

    def __init__(self, places: np.ndarray, ground: Ground):
        """places: x, y, z of the receivers, m, (receiver, 3)."""
        self.ground = ground
        self.centre = np.append(np.nanmean(places[:, :2], axis=0), 0.0)
        self.receivers = np.asarray(places - self.centre, np.float32)  # float32 holds map coordinates to 0.5 m only
        self._datum = float(self.receivers[:, 2].mean())
        self._p = jax.jit(lambda nodes: self._trace(nodes, *ground.p.middle))
        s = ground.s or ground.p
        self._s = jax.jit(lambda nodes: self._trace(nodes, *s.middle))
        low, high = self.receivers[:, :2].min(axis=0), self.receivers[:, :2].max(axis=0)
        self.low = np.append(low - ground.margin, ground.depth[0])
        self.high = np.append(high + ground.margin, ground.depth[1])
        self._tables: dict[tuple[str, float], Nodes] = {}  # they are searched again for every panel

    def _trace(self, nodes: jax.Array | np.ndarray, speed: float, gradient: float) -> jax.Array:
        dx, dy = (nodes[:, None, i] - self.receivers[:, i] for i in (0, 1))
        depth = self.receivers[:, 2] - self._datum
        return trace_rays(jax.numpy.hypot(dx, dy), nodes[:, None, 2] - self._datum, depth, speed, gradient).time

    def times(self, nodes: np.ndarray, phase: str = "P") -> np.ndarray:
        """Travel times float32 (node, receiver), s, from places (node, 3) relative to the array's centre."""
        trace, nodes = (self._p if phase == "P" else self._s), np.asarray(nodes, np.float32)
        blocks = []
        for k in range(0, len(nodes), _BLOCK):
            part = nodes[k : k + _BLOCK]
            size = 1 << (len(part) - 1).bit_length()  # few shapes, so that few programs serve all
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            blocks.append(np.asarray(trace(filled))[: len(part)])
        return np.concatenate(blocks)

    def spacing(self, tolerance: float) -> np.ndarray:
        """Distance of grid nodes, m (3,): half of it costs `tolerance` s, or more where nodes would be too many."""
        step = np.full(3, 2 * tolerance * self.ground.p.speed[0])
        while np.prod(np.ceil((self.high - self.low) / step) + 1) > _LARGEST_TABLE:
            step *= 1.1
        return step

    def grid(self, tolerance: float) -> Nodes:
        """Places all over the region where events may be, and their P times."""
        if ("grid", tolerance) in self._tables:
            return self._tables["grid", tolerance]
        counts = np.ceil((self.high - self.low) / self.spacing(tolerance)).astype(int) + 1
        lines = [
            np.linspace(a, b, n) if n > 1 else [(a + b) / 2]
            for a, b, n in zip(self.low, self.high, counts, strict=True)
        ]
        places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)
        return self._tables.setdefault(("grid", tolerance), Nodes(places, self.times(places)))

    def plane_waves(self, tolerance: float) -> Nodes:
        """Waves that cross the array along straight lines, at P speed or faster, down to all at once.

        They come from far outside the region of events: air guns, ships, earthquakes, or a jolt of the electronics.
        """
        if ("waves", tolerance) in self._tables:
            return self._tables["waves", tolerance]
        x = self.receivers[:, :2] - (self.receivers[:, :2].min(axis=0) + self.receivers[:, :2].max(axis=0)) / 2
        radius = max(float(np.hypot(*x.T).max()), 1.0)
        largest = 1.15 / self.ground.p.speed[0]  # sound in the water is slower than P under the seabed
        count = min(int(np.ceil(largest * radius / tolerance)), 30)
        line = np.linspace(-largest, largest, 2 * count + 1)
        slowness = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        slowness = slowness[np.hypot(*slowness.T) <= largest]
        waves = Nodes(np.full((len(slowness), 3), np.nan), (slowness @ x.T).astype(np.float32))
        return self._tables.setdefault(("waves", tolerance), waves)

    @cached_property
    def p_doubt(self) -> float:
        """How far P travel times may be off, as a share, because speeds are known as ranges."""
        return self._doubt(self.ground.p)

    @cached_property
    def s_doubt(self) -> float:
        """The same of S; 0 where there is no S."""
        return self._doubt(self.ground.s) if self.ground.s else 0.0

    @cached_property
    def span(self) -> float:
        """How long the waves of one event may take from the first receiver to the last, s."""
        corners = np.stack(np.meshgrid(*zip(self.low, self.high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
        latest = (1 + self.p_doubt) * float(self.times(corners).max())
        if self.ground.s:
            latest = max(latest, (1 + self.s_doubt) * float(self.times(corners, "S").max()))
        return latest

    def _doubt(self, speed: Speed) -> float:
        middle = np.append(self.receivers[:, :2].mean(axis=0), sum(self.ground.depth) / 2)[None].astype(np.float32)
        low, high = (
            np.asarray(self._trace(middle, speed.speed[i], speed.gradient[i])).mean(dtype=np.float64) for i in (0, 1)
        )
        return float((low - high) / (low + high))
