"""A volume of panels that nobody stored: they are made when they are read."""

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX, TRACE_MASK
from seisjax.errors import UserError, nearest
from seisjax.geometry import Box
from seisjax.synthesis.panels import Panels, load_parameters
from seisjax.synthesis.tables import event_table, panel_axes, receiver_arrays, volume_attributes
from seisjax.volumes import LabelIndex, Pending, Volume, open_volume
from seisjax.volumes import metadata as zarr
from seisjax.volumes.store import Store

SCHEME = "synthetic:"
DEFAULT_EXAMPLES = 1_000_000
MOST_EXAMPLES = 10_000_000  # an axis label and a few bytes are kept for each

_EVENTS_KEPT = 2**16  # so that the events of a split that was read are known
PANELS_KEPT = 4  # panels that were read last are kept, so that windows of one panel cost one


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
    return SyntheticVolume(url, Panels(load_parameters(config, "synthetic"), values["seed"]), values["examples"])


class SyntheticVolume(Volume):
    """Panels 0 to num_examples - 1 with the reading interface of a stored volume; nothing is stored.

    Panels are made on the host's processor, in the thread that reads. The four read last are kept. Holds no statistics,
    and a label index that says of each panel that it may hold every class.
    """

    def __init__(self, url: str, panels: Panels, num_examples: int):
        self.panels = panels
        parameters, shape = panels.parameters, (len(panels.receivers.places), panels.parameters.num_samples)
        axes = panel_axes(parameters, shape[0], num_examples)
        self._label = LABELS_PREFIX + parameters.classes
        self._values = {axis.name: np.asarray(axis.labels) for axis in axes}
        names = [axis.name for axis in axes]
        documents = {
            axis.name: _document(len(axis), axis.labels.dtype, [axis.name], zarr.unit_attributes(axis.unit))
            for axis in axes
        }
        for name, (values, attributes) in receiver_arrays(panels).items():
            self._values[name] = values
            documents[name] = _document(len(values), values.dtype, ["receiver"], attributes)
        chunk = (1, *shape)
        for name, dtype, fill, attributes in (
            (AMPLITUDE, np.float32, math.nan, {}),
            (self._label, np.uint8, IGNORE, panels.label_attributes),
        ):
            sides = (num_examples, *shape)
            documents[name] = zarr.array_metadata(sides, np.dtype(dtype), chunk, chunk, fill, names, attributes)
        traces = ((num_examples, shape[0]), np.dtype(bool), chunk[:2], chunk[:2])
        documents[TRACE_MASK] = zarr.array_metadata(*traces, True, names[:2], {})
        own = volume_attributes(panels) | {"kind": "panels", "axes": names, "chunk": chunk, "shard": chunk}
        document: dict[str, Any] = {"consolidated_metadata": {"metadata": documents}}
        super().__init__(url, Store("memory://synthetic/"), axes, own, document=document, places={})
        self._recent = _Recent(panels, self._label)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_recent"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._recent = _Recent(self.panels, self._label)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the generator's version, its parameters, the receivers and the seed."""
        return self.panels.fingerprint

    def start_read(self, name: str, box: Box) -> Pending:
        """As `Volume.start_read`; panels are made when the samples are asked for."""
        if name in self._places:  # labels of another volume
            return super().start_read(name, box)
        info = self._info(name)
        if not Box.whole(info.shape).contains(box):
            raise ValueError(f"{box} reaches past {name} {info.shape}")
        if name in self._values:
            return lambda: self._values[name][box.slices].copy()
        numbers = range(box.start[0], box.stop[0])
        # Held from now on, so that the labels and the mask that are read with the amplitudes cost nothing.
        held = {number: self._recent.start(number) for number in numbers[:PANELS_KEPT] if name != TRACE_MASK}

        def finish() -> np.ndarray:
            values = np.empty(box.shape, info.dtype)
            for row, number in zip(values, numbers, strict=True):
                if name == TRACE_MASK and number not in self._recent:
                    row[...] = self.panels.trace_mask(number)[box.slices[1:]]
                else:
                    row[...] = (held.pop(number, None) or self._recent.start(number))()[name][box.slices[1:]]
            return values

        return finish

    def label_index(self, name: str) -> LabelIndex:
        """Says of each panel that it may hold every class: no label is looked at, and no table is kept."""
        if self._label_array(name) in self._places:
            return super().label_index(name)
        info = self._info(self._label_array(name))
        classes = max(len(info.attributes["class_names"]), info.attributes.get("label_scale", 0) + 1)
        return LabelIndex(info.chunk, np.broadcast_to(np.uint32(1), (self.shape[0], 1, 1, classes)))

    def events(self, examples: Iterable[int]) -> dict[str, np.ndarray]:
        """The event table of these panels; see `seisjax.synthesis.panel_events`."""
        return event_table((i, self._recent.event(i)) for i in examples)

    def describe(self) -> str:
        """A few lines for people."""
        seed = f"seed {self.panels.seed}, generator version {self.attributes['generator_version']}"
        return f"{super().describe()}\n  panels are made when they are read ({seed})"


class _Recent:
    """The panels that were read last, for all threads; and what happened in those of the last while."""

    def __init__(self, panels: Panels, label: str):
        self._panels, self._label = panels, label
        self._made: OrderedDict[int, _Made] = OrderedDict()
        self._events: dict[int, dict[str, float]] = {}
        self._lock = threading.Lock()

    def __contains__(self, number: int) -> bool:
        with self._lock:
            return number in self._made

    def start(self, number: int) -> "_Made":
        """The panel, perhaps not made yet."""
        with self._lock:
            if number not in self._made:
                self._made[number] = _Made(self._panels, self._label, number, self._remember)
            self._made.move_to_end(number)
            while len(self._made) > PANELS_KEPT:
                self._made.popitem(last=False)
            return self._made[number]

    def event(self, number: int) -> dict[str, float]:
        """What happened in a panel: known where it was read lately, else it is made for it."""
        if number not in self._events:
            self._remember(number, self._panels.placed(self._panels.panel(number).event))
        return self._events[number]

    def _remember(self, number: int, event: dict[str, float]) -> None:
        with self._lock:
            self._events[number] = event
            if len(self._events) > _EVENTS_KEPT:
                del self._events[next(iter(self._events))]


class _Made:
    """A panel, made by the first thread that asks for it."""

    def __init__(self, panels: Panels, label: str, number: int, remember: Callable[[int, dict[str, float]], None]):
        self._panels, self._label, self._number, self._remember = panels, label, number, remember
        self._arrays: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def __call__(self) -> dict[str, np.ndarray]:
        """Its arrays, by the names that the volume gives them; not to be written to."""
        with self._lock:
            if not self._arrays:
                panel = self._panels.panel(self._number)
                self._remember(self._number, self._panels.placed(panel.event))
                names = {AMPLITUDE: panel.amplitude, self._label: panel.labels, TRACE_MASK: panel.trace_mask}
                self._arrays = {name: np.asarray(values) for name, values in names.items()}
            return self._arrays


def _document(length: int, dtype: Any, names: list[str], attributes: dict[str, Any]) -> dict[str, Any]:
    """The document of an array along one axis."""
    return zarr.array_metadata((length,), np.dtype(dtype), (length,), (length,), 0, names, attributes)
