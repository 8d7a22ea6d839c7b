"""Mean and deviation of the part of a volume that trains."""

from collections import deque

from grain.experimental import index_shuffle

from seisjax.conventions import AMPLITUDE
from seisjax.errors import UserError
from seisjax.geometry import Box, Lattice
from seisjax.volumes import ArrayStatistics, Pending, StreamingStatistics, Volume

_READ_AHEAD = 8  # tiles under way at once


def training_statistics(volume: Volume, region: Box, max_tiles: int) -> ArrayStatistics:
    """Statistics of the amplitudes in `region`, for normalisation: of all its chunks, or of `max_tiles` of them.

    Which chunks is a fixed random choice, the same for the same region and volume, and not tied to any axis.
    Raises UserError where the region holds no finite sample or only one value.
    """
    total = StreamingStatistics()
    reads: deque[Pending] = deque()
    for tile in _chosen_tiles(region, volume.arrays[AMPLITUDE].chunk, max_tiles):
        reads.append(volume.start_amplitude(tile))
        if len(reads) == _READ_AHEAD:
            total.update(reads.popleft()())
    while reads:
        total.update(reads.popleft()())
    result = total.result()
    if not result.count:
        raise UserError("data.train: no finite amplitude lies in the region; choose another region or volume")
    if not result.std > 0:
        raise UserError(
            f"data.train: all amplitudes in the region are {result.mean:g}; choose another region or volume"
        )
    return result


def _chosen_tiles(region: Box, chunk: tuple[int, ...], max_tiles: int) -> list[Box]:
    # Chunks are numbered on the volume's own grid, so that each tile lies in one chunk.
    first = tuple(a // c for a, c in zip(region.start, chunk, strict=True))
    origin = tuple(i * c for i, c in zip(first, chunk, strict=True))
    extent = tuple(b - o for b, o in zip(region.stop, origin, strict=True))
    grid = Lattice(extent, chunk, chunk, origin)
    if len(grid) <= max_tiles:
        return [tile.intersect(region) for tile in map(grid.__getitem__, range(len(grid)))]
    chosen = sorted(index_shuffle(i, len(grid) - 1, 0, 4) for i in range(max_tiles))
    return [grid[i].intersect(region) for i in chosen]
