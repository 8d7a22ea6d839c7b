"""A volume that nobody stored: its samples are made when they are read."""

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from seisjax.conventions import AMPLITUDE, TRACE_MASK
from seisjax.errors import UserError, nearest
from seisjax.geometry import Box, tiles
from seisjax.synthesis.examples import Examples, Kind, Made
from seisjax.synthesis.generators import load_any, make_examples
from seisjax.synthesis.tables import event_table
from seisjax.volumes import LabelIndex, Pending, Volume, open_volume
from seisjax.volumes import metadata as zarr
from seisjax.volumes.store import Store

SCHEME = "synthetic:"
DEFAULT_EXAMPLES = 1_000_000
MOST_EXAMPLES = 10_000_000  # an axis label and a few bytes are kept for each

_EVENTS_KEPT = 2**16  # so that the events of a split that was read are known
BLOCKS_KEPT = 4  # blocks that were read last are kept, so that windows of one panel cost one


def open_data(url: str | Path) -> Volume:
    """Open what `data.volume` may name: a stored volume, or one that is made as it is read.

    The latter is `synthetic:PRESET_OR_FILE.py?seed=0&examples=1000000`. Raises UserError.
    """
    return open_synthetic(str(url)) if str(url).startswith(SCHEME) else open_volume(url)


def open_synthetic(url: str) -> "SyntheticVolume":
    """Open a `synthetic:` URL: the name of a preset, or a Python file as launch/synthesize.py takes it; then, as in
    any URL, `seed` (default 0) and `examples` (1,000,000; at most 10,000,000). Raises UserError.
    """
    config, _, query = url.removeprefix(SCHEME).partition("?")
    values = {"seed": 0, "examples": DEFAULT_EXAMPLES}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in values:
            raise UserError(f"{url}: '{name}' is unknown{nearest(name, values)}")
        if not re.fullmatch(r"\d+", text):
            raise UserError(f"{url}: {name}={text} is no whole number; write e.g. {name}=1000")
        values[name] = int(text)
    if not 1 <= values["examples"] <= MOST_EXAMPLES:
        raise UserError(f"{url}: examples={values['examples']}; must lie between 1 and {MOST_EXAMPLES}")
    return SyntheticVolume(url, make_examples(load_any(config, "synthetic"), values["seed"]), values["examples"])


class SyntheticVolume(Volume):
    """Examples 0 to num_examples - 1 with the reading interface of a stored volume; nothing is stored.

    They are made block by block (a panel, or some traces of a survey) on the host's processor, in the thread that
    reads. The four blocks read last are kept. Holds no statistics, and a label index that says of each block that it
    may hold every class.
    """

    reads_alone = False

    def __init__(self, url: str, examples: Examples, num_examples: int):
        self.examples = examples
        axes = examples.axes(num_examples)
        names, sides = [axis.name for axis in axes], tuple(len(axis) for axis in axes)
        self._values = {axis.name: np.asarray(axis.labels) for axis in axes}
        documents = {
            axis.name: _document(self._values[axis.name], [axis.name], zarr.unit_attributes(axis.unit)) for axis in axes
        }
        for name, (dimensions, values, attributes) in examples.constants().items():
            self._values[name] = values
            documents[name] = _document(values, dimensions, attributes)
        block = examples.layout(num_examples)[1]
        kinds = {AMPLITUDE: Kind(np.float32, math.nan, {}), TRACE_MASK: Kind(np.bool_, True, {}, traces=True)}
        for name, (dtype, fill, attributes, traces) in (kinds | examples.arrays()).items():
            last = len(names) - traces
            layout = (np.dtype(dtype), block[:last], block[:last], fill, names[:last], attributes)
            documents[name] = zarr.array_metadata(sides[:last], *layout)
        own = {"kind": examples.kind(num_examples), "axes": names, "chunk": block, "shard": block}
        own = examples.attributes | own
        document: dict[str, Any] = {"consolidated_metadata": {"metadata": documents}}
        super().__init__(url, Store("memory://synthetic/"), axes, own, document=document, places={})
        self._recent = _Recent(examples)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_recent"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._recent = _Recent(self.examples)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the generator's version, its parameters, what it took from files, and the seed."""
        return self.examples.fingerprint

    def start_read(self, name: str, box: Box) -> Pending:
        """As `Volume.start_read`; blocks are made when the samples are asked for."""
        if name in self._places:  # labels of another volume
            return super().start_read(name, box)
        info = self._info(name)
        if not Box.whole(info.shape).contains(box):
            raise ValueError(f"{box} reaches past {name} {info.shape}")
        if name in self._values:
            return lambda: self._values[name][box.slices].copy()
        parts = list(tiles(box, info.chunk))
        # Held from now on, so that the labels and the mask that are read with the amplitudes cost nothing.
        held = {part: self._recent.start(self._block(part)) for part in parts[:BLOCKS_KEPT] if name != TRACE_MASK}

        def finish() -> np.ndarray:
            values = np.empty(box.shape, info.dtype)
            for part in parts:
                place, block = part.relative_to(box.start).slices, self._block(part)
                if name == TRACE_MASK and block not in self._recent:
                    values[place] = self.examples.trace_mask(part)
                else:
                    made = (held.pop(part, None) or self._recent.start(block))().arrays
                    inner = part.relative_to(block.start[: len(part.start)]).slices
                    values[place] = made[name][inner] if name in made else True
            return values

        return finish

    def start_read_into(self, name: str, boxes: Sequence[Box], outs: Sequence[np.ndarray]) -> Callable[[], None]:
        """As `Volume.start_read_into`; blocks are made at once."""
        return self._read_each_into(name, boxes, outs)

    def _block(self, part: Box) -> Box:
        """The block that holds a part of an array, which may lie over the traces alone."""
        sides = self.arrays[AMPLITUDE].chunk
        start = [a // c * c for a, c in zip(part.start, sides, strict=False)] + [0] * (len(sides) - len(part.start))
        return Box(tuple(start), sides).intersect(Box.whole(self.shape))

    def label_index(self, name: str) -> LabelIndex:
        """Says of each block that it may hold every class: no label is looked at, and no table is kept."""
        if self._label_array(name) in self._places:
            return super().label_index(name)
        info = self._info(self._label_array(name))
        classes = max(len(info.attributes["class_names"]), info.attributes.get("label_scale", 0) + 1)
        grid = tuple(-(-n // c) for n, c in zip(info.shape, info.chunk, strict=True))
        return LabelIndex(info.chunk, np.broadcast_to(np.uint32(1), (*grid, classes)), counted=False)

    @property
    def holds_events(self) -> bool:
        """Whether something happens in its examples."""
        return bool(self.examples.event_names)

    def events(self, examples: Iterable[int]) -> dict[str, np.ndarray]:
        """The event table of these panels; see `seisjax.synthesis.panel_events`."""
        return event_table((i, self._recent.event(self._example(i))) for i in examples)

    def _example(self, number: int) -> Box:
        return Box((number,) + (0,) * (len(self.shape) - 1), (1, *self.shape[1:]))

    def describe(self) -> str:
        """A few lines for people."""
        seed = f"seed {self.examples.seed}, generator version {self.examples.version}"
        return f"{super().describe()}\n  made when it is read ({seed})"


class _Recent:
    """The blocks that were read last, for all threads; and what happened in those of the last while."""

    def __init__(self, examples: Examples):
        self._examples = examples
        self._made: OrderedDict[Box, _Making] = OrderedDict()
        self._events: dict[Box, dict[str, float]] = {}
        self._lock = threading.Lock()

    def __contains__(self, block: Box) -> bool:
        with self._lock:
            return block in self._made

    def start(self, block: Box) -> "_Making":
        """The block, perhaps not made yet."""
        with self._lock:
            if block not in self._made:
                self._made[block] = _Making(self._examples, block, self._remember)
            self._made.move_to_end(block)
            while len(self._made) > BLOCKS_KEPT:
                self._made.popitem(last=False)
            return self._made[block]

    def event(self, block: Box) -> dict[str, float]:
        """What happened in a block: known where it was read lately, else it is made for it."""
        if block not in self._events:
            self._remember(block, self._examples.start(block)())
        return self._events[block]

    def _remember(self, block: Box, made: Made) -> None:
        if made.event is None:
            return
        with self._lock:
            self._events[block] = made.event
            if len(self._events) > _EVENTS_KEPT:
                del self._events[next(iter(self._events))]


class _Making:
    """A block, made by the first thread that asks for it."""

    def __init__(self, examples: Examples, block: Box, remember: Callable[[Box, Made], None]):
        self._examples, self._block, self._remember = examples, block, remember
        self._made: Made | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Made:
        with self._lock:
            if self._made is None:
                self._made = self._examples.start(self._block)()
                self._remember(self._block, self._made)
            return self._made


def _document(values: np.ndarray, names: Sequence[str], attributes: dict[str, Any]) -> dict[str, Any]:
    """The document of a small array."""
    return zarr.array_metadata(values.shape, values.dtype, values.shape, values.shape, 0, list(names), attributes)
