"""Records of networks: what obspy reads, on one grid of times."""

import gzip
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes import Volume, open_volume
from seisjax.volumes.ingest import ingest
from seisjax.volumes.metadata import default_layout
from seisjax.volumes.sources import describe_input, detect_format
from seisjax.volumes.stations import local_metres, read_stations
from seisjax.volumes.waveforms import waveform_format

obspy: Any = pytest.importorskip("obspy")
START = obspy.UTCDateTime("2020-01-02T03:04:05.25")


def save(path: Path, *records: tuple[str, float, float, Sequence[float] | np.ndarray], format: str = "MSEED") -> Path:
    """Write records (NET.STA.LOC.CHA, s after START, Hz, samples) to a file."""
    stream = obspy.Stream()
    for name, start, rate, samples in records:
        header = dict(zip(("network", "station", "location", "channel"), name.split("."), strict=True))
        header |= {"starttime": START + start, "sampling_rate": rate}
        stream.append(obspy.Trace(np.asarray(samples, np.float32), header))
    stream.write(str(path), format=format)
    return path


def amplitude(volume: Volume) -> np.ndarray:
    return volume.read_amplitude(Box.whole(volume.shape))


def test_channels_are_sorted_station_by_station_and_keep_their_values(tmp_path: Path):
    noise = np.random.default_rng(0).normal(size=(5, 80)).astype(np.float32)
    names = ["XX.B..HHE", "XX.A..HHN", "XX.A..HHZ", "XX.A..HHE", "XX.A..HDH"]
    path = save(tmp_path / "a.mseed", *((name, 0, 100, row) for name, row in zip(names, noise, strict=True)))
    volume = ingest(path, tmp_path / "v.zarr")
    assert [axis.name for axis in volume.axes] == ["receiver", "time"]
    assert (volume.kind, volume.axes[1].unit) == ("recording", "ms")
    np.testing.assert_array_equal(volume.axes[1].labels, np.arange(80) * 10)
    order = ["XX.A..HDH", "XX.A..HHZ", "XX.A..HHN", "XX.A..HHE", "XX.B..HHE"]
    assert volume.attributes["receiver_names"] == order
    assert volume.attributes["receiver_components"] == ["hydrophone", "z", "n", "e", "e"]
    assert volume.attributes["start_time"] == "2020-01-02T03:04:05.250000Z"
    assert volume.attributes["sampling_interval"] == 10.0
    assert volume.attributes["source_files"] == [str(path)]
    np.testing.assert_array_equal(amplitude(volume), noise[[names.index(name) for name in order]])
    assert "receiver_shift" not in volume.arrays


def test_places_and_shifts_of_zero_are_numbers_among_others(tmp_path: Path):
    """Each shard column is written by itself; in the first ones all elevations and shifts are 0."""
    late = [0.0] * 16 + [0.003] * 8
    path = save(tmp_path / "a.mseed", *((f"XX.S{i:02d}..HHZ", late[i], 100, np.ones(40)) for i in range(24)))
    table = tmp_path / "stations.csv"
    for deepest in (0, 50):
        depths = [0] * 16 + [deepest] * 8
        table.write_text("name,x,y,z\n" + "".join(f"S{i:02d},{100 * i},0,{depths[i]}\n" for i in range(24)))
        output = tmp_path / f"{deepest}.zarr"
        volume = ingest(path, output, stations=str(table), chunk=(8, 40), shard=(8, 40))
        np.testing.assert_array_equal(volume.read("receiver_z", Box.whole((24,))), depths)
        np.testing.assert_allclose(volume.read("receiver_shift", Box.whole((24,))) != 0, np.array(late) != 0)


def test_files_follow_one_another_and_gaps_are_masked(tmp_path: Path):
    """A gap, an overlap of two files, a channel that starts late; the folder is the input."""
    long = np.arange(100, dtype=np.float32) + 1
    folder = tmp_path / "days"
    folder.mkdir()
    save(folder / "2.mseed", ("XX.A..HHZ", 0.3, 100, long[30:60]), ("XX.B..HHZ", 0.5, 100, long[:10]))
    save(folder / "1.mseed", ("XX.A..HHZ", 0.0, 100, long[:40]))
    save(folder / "3.mseed", ("XX.A..HHZ", 0.8, 100, long[80:]))
    (folder / "notes.txt").write_text("not a record")
    volume = ingest(folder, tmp_path / "v.zarr")
    expected = np.full((2, 100), np.nan, np.float32)
    expected[0, :60], expected[0, 80:] = long[:60], long[80:]
    expected[1, 50:60] = long[:10]
    np.testing.assert_array_equal(amplitude(volume), expected)
    assert volume.statistics is not None
    assert volume.statistics.non_finite == np.isnan(expected).sum()
    assert len(volume.attributes["source_files"]) == 3
    pattern = ingest(str(folder / "*.mseed"), tmp_path / "pattern.zarr")
    np.testing.assert_array_equal(amplitude(pattern), expected)
    with pytest.raises(UserError, match="no such file"):
        ingest(str(folder / "*.sac"), tmp_path / "none.zarr")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("not a record")
    with pytest.raises(UserError, match="empty: holds neither a volume .* nor files of waveforms or DAS"):
        ingest(tmp_path / "empty", tmp_path / "none.zarr")


def test_a_receiver_off_the_grid_goes_to_its_nearest_samples(tmp_path: Path):
    path = save(tmp_path / "a.mseed", ("XX.A..HHZ", 0.0, 100, range(50)), ("XX.B..HHZ", 0.013, 100, range(1, 41)))
    volume = ingest(path, tmp_path / "v.zarr")
    found = amplitude(volume)[1]
    np.testing.assert_array_equal(found[1:41], np.arange(1, 41))
    assert np.isnan(found[[0, *range(41, 50)]]).all()
    np.testing.assert_allclose(volume.read("receiver_shift", Box.whole((2,))), [0, -0.003], atol=1e-8)


@pytest.mark.parametrize("seam", [0.0, 2.0])
def test_resampling_brings_rates_and_starts_to_one_grid(tmp_path: Path, seam: float):
    """A 3 Hz sine at 100 Hz, at 40 Hz in two files without a seam (or with a gap), and off the grid."""
    wave = lambda t: np.sin(2 * np.pi * 3 * np.asarray(t))  # noqa: E731
    times = {"A": np.arange(1000) / 100, "B": np.arange(400) / 40, "C": np.arange(900) / 100 + 0.0034}
    folder = tmp_path / "in"
    folder.mkdir()
    save(folder / "a.mseed", ("XX.A..HHZ", 0, 100, wave(times["A"])), ("XX.C..HHZ", 0.0034, 100, wave(times["C"])))
    half = times["B"][200 + int(40 * seam) :]
    save(folder / "b1.mseed", ("XX.B..HHZ", 0, 40, wave(times["B"][:200])))
    save(folder / "b2.mseed", ("XX.B..HHZ", half[0], 40, wave(half)))
    different = r"differ: 100 Hz \(XX\.A\.\.HHZ of .*a\.mseed\), 40 Hz \(XX\.B\.\.HHZ of .*b1\.mseed\); give --resample"
    with pytest.raises(UserError, match=different):
        ingest(folder, tmp_path / "v.zarr")
    volume = ingest(folder, tmp_path / "v.zarr", resample=50.0)
    found, grid = amplitude(volume), np.arange(volume.shape[1]) / 50
    assert volume.attributes["sampling_interval"] == 20.0
    assert "receiver_shift" not in volume.arrays
    for number, (row, end) in enumerate(zip(found, (9.99, 9.975, 9.0), strict=True)):
        inside = (grid > 1) & (grid < end - 1)
        if number == 1 and seam:
            assert np.isnan(row[(grid > 5.01) & (grid < 6.97)]).all()
            inside &= (grid < 4) | (grid > 8)
        np.testing.assert_allclose(row[inside], wave(grid[inside]), atol=1e-3)
    assert np.isnan(found[2][grid > 9.02]).all()


@pytest.mark.parametrize(("format", "suffix"), [("SAC", "sac"), ("GSE2", "gse"), ("SLIST", "txt"), ("TSPAIR", "txt")])
def test_formats_are_known_by_their_content(tmp_path: Path, format: str, suffix: str):
    values = np.arange(1, 51, dtype=np.int32) if format == "GSE2" else np.linspace(-1, 1, 50).astype(np.float32)
    trace = obspy.Trace(values, {"network": "XX", "station": "A", "channel": "HHZ", "starttime": START, "delta": 0.004})
    path = tmp_path / f"a.{suffix}"
    trace.write(str(path), format=format)
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert waveform_format(path.read_bytes()[:4096]) == format
    assert detect_format(str(packed)) == "waveforms"
    for one in (path, packed):
        volume = ingest(one, tmp_path / f"{one.name}.zarr")
        np.testing.assert_allclose(amplitude(volume)[0], values, rtol=1e-5)
        assert volume.attributes["sampling_interval"] == 4.0
        assert volume.attributes["sample_format"] == format


def test_scan_lists_receivers_whatever_their_rates(tmp_path: Path):
    path = save(
        tmp_path / "a.mseed",
        ("XX.A..HHZ", 0, 100, range(50)), ("XX.A..HHZ", 1.0, 100, range(50)), ("XX.B..HHZ", 0, 40, range(20)),
    )  # fmt: skip
    text = describe_input([str(path)])
    assert "2 receivers" in text
    assert "XX.A..HHZ 100 Hz, 2020-01-02T03:04:05.250000Z to 2020-01-02T03:04:06.740000Z" in text
    assert "2 stretches, 0.500 s missing" in text
    assert "rates of 40, 100 Hz: give --resample" in text


def test_a_table_of_stations_gives_places_and_order(tmp_path: Path):
    path = save(tmp_path / "a.mseed", *((f"XX.{s}..HH{c}", 0, 100, range(9)) for s in "AB" for c in "NZ"))
    table = tmp_path / "stations.csv"
    table.write_text("Station,X,Y,Z\nC,0,0,0\nB,10,20,-30\nA,1.5,2.5,-3.5\n")
    volume = ingest(path, tmp_path / "v.zarr", stations=str(table))
    assert volume.attributes["receiver_names"] == ["XX.B..HHZ", "XX.B..HHN", "XX.A..HHZ", "XX.A..HHN"]
    places = [volume.read(f"receiver_{axis}", Box.whole((4,))) for axis in "xyz"]
    np.testing.assert_array_equal(np.transpose(places), [[10, 20, -30]] * 2 + [[1.5, 2.5, -3.5]] * 2)


def test_latitudes_and_longitudes_become_metres(tmp_path: Path):
    """Against the lengths of a degree at 65 N on WGS84: 111 493 m of latitude, 47 176 m of longitude."""
    x, y = local_metres(np.array([65.005, 65.0]), np.array([-17.0, -16.995]), 65.0, -17.0).T
    np.testing.assert_allclose(x, [557.47, 0.0], atol=0.15)
    np.testing.assert_allclose(y, [0.0, 235.88], atol=0.05)
    geodetics = pytest.importorskip("obspy.geodetics")
    places = local_metres(np.array([64.9, 65.1]), np.array([-17.2, -16.8]), 65.0, -17.0)
    length, *_ = geodetics.gps2dist_azimuth(64.9, -17.2, 65.1, -16.8)
    assert np.linalg.norm(places[1] - places[0]) == pytest.approx(length, rel=1e-4)
    table = tmp_path / "s.csv"
    table.write_text("Name,Latitude,Longitude,Elevation_km\nA,65,-17,1.5\nB,65.01,-17,0.5\n")
    stations = read_stations(str(table))
    np.testing.assert_allclose(stations.places[:, 2], [-1500, -500])
    assert stations.origin == {"latitude": 65.005, "longitude": -17.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x,y\nA,1,2\n", "neither the columns x, y, z nor latitude, longitude, elevation"),
        ("x,y,z\n1,2,3\n", "no column name"),
        ("name,x,y,z\nB,1,2,3\n", "has no station A; add a row"),
        ("name,x,y,z\nA,1,2,deep\n", "station 1 has z='deep'; write a number"),
        ("name,latitude,longitude,elevation\nA,650000,1,2\n", "latitudes reach past 90"),
        (
            "name,latitude,longitude,elevation\nA,65,-17,1.3\nB,65.2,-17,0.7\nC,65,-16,1.1\n",
            "elevation_km if they are km",
        ),
        ("", "holds no station"),
    ],
)
def test_a_bad_table_of_stations_is_one_line(tmp_path: Path, text: str, message: str):
    path, table = save(tmp_path / "a.mseed", ("XX.A..HHZ", 0, 100, range(9))), tmp_path / "stations.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        ingest(path, tmp_path / "v.zarr", stations=str(table))
    assert str(caught.value).startswith(str(table))
    assert not (tmp_path / "v.zarr").exists()


def test_bad_files_are_one_line(tmp_path: Path):
    good = save(tmp_path / "good.mseed", ("XX.A..HHZ", 0, 100, range(9)))
    bad = {
        "empty.mseed": (b"", "is empty"),
        "text.mseed": (b"nothing of this is a record" * 50, "cannot be read as waveforms"),
        "pickle.mseed": (b"\x80\x04" + b"x" * 600, "is a pickle"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: .*{message}") as caught:
            ingest([good, tmp_path / name], tmp_path / "v.zarr", format="waveforms")
        assert "\n" not in str(caught.value)
    late = save(tmp_path / "late.mseed", ("XX.A..HHZ", 3e7, 100, range(9)))
    with pytest.raises(UserError, match="begin .* and hardly a sample between them is recorded"):
        ingest([good, late], tmp_path / "v.zarr")
    with pytest.raises(UserError, match="--resample=-5: must be a rate above 0"):
        ingest(good, tmp_path / "v.zarr", resample=-5.0)
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(UserError, match=r"--resample=50.0: means nothing"):
        ingest(tmp_path / "a.npy", tmp_path / "v.zarr", resample=50.0)


def test_traces_without_samples_and_files_without_traces_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, read = save(tmp_path / "a.mseed", ("XX.A..HHZ", 0, 100, range(9))), obspy.read

    def emptied(*args: Any, **options: Any) -> Any:
        stream = read(*args, **options)
        stream[0].stats.npts = 0
        return stream

    monkeypatch.setattr(obspy, "read", emptied)
    with pytest.raises(UserError, match=r"a\.mseed: trace XX\.A\.\.HHZ has no samples; leave the file out"):
        ingest(path, tmp_path / "v.zarr")
    monkeypatch.setattr(obspy, "read", lambda *_, **__: obspy.Stream())
    with pytest.raises(UserError, match=r"a\.mseed: holds no trace; leave the file out"):
        ingest(path, tmp_path / "v.zarr")


@pytest.mark.parametrize(
    ("shape", "chunk"), [((36, 4000), (512, 512)), ((24, 8_640_000), (4, 65536)), ((10_000, 1_000_000), (64, 4096))]
)
def test_long_recordings_are_stored_few_receivers_at_a_time(shape: tuple[int, int], chunk: tuple[int, int]):
    found, shard = default_layout(shape, "recording")
    assert found == chunk
    assert all(s % c == 0 for s, c in zip(shard, found, strict=True))


def test_without_obspy_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(tmp_path / "a.mseed", ("XX.A..HHZ", 0, 100, range(9)))
    monkeypatch.setitem(sys.modules, "obspy", None)
    with pytest.raises(UserError, match=r"pip install 'seisjax\[passive\]'"):
        ingest(path, tmp_path / "v.zarr")


def test_seg2_channels_are_numbered_as_they_stand_in_their_file(tmp_path: Path):
    folder = Path(obspy.__file__).parent / "io" / "seg2" / "tests" / "data"
    path = folder / "20130107_103041000.CET.3c.cont.0.seg2.gz"
    if not path.exists():
        pytest.skip("this obspy came without its example files")
    volume = ingest(path, tmp_path / "v.zarr")
    assert volume.attributes["receiver_names"] == ["0001", "0002", "0003"]
    with pytest.warns(UserWarning, match="SEG2"):
        stream = obspy.read(str(path))
    np.testing.assert_array_equal(amplitude(volume), [trace.data.astype(np.float32) for trace in stream])
    table = tmp_path / "geophones.csv"
    table.write_text("name,x,y,z\n2,20,0,0\n1,10,0,0\n3,30,0,0\n")
    placed = ingest(path, tmp_path / "placed.zarr", stations=str(table))
    np.testing.assert_array_equal(placed.read("receiver_x", Box.whole((3,))), [20, 10, 30])


@pytest.mark.real_data
def test_the_iceland_network(real_data: Path, tmp_path: Path):
    folder = real_data / "passive" / "iceland"
    table = tmp_path / "stations.csv"
    table.write_text((folder / "stations.txt").read_text().replace("Elevation", "elevation_km"))
    paths = sorted(folder.glob("*.m"))
    volume = ingest(folder, tmp_path / "v.zarr", stations=str(table))
    assert len(volume.attributes["source_files"]) == len(paths) == 18
    assert volume.shape[0] == 36
    names, found = volume.attributes["receiver_names"], amplitude(volume)
    assert [name.split(".")[1] for name in names[::3]] == [s.split(",")[-1] for s in table.read_text().split()[1:]]
    start = obspy.UTCDateTime(volume.attributes["start_time"])
    seen = np.zeros(volume.shape, bool)
    for path in paths:
        for trace in obspy.read(str(path)):
            first = round((trace.stats.starttime - start) * 100)
            part = (names.index(trace.id), slice(first, first + trace.stats.npts))
            np.testing.assert_array_equal(found[part], trace.data)
            seen[part] = True
    np.testing.assert_array_equal(np.isfinite(found), seen)
    z = volume.read("receiver_z", Box.whole((36,)))
    assert z.max() < 0
    assert z.min() > -2000


@pytest.mark.real_data
def test_the_unterhaching_network(real_data: Path, tmp_path: Path):
    """Rates of 50, 100 and 200 Hz, and starts half a sample apart."""
    folder = real_data / "passive" / "unterhaching"
    with pytest.raises(UserError, match=r"differ: 200 Hz \(.*\), 100 Hz \(.*\), 50 Hz \(.*\); give --resample=HZ"):
        ingest(folder, tmp_path / "v.zarr")
    slow = ingest(str(folder / "*.SH?.*"), tmp_path / "slow.zarr")
    shift = slow.read("receiver_shift", Box.whole((5,)))
    np.testing.assert_allclose(np.abs(shift), [0.01, 0.01, 0, 0, 0], atol=3e-6)
    rows = amplitude(slow)
    trace = obspy.read(str(folder / "BW.UH3._.SHZ*"))[0]
    assert slow.attributes["receiver_names"][2] == trace.id
    np.testing.assert_array_equal(rows[2, : len(trace)], trace.data.astype(np.float32))
    both = ingest(folder, tmp_path / "v.zarr", resample=100.0)
    assert both.shape[0] == 7
    assert both.attributes["sampling_interval"] == 10.0
    fast = amplitude(both)
    trace = obspy.read(str(folder / "BW.UH4*"))[0]
    row = both.attributes["receiver_names"].index(trace.id)
    first = round((trace.stats.starttime - obspy.UTCDateTime(both.attributes["start_time"])) * 100)
    np.testing.assert_array_equal(fast[row, first : first + len(trace)], trace.data.astype(np.float32))
    assert open_volume(tmp_path / "v.zarr").attributes["receiver_names"] == both.attributes["receiver_names"]
