"""How the process of a command starts. Imports the standard library alone, for a command begins with it."""

import gc
import os
import sys
from pathlib import Path

_SETTING = "glibc.malloc.hugetlb=1"
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start_command() -> None:
    """What a command that computes calls before it imports anything else; `all_is_imported` comes after.

    Until then nothing is garbage, and Python does not look for any: a fifth of the time that importing takes.
    """
    _start_with_huge_pages()
    gc.disable()


def all_is_imported() -> None:
    """Leave what is there, a quarter of a million objects that stay, out of every later search for garbage.

    Tracing a step makes so many objects that Python would walk through all of them again and again.
    """
    gc.freeze()
    gc.enable()


def environment() -> dict[str, str]:
    """What a process must be started with for malloc to ask for pages of 2 MiB; empty where that changes nothing.

    That is so where the kernel grants none or gives them unasked, before glibc 2.35, and in a process that has them.
    """
    given = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" in given or not _can_be_asked_for():
        return {}
    return {"GLIBC_TUNABLES": f"{given}:{_SETTING}".strip(":")}


def _start_with_huge_pages() -> None:
    """Start this process anew, with the same command, where it lacks huge pages and can have them.

    With pages of 4 KiB a step on processors takes a fifth longer in a virtual machine, to find out where its memory is
    and to have it cleared. glibc reads what it is asked for when a process starts and never again, and what was done
    until then is done twice. A process that was started as something else and runs the command's file stays as it is.
    """
    same = sys.orig_argv[-len(sys.argv) :] == sys.argv
    if same and (more := environment()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | more)


def _can_be_asked_for() -> bool:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        new = name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
        return new and "[madvise]" in _KERNEL.read_text()
    except (ValueError, OSError, AttributeError):  # no glibc, no Linux
        return False
