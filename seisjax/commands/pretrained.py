"""The network that a run begins with: the checkpoint of another run, or an exported file."""

from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from seisjax import sharding
from seisjax.checkpoint import Checkpoints
from seisjax.config import Experiment, from_dict, kernels_of, strides_of, to_dict
from seisjax.errors import UserError
from seisjax.experiment import Segmenter, abstract_state
from seisjax.inference.artifact import read_network
from seisjax.models.parts import fingerprint
from seisjax.training import workdir as folder
from seisjax.training.pretrained import Match, Source, adopt, match
from seisjax.training.state import State


def first_state(config: Experiment, segmenter: Segmenter) -> tuple[State, dict[str, Any] | None]:
    """The state before the first step, and what is noted of where it comes from: None where all of it is random.

    Raises UserError as `find` does. All processes of a run must call it.
    """
    if not config.train.init_from:
        return segmenter.init(), None
    source, taken = find(config, segmenter)
    noted = {"part": config.train.init_part, "arrays": len(taken.arrays), "fresh": list(taken.fresh)}
    return adopt(segmenter.init(), taken), {**source.origin, **noted, "new_inputs": taken.new_inputs}


def find(config: Experiment, segmenter: Segmenter) -> tuple[Source, Match]:
    """The source that `train.init_from` names and what is taken of it. Raises UserError where it does not fit."""
    path, checkpoint = Path(config.train.init_from), config.train.init_checkpoint
    source = _of_artifact(path, checkpoint) if path.is_file() else _of_run(path, checkpoint, segmenter.mesh)
    return source, match(source, abstract_state(segmenter), config.train.init_part, _options(config))


def _options(config: Experiment) -> dict[str, Any]:
    """The options of a network as `match` compares them: sides and strides of every level, however they are written."""
    levels = {"strides": strides_of(config), "kernels": kernels_of(config)}
    written = {name: ";".join(",".join(map(str, sides)) for sides in of) for name, of in levels.items()}
    return to_dict(config)["model"] | written


def _of_run(path: Path, checkpoint: str, mesh: Mesh) -> Source:
    where = f"train.init_from={path}"
    if not (path / folder.CONFIG).is_file():
        raise UserError(f"{where}: holds no run; give the folder of a run, or a file of launch/export.py")
    model = _options(from_dict(folder.config_of(path) or {}))
    checkpoints = Checkpoints(path / folder.CHECKPOINTS, writes=False)
    try:
        known = checkpoints.by_name
        if checkpoint not in known:
            instead = f"choose {', '.join(known)}" if known else "it has none yet"
            raise UserError(f"train.init_checkpoint='{checkpoint}': is not in {path}; {instead}")
        step = known[checkpoint]
        network = jax.device_get(checkpoints.restore_network(step, sharding.replicated(mesh)))
    finally:
        checkpoints.close()
    return Source(network, model, where, {"from": str(path), "checkpoint": step, "weights": fingerprint(network)})


def _of_artifact(path: Path, checkpoint: str) -> Source:
    if checkpoint != "best":
        raise UserError(f"train.init_checkpoint='{checkpoint}': {path} holds one checkpoint; leave it out")
    network, metadata = read_network(path)
    run = metadata["run"]
    known = run["config"]
    model = _options(from_dict({"model": known["model"], "data": {"window": known["data"]["window"]}}))
    origin = {"from": str(path), "run": run["name"], "checkpoint": run["checkpoint"], "weights": run["weights"]}
    return Source(network, model, f"train.init_from={path}", origin)
