"""The report of a survey: what lies in it, as figures and a table, gathered in one stream over a volume of any size."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from seisjax.conventions import AMPLITUDE, IGNORE, class_colors
from seisjax.files import beside, write_json
from seisjax.geometry import Axis
from seisjax.reporting import survey_scan as scan
from seisjax.reporting.figures import NO_DATA, Plane, axis_label, draw_amplitude, draw_classes, edges, save
from seisjax.reporting.progress import Progress
from seisjax.volumes import ArrayStatistics, Volume
from seisjax.volumes.store import local_path

_BLUE, _ORANGE = "#0072B2", "#D55E00"
_MAX_LABELS = 4  # label arrays that are drawn over the sections

Row = tuple[str, str]


def report(volume: Volume, folder: Path) -> str:
    """As `write_report`, with a bar."""
    with Progress(0, "report", "tile") as bar:
        return write_report(volume, folder, progress=bar.reach)


def write_report(volume: Volume, folder: Path, *, max_tiles: int = 64, progress: scan.Progress | None = None) -> str:
    """Write `report.md`, `report.json` and figures (PNG) of a volume into `folder`; returns the table as text.

    Works on every kind of volume (surveys, lines, gathers, panels; own stores and those of others), with labels or
    without. Memory stays bounded: traces and coordinates are read block by block, amplitudes from at most `max_tiles`
    tiles, drawn by a fixed random choice. Statistics of the whole amplitude are those that its writer recorded; where
    there are none, they are those of the tiles, and the table says so.

    Args:
      volume: an open volume.
      folder: made where it does not exist; what the report wrote there before is replaced.
      max_tiles: at most so many tiles (a chunk wide, up to 2048 samples long, at most 16 MiB) are read.
      progress: called as progress(tiles done, all tiles).

    Raises UserError where the store cannot be read or the folder not be written.
    """
    folder = Path(folder)
    traces, names = scan.scan_traces(volume), volume.label_names()
    amplitudes = scan.scan_amplitudes(volume, max_tiles, progress) if AMPLITUDE in volume.arrays else None
    classes = {name: _class_counts(volume, name) for name in names}
    facts = _facts(volume, traces, amplitudes, classes)
    planes = scan.scan_planes(volume, names[:_MAX_LABELS], traces)
    figures = {"traces": _draw_traces(volume, traces), "sections": _draw_sections(volume, planes)}
    if amplitudes is not None and facts["statistics"]["count"]:
        figures["histogram"] = _draw_histogram(facts)
        if len(amplitudes.spectrum):
            figures["spectrum"] = _draw_spectrum(amplitudes)
    if any(sum(counts.values()) for counts in classes.values()):
        figures["classes"] = _draw_shares(classes)
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")
    write_json(folder / "report.json", facts)
    rows = _rows(facts)
    with beside(folder / "report.md") as partial:
        partial.write_text(_markdown(volume, rows, list(figures)))
    width = max(len(name) for name, _ in rows)
    return "\n".join([f"{volume.url}", *(f"  {name:<{width}}  {text}" for name, text in rows)])


# The table.


def _class_counts(volume: Volume, name: str) -> dict[str, int]:
    histogram = volume.label_index(name).histogram.tolist()
    names = volume.class_names(name)
    names += [f"class {i}" for i in range(len(names), len(histogram))]
    return dict(zip(names, histogram, strict=False))


def _facts(
    volume: Volume, traces: scan.Traces, amplitudes: scan.Amplitudes | None, classes: Mapping[str, dict[str, int]]
) -> dict[str, Any]:
    """Everything that the table says, as numbers."""
    facts: dict[str, Any] = {
        "volume": volume.url,
        "kind": volume.kind,
        "axes": [_axis_facts(axis) for axis in volume.axes],
        "traces": {"count": traces.count, "live": traces.live, "recorded_in": traces.of or None},
        "labels": {
            name: {"samples": counts, "unlabelled": math.prod(volume.shape) - sum(counts.values())}
            for name, counts in classes.items()
        },
    }
    if amplitudes is not None:
        info = volume.arrays[AMPLITUDE]
        raw, stored = math.prod(info.shape) * info.dtype.itemsize, _stored_bytes(volume)
        facts["amplitude"] = {"dtype": str(info.dtype), "chunk": info.chunk, "shard": info.shard, "bytes": raw}
        facts["amplitude"] |= {"stored_bytes": stored, "compression": raw / stored if stored else None}
        facts["amplitude"] |= _recorded_errors(info.attributes)
        recorded = volume.statistics
        statistics = recorded or amplitudes.statistics.result()
        facts["statistics"] = statistics.attributes()["statistics"] | {"histogram": statistics.histogram}
        facts["statistics"]["saturated_share"] = _saturated(statistics)
        facts["sampled"] = _sampled_facts(amplitudes) | {"statistics": recorded is None}
        facts["spectrum"] = {"unit": amplitudes.unit, **_band(amplitudes)}
    return facts


def _sampled_facts(amplitudes: scan.Amplitudes) -> dict[str, Any]:
    found = amplitudes.statistics.result()
    shares = {"zero_share": (found.zeros or 0) / max(found.count, 1), "saturated_share": _saturated(found)}
    counts = {"tiles": amplitudes.tiles, "of": amplitudes.of_tiles}
    return counts | {"traces": amplitudes.traces, "empty_traces": amplitudes.empty, "mad": found.mad, **shares}


def _axis_facts(axis: Axis) -> dict[str, Any]:
    steps = np.unique(np.diff(np.asarray(axis.labels, np.float64)).round(9))
    first, last = float(axis.labels[0]), float(axis.labels[-1])
    return {
        "name": axis.name,
        "unit": axis.unit,
        "size": len(axis),
        "first": first,
        "last": last,
        "steps": steps[:5].tolist(),
    }


def _stored_bytes(volume: Volume) -> int | None:
    """Bytes of the amplitude's files; None where they do not lie in a local folder of that name."""
    root = local_path(volume.url.partition("#")[0])
    folder = root / AMPLITUDE if root else None
    if folder is None or not folder.is_dir():
        return None
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) or None


def _recorded_errors(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What rounding to a smaller type has cost, as ingest wrote it down."""
    found = {key: attributes[key] for key in ("scale_factor",) if key in attributes}
    for values in (attributes, *(v for v in attributes.values() if isinstance(v, Mapping))):
        names = ("rms_error", "max_error", "snr_db", "saturated_share")
        found |= {key: values[key] for key in names if key in values}
    return found


def _saturated(statistics: ArrayStatistics) -> float | None:
    """Share of samples that are the least or the greatest value."""
    if statistics.at_min is None or statistics.at_max is None or not statistics.count:
        return None
    constant = statistics.min == statistics.max
    return (statistics.at_min + (0 if constant else statistics.at_max)) / statistics.count


def _band(amplitudes: scan.Amplitudes) -> dict[str, float]:
    """The strongest frequency, and the band in which the mean spectrum is within 20 dB of it."""
    if not len(amplitudes.spectrum):
        return {}
    strong = amplitudes.frequency[amplitudes.spectrum >= amplitudes.spectrum.max() / 10]
    peak = amplitudes.frequency[int(np.argmax(amplitudes.spectrum))]
    return {"peak": float(peak), "low": float(strong[0]), "high": float(strong[-1])}


def _rows(facts: Mapping[str, Any]) -> list[Row]:
    rows = [("shape", " x ".join(str(axis["size"]) for axis in facts["axes"]) + f", {facts['kind']}")]
    rows += [(f"axis {axis['name']}", _axis_text(axis)) for axis in facts["axes"]]
    traces = facts["traces"]
    dead = traces["count"] - traces["live"]
    text = f"{traces['live']:,} live, {dead:,} dead or missing ({_percent(dead, traces['count'])})"
    if not traces["recorded_in"]:
        text, sampled = f"{traces['count']:,}; no trace mask", facts.get("sampled")
        if sampled:
            of = f"{sampled['traces']:,} in {sampled['tiles']} of {sampled['of']} tiles"
            text += f"; {sampled['empty_traces']:,} of {of} hold no datum"
    rows.append(("traces", text))
    if "amplitude" in facts:
        rows += _amplitude_rows(facts)
    for name, labels in facts["labels"].items():
        labelled = sum(labels["samples"].values())
        rows.append((f"labels {name}", f"{_percent(labelled, labelled + labels['unlabelled'])} of all samples"))
        rows += [(f"  {label}", _percent(n, labelled)) for label, n in labels["samples"].items()]
    return rows


def _amplitude_rows(facts: Mapping[str, Any]) -> list[Row]:
    amplitude, s, sampled = facts["amplitude"], facts["statistics"], facts["sampled"]
    layout = ", ".join(f"{part} {' x '.join(map(str, amplitude[part]))}" for part in ("chunk", "shard"))
    rows = [("amplitude", f"{amplitude['dtype']}, {layout}"), ("bytes", f"{amplitude['bytes']:,}")]
    if amplitude["stored_bytes"]:
        rows[-1] = (
            "bytes",
            f"{rows[-1][1]}, stored in {amplitude['stored_bytes']:,}: {amplitude['compression']:.2f} : 1",
        )
    if "rms_error" in amplitude:
        snr = amplitude.get("snr_db")
        told = f"rms {amplitude['rms_error']:.4g}, greatest {amplitude['max_error']:.4g}"
        told += f", {snr:.1f} dB" if snr is not None else ", exact"
        rows.append(("rounding error", f"{told}, {100 * amplitude['saturated_share']:.3g} % saturated"))
    if not s["count"]:
        return [*rows, ("samples", "none is finite")]
    tiles = f"{sampled['tiles']} of {sampled['of']} tiles"
    rows.append(("statistics", f"of {tiles}" if sampled["statistics"] else f"of all {s['count']:,} samples"))
    rows.append(("not finite", f"{s['non_finite']:,} ({_percent(s['non_finite'], s['count'] + s['non_finite'])})"))
    # Statistics of an earlier day and of others do not count these; the tiles do.
    known = s["zeros"] is not None and s["saturated_share"] is not None
    zero, saturated = (s["zeros"] / s["count"], s["saturated_share"]) if known else _shares_of_tiles(sampled)
    of = "" if known else f", of {tiles}"
    rows.append(("zero", f"{100 * zero:.3g} %{of}"))
    rows.append(("saturated", f"{100 * saturated:.3g} % are the least or the greatest value{of}"))
    rows.append(("mean, std", f"{s['mean']:.6g}, {s['std']:.6g}"))
    rows.append(("range", f"{s['min']:.6g} to {s['max']:.6g}"))
    mad = "" if s["mad"] is None else f"; median absolute deviation {s['mad']:.6g}"
    rows.append(("quantiles", f"0.5 %: {s['p0_5']:.6g}, 50 %: {s['p50']:.6g}, 99.5 %: {s['p99_5']:.6g}{mad}"))
    spectrum = facts["spectrum"]
    if "peak" in spectrum:
        band = f"{spectrum['low']:.3g} to {spectrum['high']:.3g} {spectrum['unit']} within 20 dB"
        rows.append(("spectrum", f"strongest at {spectrum['peak']:.3g} {spectrum['unit']}, {band}, from {tiles}"))
    return rows


def _shares_of_tiles(sampled: Mapping[str, Any]) -> tuple[float, float]:
    return sampled["zero_share"], sampled["saturated_share"] or 0.0


def _axis_text(axis: Mapping[str, Any]) -> str:
    steps = ", ".join(f"{step:g}" for step in axis["steps"])
    unit = f" {axis['unit']}" if axis["unit"] else ""
    return f"{axis['size']}: {axis['first']:g} to {axis['last']:g}{unit}" + (f", step {steps}" if steps else "")


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0:.3g} %"


def _markdown(volume: Volume, rows: list[Row], figures: list[str]) -> str:
    table = [f"| {name.replace('|', '/')} | {text.replace('|', '/')} |" for name, text in rows]
    pictures = [f"![{name}]({name}.png)" for name in figures]
    return "\n".join([f"# {volume.url}", "", "| | |", "|---|---|", *table, "", "\n\n".join(pictures), ""])


# The figures.


def _draw_traces(volume: Volume, traces: scan.Traces) -> Figure:
    """Traces a cell over the first two axes, and where they lie, if coordinates are known."""
    axes, what = volume.axes[:-1], "fold" if traces.of == "fold" else "live traces a cell"
    figure = Figure(figsize=(10.5 if traces.places else 6, 4.6), layout="constrained")
    panels = figure.subplots(1, 2 if traces.places else 1, squeeze=False)[0]
    greatest = max(float(traces.cells.max(initial=0)), 1e-6)
    if len(axes) < 2:
        labels = np.asarray(axes[0].labels)[:: traces.steps[0]] if axes else np.zeros(1)
        panels[0].fill_between(labels, traces.cells[:, 0], step="mid", color=_BLUE, lw=0)
        panels[0].set(xlabel=axis_label(axes[0]) if axes else "", ylabel=what, ylim=(0, 1.1 * greatest))
    else:
        extent = (*edges(axes[1]), *edges(axes[0]))
        shown = np.ma.masked_equal(traces.cells, 0)
        colors = matplotlib.colormaps["viridis_r"].with_extremes(bad=NO_DATA)
        options: dict[str, Any] = {"origin": "lower", "interpolation": "nearest", "aspect": "auto"}
        drawn = panels[0].imshow(shown, extent=extent, cmap=colors, vmin=0, vmax=greatest, **options)
        panels[0].set(xlabel=axis_label(axes[1]), ylabel=axis_label(axes[0]))
        _whole_ticks(panels[0], axes[1], axes[0])
        figure.colorbar(drawn, ax=panels[0], label=what, shrink=0.8)
        if not traces.cells.all():
            figure.legend(handles=[Patch(color=NO_DATA, label="none")], loc="outside lower center", frameon=False)
    panels[0].set_title(f"{traces.live:,} of {traces.count:,} traces live" if traces.of else f"{traces.count:,} traces")
    if traces.places:
        _draw_places(panels[1], traces, greatest)
    return figure


def _draw_places(axes: Axes, traces: scan.Traces, greatest: float) -> None:
    """Where traces lie: their midpoints by fold; or sources and receivers."""
    for name, color in zip(traces.places, class_colors(len(traces.places)), strict=True):
        x, y = (grid.ravel() for grid in traces.places[name])
        size = min(max(6000 / max(len(x), 1), 1.0), 16.0)
        if len(traces.places) == 1 and len(x) == traces.cells.size:
            fold = {"c": traces.cells.ravel(), "cmap": "viridis_r", "vmin": 0, "vmax": greatest}
            axes.scatter(x, y, s=size, lw=0, rasterized=True, **fold)
        else:
            axes.scatter(x, y, s=size, lw=0, color=color, label=name, rasterized=True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, markerscale=2)
    names = list(traces.places)
    axes.set(xlabel=f"{names[0]}_x", ylabel=f"{names[0]}_y", title="in coordinates", aspect="equal")
    axes.set_adjustable("datalim")
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(axis="x", labelrotation=30)


def _draw_histogram(facts: Mapping[str, Any]) -> Figure:
    s, sampled = facts["statistics"], facts["sampled"]
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    if s["histogram"] and s["max"] > s["min"]:
        limits = np.linspace(s["min"], s["max"], len(s["histogram"]) + 1)
        shares = np.asarray(s["histogram"]) / s["count"]
        axes.stairs(shares, limits, fill=True, color="#56789A", baseline=0.3 / s["count"])
        axes.set_yscale("log")
        axes.set_ylim(0.3 * shares[shares > 0].min(), 2 * shares.max())
    for name, value, style in (("0.5 %", s["p0_5"], ":"), ("median", s["p50"], "-"), ("99.5 %", s["p99_5"], ":")):
        axes.axvline(value, color=_ORANGE, ls=style, lw=1.2, label=f"{name}: {value:.4g}")
    of = f"{sampled['tiles']} of {sampled['of']} tiles" if sampled["statistics"] else f"{s['count']:,} samples"
    axes.set(xlabel="amplitude", ylabel="share of samples", title=f"amplitudes of {of}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    _plain(axes)
    return figure


def _draw_spectrum(amplitudes: scan.Amplitudes) -> Figure:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    relative = amplitudes.spectrum / amplitudes.spectrum.max()
    axes.plot(amplitudes.frequency, 20 * np.log10(np.maximum(relative, 1e-6)), color=_BLUE, lw=1.2)
    band = _band(amplitudes)
    axes.axvspan(band["low"], band["high"], color=_BLUE, alpha=0.08, lw=0)
    axes.axvline(band["peak"], color=_ORANGE, lw=1.2, ls=":", label=f"strongest: {band['peak']:.3g} {amplitudes.unit}")
    quantity = {"Hz": "frequency (Hz)", "1/km": "wavenumber (1/km)"}.get(
        amplitudes.unit, f"frequency ({amplitudes.unit})"
    )
    title = f"mean amplitude spectrum, {amplitudes.tiles} of {amplitudes.of_tiles} tiles"
    axes.set(xlabel=quantity, ylabel="dB below the strongest", xlim=(0, amplitudes.frequency[-1]), title=title)
    axes.set_ylim(max(20 * np.log10(max(relative.min(), 1e-6)) - 3, -100), 3)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(color="#E4E4E4", lw=0.7)
    _plain(axes)
    return figure


def _draw_shares(classes: Mapping[str, dict[str, int]]) -> Figure:
    """Shares of the labelled samples, a panel a label array."""
    height = sum(0.8 + 0.3 * len(counts) for counts in classes.values())
    figure = Figure(figsize=(6.4, height + 0.5), layout="constrained")
    ratios = [0.8 + 0.3 * len(counts) for counts in classes.values()]
    panels = figure.subplots(len(classes), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (name, counts) in zip(panels, classes.items(), strict=True):
        total = max(sum(counts.values()), 1)
        shares = [100 * n / total for n in counts.values()]
        bars = axes.barh(list(counts), shares, color=class_colors(len(counts)))
        axes.bar_label(bars, [f"{share:.3g} %" for share in shares], padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.set(title=f"{name}: {sum(counts.values()):,} labelled samples", xlabel="share of them (%)")
        axes.set_xlim(0, 1.15 * max(*shares, 1e-6))
        _plain(axes)
    return figure


def _draw_sections(volume: Volume, planes: list[scan.Plane]) -> Figure:
    """A row of sections for the amplitude, and one for each label array laid over it."""
    layers = ([""] if AMPLITUDE in volume.arrays else []) + list(planes[0].labels)
    rows, columns = max(len(layers), 1), len(planes)
    figure = Figure(figsize=(4.8 * columns + 0.6, 3.5 * rows + 0.6), layout="constrained")
    parts = np.atleast_1d(figure.subfigures(rows, 1, squeeze=False)[:, 0])
    for part, layer in zip(parts, layers, strict=False):
        panels = part.subplots(1, columns, squeeze=False)[0]
        for axes, plane in zip(panels, planes, strict=True):
            _draw_plane(axes, plane, layer, volume)
        if layer:
            part.legend(handles=_patches(volume, layer), loc="outside lower center", ncols=8, frameon=False, fontsize=8)
    return figure


def _whole_ticks(axes: Axes, horizontal: Axis, vertical: Axis) -> None:
    """No ticks between lines that are numbered in whole numbers."""
    for side, axis in ((axes.xaxis, horizontal), (axes.yaxis, vertical)):
        if np.array_equal(axis.labels, np.round(axis.labels)):
            side.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))


def _draw_plane(axes: Axes, plane: scan.Plane, layer: str, volume: Volume) -> None:
    horizontal, vertical = plane.axes
    extent = (*edges(horizontal), *reversed(edges(vertical)))
    if plane.amplitude is not None:
        draw_amplitude(axes, Plane(plane.amplitude, horizontal.name, vertical.name), extent=extent)
    _whole_ticks(axes, horizontal, vertical)
    if layer:
        labels, bare = plane.labels[layer], plane.amplitude is None
        missing = np.zeros_like(labels, bool) if plane.amplitude is None else np.isnan(plane.amplitude)
        shown = Plane(np.ma.masked_where(missing | (labels == IGNORE), labels), horizontal.name, vertical.name)
        options = {} if bare else {"ignored": "none", "alpha": 0.5}
        draw_classes(axes, shown, _class_names(volume, layer), extent=extent, **options)
    axes.set(xlabel=axis_label(horizontal), ylabel=axis_label(vertical))
    axes.set_title(", ".join(filter(None, (layer or "amplitude", plane.where))), fontsize=10)


def _class_names(volume: Volume, name: str) -> list[str]:
    return list(_class_counts(volume, name)) or ["class 0"]


def _patches(volume: Volume, name: str) -> list[Patch]:
    names = _class_names(volume, name)
    return [Patch(color=color, label=label) for color, label in zip(class_colors(len(names)), names, strict=True)]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
