"""Several processes: the same batches as one, each process reading its share."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest

from seisjax.conventions import AMPLITUDE
from seisjax.data import GridWindows, MixedSource, Turns, WindowSource, make_sampler, training_statistics
from seisjax.geometry import Axis, Box
from seisjax.volumes import bytes_read, create_volume, open_volume

REGION = Box((2, 0, 0), (14, 40, 60))
BATCH = 8
# Window, padded to what levels ask for, and the dimension of the batch that `space` splits.
WINDOWS = {"2d": ((1, 21, 45), (1, 24, 48), 2), "3d": ((5, 11, 30), (8, 16, 32), 1)}
KINDS = ("uniform", "grid", "balanced", "blocks")
MESHES = ((1, 8), (2, 4), (4, 2), (8, 1))

WORK = """
import hashlib, json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
import numpy as np
from absl import flags
from seisjax.data import *
from seisjax.geometry import Box
from seisjax.sharding import make_mesh
from seisjax.together import from_all
from seisjax.volumes import bytes_read, open_volume

flags.FLAGS.mark_as_parsed()
cube, panels, cases, meshes, region = json.loads(sys.argv[4])
volume, region, found = open_volume(cube), Box(*map(tuple, region)), {}

def batches(source, mesh, dim, count):
    options = {"num_threads": 2, "prefetch": 2, "start_step": 2}
    stream = training_batches(source, batch_size=8, mesh=make_mesh(*mesh), space_dim=dim, **options)
    yield from islice(stream, count)
    stream.close()

def windows(kind, window, padded):
    sampler = make_sampler(
        kind, volume=volume, labels="facies", regions=[region], window=window, seed=11, overhang=0.25, batch_size=8
    )
    return WindowSource(volume, "facies", sampler, padded, labelled_only=True)

def mixed(*window):
    sources = [windows(kind, *window) for kind in ("uniform", "grid")]
    return MixedSource(sources, Turns((0.7, 0.3))).in_units_of_first(((3.0, 1.0), (1.0, 2.0)))

for kind, window, padded, dim in cases:
    source = mixed(window, padded) if kind == "mixed" else windows(kind, window, padded)
    for mesh in meshes:
        lines = []
        for batch in batches(source, mesh, dim, 2):
            for name in ("image", "labels"):
                for shard in batch[name].addressable_shards:
                    place = [side.indices(n)[:2] for side, n in zip(shard.index, batch[name].shape)]
                    lines.append([name, place, hashlib.sha256(np.asarray(shard.data).tobytes()).hexdigest()])
        found[f"{kind} {len(padded)} {dim} {mesh}"] = lines
statistics = [asdict(training_statistics(volume, [region], tiles)) for tiles in (1000, 1)]
told = [int(part["x"].sum()) for part in from_all({"x": np.arange(10 * jax.process_index())})]
source = WindowSource(
    open_volume(panels), "event", GridWindows([Box.whole((8, 96, 128))], (1, 96, 128)), (1, 96, 128), labelled_only=True
)
before = bytes_read()
options = {"batch_size": 8, "mesh": make_mesh(1, len(jax.devices())), "space_dim": 2, "num_threads": 2, "prefetch": 2}
stream = evaluation_batches(source, **options)
for batch in stream:
    jax.block_until_ready(batch)
stream.close()
answer = json.dumps([found, statistics, told, bytes_read() - before, source.bytes_used])
Path(sys.argv[5], sys.argv[3]).write_text(answer)
"""


@pytest.fixture(scope="module")
def panels(tmp_path_factory):
    """8 panels of 96 x 128 samples of noise."""
    path, shape, rng = tmp_path_factory.mktemp("panels") / "panels.zarr", (8, 96, 128), np.random.default_rng(0)
    axes = [Axis(name, np.arange(n)) for name, n in zip(("example", "receiver", "time"), shape, strict=True)]
    with create_volume(path, axes, chunk=(1, 8, 64), shard=(1, 96, 128)) as volume:
        volume.write(AMPLITUDE, Box.whole(shape), rng.normal(size=shape).astype(np.float32))
        volume.add_array("labels_event", np.uint8)
        volume.write("labels_event", Box.whole(shape), rng.integers(0, 200, shape).astype(np.uint8))
    return str(path)


@pytest.fixture(scope="module")
def size_of_panels(panels):
    """Bytes that one process fetches for a batch of the 8 panels."""
    volume = open_volume(panels)
    grid = GridWindows([Box.whole(volume.shape)], (1, 96, 128))
    source = WindowSource(volume, "event", grid, (1, 96, 128), labelled_only=True)
    before = bytes_read()
    source.read(range(8))
    assert source.bytes_used == 5 * 8 * 96 * 128
    return bytes_read() - before


@pytest.fixture(scope="module")
def cases():
    """2-D and 3-D windows for every kind of sampling and a mixture, and one split along another axis."""
    return [(kind, *window) for kind in (*KINDS, "mixed") for window in WINDOWS.values()] + [
        ("uniform", *WINDOWS["2d"][:2], 3)
    ]


@pytest.fixture(scope="module")
def streams(cube, cases):
    """What one process reads of steps 2 and 3, by kind, sides and dimension."""
    found = {}

    def windows(kind, window, padded):
        options = {"regions": [REGION], "window": window, "seed": 11, "overhang": 0.25, "batch_size": BATCH}
        sampler = make_sampler(kind, volume=cube.volume, labels="facies", **options)
        return WindowSource(cube.volume, "facies", sampler, padded, labelled_only=True)

    def mixed(*window):
        sources = [windows(kind, *window) for kind in ("uniform", "grid")]
        return MixedSource(sources, Turns((0.7, 0.3))).in_units_of_first(((3.0, 1.0), (1.0, 2.0)))

    for kind, window, padded, dim in cases:
        source = mixed(window, padded) if kind == "mixed" else windows(kind, window, padded)
        found[f"{kind} {len(padded)} {dim}"] = [source.read(range(k * BATCH, (k + 1) * BATCH)) for k in (2, 3)]
    return found


def expected(stream, places):
    """Digests of the parts of two batches at these places; half of the places belong to each."""
    half = len(places) // 2
    return [
        hashlib.sha256(stream[i // half][name][tuple(slice(a, b) for a, b in place)].tobytes()).hexdigest()
        for i, (name, place) in enumerate(places)
    ]


@pytest.mark.parametrize(
    ("count", "devices", "meshes"),
    [
        (2, 4, MESHES),
        pytest.param(4, 2, MESHES, marks=pytest.mark.slow),
        pytest.param(3, 2, ((2, 3),), marks=pytest.mark.slow),
    ],
)
def test_processes_see_the_batches_of_one(
    stored_cube, panels, size_of_panels, cases, streams, processes, tmp_path, count, devices, meshes
):
    """Also on three processes and a mesh of 2 x 3: the second process holds ends of some rows and starts of others."""
    if count == 3:
        cases = [("uniform", *WINDOWS["2d"]), ("balanced", *WINDOWS["2d"])]
    region = (REGION.start, REGION.shape)
    arguments = json.dumps([stored_cube.volume.url, panels, cases, meshes, region])
    processes(count, WORK, arguments, tmp_path, devices=devices)
    answers = [json.loads((tmp_path / str(i)).read_text()) for i in range(count)]
    for key in answers[0][0]:
        stream, covered = streams[key.rpartition(" [")[0]], 0
        for found, *_ in answers:
            places = [(name, place) for name, place, _ in found[key]]
            assert [digest for *_, digest in found[key]] == expected(stream, places)
            covered += sum(np.prod([b - a for a, b in place]) for name, place in places if name == "labels")
        assert covered == sum(batch["labels"].size for batch in stream)
    # Statistics are the same bits, though each process reads a share of the chunks, or none.
    alone = [asdict(training_statistics(stored_cube.volume, [REGION], tiles)) for tiles in (1000, 1)]
    assert all(statistics == json.loads(json.dumps(alone)) for _, statistics, *_ in answers)
    assert all(told == [sum(range(10 * i)) for i in range(count)] for _, _, told, *_ in answers)
    # Of a batch of panels whose receivers they share out, each process fetches its share.
    for *_, read, used in answers:
        assert used == 5 * 8 * 96 * 128 // count
        assert read <= 1.1 / count * size_of_panels
