"""The life of a store: what may be opened, overwritten and left behind."""

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from seisjax.conventions import AMPLITUDE, IGNORE
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.volumes import Volume, create_volume, open_volume

SHAPE = (6, 8, 10)
AXES = tuple(Axis(name, np.arange(n)) for name, n in zip(("inline", "crossline", "time"), SHAPE, strict=True))
WHOLE = Box.whole(SHAPE)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def make(path: Path | str, value: float = 1.0, *, overwrite: bool = False) -> None:
    with create_volume(path, AXES, overwrite=overwrite) as volume:
        volume.write(AMPLITUDE, WHOLE, np.full(SHAPE, value, np.float32))


def fail_half_way(volume: Volume, name: str) -> None:
    with volume:
        volume.write(name, WHOLE, np.zeros(SHAPE))
        raise ZeroDivisionError


@pytest.mark.parametrize("url", ["nowhere", "memory://nowhere/at_all"])
def test_nothing_there(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="no volume here"):
        open_volume(url if "://" in url else tmp_path / url)


def test_a_file_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "survey.segy").write_bytes(b"C 1 CLIENT")
    with pytest.raises(UserError, match=r"survey.segy: is a file, no volume; launch/ingest.py --input=.*survey.segy"):
        open_volume(tmp_path / "survey.segy")


def test_an_unknown_scheme() -> None:
    with pytest.raises(UserError, match="unsupported URL scheme"):
        open_volume("ftp://host/volume")


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "3", '{"zarr_format": 3, "node_type": "group"}', '{"attributes": {"attributes": null}}'),
        '{"node_type": "group", "attributes": {"attributes": {"seisjax": {}}}}',
        '{"node_type": "group", "consolidated_metadata": {"metadata": {"a": {"node_type": "array"}}}}',
        '{"node_type": "group", "consolidated_metadata": {"metadata": {"a": null}}}',
        '{"node_type": "group", "consolidated_metadata": []}',
        '{"node_type": "group", "attributes": {"attributes": []}, "consolidated_metadata": {"kind": "inline"}}',
    ],
)
def test_no_volume_but_something(tmp_path: Path, text: str) -> None:
    (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(UserError) as error:
        open_volume(tmp_path)
    assert "\n" not in str(error.value)


def test_an_unfinished_store_is_not_seen(tmp_path: Path) -> None:
    target = tmp_path / "survey"
    volume = create_volume(target, AXES)
    volume.write(AMPLITUDE, WHOLE, np.zeros(SHAPE))
    assert not target.exists()
    (partial,) = tmp_path.iterdir()
    assert partial.name == f"survey.partial-{os.getpid()}"
    with pytest.raises(UserError, match="no volume here"):
        open_volume(partial)
    volume.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["survey"]
    assert (volume.read(AMPLITUDE, WHOLE) == 0).all()


def test_an_unfinished_store_in_memory_is_not_seen() -> None:
    create_volume("memory://unfinished", AXES)
    with pytest.raises(UserError, match="no volume here"):
        open_volume("memory://unfinished")


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_overwriting_must_be_asked_for(tmp_path: Path, scheme: str) -> None:
    url = str(tmp_path / "survey") if scheme == "file" else "memory://overwritten"
    make(url)
    with pytest.raises(UserError, match="exists; choose another --output or give --overwrite"):
        make(url, 2.0)
    assert (open_volume(url).read(AMPLITUDE, WHOLE) == 1).all()
    make(url, 2.0, overwrite=True)
    assert (open_volume(url).read(AMPLITUDE, WHOLE) == 2).all()
    assert {path.name for path in tmp_path.iterdir()} <= {"survey"}


def test_what_is_no_volume_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    before = files(tmp_path)
    for name in ("folder", "file"):
        with pytest.raises(UserError, match="exists and is"):
            make(tmp_path / name, overwrite=True)
    assert files(tmp_path) == before
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    assert (open_volume(tmp_path / "empty").read(AMPLITUDE, WHOLE) == 1).all()


def test_a_store_that_came_up_meanwhile_is_kept(tmp_path: Path) -> None:
    volume = create_volume(tmp_path / "survey", AXES)
    make(tmp_path / "other")
    (tmp_path / "other").rename(tmp_path / "survey")
    with pytest.raises(UserError, match="cannot be put in place"), volume:
        pass
    assert (open_volume(tmp_path / "survey").read(AMPLITUDE, WHOLE) == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["survey"]


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    make(tmp_path / "survey")
    before = files(tmp_path)
    for target in (tmp_path / "survey", tmp_path / "new" / "folder" / "survey"):
        with pytest.raises(ZeroDivisionError):
            fail_half_way(create_volume(target, AXES, overwrite=True), AMPLITUDE)
        assert files(tmp_path) == before
    assert (open_volume(tmp_path / "survey").read(AMPLITUDE, WHOLE) == 1).all()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk() -> None:
        with create_volume(tmp_path / "a", AXES) as volume:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
            volume.write(AMPLITUDE, WHOLE, np.random.default_rng(0).normal(size=SHAPE))

    try:
        with pytest.raises(UserError, match="amplitude: .*; check free space"):
            fill_disk()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not files(tmp_path)


def test_a_place_that_cannot_be_written() -> None:
    with pytest.raises(UserError, match="cannot write here"):
        create_volume("/proc/no/survey", AXES)


def test_arrays_join_a_finished_volume(tmp_path: Path) -> None:
    make(tmp_path / "survey")
    before = json.loads((tmp_path / "survey" / "zarr.json").read_text())
    reader = open_volume(tmp_path / "survey")
    labels = np.full(SHAPE, IGNORE, np.uint8)
    labels[2] = 3
    with open_volume(tmp_path / "survey") as volume:
        volume.add_array("labels_horizon", np.uint8, attributes={"class_names": list("abcd")}, values=labels)
        assert "labels_horizon" not in open_volume(tmp_path / "survey").arrays
    assert (reader.read(AMPLITUDE, WHOLE) == 1).all()
    volume = open_volume(tmp_path / "survey")
    np.testing.assert_array_equal(volume.read_labels("horizon", WHOLE), labels)
    np.testing.assert_array_equal(volume.label_index("horizon").histogram, [0, 0, 0, 80])
    with pytest.raises(UserError, match="'labels_horizon' exists"):
        volume.add_array("labels_horizon", np.uint8)
    after = json.loads((tmp_path / "survey" / "zarr.json").read_text())
    assert after["attributes"] == before["attributes"]


def test_a_failure_takes_back_only_the_new_arrays(tmp_path: Path) -> None:
    make(tmp_path / "survey")
    before = files(tmp_path)
    volume = open_volume(tmp_path / "survey")
    volume.add_array("pred_class", np.uint8)
    assert files(tmp_path) != before
    with pytest.raises(ZeroDivisionError):
        fail_half_way(volume, "pred_class")
    assert files(tmp_path) == before
    assert "pred_class" not in volume.arrays


def test_leaving_an_unchanged_volume_writes_nothing(tmp_path: Path) -> None:
    make(tmp_path / "survey")
    before = (tmp_path / "survey" / "zarr.json").stat()
    with open_volume(tmp_path / "survey"):
        pass
    assert (tmp_path / "survey" / "zarr.json").stat().st_mtime_ns == before.st_mtime_ns


def test_labels_outside_the_classes_are_refused(tmp_path: Path) -> None:
    volume = create_volume(tmp_path / "survey", AXES)
    volume.add_array("labels_facies", np.uint8, attributes={"class_names": ["a", "b"]})
    volume.write("labels_facies", WHOLE, np.full(SHAPE, 4))
    with pytest.raises(UserError, match="labels_facies: holds value 4 but has 2 classes"), volume:
        pass
    assert not files(tmp_path)


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    with create_volume(tmp_path / "survey", AXES) as volume:
        volume.add_array("labels_facies", np.uint8, values=np.full(SHAPE, 2, np.uint8))
        volume.add_array("labels_nothing", np.uint8, values=np.full(SHAPE, IGNORE, np.uint8))
    assert volume.class_names("facies") == ["class 0", "class 1", "class 2"]
    assert not volume.label_index("nothing").histogram.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16"}, "--dtype=bfloat16"),
        ({"dtype": "float31"}, "--dtype=float31"),
        ({"chunk": (64, 64)}, "--chunk=64,64: give one side"),
        ({"shard": (64, 64, 0)}, "--shard=64,64,0: give one side"),
    ],
)
def test_impossible_layouts(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_volume(tmp_path / "survey", AXES, **options)
    assert not files(tmp_path)


def test_a_damaged_shard_is_one_clear_line(tmp_path: Path) -> None:
    make(tmp_path / "survey")
    (shard,) = (path for path in (tmp_path / "survey" / AMPLITUDE / "c").rglob("*") if path.is_file())
    shard.write_bytes(b"nothing that decodes")
    with pytest.raises(UserError, match="survey/amplitude: .*; check that the store is whole") as error:
        open_volume(tmp_path / "survey").read_amplitude(WHOLE)
    assert "\n" not in str(error.value)
