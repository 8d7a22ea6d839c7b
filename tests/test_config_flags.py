"""`--config` and its overrides: what they set, and the one line a mistake ends with."""

import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from seisjax.config import Experiment
from seisjax.config_flags import define_config, load_config
from seisjax.errors import UserError

CONFIG = """
from seisjax.config import Data, Experiment

def get_config(arg=None):
    return Experiment(data=Data(volume=arg or "survey", window=(1, 64, 64)))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    return path


def parse(*arguments: object) -> Experiment:
    values, argv = flags.FlagValues(), ["train.py", *map(str, arguments)]
    holder = define_config(values, argv)
    values(argv)
    return holder.value


def test_overrides_are_typed(file: Path) -> None:
    experiment = parse(
        f"--config={file}",
        "--config.data.window=(3,4,5)",
        "--config.data.train=inline:-5--2,crossline:1000-1199",
        "--config.data.split_gap=-1",
        "--config.data.clip=3",
        "--config.optimizer.learning_rate=3e-4",
        "--config.loss.class_weights=(1,2.5)",
        "--config.augment.flip_axes=('inline','crossline')",
        "--config.train.figures=false",
        "--config.seed",
        "7",
    )
    assert experiment.data.window == (3, 4, 5)
    assert experiment.data.train == "inline:-5--2,crossline:1000-1199"
    assert experiment.data.split_gap == -1
    assert experiment.data.clip == 3.0
    assert experiment.optimizer.learning_rate == 3e-4
    assert experiment.loss.class_weights == (1, 2.5)
    assert experiment.augment.flip_axes == ("inline", "crossline")
    assert experiment.train.figures is False
    assert experiment.seed == 7
    assert experiment.data.volume == "survey"


def test_argument_and_single_values(file: Path) -> None:
    assert parse(f"--config={file}:other").data.volume == "other"
    assert parse(f"--config={file}", "--config.data.window=7").data.window == (7,)
    assert parse(f"--config={file}", "--config.data.window=()").data.window == ()
    assert parse(f"--config={file}", "--config.augment.flip_axes=inline").augment.flip_axes == ("inline",)
    assert parse(f"--config={file}", "--noconfig.train.figures").train.figures is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.data.windw=(1,2)", r"--config.data.windw: no such field \(did you mean 'data.window'\?\)"),
        ("--config.dat.window=(1,2)", r"did you mean 'data.window'"),
        ("--config.batch_size=3", r"did you mean 'data.batch_size'"),
        ("--config.train.learning_rate=1", r"did you mean 'optimizer.learning_rate'"),
        ("--config.mesh.zzz=1", r"known: mesh.data, mesh.space, mesh.space_axis"),
        ("--config.zzz=1", r"known: augment, data, .*model"),
        ("--config.=1", r"no such field"),
        ("--config.data.batch-size=1", r"did you mean 'data.batch_size'"),
        ("--config.data.batch_size.x=1", r"did you mean 'data.batch_size'"),
        ("--config.precision=bfloat16", r"is a section; .*precision.compute"),
        ("--config.data.window=(1,'x')", r"--config.data.window: \(1, 'x'\) is not of type tuple\[int, ...\]"),
        ("--config.data.window=(1.5,2)", r"not of type tuple\[int"),
        ("--config.data.window=", r"--config.data.window"),
        ("--config.data.batch_size=abc", r"--config.data.batch_size=abc"),
        ("--config.data.batch_size=2.5", r"--config.data.batch_size=2.5"),
        ("--config.data.clip=abc", r"--config.data.clip=abc"),
        ("--config.train.figures=maybe", r"--config.train.figures=maybe"),
        ("--config.data.batch_size", r"--config.data.batch_size"),
    ],
)
def test_a_wrong_override_is_named(file: Path, override: str, message: str) -> None:
    with pytest.raises((UserError, flags.Error), match=message):
        parse(f"--config={file}", override)


def test_a_tuple_given_twice_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match="stands twice"):
        parse(f"--config={file}", "--config.data.window=(1,2)", "--config.data.window=(3,4)")
    assert parse(f"--config={file}", "--config.seed=1", "--config.seed=2").seed == 2


def test_config_is_required_and_comes_first(file: Path) -> None:
    with pytest.raises(UserError, match="--config: missing"):
        parse()
    with pytest.raises(flags.Error, match="before"):
        parse("--config.seed=1", f"--config={file}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", r"config.py:1: SyntaxError"),
        ("x = 1", r"has no function get_config"),
        ("def get_config():\n    return 3", r"returned int"),
        ("def get_config():\n    return nothing", r"config.py:2: NameError"),
        ("import no_such_module_anywhere", r"config.py:1: ModuleNotFoundError"),
        (
            "from seisjax.config import *\ndef get_config():\n    return Experiment(data=Data(batchsize=3))",
            r"config.py:3: Data has no field 'batchsize' \(did you mean 'batch_size'\?\)",
        ),
        (
            "from seisjax.config import *\ndef get_config():\n    e = Experiment()\n    e.data.windw = 1\n    return e",
            r"data.windw: no such field \(did you mean 'window'\?\)",
        ),
        (
            "from seisjax.config import *\ndef get_config():\n    return Experiment(data=Data(batch_size='3'))",
            r"data.batch_size: '3' is not of type int",
        ),
        (
            "from seisjax.config import *\ndef get_config():\n    return Experiment(data=Data(window=[1, 2]))",
            r"data.window: \[1, 2\] is not of type tuple\[int, ...\]",
        ),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_needless_argument(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_config(str(tmp_path / "none.py"))
    path = tmp_path / "config.py"
    path.write_text("from seisjax.config import Experiment\ndef get_config():\n    return Experiment()")
    with pytest.raises(UserError, match="takes 0 positional arguments"):
        load_config(f"{path}:argument")


def test_a_command_ends_with_one_line_and_status_1(file: Path, tmp_path: Path, repository: Path) -> None:
    command = tmp_path / "command.py"
    command.write_text(
        "from seisjax.command_line import run\nfrom seisjax.config_flags import define_config\n"
        "CONFIG = define_config()\nrun(lambda argv: print(CONFIG.value.data.window))\n"
    )

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(command), *arguments]
        return subprocess.run(line, capture_output=True, text=True, env={"PYTHONPATH": str(repository)}, check=False)

    good = call(f"--config={file}", "--config.data.window=(1,2,3)")
    assert (good.returncode, good.stdout, good.stderr) == (0, "(1, 2, 3)\n", "")
    for arguments, words in [
        ([f"--config={file}", "--config.data.windw=1"], "did you mean 'data.window'?"),
        ([f"--config={file}", "--config.data.batch_size=abc"], "--config.data.batch_size=abc"),
        (["--config.data.batch_size=3"], "give --config=FILE before it"),
        (["--config=none.py"], "no such file"),
    ]:
        bad = call(*arguments)
        assert bad.returncode == 1
        assert bad.stderr.startswith("command.py: error: ")
        assert words in bad.stderr
        assert bad.stderr.count("\n") == 1
