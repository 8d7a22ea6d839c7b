"""Memory of this process and of its host, as the system counts it."""

import os
from collections.abc import Iterator
from pathlib import Path


def resident_bytes(*, peak: bool = False) -> int:
    """Memory of this process that is resident, or was at its peak (without /proc always that), bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource  # POSIX alone; macOS counts bytes

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    name = "VmHWM:" if peak else "VmRSS:"
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) * 1024


def host_bytes() -> int:
    """Memory of this host that the process may use: what is installed, or what a container or job is granted, bytes."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    root = Path("/sys/fs/cgroup")
    try:
        group = root / Path("/proc/self/cgroup").read_text().partition("0::/")[2].partition("\n")[0]
    except OSError:  # no Linux
        return installed
    files = [folder / "memory.max" for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return min([installed, *_numbers([*files, root / "memory" / "memory.limit_in_bytes"])])


def _numbers(files: list[Path]) -> Iterator[int]:
    for file in files:
        try:
            yield int(file.read_text())
        except (OSError, ValueError):  # none there, or "max"
            continue
