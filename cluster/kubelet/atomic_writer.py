"""
Write a set of files so that a reader sees all of the old or all of the new: ConfigMap, Secret and other volumes.

Files live in a time-stamped directory; `..data` is a symlink to it, swapped by rename; what the user sees are
symlinks through `..data`. Layout as upstream's pkg/volume/util/atomic_writer.go, on which programs rely.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

DATA = "..data"
_NEW_DATA = "..data_tmp"


class FileContent(NamedTuple):
    data: bytes
    mode: int
    uid: int = -1
    """Owner to give the file; -1 leaves it root's."""


def write_files(target: Path, files: Mapping[str, FileContent], group: int | None = None) -> bool:
    """
    Make `target` show exactly these files. Paths are relative and may have directories.

    Returns False when it showed them already. Blocking. Raises OSError; what was there stays then.
    """
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts or not name:
            raise ValueError(f"file name {name!r} leaves its volume")
    current = target / DATA
    if current.exists() and _shows(current, files):
        return False
    target.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=target))
    try:
        # Other users' processes read this: mkdtemp gives 0700.
        fresh.chmod(0o755)
        for name, content in files.items():
            _write_one(fresh, name, content, group)
        old = os.readlink(current) if current.is_symlink() else None
        temporary = target / _NEW_DATA
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(fresh.name)
        temporary.replace(current)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _link_names(target, files)
    if old and old != fresh.name:
        shutil.rmtree(target / old, ignore_errors=True)
    return True


def _write_one(root: Path, name: str, content: FileContent, group: int | None) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.data)
    path.chmod(content.mode | 0o040 if group is not None else content.mode)
    if group is not None or content.uid >= 0:
        os.chown(path, content.uid, -1 if group is None else group)
    if group is not None:
        os.chown(root, -1, group)


def _shows(current: Path, files: Mapping[str, FileContent]) -> bool:
    present = {str(p.relative_to(current)) for p in current.rglob("*") if p.is_file()}
    wanted = {str(Path(name)) for name in files}
    return present == wanted and all((current / name).read_bytes() == c.data for name, c in files.items())


def _link_names(target: Path, files: Mapping[str, FileContent]) -> None:
    wanted = {Path(name).parts[0] for name in files}
    for entry in target.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    for name in wanted:
        link = target / name
        if not link.is_symlink():
            with contextlib.suppress(FileExistsError):
                link.symlink_to(f"{DATA}/{name}")
