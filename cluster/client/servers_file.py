"""
The servers of a kubeconfig that changes while its reader runs: masters come and go, and nobody restarts a client for
that. Looked at when a server does not answer, so that it costs nothing while all is well.
"""

import logging
import os
from pathlib import Path

from cluster.client.kubeconfig import KubeconfigError, load_kubeconfig

log = logging.getLogger(__name__)


class ServersFile:
    """One kubeconfig, read by whoever makes this before it is made."""

    def __init__(self, path: str | os.PathLike[str], context: str = "") -> None:
        self._path = Path(path)
        self._context = context
        self._read = self._state()

    def news(self) -> tuple[str, ...]:
        """Base URLs, when the file has changed since it was last read; empty when not, or when it cannot be used."""
        found = self._state()
        if found is None or found == self._read:
            return ()
        try:
            servers = load_kubeconfig(self._path, self._context).servers
        except KubeconfigError as fault:
            log.warning("%s changed and cannot be used, the servers stay as they were: %s", self._path, fault)
            return ()
        self._read = found
        return servers

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
