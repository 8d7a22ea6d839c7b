"""Statistics of the part of a volume that trains."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from grain.experimental import index_shuffle

from seisjax.conventions import AMPLITUDE
from seisjax.errors import UserError
from seisjax.geometry import Box, Lattice
from seisjax.together import from_all, place_among_processes
from seisjax.volumes import ArrayStatistics, StreamingStatistics, Volume
from seisjax.volumes.ahead import read_ahead

_READ_AHEAD = 64 * 2**20  # bytes of amplitudes under way at once, all threads together


def training_statistics(
    volume: Volume, regions: Sequence[Box], max_tiles: int, num_threads: int = 4
) -> ArrayStatistics:
    """Statistics of the amplitudes in `regions`, for normalisation: of all their chunks, or of `max_tiles` of them.

    Which chunks is a fixed random choice, the same for the same regions and volume, and not tied to any axis. The
    result is the same bit for bit for any number of threads and of processes: in a run of several each reads its share
    of the chunks, and all must call this. Raises UserError where the regions hold no finite sample or only one value.
    """
    result = sampled_statistics(volume, regions, max_tiles, num_threads).result()
    if not result.count:
        raise UserError("data.train: no finite amplitude lies in the region; choose another region or volume")
    if not result.std > 0:
        raise UserError(
            f"data.train: all amplitudes in the region are {result.mean:g}; choose another region or volume"
        )
    return result


def sampled_statistics(
    volume: Volume, regions: Sequence[Box], max_tiles: int, num_threads: int = 4
) -> StreamingStatistics:
    """As `training_statistics`, before any check; its other quantiles can be asked for."""
    tiles = _Tiles(regions, volume.arrays[AMPLITUDE].chunk, max_tiles)
    process, count = place_among_processes()
    share = range(process, len(tiles), count)
    num_threads = max(1, min(num_threads, len(share)))
    total = StreamingStatistics()
    moments = np.zeros((len(tiles), total.moments.array().size))

    def add_share(first: int) -> None:
        for i, values in _read_ahead(volume, tiles, share[first::num_threads], num_threads):
            moments[i] = total.update(values).array()

    with ThreadPoolExecutor(num_threads, "statistics") as threads:
        list(threads.map(add_share, range(num_threads)))
    if count > 1:
        parts, total = from_all({"tiles": moments[process::count], **total.state()}), StreamingStatistics()
        for number, part in enumerate(parts):
            moments[number::count] = part["tiles"]
            total.merge(StreamingStatistics.from_state(part))
    # The counts do not mind the order; the moments are merged in that of the tiles, whoever worked them out.
    total.set_moments(moments)
    return total


def _read_ahead(
    volume: Volume, tiles: "_Tiles", order: Sequence[int], num_threads: int
) -> Iterator[tuple[int, np.ndarray]]:
    ahead = min(max(_READ_AHEAD // (4 * tiles.size * num_threads), 1), 8)
    return read_ahead(((i, volume.start_amplitude(tiles[i])) for i in order), ahead)


class _Tiles:
    """The chunks that lie in some regions, or a random choice of them in their order; clipped to the regions."""

    def __init__(self, regions: Sequence[Box], chunk: tuple[int, ...], max_tiles: int):
        self._regions = [region for region in regions if region.size]
        self._grids = [_chunk_grid(region, chunk) for region in self._regions]
        self._ends = np.cumsum([len(grid) for grid in self._grids])
        self.size = int(np.prod(chunk))  # of the largest, in samples
        count = int(self._ends[-1]) if self._grids else 0
        self._chosen: Sequence[int] = range(count)
        if count > max_tiles:
            self._chosen = sorted(index_shuffle(i, count - 1, 0, 4) for i in range(max_tiles))

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Box:
        number = self._chosen[index]
        i = int(np.searchsorted(self._ends, number, side="right"))
        grid = self._grids[i]
        return grid[number - int(self._ends[i]) + len(grid)].intersect(self._regions[i])


def _chunk_grid(region: Box, chunk: tuple[int, ...]) -> Lattice:
    # Chunks are numbered on the volume's own grid, so that each tile lies in one chunk.
    first = tuple(a // c for a, c in zip(region.start, chunk, strict=True))
    origin = tuple(i * c for i, c in zip(first, chunk, strict=True))
    return Lattice(tuple(b - o for b, o in zip(region.stop, origin, strict=True)), chunk, chunk, origin)
