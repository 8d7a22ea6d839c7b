"""Interpretation out of text files, and what is said of files that are none."""

import numpy as np
import pytest

from seisjax.errors import UserError
from seisjax.interpretation.tables import charisma_horizon, charisma_sticks
from seisjax.interpretation.text import read_points


@pytest.fixture
def read(tmp_path):
    """Write a file and read its points, or the message that comes in their place."""

    def of(text, kind="horizon", vertical="time"):
        path = tmp_path / "file.txt"
        path.write_text(text)
        try:
            return read_points(path, kind, vertical)
        except UserError as error:
            message = str(error)
        assert "\n" not in message
        assert message.startswith(str(path))
        return message.removeprefix(str(path))

    return of


@pytest.mark.parametrize(
    "line",
    [
        "INLINE : 1001 XLINE : 2002 4.5 6.25 1200.5",
        "INLINE :\t1001\tXLINE :\t2002\t4.5\t6.25\t1200.5",
        "INLINE:1001 XLINE:2002 4.5 6.25 1200.5",
        "INLINE- 1001 XLINE- 2002 4.5 6.25 1200.5 top_sand",
        "  inline 1001 crossline 2002 4.5 6.25 1200.5",
    ],
)
def test_horizon_lines_as_programs_write_them(read, line):
    points = read(f"# from a survey\n\n{line}\n! the end\n")
    assert points.lines.tolist() == [[1001, 2002]]
    assert points.xy.tolist() == [[4.5, 6.25]]
    assert points.z.tolist() == [1200.5]
    assert points.row.tolist() == [3]
    assert (points.unit, points.rounded) == ("", False)


def test_what_is_written_is_read_again(read):
    columns = [["5", "6"], ["7", "8"], ["1.5", "2.5"], ["3.5", "4"], ["1000.123457", "996"]]
    points = read("\n".join(charisma_horizon([*columns, ["1", "1"]])))
    assert points.lines.tolist() == [[5, 7], [6, 8]]
    assert points.xy.tolist() == [[1.5, 3.5], [2.5, 4]]
    assert points.z.tolist() == [1000.123457, 996]
    points = read("\n".join(charisma_sticks([["big fault"] * 2, ["1", "2"], *columns])), "fault")
    assert points.text == {"fault": ["big_fault"] * 2, "stick": ["1", "2"]}
    assert points.lines.tolist() == [[5, 7], [6, 8]]
    assert points.rounded


def test_fault_sticks_with_names_of_several_words_and_without_line_numbers(read):
    points = read("INLINE- 0 0 4.5 6.25 800 North Fault 2 3\nINLINE- 0 0 4.5 6.5 900 North Fault 2 3\n", "fault")
    assert points.lines is None
    assert points.xy.tolist() == [[4.5, 6.25], [4.5, 6.5]]
    assert points.text == {"fault": ["North Fault 2"] * 2, "stick": ["3"] * 2}


def test_csv_in_any_order_of_columns(read):
    points = read('Time_s, XLINE ,amplitude,"Inline"\n1.5,7,-3,5\n,8,0,5\n1e30,9,0,5\nnan,9,0,5\n2.5,10,0,5\n')
    assert points.lines.tolist() == [[5, 7], [5, 10]]
    assert points.z.tolist() == [1.5, 2.5]
    assert points.row.tolist() == [2, 6]
    assert (points.unit, points.xy) == ("s", None)
    points = read("polygon,class,cdp_x,cdp_y,depth\n1,salt,3,4,1000\n", "polygon", "depth")
    assert points.text == {"polygon": ["1"], "class": ["salt"]}
    assert points.xy.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", "horizon", ": is empty; give a file of horizon points"),
        ("# a comment alone\n", "fault", ": is empty; give a file of fault points"),
        ("inline,crossline,time_ms\n", "horizon", ": holds no points"),
        ("inline,crossline,time_ms\n1,2,\n", "horizon", ": holds no points"),
        ("inline,crossline,time_ms\n1,2,x12\n", "horizon", ", line 2: 'x12' is no number"),
        ("inline,crossline,time_ms\n1,,12\n", "horizon", ", line 2: '' is no number"),
        ("inline,crossline,time_ms\n1,nan,12\n", "horizon", ", line 2: a point without a place"),
        ("inline,crossline,time_ms\n1,2,3\n1,2\n", "horizon", ", line 3: has 2 columns where the header has 3"),
        (
            "ile,crossline,time_ms\n1,2,3\n",
            "horizon",
            ", line 1: no columns inline and crossline, nor x and y; it has ile",
        ),
        (
            "inline,crossline,tme_ms\n1,2,3\n",
            "horizon",
            ", line 1: must have one column time_ms, time or z (did you mean",
        ),
        ("inline,crossline,depth_m\n1,2,3\n", "horizon", ", line 1: must have one column time_ms"),
        ("inline,crossline,time_min\n1,2,3\n", "horizon", ", line 1: 'time_min': the unit is none of us, ms, s"),
        ("inline,crossline,time\n1,2,3\n", "fault", ", line 1: no column 'stick'"),
        ("inline,crossline,time,polygon,facies\n1,2,3,1,a\n", "polygon", ", line 1: no column 'class'"),
        ("inline crossline time\n1 2 3\n", "horizon", ", line 1: is not INLINE : 1001 XLINE : 2001 x y z (Charisma"),
        ("INLINE : 1 XLINE : 2 3 4 5\nINLINE : 1 XLINE : 2 3 4\n", "horizon", ", line 2: is not INLINE : 1001"),
        ("INLINE : 1 XLINE : 2 3 4 5\nINLINE : 1 XLINE : 2 3 4 z\n", "horizon", ", line 2: 'z' is no number"),
        (
            "INLINE : 1 XLINE : 2 3 4 5\n",
            "fault",
            ", line 1: is not INLINE- 1001 2001 x y z name stick (Charisma fault",
        ),
        ("INLINE- 1 2 3 4 5 f 1\n", "horizon", ", line 1: is not INLINE : 1001"),
        ("1 2 3\n", "polygon", ", line 1: is no CSV header"),
    ],
)
def test_what_is_no_such_file_is_one_line(read, text, kind, message):
    assert read(text, kind).startswith(message)


@pytest.mark.parametrize("kind", ["horizon", "fault", "polygon"])
def test_semicolons_between_columns_are_named(read, kind):
    message = read("inline;crossline;time_ms\n1001;2001;812,5\n", kind)
    assert message == ", line 1: columns are parted by ';'; part them by commas, decimals by points"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="none.txt: cannot be read"):
        read_points(tmp_path / "none.txt", "horizon", "time")


def test_many_points_take_little_time_each(read):
    """A survey's horizon has millions of lines."""
    points = read("\n".join(f"INLINE : {i} XLINE : 2 3 4 {i}.5" for i in range(20000)))
    np.testing.assert_array_equal(points.z, np.arange(20000) + 0.5)
