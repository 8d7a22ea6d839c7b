"""`--config=FILE[:arg]` and `--config.section.field=value`: a mistake in either becomes one clear line.

The overrides are those of ml_collections.config_flags; here stand the loading of the file and the checks that its
flags lack: field names against the tree, the elements of tuples, fields that a file assigns but that do not exist.
"""

import dataclasses
import difflib
import re
import runpy
import sys
import traceback
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from seisjax import config as config_tree
from seisjax.config import Experiment
from seisjax.errors import UserError, nearest

NAME = "config"


def define_config(
    flag_values: flags.FlagValues = flags.FLAGS, argv: Sequence[str] | None = None
) -> flags.FlagHolder[Experiment]:
    """Define the flags; after parsing, `.value` is the Experiment with its overrides applied.

    Parsing raises UserError for a file that is missing or fails, an unknown field and a wrong type; flags.Error
    for a value that its field's type cannot read. `argv` (default: sys.argv) is where overrides are looked for.
    """
    argument_list = None if argv is None else list(argv)
    holder = config_flags.DEFINE_config_file(
        NAME,
        help_string="experiment file[:argument]; after it, any field as --config.section.field=value",
        flag_values=flag_values,
        sys_argv=argument_list,
    )
    flag_values[NAME].parser = _ExperimentParser(argument_list)
    flags.register_validator(NAME, _check_parsed, flag_values=flag_values)
    return holder


def load_config(file: str) -> Experiment:
    """The Experiment that `get_config()` of a Python file returns; `FILE:arg` hands it the argument.

    Raises UserError, with the line in the file where there is one, for whatever goes wrong in it.
    """
    path, *argument = file.split(":", 1)
    if not Path(path).is_file():
        raise UserError(f"--config={file}: no such file; configs/ holds examples")
    try:
        experiment = runpy.run_path(path)["get_config"](*argument)
    except UserError:
        raise
    except Exception as error:  # whatever a user's file may raise
        raise UserError(f"{_place(path, error)}: {_explain(error)}") from error
    if not isinstance(experiment, Experiment):
        raise UserError(
            f"{path}: get_config() returned {type(experiment).__name__}; return a seisjax.config.Experiment"
        )
    _check_tree(experiment, prefix=f"{path}: ")
    return experiment


class _ExperimentParser(flags.ArgumentParser):
    """Stands in for the library's parser of the file, before it looks for overrides."""

    def __init__(self, argv: list[str] | None) -> None:
        self._argv = argv

    def parse(self, argument: str) -> Experiment:
        _check_names(sys.argv if self._argv is None else self._argv)
        return load_config(argument)

    def flag_type(self) -> str:
        return "experiment file"


def _check_parsed(experiment: Experiment | None) -> bool:
    if experiment is None:
        raise UserError("--config: missing; give an experiment file, e.g. --config=configs/quickstart.py")
    _check_tree(experiment, prefix="--config.")
    return True


def _check_names(argv: Sequence[str]) -> None:
    """Every override names a field of the tree; one of a tuple stands once, for repeats would be joined."""
    fields = dict(_fields(Experiment))
    seen: set[str] = set()
    for argument in argv[1:]:
        match = re.match(rf"--?(?:no)?{NAME}\.([^=]*)", argument)
        if match is None:
            continue
        path = match.group(1)
        if dataclasses.is_dataclass(fields.get(path)):
            inside = [field for field in fields if field.startswith(f"{path}.")]
            raise UserError(f"--config.{path}: is a section; set one of its fields{nearest(path, inside)}")
        if path not in fields:
            raise UserError(f"--config.{path}: no such field{_nearest_field(path, fields)}")
        if path in seen and typing.get_origin(fields[path]) is tuple:
            raise UserError(f'--config.{path}: stands twice; give a tuple once, e.g. --config.{path}="(1,2)"')
        seen.add(path)


def _nearest_field(path: str, fields: dict[str, Any]) -> str:
    """A close name anywhere in the tree, else the fields of the section, else the sections."""
    leaves = [name for name, hint in fields.items() if not dataclasses.is_dataclass(hint)]
    if difflib.get_close_matches(path, leaves):
        return nearest(path, leaves)
    section = path.partition(".")[0]
    return nearest(path, [leaf for leaf in leaves if leaf.startswith(f"{section}.")] or set(fields) - set(leaves))


def _fields(tree: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and type of every field, sections included."""
    for name, hint in typing.get_type_hints(tree).items():
        yield prefix + name, hint
        if dataclasses.is_dataclass(hint):
            yield from _fields(typing.cast(type, hint), f"{prefix}{name}.")


def _check_tree(tree: Any, prefix: str) -> None:
    """Every value has its field's type, and nothing stands in the tree that is no field of it."""
    hints = typing.get_type_hints(type(tree))
    for name, value in vars(tree).items():
        if name not in hints:
            raise UserError(f"{prefix}{name}: no such field{nearest(name, hints)}")
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, typing.cast(type, hints[name])):
            _check_tree(value, f"{prefix}{name}.")
        elif not _fits(value, hints[name]):
            kind = getattr(hints[name], "__name__", "") if typing.get_origin(hints[name]) is None else hints[name]
            raise UserError(f"{prefix}{name}: {value!r} is not of type {kind}")


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(element, typing.get_args(hint)[0]) for element in value)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint)


def _place(path: str, error: Exception) -> str:
    """`path:line` of the deepest frame inside the file, or of its syntax error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return path if line is None else f"{path}:{line}"


def _explain(error: Exception) -> str:
    if isinstance(error, KeyError) and error.args == ("get_config",):
        return "has no function get_config(); define one that returns a seisjax.config.Experiment"
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if match and dataclasses.is_dataclass(section := getattr(config_tree, match.group(1), None)):
        names = [field.name for field in dataclasses.fields(section)]
        return f"{match.group(1)} has no field '{match.group(2)}'{nearest(match.group(2), names)}"
    return f"{type(error).__name__}: {error}"
