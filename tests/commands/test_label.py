"""From interpretation in text to labels, and from labels and predictions back to text."""

from pathlib import Path

import numpy as np
import pytest

from seisjax.commands.extract import Extraction, extract
from seisjax.commands.label import Labelling, label, parse_width
from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.interpretation.frame import Frame
from seisjax.interpretation.text import read_points
from seisjax.volumes import create_volume, open_volume
from seisjax.volumes.ingest import ingest

SHAPE = (12, 30, 48)
INLINE, CROSSLINE = (part.ravel() for part in np.indices(SHAPE[:2]))
X, Y = 4e5 + 20.0 * INLINE - 7.5 * CROSSLINE, 6e6 + 15.0 * INLINE + 10.0 * CROSSLINE
TOP = 14 + 4 * np.sin(CROSSLINE / 7 + INLINE / 5)
BASE = TOP + 9 + 2 * np.cos(INLINE / 3)


def make_survey(path: Path, *, places: bool = True, dead: bool = False) -> Path:
    axes = [Axis("inline", np.arange(100, 124, 2)), Axis("crossline", np.arange(300, 330))]
    axes.append(Axis("time", 1000 + np.arange(48) * 4.0, "ms"))
    with create_volume(path, axes, dtype="float32", chunk=(4, 8, 16), shard=(8, 16, 48)) as volume:
        volume.write("amplitude", Box.whole(SHAPE), np.zeros(SHAPE, np.float32))
        live = np.ones(SHAPE[:2], bool)
        live[3, 4:6] = not dead
        volume.write("trace_mask", Box.whole(SHAPE[:2]), live)
        over = {"dimension_names": ["inline", "crossline"]}
        if places:
            volume.add_array("cdp_x", values=X.reshape(SHAPE[:2]), **over)
            volume.add_array("cdp_y", values=Y.reshape(SHAPE[:2]), **over)
    return path


@pytest.fixture
def survey(tmp_path):
    return make_survey(tmp_path / "survey.zarr")


@pytest.fixture
def files(tmp_path):
    """top.txt as Petrel writes it, base.csv in seconds at map coordinates, a fault and a polygon."""
    lines = zip(100 + 2 * INLINE, 300 + CROSSLINE, X, Y, 1000 + 4 * TOP, strict=True)
    (tmp_path / "top.txt").write_text(
        "\n".join("INLINE : {} XLINE : {} {:.3f} {:.3f} {:.5f}".format(*at) for at in lines)
    )
    rows = "\n".join(f"{x},{y},{1 + 0.004 * z:.7f}" for x, y, z in zip(X, Y, BASE, strict=True))
    (tmp_path / "base.csv").write_text("x,y,time_s\n" + rows)
    sticks = [(i, 12 + 0.5 * i + k / 4, k, i) for i in (0, 5, 11) for k in (0, 20, 47)]
    text = "\n".join(f"{100 + 2 * i},{300 + j},{1000 + 4 * k},main,{s}" for i, j, k, s in sticks)
    (tmp_path / "faults.csv").write_text("inline,crossline,time_ms,fault,stick\n" + text)
    outline = [(300, 1000), (310, 1000), (310, 1060), (300, 1060)]
    text = "\n".join(f"1,salt,106,{j},{z}" for j, z in outline)
    (tmp_path / "salt.csv").write_text("polygon,class,inline,crossline,time_ms\n" + text)
    return tmp_path


def labels_of(volume, name="interpretation"):
    return open_volume(volume).read_labels(name, Box.whole(SHAPE))


def picks_of(path):
    points = read_points(path, "horizon", "time")
    assert points.lines.tolist() == np.stack([100 + 2 * INLINE, 300 + CROSSLINE], axis=1).tolist()
    return (points.z - 1000) / 4


def test_areas_and_back_to_text(survey, files):
    """A perfect prediction: the labels themselves."""
    horizons = (str(files / "top.txt"), str(files / "base.csv"))
    summary = label(Labelling(str(survey), str(files / "l.zarr"), horizons=horizons, kind="areas", command="label ..."))
    assert summary.startswith("100.00% of the samples labelled (above top ")
    labels = labels_of(files / "l.zarr")
    sample = np.arange(48)
    expected = (sample >= TOP[:, None]).astype(int) + (sample >= BASE[:, None])
    np.testing.assert_array_equal(labels, expected.reshape(SHAPE))
    volume = open_volume(files / "l.zarr")
    assert volume.class_names("interpretation") == ["above top", "top to base", "below base"]
    assert volume.label_index("interpretation").histogram.tolist() == np.bincount(labels.ravel()).tolist()
    made_of = volume.arrays["labels_interpretation"].attributes["interpretation"]
    assert (made_of["kind"], made_of["horizons"], made_of["command"]) == ("areas", list(horizons), "label ...")
    open_volume(survey).with_labels(volume)  # it trains with data.labels_volume
    for between, depth in ((("above top", "top to base"), TOP), (("1", "2"), BASE)):
        for ordered in (False, True):
            path = files / f"back{ordered}{between[1][0]}.txt"
            options = {"labels": "interpretation", "between": between, "ordered": ordered}
            assert extract(Extraction(str(files / "l.zarr"), horizons=path, **options)).startswith(
                "360 of 360 traces picked"
            )
            assert np.abs(picks_of(path) - depth).max() <= 0.5 + 1e-4
    points = read_points(files / "backTrue2.txt", "horizon", "time")
    np.testing.assert_allclose(points.xy, np.stack([X, Y], axis=1), atol=1e-6)


def test_bands_in_the_survey_itself_and_back_to_both_formats(survey, files):
    before = open_volume(survey).fingerprint
    label(
        Labelling(
            str(survey), label_name="tops", horizons=(str(files / "top.txt"), str(files / "base.csv")), width="20ms"
        )
    )
    volume = open_volume(survey)
    assert (volume.label_names(), volume.fingerprint) == (["tops"], before)
    assert volume.class_names("tops") == ["background", "top", "base"]
    labels = labels_of(survey, "tops")
    assert np.bincount(labels.ravel()).tolist() == [360 * 38, 360 * 5, 360 * 5]
    for ending in ("csv", "txt"):
        for name, depth in (("top", TOP), ("base", BASE)):
            path = files / f"{name}_back.{ending}"
            extract(Extraction(str(survey), labels="tops", horizons=path, along=name))
            assert np.abs(picks_of(path) - depth).max() <= 0.5 + 1e-4
    with pytest.raises(UserError, match="array 'labels_tops' exists; choose another name"):
        label(Labelling(str(survey), label_name="tops", horizons=(str(files / "top.txt"),)))
    assert (labels_of(survey, "tops") == labels).all()


def test_faults_polygons_and_what_lies_over_what(survey, files):
    request = Labelling(
        str(survey),
        str(files / "l.zarr"),
        label_name="all",
        kind="areas",
        horizons=(str(files / "top.txt"), str(files / "base.csv")),
        faults=(str(files / "faults.csv"),),
        polygons=(str(files / "salt.csv"),),
        width="2",
    )
    with pytest.raises(UserError, match="--width=2: is less than a sample"):
        label(request)
    label(Labelling(**vars(request) | {"width": "2samples"}))
    names = open_volume(files / "l.zarr").class_names("all")
    assert names == ["above top", "top to base", "below base", "fault", "salt"]
    labels = labels_of(files / "l.zarr", "all")
    assert labels[3, 0, 5] == labels[3, 9, 14] == 4
    assert not (labels[[2, 4]] == 4).any()
    assert labels[6, 15, 0] == labels[3, 16, 10] == 3
    inline, crossline, sample = np.indices(SHAPE)
    off = np.abs(crossline - 12 - 0.5 * inline - sample / 4) / np.sqrt(1 + 0.25 + 1 / 16)
    inner = (slice(1, -1), slice(None), slice(1, -1))
    np.testing.assert_array_equal((labels == 3)[inner], (off <= 1)[inner])


def test_only_what_was_interpreted_is_labelled(survey, files):
    faults = {"faults": (str(files / "faults.csv"),)}
    label(Labelling(str(survey), str(files / "f.zarr"), **faults, interpreted="inline:100;inline:110;crossline:315"))
    labels = labels_of(files / "f.zarr")
    seen = np.zeros(SHAPE[:2], bool)
    seen[[0, 5]], seen[:, 15] = True, True
    assert (labels[~seen] == 255).all()
    assert set(np.unique(labels[seen])) == {0, 1}
    label(Labelling(str(survey), str(files / "p.zarr"), polygons=(str(files / "salt.csv"),)))
    labels = labels_of(files / "p.zarr")
    assert (labels[[0, 1, 2, 4, 11]] == 255).all()
    assert set(np.unique(labels[3])) == {0, 1}
    only = {"background": False, "class_names": ("facies", "salt"), "polygons": (str(files / "salt.csv"),)}
    label(Labelling(str(survey), str(files / "q.zarr"), **only))
    assert set(np.unique(labels_of(files / "q.zarr"))) == {1, 255}
    assert open_volume(files / "q.zarr").class_names("interpretation") == ["facies", "salt"]


def test_dead_traces_and_shards_without_labels_stay_empty(files):
    survey = make_survey(files / "dead.zarr", dead=True)
    label(Labelling(str(survey), str(files / "l.zarr"), polygons=(str(files / "salt.csv"),)))
    volume = open_volume(files / "l.zarr")
    assert (volume.read("labels_interpretation", Box((3, 4, 0), (1, 2, 48))) == 255).all()
    assert volume.label_index("interpretation").histogram.sum() == 28 * 48
    assert not volume.read("trace_mask", Box((3, 4), (1, 2))).any()
    assert len(list((files / "l.zarr" / "labels_interpretation" / "c").rglob("*"))) < 8


@pytest.mark.parametrize("ending", ["csv", "txt"])
def test_fault_sticks_come_back(survey, files, ending):
    label(Labelling(str(survey), str(files / "l.zarr"), faults=(str(files / "faults.csv"),)))
    path = files / f"sticks.{ending}"
    one = Extraction(str(files / "l.zarr"), class_name="fault", labels="interpretation", sticks=path, every=4)
    assert extract(one).startswith("1 object of fault")
    points = read_points(path, "fault", "time")
    index = Frame("s", open_volume(survey).axes).index(points)
    assert sorted(set(points.text["stick"])) == sorted(set(map(str, range(1, len(set(points.text["stick"])) + 1))))
    if ending == "csv":  # crosslines, for the fault spans more of them: of 4 one, to a fraction of an inline
        assert set(index[:, 1] % 4) == {0}
        inner = (index[:, 2] > 2) & (index[:, 2] < 45) & (index[:, 0] > 1) & (index[:, 0] < 10)
        off = np.abs(index[:, 1] - 12 - 0.5 * index[:, 0] - index[:, 2] / 4) / np.sqrt(1 + 0.25 + 1 / 16)
        assert inner.any()
        assert off[inner].max() <= 0.5
    label(Labelling(str(survey), str(files / "again.zarr"), faults=(str(path),)))
    first, second = (labels_of(files / name)[1:-1, :, 2:-2] == 1 for name in ("l.zarr", "again.zarr"))
    assert (first & second).sum() / (first | second).sum() > 0.6


def test_polygons_come_back(survey, files):
    label(Labelling(str(survey), str(files / "l.zarr"), faults=(str(files / "faults.csv"),)))
    path = files / "fault.csv"
    ask = {"labels": "interpretation", "class_name": "fault", "polygons": path, "every": 5}
    summary = extract(Extraction(str(files / "l.zarr"), **ask))
    assert summary.endswith(f"polygons of fault on 3 of 3 inlines, written to {path}")
    label(Labelling(str(survey), str(files / "again.zarr"), polygons=(str(path),)))
    first, second = labels_of(files / "l.zarr"), labels_of(files / "again.zarr")
    np.testing.assert_array_equal(second[::5], first[::5])
    assert (second[[1, 2, 3, 4, 6, 7, 8, 9, 11]] == 255).all()


def test_widths():
    axes = (Axis("inline", np.arange(3)), Axis("crossline", np.arange(3)), Axis("time", np.arange(9) * 2.0, "ms"))
    frame = Frame("s", axes)
    found = [parse_width(text, frame) for text in ("3samples", "1 sample", "7", "7ms", "0.007s", "7000us")]
    assert found == pytest.approx([3, 1, 3.5, 3.5, 3.5, 3.5])
    for text in ("", "wide", "-3", "3m", "3 4", "1ms"):
        with pytest.raises(UserError, match=f"^--width={text}: is "):
            parse_width(text, frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to label with: give --horizons, --faults or --polygons"),
        ({"kind": "areas", "faults": ("faults.csv",)}, "--kind=areas: lie between horizons"),
        (
            {"horizons": ("base.csv", "top.txt"), "kind": "areas"},
            "top.txt, line 1: at inline 100, crossline 300 it lies",
        ),
        ({"horizons": ("none.txt",)}, "none.txt: cannot be read"),
        ({"faults": ("top.txt",)}, "top.txt, line 1: is not INLINE- 1001 2001 x y z name stick"),
        ({"horizons": ("top.txt",), "unit": "s"}, "top.txt, line 1: .* lies outside .* check --unit"),
        ({"horizons": ("top.txt",), "unit": "m"}, "top.txt: m is no unit of time"),
        ({"horizons": ("top.txt", "top.txt")}, "two classes are called top"),
        (
            {"horizons": ("top.txt",), "class_names": ("a",)},
            "--class_names: 1 names where there are 2: background, top",
        ),
        ({"faults": ("faults.csv",), "unit": "", "interpreted": "inlin:3"}, "the volume has no axis 'inlin'"),
        (
            {"polygons": ("salt.csv",), "class_names": ("a", "sal")},
            "salt.csv, line 2: no class 'salt' among --class_names",
        ),
        ({"polygons": ("salt.csv",), "interpreted": "inline:100"}, "no sample would be labelled"),
        ({"polygons": ("salt.csv",), "label_name": "a b"}, "--label_name=a b: not a name"),
        ({"polygons": ("salt.csv",), "output": "survey.zarr", "overwrite": True}, "is the survey itself"),
        ({"polygons": ("salt.csv",), "output": "top.txt"}, "exists and is a file"),
        ({"horizons": ("base.csv",), "input": "bare.zarr"}, "base.csv, line 2: has map coordinates alone, and"),
        ({"horizons": ("base.csv",), "input": "layers"}, "base.csv, line 2: has map coordinates alone, and"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(survey, files, layers, options, message):
    make_survey(files / "bare.zarr", places=False)
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    for name in ("horizons", "faults", "polygons"):
        options = options | {name: tuple(str(files / path) for path in options.get(name, ()))}
    if "output" in options:
        options = options | {"output": str(files / options["output"])}
    name = options.get("input", "survey.zarr")
    options = options | {"input": str(layers if name == "layers" else files / name)}
    with pytest.raises(UserError, match=message) as error:
        label(Labelling(**options))
    assert "\n" not in str(error.value)
    assert {path: path.stat().st_mtime_ns for path in files.rglob("*") if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }


def test_text_needs_map_coordinates_and_lines(files):
    bare = make_survey(files / "bare.zarr", places=False)
    label(Labelling(str(bare), horizons=(str(files / "top.txt"),)))
    ask = {"labels": "interpretation", "along": "top"}
    with pytest.raises(UserError, match="text lines have x and y, and the volume has no cdp_x and cdp_y; end the name"):
        extract(Extraction(str(bare), horizons=files / "h.txt", **ask))
    extract(Extraction(str(bare), horizons=files / "h.csv", **ask))
    with pytest.raises(UserError, match="--labels=interpretations: .* holds no labels of that name"):
        extract(Extraction(str(bare), horizons=files / "i.csv", **ask | {"labels": "interpretations"}))


@pytest.mark.slow
@pytest.mark.real_data
def test_the_horizons_of_penobscot_give_all_its_labels_back(real_data, tmp_path):
    files = {"inputs": real_data / "penobscot/amplitude.segy", "labels": real_data / "penobscot/facies.segy"}
    survey = ingest(files["inputs"], tmp_path / "survey.zarr", labels=files["labels"])
    horizons = [tmp_path / f"h{number}.txt" for number in range(1, 8)]
    for number, path in enumerate(horizons, 1):
        between = (str(number - 1), str(number))
        extract(Extraction(survey.url, labels="facies", horizons=path, between=between, ordered=True))
    again = str(tmp_path / "again.zarr")
    label(Labelling(survey.url, again, label_name="facies", horizons=tuple(map(str, horizons)), kind="areas"))
    whole = Box.whole(survey.shape)
    np.testing.assert_array_equal(open_volume(again).read_labels("facies", whole), survey.read_labels("facies", whole))
