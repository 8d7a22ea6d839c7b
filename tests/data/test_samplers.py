"""What all samplers of training windows promise, over several regions and directions."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seisjax.conventions import IGNORE
from seisjax.data import Draw, WindowSource, make_sampler
from seisjax.data.draws import Turns, generator
from seisjax.errors import UserError
from seisjax.geometry import Box

KINDS = ["uniform", "grid", "balanced", "blocks"]
REGION = Box((2, 0, 0), (14, 40, 60))
REGIONS = (Box((0, 0, 0), (10, 24, 60)), Box((6, 26, 4), (14, 12, 50)))
WINDOW = (1, 12, 10)
ALL_WAYS = ("inline", "crossline", "time")


def sampler_of(volume, kind, **changes):
    options = {"labels": "facies", "regions": REGIONS, "window": WINDOW, "seed": 3, "overhang": 0.2, "batch_size": 8}
    return make_sampler(kind, volume=volume, **{**options, **changes})


def draw_of(sampler, index) -> Draw:
    draw = sampler.draw(index)
    assert draw is not None
    return draw


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("directions", [(), ("time", "inline")])
def test_draws_depend_on_seed_index_and_attempt_alone(cube, kind, directions):
    def draws(seed, attempt=0):
        sampler = sampler_of(cube.volume, kind, seed=seed, directions=directions)
        return [sampler.draw(i, attempt) for i in range(50)]

    sampler = sampler_of(cube.volume, kind, seed=1, directions=directions)
    backwards = [sampler.draw(i) for i in reversed(range(50))]
    assert draws(1) == backwards[::-1]
    assert len({tuple(map(str, some)) for some in (draws(1), draws(2), draws(1, 1), draws(1, 2))}) == 4
    assert draws(2**70)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_cut_alike_from_each_region_in_each_direction(cube, kind):
    sampler = sampler_of(cube.volume, kind, directions=ALL_WAYS, weights=(1, 2))
    draws = [draw_of(sampler, i) for i in range(1800)]
    shapes = {(1, 12, 10): 600, (12, 1, 10): 600, (12, 10, 1): 600}
    found = Counter(draw.box.shape for draw in draws)
    assert found.keys() == shapes.keys()
    where = Counter(draw.region for draw in draws)
    assert where.keys() == set(REGIONS)
    if kind == "balanced":  # its directions and regions are left to chance: four deviations
        assert all(abs(found[shape] - 600) < 80 for shape in shapes)
        assert abs(where[REGIONS[1]] - 1200) < 80
    else:
        assert all(abs(found[shape] - 600) <= 20 for shape in shapes)
        assert abs(where[REGIONS[1]] - 1200) <= 20
    assert all(draw.inner.size for draw in draws)


@pytest.mark.parametrize("kind", KINDS)
def test_sections_of_every_direction_are_laid_out_in_the_shape_of_the_window(cube, kind):
    sampler = sampler_of(cube.volume, kind, directions=ALL_WAYS)
    source = WindowSource(cube.volume, "facies", sampler, (1, 16, 12), labelled_only=False)
    for i in range(40):
        draw, sample = draw_of(sampler, i), source[i]
        image = np.full(draw.box.shape, np.nan, np.float32)
        labels = np.full(draw.box.shape, IGNORE, np.uint8)
        place = draw.inner.relative_to(draw.box.start).slices
        image[place], labels[place] = cube.amplitude[draw.inner.slices], cube.labels[draw.inner.slices]
        labels[np.isnan(image)] = IGNORE
        np.testing.assert_array_equal(sample["image"][0, :12, :10, 0], image.squeeze())
        np.testing.assert_array_equal(sample["labels"][0, :12, :10], labels.squeeze())
        assert np.isnan(sample["image"][0, 12:]).all()
        assert np.isnan(sample["image"][0, :, 10:]).all()


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("unifrom", {}, "data.sampling='unifrom': unknown .did you mean 'uniform'"),
        ("uniform", {"overhang": 1.5}, "data.overhang=1.5"),
        ("balanced", {"overhang": -0.5}, "data.overhang=-0.5"),
        ("uniform", {"weights": (1.0,)}, r"data.train_weights=\(1.0,\): give one number .* 2 regions"),
        ("grid", {"weights": (0.0, 0.0)}, "not all 0"),
        ("uniform", {"directions": ("inlin",)}, "data.directions: .*did you mean 'inline'"),
        ("uniform", {"directions": ("time", "time")}, "stands twice"),
        ("uniform", {"directions": ("time",), "window": (2, 12, 10)}, "exactly one side of 1"),
        ("uniform", {"directions": ("time",), "window": (1, 1, 10)}, "exactly one side of 1"),
        ("uniform", {"directions": ("time",), "window": (1, 30, 10)}, "across time has 30 samples along inline.* 20"),
        ("balanced", {"labels": None}, "needs labels"),
        ("balanced", {"class_shares": (-1, 2)}, r"data.class_shares=\(-1, 2\): give shares of at least 0"),
        ("balanced", {"regions": [Box((0, 0, 0), (5, 40, 60))]}, "no sample of labels 'facies' is labelled"),
        ("blocks", {"window": (1, 24, 60), "regions": [Box((6, 0, 0), (4, 24, 60))]}, "fewer than 8 windows side by"),
        ("blocks", {"regions": [Box((16, 0, 0), (4, 40, 60))]}, "fewer than 8 windows side by side with labels"),
        ("blocks", {"block_mebibytes": 0}, "8 blocks open at once do not fit .* set it to 32"),
    ],
)
def test_what_does_not_fit_is_one_line(cube, kind, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        sampler_of(cube.volume, kind, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shares", [[1.0], [1, 1, 1], [0.2, 0.5, 0.3], [3.14159, 2.71828, 1e-9, 0], [1] * 700])
def test_turns_meet_their_shares_and_count_each_ones_own(shares):
    turns, seen, expected = Turns(shares), Counter(), np.array(shares) / sum(shares)
    for i in range(6000):
        who, number = turns[i]
        assert number == seen[who]
        seen[who] += 1
    found = np.array([seen[i] for i in range(len(shares))]) / 6000
    np.testing.assert_allclose(found, expected, atol=0.001)
    assert all(seen[i] for i, share in enumerate(shares) if share > 0)
    assert not any(seen[i] for i, share in enumerate(shares) if share == 0)


def test_turns_know_how_often_each_comes_in_a_row():
    turns = Turns([5, 2, 1])
    run = [turns[i][0] for i in range(100)]
    for length in (1, 3, 8, 11):
        counts = [Counter(itertools.islice(run, i, i + length)) for i in range(80)]
        assert turns.most(length).tolist() == [max(c[who] for c in counts) for who in range(3)]


@given(st.integers(-(2**70), 2**130), *[st.integers(0, 2**63)] * 3)
def test_random_numbers_are_those_of_a_philox_of_their_own(seed: int, index: int, attempt: int, part: int):
    generator(seed + 1, index).random(3)  # leaves nothing behind
    own = np.random.Philox(key=seed % 2**128, counter=np.array([0, part, attempt, index], np.uint64))
    found, expected = generator(seed, index, attempt, part), np.random.Generator(own)
    for draw in (lambda g: g.integers(7, size=3), lambda g: g.random(), lambda g: g.permutation(9)):
        np.testing.assert_array_equal(draw(found), draw(expected))
