"""What a training step moves through a device's memory, kernel by kernel, as its compiled program has it.

    python benchmarks/kernels.py --config=configs/microseismic_4096.py --config.data.batch_size=1 \\
        --config.precision.compute=bfloat16 --plan_for=h200:1 --output=kernels.json

`--plan_for` names devices as `launch/train.py` does; they need not be there, their compiler (seisjax[cuda],
seisjax[tpu]) suffices. Without it the step is compiled for this machine. Of each instruction of the program that does
something, the arrays it reads and writes are counted whole, once, without what a device pads; so a kernel that
takes a part of an array has too much, and one that reads an array twice too little. Prints the bytes by kind of kernel,
and the kernels that move most.
"""

import importlib.metadata
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
from absl import app, flags

from seisjax.collectives import arrays_of
from seisjax.commands.plan import lower_step
from seisjax.config_flags import define_config
from seisjax.files import write_json
from seisjax.hardware import find_hardware

CONFIG = define_config()
PLAN_FOR = flags.DEFINE_string("plan_for", "", "devices to compile for: see launch/train.py; empty: this machine's")
MOST = flags.DEFINE_integer("most", 20, "so many of the kernels that move most are printed", lower_bound=0)
OUTPUT = flags.DEFINE_string("output", "", "JSON file for the kernels")

# "  ROOT %name = TYPE kind(%operand, ...), attributes"
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%(\S+) = (.*?) ([a-z][a-z0-9-]*)\((.*?)\)(?:, |$)")
_MOVES_NOTHING = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota", "partition-id"}


@dataclass(frozen=True)
class Kernel:
    """An instruction of a compiled program: its name there, its kind, and the bytes it reads and writes."""

    name: str
    kind: str
    bytes: int
    of: str  # the operation of JAX that it does


def kernels(program: str) -> list[Kernel]:
    """What a compiled program does, in the order of its text; what is in the body of a loop is the loop's."""
    sizes, found = {}, []
    for line in program[program.index("\nENTRY ") :].splitlines():
        match = _INSTRUCTION.match(line)
        if match is None:
            continue
        name, result, kind, operands = match.groups()
        sizes[name] = sum(size for _, size in arrays_of(result))
        if kind not in _MOVES_NOTHING and not kind.endswith("-done"):
            moved = sizes[name] + sum(sizes.get(operand, 0) for operand in re.findall(r"%([\w.-]+)", operands))
            of = re.search(r'op_name="([^"]*)"', line)
            of = of[1] if of else ""
            found.append(Kernel(name, _kind(name, kind, of), moved, of))
    return found


def _kind(name: str, kind: str, of: str) -> str:
    """For people, by what the compiler calls it and what JAX does there."""
    called = f"{name} {of.rpartition('/')[2]}".replace("convert", "")
    for word, meaning in (("conv", "convolutions"), ("gemm", "matrix products"), ("dot", "matrix products")):
        if word in called:
            return meaning
    if kind == "fusion":
        return "with a reduction" if "reduce" in called else "elementwise"
    return kind


def report(found: list[Kernel], most: int) -> str:
    """Bytes by kind, and the kernels that move most, as text."""
    total, number = Counter[str](), Counter[str]()
    for kernel in found:
        total[kernel.kind] += kernel.bytes
        number[kernel.kind] += 1
    lines = [f"{sum(total.values()) / 1e9:.2f} GB in {len(found)} kernels, jax {jax.__version__}"]
    lines += [f"{size / 1e9:8.2f} GB  {number[kind]:4d}  {kind}" for kind, size in total.most_common()]
    for kernel in sorted(found, key=lambda kernel: -kernel.bytes)[:most]:
        lines.append(f"{kernel.bytes / 1e6:8.0f} MB  {kernel.name:<34}  {kernel.of[-70:]}")
    return "\n".join(lines)


def main(_: list[str]) -> None:
    hardware = find_hardware(PLAN_FOR.value) if PLAN_FOR.value else None
    found = kernels(lower_step(CONFIG.value, hardware).compile().as_text() or "")
    print(report(found, MOST.value))
    if OUTPUT.value:
        versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")}
        rows = [asdict(kernel) for kernel in found]
        what = {"date": time.strftime("%Y-%m-%d"), "versions": versions, "plan_for": PLAN_FOR.value}
        write_json(Path(OUTPUT.value), what | {"bytes": sum(kernel.bytes for kernel in found), "kernels": rows})


if __name__ == "__main__":
    app.run(main)
