"""Events out of predicted probabilities: a catalogue as CSV, or QuakeML where --output ends in .xml or .quakeml.

    python launch/detect.py --predictions=prediction.zarr --output=events.csv --medium=prm

Panels are searched one by one, recordings in stretches without seams. With --medium, and receivers whose places are
known, events have an origin time and a place.
"""

from seisjax.startup import start_command

if __name__ == "__main__":
    start_command()

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from seisjax import runtime
from seisjax.command_line import run
from seisjax.commands.detect import Detection, detect
from seisjax.detection.events import Association
from seisjax.detection.matching import TOLERANCE
from seisjax.detection.scan import Picking

PREDICTIONS = flags.DEFINE_string("predictions", None, "volume that launch/predict.py wrote", required=True)
OUTPUT = flags.DEFINE_string("output", None, "catalogue to write: .csv, .xml or .quakeml", required=True)
PICKS = flags.DEFINE_string("picks", None, "CSV file to write the events' picks to")
THRESHOLD = flags.DEFINE_float("threshold", 0.5, "probability of a pick: 0.5 is where a network changes its mind")
MIN_RECEIVERS = flags.DEFINE_float(
    "min_receivers", 0.1, "receivers that an event is seen on: a share of the live ones, or from 1 on their number"
)
MEDIUM = flags.DEFINE_string("medium", "", "the generator's preset or FILE.py: speeds and depths to locate with")
ASSOCIATE = flags.DEFINE_float("tolerance", 0.1, "s that onsets may lie off the moveout: speeds are not exactly known")
WINDOW = flags.DEFINE_float("window", 1.0, "without places: s from an event's first onset to its last")
MOVEOUT = flags.DEFINE_float("moveout", 0.0, "without places: s between onsets of neighbours, at most (0: any)")
STRETCH = flags.DEFINE_float("stretch", 600.0, "s of a recording that are worked on at a time, which bounds memory")
TRUTH = flags.DEFINE_string("truth", "", "volume with a table of events: scores are printed and written beside")
MATCH = flags.DEFINE_float("match_tolerance", TOLERANCE, "s between the first arrivals of an event and its detection")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "replace outputs that exist")


def main(argv: Sequence[str]) -> None:
    """Detect as the flags say."""
    del argv
    runtime.prepare()
    request = Detection(
        predictions=PREDICTIONS.value,
        output=Path(OUTPUT.value),
        picking=Picking(threshold=THRESHOLD.value),
        association=Association(
            min_receivers=MIN_RECEIVERS.value,
            tolerance=ASSOCIATE.value,
            window=WINDOW.value,
            moveout=MOVEOUT.value,
        ),
        medium=MEDIUM.value,
        stretch=STRETCH.value,
        truth=TRUTH.value,
        match_tolerance=MATCH.value,
        picks=Path(PICKS.value) if PICKS.value else None,
        overwrite=OVERWRITE.value,
    )
    print(detect(request))


if __name__ == "__main__":
    run(main)
