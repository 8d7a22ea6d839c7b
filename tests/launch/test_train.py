"""Training, evaluation and prediction as a user runs them; a run that is killed; what bad input is answered."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import segyio
import xarray

from seisjax.commands.load import load
from seisjax.config import Experiment
from seisjax.volumes import open_volume

pytestmark = [pytest.mark.end_to_end, pytest.mark.quick_compiler]

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def config(config: Experiment) -> Experiment:
    """One schedule for runs of every length, so that their steps are one compiled program."""
    config.model.levels, config.optimizer.decay_steps = 2, 60
    return config


def metrics(workdir: Path) -> list[dict]:
    """The lines of metrics.jsonl without what the clock says; a torn last line is left out."""
    if not (workdir / "metrics.jsonl").exists():
        return []
    text = (workdir / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """What a command said that failed as it should: one line on stderr, no traceback, status not 0."""
    lines = result.stderr.strip().splitlines()
    assert result.returncode != 0
    assert len(lines) == 1, result.stderr
    assert ": error: " in lines[0]
    return lines[0]


def kill_at(step: int, command: list[str], environment: dict[str, str], workdir: Path) -> None:
    """Start a run and SIGKILL it as soon as it has logged `step`."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any(row["step"] >= step for row in metrics(workdir)):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_twice_equals_unbroken(
    config: Experiment,
    config_file: Callable[[Experiment], Path],
    arguments,
    environment,
    launch: Launch,
    tmp_path: Path,
):
    config.train.num_steps, config.train.log_every, config.train.checkpoint_every = 60, 1, 8
    config.train.evaluate_every, config.train.figures = 20, False
    flag = f"--config={config_file(config)}"
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert launch("train", flag, f"--workdir={unbroken}").returncode == 0
    for step in (5, 37):
        kill_at(step, arguments("train", flag, f"--workdir={broken}"), environment, broken)
    assert launch("train", flag, f"--workdir={broken}").returncode == 0

    a, b = (jax.tree.leaves(load(run, "last").state) for run in (unbroken, broken))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert metrics(unbroken) == metrics(broken)


def test_a_termination_saves_and_the_same_command_goes_on(
    config: Experiment,
    config_file: Callable[[Experiment], Path],
    arguments,
    environment,
    launch: Launch,
    tmp_path: Path,
):
    config.train.num_steps, config.train.log_every = 100000, 1
    config.train.checkpoint_every = config.train.evaluate_every = 0
    run, flag = tmp_path / "run", f"--config={config_file(config)}"
    process = subprocess.Popen(
        arguments("train", flag, f"--workdir={run}"), env=environment, stdout=subprocess.PIPE, text=True
    )
    while not metrics(run):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "SIGTERM" in output
    stopped = metrics(run)[-1]["step"]
    assert f"stopped at step {stopped}" in output
    result = launch("train", flag, f"--workdir={run}", f"--config.train.num_steps={stopped + 1}")
    assert f"trained {stopped + 1} steps" in result.stdout


@pytest.fixture
def segy_survey(tmp_path: Path) -> tuple[Path, Path]:
    """A survey of 8 x 20 traces of 32 samples as SEG-Y, and two classes on its grid as 8-bit integers."""
    spec = segyio.spec()
    spec.ilines, spec.xlines, spec.samples = np.arange(10, 18), np.arange(50, 70), np.arange(32) * 4.0
    spec.sorting, spec.format = segyio.TraceSortingFormat.INLINE_SORTING, 3
    line, cross, sample = np.indices((8, 20, 32))
    labels = (sample > 12 + 0.3 * cross).astype(np.int8)
    amplitude = (1000 * np.sin(sample * (0.5 + labels))).astype(np.int16)
    paths = tmp_path / "amplitude.segy", tmp_path / "labels.segy"
    for path, values, code in zip(paths, (amplitude, labels), (3, 8), strict=True):
        spec.format = code
        with segyio.create(str(path), spec) as file:
            for number, (il, xl) in enumerate((il, xl) for il in spec.ilines for xl in spec.xlines):
                file.header[number] = {189: int(il), 193: int(xl), 181: int(il * 25), 185: int(xl * 25), 71: 1, 115: 32}
                file.trace[number] = values.reshape(-1, 32)[number]
            file.bin.update(hdt=4000, hns=32)
    return paths


def test_from_survey_files_to_a_predicted_volume(
    segy_survey: tuple[Path, Path], launch: Launch, repository: Path, tmp_path: Path
):
    amplitude, labels = segy_survey
    volume, run, prediction = tmp_path / "survey.zarr", tmp_path / "run", tmp_path / "prediction.zarr"
    done = launch("ingest", f"--input={amplitude}", f"--labels={labels}", f"--output={volume}")
    assert done.returncode == 0, done.stderr
    flags = [
        f"--config={repository}/configs/penobscot_facies.py",
        f"--config.data.volume={volume}",
        "--config.data.train=crossline:50-58",
        "--config.data.validation=crossline:60-63",
        "--config.data.test=crossline:65-69",
        "--config.data.split_gap=1",
        "--config.data.window=(1,8,32)",
        "--config.model.num_classes=2",
        "--config.loss.class_weights=()",
        "--config.model.base_features=4",
        "--config.model.levels=2",
        "--config.train.num_steps=20",
        "--config.optimizer.warmup_steps=2",
        "--config.train.figures=False",
    ]
    done = launch("train", *flags, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout
    assert not run.exists()
    done = launch("train", *flags, f"--workdir={run}")
    assert done.returncode == 0, done.stderr
    assert "trained 20 steps" in done.stdout

    done = launch("evaluate", f"--workdir={run}", "--split=test")
    assert done.returncode == 0, done.stderr
    scores = json.loads((run / "evaluation_test.json").read_text())
    assert scores["mean_iou"] > scores["baselines"]["majority_class"]["mean_iou"]

    segy = tmp_path / "prediction.segy"
    done = launch("predict", f"--workdir={run}", f"--output={prediction}", f"--segy={segy}", "--tta")
    assert done.returncode == 0, done.stderr
    opened = xarray.open_zarr(prediction)  # a warning is an error in these tests
    assert opened["pred_class"].shape == (8, 20, 32)
    assert opened["pred_probability"].dims == ("class", "inline", "crossline", "time")
    assert float(abs(opened["pred_probability"].sum("class") - 1).max()) < 2e-3
    with segyio.open(str(amplitude)) as template, segyio.open(str(segy)) as written:
        assert all(dict(a) == dict(b) for a, b in zip(template.header[:], written.header[:], strict=True))
        assert np.array_equal(segyio.tools.cube(written), opened["pred_class"].values)

    # The same command again: the output stands, and nothing is touched.
    before = (prediction / "zarr.json").read_bytes()
    line = error_line(launch("predict", f"--workdir={run}", f"--output={prediction}"))
    assert "prediction.zarr" in line
    assert (prediction / "zarr.json").read_bytes() == before


def test_bad_flags_are_one_line(config: Experiment, config_file, launch: Launch, tmp_path: Path):
    file = config_file(config)
    cases = {
        "window": ["train", f"--config={file}", "--config.data.windw=(1,2,3)", f"--workdir={tmp_path}/run"],
        "batch_size": ["train", f"--config={file}", "--config.data.batch_size=many", f"--workdir={tmp_path}/run"],
        "--workdir": ["train", f"--config={file}"],
        "--plan_for: goes with --dry_run": ["train", f"--config={file}", "--plan_for=h100:8"],
        "unknown 'gpu'": ["train", f"--config={file}", "--plan_for=gpu:8", "--dry_run"],
        "no such file": ["train", "--config=nowhere.py", f"--workdir={tmp_path}/run"],
        "holds no run": ["evaluate", f"--workdir={tmp_path}/none"],
    }
    for word, flags in cases.items():
        assert word in error_line(launch(*flags))
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "none").exists()


def test_labels_that_are_all_unknown_are_refused(config: Experiment, config_file, launch: Launch, tmp_path: Path):
    source = open_volume(config.data.volume)
    unlabelled = tmp_path / "unlabelled.zarr"
    shutil.copytree(source.url, unlabelled)
    volume = open_volume(unlabelled)
    with volume:
        volume.add_array("labels_nothing", "uint8", attributes={"class_names": ["a", "b", "c"]})
    config.data.volume, config.data.labels = str(unlabelled), "nothing"
    line = error_line(launch("train", f"--config={config_file(config)}", f"--workdir={tmp_path}/run"))
    assert "data.train" in line
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_one_line(
    config: Experiment, config_file, launch: Launch, tmp_path: Path
):
    config.train.checkpoint_every = 3
    flags = [f"--config={config_file(config)}", f"--workdir={tmp_path}/run"]
    result = launch("train", *flags, limit=20_000)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "a checkpoint cannot be written" in result.stderr.splitlines()[-1]
    # With room again the same command starts from the last whole checkpoint: here, from none.
    result = launch("train", *flags)
    assert "trained 12 steps" in result.stdout, result.stderr
