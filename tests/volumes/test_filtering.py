"""The band-pass of recordings."""

import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.geometry import Box
from seisjax.volumes.filtering import bandpass, check_band, parse_band
from seisjax.volumes.ingest import ingest

INTERVAL = 0.01


def amplitude(frequency: float, band) -> float:
    """What is left of a sine of amplitude 1, once the filter has settled."""
    time = np.arange(4000) * INTERVAL
    settled = bandpass(np.sin(2 * np.pi * frequency * time)[None], INTERVAL, band)[0, 2000:]
    return float(np.sqrt(2 * np.mean(settled**2)))


def test_what_passes():
    for band, passes, stays in (
        ((2.0, 20.0), 8.0, (0.3, 45.0)),
        ((2.0, None), 40.0, (0.3,)),
        ((None, 10.0), 1.0, (40.0,)),
    ):
        assert amplitude(passes, band) == pytest.approx(1.0, abs=0.02)
        assert all(amplitude(frequency, band) < 1e-2 for frequency in stays)


def test_nothing_comes_before_its_onset():
    step = np.zeros((1, 500))
    step[0, 300:] = 1.0
    filtered = bandpass(step, INTERVAL, (2.0, 20.0))
    assert not filtered[0, :300].any()
    assert np.abs(filtered[0, 300:]).max() > 0.1


def test_stretches_stand_for_themselves():
    values = np.random.default_rng(0).normal(size=(2, 300))
    values[1, 100:140] = np.nan
    filtered = bandpass(values, INTERVAL, (2.0, None))
    np.testing.assert_array_equal(np.isnan(filtered), np.isnan(values))
    np.testing.assert_array_equal(filtered[1, 140:], bandpass(values[1:, 140:], INTERVAL, (2.0, None))[0])


def test_a_constant_leaves_no_transient():
    filtered = bandpass(np.full((1, 400), 1e6), INTERVAL, (2.0, None))
    assert np.abs(filtered).max() < 1e-3


def test_bands():
    assert parse_band("2,20") == (2.0, 20.0)
    assert parse_band("2,") == (2.0, None)
    assert parse_band(",20") == (None, 20.0)
    for wrong in ("2", ",", "20,2", "a,b", "-1,3", "0,5", "2,2"):
        with pytest.raises(UserError, match="--bandpass"):
            parse_band(wrong)
    with pytest.raises(UserError, match="Nyquist"):
        check_band((2.0, 60.0), INTERVAL)


def test_records_are_filtered_at_ingest(tmp_path):
    obspy = pytest.importorskip("obspy")
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    header = {"station": "A", "channel": "HHZ", "delta": INTERVAL}
    obspy.Stream([obspy.Trace(values, header)]).write(str(tmp_path / "a.mseed"))
    volume = ingest(tmp_path / "a.mseed", tmp_path / "a.zarr", bandpass="2,20")
    expected = bandpass(values[None], INTERVAL, (2.0, 20.0))
    np.testing.assert_array_equal(volume.read_amplitude(Box.whole(volume.shape)), expected)
    assert volume.attributes["bandpass"] == [2.0, 20.0]
    for band, words in (("2,60", "Nyquist"), ("x", "LOW,HIGH")):
        with pytest.raises(UserError, match=f"--bandpass.*{words}"):
            ingest(tmp_path / "a.mseed", tmp_path / "b.zarr", bandpass=band)
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(UserError, match="--bandpass=2,: means nothing for"):
        ingest(tmp_path / "a.npy", tmp_path / "b.zarr", bandpass="2,")
