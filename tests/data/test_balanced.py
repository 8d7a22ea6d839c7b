"""Balanced draws: every class has its share, and no window is without a label."""

import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from seisjax.conventions import IGNORE
from seisjax.data import BalancedWindows, WindowSource, class_counts
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, create_volume, open_volume

SHAPE = (24, 30, 40)
WINDOW = (5, 6, 7)
REGIONS = (Box((1, 3, 2), (14, 25, 35)), Box((17, 0, 5), (7, 30, 30)))


def few_lines() -> np.ndarray:
    """Three inlines and a crossline; the classes are layers, the last one thin."""
    labels = np.full(SHAPE, IGNORE, np.uint8)
    layers = np.digitize(np.arange(SHAPE[2]), [14, 36]).astype(np.uint8)
    for line in (2, 9, 20):
        labels[line] = layers
    labels[:, 11] = layers
    return labels


def polygons() -> np.ndarray:
    """A disc on two time slices and a small square beside it."""
    labels = np.full(SHAPE, IGNORE, np.uint8)
    x, y = np.indices(SHAPE[:2])
    labels[(x - 8) ** 2 + (y - 12) ** 2 < 30, 20] = 0
    labels[(x - 19) ** 2 + (y - 20) ** 2 < 16, 30] = 1
    labels[4:6, 5:7, 8] = 2
    return labels


def make_volume(name: str, labels: np.ndarray) -> Volume:
    axes = [Axis(axis, np.arange(n)) for axis, n in zip(("inline", "crossline", "time"), labels.shape, strict=True)]
    with create_volume(f"memory://balanced/{name}/", axes, chunk=(8, 8, 8), shard=(16, 16, 16)) as volume:
        volume.write("amplitude", Box.whole(labels.shape), np.ones(labels.shape, np.float32))
        volume.add_array("labels_facies", np.uint8)
        volume.write("labels_facies", Box.whole(labels.shape), labels)
    return open_volume(volume.url)


@pytest.fixture(scope="module", params=[few_lines, polygons], ids=["lines", "polygons"])
def sparse(request) -> tuple[Volume, np.ndarray]:
    """A volume with hardly any labels, and its labels in the regions alone."""
    labels = request.param()
    known = np.full(SHAPE, IGNORE, np.uint8)
    for region in REGIONS:
        known[region.slices] = labels[region.slices]
    return make_volume(request.param.__name__, labels), known


def sampler_of(volume, windows=(WINDOW,), overhang=0.3, **options):
    return BalancedWindows(volume, "facies", REGIONS, windows, windows[0], seed=5, overhang=overhang, **options)


def drawn_class(volume, known, **options):
    """The class around which a sample is drawn: that of a window of one sample."""
    single = sampler_of(volume, [(1, 1, 1)], overhang=0.0, **options)
    return lambda i: int(known[single.draw(i).box.slices].item())


@pytest.mark.parametrize("shares", [(), (0.55, 0.15, 0.3)])
def test_shares_are_reached_and_every_window_holds_its_class(sparse, shares):
    volume, known = sparse
    sampler, class_of = sampler_of(volume, class_shares=shares), drawn_class(volume, known, class_shares=shares)
    found, count = Counter(), 10_000
    for i in range(count):
        k, inner = class_of(i), sampler.draw(i).inner
        found[k] += (known[inner.slices] == k).any()
    reached = np.array([found[k] for k in range(3)]) / count
    np.testing.assert_allclose(reached, shares or [1 / 3] * 3, atol=0.01)
    assert sum(found.values()) == count


def test_shares_of_classes_that_the_labels_do_not_have_are_0():
    volume = make_volume("layers", few_lines())  # of three classes
    shares = (1.0, 2.0, 1.0)
    wanted = [sampler_of(volume, class_shares=shares).draw(i) for i in range(20)]
    more = sampler_of(volume, class_shares=(*shares, 0.0, 0.0))
    assert [more.draw(i) for i in range(20)] == wanted
    with pytest.raises(UserError, match="class 4 of 'facies' has the share 1 but no sample"):
        sampler_of(volume, class_shares=(*shares, 0.0, 1.0))
    one = sampler_of(volume, [(1, 1, 1)], class_shares=(0.0, 1.0))
    assert {few_lines()[one.draw(i).inner.slices].item() for i in range(20)} == {1}


def test_windows_keep_their_bounds_and_hold_every_labelled_sample_now_and_then(sparse):
    volume, known = sparse
    sampler, seen = sampler_of(volume), np.zeros(SHAPE, int)
    for i in range(3000):
        draw = sampler.draw(i)
        seen[draw.inner.slices] += 1
        for start, w, n, a in zip(draw.box.start, draw.box.shape, draw.region.shape, draw.region.start, strict=True):
            assert a - int(0.3 * w) <= start <= a + n - w + int(0.3 * w)
    assert (seen[known != IGNORE] > 0).all()


def test_samples_of_a_class_are_equally_likely():
    labels = np.full(SHAPE, IGNORE, np.uint8)
    labels[3:6, 3, 3], labels[20, 4:11, 9] = 0, 0  # cut by a border, on both sides of one chunk, in two regions
    labels[16, 20, 20] = 0  # in no region
    sampler = sampler_of(make_volume("alike", labels), windows=((1, 1, 1),), overhang=0.0)
    found = Counter(sampler.draw(i).box.start for i in range(5000))
    assert set(found) == {(x, 3, 3) for x in (3, 4, 5)} | {(20, y, 9) for y in range(4, 11)}
    assert all(abs(count - 500) < 100 for count in found.values())


def test_regions_are_drawn_by_their_weight_where_they_hold_the_class(sparse):
    volume, known = sparse
    sampler, class_of = sampler_of(volume, weights=(1, 4)), drawn_class(volume, known, weights=(1, 4))
    held = [{int(k) for k in np.unique(known[r.slices])} - {IGNORE} for r in REGIONS]
    found = {k: Counter() for k in range(3)}
    for i in range(6000):
        found[class_of(i)][sampler.draw(i).region] += 1
    for k, counts in found.items():
        if k in held[0] & held[1]:
            assert abs(counts[REGIONS[1]] / counts.total() - 0.8) < 0.04
        else:
            assert set(counts) == {r for r, classes in zip(REGIONS, held, strict=True) if k in classes}


def test_no_window_of_the_source_is_without_labels(sparse):
    volume, _ = sparse
    source = WindowSource(volume, "facies", sampler_of(volume), WINDOW, labelled_only=True)
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda k: copy.read(range(8 * k, 8 * k + 8)), range(20)))
    for k, batch in enumerate(batches):
        assert (batch["labels"] != IGNORE).any(axis=(1, 2, 3)).all()
        np.testing.assert_array_equal(batch["labels"], source.read(range(8 * k, 8 * k + 8))["labels"])


def test_labels_on_dead_traces_are_passed_over(cube):
    region = Box((4, 4, 0), (5, 10, 60))  # with traces that are dead
    sampler = BalancedWindows(cube.volume, "facies", [region], [(1, 1, 1)], (1, 1, 1), seed=0, overhang=0.0)
    for i in range(300):
        assert cube.labels[sampler.draw(i).box.slices].item() != IGNORE


def test_class_counts_are_exact(sparse):
    volume, known = sparse
    expected = [np.count_nonzero(known == k) for k in range(3)]
    assert class_counts(volume, "facies", REGIONS).tolist() == expected
    assert (
        class_counts(volume, "facies", [Box.whole(SHAPE)]).tolist() == volume.label_index("facies").histogram.tolist()
    )
    assert class_counts(volume, "facies", []).tolist() == [0, 0, 0]


def test_class_counts_read_no_chunk_that_the_index_knows(sparse, monkeypatch):
    volume, known = sparse
    read = []
    monkeypatch.setattr(Volume, "start_labels", lambda _, name, box: read.append(box))
    class_counts(volume, "facies", [Box((8, 0, 0), (16, 30, 40)), Box((0, 0, 0), (8, 24, 32))])
    assert not read
