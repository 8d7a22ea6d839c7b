"""Metrics: valid JSON lines, cut at the restored step, and event files that can be read back."""

import json
import struct
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.image import imsave
from tensorboardX.proto import event_pb2

from seisjax.reporting import MetricsWriter


def lines(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=None) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def events(workdir: Path) -> list[tuple[int, str]]:
    """(step, tag) of everything in the event files, by their record format: length, crc, bytes, crc."""
    found = []
    for file in sorted((workdir / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])  # pyright: ignore[reportAttributeAccessIssue]
            found += [(event.step, value.tag) for value in event.summary.value]
            data = data[16 + length :]
    return found


def test_numbers_of_any_kind_become_json(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.scalars(
            20, "train", loss=jnp.float32(0.5), count=np.int64(3), bad=float("nan"), time={"waiting_share": 0.5}
        )
        writer.scalars(20, "validation", mean_iou=np.float64(0.25), iou_per_class=np.array([0.5, np.inf]), none=None)
    assert lines(tmp_path) == [
        {"step": 20, "split": "train", "loss": 0.5, "count": 3, "bad": None, "time": {"waiting_share": 0.5}},
        {"step": 20, "split": "validation", "mean_iou": 0.25, "iou_per_class": [0.5, None], "none": None},
    ]
    assert events(tmp_path) == [
        (20, "train/loss"),
        (20, "train/count"),
        (20, "train/time/waiting_share"),
        (20, "validation/mean_iou"),
    ]


def test_a_line_is_on_disk_at_once(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path)
    writer.scalars(1, "train", loss=1.0)
    assert len(lines(tmp_path)) == 1
    writer.close()


def test_truncate_forgets_later_steps_and_a_torn_line(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        for step in (10, 20, 30):
            writer.scalars(step, "train", loss=1.0 / step)
    before = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(before + '{"step": 40, "split": "tr')
    with MetricsWriter(tmp_path) as writer:
        writer.truncate(20)
        writer.scalars(30, "train", loss=1.0 / 30)
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_truncate_to_the_start_and_of_nothing(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.truncate(0)
        writer.scalars(5, "train", loss=1.0)
        writer.truncate(0)
    assert lines(tmp_path) == []


def test_figures_go_to_tensorboard(tmp_path: Path) -> None:
    imsave(tmp_path / "figure.png", np.zeros((4, 6)))
    with MetricsWriter(tmp_path) as writer:
        writer.figure(7, "panels", tmp_path / "figure.png")
    assert events(tmp_path) == [(7, "panels")]


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, enabled=False) as writer:
        writer.truncate(0)
        writer.scalars(1, "train", loss=1.0)
        writer.figure(1, "panels", tmp_path / "none.png")
    assert list(tmp_path.iterdir()) == []
