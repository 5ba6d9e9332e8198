"""
subPath mounts: a part of a volume, and never anything outside it, whatever containers do to the volume meanwhile.

A container may turn a directory into a link between our check and the runtime's mount (CVE-2017-1002101). So the
part is opened step by step without following links, and what is open is bound to a path only the kubelet can
change; that path is what the runtime gets. Blocking.
"""

import os
import stat
from pathlib import Path

from cluster.kubelet.mounts import bind_open_file, unmount

FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class OutsideVolume(Exception):
    """The subPath leads out of its volume. Remedy: the workload's; the container does not start until then."""


def bind_sub_path(volume: Path, sub_path: str, target: Path, group: int | None) -> Path:
    """
    Make `target` show that part of the volume; a directory is made when nothing is there. Returns `target`.

    Raises OutsideVolume, OSError.
    """
    base, parts = resolve_below(volume, sub_path)
    descriptor = open_below(base, parts, group)
    try:
        _bind(descriptor, target)
    finally:
        os.close(descriptor)
    return target


def resolve_below(volume: Path, sub_path: str) -> tuple[Path, tuple[str, ...]]:
    """The volume's real path, and the steps from there once links inside it are followed."""
    if Path(sub_path).is_absolute() or ".." in Path(sub_path).parts:
        raise OutsideVolume(f"subPath {sub_path!r} must be relative and without ..")
    base = volume.resolve()
    target = (volume / sub_path).resolve()
    if target != base and base not in target.parents:
        raise OutsideVolume(f'failed to prepare subPath: "{sub_path}" leads out of its volume')
    return base, target.relative_to(base).parts


def open_below(base: Path, parts: tuple[str, ...], group: int | None) -> int:
    """A descriptor (O_PATH) of the last part. No part may be a link: then somebody has changed the volume since."""
    here = os.open(base, FLAGS)
    for part in parts:
        try:
            there = _step(here, part, group)
        finally:
            os.close(here)
        if stat.S_ISLNK(os.fstat(there).st_mode):
            os.close(there)
            raise OutsideVolume(f'failed to prepare subPath: "{part}" became a link while it was mounted')
        here = there
    return here


def _step(here: int, part: str, group: int | None) -> int:
    try:
        return os.open(part, FLAGS, dir_fd=here)
    except FileNotFoundError:
        os.mkdir(part, 0o750, dir_fd=here)
    # Modes go to what was made, through a descriptor of it: the name may be another file's already.
    made = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
    try:
        if group is not None:
            os.fchown(made, -1, group)
        os.fchmod(made, 0o777 if group is None else 0o2777)
    finally:
        os.close(made)
    return os.open(part, FLAGS, dir_fd=here)


def _bind(descriptor: int, target: Path) -> None:
    wanted = os.fstat(descriptor)
    if os.path.ismount(target) or _is_same(target, wanted):
        if _is_same(target, wanted):
            return  # an earlier run of the container has it
        unmount(target)
    if stat.S_ISDIR(wanted.st_mode):
        if target.is_file():
            target.unlink()
        target.mkdir(mode=0o750, parents=True, exist_ok=True)
    else:
        if target.is_dir():
            target.rmdir()
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        target.touch(mode=0o640)
    bind_open_file(descriptor, target)


def _is_same(target: Path, wanted: os.stat_result) -> bool:
    try:
        found = target.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
