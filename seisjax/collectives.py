"""What devices tell one another in a compiled program, read from its text (`jit(f).lower(...).compile().as_text()`)."""

import math
import re
from dataclasses import dataclass

_KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"),
    *("ragged-all-to-all", "collective-broadcast"),
)
# "%name = TYPE all-reduce(...), ..."; an asynchronous one has a "-start", which is read, and a "-done", which is not.
_INSTRUCTION = re.compile(rf"\s*(?:ROOT )?%?\S+ = ([^=]*?)\s({'|'.join(_KINDS)})(-start)?\(")
_LAYOUT = re.compile(r"\{[^{}]*\}")
_COMMENT = re.compile(r"/\*.*?\*/")
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """One collective operation.

    kind: "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", and rarely
    "ragged-all-to-all" or "collective-broadcast". bytes, shapes: of its results on one device; a combined operation has
    several. devices: how many take part in the largest of its groups; of a permutation, how many are linked by it;
    0 if the text does not say.
    """

    kind: str
    bytes: int
    shapes: tuple[tuple[int, ...], ...]
    devices: int


def collectives(hlo_text: str) -> list[Collective]:
    """The collective operations of a compiled program, in the order of its text.

    What stands in the body of a loop is counted once, however often the loop runs.
    """
    found = []
    for line in hlo_text.splitlines():
        match = _INSTRUCTION.match(_COMMENT.sub("", line))
        if match:
            arrays = _results(match[1], match[2], started=bool(match[3]))
            shapes = tuple(shape for shape, _ in arrays)
            found.append(Collective(match[2], sum(size for _, size in arrays), shapes, _devices(line, hlo_text)))
    return found


def _results(text: str, kind: str, *, started: bool) -> list[tuple[tuple[int, ...], int]]:
    """Shape and bytes of each resulting array. What starts an operation names its operands before its results."""
    text = _LAYOUT.sub("", text)
    return arrays_of(_elements(text)[1] if started and kind != "all-reduce" else text)


def arrays_of(type_: str) -> list[tuple[tuple[int, ...], int]]:
    """Shape and bytes of each array in a type, or a tuple of types, of a program's text: `(f32[8,2]{1,0}, s8[3])`."""
    arrays = []
    for name, bits, sides in _ARRAY.findall(_LAYOUT.sub("", type_)):
        shape = tuple(int(side) for side in sides.split(",") if side)
        arrays.append((shape, math.ceil(math.prod(shape) * (int(bits or 8) if name != "token" else 0) / 8)))
    return arrays


def _elements(text: str) -> list[str]:
    """The elements of a tuple's type."""
    elements, depth = [""], 0
    for letter in text.strip()[1:-1]:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            elements.append("")
        else:
            elements[-1] += letter
    return elements


def _devices(line: str, program: str) -> int:
    """Devices in the largest group that an operation joins, as any of the ways to write groups says."""
    if pairs := re.search(r"source_target_pairs=\{(\{[\d,{}]*\})\}", line):
        return _linked([(int(a), int(b)) for a, b in re.findall(r"\{(\d+),(\d+)\}", pairs[1])])
    if groups := re.search(r"replica_groups=\{(\{[\d,{}]*\})\}", line):  # {{0,1},{2,3}}
        return max(len(group.split(",")) for group in re.findall(r"\{([\d,]+)\}", groups[1]))
    if tiles := re.search(r"replica_groups=\[(?:\d+,)*(\d+)\]<=", line):  # [2,4]<=[8]: groups x devices
        return int(tiles[1])
    if mesh := re.search(r"replica_groups=@?\w+\[([^\]]*)\][^{]*\{([^}]*)\}", line):  # mesh['x'=2,'y'=4] {'y'}
        sides = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        # Part of an axis is written 'y':(1)2, two devices of it.
        return math.prod(int(part or sides[name]) for name, part in re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2]))
    if "replica_groups={}" in line:  # all of them
        counts = re.findall(r"\b(?:num_partitions|replica_count)=(\d+)", program.split("\n", 1)[0])
        return math.prod(int(count) for count in counts) if counts else 0
    return 0


def _linked(pairs: list[tuple[int, int]]) -> int:
    """Size of the largest set of devices that pairs link, whatever the direction."""
    sets: list[set[int]] = []
    for pair in pairs:
        touched = [one for one in sets if one & set(pair)]
        sets = [one for one in sets if one not in touched] + [set(pair).union(*touched)]
    return max(map(len, sets), default=0)
