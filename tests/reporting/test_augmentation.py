"""The figure of augmentations: a panel a kind, each with what that kind alone does."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from seisjax.augment import Augmentation
from seisjax.conventions import IGNORE
from seisjax.reporting import figures
from seisjax.reporting.augmentation import augmentation_examples, draw_augmentations

AXES = ("inline", "crossline", "time")


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_DPI", 60)


@pytest.fixture(scope="module")
def window() -> tuple[np.ndarray, np.ndarray]:
    """A section of 24 x 32 samples, its first traces without data."""
    image = np.random.default_rng(0).normal(size=(1, 24, 32, 1)).astype(np.float32)
    label = np.broadcast_to(np.arange(32) // 16, (1, 24, 32)).astype(np.uint8)
    image[:, :3], label[:, :3] = np.nan, IGNORE
    return image, label


def test_each_kind_is_shown_by_itself_and_then_all(window: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = window
    before = np.nan_to_num(image)
    augmentation = Augmentation(flip_axes=(1,), polarity=0.5, time_shift=4.0)
    examples = augmentation_examples(augmentation, image, label, AXES)
    assert list(examples) == ["flip_axes=crossline", "polarity=0.5", "time_shift=4", "all together"]
    np.testing.assert_array_equal(examples["flip_axes=crossline"][0], before[:, ::-1])
    np.testing.assert_array_equal(examples["flip_axes=crossline"][1], label[:, ::-1])
    np.testing.assert_array_equal(examples["polarity=0.5"][0], -before)
    assert (examples["time_shift=4"][1][0, 10] != label[0, 10]).any()


def test_the_one_kind_is_not_shown_twice(window: tuple[np.ndarray, np.ndarray]) -> None:
    assert list(augmentation_examples(Augmentation(gain=0.25), *window, AXES)) == ["gain=0.25"]
    assert augmentation_examples(Augmentation(), *window, AXES) == {}


@pytest.mark.parametrize("shape", [(1, 24, 32), (6, 24, 32), (24, 32)])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_example_has_its_panel(tmp_path: Path, shape: tuple[int, ...], count: int) -> None:
    image, label = np.zeros((*shape, 1), np.float32), np.full(shape, IGNORE, np.uint8)
    image[..., :4, 0] = np.nan
    path = tmp_path / "figures" / "augmentation.png"
    examples = {f"kind {i}": (image, label) for i in range(count)}
    draw_augmentations(path, image, label, examples, AXES[-len(shape) :], ("noise", "event"), title="title")
    picture = imread(path)[..., :3]
    missing = (np.abs(picture - to_rgb(figures.NO_DATA)) < 0.01).all(-1)
    rows, columns = missing[:-20].any(1), missing[:-20].any(0)  # the legend aside
    runs = [int((np.diff(np.pad(line, 1).astype(int)) == 1).sum()) for line in (rows, columns)]
    assert runs == [-(-(count + 1) // 4), min(count + 1, 4)]


def test_what_has_no_data_looks_alike_in_every_panel(window: tuple[np.ndarray, np.ndarray], monkeypatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr("seisjax.reporting.augmentation.save", lambda figure, path: drawn.append(figure))
    image, label = window
    examples = augmentation_examples(Augmentation(gain=0.25, polarity=0.5), image, label, AXES)
    draw_augmentations(Path(), image, label, examples, AXES, ("noise", "event"))
    for panel in drawn[0].axes:
        if panel.get_visible():
            missing = np.ma.getmaskarray(panel.images[0].get_array())
            np.testing.assert_array_equal(missing.all(axis=0), np.arange(24) < 3)
