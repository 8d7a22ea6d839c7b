"""The stream contract: the same samples for every number of threads, devices and restarts."""

import hashlib
from itertools import islice

import numpy as np
import pytest

from seisjax.conventions import IGNORE
from seisjax.data import GridWindows, UniformWindows, WindowSource, evaluation_batches, make_sampler, training_batches
from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.sharding import make_mesh

REGION = Box((2, 0, 0), (14, 40, 60))
WINDOW = (4, 8, 16)


def make_source(volume, kind="uniform"):
    sampler = make_sampler(
        kind,
        volume=volume,
        labels="facies",
        regions=[REGION],
        window=WINDOW,
        seed=11,
        overhang=0.25,
        batch_size=8,
    )
    return WindowSource(volume, "facies", sampler, WINDOW, labelled_only=True)


def digest(batch) -> str:
    return hashlib.sha256(b"".join(np.asarray(batch[name]).tobytes() for name in ("image", "labels"))).hexdigest()


def stream(source, mesh, count, *, start_step=0, num_threads=2, prefetch=2, space_dim=None):
    batches = training_batches(
        source,
        batch_size=8,
        mesh=mesh,
        space_dim=space_dim,
        start_step=start_step,
        num_threads=num_threads,
        prefetch=prefetch,
    )
    found = list(islice(batches, count))
    batches.close()
    return found


@pytest.mark.parametrize("kind", ["uniform", "grid", "balanced", "blocks"])
def test_threads_devices_and_restarts_draw_the_same_samples(cube, kind):
    source = make_source(cube.volume, kind)
    whole = [digest(batch) for batch in stream(source, make_mesh(1, 1), 6, num_threads=1)]
    assert len(set(whole)) == 6
    for mesh, options in [
        (make_mesh(1, 1), {"num_threads": 2}),
        (make_mesh(8, 1), {"num_threads": 8, "prefetch": 8}),
        (make_mesh(2, 4), {"space_dim": 3}),
        (make_mesh(1, 1), {"num_threads": 0, "prefetch": 0}),
    ]:
        assert [digest(batch) for batch in stream(source, mesh, 6, **options)] == whole
        resumed = stream(make_source(cube.volume, kind), mesh, 2, start_step=4, **options)
        assert [digest(batch) for batch in resumed] == whole[4:]


def test_step_k_holds_the_samples_from_k_times_the_batch_on(cube):
    source = make_source(cube.volume)
    (batch,) = stream(source, make_mesh(8, 1), 1, start_step=3)
    for row in range(8):
        sample = source[3 * 8 + row]
        np.testing.assert_array_equal(batch["image"][row], sample["image"])
        np.testing.assert_array_equal(batch["labels"][row], sample["labels"])


def test_batches_are_sharded_over_the_mesh(cube):
    (batch,) = stream(make_source(cube.volume), make_mesh(4, 2), 1, space_dim=2)
    assert batch["image"].shape == (8, *WINDOW, 1)
    assert batch["image"].addressable_shards[0].data.shape == (2, 4, 4, 16, 1)
    assert batch["labels"].addressable_shards[0].data.shape == (2, 4, 4, 16)


def test_evaluation_sees_each_window_once(cube):
    grid = GridWindows([REGION], WINDOW)
    source = WindowSource(cube.volume, "facies", grid, WINDOW, labelled_only=False)
    options = {"batch_size": 32, "mesh": make_mesh(8, 1), "space_dim": None, "num_threads": 2, "prefetch": 2}
    batches = [{name: np.asarray(a) for name, a in batch.items()} for batch in evaluation_batches(source, **options)]
    assert len(grid) % 32
    assert len(batches) == -(-len(grid) // 32)
    images = np.concatenate([batch["image"] for batch in batches])
    assert all(np.array_equal(images[i], source[i]["image"], equal_nan=True) for i in range(len(grid)))
    assert np.isnan(images[len(grid) :]).all()
    clean = np.isfinite(cube.amplitude[REGION.slices])
    labelled = (cube.labels[REGION.slices] != IGNORE) & clean
    assert sum((batch["labels"] != IGNORE).sum() for batch in batches) == labelled.sum()


def test_what_the_mesh_does_not_divide_is_one_line(cube):
    source = make_source(cube.volume)
    with pytest.raises(UserError, match="data.batch_size: 8 windows"):
        stream(source, make_mesh(3, 1), 1)
    with pytest.raises(UserError, match="mesh.space=8 .* 4 samples .* inline"):
        stream(source, make_mesh(1, 8), 1, space_dim=1)


def test_an_error_of_a_reading_thread_arrives_as_it_is(cube):
    sampler = UniformWindows(Box((16, 0, 0), (2, 40, 60)), (1, 8, 16), seed=0, overhang=0.0)
    source = WindowSource(cube.volume, "facies", sampler, (1, 8, 16), labelled_only=True)
    with pytest.raises(UserError, match="1000 windows"):
        stream(source, make_mesh(1, 1), 1)
