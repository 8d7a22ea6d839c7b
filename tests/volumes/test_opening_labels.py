"""Labels from another store, and copies of arrays in other chunks."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seisjax.conventions import IGNORE
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, bytes_read, create_volume, open_volume

SHAPE = (12, 10, 24)
WHOLE = Box.whole(SHAPE)
VALUES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
AXES = tuple(
    Axis(name, np.arange(n) * 2, unit)
    for name, n, unit in zip(("inline", "crossline", "time"), SHAPE, ("", "", "ms"), strict=True)
)
LIVE = np.random.default_rng(2).random(SHAPE[:2]) < 0.8


@pytest.fixture
def survey(tmp_path: Path) -> Volume:
    with create_volume(tmp_path / "survey", AXES) as volume:
        volume.write("amplitude", WHOLE, VALUES)
        volume.write("trace_mask", Box.whole(SHAPE[:2]), LIVE)
        volume.add_array("labels_old", values=LABELS)
    return open_volume(volume.url)


def save_labels(path: Path, axes: tuple[Axis, ...] = AXES) -> Volume:
    with create_volume(path, axes, dtype=None) as volume:
        volume.add_array("labels_facies", np.uint8, attributes={"class_names": ["a", "b", "c"]})
        volume.write("labels_facies", Box.whole(volume.shape), np.resize(LABELS, volume.shape))
    return open_volume(path)


def test_a_volume_with_the_labels_of_another(survey: Volume, tmp_path: Path) -> None:
    labels = save_labels(tmp_path / "labels")
    assert "amplitude" not in labels.arrays
    assert labels.describe().count("labels_facies") == 1
    both = survey.with_labels(labels)
    for volume in (both, pickle.loads(pickle.dumps(both))):
        assert volume.label_names() == ["facies"]
        assert volume.class_names("facies") == ["a", "b", "c"]
        np.testing.assert_array_equal(volume.read_labels("facies", WHOLE), np.where(LIVE[..., None], LABELS, IGNORE))
        np.testing.assert_array_equal(volume.read_amplitude(WHOLE), survey.read_amplitude(WHOLE))
        np.testing.assert_array_equal(volume.label_index("facies").counts, labels.label_index("facies").counts)
        assert volume.fingerprint == survey.fingerprint
    assert survey.label_names() == ["old"]
    with pytest.raises(UserError, match="is read, not written"):
        both.add_array("pred_class", np.uint8)
    with both:  # nothing is stored on leaving
        pass
    assert open_volume(survey.url).label_names() == ["old"]


@pytest.mark.parametrize(
    ("axis", "changed", "message"),
    [
        (0, Axis("inline", AXES[0].labels + 1), r"inline:1-23 \(12\) where it has inline:0-22 \(12\)"),
        (1, Axis("crossline", AXES[1].labels[:-1]), r"crossline:0-16 \(9\) where it has crossline:0-18 \(10\)"),
        (2, Axis("depth", AXES[2].labels, "m"), "depth where it has time"),
        (2, Axis("time", AXES[2].labels, "s"), r"time:0-46 s \(24\) where it has time:0-46 ms \(24\)"),
    ],
)
def test_axes_that_differ_are_named(survey: Volume, tmp_path: Path, axis: int, changed: Axis, message: str) -> None:
    axes = tuple(changed if i == axis else a for i, a in enumerate(AXES))
    labels = save_labels(tmp_path / "labels", axes)
    with pytest.raises(UserError, match=f"labels: its labels lie on other axes than .*survey: {message}; label"):
        survey.with_labels(labels)


def test_too_few_axes_and_no_labels(survey: Volume, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 of them, not 3"):
        survey.with_labels(save_labels(tmp_path / "labels", AXES[1:]))
    with create_volume(tmp_path / "nothing", AXES, dtype=None) as nothing:
        pass
    with pytest.raises(UserError, match="nothing: holds no labels"):
        survey.with_labels(nothing)


def test_labels_that_cannot_be_read_name_their_own_store(survey: Volume, tmp_path: Path) -> None:
    labels = save_labels(tmp_path / "labels")
    for file in (tmp_path / "labels" / "labels_facies" / "c").rglob("*"):
        if file.is_file():
            file.write_bytes(b"nothing that decodes")
    with pytest.raises(UserError, match="/labels/labels_facies: "):
        survey.with_labels(labels).read_labels("facies", WHOLE)


# Copies for sections.

SIDES = {"inline": (1, 10, 12), "crossline": (4, 1, 12), "time": (6, 5, 1)}


def save_with_copies(path: Path, *, mark: bool) -> Volume:
    """Chunks of 4^3 and a copy for sections across each axis; `mark` adds 1, 2, 3 to the copies' samples."""
    with create_volume(path, AXES, chunk=(4, 4, 4), shard=(12, 12, 24)) as volume:
        volume.add_array("labels_facies", np.uint8)
        for name, values in (("amplitude", VALUES), ("labels_facies", LABELS)):
            volume.write(name, WHOLE, values)
            for i, (axis, chunk) in enumerate(SIDES.items()):
                copy = f"sections_{axis}_{name}"
                shard = tuple(-(-n // c) * c for n, c in zip(SHAPE, chunk, strict=True))
                volume.add_array(copy, values.dtype, chunk=chunk, shard=shard, fill=0)
                volume.write(copy, WHOLE, values + np.asarray(mark * (i + 1), values.dtype))
    return open_volume(path)


def test_the_cheapest_copy_is_read(tmp_path: Path) -> None:
    volume = save_with_copies(tmp_path / "a", mark=True)
    sections = [Box((3, 0, 0), (1, 10, 24)), Box((0, 3, 0), (12, 1, 24)), Box((0, 0, 7), (12, 10, 1))]
    for i, box in enumerate(sections):
        np.testing.assert_array_equal(volume.read_amplitude(box), (VALUES + np.float32(i + 1))[box.slices])
        np.testing.assert_array_equal(volume.read_labels("facies", box), (LABELS + np.uint8(i + 1))[box.slices])
    block = Box((4, 4, 4), (4, 4, 4))
    np.testing.assert_array_equal(volume.read_amplitude(block), VALUES[block.slices])
    assert volume.label_names() == ["facies"]
    text = volume.describe()
    assert "sections_" not in text
    assert text.count("copy with chunk (1, 10, 12)") == 2


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(box=st.tuples(*(st.tuples(st.integers(-3, n), st.integers(1, n + 3)) for n in SHAPE)))
def test_copies_change_nothing(copies: tuple[Volume, Volume], box: tuple[tuple[int, int], ...]) -> None:
    plain, copied = copies
    asked = Box(*map(tuple, zip(*box, strict=True)))
    np.testing.assert_array_equal(copied.read_amplitude(asked), plain.read_amplitude(asked))
    np.testing.assert_array_equal(copied.read_labels("facies", asked), plain.read_labels("facies", asked))


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, Volume]:
    folder = tmp_path_factory.mktemp("copies")
    with create_volume(folder / "plain", AXES, chunk=(4, 4, 4)) as plain:
        plain.write("amplitude", WHOLE, VALUES)
        plain.add_array("labels_facies", values=LABELS)
    return open_volume(plain.url), save_with_copies(folder / "copied", mark=False)


def test_a_section_fetches_fewer_bytes(tmp_path: Path) -> None:
    with create_volume(tmp_path / "plain", AXES, chunk=(4, 4, 4)) as plain:
        plain.write("amplitude", WHOLE, VALUES)
    fetched = []
    for volume in (plain, save_with_copies(tmp_path / "copied", mark=False)):
        reader, start = open_volume(volume.url), bytes_read()
        reader.read_amplitude(Box((3, 0, 0), (1, 10, 24)))
        fetched.append(bytes_read() - start)
    assert fetched[1] < 0.6 * fetched[0]


# Packed samples.


def test_missing_values_and_scale(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-127, 128, SHAPE).astype(np.int8)
    stored[3, 4, 5:9] = -128
    with create_volume(tmp_path / "a", AXES, dtype="int8") as volume:
        volume.write("amplitude", WHOLE, stored)
        volume.set_attributes("amplitude", {"scale_factor": 0.3, "missing_value": -128})
    expected = np.where(stored == -128, np.nan, stored.astype(np.float32) * np.float32(0.3))
    np.testing.assert_array_equal(open_volume(tmp_path / "a").read_amplitude(WHOLE), expected)
    past = open_volume(tmp_path / "a").read_amplitude(Box((11, 9, 23), (2, 2, 2)))
    np.testing.assert_array_equal(np.isnan(past).sum(), 7)
