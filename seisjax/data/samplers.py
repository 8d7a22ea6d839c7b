"""From the names of the options to a sampler of training windows."""

from collections.abc import Sequence

from seisjax.data.balanced import BalancedWindows
from seisjax.data.blocks import BlockWindows
from seisjax.data.draws import Sampler, Turns
from seisjax.data.windows import GridWindows, Mixture, ShuffledWindows, UniformWindows
from seisjax.errors import UserError, nearest
from seisjax.geometry import Box, section_windows
from seisjax.volumes import Volume


def make_sampler(
    kind: str,
    *,
    volume: Volume,
    labels: str | None,
    regions: Sequence[Box],
    window: Sequence[int],
    seed: int,
    overhang: float,
    weights: Sequence[float] = (),
    directions: Sequence[str] = (),
    class_shares: Sequence[float] = (),
    batch_size: int = 1,
    block_mebibytes: int = 128,
) -> Sampler:
    """The endless sampler of training windows that `data.sampling` names.

    Args:
      kind: "uniform" draws anywhere, "grid" shuffles a fixed tiling, "balanced" draws around labelled samples of each
        class, "blocks" reads a few blocks of chunks at a time.
      volume, labels: what is sampled; only "balanced" and "blocks" look at it here.
      regions: where windows lie; nothing outside them is read.
      window: sides of a sample.
      seed: the run's.
      overhang: share of a window's side that "uniform" and "balanced" may reach past a region.
      weights: share of the windows drawn from each region; empty: by size ("balanced": by labelled samples).
      directions: axes that sections are cut across, drawn alike; empty: the window as it is.
      class_shares: for "balanced": share of the windows drawn around each class; empty: all alike.
      batch_size: for "blocks": samples of a global batch.
      block_mebibytes: for "blocks": room for the decoded chunks of the blocks that are open at once.

    Raises UserError for an unknown kind and for options that do not fit.
    """
    shape = tuple(window)
    windows = section_windows(shape, directions, volume.axes)
    _check_weights(weights, len(regions))
    if kind == "balanced":
        if labels is None:
            raise UserError("data.sampling='balanced': needs labels; set data.labels")
        options = {"seed": seed, "overhang": overhang, "weights": weights, "class_shares": class_shares}
        return BalancedWindows(volume, labels, regions, windows, shape, **options)
    sizes = list(weights) or [region.size for region in regions]
    # One part each region and direction; directions take equal shares.
    parts = [(region, cut, size) for region, size in zip(regions, sizes, strict=True) if size > 0 for cut in windows]
    boxes, cuts, shares = zip(*parts, strict=True)
    if kind == "blocks":
        options = {"seed": seed, "batch_size": batch_size, "block_mebibytes": block_mebibytes}
        return BlockWindows(volume, labels, boxes, cuts, shares, shape, **options)
    if kind == "uniform":
        samplers = [UniformWindows(r, cut, seed, overhang, i) for i, (r, cut, _) in enumerate(parts)]
    elif kind == "grid":
        samplers = [ShuffledWindows(GridWindows([r], cut), seed, i) for i, (r, cut, _) in enumerate(parts)]
    else:
        known = ("uniform", "grid", "balanced", "blocks")
        raise UserError(f"data.sampling='{kind}': unknown{nearest(kind, known)}")
    alone = len(samplers) == 1 and samplers[0].window == shape
    return samplers[0] if alone else Mixture(samplers, Turns(shares), shape)


def _check_weights(weights: Sequence[float], count: int) -> None:
    if len(weights) and (len(weights) != count or min(weights) < 0 or not sum(weights) > 0):
        raise UserError(
            f"data.train_weights={tuple(weights)}: give one number of at least 0 for each of the {count} regions of "
            "data.train, not all 0"
        )
