"""A network that saw synthetic panels alone, on real records: does it pick as the analysts' programs did?

    python benchmarks/field_check.py --data=FOLDER --work=runs/field --output=scores.json --figure=picks.png

FOLDER holds `iceland/` (18 volcano-tectonic events on 12 stations, with the automatic picks of QuakeMigrate: *.m,
*.picks, *.event, stations.txt) and `unterhaching/` (4 stations around two small events). For each network of stations:
ingest, train on synthetic panels with its geometry (configs/local_network.py), predict, detect, compare. Each step is
one of the commands of `launch/`; what is there already is kept. On two CPU cores it takes about half an hour.
"""

import csv
import datetime
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from launching import launch
from matplotlib.figure import Figure

from seisjax.command_line import run
from seisjax.detection import sta_lta
from seisjax.detection.picks import P, Picks, S
from seisjax.detection.scan import Picking, Predictions, pick_waves
from seisjax.errors import UserError, nearest
from seisjax.files import write_json
from seisjax.geometry import Box
from seisjax.volumes import Volume, open_volume

DATA = flags.DEFINE_string("data", None, "folder with iceland/ and unterhaching/", required=True)
WORK = flags.DEFINE_string("work", "runs/field", "folder for volumes, runs and predictions")
STEPS = flags.DEFINE_integer("steps", 1200, "training steps for each network of stations")
THRESHOLD = flags.DEFINE_float("threshold", 0.5, "probability of a pick")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the scores")
RECORDS = flags.DEFINE_string("records", "", "PNG file for a figure of the Iceland records")
FIGURE = flags.DEFINE_string("figure", "", "PNG file for a figure of our picks less the automatic ones, Iceland")
EVENTS = flags.DEFINE_string("events", "", "PNG file for a figure of what triggers at Unterhaching, with probabilities")
NETWORKS = flags.DEFINE_list("networks", ["iceland", "unterhaching"], "which are checked")

ROOT = Path(__file__).resolve().parent.parent
HIGHPASS = "2,"  # Hz: what lies below is the sea's
WITHIN = (0.2, 0.5)  # s between two picks that agree
FARTHEST = 2.0  # s: what lies farther off is another arrival
PHASES = {"P": P, "S": S}
STA_LTA = sta_lta.StaLta(sta=0.3, lta=5.0, on=4.0, off=1.5)  # the usual kind of setting for local earthquakes
# As obspy's documentation looks for these events: on three of the four stations, from 10 to 20 Hz.
COINCIDENCE = sta_lta.StaLta(sta=0.5, lta=10.0, on=3.5, off=1.0, min_receivers=3, band=(10.0, 20.0))
# Where Unterhaching's two events stand in its records, from the peaks of all four stations; the data have no picks.
UNTERHACHING = ("2010-05-27T16:24:33", "2010-05-27T16:27:30")


@dataclass(frozen=True)
class Reference:
    """An automatic pick of the data's providers."""

    event: str
    station: str
    phase: str
    time: float  # s after the record's first sample


@dataclass(frozen=True)
class Records:
    """A network's records and what was made of them."""

    volume: Volume
    probability: np.ndarray  # (class, receiver, sample) of P and S
    picks: Picks
    interval: float
    stations: list[str]  # of each receiver

    @property
    def seconds(self) -> float:
        return self.volume.shape[-1] * self.interval


def main(argv: Sequence[str]) -> None:
    """Both networks of stations, one after the other."""
    del argv
    data, work = Path(DATA.value), Path(WORK.value)
    for folder in NETWORKS.value:
        if folder not in CHECKS:
            raise UserError(f"--networks={folder}: unknown{nearest(folder, CHECKS)}")
        if not (data / folder).is_dir():
            raise UserError(f"--data={data}: has no folder {folder}; see the top of this script for what it must hold")
    work.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "what": "picks of a network that was trained on synthetic panels alone, on real records",
        "machine": f"{platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "steps": STEPS.value,
        "threshold": THRESHOLD.value,
    }
    result |= {name: CHECKS[name](work, data / name) for name in NETWORKS.value}
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), result)


def check_iceland(work: Path, folder: Path) -> dict[str, Any]:
    """Scores, and figures where they are asked for."""
    iceland_stations(folder / "stations.txt", work / "iceland_stations.csv")
    records = make(work, "iceland", folder / "*.m", 100, work / "iceland_stations.csv")
    result = compare_iceland(records, work, folder)
    if RECORDS.value:
        draw_records(records, references(records, folder), Path(RECORDS.value))
    if FIGURE.value:
        draw_differences(result["agreement"], Path(FIGURE.value))
    return result


def check_unterhaching(work: Path, folder: Path) -> dict[str, Any]:
    """Scores, and a figure where it is asked for."""
    records = make(work, "unterhaching", folder / "*.cut.slist.gz", 50, None)
    result = compare_unterhaching(records, work)
    if EVENTS.value:
        draw_events(records, result["sta_lta_s"], Path(EVENTS.value))
    return result


CHECKS = {"iceland": check_iceland, "unterhaching": check_unterhaching}


def make(work: Path, name: str, files: Path, rate: float, stations: Path | None) -> Records:
    """Ingest, train, predict and detect, where that is not done yet."""
    volume, receivers = work / f"{name}.zarr", work / f"{name}_receivers.csv"
    run, predicted, events = work / name, work / f"{name}_predicted.zarr", work / f"{name}_events.csv"
    panels = f"{receivers},{rate:g}"
    if not volume.exists():
        given = {"stations": stations} if stations else {}
        launch("ingest", input=files, output=volume, resample=rate, bandpass=HIGHPASS, **given)
    write_receivers(open_volume(volume), receivers)
    steps = f"--config.train.num_steps={STEPS.value}"
    launch("train", f"--config={ROOT}/configs/local_network.py:{panels}", steps, workdir=run)
    if not predicted.exists():
        launch("predict", workdir=run, input=volume, output=predicted)
    medium = {"medium": f"{ROOT}/configs/panels/local_network.py:{panels}"} if stations else {"window": 4.0}
    launch("detect", "--overwrite", predictions=predicted, output=events, threshold=THRESHOLD.value,
           tolerance=0.4, min_receivers=0.2, **medium)  # fmt: skip
    return read(open_volume(volume), open_volume(predicted))


def iceland_stations(source: Path, target: Path) -> None:
    """The providers' list of stations as `ingest --stations` reads it: their elevations are km."""
    with source.open(newline="") as file, target.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("name", "latitude", "longitude", "elevation"))
        for row in csv.DictReader(file):
            writer.writerow((row["Name"], row["Latitude"], row["Longitude"], 1e3 * float(row["Elevation"])))


def write_receivers(volume: Volume, path: Path) -> None:
    """The receivers of a volume as the generator reads them; without places they stand 4 km apart on a square."""
    number = volume.shape[0]
    names, components = volume.attributes["receiver_names"], volume.attributes["receiver_components"]
    if "receiver_x" in volume.arrays:
        places = np.stack([volume.read(f"receiver_{c}", Box((0,), (number,))) for c in "xyz"], axis=-1)
    else:
        stations = list(dict.fromkeys(map(station, names)))
        rank = np.array([stations.index(station(name)) for name in names])
        places = np.stack([rank % 2 * 4000.0, rank // 2 * 4000.0, np.full(number, -600.0)], axis=-1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "x", "y", "z", "component"))
        writer.writerows(zip(names, *places.round(1).T.tolist(), components, strict=True))


def station(name: str) -> str:
    """Station of network.station.location.channel."""
    return name.split(".")[1]


def read(volume: Volume, predicted: Volume) -> Records:
    """The records with their probabilities and picks."""
    predictions = Predictions(predicted)
    probability = predictions.read(0, predictions.num_samples)
    picks = pick_waves(probability, predictions.waves, predictions.interval, Picking(threshold=THRESHOLD.value))
    stations = [station(name) for name in volume.attributes["receiver_names"]]
    return Records(volume, probability, picks, predictions.interval, stations)


def references(records: Records, folder: Path) -> list[Reference]:
    """The automatic picks of all events, on the clock of the records."""
    found = []
    for path in sorted(folder.glob("*.picks")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["PickTime"] != "-1":
                    time = clock(records.volume, row["PickTime"])
                    found.append(Reference(path.stem, row["Station"], row["Phase"], time))
    return found


def clock(volume: Volume, moment: str) -> float:
    """Seconds after a volume's first sample."""
    then, start = (datetime.datetime.fromisoformat(t) for t in (moment, volume.attributes["start_time"]))
    then, start = (t if t.tzinfo else t.replace(tzinfo=datetime.UTC) for t in (then, start))
    return (then - start).total_seconds()


def compare_iceland(records: Records, work: Path, folder: Path) -> dict[str, Any]:
    """Agreement with the automatic picks, false alarms before first arrivals, and the catalogue."""
    wanted = references(records, folder)
    by_hand = sta_lta_picks(records)
    agreement = {
        "network": agree(records.picks, records.stations, wanted, {"P": (P,), "S": (S,)}),
        "STA/LTA, first trigger": agree(by_hand, records.stations, wanted, {"P": (P,)}),
    }
    quiet = quiet_times(wanted, records.seconds)
    alarms = {
        "network": false_alarms(records.picks, quiet, len(records.stations)),
        "STA/LTA, first trigger": false_alarms(by_hand, quiet, int(verticals(records).sum())),
    }
    print(f"\nIceland: {len(wanted)} automatic picks of {len({w.event for w in wanted})} events")
    for name, scores in agreement.items():
        for phase, score in scores.items():
            print(f"  {name:24s} {phase}: {score['text']}")
    for name, alarm in alarms.items():
        print(f"  {name:24s} {alarm['picks']} picks in {alarm['seconds']:.0f} s before first arrivals: "
              f"{alarm['per_receiver_minute']:.2f} a receiver and minute")  # fmt: skip
    catalogue = compare_catalogue(records, work / "iceland_events.csv", folder)
    print(f"  catalogue: {catalogue['text']}")
    return {"agreement": agreement, "before_first_arrivals": alarms, "catalogue": catalogue}


def agree(
    picks: Picks, stations: Sequence[str], wanted: Sequence[Reference], phases: dict[str, tuple[int, ...]]
) -> dict[str, Any]:
    """For each phase how many of the wanted picks have one of ours, on any channel of the station, how near."""
    of = np.array(stations)[picks.receiver] if picks.number else np.zeros(0, str)
    result = {}
    for phase, kinds in phases.items():
        errors = []
        for one in (w for w in wanted if w.phase == phase):
            times = picks.time[(of == one.station) & np.isin(picks.phase, kinds)] - one.time
            errors.append(float(times[np.abs(times).argmin()]) if len(times) else np.inf)
        near = np.array(errors)
        shares = {f"within_{limit}_s": float((np.abs(near) <= limit).mean()) for limit in WITHIN}
        close = near[np.abs(near) <= WITHIN[-1]]
        bias = float(np.median(close)) if len(close) else None
        differences = near[np.abs(near) <= FARTHEST].round(3).tolist()
        text = ", ".join(f"{100 * share:.0f} % {name.replace('_', ' ')}" for name, share in shares.items())
        result[phase] = {
            "wanted": len(near),
            **shares,
            "median_s": bias,
            "differences_s": differences,
            "text": f"{len(near)} picks, {text}",
        }
    return result


def sta_lta_picks(records: Records) -> Picks:
    """STA/LTA triggers on the vertical channels, as P picks."""
    traces = records.volume.read_amplitude(Box.whole(records.volume.shape))
    ratio = sta_lta.ratios(traces, records.interval, STA_LTA.sta, STA_LTA.lta)
    picks = sta_lta.triggers(ratio, records.interval, STA_LTA.on, STA_LTA.off)
    picks = picks.where(verticals(records)[picks.receiver])
    return picks._replace(phase=np.full(picks.number, P, np.int8))


def verticals(records: Records) -> np.ndarray:
    """Which receivers measure the vertical component."""
    return np.array([component == "z" for component in records.volume.attributes["receiver_components"]])


def quiet_times(wanted: Sequence[Reference], seconds: float) -> list[tuple[float, float]]:
    """Stretches before first arrivals in which no event is known: each ends 0.5 s before one, and begins 5 s after the
    last pick of the event before."""
    events: dict[str, list[float]] = {}
    for one in wanted:
        events.setdefault(one.event, []).append(one.time)
    spans = sorted((min(times), max(times)) for times in events.values())
    stretches, begin = [], 0.0
    for first, last in spans:
        if first - 0.5 > begin:
            stretches.append((begin, min(first - 0.5, seconds)))
        begin = max(begin, last + 5.0)
    return stretches


def false_alarms(picks: Picks, quiet: Sequence[tuple[float, float]], receivers: int) -> dict[str, Any]:
    """Picks in quiet stretches, on so many receivers."""
    count = sum(int(((picks.time >= a) & (picks.time < b)).sum()) for a, b in quiet)
    length = sum(b - a for a, b in quiet)
    rate = count / (receivers * length / 60)
    return {"picks": count, "receivers": receivers, "seconds": length, "per_receiver_minute": rate}


def compare_catalogue(records: Records, path: Path, folder: Path) -> dict[str, Any]:
    """Events that were found, beside the providers': theirs whose origin time has one of ours within 1 s."""
    with path.open(newline="") as file:
        ours = [row for row in csv.DictReader(file) if row["origin_time"]]
    origins = np.array([float(row["origin_time"]) for row in ours])
    found, errors = 0, []
    events = sorted(folder.glob("*.event"))
    for event in events:
        with event.open(newline="") as file:
            row = next(csv.DictReader(file))
        differences = origins - clock(records.volume, row["DT"])
        if len(origins) and np.abs(differences).min() <= 1.0:
            found += 1
            errors.append(float(np.abs(differences).min()))
    median = float(np.median(errors)) if errors else None
    text = f"{found} of {len(events)} events have one of our {len(ours)} within 1 s of their origin time"
    return {"events": len(events), "found": found, "ours": len(ours), "median_origin_error_s": median, "text": text}


def compare_unterhaching(records: Records, work: Path) -> dict[str, Any]:
    """The catalogue beside the two known events, and picks outside of them."""
    with (work / "unterhaching_events.csv").open(newline="") as file:
        times = [float(row["time"]) for row in csv.DictReader(file)]
    known = [clock(records.volume, moment) for moment in UNTERHACHING]
    found = nearest_to(known, times)
    triggers = coincidence(records)
    beside = nearest_to(triggers, times)
    agreement = {f"within_{limit}_s": sum(d is not None and abs(d) <= limit for d in beside) for limit in WITHIN}
    picks = records.picks
    far = np.all([np.abs(picks.time - k - 5) > 10 for k in known], axis=0)
    minutes = (records.seconds - 20 * len(known)) / 60
    rate = int(far.sum()) / (len(records.stations) * minutes)
    first = {
        moment: {
            f"{name} {phase}": float(near.min() - k)
            for i, name in enumerate(records.volume.attributes["receiver_names"])
            for phase, kind in PHASES.items()
            if len(near := picks.time[(picks.receiver == i) & (picks.phase == kind) & (np.abs(picks.time - k) < 5)])
        }
        for moment, k in zip(UNTERHACHING, known, strict=True)
    }
    print(f"\nUnterhaching: our events at {', '.join(f'{t:.2f}' for t in times)} s; known near "
          f"{', '.join(f'{k:.2f}' for k in known)} s; {rate:.2f} picks a receiver and minute elsewhere")  # fmt: skip
    print(
        f"  STA/LTA with coincidence triggers at {', '.join(f'{t:.2f}' for t in triggers)} s; events of ours "
        + ", ".join(f"{name.replace('_', ' ')}: {count} of {len(triggers)}" for name, count in agreement.items())
    )
    for moment, picked in first.items():
        print(f"  {moment}: " + ", ".join(f"{name} {t:+.2f}" for name, t in picked.items()))
    return {
        "ours_s": times,
        "known_s": known,
        "nearest_s": found,
        "sta_lta_s": triggers,
        "nearest_to_sta_lta_s": beside,
        "agreement_with_sta_lta": agreement,
        "picks_per_receiver_minute_elsewhere": rate,
        "first_picks_s": first,
    }


def nearest_to(wanted: Sequence[float], times: Sequence[float]) -> list[float | None]:
    """For each wanted time the distance (s) of the nearest of `times`: positive where that is late."""
    return [min((t - one for t in times), key=abs, default=None) for one in wanted]


def coincidence(records: Records) -> list[float]:
    """When STA/LTA triggers on three vertical channels together."""
    traces = records.volume.read_amplitude(Box.whole(records.volume.shape))[verticals(records)]
    return [found.first_arrival for found in sta_lta.detect(traces, records.interval, COINCIDENCE)]


def draw_differences(agreement: dict[str, Any], path: Path) -> None:
    """Histograms of the distance from each automatic pick to our nearest of its phase and station."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    bins = np.arange(-FARTHEST, FARTHEST + 0.05, 0.1) - 0.05
    for ax, phase in zip(figure.subplots(1, len(PHASES)), PHASES, strict=True):
        for (name, scores), colour in zip(agreement.items(), ("#1B6CA8", "#C8553D"), strict=True):
            if phase in scores:
                label = f"{name} ({len(scores[phase]['differences_s'])} of {scores[phase]['wanted']})"
                ax.hist(scores[phase]["differences_s"], bins, histtype="step", lw=1.5, color=colour, label=label)
        for limit in WITHIN:
            ax.axvspan(-limit, limit, color="0.5", alpha=0.12, lw=0)
        ax.set_title(f"{phase} picks")
        ax.set_xlabel("ours less the automatic pick (s)")
        ax.set_xlim(-FARTHEST, FARTHEST)
        ax.set_ylim(top=1.4 * ax.get_ylim()[1])  # room for the legend
        ax.set_ylabel("picks")
        ax.legend(loc="upper left", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_records(
    records: Records, wanted: Sequence[Reference], path: Path, begin: float = 0.0, length: float = 60.0
) -> None:
    """A minute of the vertical and one horizontal record of each station, probabilities, and the automatic picks."""
    stop = min(round((begin + length) / records.interval), records.volume.shape[-1])
    samples = slice(round(begin / records.interval), stop)
    time = np.arange(samples.start, samples.stop) * records.interval
    traces = records.volume.read_amplitude(Box.whole(records.volume.shape))[:, samples]
    names = list(dict.fromkeys(records.stations))
    components = records.volume.attributes["receiver_components"]
    figure = Figure(figsize=(14, 10), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, component, phase in zip(axes, "zn", "PS", strict=True):
        for row, name in enumerate(names):
            i = next(j for j, s in enumerate(records.stations) if s == name and components[j] == component)
            scale = np.nanpercentile(np.abs(traces[i]), 99.5)
            ax.plot(time, row + 0.4 * np.clip(traces[i] / scale, -1, 1), lw=0.4, color="0.3")
            for number, colour in enumerate(("#1B6CA8", "#C8553D")):
                ax.fill_between(time, row, row + 0.5 * records.probability[number, i, samples], color=colour, alpha=0.5)
            for one in (w for w in wanted if w.station == name and w.phase == phase):
                if begin <= one.time < begin + length:
                    ax.plot([one.time] * 2, [row - 0.45, row + 0.45], color="k", lw=1.2)
        ax.set_title(f"component {component}; bars: automatic {phase} picks; P blue, S red: our probabilities")
        ax.set_xlabel("time (s)")
        ax.set_xlim(begin, begin + length)
    axes[0].set_yticks(range(len(names)), names)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def draw_events(
    records: Records, triggers: Sequence[float], path: Path, before: float = 2.0, after: float = 6.0
) -> None:
    """All records around each trigger of STA/LTA with coincidence, with the probabilities of P and S."""
    traces = records.volume.read_amplitude(Box.whole(records.volume.shape))
    time = np.arange(traces.shape[1]) * records.interval
    names = records.volume.attributes["receiver_names"]
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(1, len(triggers), sharey=True, squeeze=False)[0]
    for ax, trigger in zip(axes, triggers, strict=True):
        inside = (time >= trigger - before) & (time < trigger + after)
        for row, trace in enumerate(traces[:, inside]):
            scale = np.nanmax(np.abs(trace)) or 1.0
            ax.plot(time[inside], row + 0.4 * trace / scale, lw=0.5, color="0.3")
            for probability, colour in zip(records.probability[:, row, inside], ("#1B6CA8", "#C8553D"), strict=True):
                ax.fill_between(time[inside], row, row + 0.5 * probability, color=colour, alpha=0.5, lw=0)
        ax.axvline(trigger, color="k", lw=0.8, ls="--")
        ax.set_xlim(trigger - before, trigger + after)
        ax.set_xlabel("time (s)")
        ax.set_title(f"STA/LTA triggers at {trigger:.2f} s")
    axes[0].set_yticks(range(len(names)), names)
    figure.suptitle("P blue, S red: our probabilities")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    run(main)
