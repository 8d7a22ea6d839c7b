"""From a config to what it describes, data and network: the only file that turns options into objects."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from jax.sharding import Mesh

from seisjax import losses, sharding
from seisjax.augment import Augmentation
from seisjax.config import Experiment, kernels_of, multiples_of, strides_of
from seisjax.conventions import INITIALISE, LABELS_PREFIX, SPACE
from seisjax.data import (
    GeneratedBatches,
    GridWindows,
    Member,
    MixedSource,
    Turns,
    WindowSource,
    check_labelled,
    check_one_example,
    check_window,
    class_counts,
    fit_classes,
    make_member,
    make_sampler,
    resolve_splits,
    stored_type,
    training_batches,
    training_statistics,
)
from seisjax.errors import UserError, nearest
from seisjax.geometry import Box, Shape, factors, padded_window, put_back, section_axis
from seisjax.models.parts import PARTS
from seisjax.models.unet import UNet
from seisjax.normalization import SIGMA_OF_MEDIAN_DEVIATION, Normalization
from seisjax.synthesis import SyntheticVolume, open_data
from seisjax.training import step as steps
from seisjax.training.optimizer import make_optimizer, make_schedule, shard_moments
from seisjax.training.state import State, init_state
from seisjax.volumes import Volume, set_cache_size, set_retry_minutes
from seisjax.volumes.targets import at_interval, fit_window

_MOST_GENERATED = 200  # panels of a virtual volume that baselines may ask for


@dataclass(frozen=True)
class Survey:
    """The data of an experiment: volume, splits as boxes, the window and its padded sides, class names.

    label_scale: labels are so many times the probability of class 1; 0: they are classes.
    others: surveys that training windows are drawn from too.
    """

    volume: Volume
    regions: dict[str, tuple[Box, ...]]
    window: Shape
    padded: Shape
    class_names: list[str]
    label_scale: int = 0
    others: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Fit:
    """What a run takes from its training part before the first step.

    Statistics of the amplitudes in the volume's units (`mad`: median absolute deviation), and the classes' weights.
    others: centre and scale of the training part of each of the other surveys, in its own units.
    """

    mean: float
    std: float
    median: float = 0.0
    mad: float = 0.0
    class_weights: tuple[float, ...] = ()
    others: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Segmenter:
    """The network of an experiment on a mesh: what starts, moves and asks it, jitted with its shardings."""

    network: steps.Network  # for windows that lie whole on a device
    loss: losses.Loss
    mesh: Mesh
    state_shardings: Any  # a tree like the state
    init: Callable[[], State]
    train_step: Callable[[State, steps.Batch], tuple[State, dict[str, jax.Array]]]
    evaluate_step: Callable[[Any, Any, steps.Batch], dict[str, jax.Array]]
    probability_step: Callable[[Any, Any, steps.Batch], dict[str, jax.Array]]  # the same, with probabilities and labels
    forward: Callable[[Any, Any, Any, Any], jax.Array]  # its probabilities stay where their windows are
    prepare: Callable[[steps.Batch, Any], tuple[jax.Array, jax.Array]]
    schedule: Callable[[int], Any]


def open_survey(config: Experiment, *, mixture: bool = True) -> Survey:
    """Open the volume and prove that window, labels, splits and devices fit. Raises UserError where they do not.

    mixture: also open the other surveys of data.mixture_volumes, which only training needs.
    """
    data = config.data
    set_cache_size(data.cache_mebibytes)
    set_retry_minutes(data.retry_minutes)
    volume = _open_labelled(data.volume, data.labels_volume, data.labels, "data.labels")
    for name in ("augment.flip_axes", "data.directions"):
        _check_axes(volume, name, getattr(getattr(config, name.split(".")[0]), name.split(".")[1]))
    regions = resolve_splits(
        volume, data.train, data.validation, data.test, data.window, data.split_gap, data.directions
    )
    _check_generated(volume, config, regions)
    check_labelled(volume, data.labels, regions)
    scale = _label_scale(volume, data.labels, config)
    _check_classes(volume, data.labels, config, scale)
    _check_weights(config, volume, regions, scale)
    if not 2 <= sum(side > 1 for side in data.window) <= 3:
        raise UserError(f"data.window={data.window}: two or three sides must be longer than 1")
    _check_neighbours(volume, config)
    if volume.axes[-1].name in data.directions or data.window[-1] == 1:
        _check_horizontal(config, volume.axes[-1].name)
    names = volume.class_names(data.labels)
    survey = Survey(volume, regions, tuple(data.window), _padded(config), names, scale)
    return dataclasses.replace(survey, others=tuple(_open_others(config, survey))) if mixture else survey


def _open_labelled(url: str, labels_url: str, labels: str, field: str) -> Volume:
    volume = open_data(url)
    if labels_url:
        volume = volume.with_labels(open_data(labels_url))
    known = volume.label_names()
    if not known:
        others = f"{field}_volume{'s' if 'mixture' in field else ''}"
        raise UserError(
            f"{labels_url or url}: has no labels at all; ingest them too (launch/ingest.py --labels), or name a volume "
            f"that holds them, on the same grid, in {others}"
        )
    if labels not in known:
        raise UserError(f"{labels_url or url}: has no labels '{labels}'{nearest(labels, known)}; set {field}")
    return volume


def _open_others(config: Experiment, survey: Survey) -> Iterator[Member]:
    """The other surveys of the mixture, each proved to fit the main one."""
    data = config.data
    for number, url in enumerate(data.mixture_volumes):
        train, labels, labels_url = (
            values[number] if values else default
            for values, default in (
                (data.mixture_train, ""),
                (data.mixture_labels, data.labels),
                (data.mixture_labels_volumes, ""),
            )
        )
        with _naming_member(config, number):
            volume = _open_labelled(url, labels_url, labels, "data.mixture_labels")
            scale = _label_scale(volume, labels, config)
            if scale != survey.label_scale:
                raise UserError(
                    f"labels '{labels}' have the label_scale {scale}, those of data.volume {survey.label_scale} "
                    "(0: classes); set data.label_scale, or mix labels of one kind"
                )
            _check_classes(volume, labels, config, scale)
            member = make_member(
                volume,
                labels,
                train,
                main=survey.volume,
                splits=survey.regions,
                window=survey.window,
                padded=survey.padded,
                split_gap=data.split_gap,
                directions=data.directions,
            )
            weighting = config.loss.class_weighting
            if weighting != "none" and not volume.label_index(labels).counted:
                raise UserError(
                    f"loss.class_weighting='{weighting}': needs the labels of all examples, which it only makes; set "
                    "loss.class_weights"
                )
        names = volume.class_names(labels)
        if names != survey.class_names:
            known = survey.class_names
            logging.warning("%s: its classes are %s, those of data.volume %s; mixed by number", url, names, known)
        yield member


@contextlib.contextmanager
def _naming_member(config: Experiment, number: int) -> Iterator[None]:
    """What goes wrong inside is said of a survey of the mixture."""
    url = config.data.mixture_volumes[number]
    try:
        yield
    except UserError as error:
        said = f"data.mixture_volumes[{number}]"
        raise UserError(f"{said}: {error}" if str(error).startswith(url) else f"{said}={url}: {error}") from error


def _check_generated(volume: Volume, config: Experiment, regions: dict[str, tuple[Box, ...]]) -> None:
    """Raise UserError for options that would make every panel of a virtual volume before the first step."""
    data = config.data
    if data.synthesis == "device" and (
        not isinstance(volume, SyntheticVolume) or data.labels_volume or data.directions
    ):
        raise UserError(
            "data.synthesis='device': makes whole panels with their labels, so it needs data.volume='synthetic:...', "
            "and neither data.labels_volume nor data.directions; else set data.synthesis='host'"
        )
    if data.synthesis == "device":
        check_one_example(volume.axes, data.window)
    if not isinstance(volume, SyntheticVolume):
        return
    sampling, weighting = data.sampling, config.loss.class_weighting
    for setting, uses_counts, instead in (
        (f"data.sampling='{sampling}'", sampling in ("balanced", "blocks"), "set data.sampling='uniform'"),
        (f"loss.class_weighting='{weighting}'", weighting != "none", "set loss.class_weights"),
    ):
        if uses_counts:
            raise UserError(f"{setting}: needs the labels of all panels, which {volume.url} only makes; {instead}")
    panels = sum(region.shape[0] for region in regions["train"])
    if volume.kind == "panels" and config.evaluate.baselines and panels > _MOST_GENERATED:
        raise UserError(
            f"evaluate.baselines: would make all {panels} panels of data.train; set evaluate.baselines=False"
        )


def _check_neighbours(volume: Volume, config: Experiment) -> None:
    """Raise UserError where sections have no neighbours, or they are not read."""
    data = config.data
    if data.neighbours and volume.kind != "survey" and section_axis(data.window) == 0:
        raise UserError(f"data.neighbours={data.neighbours}: the panels of {volume.url} are no neighbours; set it to 0")
    if data.neighbours and data.synthesis == "device":
        raise UserError(
            f"data.neighbours={data.neighbours}: sections that are made on the device come without neighbours; set "
            "data.synthesis='host'"
        )


def _check_horizontal(config: Experiment, vertical: str) -> None:
    """Raise UserError where something is asked for that means nothing on a section across the vertical axis."""
    augment, data = config.augment, config.data
    instead = (
        f"take {vertical} out of data.directions" if data.window[-1] > 1 else "make data.window's last side longer"
    )
    asked = {
        "model.vertical_position": config.model.vertical_position,
        "data.normalization='trace'": data.normalization == "trace",
        "data.agc": data.agc,
        **{
            f"augment.{name}": getattr(augment, name)
            for name in ("time_shift", "time_stretch", "trace_dropout", "frequency", "depth_gain")
        },
    }
    for setting, value in asked.items():
        if value:
            raise UserError(
                f"{setting}: works along traces, which sections across {vertical} do not have; "
                f"switch it off or {instead}"
            )


def _check_axes(volume: Volume, field: str, names: Sequence[str]) -> None:
    known = [axis.name for axis in volume.axes]
    for name in names:
        if name not in known:
            raise UserError(f"{field}: the volume has no axis '{name}'{nearest(name, known)}")


def open_target(
    config: Experiment, url: str, axes: Sequence[str], interval: float | None = None, resample: bool = False
) -> Survey:
    """A volume that is only predicted: it needs neither labels nor splits, but the `axes` that the run was trained on.

    A run trained on panels takes a recording, which lacks their first axis, as one long panel; recordings and panels
    may be smaller than the window. `interval`: the sampling interval of the training volume, in the unit of its last
    axis, None where nobody knows; with `resample` a volume of another one is read as if it had it.
    Raises UserError where it has other axes or, without `resample`, another interval, or is smaller than the window.
    """
    set_cache_size(config.data.cache_mebibytes)
    set_retry_minutes(config.data.retry_minutes)
    volume = open_data(url)
    names = [axis.name for axis in volume.axes]
    window, padded = fit_window(names, axes, tuple(config.data.window), _padded(config), url, config.data.neighbours)
    if volume.kind == "survey":
        check_window(volume, window)
    return Survey(at_interval(volume, interval, resample=resample), {}, window, padded, [])


def _padded(config: Experiment) -> Shape:
    return config.data.pad_to or padded_window(config.data.window, multiples_of(config))


def _label_scale(volume: Volume, labels: str, config: Experiment) -> int:
    """What labels are to be divided by for probabilities: as the config says, or else the label array; 0: classes."""
    if config.data.label_scale >= 0:
        return config.data.label_scale
    return int(volume.arrays[LABELS_PREFIX + labels].attributes.get("label_scale", 0))


def _check_classes(volume: Volume, labels: str, config: Experiment, label_scale: int) -> None:
    classes = num_classes(config)
    histogram = volume.label_index(labels).histogram
    highest = max((int(k) for k in np.flatnonzero(histogram)), default=0)
    if label_scale:
        _check_soft(config, labels, label_scale, highest)
    elif highest >= classes:
        raise UserError(
            f"{volume.url}: labels '{labels}' hold class {highest}, model.num_classes="
            f"{config.model.num_classes} knows 0 to {classes - 1}; set model.num_classes={highest + 1}"
        )


def _check_weights(config: Experiment, volume: Volume, regions: dict[str, tuple[Box, ...]], label_scale: int) -> None:
    """Raise UserError where loss.class_weights leave nothing of a split that counts."""
    weights = config.loss.class_weights
    if not weights or min(weights) > 0 or label_scale or not volume.label_index(config.data.labels).counted:
        return
    for name, boxes in regions.items():
        counts = fit_classes(class_counts(volume, config.data.labels, boxes), len(weights))
        if not (counts * weights).any():
            raise UserError(
                f"loss.class_weights={weights}: only classes of weight 0 are labelled in data.{name}; give one of them "
                "a weight above 0, or choose another region"
            )


def _check_soft(config: Experiment, labels: str, label_scale: int, highest: int) -> None:
    """Raise UserError where labels are to be probabilities and an option needs classes, or one is above 1."""
    classes, weighting = config.model.num_classes, config.loss.class_weighting
    for setting, wrong, instead in (
        (f"data.label_scale={label_scale}", highest > label_scale, f"one is {highest}; set data.label_scale={highest}"),
        (f"model.num_classes={classes}", classes != 1, "set model.num_classes=1"),
        ("data.sampling='balanced'", config.data.sampling == "balanced", "set data.sampling='uniform'"),
        (f"loss.class_weighting='{weighting}'", weighting != "none", "set loss.class_weights"),
        ("loss.boundary_weight", config.loss.boundary_weight > 0, "set loss.boundary_weight=0"),
    ):
        if wrong:
            raise UserError(f"{setting}: labels '{labels}' are {label_scale} times a probability; {instead}")


def training_mesh(config: Experiment, survey: Survey, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh that a run trains and validates on: `make_mesh` for its batches, the parts of them too."""
    size, parts = config.data.batch_size, config.optimizer.accumulation
    mesh = make_mesh(config, survey, size, devices)
    if parts > 1:
        sharding.check_batch(size // parts, mesh, f"optimizer.accumulation={parts}, a part of data.batch_size={size}")
    if config.evaluate.batch_size and "validation" in survey.regions:
        sharding.check_batch(config.evaluate.batch_size, mesh, "evaluate.batch_size")
    return mesh


def make_mesh(config: Experiment, survey: Survey, batch_size: int, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of all devices of the run, or of those given.

    Raises UserError where batch or window cannot be split over it.
    """
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.space, devices)
    sharding.check_batch(batch_size, mesh)
    axis = space_axis(config, survey)
    sharding.check_extent(survey.padded[axis], survey.volume.axes[axis].name, mesh)
    return mesh


def space_axis(config: Experiment, survey: Survey) -> int:
    """Number of the window's axis that `mesh.space` splits: the one named, or the first longer than 1."""
    names = [axis.name for axis in survey.volume.axes]
    if not config.mesh.space_axis:
        return next(i for i, side in enumerate(survey.window) if side > 1)
    if config.mesh.space_axis not in names:
        raise UserError(f"mesh.space_axis='{config.mesh.space_axis}'{nearest(config.mesh.space_axis, names)}")
    return names.index(config.mesh.space_axis)


def fit(config: Experiment, survey: Survey) -> Fit:
    """Read what a run takes from its training part. Raises UserError where amplitudes are all alike or none finite."""
    main = _fit_amplitudes(config, survey.volume, survey.regions["train"])
    others = []
    for number, member in enumerate(survey.others):
        with _naming_member(config, number):
            others.append(_center_and_scale(config, _fit_amplitudes(config, member.volume, member.regions)))
    weights = config.loss.class_weights
    if config.loss.class_weighting != "none":
        weights = losses.class_weights(_class_counts(config, survey), config.loss.class_weighting)
    return dataclasses.replace(main, class_weights=tuple(weights), others=tuple(others))


def _fit_amplitudes(config: Experiment, volume: Volume, regions: Sequence[Box]) -> Fit:
    data = config.data
    statistics = training_statistics(volume, regions, data.statistics_tiles, num_threads=data.num_threads)
    return Fit(statistics.mean, statistics.std, statistics.p50, statistics.mad or 0.0)


def _class_counts(config: Experiment, survey: Survey) -> np.ndarray:
    """Labelled samples of each class in the training part; in a mixture, the share of each class in what is drawn."""
    data = config.data
    parts = [(survey.volume, data.labels, survey.regions["train"])]
    parts += [(member.volume, member.labels, member.regions) for member in survey.others]
    counts = [class_counts(*part) for part in parts]
    counts = [fit_classes(count, num_classes(config)) for count in counts]
    if not survey.others:
        return counts[0]
    weighted = zip(mixture_weights(config), counts, strict=True)
    return np.sum([weight * count / count.sum() for weight, count in weighted], axis=0)


def make_segmenter(config: Experiment, survey: Survey, mesh: Mesh, fit: Fit, *, alone: bool | None = None) -> Segmenter:
    """Build the network and jit its functions over the mesh. Nothing is computed yet.

    alone: whether a device may compute in formulations that several cannot share out; None: where the mesh has one.
    """
    key = jax.random.key(config.seed)
    init_parameters, network = _make_network(config, survey, fit, alone=mesh.size == 1 if alone is None else alone)
    loss = _make_loss(config, fit, survey.label_scale)
    schedule, optimizer = _make_optimizer(config)
    augmentation = make_augmentation(config, survey)
    classes, average = num_classes(config), config.optimizer.average
    axis, whole_windows = space_axis(config, survey), network
    if mesh.shape[SPACE] > 1:
        augmentation.check(axis, survey.window)
        network = _split(network, mesh, axis, survey.window)

    def augment(images: jax.Array, labels: jax.Array, valid: jax.Array, indices: jax.Array) -> Any:
        return augmentation(images, labels, valid, config.seed, indices)

    def init() -> State:
        return init_state(jax.random.fold_in(key, INITIALISE), init_parameters, optimizer, classes, average=average)

    train_step = steps.make_train_step(
        network,
        loss,
        optimizer,
        augment,
        classes,
        config.optimizer.accumulation,
        key,
        deep_supervision=coarser_blocks(config),
        average=average,
        frozen=[part for part, rate in _part_rates(config).items() if rate == 0],
    )
    everywhere, state = sharding.replicated(mesh), _state_shardings(jax.eval_shape(init), mesh, config.optimizer.shard)
    batch = sharding.batch_shardings(mesh, len(survey.padded), axis + 1)
    scores = {"numerators": everywhere, "denominators": everywhere, "confusion": everywhere, "classes": batch["labels"]}
    return Segmenter(
        network=whole_windows,
        loss=loss,
        mesh=mesh,
        state_shardings=state,
        init=jax.jit(init, out_shardings=state),
        train_step=jax.jit(
            train_step, in_shardings=(state, batch), out_shardings=(state, everywhere), donate_argnums=0
        ),
        evaluate_step=jax.jit(
            steps.make_evaluate_step(network, loss, classes),
            in_shardings=(everywhere, everywhere, batch),
            out_shardings=scores,
        ),
        probability_step=jax.jit(
            steps.make_evaluate_step(network, loss, classes, probabilities=True),
            in_shardings=(everywhere, everywhere, batch),
            out_shardings=scores | {"probabilities": everywhere, "labels": everywhere},
        ),
        forward=jax.jit(
            steps.make_forward(network),
            in_shardings=(everywhere, everywhere, batch["image"], everywhere),
            out_shardings=batch["image"],
        ),
        prepare=jax.jit(steps.make_prepare(network, augment)),
        schedule=jax.jit(schedule),  # each operation by itself would be compiled by itself
    )


def _split(network: steps.Network, mesh: Mesh, axis: int, window: Shape) -> steps.Network:
    """The network for windows that devices share out along an axis."""
    network.normalization.check(axis, window)
    sides = [i for i, side in enumerate(window) if side > 1]
    split = sharding.batch_sharding(mesh, len(sides) + 2, sides.index(axis) + 1)
    return dataclasses.replace(network, split=split)


def _state_shardings(state: State, mesh: Mesh, shard_optimizer: bool) -> Any:
    whole = jax.tree.map(lambda _: sharding.replicated(mesh), state)
    return whole | {"optimizer": shard_moments(state["optimizer"], mesh)} if shard_optimizer else whole


def _make_network(
    config: Experiment, survey: Survey, fit: Fit, *, alone: bool
) -> tuple[Callable[[jax.Array], tuple[Any, Any]], steps.Network]:
    model = config.model
    make_unet = functools.partial(
        UNet,
        channels(config) + model.vertical_position,
        model.num_classes,
        spatial_ndim=sum(side > 1 for side in survey.window),
        base_features=model.base_features,
        levels=model.levels,
        kernels=kernels_of(config),
        strides=strides_of(config),
        norm=model.norm,
        activation=model.activation,
        dropout=model.dropout,
        deep_supervision=model.deep_supervision,
        remat=model.remat,
        dtype=jnp.dtype(config.precision.compute),
        alone=alone,
    )
    init_parameters, graphdef = steps.initializer(make_unet)
    normalization = _make_normalization(config, fit)
    coding = survey.volume.coding
    return init_parameters, steps.Network(graphdef, survey.padded, normalization, model.vertical_position, None, coding)


def coarser_blocks(config: Experiment) -> tuple[Shape, ...]:
    """Of each coarser resolution that is trained, the samples of the window that one of its own stands for."""
    window, strides = config.data.window, strides_of(config)
    of_level = factors(strides, sum(side > 1 for side in window))
    return tuple(put_back(window, of_level[k]) for k in range(1, config.model.deep_supervision + 1))


def _make_normalization(config: Experiment, fit: Fit) -> Normalization:
    data = config.data
    center, scale = _center_and_scale(config, fit)
    return Normalization(data.normalization, center, scale, data.robust, data.agc, data.clip)


def _center_and_scale(config: Experiment, fit: Fit) -> tuple[float, float]:
    """What amplitudes are normalised by; a scale of 0 where nothing is scaled by it."""
    data = config.data
    center, scale = (fit.median, SIGMA_OF_MEDIAN_DEVIATION * fit.mad) if data.robust else (fit.mean, fit.std)
    if data.normalization == "training" and not scale > 0:
        raise UserError("data.robust: the median absolute deviation of the training part is 0; set data.robust=False")
    return center, scale


def _make_loss(config: Experiment, fit: Fit, label_scale: int) -> losses.Loss:
    options = config.loss
    return losses.make_loss(
        options.name,
        config.model.num_classes,
        fit.class_weights,
        focal_gamma=options.focal_gamma,
        boundary_weight=options.boundary_weight,
        boundary_radius=options.boundary_radius,
        label_scale=label_scale,
    )


def _make_optimizer(config: Experiment) -> tuple[optax.Schedule, optax.GradientTransformation]:
    options = config.optimizer
    decay_steps = options.decay_steps or config.train.num_steps
    schedule = make_schedule(options.schedule, options.learning_rate, options.warmup_steps, decay_steps)
    return schedule, make_optimizer(schedule, options.weight_decay, options.clip_norm, _part_rates(config))


def _part_rates(config: Experiment) -> dict[str, float]:
    return {part: getattr(config.optimizer, f"{part}_rate") for part in PARTS}


def make_augmentation(config: Experiment, survey: Survey) -> Augmentation:
    """The random changes of training samples."""
    names = [axis.name for axis in survey.volume.axes]
    options = {field.name: getattr(config.augment, field.name) for field in dataclasses.fields(config.augment)}
    options["flip_axes"] = tuple(names.index(name) for name in config.augment.flip_axes)
    return Augmentation(**options)


def training_source(config: Experiment, survey: Survey) -> WindowSource | MixedSource:
    """The endless source of training windows; each holds a labelled sample, in the units of its own survey."""
    data = config.data
    common = {"overhang": data.overhang, "directions": data.directions}
    turns = Turns(mixture_weights(config))
    # Of a batch, and of the room for blocks, each survey has its share.
    batches = [max(int(most), 1) for most in turns.most(data.batch_size)]
    rooms = [max(data.block_mebibytes * batch // sum(batches), 1) for batch in batches]
    sampler = make_sampler(
        data.sampling,
        volume=survey.volume,
        labels=data.labels,
        regions=survey.regions["train"],
        window=survey.window,
        seed=config.seed,
        weights=data.train_weights,
        class_shares=data.class_shares,
        batch_size=batches[0],
        block_mebibytes=rooms[0],
        **common,
    )
    options = {"labelled_only": True, "neighbours": data.neighbours}
    sources = [WindowSource(survey.volume, data.labels, sampler, survey.padded, **options)]
    for number, member in enumerate(survey.others, 1):
        with _naming_member(config, number - 1):
            # Of what is only made nobody knows where which class lies, but all of it is labelled.
            counted = member.volume.label_index(member.labels).counted
            sampler = make_sampler(
                data.sampling if counted or data.sampling == "grid" else "uniform",
                volume=member.volume,
                labels=member.labels,
                regions=member.regions,
                window=member.window,
                seed=config.seed + (number << 64),  # random numbers of its own
                class_shares=_shares_present(data.class_shares, member),
                batch_size=batches[number],
                block_mebibytes=rooms[number],
                **common,
            )
            sources.append(WindowSource(member.volume, member.labels, sampler, member.padded, **options))
    return MixedSource(sources, turns) if survey.others else sources[0]


def _shares_present(shares: Sequence[float], member: Member) -> Sequence[float]:
    """Class shares for a survey of a mixture, which may lack some of the classes."""
    if not shares or not member.volume.label_index(member.labels).counted:
        return ()
    counts = class_counts(member.volume, member.labels, member.regions)
    return [share if count else 0.0 for share, count in zip(shares, counts, strict=False)]


def mixture_weights(config: Experiment) -> Sequence[float]:
    """How often windows come from data.volume and from each of data.mixture_volumes; they need not sum to 1."""
    return config.data.mixture_weights or (1.0,) * (1 + len(config.data.mixture_volumes))


def fitted_source(config: Experiment, source: WindowSource | MixedSource, fit: Fit) -> WindowSource | MixedSource:
    """The source with the windows of all surveys in the units of data.volume, as the network expects them."""
    if not isinstance(source, MixedSource):
        return source
    moments = [_center_and_scale(config, fit), *fit.others]
    # As the network does where all but the windows' own statistics is left out of account.
    return source.in_units_of_first([(center, scale if scale > 0 else 1.0) for center, scale in moments])


def training_stream(
    config: Experiment, survey: Survey, source: WindowSource | MixedSource, mesh: Mesh, start_step: int
) -> grain.DatasetIterator | GeneratedBatches:
    """The endless iterator of training batches from a step on: read on the host, or made on the devices."""
    data, volume = config.data, survey.volume
    options = {
        "batch_size": data.batch_size,
        "mesh": mesh,
        "space_dim": space_axis(config, survey) + 1,
        "start_step": start_step,
    }
    if data.synthesis == "device" and isinstance(volume, SyntheticVolume) and isinstance(source, WindowSource):
        return GeneratedBatches(source, volume.examples.window, **options)
    options |= {"as_stored": _as_stored(survey)}
    return training_batches(source, num_threads=data.num_threads, prefetch=data.prefetch, **options)


def image_type(survey: Survey) -> np.dtype:
    """The type in which images of training batches reach the devices: the stored one, where devices can decode it."""
    return stored_type(survey.volume)[0] if _as_stored(survey) else np.dtype(np.float32)


def _as_stored(survey: Survey) -> bool:
    return not survey.others  # which may be stored in other ways


def split_source(config: Experiment, survey: Survey, split: str) -> WindowSource:
    """The windows that tile a split, each once."""
    grid = GridWindows(survey.regions[split], survey.window)
    options = {"labelled_only": False, "neighbours": config.data.neighbours}
    return WindowSource(survey.volume, config.data.labels, grid, survey.padded, **options)


def abstract_state(segmenter: Segmenter) -> Any:
    """The state's shapes, dtypes and shardings."""
    shapes = jax.eval_shape(segmenter.init)
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, segmenter.state_shardings
    )


def channels(config: Experiment) -> int:
    """Channels of an image: the section that is labelled and its neighbours."""
    return 1 + 2 * config.data.neighbours


def num_classes(config: Experiment) -> int:
    """Classes in every score: 2 for one sigmoid logit."""
    return max(config.model.num_classes, 2)
