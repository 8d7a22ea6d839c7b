"""What a training batch takes on its way from storage to the device, stage by stage, beside the step that uses it."""

import contextlib
import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from seisjax import experiment
from seisjax.commands.benchmark.inputs import check_alone
from seisjax.commands.benchmark.machine import record
from seisjax.commands.benchmark.turns import TURNS, Timing, alternate, disturbed_note, seconds_each
from seisjax.config import Experiment, flatten, to_dict
from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.data import WindowSource
from seisjax.errors import UserError
from seisjax.experiment import Segmenter, Survey
from seisjax.geometry import Box
from seisjax.reporting import Progress
from seisjax.synthesis import SyntheticVolume
from seisjax.training.loop import Actions, Schedule, Validation, run_steps
from seisjax.training.step import Batch
from seisjax.volumes import bytes_read

DRAW, FETCH, DECODE, READ = "draw", "fetch", "fetch + decode", "read"
TRANSFER, STREAM, STEP, TRAINING = "transfer", "stream", "step", "training"

MEANING = {
    DRAW: "numbers of the windows",
    FETCH: "stored chunks, undecoded",
    DECODE: "the same windows by TensorStore alone",
    READ: "and masks, batching",
    TRANSFER: "a batch from host to device",
    STREAM: "all of it, as in training",
    STEP: "the train step alone",
    TRAINING: "steps that take their batches from the stream",
}
_IDLE = 0.02  # share of a step's time that it may wait for data


def measure(config: Experiment, *, turns: int = TURNS, seconds: float = 2.0) -> dict[str, Any]:
    """Seconds a batch of each stage of the experiment's stream, alone and in turn, as a dict for JSON.

    Each measurement takes at least `seconds`. Stages have caches of their own, and each goes on in the stream where it
    stopped the turn before, so that what is read was not read before, or only as often as in training. What lies in
    the operating system's cache is read from there. Raises UserError where the config cannot be used.
    """
    check_alone(config, "loader")
    stages = _Stages(config, seconds)
    candidates = stages.candidates()
    with Progress(turns * len(candidates), "measure", "stage") as progress:
        timings = alternate(candidates, turns, progress=progress.update)
    report = record(("tensorstore", "grain")) | {
        "config": flatten(to_dict(config)),
        "window": list(stages.survey.window),
        "batch_size": config.data.batch_size,
        "made": isinstance(stages.survey.volume, SyntheticVolume),
        "batch_bytes": stages.batch_bytes,
        "seconds": {name: timing.as_json() for name, timing in timings.items()},
        "fetched_a_batch": stages.fetched_a_batch,
        "used_a_batch": stages.used_a_batch,
        "waiting_share": float(np.median(stages.waiting)),
        "note": disturbed_note(timings),
    }
    report["parts"] = _parts(timings)
    return report | dict(zip(("bottleneck", "change"), _verdict(config, report), strict=True))


def _window_source(config: Experiment, survey: Survey) -> WindowSource:
    source = experiment.training_source(config, survey)
    if not isinstance(source, WindowSource):
        raise UserError("data.mixture_volumes: the stages of one survey are measured; leave the others out")
    return source


class _Stages:
    """The stages of a stream, each a function that measures itself and returns seconds a batch."""

    def __init__(self, config: Experiment, seconds: float) -> None:
        self.config, self._least = config, seconds
        self.survey = experiment.open_survey(config)
        self._mesh = experiment.make_mesh(config, self.survey, config.data.batch_size)
        self._segmenter = experiment.make_segmenter(
            config, self.survey, self._mesh, experiment.fit(config, self.survey)
        )
        self._source = _window_source(config, self.survey)
        self._next = dict.fromkeys(MEANING, 0)  # the number of each stage's next batch
        self.fetched_a_batch = self.used_a_batch = 0.0
        self.waiting: list[float] = []
        self._made_on_device = config.data.synthesis == "device"
        # The first batches of a run fill what is read ahead; those that follow come at the pace of the stream.
        self._ahead = 0 if self._made_on_device else config.data.prefetch + 2
        with contextlib.closing(self._stream(self._source, 0)) as stream:
            self._batch: Batch = jax.block_until_ready(next(stream))
        self.batch_bytes = sum(x.nbytes for x in self._batch.values())

    def candidates(self) -> dict[str, Callable[[], float]]:
        """The stages that this stream has."""
        made = isinstance(self.survey.volume, SyntheticVolume)
        host = {DRAW: self._draws, FETCH: self._fetches(), DECODE: self._decodes(), READ: self._reads()}
        if self._made_on_device:
            host = {DRAW: self._draws}
        elif made:
            host.pop(FETCH)
        transfer = {} if self._made_on_device else {TRANSFER: self._transfers()}
        return host | transfer | {STREAM: self._streams(), STEP: self._steps, TRAINING: self._trains()}

    def _own_source(self) -> WindowSource:
        """A source with a cache of its own."""
        return _window_source(self.config, experiment.open_survey(self.config))

    def _stream(self, source: WindowSource, start: int) -> Any:
        return experiment.training_stream(self.config, self.survey, source, self._mesh, start)

    def _indices(self, stage: str) -> range:
        """The samples of the stage's next batch."""
        size, number = self.config.data.batch_size, self._next[stage]
        self._next[stage] += 1
        return range(number * size, (number + 1) * size)

    def _boxes(self, source: WindowSource, stage: str) -> list[Box]:
        """The windows of the stage's next batch, as they are drawn first."""
        indices = self._indices(stage)
        source.sampler.read_ahead(indices)
        draws = [source.sampler.draw(index) for index in indices]
        return [draw.inner for draw in draws if draw is not None and draw.inner.size]

    def _draws(self) -> float:
        return seconds_each(lambda: self._boxes(self._source, DRAW), self._least / 4)

    def _fetches(self) -> Callable[[], float]:
        """Storage alone, at the rate of fetching the chunks of windows, for the bytes that reading fetches."""
        source, names = self._own_source(), self._arrays()

        def run() -> float:
            fetched, count, started = 0, 0, time.perf_counter()
            while not count or time.perf_counter() - started < self._least:
                boxes = self._boxes(source, FETCH)
                pending = [
                    source.volume.start_fetch(*self._place(source, name, box)) for box in boxes for name in names
                ]
                fetched += sum(wait() for wait in pending)
                count += 1
            seconds = time.perf_counter() - started
            needed = self._needed()
            return seconds / fetched * needed if fetched else seconds / count

        return run

    def _needed(self) -> float:
        """Bytes that reading fetches for a batch."""
        if not self._next[READ]:
            self._read_some(self._own_source())
        return self.fetched_a_batch

    def _decodes(self) -> Callable[[], float]:
        """Windows as TensorStore reads them, in their stored type, as many batches under way as in the stream."""
        source, names = self._own_source(), self._arrays()

        def run() -> float:
            under_way: deque[list[Callable[[], Any]]] = deque()

            def one() -> None:
                while len(under_way) < self.config.data.prefetch:
                    boxes = self._boxes(source, DECODE)
                    under_way.append(
                        [source.volume.start_read(*self._place(source, name, box)) for box in boxes for name in names]
                    )
                for wait in under_way.popleft():
                    wait()

            one()
            seconds = seconds_each(one, self._least, least_times=2)
            while under_way:  # nothing is left running beside the next stage
                for wait in under_way.popleft():
                    wait()
            return seconds

        return run

    def _arrays(self) -> list[str]:
        return [AMPLITUDE, LABELS_PREFIX + self.config.data.labels]

    def _place(self, source: WindowSource, name: str, box: Box) -> tuple[str, Box]:
        return source.volume.nearest_copy(name, box), box

    def _reads(self) -> Callable[[], float]:
        source = self._own_source()
        return lambda: self._read_some(source)

    def _read_some(self, source: WindowSource) -> float:
        """Batches as the source makes them, one after the other, in this thread; counts bytes too."""
        read = functools.partial(source.read, as_stored=True)  # as the stream does
        read(self._indices(READ))
        before, used, first = bytes_read(), source.bytes_used, self._next[READ]
        seconds = seconds_each(lambda: read(self._indices(READ)), self._least, least_times=2)
        count = self._next[READ] - first
        self.fetched_a_batch = (bytes_read() - before) / count
        self.used_a_batch = (source.bytes_used - used) / count
        return seconds

    def _transfers(self) -> Callable[[], float]:
        host = {name: np.asarray(x) for name, x in self._batch.items()}
        places = {name: x.sharding for name, x in self._batch.items()}
        return lambda: seconds_each(lambda: jax.block_until_ready(jax.device_put(host, places)), self._least / 4)

    def _streams(self) -> Callable[[], float]:
        source = self._own_source()

        def run() -> float:
            with contextlib.closing(self._stream(source, self._next[STREAM])) as stream:
                batches = self._counted(stream, STREAM)
                for _ in range(1 + self._ahead):
                    jax.block_until_ready(next(batches))
                return seconds_each(lambda: jax.block_until_ready(next(batches)), self._least, least_times=3)

        return run

    def _counted(self, stream: Iterator[Any], stage: str) -> Iterator[Any]:
        for batch in stream:
            self._next[stage] += 1
            yield batch

    def _steps(self) -> float:
        state, _ = self._segmenter.train_step(self._segmenter.init(), self._batch)

        def one() -> None:
            nonlocal state
            state, _ = self._segmenter.train_step(state, self._batch)
            jax.block_until_ready(state)

        jax.block_until_ready(state)
        return seconds_each(one, self._least, least_times=2)

    def _trains(self) -> Callable[[], float]:
        """The training loop itself: seconds a step, and the share of them in which the device waits for a batch."""
        source = self._own_source()

        def run() -> float:
            with contextlib.closing(self._stream(source, self._next[TRAINING])) as stream:
                batches = self._counted(stream, TRAINING)
                pace = _train(self._segmenter, batches, self.config.data.batch_size, 1 + self._ahead, self._least)
            self.waiting.append(pace[1])
            return self.config.data.batch_size / pace[0]

        return run


def _train(
    segmenter: Segmenter, batches: Iterator[Any], batch_size: int, ahead: int, least: float
) -> tuple[float, float]:
    """Samples a second and waiting share of the loop over `least` seconds, after `ahead` steps that do not count."""
    paces: list[tuple[float, float]] = []
    zeros = jax.tree.map(lambda x: x.copy(), segmenter.init()["totals"])

    def log(step: int, totals: Any, samples_per_second: float, waiting_share: float) -> None:
        paces.append((samples_per_second, waiting_share))

    def clear(state: Any) -> Any:
        return state | {"totals": jax.tree.map(lambda x: x.copy(), zeros)}

    actions = Actions(
        log=log,
        evaluate=lambda step, state: Validation(None),
        save=lambda step, state, validation: None,
        clear=clear,
        advance=lambda step, samples_per_second, waiting_share: None,
        stop_requested=lambda: "",
        alive=lambda what: None,
    )
    started = time.perf_counter()
    state, _ = run_steps(segmenter.init(), batches, segmenter.train_step, Schedule(ahead, 0, 0, 0), actions, batch_size)
    each = (time.perf_counter() - started) / ahead
    more = max(int(np.ceil(least / each)), 3)
    plan = Schedule(ahead + more, 0, 0, 0)
    run_steps(state, itertools.islice(batches, more), segmenter.train_step, plan, actions, batch_size)
    return paces[-1]


def _parts(timings: Mapping[str, Timing]) -> dict[str, float]:
    """Seconds a batch that each part adds: differences of the stages that hold one another."""
    seconds = {name: timing.median for name, timing in timings.items()}
    read, decode = seconds.get(READ), seconds.get(DECODE)
    parts = {"reading": seconds.get(FETCH), "transfer": seconds.get(TRANSFER)}
    if decode is not None:
        parts["decoding"] = max(decode - seconds.get(FETCH, 0.0), 0.0)
    if read is not None and decode is not None:
        parts["host work"] = max(read - decode, 0.0)
    parts["step"] = seconds[STEP]
    order = ("reading", "decoding", "host work", "transfer", "step")
    return {name: found for name in order if (found := parts.get(name)) is not None}


def _verdict(config: Experiment, report: dict[str, Any]) -> tuple[str, str]:
    """What holds up training, and the setting that would change it."""
    medians = {name: found["median"] for name, found in report["seconds"].items()}
    if report["waiting_share"] < _IDLE:
        times = medians[STEP] / medians[STREAM]
        return f"the step: the stream gives {times:.1f} batches in its time", "see --what=step"
    if DECODE not in medians:
        return "making panels on the device", "data.synthesis=host, or panels stored by launch/synthesize.py"
    slowest = max((name for name in report["parts"] if name != "step"), key=report["parts"].__getitem__)
    if report["made"]:
        advice = {"decoding": "data.synthesis=device, or panels stored by launch/synthesize.py"}
        name = "making panels" if slowest == "decoding" else slowest
        return name, advice.get(slowest, _ADVICE[slowest])
    # What is fetched is compressed, what is used is not: so more than one means that chunks are wasted.
    wasted = report["fetched_a_batch"] / max(report["used_a_batch"], 1.0)
    if slowest in ("reading", "decoding") and wasted > 1 and config.data.sampling != "blocks":
        return slowest, f"data.sampling=blocks: {wasted:.1f} bytes are fetched for each that is used"
    return slowest, _ADVICE[slowest]


_ADVICE = {
    "reading": "a compact store (launch/ingest.py --dtype), one on a nearer disk, or a larger data.prefetch",
    "decoding": "a store that decodes faster (launch/ingest.py --dtype, --compression=lz4 or none), or more processors",
    "host work": "data.num_threads and data.prefetch, both larger: batches are then put together side by side",
    "transfer": "data.window or data.batch_size, smaller, or more devices: the link to the device is full",
}


def table(report: dict[str, Any]) -> str:
    """The report of `measure` for people."""
    sides, size = " x ".join(map(str, report["window"])), report["batch_size"]
    lines = [
        f"batches of {size} windows of {sides}, data.sampling={report['config']['data.sampling']}, "
        f"{report['batch_bytes'] / 1e6:,.2f} MB on the device; {report['device']} (jax {report['versions']['jax']})",
        f"{'stage':<16}{'ms a batch':>12}{'windows/s':>12}{'MB/s':>10}  what is done",
    ]
    moved = {FETCH: report["fetched_a_batch"]} | dict.fromkeys((DECODE, READ), report["used_a_batch"])
    moved |= dict.fromkeys((TRANSFER, STREAM), report["batch_bytes"])
    for name, found in report["seconds"].items():
        seconds = found["median"]
        rates = ["-", "-"]  # where all is in the cache, fetching takes no time
        if seconds:
            rates = [f"{size / seconds:,.1f}", f"{moved[name] / seconds / 1e6:,.1f}" if name in moved else "-"]
        lines.append(f"{name:<16}{1e3 * seconds:>12,.3f}{rates[0]:>12}{rates[1]:>10}  {MEANING[name]}")
    lines.append("of a batch      " + ", ".join(f"{name} {1e3 * s:,.3f} ms" for name, s in report["parts"].items()))
    if report["used_a_batch"]:
        wasted = report["fetched_a_batch"] / report["used_a_batch"]
        lines.append(
            f"storage         {report['fetched_a_batch'] / 1e6:,.2f} MB fetched a batch, compressed, for "
            f"{report['used_a_batch'] / 1e6:,.2f} MB of samples that are used (x {wasted:.2f})"
        )
    lines += [
        f"waiting         {report['waiting_share']:.1%} of the time, the step waits for a batch",
        f"bottleneck      {report['bottleneck']}",
        f"change          {report['change']}",
    ]
    return "\n".join(lines + ([f"note            {report['note']}"] if report["note"] else []))
