"""launch/synthesize.py as a user runs it."""

import functools

import numpy as np
import pytest

from seisjax.geometry import Box
from seisjax.volumes import open_volume

SMALL = """
from dataclasses import replace
from seisjax.synthetic.parameters import QUICKSTART, Noise, ReceiverArray

def get_config():
    array = ReceiverArray(lines=2, stations=5)
    return replace(QUICKSTART, array=array, num_samples=128, noise_only=0.0, noise=Noise(swell_level=(0.0, 0.0)))
"""


@pytest.fixture
def synthesize(launch, environment):
    """The command where no other command and no home is to be found."""
    return functools.partial(launch, "synthesize", environment=environment | {"PATH": "", "HOME": "/nonexistent"})


@pytest.mark.end_to_end
def test_one_command_makes_a_volume_and_ends_with_one_line(synthesize, tmp_path):
    (tmp_path / "small.py").write_text(SMALL)
    output = tmp_path / "panels.zarr"
    flags = [f"--config={tmp_path}/small.py", f"--output={output}", "--num_examples=3", "--seed=7"]
    done = synthesize("--generator=microseismic", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"wrote {output} in ")
    volume = open_volume(output)
    assert volume.shape == (3, 10, 128)
    amplitude = volume.read("amplitude", Box.whole(volume.shape))
    assert np.isfinite(amplitude).all()

    again = synthesize(*flags)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr.splitlines()[-1]
    np.testing.assert_array_equal(open_volume(output).read("amplitude", Box.whole(volume.shape)), amplitude)


FAULTS = """
from dataclasses import replace
from seisjax.synthetic.fault_parameters import FAULTS_64

def get_config():
    return replace(FAULTS_64, shape=(20, 24, 40))
"""


@pytest.mark.slow
@pytest.mark.end_to_end
def test_one_command_makes_a_survey_with_faults(synthesize, tmp_path):
    (tmp_path / "small.py").write_text(FAULTS)
    output = tmp_path / "survey.zarr"
    done = synthesize("--generator=faults", f"--config={tmp_path}/small.py", f"--output={output}", "--num_examples=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"wrote {output} in ")
    volume = open_volume(output)
    assert volume.shape == (20, 24, 40)
    assert volume.kind == "survey"
    assert volume.label_names() == ["facies", "fault", "horizon"]


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--generator=faults --config=quickstart", "--config=quickstart: no preset of this name"),
        ("--process_id=1", "--process_id=1: must lie between 0 and"),
        ("--config=quickstrat", "did you mean 'quickstart'"),
    ],
)
def test_bad_flags_end_with_one_line(synthesize, tmp_path, flag, message):
    done = synthesize(*flag.split(), f"--output={tmp_path}/panels.zarr")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.end_to_end
def test_processes_share_a_volume(synthesize, tmp_path):
    (tmp_path / "small.py").write_text(SMALL)
    output = tmp_path / "panels.zarr"
    flags = [f"--config={tmp_path}/small.py", f"--output={output}", "--num_examples=3", "--num_processes=2"]
    first = synthesize(*flags, "--process_id=1")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1].startswith(f"this process has done its part of {output} in ")
    other = synthesize(*flags, "--process_id=0", "--seed=1")
    assert other.returncode == 1
    assert "begun with --seed=0, now it is 1" in other.stderr.splitlines()[-1]
    last = synthesize(*flags, "--process_id=0")
    assert last.returncode == 0, last.stderr
    assert last.stdout.splitlines()[-1].startswith(f"wrote {output} in ")
    assert open_volume(output).shape == (3, 10, 128)
