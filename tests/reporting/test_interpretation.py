"""The figure of an interpreted survey."""

import numpy as np
import pytest
from matplotlib.image import imread

from seisjax.errors import UserError
from seisjax.geometry import Axis, Box
from seisjax.reporting import figures
from seisjax.reporting.interpretation import draw_interpretation
from seisjax.volumes import create_volume

SHAPE = (12, 14, 20)


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_DPI", 60)


def survey(url: str, examples: int = 0, labels: bool = True):
    names = ("inline", "crossline", "time")
    axes = [Axis(name, np.arange(n), "ms" if name == "time" else "") for name, n in zip(names, SHAPE, strict=True)]
    axes = ([Axis("example", np.arange(examples))] if examples else []) + axes
    shape = tuple(map(len, axes))
    with create_volume(url, axes, chunk=shape, shard=shape) as volume:
        volume.write("amplitude", Box.whole(shape), np.random.default_rng(0).normal(size=shape).astype(np.float32))
        fault, horizon = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        fault[..., 6, :, :], horizon[..., 10] = 1, 1
        classes = {"fault": ["none", "fault"], "horizon": ["none", "horizon 1"], "facies": ["one", "two"]}
        for name, values in (("fault", fault), ("horizon", horizon), ("facies", horizon)) if labels else ():
            volume.add_array(f"labels_{name}", np.uint8, attributes={"class_names": classes[name]})
            volume.write(f"labels_{name}", Box.whole(shape), values)
    return volume


def reddish(picture: np.ndarray) -> int:
    red, green, blue = np.moveaxis(picture[..., :3], -1, 0)
    return int(((red > 0.7) & (green < 0.25) & (blue < 0.3)).sum())


def test_faults_are_seen_where_they_are(tmp_path):
    volume = survey("memory://interpreted/")
    draw_interpretation(tmp_path / "cut.png", volume, (3, 7, 10))
    draw_interpretation(tmp_path / "along.png", volume, (6, 7, 10))  # a section along the fault is red all over
    draw_interpretation(tmp_path / "none.png", survey("memory://plain/", labels=False))
    cut, along, none = (reddish(imread(tmp_path / f"{name}.png")) for name in ("cut", "along", "none"))
    assert along > 2 * cut > 4 * none


def test_one_of_several_examples_is_drawn(tmp_path):
    draw_interpretation(tmp_path / "one.png", survey("memory://several/", examples=2), example=1)
    assert imread(tmp_path / "one.png").shape[2] == 4


def test_what_has_no_sections_or_lies_outside_is_one_line(tmp_path):
    volume = survey("memory://outside/")
    with pytest.raises(UserError, match="inline 12 of 12, counted from 0, is outside"):
        draw_interpretation(tmp_path / "x.png", volume, (12, 0, 0))
    axes = [Axis("trace", np.arange(4)), Axis("time", np.arange(8), "ms")]
    with create_volume("memory://line/", axes) as line:
        line.write("amplitude", Box.whole((4, 8)), np.zeros((4, 8), np.float32))
    with pytest.raises(UserError, match="has the axes trace, time; .* need a survey"):
        draw_interpretation(tmp_path / "x.png", line)
    assert not list(tmp_path.iterdir())
