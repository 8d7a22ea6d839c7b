"""How long does it take, and how much memory, to make labels of an interpretation, and an interpretation of labels?

    python benchmarks/labels.py --folder=DIR --output=labels.json

Makes a survey of 256 x 256 x 256 samples with three horizons (a pick a trace, Charisma text) and ten faults (sticks on
every 20th inline); then areas, bands and fault labels by `launch/label.py`'s code, and horizons, fault sticks and
polygons out of these labels by that of `launch/extract.py`. Each case runs in a process of its own. Prints clock and
processor time, and the most memory that the process ever held (the system's VmHWM; Linux only). --side: another survey.
"""

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags

from seisjax import runtime
from seisjax.commands.extract import Extraction, extract
from seisjax.commands.label import Labelling, label
from seisjax.geometry import Axis
from seisjax.memory import resident_bytes
from seisjax.volumes import create_volume, set_cache_size

FOLDER = flags.DEFINE_string("folder", None, "folder to work in; what is made stays there", required=True)
SIDE = flags.DEFINE_integer("side", 256, "samples along each axis")
OUTPUT = flags.DEFINE_string("output", "", "JSON file to write")


def make_survey(folder: Path, side: int) -> None:
    """The survey, its horizons h0.txt to h2.txt and its faults.csv."""
    axes = [
        Axis("inline", np.arange(side)),
        Axis("crossline", np.arange(side)),
        Axis("time", np.arange(side) * 4.0, "ms"),
    ]
    inline, crossline = np.indices((side, side))
    with create_volume(folder / "survey.zarr", axes, overwrite=True) as volume:
        for name, values in (("cdp_x", 25.0 * inline), ("cdp_y", 25.0 * crossline)):
            volume.add_array(name, dimension_names=["inline", "crossline"], values=values)
    for number in range(3):
        z = 4 * (side * (0.2 + 0.25 * number) + side / 20 * np.sin(inline / 40 + crossline / 30))
        rows = zip(inline.ravel(), crossline.ravel(), z.ravel(), strict=True)
        lines = (f"INLINE : {i} XLINE : {j} {25 * i} {25 * j} {at:.3f}\n" for i, j, at in rows)
        (folder / f"h{number}.txt").write_text("".join(lines))
    rng = np.random.default_rng(0)
    rows = ["fault,stick,inline,crossline,time_ms"]
    for fault in range(10):
        first, strike, dip = rng.uniform(0.2, 0.8) * side, rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.4)
        for i in range(0, side, 20):
            rows += [f"{fault},{i},{i},{first + strike * i + dip * k},{4 * k}" for k in np.linspace(0, side - 1, 5)]
    (folder / "faults.csv").write_text("\n".join(rows))


def cases(folder: Path) -> dict[str, Callable[[], str]]:
    """What is timed, by name; later cases read what earlier ones made."""
    survey, horizons = str(folder / "survey.zarr"), tuple(str(folder / f"h{i}.txt") for i in range(3))

    def labelled(name: str, **of: object) -> Callable[[], str]:
        return lambda: label(Labelling(survey, str(folder / f"{name}.zarr"), overwrite=True, **of))  # type: ignore

    def extracted(name: str, **what: object) -> Callable[[], str]:
        wanted = {"labels": "interpretation", "overwrite": True} | what
        return lambda: extract(Extraction(str(folder / f"{name}.zarr"), **wanted))  # type: ignore

    fault = {"class_name": "fault", "every": 10}
    return {
        "label areas between three horizons": labelled("areas", horizons=horizons, kind="areas"),
        "label bands of three horizons": labelled("bands", horizons=horizons),
        "label ten faults": labelled("faults", faults=(str(folder / "faults.csv"),)),
        "extract a horizon between areas": extracted("areas", between=("0", "1"), horizons=folder / "between.txt"),
        "extract a horizon along a band": extracted("bands", along="h1", horizons=folder / "along.txt"),
        "extract sticks on every 10th section": extracted("faults", sticks=folder / "sticks.txt", **fault),
        "extract polygons on every 10th inline": extracted("faults", polygons=folder / "polygons.csv", **fault),
    }


def measure(folder: Path, name: str) -> dict:
    """Run one of the cases; returns what was measured."""
    runtime.use_one_heap()
    set_cache_size(16)
    before, begun, used = resident_bytes(), time.perf_counter(), time.process_time()
    summary = cases(folder)[name]()
    return {
        "case": name,
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - used,
        "resident_mebibytes_before": before / 2**20,
        "most_resident_mebibytes": resident_bytes(peak=True) / 2**20,
        "summary": summary.replace(f"{folder}/", ""),
    }


def main(_: list[str]) -> None:
    folder = Path(FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    make_survey(folder, SIDE.value)
    results = []
    for name in cases(folder):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results.append(pool.apply(measure, (folder, name)))
        r = results[-1]
        print(
            f"{name:<40} {r['seconds']:<6.1f} s, processor {r['processor_seconds']:<6.1f} s, most resident "
            f"{r['most_resident_mebibytes']:.0f} MiB ({r['resident_mebibytes_before']:.0f} before)"
        )
    where = {"cores": os.cpu_count(), "load_average": os.getloadavg()[0], "python": platform.python_version()}
    if OUTPUT.value:
        Path(OUTPUT.value).write_text(json.dumps({"side": SIDE.value, **where, "cases": results}, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
