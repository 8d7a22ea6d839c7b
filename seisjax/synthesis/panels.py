"""The panels of a generator and a seed: panel i is the same wherever it is made."""

import hashlib
import runpy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from seisjax.errors import UserError, nearest
from seisjax.geometry import Box
from seisjax.synthetic.arrays import receivers
from seisjax.synthetic.microseismic import Event, Panel, panel_generator
from seisjax.synthetic.parameters import PRESETS, Microseismic
from seisjax.volumes import open_volume

VERSION = 2  # of what the generator computes; raised when the same parameters come to give other panels

_MOST_RECORDING = 256 * 2**20  # bytes of recorded noise: it is kept in memory, and on the device


class Panels:
    """The panels of `parameters` and `seed`.

    `receivers` are the array's, in its own coordinates; `generate` is the function (seed, number) -> Panel, to be
    jitted, whose events lie `centre` (x, y, 0; m) from there. Can be pickled. Raises UserError for a seed outside 0 to
    2^32 - 1, receivers that cannot be read or do not suit the parameters, and recorded noise that does not.
    """

    def __init__(self, parameters: Microseismic, seed: int):
        if not 0 <= seed < 2**32:
            raise UserError(f"seed={seed}: must lie between 0 and 2^32 - 1")
        self.parameters, self.seed = parameters, seed
        self.receivers = receivers(parameters.array)
        places = self.receivers.places
        # float32, in which places are worked with, holds map coordinates to half a metre only.
        self.centre = np.append(places[:, :2].mean(axis=0), 0.0)
        recording = read_recording(parameters.noise.recording, parameters.sampling_interval)
        centred = self.receivers._replace(places=places - self.centre)
        self.generate: Callable[[Any, Any], Panel] = panel_generator(parameters, centred, recording)
        digest = hashlib.sha256(f"microseismic {VERSION}/{parameters}/{seed}/".encode())
        for values in (*self.receivers, recording):
            digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        self._compiled: dict[str, Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Panels, (self.parameters, self.seed)

    @property
    def label_attributes(self) -> dict[str, Any]:
        """Attributes of the label array."""
        scale = self.parameters.label_scale
        return {"class_names": list(self.parameters.class_names)} | ({"label_scale": scale} if scale else {})

    def panel(self, number: int) -> Panel:
        """Panel `number`, made on the host's processor; returns at once, reading the arrays waits for them."""
        return self._on_host("panel", lambda panel: panel)(number)

    def trace_mask(self, number: int) -> np.ndarray:
        """The trace mask of a panel, without the panel."""
        return np.asarray(self._on_host("trace_mask", lambda panel: panel.trace_mask)(number))

    def placed(self, event: Event) -> dict[str, float]:
        """What happened in a panel, with x and y in the receivers' coordinates."""
        fields = {name: float(value) for name, value in event._asdict().items()}
        return fields | {"x": fields["x"] + self.centre[0], "y": fields["y"] + self.centre[1]}

    def _on_host(self, what: str, part: Callable[[Panel], Any]) -> Callable[[int], Any]:
        # Compiled for the host whatever accelerators there are, and by one of the reading threads alone.
        with self._lock:
            if what not in self._compiled:
                number = jax.ShapeDtypeStruct((), np.uint32, sharding=SingleDeviceSharding(_host()))
                function = jax.jit(lambda seed, number: part(self.generate(seed, number)))
                self._compiled[what] = function.lower(number, number).compile()
        compiled, seed = self._compiled[what], np.uint32(self.seed)
        return lambda number: compiled(seed, np.uint32(number))


def _host() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise UserError(
            "JAX_PLATFORMS: leaves out the host, where synthetic panels are made; add cpu to it, e.g. cuda,cpu"
        ) from error


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
    steps = np.diff(volume.axes[-1].labels) / 1e3
    if not np.allclose(steps, interval, rtol=1e-4):
        found = float(np.median(steps)) if len(steps) else 0.0
        raise UserError(
            f"noise.recording={url}: sampled every {found:g} s, the panels every {interval:g} s; "
            "set sampling_interval, or resample the recording"
        )
    return volume.read_amplitude(Box.whole(volume.shape))


def load_parameters(config: str, where: str = "--config") -> Microseismic:
    """A preset by its name, or what `get_config()` of a Python file returns; `FILE.py:arg` hands it the argument.

    `where` is what messages call it. Raises UserError.
    """
    path, colon, argument = config.partition(".py:")
    path += ".py" if colon else ""
    if not path.endswith(".py"):
        if config not in PRESETS:
            raise UserError(f"{where}={config}: no preset of this name{nearest(config, PRESETS)}, and no .py file")
        return PRESETS[config]
    if not Path(path).is_file():
        raise UserError(f"{where}={config}: no such file")
    try:
        make = runpy.run_path(path).get("get_config")
        parameters = make(*[argument] if colon else []) if make else None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}={config}: {type(error).__name__}: {error}; mend the file") from error
    if make is None:
        raise UserError(f"{where}={config}: defines no get_config(); write one that returns Microseismic")
    if not isinstance(parameters, Microseismic):
        raise UserError(f"{where}={config}: get_config() must return Microseismic, not {type(parameters).__name__}")
    return parameters
