"""Runs that begin with the parameters of another: what is taken, what stays frozen, what is refused."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seisjax import experiment
from seisjax.commands.export import export_run
from seisjax.commands.load import load
from seisjax.commands.plan import plan
from seisjax.commands.pretrained import first_state
from seisjax.commands.train import train
from seisjax.config import Experiment, from_dict, to_dict
from seisjax.errors import UserError
from seisjax.experiment import Fit
from seisjax.files import read_json
from seisjax.models.parts import named, nested, part_of
from seisjax.training.pretrained import Source, match

pytestmark = pytest.mark.quick_compiler


@pytest.fixture
def small(config: Experiment) -> Experiment:
    """The config of the run `trained`, without an average."""
    config.model.levels = 2
    return config


@pytest.fixture(scope="module")
def normed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with batch norm, and so with running statistics."""
    config = changed(from_dict(read_json(trained / "config.json")), model__norm="batch", optimizer__average=0.0)
    workdir = tmp_path_factory.mktemp("normed") / "run"
    train(short(config, 2), workdir, "train")
    return workdir


@pytest.fixture(scope="module")
def artifact(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "layers.seisjax"
    export_run(trained, path, "last", platforms=["cpu"])
    return path


def changed(config: Experiment, **options: Any) -> Experiment:
    """A copy with other options: `model__levels=3` for model.levels."""
    copy = from_dict(json.loads(json.dumps(to_dict(config))))
    for name, value in options.items():
        section, field = name.split("__")
        setattr(getattr(copy, section), field, value)
    return copy


def short(config: Experiment, steps: int) -> Experiment:
    """A copy of so many steps without a validation."""
    return changed(config, train__num_steps=steps, data__validation="")


def begin(config: Experiment) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The state before the first step, by name, and what is noted of it."""
    survey = experiment.open_survey(config)
    mesh = experiment.make_mesh(config, survey, config.data.batch_size)
    segmenter = experiment.make_segmenter(config, survey, mesh, Fit(0.0, 70.0))
    state, init = first_state(config, segmenter)
    return named({name: jax.device_get(state[name]) for name in ("params", "rest", "average") if name in state}), init


def network_of(workdir: Path, checkpoint: str = "last") -> dict[str, np.ndarray]:
    """What a run predicts with, by name."""
    member = load(workdir, checkpoint).members[0]
    return named(jax.device_get({"params": member.params, "rest": member.rest}))


@pytest.fixture(scope="module")
def source(trained: Path) -> dict[str, np.ndarray]:
    return network_of(trained)


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_all_is_taken_bit_for_bit_and_averages_begin_there(
    small: Experiment, trained: Path, artifact: Path, source: dict[str, np.ndarray]
):
    weights = load(trained, "last").fingerprint
    for path, options in ((trained, {"train__init_checkpoint": "last"}), (artifact, {})):
        asked = changed(small, train__init_from=str(path), optimizer__average=0.9, **options)
        found, init = begin(asked)
        averages = {name: x for name, x in found.items() if name.startswith("average.")}
        assert_same({name: x for name, x in found.items() if name not in averages}, source)
        assert_same({name.replace("average", "params", 1): x for name, x in averages.items()}, source)
        assert init is not None
        assert (init["from"], init["checkpoint"], init["weights"]) == (str(path), 12, weights)
        assert (init["part"], init["arrays"], init["fresh"], init["new_inputs"]) == ("all", len(source), [], 0)


@pytest.mark.parametrize(
    ("options", "taken", "fresh"),
    [
        ({"train__init_part": "encoder"}, {"encoder"}, ["2_up_0", "3_head"]),
        ({"train__init_part": "body"}, {"encoder", "decoder"}, ["3_head"]),
        ({"model__num_classes": 5}, {"encoder", "decoder"}, ["3_head"]),
        ({"model__deep_supervision": 1}, {"encoder", "decoder", "head"}, ["4_head_1"]),
    ],
)
def test_parts_are_taken_and_the_rest_is_random(
    small: Experiment,
    trained: Path,
    source: dict[str, np.ndarray],
    options: dict[str, Any],
    taken: set[str],
    fresh: list[str],
):
    asked = changed(small, **options)
    asked.train.init_from, asked.train.init_checkpoint = str(trained), "last"
    found, init = begin(asked)
    assert init is not None
    assert init["fresh"] == fresh
    random, _ = begin(changed(small, **{k: v for k, v in options.items() if k != "train__init_part"}))
    for name, value in found.items():
        is_taken = part_of(name) in taken and not any(block in name for block in fresh)
        np.testing.assert_array_equal(value, (source if is_taken else random)[name], err_msg=name)
        if is_taken and name.endswith("kernel"):
            assert not np.array_equal(value, random[name])


def test_running_statistics_follow(small: Experiment, normed: Path):
    there = network_of(normed)
    small.model.norm = "batch"
    found, _ = begin(changed(small, train__init_from=str(normed), train__init_part="encoder"))
    statistics = [name for name in found if name.startswith("rest.")]
    assert len(statistics) == 2 * 3 * 3  # blocks, norms of a block twice, mean, variance and count
    for name in statistics:
        same = np.array_equal(found[name], there[name])
        assert same == (part_of(name) == "encoder"), name


@pytest.mark.parametrize(
    ("options", "place", "count"),
    [({"model__vertical_position": True}, 0, 1), ({"data__neighbours": 1}, 1, 2)],
)
def test_new_inputs_begin_at_zero_around_the_section_that_was_known(
    small: Experiment, trained: Path, source: dict[str, np.ndarray], options: dict[str, Any], place: int, count: int
):
    asked = changed(small, train__init_from=str(trained), train__init_checkpoint="last", **options)
    found, init = begin(asked)
    assert init is not None
    assert init["new_inputs"] == count
    kernel = found["params.blocks.0_down_0.conv_0.kernel"]
    known = source["params.blocks.0_down_0.conv_0.kernel"]
    np.testing.assert_array_equal(kernel[..., place : place + 1, :], known)
    assert not np.delete(kernel, place, axis=-2).any()


def test_a_frozen_encoder_stays_and_its_statistics_follow_the_data(small: Experiment, normed: Path, tmp_path: Path):
    there = network_of(normed)
    small.model.norm, small.train.init_from = "batch", str(normed)
    small.optimizer.encoder_rate, small.optimizer.average = 0.0, 0.9
    train(short(small, 3), tmp_path / "run", "train")
    run = load(tmp_path / "run", "last")
    optimizer = named(run.state["optimizer"])
    assert optimizer
    assert not any("0_down" in name or "1_bottleneck" in name for name in optimizer)  # no moments
    for kind in ("params", "average"):
        found = named(jax.device_get({"params": run.state[kind], "rest": run.state["rest"]}))
        for name, value in found.items():
            frozen = name.startswith("params.") and part_of(name) == "encoder"
            assert np.array_equal(value, there[name]) == frozen, name


def test_a_run_that_began_so_resumes_without_its_source(small: Experiment, trained: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "source")
    small.train.init_from = str(tmp_path / "source")
    small.optimizer.encoder_rate = 0.5
    small = short(small, 2)
    train(small, tmp_path / "run", "train")
    record = read_json(tmp_path / "run" / "run.json")["init"]
    assert record["from"] == small.train.init_from
    assert record["weights"] == load(trained, "best").fingerprint
    with pytest.raises(UserError, match=r"another train.init_from \(was .*, now ''\)"):
        train(changed(small, train__init_from=""), tmp_path / "run", "train")
    shutil.rmtree(tmp_path / "source")
    small.train.num_steps = 3
    assert "trained 3 steps" in train(small, tmp_path / "run", "train").summary
    assert read_json(tmp_path / "run" / "run.json")["init"] == record


def test_the_plan_says_what_is_taken(small: Experiment, trained: Path):
    asked = changed(small, train__init_from=str(trained), model__num_classes=4)
    assert f"begins from {trained}: 19 arrays taken; new at random: 3_head" in plan(asked)


REFUSED = [
    ({"train__init_from": "nowhere"}, r"train.init_from=nowhere: holds no run; give the folder of a run"),
    ({"train__init_checkpoint": "77"}, r"train.init_checkpoint='77': is not in .*; choose best, last"),
    ({"model__base_features": 8}, r"has model.base_features=4, this run 8"),
    ({"model__levels": 3}, r"has model.levels=2, this run 3"),
    ({"model__strides": "1,2"}, r"has model.strides='2,2', this run '1,2'; set the same"),
    ({"model__kernels": "1,3"}, r"has model.kernels='3,3;3,3', this run '1,3;3,3'"),
    ({"model__norm": "batch"}, r"has model.norm='group', this run 'batch'"),
    ({"model__activation": "gelu"}, r"has model.activation='relu', this run 'gelu'"),
    (
        {"data__window": (4, 16, 36), "data__train": "crossline:300-319"},
        r"kernels have 2 dimensions \('params.*' is \[3, 3, 1, 4\]\), those for data.window 3 \(\[3, 3, 3, 1, 4\]\)",
    ),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(
    small: Experiment, trained: Path, tmp_path: Path, options: dict[str, Any], message: str
):
    asked = changed(small, **({"train__init_from": str(trained)} | options))
    with pytest.raises(UserError, match=message) as error:
        train(asked, tmp_path / "run", "train")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["run", "file"])
def test_levels_may_be_written_otherwise(small: Experiment, trained: Path, artifact: Path, kind: str):
    init_from = str(trained if kind == "run" else artifact)
    options = {"model__strides": "auto", "model__kernels": "3,3"}
    _, noted = begin(changed(small, train__init_from=init_from, **options))
    assert noted is not None
    assert not noted["fresh"]


def test_inputs_are_not_left_out(small: Experiment):
    model = to_dict(small)["model"]
    there, here = (begin(changed(small, model__vertical_position=position))[0] for position in (True, False))
    source = Source(nested(there), model | {"vertical_position": True}, "a", {})
    with pytest.raises(UserError, match=r"a: takes 1 sections and 1 positions .*this run 1 and 0") as error:
        match(source, {"rest": {}} | nested(here), "all", model)
    assert "\n" not in str(error.value)
    assert not match(source, {"rest": {}} | nested(there), "all", source.model).new_inputs


def test_a_run_is_not_begun_again_from_another(small: Experiment, trained: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "run")
    config = from_dict(read_json(trained / "config.json"))
    with pytest.raises(UserError, match=r"holds a run with another train.init_from \(was '', now"):
        train(changed(config, train__init_from=str(trained)), tmp_path / "run", "train")


def test_files_without_a_whole_network_are_refused(small: Experiment, artifact: Path, tmp_path: Path):
    def copy(name: str, keep: Any, change: Any = lambda name, data: data) -> str:
        with zipfile.ZipFile(artifact) as old, zipfile.ZipFile(tmp_path / name, "w") as new:
            for member in filter(keep, old.namelist()):
                new.writestr(member, change(member, old.read(member)))
        return str(tmp_path / name)

    def flip(name: str, data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if name.endswith("3_head.kernel.npy") else data

    (tmp_path / "text").write_text("hello")
    for path, message in (
        (copy("before", lambda name: not name.startswith("network/")), "holds no parameters to train from"),
        (copy("less", lambda name: not name.endswith("3_head.bias.npy")), "is damaged"),
        (copy("flipped", lambda name: True, flip), "is damaged"),
        (str(tmp_path / "text"), "is damaged, or no file of launch/export.py"),
    ):
        with pytest.raises(UserError, match=message) as error:
            begin(changed(small, train__init_from=path))
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="init_checkpoint='12': .* holds one checkpoint"):
        begin(changed(small, train__init_from=str(artifact), train__init_checkpoint="12"))


def test_numpy_reads_the_parameters_of_a_file(artifact: Path, source: dict[str, np.ndarray]):
    with np.load(artifact, allow_pickle=False) as file:
        found = {name.removeprefix("network/"): file[name] for name in file.files if name.startswith("network/")}
    assert_same(found, source)
