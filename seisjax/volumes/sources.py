"""Opening a survey of any format by its content."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seisjax.conventions import AMPLITUDE
from seisjax.errors import UserError, nearest
from seisjax.geometry import Axis
from seisjax.volumes.array_files import open_hdf5, open_npy, open_npz, reading, split_dataset
from seisjax.volumes.das import DasReader, is_das
from seisjax.volumes.filtering import parse_band
from seisjax.volumes.opening import open_volume
from seisjax.volumes.readers import SurveyReader
from seisjax.volumes.recording import describe_receivers
from seisjax.volumes.segy_grid import parse_axes
from seisjax.volumes.segy_scan import describe_scan
from seisjax.volumes.segy_survey import open_segy
from seisjax.volumes.store import DOCUMENTS, local_path
from seisjax.volumes.volume_reader import VolumeReader, amplitude_or_labels
from seisjax.volumes.waveforms import WaveformReader, scan_waveforms, waveform_format
from seisjax.volumes.zgy import ZgyReader

FORMATS = ("auto", "segy", "volume", "npy", "npz", "hdf5", "zgy", "waveforms", "das")
_RECORDINGS = ("waveforms", "das")
_JOINED = ("segy", *_RECORDINGS)  # formats of which several files are one survey
_MAGIC = {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"\x89HDF\r\n\x1a\n": "hdf5", b"VBS\0": "zgy"}
_SEGY_SUFFIXES = (".sgy", ".segy", ".seg")


def open_reader(
    inputs: Sequence[str],
    *,
    format: str = "auto",
    axes: Mapping[str, Any] | str | None = None,
    vertical: str = "time",
    duplicates: str = "refuse",
    interval: float | None = None,
    dataset: str = "",
    stations: str = "",
    resample: float | None = None,
    bandpass: str = "",
    label: str | None = None,
    like: Sequence[Axis] | None = None,
) -> SurveyReader:
    """Open a survey: SEG-Y files, `.npy`, `.npz`, HDF5, ZGY, waveforms, DAS, or a volume that can be opened.

    Several files of SEG-Y, waveforms (what obspy reads) or DAS (what dascore reads) are one survey.

    `axes` names the axes above the samples, slowest first: the header byte of each for SEG-Y
    (`inline:189,crossline:193`), for arrays in files the 1-D array of its labels, or nothing (`inline,crossline:xl`).
    `interval` is in ms or m. `dataset` names the array of an `.npz` or HDF5 file. With `label` the survey is one of
    labels: a volume then gives its array labels_<label>, or its only label array. `like`: the axes of an array in a
    file that has no labels of its own for them. `stations` is a table of places for the receivers of waveforms and
    DAS, `resample` the rate (Hz) that they are brought to, `bandpass` (LOW,HIGH in Hz) what is let through of them.
    Raises UserError for what cannot be read, and for several files that cannot be one survey.
    """
    if not inputs:
        raise UserError("--input: missing; give the survey file")
    inputs = expand_inputs(inputs, format)
    kinds = {detect_format(path, dataset) if format == "auto" else format for path in inputs}
    kind = kinds.pop()
    if kind not in FORMATS:
        raise UserError(f"--format={kind}: unknown{nearest(kind, FORMATS)}")
    if len(inputs) > 1 and (kinds or kind not in _JOINED):
        raise UserError(
            f"{inputs[0]}: only SEG-Y files, waveforms or DAS can be one survey together, all of one format; "
            "give one --input"
        )
    if label is None:  # what describes the survey need not describe its labels
        given = {"dataset": dataset, "axes": axes, "interval": interval, "stations": stations, "resample": resample}
        given["bandpass"] = bandpass
        given["duplicates"] = "" if duplicates == "refuse" else duplicates
        _check_taken(inputs[0], kind, given)
    if kind == "segy":
        header_bytes = parse_axes(axes) if isinstance(axes, str) and axes else axes or None
        return open_segy(inputs, header_bytes, vertical, duplicates, interval)  # pyright: ignore[reportArgumentType]
    if kind in _RECORDINGS:
        paths = [str(local_path(path) or path) for path in inputs]
        band = parse_band(bandpass) if bandpass else None
        make = WaveformReader if kind == "waveforms" else DasReader
        return make(paths, stations=stations, rate=resample, band=band)
    (path,) = inputs
    if kind == "volume":
        return _open_stored(path, label)
    path = str(local_path(path) or path)
    if kind == "zgy":
        return ZgyReader(path, vertical)
    options: dict[str, Any] = {"axes": None if like else _named(axes), "vertical": vertical}
    options |= {"interval": interval, "like": like}
    if kind == "npy":
        return open_npy(path, **options)
    path, dataset = split_dataset(path, dataset)
    return (open_npz if kind == "npz" else open_hdf5)(path, dataset, **options)


def _check_taken(path: str, kind: str, given: Mapping[str, Any]) -> None:
    """Raise UserError for a flag that means nothing for this format: it would be ignored."""
    takers = {"dataset": ("npz", "hdf5"), "duplicates": ("segy",)}
    takers |= dict.fromkeys(("stations", "resample", "bandpass"), _RECORDINGS)
    for flag, value in given.items():
        known = takers.get(flag, ("segy", "npy", "npz", "hdf5"))
        if value and kind not in known:
            raise UserError(
                f"--{flag}={value}: means nothing for {path} ({kind}), only for {', '.join(known)}; leave it out"
            )


def describe_input(
    inputs: Sequence[str],
    *,
    format: str = "auto",
    axes: str = "",
    vertical: str = "time",
    interval: float | None = None,
    dataset: str = "",
) -> str:
    """What `--scan` prints: of SEG-Y what `describe_scan` finds, of waveforms every receiver, of others the array that
    is taken and its axes.

    `axes` and `dataset` are for arrays in files.

    Raises what `open_reader` raises.
    """
    inputs = expand_inputs(inputs, format)
    kinds = {detect_format(path, dataset) if format == "auto" else format for path in inputs}
    if kinds == {"segy"}:
        return describe_scan(inputs, vertical, interval)
    if kinds == {"waveforms"}:
        return describe_receivers(inputs[0], scan_waveforms([str(local_path(path) or path) for path in inputs]))
    options = {"axes": axes, "vertical": vertical, "interval": interval, "dataset": dataset}
    with open_reader(inputs, format=format, **options) as reader:
        lines = [f"{reader.name}: {' x '.join(str(len(axis)) for axis in reader.axes)} samples of {reader.dtype}"]
        return "\n".join(lines + [f"  {axis}{axis.unit and ' ' + axis.unit}" for axis in reader.axes])


def expand_inputs(inputs: Sequence[str], format: str = "auto") -> list[str]:
    """The files that patterns (`day*/*.mseed`) and folders of waveforms or DAS mean, sorted; the others as they are.

    Of a folder those files are taken that are known by their content, all if `format` says that it is one of them.
    Raises UserError for a pattern that no file follows, and for a folder of nothing that is known.
    """
    expanded = []
    for path in inputs:
        local = local_path(path)
        if local is None or local.is_file() or not (local.is_dir() or glob.has_magic(str(local))):
            expanded.append(path)
        elif local.is_dir():
            expanded += _recordings_in(path, local, format) or [path]
        else:
            found = sorted(name for name in glob.glob(str(local), recursive=True) if Path(name).is_file())
            expanded += found or _missing(path)
    return expanded


def _recordings_in(path: str, folder: Path, format: str) -> list[str]:
    """The files of waveforms or DAS below a folder that is no store; UserError where it holds no store either."""
    if format not in ("auto", *_RECORDINGS) or any((folder / name).exists() for name in DOCUMENTS):
        return []
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    known = [file for file in files if format != "auto" or detect_format(file) in _RECORDINGS]
    if not known and not any(True for name in DOCUMENTS for _ in folder.rglob(name)):
        raise UserError(f"{path}: holds neither a volume (no zarr.json) nor files of waveforms or DAS; check the path")
    return known


def detect_format(path: str, dataset: str = "") -> str:
    """The format of a file by its first bytes, of a URL by its suffix; a folder is a volume.

    An HDF5 file of which a `dataset` is named is one of arrays, else one of DAS where dascore knows its layout.
    """
    url = path.partition("#")[0]
    local = local_path(url)
    if local is None:
        return "segy" if url.lower().partition("?")[0].endswith(_SEGY_SUFFIXES) else "volume"
    if local.is_dir():
        return "volume"
    file, dataset = split_dataset(str(local), dataset)
    local = Path(file)
    if not local.is_file():
        return "segy" if local.suffix.lower() in _SEGY_SUFFIXES else _missing(path)
    with reading(str(local)), local.open("rb") as opened:
        start = opened.read(4096)
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if kind == "hdf5":
        return "das" if not dataset and is_das(file) else "hdf5"
    return kind or ("waveforms" if waveform_format(start) else "segy")


def _missing(path: str) -> Any:
    raise UserError(f"{path}: no such file; give a survey file or a volume")


def _open_stored(url: str, label: str | None) -> SurveyReader:
    volume = open_volume(url)
    if label is not None:
        return amplitude_or_labels(volume, label)
    if AMPLITUDE not in volume.arrays:
        raise UserError(f"{url}: holds no amplitudes; give it as --labels")
    return VolumeReader(volume)


def _named(axes: Mapping[str, Any] | str | None) -> dict[str, str] | None:
    """Axes of arrays: name -> the array of its labels, or ""."""
    if not isinstance(axes, str):
        return {name: str(source) for name, source in axes.items()} if axes else None
    parts = [part.strip() for part in axes.split(",") if part.strip()]
    return {name.strip(): source.strip() for name, _, source in (part.partition(":") for part in parts)} or None
