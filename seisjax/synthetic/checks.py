"""What parameters of every generator are made of, and how they are checked."""

import math
from dataclasses import fields, is_dataclass

from seisjax.errors import UserError

Range = tuple[float, float]  # (low, high), drawn uniformly unless a field says otherwise; (a, a) fixes a value
Counts = tuple[int, int]  # (least, most), both drawn


def require(holds: bool, name: str, value: object, message: str) -> None:
    """Raise UserError with what is wrong with the field `name`, unless it holds."""
    if not holds:
        raise UserError(f"{name}={value}: {message}")


def check_ranges(parameters: object, path: str = "") -> None:
    """Raise UserError unless every pair of numbers in the tree is finite and rises; `path` leads to its fields."""
    for entry in fields(parameters):  # type: ignore[arg-type]
        name, value = path + entry.name, getattr(parameters, entry.name)
        if is_dataclass(value):
            check_ranges(value, name + ".")
        elif entry.type in (Range, Counts):
            good = len(value) == 2 and all(map(math.isfinite, value)) and value[0] <= value[1]
            require(good, name, value, "write a range as (low, high)")
            whole = entry.type == Range or all(isinstance(end, int) for end in value)
            require(whole, name, value, "write whole numbers")
