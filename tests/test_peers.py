"""Benchmarks beside other libraries, tiny. What those libraries do is tested where they are installed."""

import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import grain  # noqa: F401  # its flags, which are defined as it is imported, are to stay
import numpy as np
import pytest
from absl import flags

from seisjax import runtime

pytestmark = pytest.mark.quick_compiler


@pytest.fixture
def benchmark_module(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a benchmark by its name, so that processes it starts can import it too; its flags are forgotten after."""
    before, loaded = set(flags.FLAGS), []
    monkeypatch.syspath_prepend(repository / "benchmarks")
    monkeypatch.setattr(runtime, "use_one_heap", lambda: None)  # the tests' process is to stay as it is

    def load(name: str) -> ModuleType:
        loaded.append(name)
        return importlib.import_module(name)

    yield load
    for name in loaded:
        sys.modules.pop(name, None)
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def test_our_step_is_a_candidate(benchmark_module):
    module = benchmark_module("step_peers")
    case = module.Case(4, 3, 32, 2, "batch", "float32", "cpu", 2)
    assert case.widths == [4, 8, 16]
    candidate = module.make_seisjax(case)
    kernels = 9 * (1 * 4 + 4 * 4 + 4 * 8 + 8 * 8 + 8 * 16 + 16 * 16) + 9 * (16 * 8 + 8 * 8 + 8 * 4 + 4 * 4)
    kernels += 4 * (16 * 8 + 8 * 4) + 4
    others = 2 * 2 * (4 + 8 + 16 + 8 + 4) + 1  # scales and biases of two norms a block, and the head's bias
    assert candidate.facts["parameters"] == kernels + others
    assert candidate.facts["first_step_seconds"] > 0
    assert candidate.measure() > 0
    assert candidate.memory()["temporaries"] > 2 * 32 * 32 * 4 * 4


def test_a_step_of_pytorch_has_as_many_parameters(benchmark_module):
    pytest.importorskip("torch")
    module = benchmark_module("step_peers")
    for norm in ("batch", "instance", "none"):
        case = module.Case(4, 3, 32, 1, norm, "float32", "cpu", 1)
        counts = {
            candidate.facts["parameters"]
            for candidate in (module.make_seisjax(case), module.make_torch(case, "torch", checkpoint=True))
        }
        assert len(counts) == 1


def test_candidates_that_cannot_be_made_are_left_out_and_said(benchmark_module):
    module = benchmark_module("step_peers")
    case = module.Case(4, 3, 32, 1, "none", "float32", "cpu", 1)
    result = module.compare(case, ["monai", "nnunet"], 1, apart=True)
    assert result["rows"] == {}
    assert set(result["left_out"]) == {"monai", "nnunet"}  # none has a network without a norm
    result["rows"] = {
        name: {
            "seconds": {"median": seconds},
            "first_step_seconds": 3.0,
            "parameters": 1234,
            "memory": {"resident_peak": 2**30},
        }
        for name, seconds in (("seisjax", 0.5), ("torch", 0.75))
    }
    lines = module.report(result).splitlines()
    assert lines[3].split() == ["torch", "750.0", "1.50", "3.0", "1,024", "host", "1,234"]
    assert lines[-1].startswith("left out: nnunet: ")


@pytest.fixture
def loader_case(benchmark_module, tmp_path: Path):
    """The module and a case whose files are written."""

    def make(windows: str, dtype: str, compression: str):
        module = benchmark_module("loader_peers")
        options = {"batch_size": 4, "workers": 0, "device": "cpu", "seconds": 0.01, "folder": str(tmp_path)}
        case = module.make_case(windows, 3e-3, 32, dtype=dtype, compression=compression, **options)
        module.write_volume(case)
        module.write_peers(case)
        return module, case

    return make


@pytest.mark.parametrize(("windows", "dtype", "compression"), [("cubes", "float32", "lz4"), ("panels", "int8", "none")])
def test_all_readers_read_the_same_volume(loader_case, windows: str, dtype: str, compression: str):
    module, case = loader_case(windows, dtype, compression)
    copies = [np.asarray(module.open_array(case, kind)[...]) for kind in ("zarr-python", "h5py", "memory-mapped")]
    assert copies[0].dtype == dtype
    assert copies[0].shape == case.shape
    assert 0.8 < copies[0].std() * (0.03 if dtype == "int8" else 1) < 1.2
    for copy in copies[1:]:
        np.testing.assert_array_equal(copy, copies[0])
    module.warm(case)
    for make, arguments in map(module.maker, module.OURS):
        reader = make(case, *arguments)
        assert 0 < reader.measure() < 10
        reader.close()


def test_our_windows_are_those_of_the_volume(loader_case):
    module, case = loader_case("cubes", "int8", "zstd")
    data = module.open_array(case, "memory-mapped") * np.float32(0.03)
    source = module._source(case, "uniform")
    image = source.read([5])["image"][0, ..., 0]
    box = source.sampler.draw(5).box
    np.testing.assert_allclose(image, data[box.slices], rtol=1e-6)


def test_a_loader_of_pytorch_reads_windows(loader_case):
    pytest.importorskip("torch")
    module, case = loader_case("panels", "int8", "zstd")
    for kind in module.PEERS:
        assert module.make_torch(case, kind).measure() > 0


def test_the_report_of_loaders_compares_them(loader_case, tmp_path: Path):
    module, case = loader_case("panels", "float32", "zstd")
    result = module.compare(case, ["tensorstore sequential"], 1)
    assert list(result["rows"]) == ["tensorstore sequential"]
    rows = {"seisjax": 0.01, "zarr-python": 0.04, "tensorstore": 0.008}
    result["rows"] = {name: {"seconds_a_window": {"median": seconds}} for name, seconds in rows.items()}
    lines = module.report(result).splitlines()
    assert lines[2].split() == ["seisjax", "100.0", "0.000", "nan", "4.00", "0.80"]
    lines = module.verdicts([result]).splitlines()
    assert lines[0] == "seisjax / zarr-python: at least 2.5 asked, met by 1 of 1 stores"
    assert lines[3].split() == ["panels", "float32", "zstd", "0.80", "short"]
    del result["case"]["folder"]
    other = result | {"case": result["case"] | {"compression": "lz4"}}
    for part in ([result], [other], [result, other]):
        cases = module.save(tmp_path / "out.json", part)
    assert [case["case"]["compression"] for case in cases] == ["zstd", "lz4"]
    assert json.loads((tmp_path / "out.json").read_text())["cases"] == json.loads(json.dumps(cases))
    assert math.prod(case.shape) * 4 == pytest.approx(3e6, rel=0.01)


def test_the_first_step_is_waited_for(benchmark_module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = benchmark_module("first_step")
    train = tmp_path / "train.py"
    train.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "cache = Path(os.environ['XDG_CACHE_HOME'])\n"
        "full = cache.exists()\n"
        "cache.mkdir(exist_ok=True)\n"
        "assert '--more=1' in sys.argv, 'no more'\n"
        "time.sleep(0 if full else 0.5)\n"
        "folder = Path(sys.argv[-1].removeprefix('--workdir='))\n"
        "folder.mkdir()\n"
        "(folder / 'metrics.jsonl').write_text('{}\\n')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(module, "TRAIN", train)
    seconds = module.measure("a.py", ["--more=1"], 2)
    assert min(seconds["empty"]) > 0.4 + min(seconds["full"])
    assert "full cache" in module.report("a.py", seconds)
    with pytest.raises(RuntimeError, match="no more"):
        module.measure("a.py", [], 1)
