"""The house: who may import whom. A breach fails with its file and line."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

# A file imports only from floors below its own, and freely, but without cycles, inside its own package.
FLOORS = {
    "seisjax": 0,
    "seisjax.config": 0,
    "seisjax.conventions": 0,
    "seisjax.errors": 0,
    "seisjax.files": 0,
    "seisjax.startup": 0,
    "seisjax.geometry": 0,
    "seisjax.memory": 0,
    "seisjax.roll_call": 0,
    "seisjax.augment": 1,
    "seisjax.boundaries": 1,
    "seisjax.calibration": 1,
    "seisjax.distributed": 1,
    "seisjax.hardware": 1,
    "seisjax.collectives": 1,
    "seisjax.interpretation": 1,
    "seisjax.losses": 1,
    "seisjax.metrics": 1,
    "seisjax.models": 1,
    "seisjax.normalization": 1,
    "seisjax.runtime": 1,
    "seisjax.sharding": 1,
    "seisjax.stopping": 1,
    "seisjax.synthetic": 1,
    "seisjax.together": 1,
    "seisjax.volumes": 1,
    "seisjax.watchdog": 1,
    "seisjax.baselines": 2,
    "seisjax.data": 2,
    "seisjax.synthesis": 2,
    "seisjax.checkpoint": 3,
    "seisjax.detection": 3,
    "seisjax.evaluation": 3,
    "seisjax.inference": 3,
    "seisjax.reporting": 3,
    "seisjax.training": 4,
    "seisjax.command_line": 5,
    "seisjax.config_flags": 5,
    "seisjax.experiment": 5,
    "seisjax.commands": 6,
    "configs": 7,
    "launch": 7,
    "benchmarks": 7,
}
FOR_EVERYONE = {"seisjax.errors", "seisjax.conventions"}
ONLY_IN = {
    "orbax": {"seisjax.checkpoint"},
    "seisjax.config": {
        *("seisjax.experiment", "seisjax.commands", "seisjax.config_flags"),
        *("configs", "launch", "benchmarks"),
    },
}
NO_PRIVATE_MODULES_OF = {"jax", "jaxlib", "flax", "grain", "optax", "orbax", "tensorstore"}
# Where the import has another name.
DISTRIBUTIONS = {"absl": "absl-py", "openzgy": "pyzgy", "orbax": "orbax-checkpoint"}
LINES_OF_A_COMMAND = 80
LINES_OF_A_FUNCTION = 64  # "about 60", docstring included

Sources = Mapping[str, str]  # module name -> source text


@pytest.fixture(scope="module")
def sources(repository: Path) -> Sources:
    files = [
        file
        for folder in ("seisjax", "launch", "configs", "benchmarks")
        for file in (repository / folder).rglob("*.py")
    ]
    return {_module_name(file.relative_to(repository)): file.read_text() for file in files}


def _module_name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _unit(module: str) -> str:
    """What holds a floor: a file or package right under seisjax, or a folder beside it."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "seisjax" else 1])


def _imports(module: str, sources: Sources) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that one imports, anywhere in the file."""
    for node in ast.walk(ast.parse(sources[module])):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: relative import; write from seisjax.x import y"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {(node.lineno, name if name in sources else str(node.module)) for name in inner}


def floor_breaches(sources: Sources) -> list[str]:
    found = []
    for module in sources:
        unit = _unit(module)
        if unit not in FLOORS:
            found.append(f"{module}: has no floor; give it one in tests/test_architecture.py")
            continue
        for line, name in _imports(module, sources):
            other = _unit(name)
            if other not in FLOORS or other == unit or other in FOR_EVERYONE:
                continue
            if FLOORS[other] >= FLOORS[unit]:
                found.append(f"{module}:{line}: floor {FLOORS[unit]} imports {name} of floor {FLOORS[other]}")
    return found


def cycles(sources: Sources) -> list[str]:
    graph = {module: {name for _, name in _imports(module, sources)} & set(sources) for module in sources}
    found, done = [], set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            found.append(" -> ".join((*path[path.index(module) :], module)))
        elif module not in done:
            for name in sorted(graph[module]):
                visit(name, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())
    return found


def reserved_breaches(sources: Sources) -> list[str]:
    found = []
    for module in sources:
        for line, name in _imports(module, sources):
            for reserved, places in ONLY_IN.items():
                if (name == reserved or name.startswith(f"{reserved}.")) and _unit(module) not in places:
                    found.append(f"{module}:{line}: imports {name}; only {', '.join(sorted(places))} may")
            root, *rest = name.split(".")
            if root in NO_PRIVATE_MODULES_OF and any(part.startswith("_") for part in rest):
                found.append(f"{module}:{line}: imports {name}, a private module")
    return found


def test_imports_go_down(sources: Sources) -> None:
    assert not floor_breaches(sources)


def test_no_cycles(sources: Sources) -> None:
    assert not cycles(sources)


def test_orbax_config_and_private_modules_keep_their_place(sources: Sources) -> None:
    assert not reserved_breaches(sources)


def test_the_config_tree_needs_the_standard_library_alone(sources: Sources) -> None:
    allowed = sys.stdlib_module_names | {"seisjax.errors"}
    assert {name for _, name in _imports("seisjax.config", sources)} <= allowed | {"collections.abc"}


def test_every_import_is_a_declared_dependency(sources: Sources, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    needed, extra = (
        {re.split(r"[<>=\[]", line)[0].lower() for line in lines}
        for lines in (project["dependencies"], sum(project["optional-dependencies"].values(), []))
    )
    known = needed | sys.stdlib_module_names | {"seisjax", "jaxlib"}
    for module in (name for name in sources if name.startswith("seisjax")):
        at_once = {node.lineno for node in ast.parse(sources[module]).body}
        for line, name in _imports(module, sources):
            root = name.split(".")[0]
            distribution = DISTRIBUTIONS.get(root, root).lower()
            # What an extra brings is imported where it is used, so that the rest works without it.
            allowed = known if line in at_once else known | extra
            assert distribution in allowed, f"{module}:{line}: {name} is not among pyproject's dependencies"


def test_commands_and_functions_are_short(sources: Sources) -> None:
    for module, text in sources.items():
        if _unit(module) == "launch":
            assert len(text.splitlines()) < LINES_OF_A_COMMAND, f"{module}: {len(text.splitlines())} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= LINES_OF_A_FUNCTION, f"{module}:{node.lineno}: {node.name}() has {lines} lines"


@pytest.mark.parametrize(
    ("check", "files", "message"),
    [
        (
            floor_breaches,
            {"seisjax.models.unet": "import seisjax.training"},
            "floor 1 imports seisjax.training of floor 4",
        ),
        (
            floor_breaches,
            {"seisjax.losses": "from seisjax.metrics import x"},
            "floor 1 imports seisjax.metrics of floor 1",
        ),
        (floor_breaches, {"seisjax.losses": "def f():\n    from seisjax import data", "seisjax.data": ""}, "losses:2"),
        (floor_breaches, {"seisjax.novelty": ""}, "novelty: has no floor"),
        (
            cycles,
            {"seisjax.data": "from seisjax.data.a import x", "seisjax.data.a": "from seisjax.data import y"},
            "seisjax.data -> seisjax.data.a -> seisjax.data",
        ),
        (
            reserved_breaches,
            {"seisjax.training.loop": "from orbax.checkpoint import v1"},
            "only seisjax.checkpoint may",
        ),
        (reserved_breaches, {"seisjax.data.x": "import seisjax.config"}, "imports seisjax.config; only"),
        (reserved_breaches, {"seisjax.data.x": "from jax._src import mesh"}, "a private module"),
    ],
)
def test_a_breach_is_named(check, files: Sources, message: str) -> None:
    assert message in "\n".join(check(files))


def test_what_is_allowed_passes() -> None:
    allowed = {
        "seisjax.geometry": "from seisjax.errors import UserError",
        "seisjax.volumes": "from seisjax.volumes.volume import Volume",
        "seisjax.volumes.volume": "import jax\nfrom seisjax.geometry import Box",
        "launch.train": "from seisjax.experiment import x\nfrom seisjax.config import Experiment",
    }
    for check in (floor_breaches, cycles, reserved_breaches):
        assert not check(allowed)
