"""
Certificates, keys and tokens change while the server runs: rotated files are taken up without a restart.

Files are looked at every few seconds, by identity, time and size. A file that cannot be used leaves what was loaded
before in place and is tried again at every look, because certificate and key are seldom replaced in one instant.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two looks."""

State = tuple[int, int, int] | None


def _state(path: str) -> State:
    """None for a file that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class FileChanges:
    """
    Make it before the files are read for the first time: what changes from then on is noticed.

    Register each group of files that belong together with `on_change`, then `run` in a task.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._first = {path: _state(path) for path in paths if path}
        self._groups: list[_Group] = []

    def on_change(self, what: str, paths: Iterable[str], reload: Callable[[], None]) -> None:
        """`reload` raises OSError or ValueError when the files cannot be used (yet)."""
        named = tuple(path for path in paths if path)
        if named:
            self._groups.append(_Group(what, named, reload, [self._first.get(path, _state(path)) for path in named]))

    def look(self) -> None:
        for group in self._groups:
            group.look()

    async def run(self) -> None:
        """For ever."""
        while self._groups:
            await asyncio.sleep(INTERVAL)
            self.look()


class _Group:
    def __init__(self, what: str, paths: tuple[str, ...], reload: Callable[[], None], loaded: list[State]) -> None:
        self._what = what
        self._paths = paths
        self._reload = reload
        self._loaded = loaded
        self._complained: list[State] = []

    def look(self) -> None:
        found = [_state(path) for path in self._paths]
        if found == self._loaded:
            return
        try:
            self._reload()
        except (OSError, ValueError) as fault:
            if found != self._complained:
                self._complained = found
                log.warning("%s changed and cannot be used, the former stays in use: %s", self._what, fault)
            return
        self._loaded = found
        log.info("%s changed and was read again: %s", self._what, ", ".join(self._paths))
