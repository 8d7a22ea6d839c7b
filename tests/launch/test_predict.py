"""launch/predict.py as a user runs it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import segyio
import xarray

from seisjax.commands.calibrate import calibrate
from seisjax.commands.export import export_run
from seisjax.geometry import Box
from seisjax.volumes import open_volume
from seisjax.volumes.ingest import ingest

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler]


@pytest.fixture
def segy(layers: Path, tmp_path: Path) -> Path:
    """Part of the survey that the run was trained on as SEG-Y, 16-bit integers."""
    volume = open_volume(layers)
    amplitude = volume.read("amplitude", Box((0, 0, 0), (8, 30, 36)))
    spec = segyio.spec()
    spec.ilines, spec.xlines, spec.samples = np.arange(100, 108), np.arange(300, 330), np.arange(36) * 4.0
    spec.sorting, spec.format = segyio.TraceSortingFormat.INLINE_SORTING, 3
    with segyio.create(str(tmp_path / "survey.segy"), spec) as file:
        file.bin.update({3217: 4000})
        for i, line in enumerate(amplitude.reshape(-1, 36)):
            file.header[i] = {189: 100 + i // 30, 193: 300 + i % 30, 5: i + 1, 71: -10, 181: 1000 + i}
            file.trace[i] = np.rint(line).astype(np.int16)
    return tmp_path / "survey.segy"


@pytest.fixture
def survey(segy: Path, tmp_path: Path) -> Path:
    """The same as a volume in chunks of 4 inlines."""
    ingest(segy, tmp_path / "survey.zarr", chunk=(4, 16, 36), shard=(4, 16, 36))
    return tmp_path / "survey.zarr"


def probabilities(folder: Path) -> np.ndarray:
    volume = open_volume(folder)
    return volume.read_scaled("pred_probability", Box.whole(volume.arrays["pred_probability"].shape))


def test_all_products_in_two_goes(launch, trained: Path, segy: Path, survey: Path, tmp_path: Path):
    output, written = tmp_path / "prediction.zarr", tmp_path / "middle.segy"
    command = [
        *("predict", f"--workdir={trained}", f"--input={survey}", f"--output={output}", "--checkpoint=9,best", "--tta"),
        *("--directions=inline", "--products=class,probability,spread", "--probability_dtype=uint8"),
        *(f"--segy={written}", "--segy_product=middle", "--pyramid=1", "--block_mebibytes=1"),
    ]
    plan = launch(*command, "--dry_run")
    assert plan.returncode == 0, plan.stderr
    words = [line.split()[0] for line in plan.stdout.splitlines()]
    assert words == ["region", "windows", "blocks", "computed", "read", "time", "disk"]
    assert "4 times" in plan.stdout  # two checkpoints, each mirrored too
    assert not output.exists()

    first = launch(*command, "--max_blocks=1")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("1 of 2 blocks of inline:100-107,")
    assert "1 are left; give the same command again to go on" in first.stdout
    assert not output.exists()
    second = launch(*command)
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith(
        f"predicted inline:100-107,crossline:300-329,time:0-140 into {output} and {written}"
    )
    assert "1 of 2 blocks" in second.stdout
    assert "the device at work" in second.stdout

    shown = xarray.open_zarr(output)  # a warning is an error in these tests
    assert set(shown.data_vars) == {"pred_class", "pred_probability", "pred_spread", "trace_mask"}
    assert shown.pred_probability.dims == ("class", "inline", "crossline", "time")
    assert shown.pred_probability.encoding["scale_factor"] == 1 / 254
    np.testing.assert_allclose(shown.pred_probability.sum("class"), 1, atol=2 / 254)
    chosen = sum(shown.pred_probability[k].where(shown.pred_class == k, 0) for k in range(3))
    assert float((shown.pred_probability.max("class") - chosen).max()) < 1.1 / 254
    assert float(shown.pred_spread.max()) > 0
    coarse = xarray.open_zarr(output / "pyramid" / "1")
    assert coarse.pred_class.shape == (4, 15, 36)

    with segyio.open(str(segy)) as template, segyio.open(str(written)) as file:
        assert int(file.format) == 5
        assert all(dict(a) == dict(b) for a, b in zip(template.header[:], file.header[:], strict=True))
        np.testing.assert_array_equal(segyio.tools.cube(file), probabilities(output)[1])

    times = {path: path.stat().st_mtime_ns for path in [*output.rglob("*"), written]}
    again = launch(*command)
    assert again.returncode == 0, again.stderr
    assert "nothing was left to do" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in [*output.rglob("*"), written]} == times
    (tmp_path / "others.txt").write_text("x")
    other = launch(*command, f"--segy={tmp_path / 'others.txt'}")
    assert other.returncode == 1
    assert "others.txt: exists; choose another path" in other.stderr
    assert (tmp_path / "others.txt").read_text() == "x"


@pytest.mark.slow
def test_an_exported_file_predicts_what_its_run_does(launch, trained: Path, layers: Path, tmp_path: Path):
    run, file = tmp_path / "run", tmp_path / "model.seisjax"
    shutil.copytree(trained, run)
    calibrate(run, "validation", "best")
    export_run(run, file, "best", calibrated=True, platforms=["cpu"])
    common = [f"--input={layers}", "--region=inline:100-103", "--probability_dtype=float32"]
    for source, flags in (("a", [f"--workdir={run}", "--calibrated"]), ("b", [f"--artifact={file}"])):
        done = launch("predict", *common, *flags, f"--output={tmp_path}/{source}")
        assert done.returncode == 0, done.stderr
    a, b = probabilities(tmp_path / "a"), probabilities(tmp_path / "b")
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    told = [open_volume(tmp_path / source).attributes["prediction"] for source in "ab"]
    assert told[0]["temperature"] == told[1]["temperature"] != 1
    assert told[1]["artifact"] == str(file)


def test_what_cannot_be_read_is_listed_and_mended(launch, trained: Path, survey: Path, tmp_path: Path):
    output = tmp_path / "prediction.zarr"
    command = ("predict", f"--workdir={trained}", f"--input={survey}", f"--output={output}", "--block_mebibytes=1")
    chunk = survey / "amplitude" / "c" / "1" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:100])
    failed = launch(*command)
    assert failed.returncode == 1
    (listed,) = failed.stdout.splitlines()
    assert listed.startswith("failed: inline:104-107,")
    assert failed.stderr.splitlines()[-1].startswith(
        "predict.py: error: 1 blocks could not be predicted, inline:104-107,"
    )
    assert not output.exists()
    chunk.write_bytes(whole)
    mended = launch(*command)
    assert mended.returncode == 0, mended.stderr
    assert "1 of 2 blocks" in mended.stdout

    shard = output / "pred_class" / "c" / "1" / "0" / "0"
    before = shard.read_bytes()
    shard.write_bytes(before[:-1])
    verified = launch(*command, "--verify")
    assert verified.returncode == 0, verified.stderr
    told, summary = verified.stdout.splitlines()
    assert told == "damaged: inline:104-107,crossline:300-329,time:0-140; predicted again"
    assert "1 of 2 blocks" in summary
    assert shard.read_bytes() == before


def test_bad_flags_are_one_line(launch, trained: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    workdir, output = f"--workdir={trained}", f"--output={tmp_path}/p.zarr"
    for flags, message in (
        ([output], "give either --workdir=FOLDER of a run or --artifact=FILE"),
        ([workdir, output, "--artifact=model"], "give either --workdir=FOLDER of a run or --artifact=FILE"),
        ([f"--artifact={tmp_path}/none", output], f"{tmp_path}/none: "),
        ([workdir, f"--output={tmp_path}/notes.txt"], "notes.txt: exists and is a file; choose another --output"),
    ):
        done = launch("predict", *flags)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith("predict.py: error: ")
        assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
