"""The faulted volumes of a seed: one survey of any size, or many examples."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX
from seisjax.geometry import Axis, Box, Shape, round_up
from seisjax.synthesis.examples import Examples, Kind, Made, Table
from seisjax.synthetic import MakeWindow
from seisjax.synthetic.fault_parameters import FaultedVolume
from seisjax.synthetic.faults import Block, block_generator, draw_earth, keys_of
from seisjax.volumes.metadata import unit_attributes

_CHUNK = 64  # side of a chunk
_BLOCK = 2**21  # samples that are made and written at a time, about

# Units of what a stored volume says of each example and of each fault.
_UNITS = {"frequency": "Hz", "strike": "degrees", "dip": "degrees", "rake": "degrees", "slip": "samples"}


class FaultedVolumes(Examples):
    """The faulted volumes of `parameters` and `seed`: a volume (example, inline, crossline, time in ms).

    A single one is a survey: it has the axes (inline, crossline, time). Raises UserError for a seed outside 0 to
    2^32 - 1.
    """

    generator = "faults"
    version = 1
    what = "block"

    parameters: FaultedVolume

    def __init__(self, parameters: FaultedVolume, seed: int):
        super().__init__(parameters, seed)

    def axes(self, num_examples: int) -> tuple[Axis, ...]:
        """The axes; lines are counted from 0."""
        inlines, crosslines, samples = self.parameters.shape
        time = np.arange(samples) * self.parameters.sampling_interval * 1e3
        survey = (
            Axis("inline", np.arange(inlines, dtype=np.int32)),
            Axis("crossline", np.arange(crosslines, dtype=np.int32)),
            Axis("time", time.round(6), "ms"),
        )
        return survey if num_examples == 1 else (Axis("example", np.arange(num_examples, dtype=np.int32)), *survey)

    def kind(self, num_examples: int) -> str:
        """The volume's kind."""
        return "survey" if num_examples == 1 else "panels"

    def layout(self, num_examples: int) -> tuple[Shape | None, Shape]:
        """Chunks are cubes; a block is all samples down of as many traces as are quickly made."""
        lines, samples = list(self.parameters.shape[:2]), self.parameters.shape[2]
        while math.prod(lines) * samples > _BLOCK and max(lines) > _CHUNK:
            longest = int(np.argmax(lines))
            lines[longest] = round_up(-(-lines[longest] // 2), _CHUNK)
        one = (1,) * (num_examples > 1)
        return (*one, _CHUNK, _CHUNK, _CHUNK), (*one, *lines, samples)

    def arrays(self) -> dict[str, Kind]:
        """Labels, and what else is known of each sample and of each trace."""
        count = self.parameters.layers.horizons
        horizons = [f"horizon {k}" for k in range(1, count + 1)]
        facies = [f"facies {k}" for k in range(1, count + 2)]
        labels = {"fault": ["none", "fault"], "facies": facies, "horizon": ["none", *horizons]}
        kinds = {
            LABELS_PREFIX + name: Kind(np.uint8, IGNORE, {"class_names": classes}) for name, classes in labels.items()
        }
        kinds["fault_id"] = Kind(np.uint8, 0, {"description": "number of the fault, 1 is the oldest; 0: none"})
        kinds["fault_slip"] = Kind(
            np.float32, math.nan, {"units": "samples", "description": "negative: a reverse fault"}
        )
        kinds["geological_time"] = Kind(np.float32, math.nan, {"units": "samples"})
        for number in range(1, count + 1):
            kinds[f"horizon_{number}"] = Kind(np.float32, math.nan, unit_attributes("ms"), traces=True)
        return kinds

    def tables(self, num_examples: int, events: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, Table]:
        """What each example is, and each fault: arrays example_<name> along the examples, faults_<name> along all
        faults, whose example and number (as in fault_id) are two of them."""
        make = self.program("earth", self._earth, (np.uint32, ()))
        found = [jax.tree.map(np.asarray, make(np.uint32(self.seed), np.uint32(i))) for i in range(num_examples)]
        counts = np.array([one.faults.count for one in found], np.int32)
        examples = {"snr": [one.snr for one in found], "frequency": [one.frequency for one in found], "faults": counts}
        faults = {
            "example": np.repeat(np.arange(num_examples, dtype=np.int32), counts),
            "number": np.concatenate([np.arange(1, n + 1, dtype=np.int32) for n in counts]),
        }
        for name in ("strike", "dip", "rake", "slip"):
            faults[name] = np.concatenate([getattr(one.faults, name)[: one.faults.count] for one in found])
        faults["strike"] %= 360
        along = {"example": examples, "faults": faults}
        return {
            f"{of}_{name}": Table(("example" if of == "example" else "fault",), np.asarray(values), _units(name))
            for of, columns in along.items()
            for name, values in columns.items()
        }

    def _earth(self, seed, number):
        return draw_earth(self.parameters, keys_of(seed, number)[0])

    def start(self, box: Box) -> Callable[[], Made]:
        """Begin to make a block on the host's processor; calling what is returned waits for it."""
        *examples, inline, crossline, _ = box.start
        number = np.uint32(sum(examples))  # 0 where the volume is one example
        block = self._block()(np.uint32(self.seed), number, np.array([inline, crossline], np.int32))

        def finish() -> Made:
            cut = Box.whole(box.shape[-3:]).slices  # a block at the volume's end is smaller
            arrays = {name: np.asarray(values)[cut[: values.ndim]] for name, values in self._named(block).items()}
            return Made({name: values[None] if examples else values for name, values in arrays.items()})

        return finish

    def _block(self) -> Any:
        """The compiled function (seed, number, start) -> Block."""
        generate = block_generator(self.parameters, self.layout(1)[1][:2])  # pyright: ignore[reportArgumentType]
        return self.program("block", generate, (np.uint32, ()), (np.int32, (2,)))

    def _named(self, block: Block) -> dict[str, Any]:
        """A block by the names of its arrays; depths of horizons in ms."""
        labels = {LABELS_PREFIX + name: getattr(block, name) for name in ("fault", "facies", "horizon")}
        others = {name: getattr(block, name) for name in ("fault_id", "fault_slip", "geological_time")}
        depth = np.asarray(block.horizon_depth) * np.float32(self.parameters.sampling_interval * 1e3)
        horizons = {f"horizon_{k + 1}": depth[..., k] for k in range(depth.shape[-1])}
        return {AMPLITUDE: block.amplitude, **labels, **others, **horizons}

    def window(self, label: str, sides: Sequence[int]) -> MakeWindow:
        """See `Examples.window`; no more traces are made than the window has."""
        name, (inlines, crosslines, samples) = label.removeprefix(LABELS_PREFIX), sides
        block = block_generator(self.parameters, (inlines, crosslines))

        def make(number, start):
            made = block(jnp.uint32(self.seed), number, jnp.stack([start[0], start[1]]))
            place = start[2] + jnp.arange(samples)
            return tuple(jnp.take(values, place, -1, mode="clip") for values in (made.amplitude, getattr(made, name)))

        return make  # pyright: ignore[reportReturnType]

    def memory(self) -> tuple[int, int]:
        """Temporaries of making a block on the host, and the block itself, bytes."""
        memory = self._block().memory_analysis()
        return memory.temp_size_in_bytes, memory.output_size_in_bytes


def _units(name: str) -> dict[str, Any]:
    return {"units": _UNITS[name]} if name in _UNITS else {}
