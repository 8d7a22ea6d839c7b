"""MDIO v1 stores that multidimio made of SEG-Y files, beside our own stores of the same files."""

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seisjax.conventions import IGNORE
from seisjax.data import WindowSource, make_sampler
from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes import Volume, create_volume, open_volume
from seisjax.volumes.ingest import ingest

pytest.importorskip("mdio", reason="multidimio is not installed")

# In a process of its own: multidimio warns, and starts processes that import the main module.
MAKE_MDIO = """
import sys, mdio
from mdio.builder.template_registry import get_template
from segy.schema import HeaderField
from segy.standards import get_segy_standard

if __name__ == "__main__":
    headers = {"inline": 189, "crossline": 193, "cdp_x": 181, "cdp_y": 185}
    fields = [HeaderField(name=name, byte=byte, format="int32") for name, byte in headers.items()]
    spec = get_segy_standard(1.0).customize(trace_header_fields=fields)
    template = get_template("PostStack3DTime")
    mdio.segy_to_mdio(segy_spec=spec, mdio_template=template, input_path=sys.argv[1], output_path=sys.argv[2])
"""


def make_mdio(segy: Path, folder: Path) -> Path:
    script, target = folder / "make_mdio.py", folder / "survey.mdio"
    script.write_text(MAKE_MDIO)
    command = [sys.executable, "-W", "ignore", str(script), str(segy), str(target)]
    environment = {**os.environ, "MDIO__IMPORT__CPU_COUNT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def segy(tmp_path_factory: pytest.TempPathFactory, write_survey: Callable[..., Path]) -> Path:
    """20 inlines (10, 12 ...) by 9 crosslines by 30 samples; 17 traces are missing."""
    inline, crossline = (part.ravel() for part in np.mgrid[10:50:2, 100:109])
    there = np.sort(np.random.default_rng(1).permutation(180)[17:])
    samples = np.random.default_rng(0).normal(size=(len(there), 30)).astype("f4")
    headers = {189: inline[there], 193: crossline[there], 71: -10, 181: 1000 + inline[there], 185: 500}
    return write_survey(tmp_path_factory.mktemp("segy") / "survey.segy", samples, headers)


@pytest.fixture(scope="module")
def ours(segy: Path) -> Volume:
    """Our own store of the file, with labels on a part of it."""
    ingest(str(segy), segy.parent / "survey.zarr")
    volume = open_volume(segy.parent / "survey.zarr")
    labels = np.random.default_rng(2).integers(0, 3, volume.shape).astype(np.uint8)
    labels[5:12] = IGNORE
    with volume:
        volume.add_array("labels_facies", values=labels, attributes={"class_names": ["sand", "silt", "clay"]})
    return open_volume(volume.url)


@pytest.fixture(scope="module")
def mdio(segy: Path) -> Path:
    return make_mdio(segy, segy.parent)


def batches(volume: Volume, window: tuple[int, ...], count: int) -> str:
    """SHA-256 over batches of uniform windows that hold a label."""
    sampler = make_sampler(
        "uniform",
        volume=volume,
        labels="facies",
        regions=(Box.whole(volume.shape),),
        window=window,
        seed=3,
        overhang=0.25,
    )
    source = WindowSource(volume, "facies", sampler, window, labelled_only=True)
    digest = hashlib.sha256()
    for start in range(0, count, 4):
        batch = source.read(range(start, start + 4))
        assert np.isfinite(batch["image"]).any()
        for name in sorted(batch):
            digest.update(np.ascontiguousarray(batch[name]).tobytes())
    return digest.hexdigest()


def test_the_same_batches_as_from_our_own_store(segy: Path, ours: Volume, mdio: Path, serving: Callable) -> None:
    expected = batches(ours, (1, 6, 16), 24)
    assert batches(open_volume(mdio).with_labels(ours), (1, 6, 16), 24) == expected
    with serving(segy.parent) as url:
        for name in ("survey.mdio", "survey.zarr"):
            volume = open_volume(f"{url}/{name}").with_labels(open_volume(f"{url}/survey.zarr"))
            assert batches(pickle.loads(pickle.dumps(volume)), (1, 6, 16), 24) == expected


def test_what_mdio_knows(ours: Volume, mdio: Path) -> None:
    volume, whole = open_volume(mdio), Box.whole(ours.shape)
    for axis, expected in zip(volume.axes, ours.axes, strict=True):
        assert (axis.name, axis.unit) == (expected.name, expected.unit)
        np.testing.assert_array_equal(axis.labels, expected.labels)
    np.testing.assert_array_equal(volume.read_amplitude(whole), ours.read_amplitude(whole))
    traces = Box.whole(ours.shape[:2])
    np.testing.assert_array_equal(volume.read("trace_mask", traces), ours.read("trace_mask", traces))
    np.testing.assert_allclose(volume.read("cdp_x", traces), ours.read("cdp_x", traces))
    assert "headers" not in volume.arrays  # a record
    assert volume.statistics is None  # MDIO keeps no quantiles
    assert volume.attributes["format"].startswith("MDIO 1.")


def test_a_dropped_delay_is_noticed(segy: Path, mdio: Path, ours: Volume, tmp_path: Path) -> None:
    axes = [*ours.axes[:2], type(ours.axes[2])("time", ours.axes[2].labels + 8, "ms")]
    with create_volume(tmp_path / "labels", axes, dtype=None) as labels:
        labels.add_array("labels_facies", np.uint8)
    with pytest.raises(UserError, match=r"other axes than .*: time:8-124 ms \(30\) where it has time:0-116 ms \(30\)"):
        open_volume(mdio).with_labels(labels)


@pytest.mark.slow
@pytest.mark.real_data
def test_penobscot(real_data: Path, tmp_path: Path, serving: Callable) -> None:
    survey = real_data / "penobscot" / "amplitude.segy"
    ours = ingest(str(survey), tmp_path / "ours.zarr", labels=str(real_data / "penobscot" / "facies.segy"))
    assert ours is not None
    expected = batches(ours, (1, 128, 256), 16)
    make_mdio(survey, tmp_path)
    assert batches(open_volume(tmp_path / "survey.mdio").with_labels(ours), (1, 128, 256), 16) == expected
    with serving(tmp_path) as url:
        volume = open_volume(f"{url}/survey.mdio").with_labels(open_volume(f"{url}/ours.zarr"))
        assert batches(volume, (1, 128, 256), 16) == expected
