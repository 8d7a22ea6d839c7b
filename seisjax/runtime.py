"""What is set once a process, before the first computation."""

import ctypes
import functools
import hashlib
import os
import platform
from pathlib import Path

import jax

import seisjax

_KEPT = 2**30  # bytes: what is larger comes from the kernel and goes back to it, so that holes in the heap stay small
_SEARCHED = 2**10  # bytes: holes from here on lie in lists that malloc walks through
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def prepare() -> None:
    """What every command that computes begins with: one heap, and a cache of compiled steps."""
    use_one_heap()
    use_compilation_cache()


@functools.cache  # once a process
def use_one_heap() -> None:
    """Let all threads of this process allocate from one heap (glibc's M_ARENA_MAX); call it before any of them runs.

    By default glibc gives threads heaps of their own. Chunks that one thread decodes and another frees then leave holes
    in all of them, and the memory of a reading process grows to twice its need; see benchmarks/stream_memory.py.

    What is freed is kept for what comes next (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD). By default glibc gives arrays above
    32 MiB back to the kernel at once, which then clears the pages of the next batch one by one: 30 ms for 64 MiB. What
    compiling a step took, gigabytes, goes back when it is done, its holes are set aside, and blocks above 1 GiB go back
    at once. A step's intermediates are one block, and where it is kept and something comes to lie beside it, no room is
    left to align the next step's, so that it is there twice.
    """
    if os.name != "posix" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.mallopt(_M_ARENA_MAX, 1)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)  # without limit
    libc.mallopt(_M_MMAP_THRESHOLD, _KEPT)

    def give_back(event: str, duration_secs: float, **more: str | int) -> None:
        del more
        if event.endswith("backend_compile_duration") and duration_secs > 1:
            libc.malloc_trim(0)
            _set_holes_aside(libc)

    jax.monitoring.register_event_duration_secs_listener(give_back)


def _set_holes_aside(libc: ctypes.CDLL) -> None:
    """Take the room between blocks of the heap that are in use, and never use it.

    Compiling leaves 80,000 holes. malloc keeps the larger ones in lists by size, which it walks through for the blocks
    that every convolution asks for: a tenth of a step. What is taken is room for addresses alone, for the pages inside
    have gone back to the kernel.
    """
    size = _KEPT // 2
    end = libc.malloc(size) or 0  # no hole is that large
    libc.free(end)
    while size > _SEARCHED:
        block = libc.malloc(size)
        if block is None or block >= end:
            libc.free(block)
            size //= 2


def use_compilation_cache() -> None:
    """Keep compiled steps on disk, so that a second launch starts at once. JAX_COMPILATION_CACHE_DIR moves the cache.

    Home folders are shared between machines with different processors, and code compiled for one may not run on
    another: the folder's name carries the versions and the processor's features.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "seisjax" / f"jax-{jax.__version__}-{_machine()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:  # a read-only home: compile each time
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def code_version() -> str:
    """Versions of seisjax and JAX, with 8 hex digits over the package's source: equal where results are."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return f"seisjax {seisjax.__version__} ({digest.hexdigest()[:8]}), jax {jax.__version__}"


def _machine() -> str:
    features = platform.machine() + platform.processor()
    try:
        info = Path("/proc/cpuinfo").read_text()
        features += next((line for line in info.splitlines() if line.startswith(("flags", "Features"))), "")
    except OSError:  # no Linux: what platform knows must do
        pass
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
