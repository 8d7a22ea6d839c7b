"""The panels of a generator and a seed: panel i is the same wherever it is made."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seisjax.conventions import AMPLITUDE, IGNORE, LABELS_PREFIX, RECEIVER_PLACES, TRACE_MASK
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box, Shape, sampling
from seisjax.synthesis.examples import Examples, Kind, Made, Table
from seisjax.synthesis.tables import EVENT_UNITS, event_table, event_tables
from seisjax.synthetic import MakeWindow
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.microseismic import Event, Panel, panel_generator
from seisjax.synthetic.parameters import Microseismic
from seisjax.volumes import open_volume
from seisjax.volumes.metadata import unit_attributes

_MOST_RECORDING = 256 * 2**20  # bytes of recorded noise: it is kept in memory, and on the device


class Panels(Examples):
    """The panels of `parameters` and `seed`: a volume (example, receiver, time in ms).

    `receivers` are the array's, in its own coordinates; `generate` is the function (seed, number) -> Panel, to be
    jitted, whose events lie `centre` (x, y, 0; m) from there. Raises UserError for a seed outside 0 to 2^32 - 1,
    receivers that cannot be read or do not suit the parameters, and recorded noise that does not.
    """

    generator = "microseismic"
    version = 2
    what = "panel"
    event_names = ("present", *EVENT_UNITS)

    def __init__(self, parameters: Microseismic, seed: int):
        self.receivers = receivers(parameters.array)
        places = self.receivers.places
        # float32, in which places are worked with, holds map coordinates to half a metre only.
        self.centre = np.append(places[:, :2].mean(axis=0), 0.0)
        recording = read_recording(parameters.noise.recording, parameters.sampling_interval)
        super().__init__(parameters, seed, (*self.receivers, recording))
        centred = self.receivers._replace(places=places - self.centre)
        self.generate: Callable[[Any, Any], Panel] = panel_generator(parameters, centred, recording)

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the volume."""
        names = self.receivers.names.tolist()
        return super().attributes | ({"receiver_names": names} if any(names) else {})

    def axes(self, num_examples: int) -> tuple[Axis, ...]:
        """The axes (example, receiver, time in ms)."""
        time = np.arange(self.parameters.num_samples) * self.parameters.sampling_interval * 1e3
        return (
            Axis("example", np.arange(num_examples, dtype=np.int32)),
            Axis("receiver", np.arange(len(self.receivers.places), dtype=np.int32)),
            Axis("time", time.round(6), "ms"),
        )

    def kind(self, num_examples: int) -> str:
        """The volume's kind."""
        return "panels"

    def layout(self, num_examples: int) -> tuple[Shape | None, Shape]:
        """A panel is made, and written, as a whole."""
        return None, (1, len(self.receivers.places), self.parameters.num_samples)

    def arrays(self) -> dict[str, Kind]:
        """The labels."""
        scale = self.parameters.label_scale
        attributes = {"class_names": list(self.parameters.class_names)} | ({"label_scale": scale} if scale else {})
        return {LABELS_PREFIX + self.parameters.classes: Kind(np.uint8, IGNORE, attributes)}

    def constants(self) -> dict[str, Table]:
        """Arrays along the receivers: receiver_x/y/z in m; receiver_component, numbers of its attribute
        component_names; and receiver_azimuth in degrees."""
        array, along = self.receivers, ("receiver",)
        tables = {
            name: Table(along, array.places[:, i].copy(), unit_attributes("m"))
            for i, name in enumerate(RECEIVER_PLACES)
        }
        names, component = np.unique(array.component, return_inverse=True)
        tables["receiver_component"] = Table(along, component.astype(np.uint8), {"component_names": names.tolist()})
        azimuth = np.asarray(array.azimuth, np.float64)
        tables["receiver_azimuth"] = Table(along, azimuth, {"units": "degrees from x towards y"})
        return tables

    def tables(self, num_examples: int, events: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, Table]:
        """The table of events."""
        return event_tables(event_table(events))

    def start(self, box: Box) -> Callable[[], Made]:
        """Begin to make a panel on the host's processor; calling what is returned waits for it."""
        panel = self.panel(box.start[0])

        def finish() -> Made:
            arrays = {
                AMPLITUDE: panel.amplitude,
                LABELS_PREFIX + self.parameters.classes: panel.labels,
                TRACE_MASK: panel.trace_mask,
            }
            return Made({name: np.asarray(values)[None] for name, values in arrays.items()}, self.placed(panel.event))

        return finish

    def panel(self, number: int) -> Panel:
        """Panel `number`, made on the host's processor; returns at once, reading the arrays waits for them."""
        return self.program("panel", self.generate, (np.uint32, ()))(np.uint32(self.seed), np.uint32(number))

    def trace_mask(self, box: Box) -> np.ndarray:
        """Which receivers of some panels are alive, without the panels."""
        make = self.program("mask", lambda seed, number: self.generate(seed, number).trace_mask, (np.uint32, ()))
        rows = [np.asarray(make(np.uint32(self.seed), np.uint32(i))) for i in range(box.start[0], box.stop[0])]
        return np.stack(rows)[:, slice(box.start[1], box.stop[1])]

    def window(self, label: str, sides: Sequence[int]) -> MakeWindow:
        """See `Examples.window`; a whole panel is made for each window."""

        def make(number, start):
            panel = self.generate(np.uint32(self.seed), number)
            image = jnp.where(panel.trace_mask[:, None], panel.amplitude, jnp.nan)
            labels = jnp.where(panel.trace_mask[:, None], panel.labels, jnp.uint8(IGNORE))
            for axis, side in enumerate(sides):
                # What is outside is taken from the edge: no padded copy of the panel.
                place = start[axis] + jnp.arange(side)
                image, labels = (jnp.take(values, place, axis, mode="clip") for values in (image, labels))
            return image, labels

        return make

    def memory(self) -> tuple[int, int]:
        """Temporaries of making one panel, and the panel itself, bytes."""
        number = jax.ShapeDtypeStruct((), jnp.uint32)
        memory: Any = jax.jit(self.generate).lower(number, number).compile().memory_analysis()
        return memory.temp_size_in_bytes, memory.output_size_in_bytes

    def placed(self, event: Event) -> dict[str, float]:
        """What happened in a panel, with x and y in the receivers' coordinates."""
        fields = {name: float(value) for name, value in event._asdict().items()}
        return fields | {"x": fields["x"] + self.centre[0], "y": fields["y"] + self.centre[1]}


def read_recording(url: str, interval: float) -> np.ndarray | None:
    """The user's own noise, float32 (receiver, sample) with NaN in gaps; None where `url` is empty.

    Raises UserError for a volume that is no recording (receiver, time), at another sampling interval (s) than the
    panels', or of more than 256 MiB.
    """
    if not url:
        return None
    volume = open_volume(url)
    if len(volume.axes) != 2:
        names = ", ".join(axis.name for axis in volume.axes)
        raise UserError(f"noise.recording={url}: has the axes {names}; give a recording (receiver, time)")
    size = 4 * int(np.prod(volume.shape))
    if size > _MOST_RECORDING:
        raise UserError(
            f"noise.recording={url}: {size / 2**20:.0f} MiB as float32, which all stay in memory; "
            f"cut it to at most {_MOST_RECORDING // 2**20} MiB"
        )
    try:
        found, _ = sampling(volume.axes[-1])
    except UserError as error:
        raise UserError(f"noise.recording={url}: {error}") from error
    if not np.isclose(found, interval, rtol=1e-4):
        raise UserError(
            f"noise.recording={url}: sampled every {found:g} s, the panels every {interval:g} s; "
            "set sampling_interval, or resample the recording"
        )
    return volume.read_amplitude(Box.whole(volume.shape))
