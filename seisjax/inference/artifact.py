"""A network with all that it takes to use it, in one file: written by `export.py`, read here without any config.

The file is a zip archive of `model.bin`, a function serialised by `jax.export` (StableHLO; parameters, normalisation
and temperature inside: raw amplitudes (B, *padded, channels), NaN = no data, to probabilities (B, *padded, classes)),
`metadata.json`, which says how to cut data into its windows and what comes out, and `network/NAME.npy`, the parameters
and running statistics once more, for training to begin with. Nothing in it is pickled; `numpy.load` opens it too.
"""

import hashlib
import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from seisjax import sharding
from seisjax.conventions import AMPLITUDE, PRED_PROBABILITY
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box, Shape, lattice_stride, parse_region
from seisjax.inference.card import model_card
from seisjax.inference.predict import Task, predict_volume
from seisjax.inference.views import Cutting, crop_radius
from seisjax.models.parts import fingerprint, nested
from seisjax.synthesis import open_data
from seisjax.volumes import Volume, create_volume
from seisjax.volumes.resampling import same_interval
from seisjax.volumes.store import Store
from seisjax.volumes.targets import at_interval, fit_window

FORMAT, VERSION = "seisjax model", 2
_READABLE = (1, 2)  # 1: `multiple` and `receptive_radius` are one number for all axes
MODEL, METADATA, NETWORK = "model.bin", "metadata.json", "network/"

_BLOCK_BYTES = 2**30  # memory for the sums of one block of output
_numbers = itertools.count()


class Artifact:
    """A network out of a file. `metadata` is what its maker wrote about it; properties are what prediction needs."""

    def __init__(self, path: Path, metadata: Mapping[str, Any], exported: export.Exported):
        self.path = path
        self.metadata = metadata
        self._exported = exported

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of the volumes that it takes, slowest first."""
        return tuple(axis["name"] for axis in self.metadata["axes"])

    @property
    def unit(self) -> str:
        """Unit of the last axis, that of the sampling interval; "" where nobody knows."""
        return self.metadata["axes"][-1]["unit"]

    @property
    def sampling_interval(self) -> float | None:
        """Of the last axis, in its unit; None where nobody knows."""
        return self.metadata["sampling_interval"]

    @property
    def window(self) -> Shape:
        """Sides of its windows, in samples."""
        return tuple(self.metadata["window"])

    @property
    def padded(self) -> Shape:
        """Sides of the images that it is given; what is beyond the window is NaN."""
        return tuple(self.metadata["padded_window"])

    @property
    def neighbours(self) -> int:
        """Sections on either side of a window that it is given as channels."""
        return self.metadata.get("neighbours", 0)

    @property
    def multiple(self) -> int | Shape:
        """Windows stand on a grid of so many samples: one number for all their sides (as older files have it) or one
        each."""
        return _numbers_of(self.metadata["multiple"])

    @property
    def overlap(self) -> float:
        """Share of a window's side that neighbours share, as the run predicts."""
        return self.metadata["overlap"]

    @property
    def stride(self) -> Shape:
        """Samples from one window to the next."""
        return lattice_stride(self.window, self.overlap, self.multiple)

    @property
    def directions(self) -> tuple[str, ...]:
        """Axes across which it was trained on sections; empty: those along which the window has one sample."""
        return tuple(self.metadata["directions"])

    @property
    def class_names(self) -> list[str]:
        """In the order of the probabilities."""
        return [c["name"] for c in self.metadata["classes"]]

    @property
    def class_colors(self) -> list[str]:
        """ "#RRGGBB" for each class."""
        return [c["color"] for c in self.metadata["classes"]]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the function with all that is inside."""
        return self.metadata["sha256"][:16]

    def card(self) -> str:
        """Its model card, as Markdown."""
        return model_card(self.metadata, self.path.name)

    def forwards(self, temperature: float = 1.0) -> list[Callable[[np.ndarray], jax.Array]]:
        """A list of one function: images (B, *padded, channels), NaN = no data, to probabilities (B, *padded, classes).

        There is a channel for each of the sections side by side that it sees (`neighbours`), the window's own in the
        middle. Probabilities are float32. Images of panels may lack the first side where that is 1. The batch is split
        over the devices of this process where they divide it.
        Raises UserError for a temperature: the one of the file is inside it.
        """
        if temperature != 1:
            raise UserError(f"{self.path}: its temperature was chosen when it was written; leave --temperature out")
        return [self._forward]

    def _forward(self, images: np.ndarray) -> jax.Array:
        sides = images.shape[1:-1]
        whole = np.asarray(images, np.float32).reshape(len(images), *self.padded, 1 + 2 * self.neighbours)
        devices = jax.local_devices()
        if len(devices) > 1 and len(images) % len(devices) == 0:
            mesh = sharding.make_mesh(len(devices), 1, devices)
            whole = jax.device_put(whole, sharding.batch_sharding(mesh, whole.ndim))
        try:
            probabilities = self._compiled(whole)
        except jax.errors.JaxRuntimeError as error:
            if "StableHLO" not in str(error):
                raise
            made = self.metadata["run"]["versions"].get("jax")
            raise UserError(
                f"{self.path}: jax {jax.__version__} cannot read what jax {made} wrote; update jax, or export it again"
            ) from error
        return probabilities.reshape(len(images), *sides, probabilities.shape[-1])

    @cached_property
    def _compiled(self) -> Callable[[Any], jax.Array]:
        here = export.default_export_platform()
        if here not in self._exported.platforms:
            raise UserError(
                f"{self.path}: is made for {', '.join(self._exported.platforms)}, and this process computes on {here}; "
                f"export it with --platforms={','.join([*self._exported.platforms, here])}"
            )
        return jax.jit(self._exported.call)

    def fit(self, volume: Volume, *, resample: bool = False, blend: str = "linear") -> tuple[Volume, Cutting]:
        """The volume as the network takes it, and how it is cut.

        resample: read a volume of another sampling interval at the network's. Raises UserError where its axes or its
        sampling interval do not fit.
        """
        names = [axis.name for axis in volume.axes]
        window, padded = fit_window(names, self.axes, self.window, self.padded, volume.url, self.neighbours)
        given = self.metadata["receptive_radius"]
        radius = crop_radius(blend, None if given is None else _numbers_of(given), str(self.path))
        volume = at_interval(volume, self.sampling_interval, self.unit, resample=resample)
        directions = self.directions if len(window) == len(self.window) else ()
        multiple, radius = (n if isinstance(n, int) else n[-len(window) :] for n in (self.multiple, radius))
        return volume, Cutting(window, padded, multiple, self.overlap, blend, radius, directions, self.neighbours)

    def predict(self, array: Any, *, sampling_interval: float, axes: Sequence[str], batch_size: int = 0) -> np.ndarray:
        """Class probabilities (classes, *array.shape) float32 of a whole array of any size; NaN where it has no data.

        Windows are cut and blended as launch/predict.py does.

        Args:
          array: raw amplitudes, in the units of the data that the run was trained on; NaN and infinity are no data.
          sampling_interval: of the last axis, in the network's `unit`.
          axes: the name of each of the array's axes, in the network's order.
          batch_size: windows at a time; 0: as the run predicts.
        Raises UserError where axes or sampling interval do not fit.
        """
        array = np.asarray(array)
        self._check_array(array, sampling_interval, axes)
        urls = [f"memory://seisjax-{kind}-{next(_numbers)}" for kind in ("array", "prediction")]
        try:
            volume = _as_volume(array, urls[0], axes, sampling_interval, self.unit)
            volume, cutting = self.fit(volume)
            task = self._task(volume, cutting, batch_size, products=("probability",), probability_dtype="float32")
            predicted = predict_volume(task, self.forwards(), urls[1]).volume
            assert predicted is not None  # one worker leaves no block
            return predicted.read(PRED_PROBABILITY, Box.whole((len(self.class_names), *array.shape)))
        finally:
            for url in urls:
                Store(url).clear()

    def predict_volume(
        self,
        url: str,
        output: str,
        *,
        region: str = "",
        blend: str = "linear",
        probability_dtype: str = "float16",
        batch_size: int = 0,
        resample: bool = False,
        overwrite: bool = False,
    ) -> Volume:
        """Predict a volume of any size, or a region of it, into a finished volume, as launch/predict.py does.

        Raises UserError where axes or sampling interval do not fit, and as `inference.predict_volume` does.
        """
        volume, cutting = self.fit(open_data(str(url)), resample=resample, blend=blend)
        attributes: dict[str, Any] = {"prediction": self.provenance(volume)}
        if self.metadata["label_scale"]:
            attributes["label_scale"] = self.metadata["label_scale"]
        box = parse_region(region, volume.axes)
        task = self._task(volume, cutting, batch_size, box=box, probability_dtype=probability_dtype)
        predicted = predict_volume(
            task, self.forwards(), str(output), attributes=attributes, overwrite=overwrite
        ).volume
        assert predicted is not None
        return predicted

    def provenance(self, volume: Volume) -> dict[str, Any]:
        """Where a prediction of a volume comes from, as it is stored with it."""
        run = self.metadata["run"]
        return {
            "artifact": str(self.path.absolute()),
            "weights": self.fingerprint,
            "run": run["name"],
            "checkpoint": run["checkpoint"],
            "input": volume.url,
            "data_fingerprint": volume.fingerprint,
            "normalisation": self.metadata["normalisation"],
            "temperature": self.metadata["temperature"],
        }

    def _task(self, volume: Volume, cutting: Cutting, batch_size: int, **options: Any) -> Task:
        common = {
            "box": Box.whole(volume.shape),
            "batch_size": batch_size or self.metadata["batch_size"],
            "num_classes": len(self.class_names),
            "class_names": self.class_names,
            "class_colors": self.class_colors,
            "block_bytes": _BLOCK_BYTES,
            "key": {"weights": self.fingerprint, "input": volume.fingerprint},
        }
        return Task(volume=volume, cutting=cutting, **(common | options))

    def _check_array(self, array: np.ndarray, sampling_interval: float, axes: Sequence[str]) -> None:
        if array.ndim != len(axes):
            raise UserError(f"axes={tuple(axes)}: the array has {array.ndim} axes; name each of them")
        if array.dtype.kind not in "iuf" or not array.size:
            raise UserError(f"array: {array.dtype} of shape {array.shape}; give an array of amplitudes")
        known = self.sampling_interval
        if known is not None and not same_interval(float(sampling_interval), known):
            raise UserError(
                f"sampling_interval={sampling_interval}: the run was trained on a sample every {known:.9g} "
                f"{self.unit}; resample the array first"
            )


def _numbers_of(value: int | Sequence[int]) -> int | Shape:
    """A number for all sides of windows, or one each, as JSON has it."""
    return value if isinstance(value, int) else tuple(value)


def _as_volume(array: np.ndarray, url: str, axes: Sequence[str], interval: float, unit: str) -> Volume:
    labels = [np.arange(n) for n in array.shape[:-1]] + [np.arange(array.shape[-1]) * float(interval)]
    named = [Axis(name, x, unit if x is labels[-1] else "") for name, x in zip(axes, labels, strict=True)]
    with create_volume(url, named) as volume:
        for shard in volume.shards():
            volume.write(AMPLITUDE, shard, array[shard.slices].astype(np.float32))
    return volume


def load_artifact(path: str | Path) -> Artifact:
    """Read a file of launch/export.py. Raises UserError where it is none, is damaged, or of a later format."""
    path = Path(path)
    metadata, members = _read(path, lambda name: name == MODEL)
    model = members.get(MODEL, b"")
    if hashlib.sha256(model).hexdigest() != metadata.get("sha256"):
        raise UserError(f"{path}: is damaged ({MODEL} is not what {METADATA} tells of); fetch it again")
    try:
        return Artifact(path, metadata, export.deserialize(bytearray(model)))
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: needs the package {error.name}; install seisjax with what it depends on") from error
    except Exception as error:  # jax has no error of its own for a version that it does not know
        raise UserError(f"{path}: jax {jax.__version__} cannot read it ({error}); update jax") from error


def read_network(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network in a file of launch/export.py, {"params": ..., "rest": ...} as trees of arrays, and the metadata.

    Raises UserError as `load_artifact` does, and where the file is of before these were kept.
    """
    path = Path(path)
    metadata, members = _read(path, lambda name: name.startswith(NETWORK))
    if not members:
        raise UserError(f"{path}: holds no parameters to train from; export the run again with this seisjax")
    try:
        arrays = {
            name.removeprefix(NETWORK).removesuffix(".npy"): np.load(io.BytesIO(data), allow_pickle=False)
            for name, data in members.items()
        }
    except ValueError as error:
        raise UserError(f"{path}: is damaged ({error}); fetch it again") from error
    network = {"params": {}, "rest": {}} | nested(arrays)
    if fingerprint(network) != metadata["run"]["weights"]:
        raise UserError(f"{path}: is damaged ({NETWORK} is not what {METADATA} tells of); fetch it again")
    return network, metadata


def _read(path: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The metadata of a file, and those of its other members whose names are wanted."""
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(METADATA))
            members = {name: archive.read(name) for name in archive.namelist() if wanted(name)}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a file of launch/export.py") from error
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, ValueError) as error:
        raise UserError(f"{path}: is damaged, or no file of launch/export.py ({error})") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(f"{path}: is no file of launch/export.py")
    if metadata.get("format_version") not in _READABLE:
        raise UserError(
            f"{path}: has format {metadata.get('format_version')}, this seisjax reads up to {VERSION}; use the seisjax "
            "that wrote it, or export it again"
        )
    return metadata, members
