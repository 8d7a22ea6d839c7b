"""What a training batch takes on its way from storage to the device, stage by stage, beside the step that uses it."""

import contextlib
import functools
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from seisjax import experiment
from seisjax.commands.benchmark.inputs import check_alone
from seisjax.commands.benchmark.machine import record
from seisjax.commands.benchmark.turns import TURNS, Timing, alternate, disturbed_note, seconds_each
from seisjax.config import Experiment, flatten, to_dict
from seisjax.conventions import AMPLITUDE, LABELS_PREFIX
from seisjax.data import MixedSource, WindowSource
from seisjax.experiment import Segmenter, Survey
from seisjax.geometry import Box
from seisjax.reporting import Progress
from seisjax.synthesis import SyntheticVolume
from seisjax.training.loop import Actions, Schedule, Validation, run_steps
from seisjax.training.step import Batch
from seisjax.volumes import Volume, bytes_read
from seisjax.volumes.resampling import as_recorded

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
    the operating system's cache is read from there. Of a mixture, fetching, decoding and reading are measured once more
    for the windows of each survey alone. Raises UserError where the config cannot be used.
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
        "made": stages.made(),
        "batch_bytes": stages.batch_bytes,
        "seconds": {name: timings[name].as_json() for name in MEANING if name in timings},
        "surveys": [_of_survey(stages, number, timings) for number in stages.surveys],
        "fetched_a_batch": stages.fetched.get(None, 0.0),
        "used_a_batch": stages.used.get(None, 0.0),
        "waiting_share": float(np.median(stages.waiting)),
        "note": disturbed_note(timings),
    }
    report["parts"] = _parts(timings)
    return report | dict(zip(("bottleneck", "change"), _verdict(config, report), strict=True))


def _of_survey(stages: "_Stages", number: int, timings: Mapping[str, Timing]) -> dict[str, Any]:
    """What is reported of a survey of a mixture."""
    alone = {name: _name(name, number) for name in (FETCH, DECODE, READ)}
    return {
        "volume": (stages.config.data.volume, *stages.config.data.mixture_volumes)[number],
        "share": stages.surveys[number],
        "made": stages.made(number),
        "seconds": {name: timings[own].as_json() for name, own in alone.items() if own in timings},
        "fetched_a_batch": stages.fetched[number],
        "used_a_batch": stages.used[number],
    }


def _name(stage: str, only: int | None) -> str:
    """What a stage is called that looks at one survey of a mixture only."""
    return stage if only is None else f"{stage} of survey {only}"


class _Stages:
    """The stages of a stream, each a function that measures itself and returns seconds a batch."""

    def __init__(self, config: Experiment, seconds: float) -> None:
        self.config, self._least = config, seconds
        self.survey = experiment.open_survey(config)
        self._mesh = experiment.make_mesh(config, self.survey, config.data.batch_size)
        self._fit = experiment.fit(config, self.survey)
        self._segmenter = experiment.make_segmenter(config, self.survey, self._mesh, self._fit)
        self._source = self._source_of(self.survey)
        weights = experiment.mixture_weights(config) if self.survey.others else ()
        # Of a mixture, the share of each survey that windows are drawn from.
        self.surveys = {number: weight / sum(weights) for number, weight in enumerate(weights) if weight}
        self._next: Counter[str] = Counter()  # the number of each stage's next batch
        # Bytes a batch, of all surveys (None) and of each one of a mixture.
        self.fetched: dict[int | None, float] = {}
        self.used: dict[int | None, float] = {}
        self.waiting: list[float] = []
        self._made_on_device = config.data.synthesis == "device"
        # The first batches of a run fill what is read ahead; those that follow come at the pace of the stream.
        self._ahead = 0 if self._made_on_device else config.data.prefetch + 2
        with contextlib.closing(self._stream(self._source, 0)) as stream:
            self._batch: Batch = jax.block_until_ready(next(stream))
        self.batch_bytes = sum(x.nbytes for x in self._batch.values())

    def candidates(self) -> dict[str, Callable[[], float]]:
        """The stages that this stream has."""
        host: dict[str, Callable[[], float]] = {DRAW: self._draws}
        if not self._made_on_device:
            for only in (None, *self.surveys):
                if not self.made(only):
                    host[_name(FETCH, only)] = self._fetches(only)
                host |= {_name(DECODE, only): self._decodes(only), _name(READ, only): self._reads(only)}
            host[TRANSFER] = self._transfers()
        return host | {STREAM: self._streams(), STEP: self._steps, TRAINING: self._trains()}

    def made(self, only: int | None = None) -> bool:
        """Whether a survey, or all that windows are drawn from, is made as it is read: nothing of it is fetched."""
        volumes = [self.survey.volume, *(member.volume for member in self.survey.others)]
        numbers = self.surveys or [0]
        return all(_is_made(volumes[number]) for number in ([only] if only is not None else numbers))

    def _own_source(self) -> WindowSource | MixedSource:
        """A source with a cache of its own."""
        return self._source_of(experiment.open_survey(self.config))

    def _source_of(self, survey: Survey) -> WindowSource | MixedSource:
        return experiment.fitted_source(self.config, experiment.training_source(self.config, survey), self._fit)

    def _stream(self, source: WindowSource | MixedSource, start: int) -> Any:
        return experiment.training_stream(self.config, self.survey, source, self._mesh, start)

    def _indices(self, stage: str) -> range:
        """The samples of the stage's next batch."""
        size, number = self.config.data.batch_size, self._next[stage]
        self._next[stage] += 1
        return range(number * size, (number + 1) * size)

    def _windows(
        self, source: WindowSource | MixedSource, stage: str, only: int | None = None
    ) -> list[tuple[WindowSource, Box]]:
        """The windows of the stage's next batch, as they are drawn first, and what reads them."""
        found = []
        for one, numbers in _of_each(source, self._indices(_name(stage, only)), only):
            one.sampler.read_ahead(numbers)
            draws = [one.sampler.draw(number) for number in numbers]
            found += [(one, draw.inner) for draw in draws if draw is not None and draw.inner.size]
        return found

    def _draws(self) -> float:
        return seconds_each(lambda: self._windows(self._source, DRAW), self._least / 4)

    def _fetches(self, only: int | None) -> Callable[[], float]:
        """Storage alone, at the rate of fetching the chunks of windows, for the bytes that reading fetches."""
        source = self._own_source()

        def run() -> float:
            fetched, count, started = 0, 0, time.perf_counter()
            while not count or time.perf_counter() - started < self._least:
                arrays = _arrays(self._windows(source, FETCH, only))
                pending = [volume.start_fetch(name, box) for volume, name, box in arrays if not _is_made(volume)]
                fetched += sum(wait() for wait in pending)
                count += 1
            seconds = time.perf_counter() - started
            needed = self._needed(only)
            return seconds / fetched * needed if fetched else seconds / count

        return run

    def _needed(self, only: int | None) -> float:
        """Bytes that reading fetches for a batch."""
        if only not in self.fetched:
            self._read_some(self._own_source(), only)
        return self.fetched[only]

    def _decodes(self, only: int | None) -> Callable[[], float]:
        """Windows as TensorStore reads them, in their stored type, as many batches under way as in the stream."""
        source = self._own_source()

        def run() -> float:
            under_way: deque[list[Callable[[], Any]]] = deque()

            def one() -> None:
                while len(under_way) < self.config.data.prefetch:
                    arrays = _arrays(self._windows(source, DECODE, only))
                    under_way.append([volume.start_read(name, box) for volume, name, box in arrays])
                for wait in under_way.popleft():
                    wait()

            one()
            seconds = seconds_each(one, self._least, least_times=2)
            while under_way:  # nothing is left running beside the next stage
                for wait in under_way.popleft():
                    wait()
            return seconds

        return run

    def _reads(self, only: int | None) -> Callable[[], float]:
        source = self._own_source()
        return lambda: self._read_some(source, only)

    def _read_some(self, source: WindowSource | MixedSource, only: int | None) -> float:
        """Batches as the source makes them, one after the other, in this thread; counts bytes too."""
        stage, read = _name(READ, only), _reader(source, only)
        read(self._indices(stage))
        before, used, first = bytes_read(), source.bytes_used, self._next[stage]
        seconds = seconds_each(lambda: read(self._indices(stage)), self._least, least_times=2)
        count = self._next[stage] - first
        self.fetched[only] = (bytes_read() - before) / count
        self.used[only] = (source.bytes_used - used) / count
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


def _is_made(volume: Volume) -> bool:
    return isinstance(as_recorded(volume), SyntheticVolume)


def _of_each(
    source: WindowSource | MixedSource, indices: Sequence[int], only: int | None
) -> list[tuple[WindowSource, Sequence[int]]]:
    """What reads each survey that comes up among samples, or `only` one, and their numbers there."""
    if isinstance(source, WindowSource):
        return [(source, indices)]
    found = source.by_survey(indices)
    numbers = {who: [number for _, number in rows] for who, rows in found.items() if only in (None, who)}
    return [(source.sources[who], own) for who, own in numbers.items()]


def _arrays(windows: Sequence[tuple[WindowSource, Box]]) -> list[tuple[Volume, str, Box]]:
    """The arrays that windows are read from: amplitudes and labels."""
    names = [(one, (AMPLITUDE, f"{LABELS_PREFIX}{one.labels}"), box) for one, box in windows]
    return [(one.volume, one.volume.nearest_copy(name, box), box) for one, pair, box in names for name in pair]


def _reader(source: WindowSource | MixedSource, only: int | None) -> Callable[[Sequence[int]], Any]:
    """What reads a batch as the stream does, or the windows that one survey of a mixture has in it."""
    if isinstance(source, WindowSource):
        return functools.partial(source.read, as_stored=True)
    if only is None:
        return source.read
    return lambda indices: [one.read(numbers) for one, numbers in _of_each(source, indices, only)]


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
    # Of a mixture all surveys are read at once: the one that takes longest holds up the others.
    stage = FETCH if slowest == "reading" else DECODE
    found = max(report["surveys"], key=lambda one: one["seconds"].get(stage, {"median": 0.0})["median"], default=report)
    whose = f" of {found['volume']}" if report["surveys"] and slowest in ("reading", "decoding") else ""
    if found["made"]:
        device = "" if report["surveys"] else "data.synthesis=device, or "
        advice = {"decoding": f"{device}panels stored by launch/synthesize.py"}
        name = f"making panels{whose}" if slowest == "decoding" else slowest
        return name, advice.get(slowest, _ADVICE[slowest])
    # What is fetched is compressed, what is used is not: so more than one means that chunks are wasted.
    wasted = report["fetched_a_batch"] / max(report["used_a_batch"], 1.0)
    if slowest in ("reading", "decoding") and wasted > 1 and config.data.sampling != "blocks":
        return slowest + whose, f"data.sampling=blocks: {wasted:.1f} bytes are fetched for each that is used"
    return slowest + whose, _ADVICE[slowest]


_ADVICE = {
    "reading": "a compact store (launch/ingest.py --dtype), one on a nearer disk, or a larger data.prefetch",
    "decoding": "a store that decodes faster (launch/ingest.py --dtype, --compression=lz4 or none), or more processors",
    "host work": "data.num_threads and data.prefetch, both larger, or a store that devices decode (launch/ingest.py)",
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
    lines += [_line_of_survey(one) for one in report["surveys"]]
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


def _line_of_survey(one: dict[str, Any]) -> str:
    """A survey of a mixture: what its windows of a batch take alone."""
    stages = ", ".join(f"{name} {1e3 * found['median']:,.3f} ms" for name, found in one["seconds"].items())
    return f"{100 * one['share']:.3g} % of them{'':<6} {stages}: {one['volume']}"
