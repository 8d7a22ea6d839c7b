"""What is asked of launch/extract.py, and whether it can be done."""

from dataclasses import dataclass
from pathlib import Path

from seisjax.errors import UserError
from seisjax.volumes.creating import check_apart, check_free


@dataclass(frozen=True)
class Extraction:
    """What is to be taken from a prediction; the fields are the flags of launch/extract.py."""

    predictions: str
    objects: str = ""
    table: Path | None = None
    class_name: str = ""
    threshold: float | None = None
    connectivity: int = 1
    min_size: int = 1
    sticks: Path | None = None
    polygons: Path | None = None
    every: int = 10
    horizons: Path | None = None
    between: tuple[str, ...] = ()
    ordered: bool = False
    below: str = ""
    above: str = ""
    along: str = ""
    labels: str = ""
    block_mebibytes: int = 512
    overwrite: bool = False
    command: str = ""


def check(request: Extraction) -> None:
    """Raise UserError for flags that do not go together, and for outputs that stand there already."""
    wants_objects = bool(request.objects or request.table or request.sticks or request.polygons)
    if not wants_objects and not request.horizons:
        raise UserError(
            "nothing to extract: give --objects=VOLUME, --table=CSV or --sticks=FILE of objects, --polygons=CSV, "
            "--horizons=FILE, or several"
        )
    if wants_objects and not request.class_name:
        raise UserError("--objects, --table, --sticks and --polygons: give --class, the class that is wanted")
    ways = (request.between, request.below, request.above, request.along)
    if request.horizons and sum(map(bool, ways)) != 1:
        raise UserError("--horizons: give one of --between=UPPER,LOWER, --below=CLASS, --above=CLASS and --along=CLASS")
    if request.between and len(request.between) != 2:
        raise UserError(f"--between={','.join(request.between)}: give two classes, the upper one first")
    if request.ordered and not request.between:
        raise UserError("--ordered: goes with --between=UPPER,LOWER")
    if request.threshold is not None and not 0 < request.threshold <= 1:
        raise UserError(f"--threshold={request.threshold:g}: is a probability; give one above 0, at most 1")
    files: dict[Path, str] = {}
    for flag in ("table", "sticks", "polygons", "horizons"):
        path = getattr(request, flag)
        if path and path.exists() and not request.overwrite:
            raise UserError(f"{path}: exists; give --overwrite, or another path")
        if path in files:
            raise UserError(f"--{flag}={path}: is the path of --{files[path]} too; give another")
        files |= {path: flag} if path else {}
    if request.objects:
        check_apart(request.objects, [request.predictions], "--objects")
        _check_free(request)


def _check_free(request: Extraction) -> None:
    try:
        check_free(request.objects, request.overwrite, only="objects")
    except UserError as error:
        raise UserError(str(error).replace("--output", "--objects")) from error
