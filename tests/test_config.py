"""The experiment tree and the files under configs/: they load, they say how to run them, they validate."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from seisjax.config import (
    Data,
    Experiment,
    check_resumable,
    from_dict,
    kernels_of,
    multiples_of,
    strides_of,
    to_dict,
    validate,
)
from seisjax.config_flags import load_config
from seisjax.errors import UserError
from seisjax.geometry import Axis, parse_regions
from seisjax.models.initialize import parameter_count
from seisjax.models.unet import UNet

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


def sound() -> Experiment:
    data = Data(volume="survey.zarr", labels="facies", window=(1, 64, 64), train="inline:1-10")
    return Experiment(data=data)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_config_loads_and_validates(file: Path) -> None:
    validate(load_config(str(file)))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_config_says_how_it_is_run(file: Path) -> None:
    docstring = file.read_text().split('"""')[1]
    assert re.search(rf"python launch/train.py --config=configs/{file.name}", docstring)
    assert "--workdir=" in docstring


@pytest.mark.parametrize("name", ["local_network", "microseismic_small", "microseismic_1024", "microseismic_4096"])
def test_configs_of_panels_state_parameters_memory_and_score(name: str) -> None:
    (file,) = (file for file in CONFIGS if file.stem == name)
    docstring, model = " ".join(file.read_text().split('"""')[1].split()), load_config(str(file)).model
    options = {"spatial_ndim": 2, "base_features": model.base_features, "levels": model.levels, "norm": model.norm}
    network = nnx.eval_shape(lambda: UNet(1, model.num_classes, **options, rngs=nnx.Rngs(0)))
    assert f"{parameter_count(nnx.state(network, nnx.Param)):,} parameters" in docstring
    assert "GiB" in docstring
    assert re.search(r"Expect .*IoU.* of (about )?0\.\d", docstring)


@pytest.mark.parametrize("size", ["small", "full"])
def test_the_config_of_faults_states_the_parameters_of_both_sizes(repository: Path, size: str) -> None:
    file = repository / "configs/faults_3d.py"
    experiment = load_config(f"{file}:{size}")
    validate(experiment)
    model = experiment.model
    options = {"spatial_ndim": 3, "base_features": model.base_features, "levels": model.levels, "norm": model.norm}
    network = nnx.eval_shape(lambda: UNet(1, model.num_classes, **options, rngs=nnx.Rngs(0)))
    assert f"{size}: {parameter_count(nnx.state(network, nnx.Param)):,} parameters" in file.read_text()


def test_the_config_of_faults_has_two_sizes(repository: Path) -> None:
    with pytest.raises(UserError, match="'large' is neither small nor full"):
        load_config(f"{repository}/configs/faults_3d.py:large")


def test_few_lines_and_all_others_are_the_survey(repository: Path) -> None:
    axes = [Axis("inline", np.arange(256)), Axis("crossline", np.arange(256)), Axis("time", np.arange(256))]
    for count in range(1, 9):
        data = load_config(f"{repository}/configs/few_lines.py:{count}").data
        train, test = parse_regions(data.train, axes), parse_regions(data.test, axes)
        assert len(train) == count
        lines = sorted(i for box in (*train, *test) for i in range(box.start[0], box.stop[0]))
        assert lines == list(range(256))
        farthest = max(min(abs(i - box.start[0]) for box in train) for i in lines)
        assert farthest == -(-256 // count) // 2  # no line is farther from a label than it must be
    for arg in ("0", "9", "four"):
        with pytest.raises(UserError, match=f"few_lines.py:{arg}: give the number of labelled lines, 1 to 8"):
            load_config(f"{repository}/configs/few_lines.py:{arg}")


def test_a_tree_survives_json() -> None:
    experiment = sound()
    experiment.loss.class_weights = (1.0, 2.0)
    assert from_dict(json.loads(json.dumps(to_dict(experiment)))) == experiment


def test_remat_of_runs_and_flags_of_before_still_reads() -> None:
    assert from_dict({"model": {"remat": True}}).model.remat == "block"
    assert from_dict({"model": {"remat": False}}) == Experiment()
    experiment = sound()
    experiment.model.remat = "True"  # as a flag gives it
    assert experiment.model.remat == "block"
    validate(experiment)
    experiment.model.remat = "blocks"
    with pytest.raises(UserError, match="config.model.remat='blocks': unknown.*did you mean 'block'"):
        validate(experiment)


def test_moments_may_be_laid_out_otherwise_on_resume() -> None:
    before, now = sound(), sound()
    now.optimizer.shard = True
    check_resumable(before, now)


def test_from_dict_fills_in_and_refuses() -> None:
    assert from_dict({"seed": 3}) == Experiment(seed=3)
    with pytest.raises(UserError, match=r"data.windw.*did you mean 'window'"):
        from_dict({"data": {"windw": [1]}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data.volume", ""),
        ("data.window", ()),
        ("data.label_scale", 255),
        ("data.pad_to", (64, 64)),
        ("data.pad_to", (1, 48, 64)),  # shorter than the window
        ("data.pad_to", (1, 72, 64)),  # no multiple of 16
        ("data.pad_to", (16, 64, 64)),  # sections stay sections
        ("data.neighbours", -1),
        ("model.strides", "2"),  # one number, for two sides
        ("model.strides", "1,3"),
        ("model.strides", "2,2;2,2;2,2;2,2;2,2"),  # of 4 steps between 5 levels
        ("model.kernels", "3,2"),
        ("model.kernels", "3,3;"),
        ("data.batch_size", 0),
        ("data.clip", float("nan")),
        ("data.overhang", 1.0),
        ("data.sampling", "unifrom"),
        ("model.norm", "layer"),
        ("model.dropout", 1.0),
        ("precision.compute", "float16"),
        ("data.normalization", "volume"),
        ("data.class_shares", (-1.0, 1.0)),
        ("data.class_shares", (1.0, 1.0)),  # without balanced sampling
        ("augment.warp_spacing", 0),
        ("loss.name", "cross_entropy+focall"),
        ("loss.class_weights", (1.0, 1.0, 1.0)),
        ("loss.class_weighting", "even"),
        ("model.deep_supervision", 5),
        ("optimizer.average", 1.0),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.accumulation", 3),
        ("optimizer.encoder_rate", -1.0),
        ("train.init_part", "decoder"),
        ("train.init_part", "encoder"),  # of nothing
        ("train.init_checkpoint", "last"),
        ("train.num_steps", 0),
        ("mesh.data", 0),
        ("seed", 10**20),
        ("data.train_weights", (1.0, float("inf"))),
        ("loss.class_weights", (float("nan"), 1.0)),
        ("augment.polarity", 1.5),
        ("augment.flip_axes", ("time", "inline", "time")),
        ("train.hang_minutes", -1.0),
    ],
)
def test_a_wrong_value_is_named(field: str, value: object) -> None:
    experiment = sound()
    validate(experiment)
    *section, name = field.split(".")
    setattr(getattr(experiment, section[0]) if section else experiment, name, value)
    with pytest.raises(UserError, match=rf"config\.{re.escape(field)}\b"):
        validate(experiment)


def test_class_weights_are_given_once() -> None:
    experiment = sound()
    experiment.loss.class_weights, experiment.loss.class_weighting = (1.0, 2.0), "inverse"
    with pytest.raises(UserError, match=r"config\.loss\.class_weighting='inverse'.*set one of the two"):
        validate(experiment)


def test_a_part_must_learn() -> None:
    experiment = sound()
    experiment.optimizer.encoder_rate = experiment.optimizer.decoder_rate = experiment.optimizer.head_rate = 0.0
    with pytest.raises(UserError, match="config.optimizer.head_rate=0: all parts are frozen"):
        validate(experiment)


def test_what_may_change_on_resume() -> None:
    before, now = sound(), sound()
    now.train.num_steps, now.train.max_minutes, now.train.log_every = 7, 1.0, 3
    now.mesh.data, now.data.num_threads = 2, 8
    check_resumable(before, now)
    now.train.init_from = "runs/other"
    with pytest.raises(UserError, match=r"train.init_from \(was '', now 'runs/other'\)"):
        check_resumable(before, now)
    now.train.init_from = ""
    now.data.batch_size, now.optimizer.learning_rate = 3, 0.1
    with pytest.raises(UserError, match=r"data.batch_size \(was 8, now 3\), optimizer.learning_rate") as caught:
        check_resumable(before, now)
    assert "num_steps" not in str(caught.value)


def test_strides_and_kernels_of_the_levels() -> None:
    experiment = sound()
    experiment.data.window, experiment.model.levels = (16, 128, 100), 4
    assert strides_of(experiment) == ((2, 2, 2),) * 3
    assert kernels_of(experiment) == ((3, 3, 3),) * 4
    assert multiples_of(experiment) == (8, 8, 8)
    experiment.model.strides, experiment.model.kernels = "1,2,2; 2,2,1", "1,3,3"
    assert strides_of(experiment) == ((1, 2, 2), (2, 2, 1), (2, 2, 2))
    assert kernels_of(experiment) == ((1, 3, 3), *((3, 3, 3),) * 3)
    assert multiples_of(experiment) == (4, 8, 4)
    experiment.model.strides = "auto"
    assert strides_of(experiment) == ((2, 2, 2), (2, 2, 2), (1, 2, 2))
    experiment.data.window = (1, 48, 7)
    assert strides_of(experiment) == ((2, 1), (2, 1), (2, 1))
    assert multiples_of(experiment) == (1, 8, 1)


def test_padding_follows_the_strides_of_each_side() -> None:
    experiment = sound()
    experiment.data.window, experiment.model.strides = (16, 128, 128), "1,2,2;1,2,2"
    experiment.data.pad_to = (20, 144, 128)
    validate(experiment)
    experiment.data.pad_to = (18, 144, 128)
    with pytest.raises(UserError, match=r"multiple of the network's strides, \(4, 16, 16\)"):
        validate(experiment)


def test_neighbours_are_those_of_sections() -> None:
    experiment = sound()
    experiment.data.neighbours = 2
    validate(experiment)
    experiment.data.window = (8, 64, 64)
    with pytest.raises(UserError, match=r"config.data.neighbours=2: sections have neighbours"):
        validate(experiment)


def test_an_instance_norm_needs_more_than_one_sample() -> None:
    experiment = sound()
    experiment.data.window, experiment.model.norm, experiment.model.levels = (1, 13, 8), "instance", 4
    validate(experiment)
    experiment.data.window = (1, 7, 8)
    with pytest.raises(UserError, match="config.model.norm='instance': config.model.levels=4 leave one sample"):
        validate(experiment)
    experiment.data.pad_to = (1, 16, 8)
    validate(experiment)
