"""What is set once a process, before the first computation."""

import ctypes
import hashlib
import os
import platform
from pathlib import Path

import jax

import seisjax

_KEPT = 2**30  # bytes: what is larger goes back to the kernel, so that holes in the heap stay small


def prepare() -> None:
    """What every command that computes begins with: one heap, and a cache of compiled steps."""
    use_one_heap()
    use_compilation_cache()


def use_one_heap() -> None:
    """Let all threads of this process allocate from one heap (glibc's M_ARENA_MAX); call it before any of them runs.

    By default glibc gives threads heaps of their own. Chunks that one thread decodes and another frees then leave holes
    in all of them, and the memory of a reading process grows to twice its need; see benchmarks/stream_memory.py.

    What is freed is kept for what comes next (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD). By default glibc gives arrays above
    32 MiB back to the kernel at once, which then clears the pages of the next batch, and of the next step's
    intermediates, one by one: 30 ms for 64 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None and platform.libc_ver()[0] == "glibc":
        for option in (-3, -1):  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
            mallopt(option, _KEPT)
        mallopt(-8, 1)  # M_ARENA_MAX


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
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


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
