"""Whether a volume is what a network was trained on: its axes and its sampling interval."""

from collections.abc import Sequence

from seisjax.errors import UserError
from seisjax.geometry import Shape
from seisjax.volumes.resampling import ResampledVolume, same_interval, sampling_interval
from seisjax.volumes.volume import Volume


def fit_window(
    names: Sequence[str], trained: Sequence[str], window: Shape, padded: Shape, where: str, neighbours: int = 0
) -> tuple[Shape, Shape]:
    """Window and padded window for data whose axes are `names`, of a network trained on data with the axes `trained`.

    A network trained on panels takes a recording, which lacks their first axis, as one long panel: both then lack the
    first side. Raises UserError, with `where` the data are, for other axes; a network whose sections have `neighbours`
    takes no single section.
    """
    alone = neighbours > 0 and 1 not in window[1:]
    if list(names) == list(trained)[1:] and window[0] == 1 and not alone:
        return window[1:], padded[1:]
    if list(names) != list(trained):
        raise UserError(f"{where}: has the axes {', '.join(names)}; the run was trained on {', '.join(trained)}")
    return window, padded


def at_interval(volume: Volume, interval: float | None, unit: str = "", *, resample: bool = False) -> Volume:
    """The volume, resampled where its sampling interval is not `interval` and that is asked for.

    interval, unit: of the last axis of the volume that the network was trained on; None and "" where nobody knows.
    Raises UserError where the volume has another interval and is not to be resampled, or counts in another unit.
    """
    axis = volume.axes[-1]
    found = sampling_interval(axis)
    if resample and interval is None:
        raise UserError("--resample: the run does not know its sampling interval; leave --resample out")
    if unit and axis.unit and unit != axis.unit:
        raise UserError(f"{volume.url}: counts its {axis.name} in {axis.unit}; the run was trained on {unit}")
    if interval is None or found is None or same_interval(found, interval):
        return volume
    if resample:
        return ResampledVolume(volume, interval)
    raise UserError(
        f"{volume.url}: has a sample every {found:.9g} {axis.unit}, the run was trained on one every {interval:.9g} "
        f"{axis.unit}; give --resample"
    )
