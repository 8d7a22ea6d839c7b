"""The generators by name, and their parameters by the name of a preset or from a file."""

import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seisjax.errors import UserError, nearest
from seisjax.synthesis.examples import Examples
from seisjax.synthesis.faulted import FaultedVolumes
from seisjax.synthesis.panels import Panels
from seisjax.synthetic.fault_parameters import FAULT_PRESETS, FaultedVolume
from seisjax.synthetic.parameters import PRESETS, Microseismic


class Generator(NamedTuple):
    """A generator: the type of its parameters, those that have names, and what makes its examples."""

    parameters: type
    presets: Mapping[str, Any]
    default: str  # name of a preset for two CPU cores
    examples: type[Examples]


GENERATORS = {
    "microseismic": Generator(Microseismic, PRESETS, "quickstart", Panels),
    "faults": Generator(FaultedVolume, FAULT_PRESETS, "faults_64", FaultedVolumes),
}


def load_parameters(config: str, where: str = "--config") -> Microseismic:
    """Parameters of microseismic panels, as `load_any` finds them. Raises UserError."""
    return load_any(config, where, ["microseismic"])


def load_any(config: str, where: str, generators: Sequence[str] = tuple(GENERATORS)) -> Any:
    """A preset by its name, or what `get_config()` of a Python file returns; `FILE.py:arg` hands it the argument.

    `where` is what messages call it. Raises UserError, also for parameters that are of none of the `generators`.
    """
    presets = {name: preset for each in generators for name, preset in GENERATORS[each].presets.items()}
    path, colon, argument = config.partition(".py:")
    path += ".py" if colon else ""
    if not path.endswith(".py"):
        if config not in presets:
            raise UserError(f"{where}={config}: no preset of this name{nearest(config, presets)}, and no .py file")
        return presets[config]
    if not Path(path).is_file():
        raise UserError(f"{where}={config}: no such file")
    try:
        make = runpy.run_path(path).get("get_config")
        parameters = make(*[argument] if colon else []) if make else None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}={config}: {type(error).__name__}: {error}; mend the file") from error
    types = [GENERATORS[name].parameters for name in generators]
    names = " or ".join(kind.__name__ for kind in types)
    if make is None:
        raise UserError(f"{where}={config}: defines no get_config(); write one that returns {names}")
    if not isinstance(parameters, tuple(types)):
        raise UserError(f"{where}={config}: get_config() must return {names}, not {type(parameters).__name__}")
    return parameters


def make_examples(parameters: Any, seed: int) -> Examples:
    """The examples of a generator's parameters. Raises UserError."""
    for generator in GENERATORS.values():
        if isinstance(parameters, generator.parameters):
            return generator.examples(parameters, seed)
    raise TypeError(f"{type(parameters).__name__} are the parameters of no generator")
