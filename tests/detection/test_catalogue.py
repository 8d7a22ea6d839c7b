"""Catalogues on disk hold what was found."""

import csv

import numpy as np
import pytest

from seisjax.detection.catalogue import Recorded, degrees, read_events, write_events, write_picks
from seisjax.detection.events import associate
from seisjax.detection.picks import join_picks
from seisjax.detection.scan import Found
from seisjax.errors import UserError

SOURCE = np.array([4.3e5 + 800.0, 6.5e6 + 900.0, 1700.0])


@pytest.fixture(scope="module")
def found(make, places, locator) -> list[Found]:
    picks = join_picks(make.event_picks(places, SOURCE, 2.0, s=True))
    located, unknown = (associate(picks, 120, 10.0, locator=where)[0] for where in (locator, None))
    return [Found(3, located), Found(None, unknown)]


def test_the_table_holds_every_event(found, tmp_path):
    path = tmp_path / "events.csv"
    write_events(path, found, Recorded(start_time="2026-03-01T23:59:58.5Z"))
    table = read_events(path)
    event = found[0].event
    assert table["panel"][0] == 3
    assert np.isnan(table["panel"][1])
    np.testing.assert_allclose(table["time"], [one.event.first_arrival for one in found], atol=1e-6)
    np.testing.assert_allclose([table[n][0] for n in "xyz"], [event.x, event.y, event.z], atol=0.05)
    assert np.isnan([table["x"][1], table["origin_time"][1], table["rms_residual"][1]]).all()
    assert table["num_picks"][0] == event.num_picks > table["num_receivers"][0]
    seconds = event.first_arrival + 58.5 - 60
    assert table["date_time"][0] == f"2026-03-02T00:00:{seconds:09.6f}Z"
    assert list(tmp_path.iterdir()) == [path]


def test_the_clock_is_left_empty_where_it_is_not_known(found, tmp_path):
    write_events(tmp_path / "events.csv", found, Recorded())
    assert read_events(tmp_path / "events.csv")["date_time"].tolist() == ["", ""]
    with pytest.raises(UserError, match="start_time=noon"):
        write_events(tmp_path / "events.csv", found, Recorded(start_time="noon"))
    assert len(read_events(tmp_path / "events.csv")["event"]) == 2


def test_picks_have_their_receivers_names(found, tmp_path):
    names = [f"XX.R{i:03d}..HHZ" for i in range(120)]
    write_picks(tmp_path / "picks.csv", found, Recorded(receiver_names=names))
    with (tmp_path / "picks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(one.event.num_picks for one in found)
    assert rows[0]["name"] == names[int(rows[0]["receiver"])]
    assert {row["phase"] for row in rows} == {"P", "S", ""}


def test_quakeml_is_read_by_obspy(found, tmp_path):
    obspy = pytest.importorskip("obspy")
    origin = {"latitude": 64.0, "longitude": -21.0}
    near = found[0]._replace(event=found[0].event._replace(x=1000.0, y=-2000.0))
    recorded = Recorded("2026-03-01T12:00:00", [f"XX.R{i:03d}..HHZ" for i in range(120)], origin)
    write_events(tmp_path / "events.xml", [near, found[1]], recorded)
    first, second = obspy.read_events(tmp_path / "events.xml")
    place, start = first.preferred_origin(), obspy.UTCDateTime("2026-03-01T12:00:00")
    assert place.time - start == pytest.approx(near.event.origin_time, abs=1e-5)
    assert place.depth == pytest.approx(near.event.z)
    assert (place.latitude, place.longitude) == pytest.approx(degrees(1000.0, -2000.0, origin))
    assert len(first.picks) == near.event.num_picks
    assert first.picks[0].time - start == pytest.approx(near.event.picks.time[0], abs=1e-5)
    assert first.picks[0].waveform_id.get_seed_string() == "XX.R000..HHZ"
    assert second.preferred_origin().latitude is None


def test_degrees_are_those_of_the_ellipsoid():
    geodetics = pytest.importorskip("obspy.geodetics")
    latitude, longitude = degrees(3000.0, 4000.0, {"latitude": 64.0, "longitude": -21.0})
    distance = geodetics.gps2dist_azimuth(64.0, -21.0, latitude, longitude)[0]
    assert distance == pytest.approx(5000.0, rel=1e-3)


def test_what_is_no_catalogue_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for name in ("other.csv", "missing.csv"):
        with pytest.raises(UserError, match=f"{name}: is no catalogue"):
            read_events(tmp_path / name)
