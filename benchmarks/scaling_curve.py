"""From the report of `launch/benchmark.py --what=scaling` to the scaling that some hardware lets one expect.

    python benchmarks/scaling_curve.py --input=scaling.json --flops_per_second=2e14 --bytes_per_second=2.3e12 \
        --link_bytes_per_second=4e11 --latency=1e-5 --extend=64 --figure=scaling.png

The model is in docs/scaling.md; the defaults are assumptions about an H100 in a host of eight, no measurements. Several
reports may be given: `--input=one.json,two.json`. Prints one table; where the reports hold measured times, they stand
beside the expected ones.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import app, flags
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from seisjax.files import read_json, write_json
from seisjax.reporting import figures

INPUT = flags.DEFINE_list("input", None, "reports of launch/benchmark.py", required=True)
FLOPS = flags.DEFINE_float("flops_per_second", 2e14, "that a device reaches, not its peak")
BYTES = flags.DEFINE_float("bytes_per_second", 2.3e12, "between a device and its memory, reached")
LINK = flags.DEFINE_float("link_bytes_per_second", 4e11, "from a device to its neighbour in one direction")
LATENCY = flags.DEFINE_float("latency", 1e-5, "s of a message, however short")
PER_HOST = flags.DEFINE_integer("devices_per_host", 8, "devices that the fast links join")
HOST_LINK = flags.DEFINE_float("host_link_bytes_per_second", 4e10, "from one host to the next, for each device")
EXTEND = flags.DEFINE_integer("extend", 0, "weak scaling up to so many devices, from the report's largest number")
FIGURE = flags.DEFINE_string("figure", "", "PNG file for the curves")
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the table's numbers")

SPLITS = {
    "weak": "weak: a batch for each device",
    "strong": "strong: one batch for all",
    "space": "space: each window on all",
}


@dataclass(frozen=True)
class Hardware:
    """What a device, and the links between devices, reach: per second; latency in s a message."""

    flops: float
    bytes: float
    link: float
    latency: float
    devices_per_host: int
    host_link: float

    def link_between(self, devices: int) -> float:
        """Bandwidth of the slowest link of a ring of so many devices."""
        return self.link if devices <= self.devices_per_host else min(self.link, self.host_link)


@dataclass(frozen=True)
class Times:
    """Seconds of one step: computing, bytes that are reduced, bytes that are exchanged, messages' latencies."""

    compute: float
    reduce: float
    exchange: float
    latency: float

    @property
    def apart(self) -> float:
        """The step where devices either compute or talk."""
        return self.compute + self.reduce + self.exchange + self.latency

    @property
    def overlapped(self) -> float:
        """The step where reduced bytes travel while the devices compute; what is exchanged must be there first."""
        return max(self.compute, self.reduce) + self.exchange + self.latency


def expected(row: dict[str, Any], hardware: Hardware) -> Times:
    """The model: times of a step whose cost is a row of the report."""
    n = row["devices"]
    share, hops = (n - 1) / n, math.ceil(math.log2(n))
    # Bytes that pass a device's link for each byte of its results, and messages that wait for one another.
    ways = {
        "all-reduce": (2 * share, 2 * hops),
        "reduce-scatter": (n - 1, hops),
        "all-gather": (share, hops),
        "all-to-all": (share, n - 1),
        "collective-permute": (1, 1),
    }
    reduced = exchanged = messages = 0.0
    for kind, sent in row["collectives"].items():
        factor, waits = ways.get(kind, (1, n - 1))
        messages += sent["count"] * waits
        if kind in ("all-reduce", "reduce-scatter"):
            reduced += sent["bytes"] * factor
        else:
            exchanged += sent["bytes"] * factor
    link = hardware.link_between(n)
    compute = max(row["flops"] / hardware.flops, row["bytes_accessed"] / hardware.bytes)
    return Times(compute, reduced / link, exchanged / link, messages * hardware.latency)


def extended(rows: Sequence[dict[str, Any]], devices: int) -> list[dict[str, Any]]:
    """The rows, and weak scaling doubled up to so many devices: each computes and reduces what it did before."""
    rows = list(rows)
    weak = [row for row in rows if row["split"] == "weak"]
    last: dict[str, Any] = max(weak, key=lambda row: row["devices"], default={"devices": 1})
    while 1 < last["devices"] <= devices // 2:
        grown = {name: 2 * last[name] for name in ("devices", "data", "batch_size")}
        last = last | grown | {"seconds": None}
        rows.append(last)
    return rows


def curve(rows: Iterable[dict[str, Any]], hardware: Hardware) -> list[dict[str, Any]]:
    """One line for each split and number of devices: seconds, and how many times one device's pace all have.

    A pace is windows a second. Splits without a row of one device are left out.
    """
    rows = sorted(rows, key=lambda row: (list(SPLITS).index(row["split"]), row["devices"]))
    alone = {row["split"]: row for row in rows if row["devices"] == 1}
    lines = []
    for row in (row for row in rows if row["split"] in alone):
        first = alone[row["split"]]
        times, times_alone = expected(row, hardware), expected(first, hardware)
        work = row["batch_size"] / first["batch_size"]
        lines.append(
            {
                **{name: row[name] for name in ("split", "devices", "batch_size")},
                **vars(times),
                "seconds": times.apart,
                "seconds_overlapped": times.overlapped,
                "gain": work * times_alone.apart / times.apart,
                "gain_overlapped": work * times_alone.overlapped / times.overlapped,
                "measured_seconds": row["seconds"],
                "measured_gain": work * first["seconds"] / row["seconds"] if row["seconds"] else None,
            }
        )
    return lines


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The lines for people; milliseconds."""
    titles = ("compute", "reduce", "exchange", "latency", "step", "gain", "efficiency", "overlapped", "measured")
    text = [f"{'split':<7}{'devices':>8}{'windows':>8}" + "".join(f"{title:>11}" for title in titles)]
    for line in lines:
        parts = [f"{1e3 * line[name]:,.3f}" for name in ("compute", "reduce", "exchange", "latency", "seconds")]
        parts += [f"{line['gain']:.2f}", f"{100 * line['gain'] / line['devices']:.1f} %"]
        parts += [f"{1e3 * line['seconds_overlapped']:,.3f}"]
        parts += ["-" if line["measured_seconds"] is None else f"{1e3 * line['measured_seconds']:,.3f}"]
        start = f"{line['split']:<7}{line['devices']:>8}{line['batch_size']:>8}"
        text.append(start + "".join(f"{part:>11}" for part in parts))
    return "\n".join(text)


def draw(path: Path, lines: Sequence[dict[str, Any]], title: str) -> None:
    """Step time and efficiency against the number of devices; dashed: reductions overlapped; crosses: measured."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    times, shares = figure.subplots(1, 2)
    for split, color in zip(SPLITS, ("C0", "C1", "C2"), strict=True):
        ours = [line for line in lines if line["split"] == split]
        seen = [line for line in ours if line["measured_seconds"]]
        for some, seconds, gain, look in (
            (ours, "seconds", "gain", {"marker": "o", "ms": 4}),
            (ours, "seconds_overlapped", "gain_overlapped", {"ls": "--"}),
            (seen, "measured_seconds", "measured_gain", {"marker": "x", "ls": ""}),
        ):
            devices = [line["devices"] for line in some]
            times.plot(devices, [1e3 * line[seconds] for line in some], color=color, **look)
            shares.plot(devices, [100 * line[gain] / line["devices"] for line in some], color=color, **look)
        if ours:
            times.plot([], [], color=color, marker="o", ms=4, label=SPLITS[split])
    times.plot([], [], color="0.4", ls="--", label="the reduction overlaps computing")
    if any(line["measured_seconds"] for line in lines):
        times.plot([], [], "x", color="0.4", label="measured")
    ticks = sorted({line["devices"] for line in lines})
    for axes, name in ((times, "ms a step, expected"), (shares, "efficiency, %: gain in windows a second / devices")):
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, map(str, ticks))
        axes.set_xlabel("devices")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    times.set_yscale("log")
    times.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    times.yaxis.set_major_formatter("{x:g}")
    times.yaxis.set_minor_locator(NullLocator())
    shares.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=10)
    figures.save(figure, path)


def main(_: list[str]) -> None:
    rows = [row for name in INPUT.value for row in read_json(Path(name))["rows"]]
    hardware = Hardware(FLOPS.value, BYTES.value, LINK.value, LATENCY.value, PER_HOST.value, HOST_LINK.value)
    lines = curve(extended(rows, EXTEND.value), hardware)
    assumed = (
        f"assumed: {hardware.flops / 1e12:,.4g} TFLOP/s, memory {hardware.bytes / 1e9:,.4g} GB/s, links "
        f"{hardware.link / 1e9:,.4g} GB/s, {1e6 * hardware.latency:,.4g} µs a message"
    )
    if any(line["devices"] > hardware.devices_per_host for line in lines):
        assumed += f", {hardware.host_link / 1e9:,.4g} GB/s beyond {hardware.devices_per_host} devices"
    print(f"{assumed}; milliseconds\n{table(lines)}")
    if FIGURE.value:
        draw(Path(FIGURE.value), lines, assumed)
    if OUTPUT.value:
        write_json(Path(OUTPUT.value), {"hardware": vars(hardware), "lines": lines})


if __name__ == "__main__":
    app.run(main)
