"""The experiment tree: every option with its default, unit and meaning. No default lives elsewhere.

A file under `configs/` returns one `Experiment` and states only what differs from here. On the command line any
field is set as `--config.data.batch_size=4`; a tuple as `--config.data.window="(1,256,512)"`.
A region is written in coordinate labels, both ends included: `inline:1075-1088,crossline:1000-1199`.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass, field
from typing import Any

from seisjax.errors import UserError, nearest


@dataclass
class Data:
    """Which samples are read, and in which order."""

    volume: str = ""  # URL or path of the volume; axes slowest first
    synthesis: str = "host"  # where a synthetic: volume's panels are made: the "host", or the "device" that trains
    labels: str = ""  # name of the label array: the store's labels_<name>
    labels_volume: str = ""  # URL of the volume that holds the labels, on the same axes; empty: data.volume
    label_scale: int = -1  # labels are so many times the probability of class 1 (Gaussian onset labels; with
    # model.num_classes=1); 0: labels are classes; -1: as the label array's attribute label_scale says, else classes
    window: tuple[int, ...] = ()  # samples along each axis of the volume; a side of 1 makes a section
    pad_to: tuple[int, ...] = ()  # sides that windows are padded to at their end; empty: the next multiple of
    # model.strides (2^(model.levels-1) unless those say otherwise), and 1 for a side of 1
    neighbours: int = 0  # sections on either side that the network sees as channels beside the one it labels (2.5-D);
    # window then has a side of 1
    batch_size: int = 8  # samples (windows) per optimiser step, over all devices
    train: str = ""  # region of the volume that is trained on, or several parted by ";"
    validation: str = ""  # region (or several) that chooses the best checkpoint; empty: no validation
    test: str = ""  # region (or several) that is looked at last; empty: no test split
    split_gap: int = -1  # samples between two splits along the axis that parts them; -1: the window's side there
    sampling: str = "uniform"  # training windows: "uniform" draws anywhere, "grid" shuffles a fixed tiling,
    # "balanced" draws around labelled samples of each class alike, "blocks" reads a few blocks of chunks at a time
    class_shares: tuple[float, ...] = ()  # "balanced": share of the windows drawn around each class; empty: all alike
    block_mebibytes: int = 128  # "blocks": room for the decoded chunks of the blocks open at once, MiB a process
    train_weights: tuple[float, ...] = ()  # share of the windows drawn from each region of data.train; empty: by size
    directions: tuple[str, ...] = ()  # axes that training sections are cut across, drawn alike; empty: as data.window
    mixture_volumes: tuple[str, ...] = ()  # URLs of more volumes that training windows are drawn from, each normalised
    # by its own statistics; axes, sampling interval, validation and test are those of data.volume
    mixture_weights: tuple[float, ...] = ()  # share of the windows from data.volume, and of each of these; empty: alike
    mixture_train: tuple[str, ...] = ()  # region (or several) of each that is trained on, "": all; empty: all of each
    mixture_labels: tuple[str, ...] = ()  # name of the label array of each; empty: data.labels
    mixture_labels_volumes: tuple[str, ...] = ()  # URL of the volume that holds the labels of each, "": its own; empty:
    # their own
    overhang: float = 0.125  # share of a window's side (if longer than 1) that a uniform draw may reach past its region
    normalization: str = "training"  # centre and scale are those of the "training" part, each "window" or each "trace"
    robust: bool = False  # median and scaled median absolute deviation in place of mean and standard deviation
    agc: int = 0  # samples of the window along the last axis over which amplitudes are levelled first; 0: none
    clip: float = 5.0  # normalised amplitudes are clipped to +-clip deviations; 0: no clipping
    statistics_tiles: int = 256  # at most so many chunks of the training part are read for its statistics
    num_threads: int = 4  # threads of a process that make or decode samples, where TensorStore does not do it all
    prefetch: int = 2  # batches read ahead; this and the cache bound the host's memory
    cache_mebibytes: int = 256  # decoded chunks kept by TensorStore, MiB a process
    retry_minutes: float = 5.0  # a store that cannot be reached, or fails to read, is asked again for so long; 0: never


@dataclass
class Augment:
    """Random changes of training samples, made on the device."""

    flip_axes: tuple[str, ...] = ()  # axes that are mirrored with probability 1/2, image and label together
    polarity: float = 0.0  # probability of a sign change of a whole window
    gain: float = 0.0  # a window is scaled by exp(N(0, gain))
    noise: float = 0.0  # white noise of deviation |N(0, noise)| in units of the normalised deviation
    time_shift: float = 0.0  # samples: windows are shifted along the last axis by up to so many, either way
    time_stretch: float = 0.0  # windows are stretched along the last axis by exp(N(0, time_stretch))
    trace_dropout: float = 0.0  # up to this share of a window's traces is silenced
    frequency: float = 0.0  # spectra along the last axis are scaled by exp of a smooth random curve of this deviation
    depth_gain: float = 0.0  # windows are scaled by exp(N(0, depth_gain) z), z from -1 to 1 along the last axis
    warp: float = 0.0  # samples: deviation of a smooth random displacement along each of the window's long sides
    warp_spacing: int = 32  # samples between the control points of that displacement


@dataclass
class Model:
    """The UNet.

    The network of the paper has 8 base features, 7 levels, one sigmoid logit and no norm: 7,779,241 parameters. With
    the default norm in place of the biases before it they are 7,781,777.
    """

    base_features: int = 16  # features at full resolution, doubled at each level
    levels: int = 5  # resolutions, the bottleneck included
    strides: str = ""  # what divides the window's sides from one level to the next, 1 or 2 for each side longer than 1:
    # "1,2,2;2,2,2", 2 where levels are not named; "auto": a side is halved while at least 4 samples of it are left
    kernels: str = ""  # sides of the convolutions of each level, 1 or 3 for each side longer than 1: "1,3,3", 3 where
    # levels are not named
    num_classes: int = 2  # 1: one sigmoid logit, two classes in every score
    norm: str = "group"  # "group" | "batch" | "instance" | "none"
    activation: str = "relu"  # "relu" | "leaky_relu" | "gelu" | "silu"
    dropout: float = 0.0  # share of features dropped in the bottleneck
    vertical_position: bool = False  # a second input: the place of each sample along the window's last axis, -1 to 1
    deep_supervision: int = 0  # coarser resolutions, from the finest down, whose own logits are trained too
    remat: str = "none"  # "none" | "block" | "level": what the backward pass computes again, for less memory and more
    # time: nothing, what is inside each block, or the skips between the two ways too

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; True and False, which runs and flags of before say for remat, are "block" and "none"."""
        if name == "remat":
            value = {"true": "block", "false": "none"}.get(str(value).lower(), value)
        super().__setattr__(name, value)


@dataclass
class Precision:
    """Number formats; parameters, statistics and losses are always float32."""

    compute: str = "float32"  # "float32" | "bfloat16": convolutions and activations


@dataclass
class Loss:
    """What is minimised over the labelled samples of the global batch."""

    name: str = "cross_entropy"  # "cross_entropy" | "focal" | "dice" | "generalized_dice", or several joined by "+"
    class_weights: tuple[float, ...] = ()  # one weight a class (two for num_classes=1); empty: by class_weighting
    class_weighting: str = "none"  # weights from the class counts of the training part: "inverse" | "inverse_sqrt"
    focal_gamma: float = 2.0  # "focal": the higher, the less samples count that are right already
    boundary_weight: float = 0.0  # samples near a class boundary weigh 1 + boundary_weight
    boundary_radius: int = 2  # samples on either side of a boundary that are near it


@dataclass
class Optimizer:
    """AdamW with warm-up and decay."""

    learning_rate: float = 1e-3  # peak rate
    schedule: str = "cosine"  # "cosine" | "constant" after warm-up
    warmup_steps: int = 100  # steps of linear rise from 0
    decay_steps: int = 0  # steps until the cosine ends; 0: train.num_steps
    weight_decay: float = 1e-4  # decoupled, on convolution kernels alone
    clip_norm: float = 1.0  # global gradient norm above which gradients are scaled down; 0: never
    encoder_rate: float = 1.0  # the way down and the bottleneck learn at so many times learning_rate; 0: frozen
    decoder_rate: float = 1.0  # the same of the way up
    head_rate: float = 1.0  # the same of the last convolutions, which give the logits
    average: float = 0.0  # decay of a running average of the parameters, which evaluation and prediction use; 0: none
    accumulation: int = 1  # a batch is worked on in so many parts, one after the other
    shard: bool = False  # each of mesh.data's devices keeps a part of Adam's moments: less memory, another transfer


@dataclass
class Train:
    """How long, and what happens on the way. 0 switches an interval off."""

    num_steps: int = 1000  # optimiser steps in all
    init_from: str = ""  # begin with the parameters of another run (its folder) or of a file of launch/export.py
    init_checkpoint: str = "best"  # of a run: "best", "last" or a step
    init_part: str = "all"  # what is taken: "all" (without the head where it has another number of classes), "body"
    # (never the head) or "encoder"; the rest begins at random
    max_minutes: float = 0.0  # stop, with a checkpoint, after so many minutes of this launch; 0: no limit
    log_every: int = 20  # steps between lines of metrics
    evaluate_every: int = 200  # steps between validations (the last step always validates)
    checkpoint_every: int = 200  # steps between checkpoints (every validation and the last step also save)
    figures: bool = True  # draw the first batch, panels at validation and the loss curves
    profile_steps: int = 0  # trace so many steps with jax.profiler, from the tenth step of a launch on
    hang_minutes: float = 30.0  # end a process in which nothing moves for so long, with its stacks; 0: never


@dataclass
class Evaluate:
    """Scores on a split."""

    batch_size: int = 0  # windows at a time; 0: data.batch_size
    baselines: bool = True  # score trivial predictors beside the network


@dataclass
class Predict:
    """Prediction over whole volumes."""

    batch_size: int = 0  # windows at a time; 0: data.batch_size
    overlap: float = 0.5  # share of a window's side that neighbouring windows share
    block_mebibytes: int = 2048  # memory for the blocks that are worked on, MiB; the larger, the less is read twice
    probability_dtype: str = "float16"  # "float16" | "float32" of pred_probability


@dataclass
class Mesh:
    """How devices are laid out."""

    data: int = -1  # devices that split the batch; -1: all that are left
    space: int = 1  # devices that split a window
    space_axis: str = ""  # the volume's axis that they split; empty: the window's first axis longer than 1


@dataclass
class Experiment:
    """One run."""

    seed: int = 0  # everything random is a function of this
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    model: Model = field(default_factory=Model)
    precision: Precision = field(default_factory=Precision)
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    train: Train = field(default_factory=Train)
    evaluate: Evaluate = field(default_factory=Evaluate)
    predict: Predict = field(default_factory=Predict)
    mesh: Mesh = field(default_factory=Mesh)


_CHOICES = {
    "data.synthesis": ("host", "device"),
    "data.sampling": ("uniform", "grid", "balanced", "blocks"),
    "data.normalization": ("training", "window", "trace"),
    "model.norm": ("group", "batch", "instance", "none"),
    "model.remat": ("none", "block", "level"),
    "model.activation": ("relu", "leaky_relu", "gelu", "silu"),
    "precision.compute": ("float32", "bfloat16"),
    "loss.class_weighting": ("none", "inverse", "inverse_sqrt"),
    "train.init_part": ("all", "body", "encoder"),
    "optimizer.schedule": ("cosine", "constant"),
    "predict.probability_dtype": ("float16", "float32"),
}
_LEAST_SIDE = 4  # samples that model.strides="auto" leaves of a side
_LOSSES = ("cross_entropy", "focal", "dice", "generalized_dice")
_AT_LEAST = {
    "seed": -(2**63),
    "data.neighbours": 0,
    "data.batch_size": 1,
    "data.label_scale": -1,
    "data.split_gap": -1,
    "data.overhang": 0,
    "data.agc": 0,
    "data.clip": 0,
    "data.statistics_tiles": 1,
    "data.num_threads": 1,
    "data.prefetch": 1,
    "data.cache_mebibytes": 0,
    "data.retry_minutes": 0,
    "data.block_mebibytes": 1,
    "augment.polarity": 0,
    "augment.gain": 0,
    "augment.noise": 0,
    "augment.time_shift": 0,
    "augment.time_stretch": 0,
    "augment.trace_dropout": 0,
    "augment.frequency": 0,
    "augment.depth_gain": 0,
    "augment.warp": 0,
    "augment.warp_spacing": 1,
    "model.base_features": 1,
    "model.levels": 1,
    "model.num_classes": 1,
    "model.dropout": 0,
    "model.deep_supervision": 0,
    "loss.focal_gamma": 0,
    "loss.boundary_weight": 0,
    "loss.boundary_radius": 1,
    "optimizer.warmup_steps": 0,
    "optimizer.decay_steps": 0,
    "optimizer.weight_decay": 0,
    "optimizer.clip_norm": 0,
    "optimizer.encoder_rate": 0,
    "optimizer.decoder_rate": 0,
    "optimizer.head_rate": 0,
    "optimizer.average": 0,
    "optimizer.accumulation": 1,
    "train.num_steps": 1,
    "train.max_minutes": 0,
    "train.log_every": 0,
    "train.evaluate_every": 0,
    "train.checkpoint_every": 0,
    "train.profile_steps": 0,
    "train.hang_minutes": 0,
    "evaluate.batch_size": 0,
    "predict.batch_size": 0,
    "predict.overlap": 0,
    "predict.block_mebibytes": 1,
    "mesh.data": -1,
    "mesh.space": 1,
}
_AT_MOST = {"seed": 2**63 - 1, "augment.polarity": 1}
_BELOW = {
    "data.overhang": 1,
    "augment.trace_dropout": 1,
    "model.dropout": 1,
    "model.num_classes": 255,
    "data.label_scale": 255,
    "optimizer.average": 1,
    "predict.overlap": 1,
}

# What a run may change when it is taken up again; anything else would make it another run.
_MAY_CHANGE = ("mesh", "evaluate", "predict", "optimizer.shard") + tuple(
    f"{part}.{name}"
    for part, names in {
        "data": ("num_threads", "prefetch", "cache_mebibytes", "retry_minutes"),
        "train": tuple(f.name for f in dataclasses.fields(Train) if not f.name.startswith("init_")),
    }.items()
    for name in names
)


def validate(experiment: Experiment) -> None:
    """Check every value that can be judged without the data. Raises UserError that names the field."""
    for name, value in flatten(to_dict(experiment)).items():
        _validate_value(name, value)
    data, optimizer = experiment.data, experiment.optimizer
    for name in ("volume", "labels", "window", "train"):
        if not getattr(data, name):
            raise UserError(f"config.data.{name} is empty; set --config.data.{name}")
    if optimizer.learning_rate <= 0:
        raise UserError(f"config.optimizer.learning_rate={optimizer.learning_rate}: must be above 0")
    if not (optimizer.encoder_rate or optimizer.decoder_rate or optimizer.head_rate):
        raise UserError("config.optimizer.head_rate=0: all parts are frozen; give one of them a rate above 0")
    for name, usual in (("init_checkpoint", "best"), ("init_part", "all")):
        if (value := getattr(experiment.train, name)) != usual and not experiment.train.init_from:
            raise UserError(f"config.train.{name}='{value}': config.train.init_from is empty; set it too")
    if data.batch_size % optimizer.accumulation:
        raise UserError(
            f"config.optimizer.accumulation={optimizer.accumulation} does not divide "
            f"config.data.batch_size={data.batch_size}; choose a divisor"
        )
    if data.neighbours and 1 not in data.window:
        raise UserError(
            f"config.data.neighbours={data.neighbours}: sections have neighbours, and config.data.window={data.window} "
            "is none; give it a side of 1, or set config.data.neighbours=0"
        )
    kernels_of(experiment)
    _validate_padding(data.window, data.pad_to, multiples_of(experiment))
    _validate_norm(experiment)
    if data.class_shares and data.sampling != "balanced":
        raise UserError(
            f"config.data.class_shares={data.class_shares}: only config.data.sampling='balanced' draws by class, not "
            f"'{data.sampling}'; set it, or leave the shares out"
        )
    if data.sampling == "blocks" and data.cache_mebibytes < 2 * data.block_mebibytes:
        raise UserError(
            f"config.data.cache_mebibytes={data.cache_mebibytes}: sampling by blocks reads chunks more than once below "
            f"twice config.data.block_mebibytes={data.block_mebibytes}; set it to {2 * data.block_mebibytes} or more"
        )
    _validate_mixture(data)
    _validate_loss(experiment)
    if experiment.mesh.data == 0:
        raise UserError("config.mesh.data=0: must be at least 1, or -1 for all devices that are left")


def _validate_value(name: str, value: Any) -> None:
    """Check one field by itself; a tuple is a list here."""
    parts: list[Any] = value if isinstance(value, list) else [value]
    for part in parts:
        if isinstance(part, float) and not math.isfinite(part):
            raise UserError(f"config.{name}={value}: must be finite")
        if name in _CHOICES and part not in _CHOICES[name]:
            raise UserError(f"config.{name}='{part}': unknown{nearest(str(part), _CHOICES[name])}")
        if name in _AT_LEAST and part < _AT_LEAST[name]:
            raise UserError(f"config.{name}={part}: must be at least {_AT_LEAST[name]}")
        if name in _AT_MOST and part > _AT_MOST[name]:
            raise UserError(f"config.{name}={part}: must be at most {_AT_MOST[name]}")
        if name in _BELOW and part >= _BELOW[name]:
            raise UserError(f"config.{name}={part}: must be below {_BELOW[name]}")
    if name == "augment.flip_axes" and len(set(parts)) < len(parts):
        raise UserError(f"config.{name}={value}: names an axis twice, which would mirror it back; name it once")


def kernels_of(experiment: Experiment) -> tuple[tuple[int, ...], ...]:
    """Sides of the network's convolutions at each level, for each side of the window longer than 1.

    Raises UserError where config.model.kernels cannot be read.
    """
    model = experiment.model
    return _of_levels("kernels", model.kernels, experiment, model.levels, allowed=(1, 3), usual=3)


def strides_of(experiment: Experiment) -> tuple[tuple[int, ...], ...]:
    """What divides the sides of the window longer than 1 from each level of the network to the next.

    Raises UserError where config.model.strides cannot be read.
    """
    model = experiment.model
    steps = model.levels - 1
    if model.strides != "auto":
        return _of_levels("strides", model.strides, experiment, steps, allowed=(1, 2), usual=2)
    # As nnU-Net has it (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).
    halvings = [int(math.log2(max(side / _LEAST_SIDE, 1))) for side in experiment.data.window if side > 1]
    return tuple(tuple(2 if step < n else 1 for n in halvings) for step in range(steps))


def multiples_of(experiment: Experiment) -> tuple[int, ...]:
    """What the padded sides of windows, one for each of data.window, are multiples of; 1 for sides of 1."""
    window = experiment.data.window
    ones = (1,) * sum(side > 1 for side in window)
    products = iter([math.prod(column) for column in zip(ones, *strides_of(experiment), strict=True)])
    return tuple(next(products) if side > 1 else 1 for side in window)


def _of_levels(
    name: str, text: str, experiment: Experiment, count: int, *, allowed: tuple[int, ...], usual: int
) -> tuple[tuple[int, ...], ...]:
    """Numbers for each of `count` levels and each side of the window longer than 1: as the text says, else `usual`."""
    axes = sum(side > 1 for side in experiment.data.window)
    parts = [part.split(",") for part in text.split(";")] if text.strip() else []
    known = {str(number): number for number in allowed}
    try:
        named = [tuple(known[number.strip()] for number in part) for part in parts]
    except KeyError as error:
        wrong = f"{error} is neither {' nor '.join(known)}"
    else:
        if len(named) <= count and all(len(numbers) == axes for numbers in named):
            return (*named, *((usual,) * axes,) * (count - len(named)))
        wrong = f"at most {count} levels with {axes} numbers each are needed"
    example = ",".join([str(allowed[0]), *[str(usual)] * (axes - 1)])
    raise UserError(
        f"config.model.{name}='{text}': {wrong}, for model.levels={experiment.model.levels} and "
        f'data.window={experiment.data.window}; write e.g. "{example};{example}"'
    )


def _validate_padding(window: tuple[int, ...], pad_to: tuple[int, ...], multiples: tuple[int, ...]) -> None:
    if not pad_to:
        return
    sides = tuple(-(-side // m) * m for side, m in zip(window, multiples, strict=True))
    if len(pad_to) != len(window) or any(
        to % m or to < side if side > 1 else to != 1 for side, to, m in zip(sides, pad_to, multiples, strict=False)
    ):
        raise UserError(
            f"config.data.pad_to={pad_to}: a side for each of config.data.window={window} is needed, 1 for 1, else a "
            f"multiple of the network's strides, {multiples}, that is no shorter; set {sides} or more, or leave it out"
        )


def _validate_norm(experiment: Experiment) -> None:
    sides, multiples = experiment.data.pad_to or experiment.data.window, multiples_of(experiment)
    if experiment.model.norm == "instance" and all(side <= m for side, m in zip(sides, multiples, strict=False)):
        raise UserError(
            f"config.model.norm='instance': config.model.levels={experiment.model.levels} leave one sample of "
            f"config.data.window={experiment.data.window} at the bottleneck, which that norm makes 0; set fewer "
            "levels, a larger window or 'group'"
        )


def _validate_mixture(data: Data) -> None:
    count, weights = len(data.mixture_volumes), data.mixture_weights
    for name in ("train", "labels", "labels_volumes"):
        values = getattr(data, f"mixture_{name}")
        if values and len(values) != count:
            raise UserError(
                f"config.data.mixture_{name}={values}: give one for each of the {count} config.data.mixture_volumes"
            )
    if weights and (not count or len(weights) != count + 1 or min(weights) < 0 or not 0 < sum(weights) < math.inf):
        raise UserError(
            f"config.data.mixture_weights={weights}: give {count + 1} numbers of at least 0, not all 0: one for "
            f"config.data.volume, then one for each of the {count} config.data.mixture_volumes"
        )
    if count and data.synthesis == "device":
        raise UserError(
            "config.data.synthesis='device': what is made on the device cannot be mixed with "
            "config.data.mixture_volumes; set it to 'host'"
        )


def _validate_loss(experiment: Experiment) -> None:
    loss, classes = experiment.loss, max(experiment.model.num_classes, 2)
    for term in loss.name.split("+"):
        if term not in _LOSSES:
            raise UserError(f"config.loss.name='{loss.name}': '{term}' is unknown{nearest(term, _LOSSES)}")
    shares = {"loss.class_weights": loss.class_weights, "data.class_shares": experiment.data.class_shares}
    for name, values in shares.items():
        if values and (len(values) != classes or min(values) < 0 or max(values) == 0):
            raise UserError(f"config.{name}={values}: {classes} numbers are needed, none negative, not all 0")
    if loss.class_weights and loss.class_weighting != "none":
        raise UserError(
            f"config.loss.class_weighting='{loss.class_weighting}': config.loss.class_weights={loss.class_weights} "
            "gives the weights already; set one of the two"
        )
    model = experiment.model
    if model.deep_supervision and model.deep_supervision >= model.levels:
        raise UserError(
            f"config.model.deep_supervision={model.deep_supervision}: config.model.levels={model.levels} has "
            f"{model.levels - 1} coarser resolutions"
        )


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """The experiment as nested dicts that JSON can hold; tuples become lists."""
    return dataclasses.asdict(
        experiment,
        dict_factory=lambda pairs: {name: list(value) if isinstance(value, tuple) else value for name, value in pairs},
    )


def from_dict(values: dict[str, Any]) -> Experiment:
    """The experiment that `to_dict` wrote. Fields that are missing take their default, unknown ones raise UserError."""
    return _from_dict(Experiment, values, "")


def _from_dict(kind: Any, values: dict[str, Any], prefix: str) -> Any:
    types = typing.get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        if name not in types:
            raise UserError(f"config has no field '{prefix}{name}'{nearest(name, types)}")
        if dataclasses.is_dataclass(types[name]):
            value = _from_dict(types[name], value, f"{prefix}{name}.")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one: {"data.window": [1, 256, 512], ...}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def check_resumable(before: Experiment, now: Experiment) -> None:
    """Raises UserError that names each field in which a run would be taken up with another value than it began with."""
    old, new = flatten(to_dict(before)), flatten(to_dict(now))
    changed = [
        f"{name} (was {old[name]!r}, now {new[name]!r})"
        for name in old
        if old[name] != new[name] and name not in _MAY_CHANGE and name.split(".")[0] not in _MAY_CHANGE
    ]
    if changed:
        what = ", ".join(changed)
        raise UserError(f"--workdir holds a run with another {what}; change back or choose a new --workdir")
