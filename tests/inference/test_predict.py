"""Prediction: exact where it must be, whatever the block, the region, the batch."""

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from seisjax.errors import UserError
from seisjax.geometry import Box, padded_window
from seisjax.volumes import open_volume

SHAPE = (13, 14, 22)
WINDOW = (6, 8, 10)
NAMES = ("inline", "crossline", "time")


@pytest.fixture(scope="module")
def whole(volume, predicted, contents):
    return contents(predicted(volume))


def test_equals_a_direct_sum_over_the_lattice(values, whole, forward):
    sums, weights = np.zeros((*SHAPE, 2)), np.zeros(SHAPE)
    profile = [1 - np.abs(np.arange(n) + 0.5 - n / 2) * 2 / (n + 1) for n in WINDOW]
    weight = profile[0][:, None, None] * profile[1][:, None] * profile[2]
    big = np.full((40, 40, 40), np.nan, np.float32)
    big[tuple(slice(n) for n in SHAPE)] = values
    for start in itertools.product(range(0, 9, 2), (0, 4, 6), range(0, 13, 6)):
        place = tuple(slice(a, a + n) for a, n in zip(start, WINDOW, strict=True))
        image = np.full((8, 8, 12, 1), np.nan, np.float32)
        image[:6, :8, :10, 0] = big[place]
        p = np.asarray(forward(image[None]))[0, :6, :8, :10]
        inside = tuple(slice(0, min(n, m - a)) for a, n, m in zip(start, WINDOW, SHAPE, strict=True))
        sums[place] += (p * weight[..., None])[inside]
        weights[place] += weight[inside]
    expected = sums / weights[..., None]
    np.testing.assert_allclose(np.moveaxis(whole["pred_probability"], 0, -1), expected, rtol=1e-5)
    np.testing.assert_array_equal(whole["pred_class"], whole["pred_probability"].argmax(0))
    np.testing.assert_allclose(whole["pred_entropy"], -(expected * np.log(expected)).sum(-1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 300, 1000, 2000])
def test_every_block_size_gives_the_same_bits(volume, whole, samples, predicted, contents):
    result = contents(predicted(volume, block_bytes=samples * 130))
    for name in whole:
        np.testing.assert_array_equal(result[name], whole[name])


def test_another_batch_size_gives_the_same_but_for_rounding(volume, whole, predicted, contents):
    result = contents(predicted(volume, batch_size=7))
    np.testing.assert_allclose(result["pred_probability"], whole["pred_probability"], atol=1e-6)


@pytest.mark.parametrize("box", [Box((3, 5, 7), (9, 4, 13)), Box((12, 0, 0), (1, 14, 22)), Box((0, 0, 21), (13, 1, 1))])
def test_a_region_equals_its_part_of_the_whole(volume, whole, box, predicted, contents):
    output = predicted(volume, box=box, block_bytes=5000)
    result = contents(output)
    np.testing.assert_array_equal(result["pred_class"], whole["pred_class"][box.slices])
    np.testing.assert_array_equal(result["pred_probability"], whole["pred_probability"][(slice(None), *box.slices)])
    for axis, cut, part in zip(volume.axes, output.axes, box.slices, strict=True):
        np.testing.assert_array_equal(cut.labels, axis.labels[part])


@st.composite
def cuttings(draw):
    """The sides of a volume of 2 to 4 axes, and how it is cut into windows."""
    ndim = draw(st.integers(2, 4))
    multiple, blend = draw(st.integers(1, 3)), draw(st.sampled_from(["linear", "uniform", "crop"]))
    window = [draw(st.integers(1, 7)) for _ in range(ndim)]
    shape = [draw(st.integers(1, 9)) for _ in range(ndim)]
    directions = ()
    if ndim == 3 and draw(st.booleans()):  # sections, in some directions
        window = [side + 1 for side in window]
        window[draw(st.integers(0, 2))] = 1
        shape = [side + max(window) for side in shape]
        directions = tuple(draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)))
    padded = padded_window(window, multiple)
    halo = min((side - multiple) // 2 for side in padded if side > 1) if max(padded) > 1 else 0
    cutting = {"window": tuple(window), "padded": padded, "multiple": multiple, "blend": blend}
    cutting |= {"directions": directions, "radius": draw(st.integers(0, halo)) if blend == "crop" else 0}
    return shape, cutting | {"overlap": draw(st.sampled_from([0.0, 0.3, 0.5, 0.8]))}


@settings(max_examples=60, deadline=None)
@given(
    cut=cuttings(),
    constant=st.floats(0, 1, width=32),
    dtype=st.sampled_from(["uint8", "float16", "float32"]),
    flips=st.sets(st.integers(0, 3)),
    block_bytes=st.sampled_from([1, 10**6]),
)
def test_a_constant_output_stays_as_it_is(cut, constant, dtype, flips, block_bytes, survey, predicted, contents):
    shape, cutting = cut
    output = predicted(
        survey(np.ones(shape, np.float32), chunk=(4,) * len(shape)),
        lambda images: np.full((*images.shape[:-1], 2), constant, np.float32),
        **cutting,
        products=("probability", "spread"),
        probability_dtype=dtype,
        tta_axes=tuple(axis for axis in flips if axis < len(shape)),
        block_bytes=block_bytes,
    )
    expected = np.rint(np.float32(constant) * np.float32(254)) if dtype == "uint8" else np.float32(constant)
    found = contents(output)
    assert (found["pred_probability"] == expected.astype(dtype)).all()
    assert (found["pred_spread"] == 0).all()


def test_where_there_are_no_data_nothing_is_predicted(values, survey, predicted, contents, forward):
    values = values.copy()
    values[2, 3, 4], values[0, 0, 0] = np.nan, np.inf
    live = np.ones(SHAPE[:2], bool)
    live[5, 6] = live[9:, 9:] = False
    volume = survey(values, live=live)
    seen = []

    def spy(images):
        seen.append(images)
        return forward(images)

    box = Box((0, 0, 0), (13, 14, 12))
    output = predicted(volume, spy, box=box)
    result = contents(output)
    dead = ~np.broadcast_to(live[..., None], SHAPE) | ~np.isfinite(values)
    dead = dead[box.slices]
    np.testing.assert_array_equal(result["pred_class"] == 255, dead)
    np.testing.assert_array_equal(np.isnan(result["pred_probability"]), np.stack([dead, dead]))
    np.testing.assert_array_equal(np.isnan(result["pred_entropy"]), dead)
    np.testing.assert_array_equal(output.read("trace_mask", Box.whole(SHAPE[:2])), live)
    np.testing.assert_array_equal(output.read("cdp_x", Box.whole(SHAPE[:2])).ravel(), np.arange(13 * 14))
    assert {images.shape for images in seen} == {(3, 8, 8, 12, 1)}
    assert not any(np.isinf(images).any() for images in seen)


def test_windows_without_data_are_left_out(survey, predicted, contents):
    values = np.zeros((4, 16, 8), np.float32)
    values[:, 8:] = np.nan
    calls = []

    def count(images):
        calls.append(np.isfinite(images).any(axis=(1, 2, 3, 4)).sum())
        return np.full((*images.shape[:-1], 2), 0.5, np.float32)

    output = predicted(survey(values), count, window=(4, 4, 8), padded=(4, 4, 8), overlap=0, batch_size=1)
    assert calls == [1, 1]
    assert (contents(output)["pred_class"][:, 8:] == 255).all()


def test_mirrored_windows_are_averaged(volume, values, whole, survey, predicted, contents):
    flipped = survey(values[:, ::-1].copy())
    # Stride and window fit the axis, so that the mirrored volume has the mirrored lattice.
    lattice: dict[str, Any] = {"window": (6, 14, 10), "padded": (8, 16, 12)}
    plain, mirrored = (contents(predicted(v, **lattice))["pred_probability"] for v in (volume, flipped))
    both = contents(predicted(volume, **lattice, tta_axes=(1,)))["pred_probability"]
    np.testing.assert_allclose(both, (plain + mirrored[:, :, ::-1]) / 2, atol=1e-6)


def test_sections_of_several_directions_are_averaged(volume, predicted, contents):
    sections: dict[str, Any] = {"window": (1, 8, 10), "padded": (1, 8, 12)}
    directions = [("inline",), ("crossline",), ("inline", "crossline")]
    inline, crossline, both = (contents(predicted(volume, **sections, directions=d)) for d in directions)
    mean = (inline["pred_probability"] + crossline["pred_probability"]) / 2
    np.testing.assert_allclose(both["pred_probability"], mean, atol=1e-6)
    assert np.abs(inline["pred_probability"] - crossline["pred_probability"]).max() > 0.1
    blocks = contents(predicted(volume, **sections, directions=directions[2], block_bytes=1))
    for name, values in both.items():
        np.testing.assert_array_equal(blocks[name], values)


def test_members_give_their_mean_and_spread(values, survey, predicted, contents):
    window: dict[str, Any] = {"window": values.shape, "padded": values.shape}
    members = [lambda images, k=k: _biased(images, 0.3 * k) for k in range(3)]
    volume = survey(values)
    alone = [contents(predicted(volume, member, **window))["pred_probability"] for member in members]
    products = ("class", "probability", "spread")
    found = contents(predicted(volume, forwards=members, **window, products=products))
    np.testing.assert_allclose(found["pred_probability"], np.mean(alone, axis=0), atol=1e-6)
    np.testing.assert_allclose(found["pred_spread"], np.sqrt(np.var(alone, axis=0).sum(0)), atol=1e-6)


def _biased(images: np.ndarray, bias: float) -> np.ndarray:
    p = 1 / (1 + np.exp(bias - images))
    return np.concatenate([p, 1 - p], -1)


def test_what_the_output_remembers(volume, tmp_path, predicted):
    progress = []
    output = predicted(
        volume,
        output=str(tmp_path / "prediction"),
        box=Box((0, 0, 0), (4, 4, 8)),
        class_names=["rock", "salt"],
        class_colors=["#000000", "#ffffff"],
        attributes={"run": "here", "step": 7},
        probability_dtype="float16",
        progress=lambda done, total: progress.append((done, total)),
    )
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4), (4, 4)]
    again = open_volume(output.url)
    shown = xr.open_zarr(output.url)
    assert shown.pred_probability.dims == ("class", *NAMES)
    assert shown.inline.values.tolist() == [100, 102, 104, 106]
    assert (again.attributes["run"], again.attributes["step"]) == ("here", 7)
    assert again.attributes["predicted_from"] == volume.url
    assert again.attributes["region"] == "inline:100-106,crossline:100-106,time:100-114"
    assert again.arrays["pred_class"].attributes["class_names"] == ["rock", "salt"]
    assert again.arrays["pred_probability"].dtype == np.float16
    assert again.arrays["pred_probability"].dimension_names == ("class", *NAMES)


def test_what_stands_is_kept_and_another_task_refused_by_name(volume, tmp_path, predict, predicted):
    url, part = str(tmp_path / "prediction"), Box((0, 0, 0), (1, 1, 1))
    predicted(volume, output=url)
    before = (tmp_path / "prediction" / "zarr.json").read_bytes()
    again = predict(volume, output=url)
    assert (again.done, again.left, again.last) == (0, 0, True)
    for changes, difference in (
        ({"box": part}, r"--region=inline:100-124,.* now it is inline:100-100"),
        ({"blend": "uniform"}, "--blend=linear, now it is uniform"),
        ({"key": {"weights": "abc"}}, "weights=null, now it is abc"),
        ({"key": {"statistics": {"mean": 1.0}}}, "statistics=null"),
    ):
        with pytest.raises(UserError, match=difference):
            predict(volume, output=url, **changes)
    assert (tmp_path / "prediction" / "zarr.json").read_bytes() == before
    predicted(volume, output=url, overwrite=True, box=part)
    assert open_volume(url).shape == (1, 1, 1)


def test_a_failure_leaves_nothing(volume, tmp_path, predicted):
    def fail(images):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        predicted(volume, fail, output=str(tmp_path / "prediction"))
    assert list(tmp_path.iterdir()) == []
