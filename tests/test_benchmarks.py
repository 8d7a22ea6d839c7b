"""The benchmarks run, tiny."""

import importlib.util

import pytest


@pytest.fixture
def stream_memory(repository):
    spec = importlib.util.spec_from_file_location("stream_memory", repository / "benchmarks" / "stream_memory.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stream_memory_measures_a_volume_of_links(stream_memory, tmp_path):
    path = stream_memory.build_volume(tmp_path, 0.001, [16, 16, 32], [8, 8, 16], distinct=2)
    shards = [file for file in (tmp_path / "logical.zarr" / "amplitude" / "c").rglob("*") if file.is_file()]
    assert len(shards) >= 27
    assert len({file.stat().st_ino for file in shards}) == 2
    result = stream_memory.measure(path, [8, 8, 16], batch_size=4, steps=6, threads=2, prefetch=2)
    assert result["logical_gigabytes"] == pytest.approx(0.001, rel=0.5)
    assert result["bytes_read"] > result["bytes_used"] > 0
    assert "windows/s" in stream_memory.report(result)
