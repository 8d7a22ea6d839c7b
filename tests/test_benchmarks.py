"""The benchmarks run, tiny."""

import importlib.util
from types import SimpleNamespace

import grain  # noqa: F401  # its flags, which are defined as it is imported, are to stay
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from seisjax.commands.plan import lower_step
from seisjax.geometry import Box
from seisjax.synthetic.fault_parameters import FaultedVolume, Faults, Layers
from seisjax.volumes import open_volume


@pytest.fixture
def benchmark_module(repository):
    """Imports a benchmark by its name; its flags are forgotten at the end, for others have flags of the same names."""
    before = set(flags.FLAGS)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, repository / "benchmarks" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def test_stream_memory_measures_a_volume_of_links(benchmark_module, tmp_path):
    stream_memory = benchmark_module("stream_memory")
    path = stream_memory.build_volume(tmp_path, 0.001, [16, 16, 32], [8, 8, 16], distinct=2)
    shards = [file for file in (tmp_path / "logical.zarr" / "amplitude" / "c").rglob("*") if file.is_file()]
    assert len(shards) >= 27
    assert len({file.stat().st_ino for file in shards}) == 2
    result = stream_memory.measure(path, [8, 8, 16], batch_size=4, steps=6, threads=2, prefetch=2)
    assert result["logical_gigabytes"] == pytest.approx(0.001, rel=0.5)
    assert result["bytes_read"] > result["bytes_used"] > 0
    assert "windows/s" in stream_memory.report(result)


@pytest.fixture
def panels_preset(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(
        "from dataclasses import replace\n"
        "from seisjax.synthetic.parameters import QUICKSTART, ReceiverArray, WHITE_NOISE\n\n"
        "def get_config():\n"
        "    array = ReceiverArray(lines=2, stations=7)\n"
        "    return replace(QUICKSTART, array=array, num_samples=96, noise=WHITE_NOISE)\n"
    )
    return str(path)


@pytest.mark.slow
def test_stream_panels_measures_made_and_stored_panels(benchmark_module, panels_preset, tmp_path):
    module = benchmark_module("stream_panels")
    url = module.build_volume(tmp_path, panels_preset, 1e-4, distinct=3)
    shards = [file for file in (tmp_path / "logical.zarr" / "amplitude" / "c").rglob("*") if file.is_file()]
    assert len(shards) == 19
    assert len({file.stat().st_ino for file in shards}) == 3
    few, volume = (open_volume(tmp_path / name) for name in ("few.zarr", "logical.zarr"))
    last = Box((18, 0, 0), (1, 14, 96))
    np.testing.assert_array_equal(volume.read_amplitude(last), few.read_amplitude(Box((0, 0, 0), (1, 14, 96))))
    for source in (url, f"synthetic:{panels_preset}?examples=19"):
        result = module.drive(source, 0.02, 0.4, batch_size=2, threads=2, prefetch=2, cache=16)
        assert result["panels"] > 0
        assert result["notes"]
        assert "panels/s" in module.report(result)


@pytest.mark.slow
def test_synthesis_speed_measures_panels(benchmark_module, panels_preset):
    module = benchmark_module("synthesis_speed")
    results = [module.measure(panels_preset, where, 2) for where in ("host", "device")]
    assert all(result["panels_per_minute"] > 0 for result in results)
    assert "14 x 96" in module.report(results)


@pytest.mark.slow
@pytest.mark.quick_compiler
def test_faults_speed_measures_volumes(benchmark_module, tmp_path):
    module, path = benchmark_module("faults_speed"), tmp_path / "tiny.py"
    path.write_text(
        "from dataclasses import replace\n"
        "from seisjax.synthetic.fault_parameters import FAULTS_64, Faults\n\n"
        "def get_config():\n"
        "    return replace(FAULTS_64, shape=(12, 10, 40), faults=Faults(count=(1, 2)))\n"
    )
    results = [module.measure(str(path), where, 2) for where in ("host", "device")]
    assert all(0 < result["fault_share"] < 0.5 for result in results)
    assert all(result["mega_samples_per_second"] > 0 for result in results)
    assert "12 x 10 x 40" in module.report(results)


def test_panel_4096_finds_the_largest_side(benchmark_module, tmp_path, monkeypatch):
    module = benchmark_module("panel_4096")
    assert module.largest_side(lambda side: side <= 1000, 64, 64) == 960
    assert module.largest_side(lambda side: side <= 1000, 4096, 64) == 960
    assert module.largest_side(lambda side: side < 64, 4096, 64) == 0
    tried = []

    def measure(folder, preset, side, steps, **options):  # the plan says that 1000 fit, but not more than 900 do
        tried.append((side, steps))
        plan = {"device": 2**20 * side, "host": 2**21 * side, "fits": side <= 1000}
        run = {"fits": side <= 900, "peak_of": "device", "peak_bytes": 2**20 * 1000, "losses": [0.7, 0.6]}
        return {"side": side, **options, "planned_bytes": plan} | (run | {"seconds_a_step": [2.5]} if steps else {})

    monkeypatch.setattr(module, "measure", measure)
    options = {"norm": "group", "remat": "level", "compute": "bfloat16", "data": 1, "space": 1, "shard": False}
    row = module.measure_largest(tmp_path, "microseismic_4096", 512, 2, **options)
    assert [side for side, steps in tried if steps] == [960, 896]
    line = module.report([row]).splitlines()[-1].split()
    assert line[:10] == ["896", "1", "x", "1", "group", "level", "bfloat16", "False", "896", "1,792"]
    assert line[10:] == ["1,000", "+11.6", "%", "2.50", "0.7000", "to", "0.6000"]


@pytest.mark.quick_compiler
def test_kernels_count_what_a_program_moves(benchmark_module, config):
    module = benchmark_module("kernels")
    x, y = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((100, 30), (30, 20)))
    program = jax.jit(lambda x, y: (jnp.tanh(x) + 1, x @ y)).lower(x, y).compile().as_text()
    found = {kernel.kind: kernel.bytes for kernel in module.kernels(program)}
    assert found == {"elementwise": 4 * 2 * 3000, "matrix products": 4 * (3000 + 600 + 2000)}

    config.model.levels = 2
    found = module.kernels(lower_step(config).compile().as_text())
    image = 8 * 16 * 36 * 4
    assert sum(kernel.bytes for kernel in found) > 10 * image * config.model.base_features
    assert "elementwise" in module.report(found, 3)


@pytest.mark.slow
@pytest.mark.quick_compiler
def test_mesh_rounding_compares_meshes(benchmark_module, monkeypatch):
    module = benchmark_module("mesh_rounding")
    monkeypatch.setattr(module, "MESHES", ((2, 1),))
    with flagsaver.flagsaver(seeds=2, steps=2):
        (row,) = module.measure("none", "gelu")
    assert 0 < row["median"] <= row["largest"] < 1e-5
    assert len(row["differences"]) == 2
    assert "2 x 1" in module.table([row]).splitlines()[1]


def test_penobscot_directions_finds_borders(benchmark_module, repository, monkeypatch):
    monkeypatch.syspath_prepend(repository / "benchmarks")  # it takes its flags from a benchmark beside it
    module = benchmark_module("penobscot_directions")
    borders = module.window_starts(64, 24)
    assert borders == [24, 40]  # the last window is drawn back to end with the survey
    roughness = np.ones(63)
    roughness[[23, 39]] = 3  # between samples 23 and 24, 39 and 40
    assert module.border_ratio(roughness, borders) == 3
    assert module.border_ratio(roughness, np.add(borders, 1)) == pytest.approx(61 / 65)
    assert module.border_ratio(np.ones(63), borders) == 1


@pytest.mark.slow
@pytest.mark.quick_compiler
def test_prediction_measures_a_volume_of_links(benchmark_module, tmp_path, monkeypatch):
    module = benchmark_module("prediction")
    monkeypatch.setattr(module, "PLANNED", (500, 600, 400))
    shard, chunk, window = (32, 32, 32), (16, 16, 16), (1, 16, 32)
    few, url, workdir = (tmp_path / name for name in ("few.zarr", "logical.zarr", "run"))
    module.build_few(few, shard, chunk)
    module.build_volume(few, url, 0.002, shard, chunk)
    shards = [file for file in (url / "amplitude" / "c").rglob("*") if file.is_file()]
    assert len(shards) == 18
    assert len({file.stat().st_ino for file in shards}) == 2
    module.train_few_steps(few, workdir, window)
    fetched = module.measure_fetched(workdir, url)
    assert fetched["fetched"] == pytest.approx(fetched["forecast"], rel=0.05)
    speed = module.measure_speed(workdir, url, 4, 1)
    assert speed["windows_per_second"] > 0
    assert 0 < speed["share_if_50_times_as_fast"] <= 1
    memory = module.launch(workdir, url, tmp_path / "output.zarr", "--max_blocks=2", "--block_mebibytes=1")
    # What starts a process counts in its peak, and this one may have become large.
    assert 100 < memory["peak_mebibytes"] < max(4000, memory["floor_mebibytes"] + 1)
    plan = module.measure_plan(window, chunk, shard)
    row = {"network": "sections", "window": window, "load_average": 0.0}
    measured = {"memory": [memory], "fetched": [fetched], "speed": [speed], "plan": [plan]}
    assert len(module.report({"rows": [row | measured]}).splitlines()) == 5


@pytest.fixture
def faults_benchmark(benchmark_module):
    return benchmark_module("faults")


def _cube(module, fault, slip=None):
    fault = np.array(fault, bool)[None, None]
    return module.Cube(np.zeros(fault.shape, np.float32), fault, np.zeros(fault.shape) if slip is None else slip)


def test_faults_are_scored_as_by_hand(faults_benchmark):
    cube, score = _cube(faults_benchmark, [1, 0, 0, 0, 1, 0]), np.array([[[0.9, 0.2, 0.8, 0.1, 0.5, 0.0]]])
    row = faults_benchmark.score_row([score], [cube], 0, 0.5)  # calls samples 0, 2 and 4
    assert row["precision"] == pytest.approx(2 / 3)
    assert row["recall"] == 1
    assert row["f1"] == pytest.approx(0.8)
    assert row["iou"] == pytest.approx(2 / 3)
    row = faults_benchmark.score_row([score], [cube], 0, 0.85)  # calls sample 0
    assert (row["precision"], row["recall"]) == (1, 0.5)
    assert row["best_f1"] == pytest.approx(0.8)
    assert 0.2 < row["best_threshold"] <= 0.5


def test_a_call_beside_a_fault_is_right_within_a_sample(faults_benchmark):
    cube, score = _cube(faults_benchmark, [0, 1, 0, 0, 0, 0]), np.array([[[0.9, 0.0, 0.0, 0.0, 0.9, 0.0]]])
    assert faults_benchmark.score_row([score], [cube], 0, 0.5)["f1"] == 0
    row = faults_benchmark.score_row([score], [cube], 1, 0.5)
    assert (row["precision"], row["recall"]) == (0.5, 1)
    assert row["f1"] == pytest.approx(2 / 3)


def test_scores_of_cubes_add_up(faults_benchmark):
    cubes = [_cube(faults_benchmark, [1, 1, 0, 0]), _cube(faults_benchmark, [0, 0, 0, 1])]
    scores = [np.array([[[0.9, 0.1, 0.9, 0.0]]]), np.array([[[0.0, 0.9, 0.0, 0.9]]])]
    row = faults_benchmark.score_row(scores, cubes, 0, 0.5)  # 4 calls, 2 of them right, of 3 samples
    assert (row["precision"], row["recall"]) == (0.5, pytest.approx(2 / 3))


def test_recall_is_counted_by_the_slip_of_each_sample(faults_benchmark):
    slip = np.array([[[1.5, 1.9, 0.0, 5.0, 20.0, 30.0]]])
    cube = _cube(faults_benchmark, [1, 1, 0, 1, 1, 1], slip)
    score = np.array([[[0.9, 0.1, 0.9, 0.9, 0.2, 0.9]]])
    recall = faults_benchmark.recall_by_slip([score], [cube], 0, 0.5)
    assert faults_benchmark.SLIP_EDGES == (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
    assert recall == [0.5, None, None, 1.0, None, None, 0.5]


@pytest.mark.slow
@pytest.mark.quick_compiler
def test_cubes_of_a_row_have_its_slip_and_only_their_noise_differs(faults_benchmark):
    small = FaultedVolume((24, 20, 40), faults=Faults(count=(2, 2)), layers=Layers(horizons=2))
    (cube,) = faults_benchmark.make_cubes(faults_benchmark.condition(small, "slip", 8.0), 0, 1)
    assert cube.fault.any()
    np.testing.assert_array_equal(cube.slip[cube.fault], 8)
    noisy, quiet = (
        next(faults_benchmark.make_cubes(faults_benchmark.condition(small, "noise", snr), 0, 1)) for snr in (0.5, 8.0)
    )
    np.testing.assert_array_equal(noisy.slip, quiet.slip)
    assert np.corrcoef(noisy.amplitude.ravel(), quiet.amplitude.ravel())[0, 1] < 0.7
    threshold, f1 = faults_benchmark.tune(lambda amplitude: quiet.fault * 0.7, [quiet])
    assert f1 == 1
    assert 0 < threshold <= 0.7


def test_faults_field_puts_windows_together(benchmark_module):
    module = benchmark_module("faults_field")

    def forward(images):  # a network whose probability is the amplitude
        return np.concatenate([1 - images, images], axis=-1)

    network = SimpleNamespace(
        survey=SimpleNamespace(window=(1, 8, 8, 8), padded=(1, 8, 8, 8)),
        config=SimpleNamespace(data=SimpleNamespace(batch_size=1)),
        forwards=lambda: [forward],
    )
    for shape in ((20, 1, 13), (8, 8, 8), (3, 9, 30)):
        amplitude = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
        np.testing.assert_allclose(module.predict(network, amplitude), amplitude, atol=1e-6)
