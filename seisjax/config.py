"""The experiment tree: every option with its default, unit and meaning. No default lives elsewhere.

A file under `configs/` returns one `Experiment` and states only what differs from here. On the command line any
field is set as `--config.data.batch_size=4`; a tuple as `--config.data.window="(1,256,512)"`.
A region is written in coordinate labels, both ends included: `inline:1075-1088,crossline:1000-1199`.
"""

from dataclasses import dataclass, field


@dataclass
class Data:
    """Which samples are read, and in which order."""

    volume: str = ""  # URL or path of the volume; axes slowest first
    labels: str = ""  # name of the label array: the store's labels_<name>
    window: tuple[int, ...] = ()  # samples along each axis of the volume; a side of 1 makes a section
    batch_size: int = 8  # samples (windows) per optimiser step, over all devices
    train: str = ""  # region of the volume that is trained on
    validation: str = ""  # region that chooses the best checkpoint; empty: no validation
    test: str = ""  # region that is looked at last; empty: no test split
    split_gap: int = -1  # samples between two splits along the axis that parts them; -1: the window's side there
    sampling: str = "uniform"  # training windows: "uniform" draws anywhere, "grid" shuffles a fixed tiling
    overhang: float = 0.125  # share of a window's side (if longer than 1) that a uniform draw may reach past its region
    clip: float = 5.0  # normalised amplitudes are clipped to +-clip standard deviations; 0: no clipping
    statistics_tiles: int = 256  # at most so many chunks of the training part are read for its mean and deviation
    num_threads: int = 4  # reading threads of a process
    prefetch: int = 2  # batches read ahead; this and the cache bound the host's memory
    cache_mebibytes: int = 256  # decoded chunks kept by TensorStore, MiB a process


@dataclass
class Augment:
    """Random changes of training samples, made on the device."""

    flip_axes: tuple[str, ...] = ()  # axes that are mirrored with probability 1/2, image and label together
    polarity: float = 0.0  # probability of a sign change of a whole window
    gain: float = 0.0  # a window is scaled by exp(N(0, gain))
    noise: float = 0.0  # white noise of deviation |N(0, noise)| in units of the training deviation


@dataclass
class Model:
    """The UNet."""

    base_features: int = 16  # features at full resolution, doubled at each level
    levels: int = 5  # resolutions, the bottleneck included
    num_classes: int = 2  # 1: one sigmoid logit, two classes in every score
    norm: str = "group"  # "group" | "batch" | "instance" | "none"
    activation: str = "relu"  # "relu" | "leaky_relu" | "gelu" | "silu"
    dropout: float = 0.0  # share of features dropped in the bottleneck
    remat: bool = False  # recompute each block's activations in the backward pass: less memory, more time


@dataclass
class Precision:
    """Number formats; parameters, statistics and losses are always float32."""

    compute: str = "float32"  # "float32" | "bfloat16": convolutions and activations


@dataclass
class Loss:
    """What is minimised over the labelled samples of the global batch."""

    name: str = "cross_entropy"  # "cross_entropy" | "dice" | "cross_entropy+dice"
    class_weights: tuple[float, ...] = ()  # one weight a class (two for num_classes=1); empty: all 1


@dataclass
class Optimizer:
    """AdamW with warm-up and decay."""

    learning_rate: float = 1e-3  # peak rate
    schedule: str = "cosine"  # "cosine" | "constant" after warm-up
    warmup_steps: int = 100  # steps of linear rise from 0
    decay_steps: int = 0  # steps until the cosine ends; 0: train.num_steps
    weight_decay: float = 1e-4  # decoupled, on convolution kernels alone
    clip_norm: float = 1.0  # global gradient norm above which gradients are scaled down; 0: never
    accumulation: int = 1  # a batch is worked on in so many parts, one after the other


@dataclass
class Train:
    """How long, and what happens on the way. 0 switches an interval off."""

    num_steps: int = 1000  # optimiser steps in all
    max_minutes: float = 0.0  # stop, with a checkpoint, after so many minutes of this launch; 0: no limit
    log_every: int = 20  # steps between lines of metrics
    evaluate_every: int = 200  # steps between validations (the last step always validates)
    checkpoint_every: int = 200  # steps between checkpoints (every validation and the last step also save)
    figures: bool = True  # draw the first batch, panels at validation and the loss curves
    profile_steps: int = 0  # trace so many steps with jax.profiler, from the tenth step of a launch on


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
    block_mebibytes: int = 1024  # memory for the sums of one block of output, MiB
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
