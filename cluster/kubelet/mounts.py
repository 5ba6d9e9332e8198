"""
Mounting on this host: tmpfs, bind mounts of an open file, and what is mounted below a directory. All blocking.
"""

import ctypes
import os
from pathlib import Path

MS_BIND, MS_REC = 0x1000, 0x4000

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: Path, kind: str, flags: int, data: str) -> None:
    """mount(2). Raises OSError."""
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {kind or source} on {target}: {os.strerror(number)}")


def mount_tmpfs(path: Path, size: int = 0) -> None:
    """`size` in bytes limits it; 0 leaves the kernel's half of the memory. Raises OSError."""
    _mount("tmpfs", path, "tmpfs", 0, f"size={size}" if size else "")


def bind_open_file(descriptor: int, target: Path) -> None:
    """Mount exactly the file or directory that is open, whatever its path leads to by now. Raises OSError."""
    _mount(f"/proc/self/fd/{descriptor}", target, "", MS_BIND | MS_REC, "")


def unmount(path: Path) -> None:
    """Raises OSError."""
    if _libc.umount2(os.fsencode(path), 0):
        number = ctypes.get_errno()
        raise OSError(number, f"cannot unmount {path}: {os.strerror(number)}")


def mounts_below(root: Path) -> list[str]:
    """Mount points at or below `root`, the latest first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == str(root) or point.startswith(f"{root}/"):
            points.append(point)
    return points[::-1]
