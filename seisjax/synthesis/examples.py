"""What a generator makes of its parameters and a seed: example i is the same wherever it is made."""

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box, Shape
from seisjax.synthetic import MakeWindow


class Kind(NamedTuple):
    """An array of the volume that is made with the amplitudes."""

    dtype: Any
    fill: Any
    attributes: dict[str, Any]
    traces: bool = False  # whether it has a value for each trace, not for each sample


class Table(NamedTuple):
    """A small array of the volume, over dimensions of its own."""

    dimension_names: tuple[str, ...]
    values: np.ndarray
    attributes: dict[str, Any]


class Made(NamedTuple):
    """A block of the volume, by the names of its arrays; not to be written to."""

    arrays: dict[str, np.ndarray]
    event: dict[str, float] | None = None  # what happened in it


class Examples(ABC):
    """The examples of a seed, laid out as a volume. Can be pickled.

    Args:
      parameters: the generator's, a dataclass.
      seed: 0 to 2^32 - 1.
      data: what else enters, arrays from files.

    Raises UserError for another seed.
    """

    generator: ClassVar[str]
    version: ClassVar[int]  # of what the generator computes; raised when the same parameters come to give others
    what: ClassVar[str]  # a block, for people
    event_names: tuple[str, ...] = ()  # numbers that `Made.event` says of a block

    def __init__(self, parameters: Any, seed: int, data: Sequence[np.ndarray | None] = ()):
        if not 0 <= seed < 2**32:
            raise UserError(f"seed={seed}: must lie between 0 and 2^32 - 1")
        self.parameters, self.seed = parameters, seed
        digest = hashlib.sha256(f"{self.generator} {self.version}/{parameters}/{seed}/".encode())
        for values in data:
            digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        self._programs: dict[str, Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.parameters, self.seed)

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the volume."""
        return {
            "generator": self.generator,
            "generator_version": self.version,
            "parameters": asdict(self.parameters),
            "seed": self.seed,
            "sampling_interval": self.parameters.sampling_interval * 1e3,
        }

    @abstractmethod
    def axes(self, num_examples: int) -> tuple[Axis, ...]:
        """The volume's axes."""

    @abstractmethod
    def kind(self, num_examples: int) -> str:
        """The volume's kind."""

    @abstractmethod
    def layout(self, num_examples: int) -> tuple[Shape | None, Shape]:
        """Chunk of the stored volume (None: its kind's), and the block that is made, and written, as a whole."""

    @abstractmethod
    def arrays(self) -> dict[str, Kind]:
        """What is made beside the amplitude and the trace mask: the labels, and more."""

    def constants(self) -> dict[str, Table]:
        """What is the same for every example."""
        return {}

    def tables(self, num_examples: int, events: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, Table]:
        """What a stored volume says of its examples. events: number and event of each block that had one."""
        del num_examples, events
        return {}

    @abstractmethod
    def start(self, box: Box) -> Callable[[], Made]:
        """Begin to make a block of the volume on the host's processor; calling what is returned waits for it."""

    def trace_mask(self, box: Box) -> np.ndarray:
        """Which traces of a box (over all axes but the last) hold data, without making them."""
        return np.ones(box.shape, bool)

    @abstractmethod
    def window(self, label: str, sides: Sequence[int]) -> MakeWindow:
        """What makes windows with these sides along an example's axes, as part of a jitted function.

        A window is an image float32, NaN on dead traces, and the labels of the array `label`, IGNORE there. What lies
        outside the example is of no meaning.
        """

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Temporaries of making a block on the host, and the block itself, bytes."""

    def program(self, what: str, function: Callable[..., Any], *shapes: tuple[Any, Shape]) -> Callable[..., Any]:
        """A function of (seed, *arguments), compiled once for the host; shapes: type and shape of each argument."""
        with self._lock:  # by one of the reading threads alone
            if what not in self._programs:
                place = SingleDeviceSharding(_host())  # whatever accelerators there are
                arguments = [jax.ShapeDtypeStruct(shape, dtype, sharding=place) for dtype, shape in shapes]
                seed = jax.ShapeDtypeStruct((), np.uint32, sharding=place)
                self._programs[what] = jax.jit(function).lower(seed, *arguments).compile()
            return self._programs[what]


def _host() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise UserError(
            "JAX_PLATFORMS: leaves out the host, where synthetic volumes are made; add cpu to it, e.g. cuda,cpu"
        ) from error
