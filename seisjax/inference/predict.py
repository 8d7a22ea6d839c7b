"""Prediction over volumes of any size, by any number of workers, with a bounded amount of memory.

The volume is covered by one lattice of equal, overlapping windows anchored at its origin. The lattice does not depend
on what is asked for, and a window's probabilities depend on its samples alone, so a part of the volume gets the values
that it has in the whole. Output is worked on in blocks of whole shards: the worker that owns a block predicts all
windows that touch it, and adds them up in the lattice's order. So blocks may be done in any order, by any worker, twice
or after a crash, and neither their size nor any of that changes a bit.
"""

import functools
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seisjax.conventions import AMPLITUDE
from seisjax.errors import UserError
from seisjax.geometry import Box, for_each, format_region
from seisjax.inference.blend import Members, RunningSums
from seisjax.inference.blocks import Block, Layout, choose_layout
from seisjax.inference.device import DeviceQueue
from seisjax.inference.ledger import summary_of
from seisjax.inference.products import ARRAYS, PROBABILITY_DTYPES, ProductsVolume, bytes_per_sample
from seisjax.inference.reading import SlabReader, UnreadableError
from seisjax.inference.site import Site
from seisjax.inference.views import Cutting, View, hull
from seisjax.inference.work import Run, Work, extent_of
from seisjax.volumes import Volume, open_volume
from seisjax.volumes.creating import check_apart
from seisjax.volumes.store import bytes_read

_PLANES = 8  # of which products are made at a time, at most

# Images (B, *Cutting.image_shape) float32 in the volume's units, NaN = no data, to probabilities (B, *window, classes)
# or longer along the window's axes.
Forward = Callable[[np.ndarray], Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Task:
    """What is to be predicted: everything here decides on the result.

    volume, box: the survey, and the part of it that is wanted. cutting: see `views.Cutting`. batch_size: windows in a
    batch. num_classes, class_names, class_colors: classes that the networks return, and what is stored about them.
    products: some of products.ARRAYS. probability_dtype: "float32", "float16" or "uint8", in steps of 1/254.
    tta_axes: axes along which windows are also predicted mirrored, in all combinations, and averaged.
    block_bytes: memory for the blocks that are worked on at a time. key: what else decides on the result, by the names
    that messages call it: weights, statistics, input, code.
    """

    volume: Volume
    box: Box
    cutting: Cutting
    batch_size: int
    num_classes: int
    block_bytes: int
    class_names: Sequence[str] = ()
    class_colors: Sequence[str] = ()
    products: Sequence[str] = ("class", "probability", "entropy")
    probability_dtype: str = "float16"
    tta_axes: tuple[int, ...] = ()
    key: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UserError for products that do not exist."""
        for product in self.products:
            if product not in ARRAYS:
                raise UserError(f"--products: no '{product}'; choose from {', '.join(ARRAYS)}")
        if self.probability_dtype not in PROBABILITY_DTYPES:
            raise UserError(
                f"predict.probability_dtype='{self.probability_dtype}': choose from {', '.join(PROBABILITY_DTYPES)}"
            )
        if not self.products:
            raise UserError(f"--products: none; choose from {', '.join(ARRAYS)}")

    def views(self) -> list[View]:
        """The lattices of windows."""
        return self.cutting.views(self.volume.axes)

    @property
    def rows(self) -> int:
        """Numbers that are added up for each sample: the classes' probabilities, and a variance where it is asked."""
        return self.num_classes + ("spread" in self.products)

    def layout(self) -> Layout:
        """Shards and blocks of the output."""
        array, views = self.volume.arrays[AMPLITUDE], self.views()
        thick = min(array.chunk[0], self.box.shape[0])
        depth = max(view.lattice.window[0] for view in views) / thick
        room = bytes_per_sample(self.rows, self.products, self.num_classes, self.probability_dtype, depth)
        return choose_layout(self.box, array.chunk, array.shard, views, int(self.block_bytes / room))

    def wanted(self) -> dict[str, Any]:
        """All that decides on the result, for the ledger."""
        cutting, layout = self.cutting, self.layout()
        return {
            "--region": format_region(self.box, self.volume.axes),
            "--blend": cutting.blend,
            "--directions": list(cutting.directions),
            "--products": list(self.products),
            "--tta": list(self.tta_axes),
            "predict.overlap": cutting.overlap,
            "predict.batch_size": self.batch_size,
            "predict.probability_dtype": self.probability_dtype,
            "window": [list(cutting.window), list(cutting.padded), list(for_each(cutting.multiple, cutting.window))],
            "data.neighbours": cutting.neighbours,
            "blocks": [list(layout.shard), list(layout.block)],
            **self.key,
        }


@dataclass(frozen=True)
class Outcome:
    """What a worker did.

    volume: the finished prediction; None while blocks are left. last: whether what follows a prediction is this
    worker's to do: it finished the volume, or found it finished. blocks, left: all of them, and those that are not done
    yet by anybody. done: those that this worker did. seconds: it took; device_share: for how much of it the device had
    work. fetched: bytes read from storage.
    """

    volume: Volume | None
    last: bool
    blocks: int
    left: int
    done: int
    seconds: float
    device_share: float
    fetched: int


def predict_volume(
    task: Task,
    forwards: Sequence[Forward],
    output: str,
    *,
    attributes: Mapping[str, Any] | None = None,
    command: str = "",
    overwrite: bool = False,
    verify: bool = False,
    max_blocks: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Predict a box of a volume into a finished volume of its own, as one of the workers that were given this task.

    Arrays: `pred_class` (uint8), `pred_probability` (class, *axes), `pred_entropy` (nats) and `pred_spread` (root of
    the members' variance, summed over the classes), with the coordinates and the trace mask of the box. Where there are
    no data (dead traces, samples that are not finite) the class is IGNORE and the others are NaN; windows without any
    data are not predicted. Windows at the box's faces read beyond it. Called again after a crash, it goes on with the
    blocks that are missing; where all are done it returns at once.

    Args:
      forwards: the networks, whose probabilities are averaged; called with batches of one size, each may return before
        the device is done. What stands in one row of a batch must not change another row's result.
      output: URL of the new volume.
      attributes: where the prediction comes from; stored with the volume. command: stored with every block.
      overwrite: replace a finished volume at `output`, or an unfinished one of another task.
      verify: first look for shards that are missing or not as they were written, and do their blocks again.
      max_blocks: stop after so many blocks; 0: all.
      progress: called as progress(windows done, all windows). say: called with lines about what is out of the ordinary.
    Raises UserError where something else stands at `output`, and, after all others are done, for blocks whose samples
    cannot be read.
    """
    task.check()
    check_apart(output, [task.volume.url])
    started, fetched = time.perf_counter(), bytes_read()
    wanted, layout = task.wanted(), task.layout()
    blocks, queue = layout.blocks(), DeviceQueue()
    site = Site(output, wanted, overwrite)
    try:
        origin = {**(attributes or {}), "task": summary_of(wanted)}
        products = _open_products(task, site, layout, origin)
        if verify:
            _repair(products, blocks, say)
        work = Work(products, layout.runs(), max_blocks)
        with queue:
            windows = _windows(task, work, progress or (lambda done, total: None))
            done = _write_blocks(_predict(windows, forwards, task, queue), products, task, command)
        _report_failed(work, products, say)
        left = len(blocks) - len(products.ledger.done())
        last = not left and (site.finished or site.finish(products.finish))
    except BaseException:
        _leave(site)
        raise
    site.release()
    volume = None if left else open_volume(site.url)
    seconds = time.perf_counter() - started
    return Outcome(volume, last, len(blocks), left, done, seconds, queue.share, bytes_read() - fetched)


def _open_products(task: Task, site: Site, layout: Layout, attributes: Mapping[str, Any]) -> ProductsVolume:
    return ProductsVolume(
        task.volume,
        task.box,
        site,
        layout,
        products=task.products,
        num_classes=task.num_classes,
        classes={"class_names": task.class_names, "class_colors": task.class_colors},
        dtype=task.probability_dtype,
        attributes=attributes,
    )


def _leave(site: Site) -> None:
    """After an error: what is done stays for another start, and where nothing is, nothing stays."""
    if site.finished or site.ledger.done():
        site.release()
    else:
        site.discard()


def _repair(products: ProductsVolume, blocks: Sequence[Block], say: Callable[[str], None]) -> None:
    """Write damaged coordinates again, and have damaged blocks predicted again."""
    for name in products.mend():
        say(f"damaged: {name}; written again")
    for block in products.damaged(blocks):
        say(f"damaged: {products.region(block)}; predicted again")
        products.ledger.forget(block.number)


def _report_failed(work: Work, products: ProductsVolume, say: Callable[[str], None]) -> None:
    """Raise UserError where blocks could not be predicted, after a line for each."""
    failed = {block: why for block, why in work.failed.items() if not products.ledger.has(block.number)}
    for block, why in failed.items():
        say(f"failed: {products.region(block)}: {why}")
    if failed:
        raise UserError(
            f"{len(failed)} blocks could not be predicted, {products.region(next(iter(failed)))} for one: "
            f"{next(iter(failed.values()))}; what is done is kept: mend that and give the same command again"
        )


@dataclass(frozen=True)
class _Read:
    """A window that was read for a run: its lattice and place, and its samples with what the network sees around it
    (NaN = no data)."""

    run: Run
    view: View
    window: Box
    samples: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """The samples of the window alone."""
        return self.view.labelled(self.samples)


def _windows(task: Task, work: Work, progress: Progress) -> Iterator[_Read | Run]:
    """The windows with data of one run after another, each run after its last window."""
    views, done = task.views(), 0
    total = sum(view.lattice.count(extent_of(run)) for run in work.left for view in views)
    for run in work.runs():
        try:
            for read in _windows_of(run, task.volume, views, work):
                done += 1
                progress(min(done, total), total)
                if np.isfinite(read.image).any():
                    yield read
        except UnreadableError as error:
            work.fail(run, str(error))
        yield run
    progress(total, total)


def _windows_of(run: Run, volume: Volume, views: Sequence[View], work: Work) -> Iterator[_Read]:
    """The windows that touch blocks of a run: in the order of their first samples, then lattice by lattice, so that
    the order in which a block is given its windows is the same whatever the run."""
    row, extent = None, run.extent
    reader = SlabReader(volume, hull(views, extent), behind=max(view.context[0] for view in views))
    for row_start, number, window in heapq.merge(*(_numbered(i, view, extent) for i, view in enumerate(views))):
        if row_start != row:
            row = row_start
            work.refresh(run)
        if run.touched(window):
            yield _Read(run, views[number], window, reader.read(views[number].reads(window)))


def _numbered(number: int, view: View, extent: Box) -> Iterator[tuple[int, int, Box]]:
    return ((window.start[0], number, window) for window in view.lattice.touching(extent))


def _predict(
    windows: Iterable[_Read | Run], forwards: Sequence[Forward], task: Task, queue: DeviceQueue
) -> Iterator[tuple[_Read | Run, np.ndarray | None]]:
    """The windows with what is added up of them (*window, rows), and the runs where they end."""
    members = list(itertools.product(forwards, _flips(task.tta_axes)))
    joined: list[Members] = []
    for (batch, number), result in queue.results(_calls(windows, members, task)):
        reads = [item for item in batch if isinstance(item, _Read)]
        joined = joined if number else [Members() for _ in reads]
        for row, (read, mean) in enumerate(zip(reads, joined, strict=True)):
            assert result is not None
            inside = (row, *(slice(side) for side in task.cutting.cut))
            mean.add(np.flip(read.view.from_network(result[inside]), members[number][1]))
        if number == len(members) - 1:
            values = iter(joined)
            for item in batch:
                yield item, next(values).values("spread" in task.products) if isinstance(item, _Read) else None


def _calls(
    windows: Iterable[_Read | Run], members: Sequence[tuple[Forward, tuple[int, ...]]], task: Task
) -> Iterator[tuple[tuple[list[_Read | Run], int], Callable[[], Any] | None]]:
    """Batches with the number of a member and the call that has it predict them."""
    for batch in _batches(windows, task.batch_size):
        reads = [item for item in batch if isinstance(item, _Read)]
        for number, (forward, flip) in enumerate(members):
            call = functools.partial(_call, forward, reads, flip, task) if reads else None
            yield (batch, number), call


def _call(forward: Forward, reads: Sequence[_Read], flip: tuple[int, ...], task: Task) -> Any:
    images = np.full((task.batch_size, *task.cutting.image_shape), np.nan, np.float32)
    for image, read in zip(images, reads, strict=False):
        inside = tuple(slice(side) for side in task.cutting.cut)
        image[inside] = read.view.to_network(np.flip(read.samples, flip))
    return forward(images)


def _batches(windows: Iterable[_Read | Run], size: int) -> Iterator[list[_Read | Run]]:
    """As many windows as a batch takes, with the runs that end between them."""
    batch: list[_Read | Run] = []
    for item in windows:
        batch.append(item)
        if sum(isinstance(item, _Read) for item in batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _write_blocks(
    predicted: Iterable[tuple[_Read | Run, np.ndarray | None]], products: ProductsVolume, task: Task, command: str
) -> int:
    """Sum the windows of each run, and write its blocks while the next ones are summed; returns how many."""
    views, done = task.views(), 0
    depth = max(view.lattice.window[0] for view in views)
    writing: deque[Future[bool]] = deque()
    with ThreadPoolExecutor(1) as writer:
        for item, values in predicted:
            run = item.run if isinstance(item, _Read) else item
            run.sums = run.sums or RunningSums(run.extent, depth, task.rows, len(views))
            row = item.window.start[0] if isinstance(item, _Read) else run.extent.stop[0]
            if isinstance(item, _Read) or not run.failed:
                for block, made in _complete(run, run.sums, row, products):
                    done += sum(future.result() for future in writing)  # one block at a time is in memory
                    writing = deque([writer.submit(products.write, block, made, command)])
            if isinstance(item, _Read) and values is not None:
                run.sums.add(item.view, item.window, item.image, values)
            elif isinstance(item, Run):
                run.sums = None
        done += sum(future.result() for future in writing)
    return done


def _complete(
    run: Run, sums: RunningSums, row: int, products: ProductsVolume
) -> Iterator[tuple[Block, dict[str, np.ndarray]]]:
    """Make the products of the planes before `row`, which no window reaches any more; the blocks that this completes
    with their products."""
    if row <= sums.first:
        return
    at_a_time = min(_PLANES, sums.depth)
    for block in run.blocks:
        place = block.place
        for first in range(max(place.start[0], sums.first), min(place.stop[0], row), at_a_time):
            sums.pass_to(first)
            if block.number not in run.made:
                run.made[block.number] = products.empty(block)
            past = min(first + at_a_time, place.stop[0], row)
            part = Box.between((first, *place.start[1:]), (past, *place.stop[1:]))
            sums.means(part, functools.partial(products.fill, run.made[block.number], block))
        if place.stop[0] <= row and block.number not in run.ended:
            run.ended.add(block.number)
            yield block, run.made.pop(block.number)
    sums.pass_to(row)


def _flips(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """All combinations of axes, the empty one first."""
    return [flip for n in range(len(axes) + 1) for flip in itertools.combinations(sorted(axes), n)]
