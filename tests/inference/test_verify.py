"""Damage to what was predicted is found, told and mended, to the byte."""

from pathlib import Path

import numpy as np
import pytest

from seisjax.geometry import format_region

OPTIONS = {
    "block_bytes": 600 * 200,
    "products": ("class", "probability", "entropy", "spread"),
    "probability_dtype": "float16",
    "tta_axes": (1,),
}
PRODUCTS = ("pred_class", "pred_probability", "pred_entropy", "pred_spread")
OTHERS = ("inline", "time", "trace_mask", "cdp_x")


@pytest.fixture(scope="module")
def masked(values, survey):
    """A survey with two dead traces, so that its mask is stored."""
    live = np.ones(values.shape[:2], bool)
    live[2, 3:5] = False
    return survey(values, live=live)


@pytest.fixture(scope="module")
def output(masked, predict, tmp_path_factory) -> Path:
    """The finished prediction; each test leaves it as it was."""
    folder = tmp_path_factory.mktemp("verified") / "prediction"
    assert predict(masked, output=folder, **OPTIONS).blocks > 3
    return folder


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "blocks" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def shard_of(folder: Path, name: str) -> Path:
    """A shard's file in the middle of an array."""
    shards = sorted(path for path in (folder / name / "c").rglob("*") if path.is_file())
    return shards[len(shards) // 2]


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def never(images):
    raise AssertionError


@pytest.mark.parametrize("damage", [delete, truncate, flip])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_damaged_shard_is_told_and_predicted_again(masked, output, predict, task, name, damage):
    before, said = files(output), []
    damage(shard_of(output, name))
    assert files(output) != before
    outcome = predict(masked, output=output, verify=True, say=said.append, **OPTIONS)
    assert (outcome.done, outcome.left) == (1, 0)
    assert files(output) == before
    (line,) = said
    regions = [format_region(block.box, masked.axes) for block in task(masked, **OPTIONS).layout().blocks()]
    assert line in [f"damaged: {region}; predicted again" for region in regions]


@pytest.mark.parametrize("damage", [delete, truncate, flip])
def test_damaged_coordinates_are_told_and_written_again(masked, output, predict, damage):
    before, said = files(output), []
    for name in OTHERS:
        damage(shard_of(output, name))
    outcome = predict(masked, never, output, verify=True, say=said.append, **OPTIONS)
    assert (outcome.done, outcome.left) == (0, 0)
    assert said == [f"damaged: {name}; written again" for name in sorted(OTHERS)]
    assert files(output) == before


def test_a_damaged_record_has_its_block_predicted_again(masked, output, predict):
    before, said = files(output), []
    truncate(output / "ledger" / "blocks" / "1.json")
    assert predict(masked, output=output, verify=True, say=said.append, **OPTIONS).done == 1
    assert len(said) == 1
    assert files(output) == before


def test_where_nothing_is_damaged_nothing_is_done(masked, output, predict):
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    outcome = predict(masked, never, output, verify=True, say=pytest.fail, **OPTIONS)
    assert (outcome.done, outcome.left, outcome.last) == (0, 0, True)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


@pytest.mark.parametrize("damage", [delete, truncate, flip])
def test_damage_is_found_before_the_volume_is_finished(masked, output, predict, tmp_path, damage):
    part, said = tmp_path / "prediction", []
    first = predict(masked, output=part, max_blocks=3, **OPTIONS)
    for name in ("pred_probability", "inline"):
        damage(shard_of(Path(f"{part}.partial"), name))
    second = predict(masked, output=part, verify=True, say=said.append, **OPTIONS)
    assert second.done == first.left + 1
    assert len(said) == 1
    assert said[0].startswith("damaged: inline:")
    a, b = files(part), files(output)
    assert {name: a[name] for name in a if name != "zarr.json"} == {name: b[name] for name in b if name != "zarr.json"}
