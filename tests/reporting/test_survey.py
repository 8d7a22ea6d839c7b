"""The report of a survey: its numbers are the volume's, whatever its kind and however it is cut to be read."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seisjax.conventions import AMPLITUDE, IGNORE, TRACE_MASK
from seisjax.geometry import Axis, Box
from seisjax.reporting import figures, survey, survey_scan
from seisjax.reporting.survey import write_report
from seisjax.volumes import StreamingStatistics, Volume, create_volume, open_volume
from seisjax.volumes.ingest import ingest

FIGURES = {"traces", "histogram", "spectrum", "classes", "sections"}


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_DPI", 40)


def report(volume: Volume, folder: Path, **options: Any) -> tuple[str, dict[str, Any], set[str]]:
    """The text, the numbers and the names of the figures."""
    text = write_report(volume, folder, **options)
    markdown = (folder / "report.md").read_text()
    pictures = {file.stem for file in folder.glob("*.png")}
    assert all(f"({name}.png)" in markdown for name in pictures)
    return text, json.loads((folder / "report.json").read_text()), pictures


def row(text: str, name: str) -> str:
    return next(line.strip().removeprefix(name).strip() for line in text.splitlines() if line.strip().startswith(name))


def axes_of(shape: tuple[int, ...], names: str, unit: str = "ms", step: float = 4.0) -> list[Axis]:
    above = [Axis(name, np.arange(10, 10 + n)) for name, n in zip(names.split(), shape[:-1], strict=True)]
    vertical = "depth" if unit in ("m", "km") else "time"
    return [*above, Axis(vertical, np.arange(shape[-1]) * step, unit)]


SHAPE = (12, 20, 40)


def make(url: str, *, statistics: bool = True) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A survey with dead traces, saturated and muted samples, a NaN, coordinates, and labels on inlines 13 and 14."""
    rng = np.random.default_rng(0)
    amplitude = np.clip(rng.normal(0, 10, SHAPE), -12, 15).astype(np.float32)
    amplitude[:, :, :5], amplitude[0, 5, 30] = 0, np.nan
    live = np.ones(SHAPE[:2], bool)
    live[8:, 14:] = False
    labels = np.full(SHAPE, IGNORE, np.uint8)
    labels[3:5, :14] = rng.choice(3, (2, 14, 40), p=(0.6, 0.4, 0))
    inline, crossline = np.indices(SHAPE[:2])
    seen = StreamingStatistics()
    seen.update(amplitude[live])
    with create_volume(url, axes_of(SHAPE, "inline crossline"), chunk=(4, 8, 16), shard=(8, 16, 48)) as volume:
        volume.write(AMPLITUDE, Box.whole(SHAPE), amplitude)
        volume.write(TRACE_MASK, Box.whole(SHAPE[:2]), live)
        volume.add_array("cdp_x", dimension_names=["inline", "crossline"], values=5000.0 + 25 * crossline)
        volume.add_array("cdp_y", dimension_names=["inline", "crossline"], values=9000.0 + 12.5 * inline)
        volume.add_array("labels_facies", np.uint8, attributes={"class_names": ["sand", "shale", "salt"]})
        volume.write("labels_facies", Box.whole(SHAPE), labels)
        if statistics:
            volume.set_statistics(seen.result())
    amplitude[~live] = np.nan
    return open_volume(url), amplitude, labels


def test_tiles_are_counted_while_a_report_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume, *_ = make(str(tmp_path / "survey.zarr"))
    assert survey.report(volume, tmp_path / "report") == write_report(volume, tmp_path / "again")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"report: (\d+)/\1 tiles \(100 %\), took", line)


def test_the_numbers_are_the_volumes(tmp_path: Path) -> None:
    volume, amplitude, labels = make(str(tmp_path / "survey.zarr"))
    text, facts, pictures = report(volume, tmp_path / "report")
    assert pictures == FIGURES
    live = amplitude[np.isfinite(amplitude)]
    assert facts["traces"] == {"count": 240, "live": 240 - 24, "recorded_in": "trace_mask"}
    assert facts["statistics"]["count"] == len(live)
    assert facts["statistics"]["non_finite"] == 1
    assert facts["statistics"]["zeros"] == (live == 0).sum()
    assert facts["statistics"]["saturated_share"] == np.isin(live, (-12, 15)).mean()
    assert facts["statistics"]["p50"] == np.median(live)
    assert facts["labels"]["facies"]["samples"] == {
        "sand": (labels == 0).sum(),
        "shale": (labels == 1).sum(),
        "salt": 0,
    }
    assert facts["labels"]["facies"]["unlabelled"] == (labels == IGNORE).sum()
    files = (tmp_path / "survey.zarr" / "amplitude").rglob("*")
    assert facts["amplitude"]["stored_bytes"] == sum(file.stat().st_size for file in files if file.is_file())
    assert row(text, "traces") == "216 live, 24 dead or missing (10 %)"
    assert row(text, "axis time") == "40: 0 to 156 ms, step 4"
    assert row(text, "saturated").startswith(f"{100 * facts['statistics']['saturated_share']:.3g} % are the least")
    assert row(text, "labels facies") == f"{100 * 28 * 40 / labels.size:.3g} % of all samples"


def test_what_the_writer_did_not_record_comes_from_the_tiles(tmp_path: Path) -> None:
    volume, amplitude, _ = make("memory://report-tiles/", statistics=False)
    live = amplitude[np.isfinite(amplitude)]
    text, facts, _ = report(volume, tmp_path, max_tiles=100)
    assert facts["sampled"]["statistics"]
    assert facts["statistics"]["count"] == len(live)
    assert facts["statistics"]["mean"] == pytest.approx(live.mean(), rel=1e-5)
    assert facts["sampled"]["saturated_share"] == np.isin(live, (-12, 15)).mean()
    assert row(text, "statistics") == "of 9 of 9 tiles"
    calls: list[tuple[int, int]] = []
    text, facts, _ = report(volume, tmp_path, max_tiles=4, progress=lambda done, total: calls.append((done, total)))
    assert row(text, "statistics") == "of 4 of 9 tiles"
    assert 0 < facts["statistics"]["count"] < len(live)
    assert calls == [(i, 4) for i in range(1, 5)]


def test_sections_run_through_the_labels() -> None:
    volume, amplitude, labels = make("memory://report-sections/")
    inline, crossline, time = survey_scan.scan_planes(volume, ["facies"], survey_scan.scan_traces(volume))
    assert inline.where in ("inline 13", "inline 14")
    at = int(inline.where.split()[1]) - 10
    np.testing.assert_array_equal(inline.amplitude, amplitude[at])
    np.testing.assert_array_equal(inline.labels["facies"], labels[at])
    assert (crossline.labels["facies"] != IGNORE).sum() == 2 * 40
    assert (time.labels["facies"] != IGNORE).sum() == 2 * 14
    assert [axis.name for axis in time.axes] == ["inline", "crossline"]


def test_without_labels_sections_run_through_the_live_traces() -> None:
    volume, amplitude, _ = make("memory://report-live/")
    traces = survey_scan.scan_traces(volume)
    assert traces.middle == (5, 8)
    np.testing.assert_array_equal(survey_scan.scan_planes(volume, [], traces)[0].amplitude, amplitude[5])


def test_small_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, _, _ = make("memory://report-blocks/")
    monkeypatch.setattr(survey_scan, "_MAX_SIDE", 7)  # thinned by 2 along inlines, 3 along crosslines, 6 in time
    whole = survey_scan.scan_traces(volume)
    planes = survey_scan.scan_planes(volume, ["facies"], whole)
    monkeypatch.setattr(survey_scan, "_BLOCK", 30)
    monkeypatch.setattr(survey_scan, "_PLANE", 30)
    traces = survey_scan.scan_traces(volume)
    np.testing.assert_array_equal(traces.cells, whole.cells)
    np.testing.assert_array_equal(traces.places["cdp"], whole.places["cdp"])
    assert (traces.live, traces.middle, traces.steps) == (216, (5, 8), (2, 3))
    assert traces.cells[:4].min() == 1
    assert traces.cells[4, 4] == pytest.approx(2 / 3)  # crosslines 12 to 14, the last dead
    assert np.isnan(traces.places["cdp"][0][5, 5])
    assert traces.places["cdp"][0][0, 2] == 5000 + 25 * 6
    for plane, one in zip(survey_scan.scan_planes(volume, ["facies"], traces), planes, strict=True):
        np.testing.assert_array_equal(plane.amplitude, one.amplitude)
        np.testing.assert_array_equal(plane.labels["facies"], one.labels["facies"])
    assert planes[0].amplitude is not None
    assert planes[0].amplitude.shape == (7, 7)


@pytest.mark.parametrize(
    ("unit", "step", "frequency", "found"),
    [("ms", 4.0, 25.0, "Hz"), ("s", 0.002, 60.0, "Hz"), ("m", 5.0, 20.0, "1/km"), ("", 1.0, 0.125, "cycles a sample")],
)
def test_the_spectrum_is_in_the_units_of_the_axis(unit: str, step: float, frequency: float, found: str) -> None:
    seconds = np.arange(500) * step * {"ms": 1e-3, "m": 1e-3}.get(unit, 1.0)
    wave = 7 + np.sin(2 * np.pi * frequency * seconds)
    shape = (6, 500)
    url = f"memory://report-spectrum-{unit}/"
    with create_volume(url, axes_of(shape, "cdp", unit, step), overwrite=True) as volume:
        volume.write(AMPLITUDE, Box.whole(shape), np.broadcast_to(wave, shape).astype(np.float32))
    amplitudes = survey_scan.scan_amplitudes(volume, 10)
    assert amplitudes.unit == found
    resolution = amplitudes.frequency[1]
    assert amplitudes.frequency[np.argmax(amplitudes.spectrum)] == pytest.approx(frequency, abs=resolution)
    strong = amplitudes.frequency[amplitudes.spectrum > amplitudes.spectrum.max() / 100]
    assert abs(strong - frequency).max() < 6 * resolution


KINDS = {
    "line": ((30, 50), "cdp", {}),
    "gathers": ((4, 10, 50), "ffid channel", {}),
    "panels": ((3, 16, 64), "example receiver", {"kind": "panels"}),
    "offsets": ((3, 5, 4, 40), "inline crossline offset", {}),
    "whole numbers": ((6, 7, 30), "inline crossline", {"dtype": "int8"}),
    "one trace": ((1, 1, 30), "inline crossline", {}),
    "one sample a trace": ((5, 7, 1), "inline crossline", {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_volume_has_a_report(name: str, tmp_path: Path) -> None:
    shape, names, options = KINDS[name]
    with create_volume(f"memory://report-{name.replace(' ', '-')}/", axes_of(shape, names), **options) as volume:
        values = np.random.default_rng(0).integers(-100, 100, shape)
        volume.write(AMPLITUDE, Box.whole(shape), values.astype(volume.arrays[AMPLITUDE].dtype))
    text, facts, pictures = report(volume, tmp_path)
    assert facts["traces"]["live"] == math.prod(shape[:-1])
    assert facts["statistics"]["count"] == math.prod(shape)
    assert row(text, "shape").startswith(" x ".join(map(str, shape)))
    assert pictures == FIGURES - {"classes"} - ({"spectrum"} if shape[-1] == 1 else set())


def test_a_dead_volume_and_one_of_labels_alone_have_a_report(tmp_path: Path) -> None:
    with create_volume("memory://report-dead/", axes_of(SHAPE, "inline crossline")) as dead:
        dead.write(TRACE_MASK, Box.whole(SHAPE[:2]), np.zeros(SHAPE[:2], bool))
    text, _, pictures = report(dead, tmp_path / "dead")
    assert pictures == {"traces", "sections"}
    assert row(text, "traces") == "0 live, 240 dead or missing (100 %)"
    assert row(text, "samples") == "none is finite"
    with create_volume("memory://report-labels/", axes_of(SHAPE, "inline crossline"), dtype=None) as labelled:
        for name in ("facies", "faults"):
            labelled.add_array(f"labels_{name}", np.uint8)
            labelled.write(f"labels_{name}", Box.whole(SHAPE), np.full(SHAPE, name == "faults", np.uint8))
    text, facts, pictures = report(labelled, tmp_path / "labels")
    assert pictures == {"traces", "sections", "classes"}
    assert row(text, "traces") == "240; no trace mask"
    assert set(facts["labels"]) == {"facies", "faults"}
    assert "amplitude" not in facts


def test_without_a_trace_mask_empty_traces_are_counted_in_the_tiles(tmp_path: Path) -> None:
    amplitude = np.ones((4, 5, 6), np.float32)
    amplitude[1, 2:4] = np.nan
    with create_volume("memory://report-bare/", axes_of(amplitude.shape, "inline crossline"), dtype=None) as volume:
        volume.add_array(AMPLITUDE, values=amplitude)
    text, _, _ = report(volume, tmp_path)
    assert row(text, "traces") == "20; no trace mask; 2 of 20 in 1 of 1 tiles hold no datum"
    assert row(text, "not finite") == "0 (0 %)"


def test_fold_is_drawn_where_it_is_known() -> None:
    fold = np.arange(1, 31, dtype=np.int32).reshape(5, 6)
    with create_volume("memory://report-fold/", axes_of((5, 6, 8), "inline crossline")) as volume:
        volume.add_array("fold", dimension_names=["inline", "crossline"], values=fold)
    traces = survey_scan.scan_traces(volume)
    assert traces.of == "fold"
    np.testing.assert_array_equal(traces.cells, fold)
    assert traces.live == 30


def test_recorded_rounding_errors_are_told(tmp_path: Path) -> None:
    volume, _, _ = make("memory://report-errors/")
    errors = {"rms_error": 0.5, "max_error": 2.0, "snr_db": 26.0, "saturated_share": 0.01}
    volume.set_attributes(AMPLITUDE, errors)
    assert row(report(volume, tmp_path)[0], "rounding error") == "rms 0.5, greatest 2, 26.0 dB, 1 % saturated"


@pytest.mark.real_data
def test_reports_of_real_surveys(real_data: Path, tmp_path: Path) -> None:
    gathers = ingest(real_data / "viking" / "viking_small.segy", tmp_path / "a.zarr", axes="ffid:9,channel:13")
    ragged = ingest(real_data / "f3" / "f3-withdead.sgy", tmp_path / "b.zarr")
    assert gathers
    assert ragged
    text, facts, pictures = report(gathers, tmp_path / "a")
    assert pictures == FIGURES - {"classes"}
    assert row(text, "shape") == "4 x 120 x 600, survey"
    assert 20 < facts["spectrum"]["peak"] < 35  # Hz, an air gun
    text, facts, _ = report(ragged, tmp_path / "b")
    assert row(text, "traces") == "239 live, 175 dead or missing (42.3 %)"


@pytest.mark.slow
@pytest.mark.real_data
def test_four_tenths_of_penobscot_are_saturated(real_data: Path, tmp_path: Path) -> None:
    survey = real_data / "penobscot"
    volume = ingest(survey / "amplitude.segy", tmp_path / "penobscot.zarr", labels=survey / "facies.segy")
    assert volume
    _, facts, pictures = report(volume, tmp_path / "report")
    assert pictures == FIGURES
    assert facts["statistics"]["saturated_share"] == pytest.approx(0.41, abs=0.01)
    assert sum(facts["labels"]["facies"]["samples"].values()) == facts["statistics"]["count"]
