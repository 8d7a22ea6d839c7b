"""Prediction over volumes of any size, with a bounded amount of memory.

The volume is covered by one lattice of equal, overlapping windows anchored at its origin. The lattice does not depend
on what is asked for, and a window's probabilities depend on its samples alone, so a part of the volume gets the values
that it has in the whole. Output is worked on in blocks of whole shards: all windows that touch a block are predicted,
and their weighted sums divided by the sums of weights, in lattice order, so the block's size changes no bit either.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from seisjax.geometry import Box, Lattice, Shape, blend_weights
from seisjax.inference.blend import BlockSums
from seisjax.inference.products import ProductsVolume
from seisjax.volumes import Volume

# Images (B, *padded_window, 1) float32 in the volume's units, NaN = no data, to probabilities (B, *window, classes) or
# longer along the window's axes.
Forward = Callable[[np.ndarray], Any]
Progress = Callable[[int, int], None]


def predict_volume(
    volume: Volume,
    forward: Forward,
    output: str,
    *,
    box: Box,
    window: Shape,
    padded_window: Shape,
    stride: Shape,
    batch_size: int,
    num_classes: int,
    class_names: Sequence[str] = (),
    class_colors: Sequence[str] = (),
    block_bytes: int,
    blend: str = "linear",
    probability_dtype: str = "float16",
    tta_axes: Sequence[int] = (),
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Volume:
    """Predict a box of a volume into a finished volume of its own.

    Arrays: `pred_class` (uint8), `pred_probability` (class, *axes) and `pred_entropy` (nats), with the coordinates and
    the trace mask of the box. Where there are no data (dead traces, samples that are not finite) the class is IGNORE
    and the others are NaN; windows without any data are not predicted. Windows at the box's faces read beyond it.

    Args:
      volume, box: what is predicted, and the part of it that is wanted.
      forward: the network, called with batches of one size; it may return before the device is done. What stands in
        one row of a batch must not change another row's result.
      output: URL of the new volume; it is replaced if it exists and `overwrite` is set.
      window, stride: of the lattice, in samples; `geometry.lattice_stride` gives a stride.
      padded_window: sides of the images; what is beyond the window is NaN.
      batch_size, block_bytes: windows in a batch; memory for the sums and products of a block.
      num_classes, class_names, class_colors: classes that `forward` returns, and what is stored about them.
      blend, probability_dtype: as `geometry.blend_weights` knows it; "float16" or "float32".
      tta_axes: axes along which windows are also predicted mirrored, in all combinations, and averaged.
      attributes: where the prediction comes from; stored with the volume.
      progress: called as progress(windows done, all windows).
    Raises UserError for an unknown `blend`, and for an output that exists when `overwrite` is not given.
    """
    lattice = Lattice(volume.shape, tuple(window), tuple(stride))
    weights = blend_weights(window, blend)
    products = ProductsVolume(
        volume,
        box,
        output,
        num_classes=num_classes,
        classes={"class_names": class_names, "class_colors": class_colors},
        dtype=probability_dtype,
        block_bytes=block_bytes,
        attributes=attributes or {},
        overwrite=overwrite,
    )
    with products:
        windows = filter(_has_data, _read_ahead(volume, products.blocks, lattice, 2 * batch_size))
        predicted = _predict(windows, forward, padded_window, batch_size, _flips(tta_axes))
        total = sum(1 for block in products.blocks for _ in lattice.touching(block))
        _write_blocks(predicted, products, weights, progress or (lambda done, total: None), total)
        return products.finish()


def _write_blocks(
    predicted: Iterable[tuple["_Read", np.ndarray]],
    products: ProductsVolume,
    weights: np.ndarray,
    progress: Progress,
    total: int,
) -> None:
    """Sum the windows of each block, and write its products while the next one is summed."""
    written: list[Future[None]] = []
    with ThreadPoolExecutor(1) as writer:
        for block, group in itertools.groupby(predicted, key=lambda item: item[0].block):
            sums = BlockSums(block, products.num_classes)
            for read, probabilities in group:
                sums.add(read.window, read.image, probabilities, weights)
                progress(read.number + 1, total)
            _wait(written)  # the products of one block at a time are in memory
            written = [writer.submit(products.write, product) for product in products.make(sums)]
    _wait(written)
    progress(total, total)


def _flips(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """All combinations of axes, the empty one first."""
    return [flip for n in range(len(axes) + 1) for flip in itertools.combinations(sorted(axes), n)]


@dataclass(frozen=True)
class _Read:
    """A window that has been read for a block: its running number, place and samples (*window, NaN = no data)."""

    number: int
    block: Box
    window: Box
    image: np.ndarray


def _read_ahead(volume: Volume, blocks: Iterable[Box], lattice: Lattice, ahead: int) -> Iterator[_Read]:
    """All windows that touch each block, in lattice order, with reads of `ahead` more under way."""
    under_way: deque[Callable[[], _Read]] = deque()

    def start(number: int, block: Box, window: Box) -> Callable[[], _Read]:
        pending = volume.start_amplitude(window)
        return lambda: _Read(number, block, window, pending())

    jobs = ((block, window) for block in blocks for window in lattice.touching(block))
    for number, (block, window) in enumerate(jobs):
        under_way.append(start(number, block, window))
        if len(under_way) > ahead:
            yield under_way.popleft()()
    while under_way:
        yield under_way.popleft()()


def _has_data(read: _Read) -> bool:
    return bool(np.isfinite(read.image).any())


def _predict(
    windows: Iterable[_Read], forward: Forward, padded_window: Shape, batch_size: int, flips: Sequence[tuple[int, ...]]
) -> Iterator[tuple[_Read, np.ndarray]]:
    """The windows with their probabilities (*window, classes).

    While the caller works on one batch, the device has the next.
    """
    windows = iter(windows)
    previous: tuple[list[_Read], list[Any]] | None = None
    while batch := list(itertools.islice(windows, batch_size)):
        results = [forward(_stack(batch, padded_window, batch_size, flip)) for flip in flips]
        if previous is not None:
            yield from _unstack(*previous, flips)
        previous = batch, results
    if previous is not None:
        yield from _unstack(*previous, flips)


def _stack(batch: Sequence[_Read], padded_window: Shape, batch_size: int, flip: tuple[int, ...]) -> np.ndarray:
    """Images (batch_size, *padded_window, 1) of windows mirrored along the axes `flip`; the rest is NaN."""
    images = np.full((batch_size, *padded_window, 1), np.nan, np.float32)
    for row, read in enumerate(batch):
        images[(row, *(slice(side) for side in read.image.shape), 0)] = np.flip(read.image, flip)
    return images


def _unstack(
    batch: Sequence[_Read], results: Sequence[Any], flips: Sequence[tuple[int, ...]]
) -> Iterator[tuple[_Read, np.ndarray]]:
    """Each window with the mean over `flips` of its probabilities, mirrored back."""
    fetched = [np.asarray(result) for result in results]
    for row, read in enumerate(batch):
        inside = (row, *(slice(side) for side in read.image.shape))
        mirrored = [np.flip(result[inside], flip) for result, flip in zip(fetched, flips, strict=True)]
        yield read, mirrored[0] if len(flips) == 1 else np.stack(mirrored).mean(axis=0, dtype=np.float64)


def _wait(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()
