"""Several surveys in one stream: shares, purity, each survey's own statistics, axes and sampling interval."""

import functools
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from seisjax.conventions import AMPLITUDE, IGNORE
from seisjax.data import MixedSource, Turns, UniformWindows, WindowSource, make_member, make_sampler, training_batches
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.sharding import make_mesh
from seisjax.volumes import StreamingStatistics, Volume, create_volume, open_volume
from tests.data.conftest import Cube

WINDOW, PADDED = (1, 8, 16), (1, 8, 16)


@functools.cache
def survey(
    url: str, seed: int = 0, *, interval: float = 4.0, scale: float = 1.0, unit: str = "ms", lead: int = 0
) -> Volume:
    """6 inlines, 24 crosslines, 240 ms of band-limited noise; two classes, parted by a dipping horizon."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(240 / interval)) * interval
    line, cross = np.indices((6, 24))
    # Sines of less than 40 Hz: any interval up to 8 ms holds all of them.
    phases, frequencies = rng.uniform(0, 6, (12, 6, 24)), rng.uniform(5, 40, 12)
    waves = np.sin(2e-3 * np.pi * frequencies[:, None, None, None] * times + phases[..., None])
    amplitude = (100 + scale * waves.sum(0)).astype(np.float32)
    labels = (times > (100 + 2 * cross + line)[..., None]).astype(np.uint8)
    axes = [Axis("inline", np.arange(6)), Axis("crossline", np.arange(24)), Axis("time", times, unit)]
    axes = [Axis("example", np.arange(lead)) for _ in range(lead > 0)] + axes
    shape = tuple(map(len, axes))
    with create_volume(
        url, axes, chunk=(1,) * (lead > 0) + (2, 8, 16), shard=(1,) * (lead > 0) + (2, 24, 64)
    ) as volume:
        volume.write(AMPLITUDE, Box.whole(shape), np.broadcast_to(amplitude, shape))
        statistics = StreamingStatistics()
        statistics.update(amplitude)
        volume.set_statistics(statistics.result())
        volume.add_array("labels_facies", np.uint8, attributes={"class_names": ["above", "below"]})
        volume.write("labels_facies", Box.whole(shape), np.broadcast_to(labels, shape))
    return open_volume(url)


def member(volume: Volume, main: Volume, train: str = "", **changed):
    options = {"splits": {}, "window": WINDOW, "padded": PADDED, "split_gap": -1, "directions": ()} | changed
    return make_member(volume, "facies", train, main=main, **options)


def source(volume: Volume, window=WINDOW, seed: int = 3) -> WindowSource:
    sampler = UniformWindows(Box.whole(volume.shape), window, seed, 0.0)
    return WindowSource(volume, "facies", sampler, window, labelled_only=True)


@pytest.fixture(scope="module")
def main() -> Volume:
    return survey("memory://mixture-main/")


@pytest.fixture(scope="module")
def mixed(main: Volume) -> MixedSource:
    other = survey("memory://mixture-other/", 1, scale=1000.0)
    return MixedSource([source(main), source(other, seed=4)], Turns((0.7, 0.3)))


def surveys_of(mixed: MixedSource, count: int) -> np.ndarray:
    """The number of the survey that each of the first samples comes from."""
    drawn = np.full(count, -1)
    for who, rows in mixed.by_survey(range(count)).items():
        drawn[[row for row, _ in rows]] = who
    return drawn


def test_shares_hold_within_one_percent_and_in_every_stretch(mixed: MixedSource):
    drawn = surveys_of(mixed, 10_000)
    assert abs((drawn == 1).mean() - 0.3) < 0.01
    for first in range(0, 10_000, 100):
        assert abs((drawn[first : first + 100] == 1).sum() - 30) <= 1


@pytest.mark.parametrize("weights", [(7, 3), (1, 0, 2), (0.123, 0.456, 0.421), (1, 1e-3)])
def test_any_weights_are_met(weights: tuple[float, ...], main: Volume):
    mixed = MixedSource([source(main)] * len(weights), Turns(weights))
    drawn = Counter(surveys_of(mixed, 10_000).tolist())
    for number, weight in enumerate(weights):
        assert abs(drawn[number] / 10_000 - weight / sum(weights)) < 0.01
    assert all(drawn[number] == 0 for number, weight in enumerate(weights) if weight == 0)


def test_each_survey_counts_its_own_samples(mixed: MixedSource):
    numbers = {0: 0, 1: 0}
    for index in range(20):
        who = int(surveys_of(mixed, 20)[index])
        own = mixed.sources[who][numbers[who]]
        numbers[who] += 1
        found = mixed[index]
        np.testing.assert_array_equal(found["image"], own["image"])
        np.testing.assert_array_equal(found["labels"], own["labels"])


def test_the_place_of_a_sample_is_in_its_survey(mixed: MixedSource):
    for i in range(12):
        volume, box = mixed.place(i)
        assert volume is mixed.sources[surveys_of(mixed, 12)[i]].volume
        labels = mixed[i]["labels"].reshape(box.shape)
        np.testing.assert_array_equal(volume.read_labels("facies", box), labels)


def test_a_sample_does_not_depend_on_what_it_is_read_with(mixed: MixedSource):
    together = mixed.read(range(5, 15))
    part = Box((0, 2, 3), (1, 4, 5))
    parts = mixed.read(range(5, 15), part)
    for row, index in enumerate(range(5, 15)):
        np.testing.assert_array_equal(together["image"][row], mixed[index]["image"])
    np.testing.assert_array_equal(parts["image"][..., 0], together["image"][(slice(None), *part.slices, 0)])
    np.testing.assert_array_equal(parts["labels"], together["labels"][(slice(None), *part.slices)])


def test_a_stream_that_is_taken_up_again_goes_on_with_the_same_batches(mixed: MixedSource):
    def batches(start: int, count: int, threads: int, mesh) -> list[np.ndarray]:
        options = {"batch_size": 8, "mesh": mesh, "space_dim": 2, "num_threads": threads, "prefetch": threads}
        stream = training_batches(mixed, start_step=start, **options)
        found = [np.asarray(batch["image"]) for batch in islice(stream, count)]
        stream.close()
        return found

    unbroken = batches(0, 5, 1, make_mesh(1, 1))
    np.testing.assert_array_equal(unbroken[3:], batches(3, 2, 3, make_mesh(2, 4)))
    np.testing.assert_array_equal(unbroken[1:3], batches(1, 2, 2, make_mesh(8, 1)))


def test_surveys_that_differ_by_scale_and_offset_give_equal_normalised_windows(main: Volume):
    same_earth = survey("memory://mixture-scaled/", scale=50.0)
    mixed = MixedSource([source(main), source(same_earth)], Turns((1, 1)))
    whole = Box.whole(main.shape)
    moments = [(float(a.mean()), float(a.std())) for a in (v.read_amplitude(whole) for v in (main, same_earth))]
    image = mixed.in_units_of_first(moments).read(range(20))["image"]
    assert surveys_of(mixed, 4).tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose((image[1::2] - 100) / moments[0][1], (image[::2] - 100) / moments[0][1], atol=1e-4)
    np.testing.assert_array_equal(image[::2], mixed.read(range(20))["image"][::2])
    assert mixed.read([1])["image"].std() > 20 * image[0].std()  # the source itself stays as it was


def test_no_data_stays_no_data(cube: Cube):
    own = WindowSource(cube.volume, "facies", UniformWindows(Box((4, 0, 0), (8, 40, 60)), WINDOW, 1, 0.5), WINDOW,
                       labelled_only=True)  # fmt: skip
    mixed = MixedSource([own, own], Turns((1, 1))).in_units_of_first([(0.0, 1.0), (3.0, 2.0)])
    found, expected = mixed.read(range(40)), own.read([i // 2 for i in range(40)])
    assert np.isnan(expected["image"]).any()
    np.testing.assert_array_equal(np.isnan(found["image"]), np.isnan(expected["image"]))
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    assert (found["labels"][np.isnan(found["image"][..., 0])] == IGNORE).all()


@pytest.mark.parametrize("interval", [2.0, 3.0])
def test_the_same_earth_at_another_interval_gives_nearly_the_same_windows(main: Volume, interval: float):
    fine = member(survey(f"memory://mixture-{interval}/", interval=interval), main)
    assert fine.volume.shape == main.shape
    inner = Box((0, 0, 12), (6, 24, 36))
    sampler = UniformWindows(inner, WINDOW, 3, 0.0)
    sources = [WindowSource(v, "facies", sampler, PADDED, labelled_only=True) for v in (main, fine.volume)]
    found = MixedSource(sources, Turns((1, 1))).read(range(40))
    images = found["image"]
    assert np.abs(images[1::2] - images[::2]).max() < 0.02 * images.std()
    assert (found["labels"][1::2] != found["labels"][::2]).mean() < 0.05
    if interval == 2.0:  # every second sample is one of the main survey's
        np.testing.assert_array_equal(found["labels"][1::2], found["labels"][::2])


def test_examples_of_a_survey_are_cut_as_the_survey_is(main: Volume):
    many = member(survey("memory://mixture-examples/", lead=3), main)
    assert (many.window, many.padded) == ((1, *WINDOW), (1, *PADDED))
    mixed = MixedSource([source(main), source(many.volume, many.window)], Turns((1, 1)))
    batch = mixed.read(range(6), Box((0, 0, 4), (1, 8, 8)))
    assert batch["image"].shape == (6, 1, 8, 8, 1)
    assert np.isfinite(batch["image"]).all()
    one = member(main, many.volume, window=(1, *WINDOW), padded=(1, *PADDED))
    assert (one.window, one.padded) == (WINDOW, PADDED)
    mixed = MixedSource([source(many.volume, many.window), source(main)], Turns((1, 1)))
    assert mixed.read(range(6), Box((0, 0, 0, 4), (1, 1, 8, 8)))["image"].shape == (6, 1, 1, 8, 8, 1)


def test_members_that_do_not_fit_are_refused(main: Volume, tmp_path: Path):
    other = survey("memory://mixture-bad/", 5)
    with create_volume(tmp_path / "deep.zarr", [*main.axes[:2], Axis("depth", np.arange(60), "m")]) as volume:
        volume.write(AMPLITUDE, Box.whole(main.shape), np.zeros(main.shape, np.float32))
    deep = open_volume(tmp_path / "deep.zarr")
    with pytest.raises(UserError, match=r"inline, crossline, depth; data\.volume has inline, crossline, time"):
        member(deep, main)
    with pytest.raises(UserError, match=r"it has no even sampling interval .* data\.volume has a sample every 4 ms"):
        member(survey("memory://mixture-unitless/", unit=""), main)
    with pytest.raises(UserError, match=r"data\.volume has no even sampling interval .* it has a sample every 4 ms"):
        member(main, survey("memory://mixture-unitless/", unit=""))
    with pytest.raises(UserError, match="counts its time in s, data.volume in ms"):
        member(survey("memory://mixture-seconds/", unit="s"), main)
    with pytest.raises(
        UserError, match=r"data\.window=.* its 32 samples along crossline are more than the volume's 24"
    ):
        member(other, main, window=(1, 32, 16), padded=(1, 32, 16))
    with pytest.raises(UserError, match="no inline between 7 and 9"):
        member(other, main, "inline:7-9")
    with pytest.raises(UserError, match="with data.directions"):
        member(survey("memory://mixture-examples/", lead=3), main, directions=("inline", "crossline"))


def test_the_main_survey_once_more_may_not_reach_into_validation(main: Volume):
    splits = {"train": (Box((0, 0, 0), (2, 24, 60)),), "validation": (Box((4, 0, 0), (2, 24, 60)),)}
    with pytest.raises(UserError, match=r"counts as .* data\.validation and data\.mixture_train overlap"):
        member(main, main, splits=splits)
    assert member(main, main, "inline:0-2", splits=splits).regions == (Box((0, 0, 0), (3, 24, 60)),)
    assert member(survey("memory://mixture-bad/", 5), main, splits=splits).regions == (Box.whole(main.shape),)


@pytest.mark.parametrize("kind", ["grid", "balanced", "blocks"])
def test_every_way_of_sampling_mixes(main: Volume, kind: str):
    resampled = member(survey("memory://mixture-kinds/", 7, interval=2.0), main).volume
    sources = [
        WindowSource(
            volume,
            "facies",
            make_sampler(
                kind,
                volume=volume,
                labels="facies",
                regions=[Box.whole(volume.shape)],
                window=WINDOW,
                seed=1,
                overhang=0.0,
            ),
            PADDED,
            labelled_only=True,
        )
        for volume in (main, resampled)
    ]
    batch = MixedSource(sources, Turns((1, 1))).read(range(16))
    assert all(np.isfinite(image).any() for image in batch["image"])
    assert {0, 1} <= set(np.unique(batch["labels"])) <= {0, 1, IGNORE}
