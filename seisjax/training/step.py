"""The step: pure functions from state and batch to state and metrics, jitted by `experiment.py` over a mesh.

A batch is {"image": (B, *window, channels) float32 in the data's units, NaN where there is no data,
"labels": (B, *window) uint8, classes or soft (see losses.py), IGNORE where nothing is known}; B is the global batch.
Those that the train step and `prepare` are given may also be as they are stored; see `decode`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding

from seisjax import metrics
from seisjax.conventions import DROPOUT, IGNORE, labelled_section
from seisjax.geometry import Shape, put_back
from seisjax.losses import DeepSupervision, Loss, Scalars
from seisjax.models.parts import parts
from seisjax.normalization import Normalization
from seisjax.training.state import State, add_to_average, add_totals
from seisjax.volumes import Coding

Batch = dict[str, jax.Array]
# (normalised images, labels, valid, places in the stream) -> (images, labels), changed at random
Augmentation = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


@dataclass(frozen=True)
class Network:
    """A network with all that stands between raw amplitudes and logits.

    graphdef: the NNX definition; window: sides of the padded window. Sides of 1 are dropped before the network and put
    back after it, so that a section of a volume is an image; channels are sections side by side, of which the middle
    one is labelled. normalization: from amplitudes (B, *window, channels) in the data's units, NaN where there is no
    data, to float32 of the same shape, 0 where there is no data.
    vertical_position: whether the network is also told where along the window's last axis a sample lies, from -1 to 1
    (after CoordConv, Liu et al. 2018, arXiv 1807.03247): where windows are whole traces, depth is half the answer.
    split: where devices share out windows, the layout of activations (B, *sides longer than 1, features) on them.
    coding: of whole numbers in batches that are given as they are stored.
    """

    graphdef: nnx.GraphDef
    window: tuple[int, ...]
    normalization: Normalization
    vertical_position: bool = False
    split: NamedSharding | None = None
    coding: Coding = Coding()

    def inputs(self, images: jax.Array) -> jax.Array:
        """Normalised images of the same shape; 0 where there is no data."""
        return self.normalization(images)

    def logits(self, params: Any, rest: Any, images: jax.Array) -> jax.Array:
        """Logits (B, *window, outputs) of normalised images (B, *window, channels), as in prediction."""
        model = nnx.merge(self.graphdef, params, rest)
        model.eval()
        y = model(self._features(images), split=self.split)
        return y.reshape(images.shape[0], *self.window, y.shape[-1])

    def training_logits(
        self, params: Any, rest: Any, images: jax.Array, dropout: jax.Array
    ) -> tuple[tuple[jax.Array, ...], Any]:
        """Logits at every resolution that is trained, as in training (dropout, batch statistics), and the rest after.

        The finest come first; coarser ones are (B, *window / strides, outputs), sides rounded up.
        """
        model = nnx.merge(self.graphdef, params, rest)
        model.train()
        logits = model.resolutions(self._features(images), rngs=nnx.Rngs(dropout=dropout), split=self.split)
        rest = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))
        windows = (put_back(self.window, y.shape[1:-1]) for y in logits)
        pairs = zip(logits, windows, strict=True)
        return tuple(y.reshape(len(images), *window, y.shape[-1]) for y, window in pairs), rest

    def _features(self, images: jax.Array) -> jax.Array:
        sides = [side for side in self.window if side > 1]
        x = images.reshape(images.shape[0], *sides, images.shape[-1])  # len() knows no symbolic sizes
        if self.vertical_position:
            position = np.linspace(-1, 1, sides[-1], dtype=x.dtype)[:, None]
            x = jnp.concatenate([x, jnp.broadcast_to(position, (*x.shape[:-1], 1))], axis=-1)
        return x


def initializer(make_model: Callable[..., nnx.Module]) -> tuple[Callable[[jax.Array], tuple[Any, Any]], nnx.GraphDef]:
    """The function key -> (parameters, rest), pure dicts, and the graph definition of `make_model(rngs=...)`."""

    def init(key: jax.Array) -> tuple[Any, Any]:
        model = make_model(rngs=nnx.Rngs(key))
        return nnx.to_pure_dict(nnx.state(model, nnx.Param)), nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

    return init, nnx.graphdef(nnx.eval_shape(lambda: make_model(rngs=nnx.Rngs(0))))


def make_train_step(
    network: Network,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    num_classes: int,
    accumulation: int,
    key: jax.Array,
    *,
    deep_supervision: Sequence[int | Shape] = (),
    average: float = 0.0,
    frozen: Collection[str] = (),
) -> Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]:
    """The function (state, batch) -> (state, {"loss", "gradient_norm"}).

    `augment(images, labels, valid, indices)` changes normalised samples; `indices` are their places in the stream.
    The batch is worked on in `accumulation` parts, whose loss numerators are summed: the result is that of one part, to
    rounding, but for dropout, which is drawn for each part, and batch norm, which takes the statistics of each.
    A batch without any labelled sample changes neither parameters nor their average, running statistics or optimiser.
    deep_supervision: `DeepSupervision.blocks` of the coarser resolutions that the network has logits of. average: decay
    of the running average of the parameters that the state holds if it is above 0. frozen: parts of the network
    (models.parts.PARTS) that have no gradient, so that nothing is computed for it; running statistics in them go on
    following the data.
    """
    supervision = DeepSupervision(loss, deep_supervision)

    def objective(
        params: Any, rest: Any, images: jax.Array, labels: jax.Array, denominators: Scalars, dropout: jax.Array
    ) -> Any:
        logits, rest = network.training_logits(_held(params, frozen), rest, images, dropout)
        value = loss.total(supervision.numerators(logits, labels), denominators)
        truth = metrics.as_classes(labels, loss.label_scale)
        confusion = metrics.confusion_matrix(metrics.predict_classes(logits[0]), truth, num_classes)
        return value, (rest, confusion)

    gradient = jax.value_and_grad(objective, has_aux=True)
    prepare = make_prepare(network, augment)

    def step(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        number = state["step"]
        # Before the batch is cut: what is moved out of the window takes its labels out of the denominators.
        images, labels = prepare(batch, number)
        denominators = supervision.denominators(labels)
        dropout = jax.random.fold_in(jax.random.fold_in(key, DROPOUT), number)

        def part_of_batch(rest: Any, i: jax.Array | int, part: tuple[jax.Array, jax.Array]) -> Any:
            (value, (rest, confusion)), grads = gradient(
                state["params"], rest, *part, denominators, jax.random.fold_in(dropout, i)
            )
            return rest, (value, confusion, grads)

        rest, (value, confusion, grads) = _in_parts(part_of_batch, state["rest"], (images, labels), accumulation)
        norm = optax.tree.norm(grads)
        updates, optimizer_state = optimizer.update(grads, state["optimizer"], state["params"])
        learned = {"params": optax.apply_updates(state["params"], updates), "rest": rest, "optimizer": optimizer_state}
        if average > 0:
            learned["average"] = add_to_average(state["average"], learned["params"], number, average)
        labelled = sum(denominators) > 0
        learned = jax.tree.map(lambda new, old: jnp.where(labelled, new, old), learned, {k: state[k] for k in learned})
        totals = add_totals(state["totals"], number + 1, value, norm, confusion)
        return learned | {"step": number + 1, "totals": totals}, {"loss": value, "gradient_norm": norm}

    return step


def make_evaluate_step(
    network: Network, loss: Loss, num_classes: int, *, probabilities: bool = False
) -> Callable[[Any, Any, Batch], dict[str, jax.Array]]:
    """The function (params, rest, batch) -> loss `numerators` and `denominators`, `confusion`, predicted `classes`.

    probabilities: also `probabilities` (B, *window, classes) float16, NaN where there is no data, and the `labels`.
    """

    def step(params: Any, rest: Any, batch: Batch) -> dict[str, jax.Array]:
        logits = network.logits(params, rest, network.inputs(batch["image"]))
        classes = metrics.predict_classes(logits)
        truth = metrics.as_classes(batch["labels"], loss.label_scale)
        extra = {}
        if probabilities:
            known = jnp.isfinite(labelled_section(batch["image"]))
            known = jnp.where(known[..., None], metrics.probabilities(logits), jnp.nan)
            extra = {"probabilities": known.astype(jnp.float16), "labels": batch["labels"]}
        return extra | {
            "numerators": jnp.stack(loss.numerators(logits, batch["labels"])),
            "denominators": jnp.stack(loss.denominators(batch["labels"])),
            "confusion": metrics.confusion_matrix(classes, truth, num_classes),
            "classes": classes.astype(jnp.uint8),
        }

    return step


def make_forward(network: Network) -> Callable[[Any, Any, jax.Array, jax.Array], jax.Array]:
    """The function (params, rest, images, temperature) -> probabilities (B, *window, classes) float32.

    The logits are divided by the temperature, a float32 scalar.
    """

    def forward(params: Any, rest: Any, images: jax.Array, temperature: jax.Array) -> jax.Array:
        logits = network.logits(params, rest, network.inputs(images))
        return metrics.probabilities(logits.astype(jnp.float32) / temperature)

    return forward


def make_prepare(network: Network, augment: Augmentation) -> Callable[[Batch, jax.Array], tuple[jax.Array, jax.Array]]:
    """The function (batch, step) -> what the network is given at that step: normalised, augmented images and labels."""

    def prepare(batch: Batch, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        images, labels, valid = decode(batch, network.coding)
        return augment(network.inputs(images), labels, valid, _indices(batch, step))

    return prepare


def decode(batch: Batch, coding: Coding) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Images, labels and `isfinite` of the images of a batch whose samples may be as they are stored.

    Whole numbers become float32 amplitudes, NaN where there is no data; floats are amplitudes. Labels where there is no
    data become IGNORE.
    """
    stored = batch["image"]
    images, valid = stored.astype(jnp.float32), jnp.isfinite(stored)
    if jnp.issubdtype(stored.dtype, jnp.integer):
        for number in coding.missing:
            valid &= images != np.float32(number)
        images = jnp.where(valid, images * np.float32(coding.scale), jnp.nan)
    return images, jnp.where(labelled_section(valid), batch["labels"], IGNORE), valid


def _held(params: Any, frozen: Collection[str]) -> Any:
    """Parameters of which those of the frozen parts have no gradient."""
    if not frozen:
        return params
    return jax.tree.map(lambda x, part: jax.lax.stop_gradient(x) if part in frozen else x, params, parts(params))


def _indices(batch: Batch, step: jax.Array) -> jax.Array:
    """Places of a batch's samples in the stream, at the step that counts from 0."""
    size = len(batch["labels"])
    return (step * size + jnp.arange(size)).astype(jnp.uint32)


def _in_parts(function: Callable[..., Any], rest: Any, batch: Any, parts: int) -> Any:
    """The last rest and the sum of what `function(rest, i, part)` gives for each of the batch's parts, in turn."""
    if parts == 1:
        return function(rest, 0, batch)
    # Every part takes rows of every device, so that nothing moves between devices.
    split = jax.tree.map(lambda x: x.reshape(len(x) // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)
    shapes = jax.eval_shape(function, rest, 0, jax.tree.map(lambda x: x[0], split))[1]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(carry: Any, item: Any) -> Any:
        rest, sums = function(carry[0], *item)
        return (rest, jax.tree.map(jnp.add, carry[1], sums)), None

    return jax.lax.scan(add, (rest, zeros), (jnp.arange(parts), split))[0]
