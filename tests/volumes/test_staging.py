"""Where stores grow before they stand in their place."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from seisjax.errors import UserError
from seisjax.volumes.staging import LEDGER, SharedStaging, Staging


def test_who_comes_first_is_alone_until_it_shares(tmp_path: Path):
    first = SharedStaging(tmp_path / "a.zarr", replace=False)
    assert first.alone
    first.clear()
    first.share()
    second = SharedStaging(tmp_path / "a.zarr", replace=False)
    assert not second.alone
    assert first.claim("finish")
    assert not second.claim("finish")
    first.commit()
    assert not second.stands()
    assert (tmp_path / "a.zarr").is_dir()
    assert not (tmp_path / "a.zarr" / LEDGER).exists()
    first.release()
    second.release()


def test_what_somebody_else_keeps_under_the_name_is_not_touched(tmp_path: Path):
    (tmp_path / "a.zarr.partial").mkdir()
    (tmp_path / "a.zarr.partial" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="a.zarr.partial: exists and is no unfinished volume; move it away"):
        SharedStaging(tmp_path / "a.zarr", replace=True)
    assert [path.name for path in (tmp_path / "a.zarr.partial").iterdir()] == ["notes.txt"]


def test_what_a_link_points_to_is_replaced_and_the_link_stays(tmp_path: Path):
    (tmp_path / "disk" / "a.zarr").mkdir(parents=True)
    (tmp_path / "disk" / "a.zarr" / "old").touch()
    (tmp_path / "link.zarr").symlink_to(tmp_path / "disk" / "a.zarr")
    staging = Staging(tmp_path / "link.zarr", replace=True)
    (staging.folder / "new").touch()
    staging.commit()
    assert [path.name for path in (tmp_path / "link.zarr").iterdir()] == ["new"]
    assert (tmp_path / "link.zarr").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["a.zarr"]


def test_a_file_system_without_locks_is_told_and_one_process_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    alone = SharedStaging(tmp_path / "a.zarr", replace=False)
    assert alone.alone
    alone.clear()
    alone.share()
    with alone.writing() as may_write:
        assert may_write
    assert alone.claim("finish")
    alone.settle()
    alone.commit()
    alone.release()
    assert (tmp_path / "a.zarr").is_dir()
    assert capfd.readouterr().err.count("has no locks") == 1
