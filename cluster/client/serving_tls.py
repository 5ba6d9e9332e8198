"""
A service's TLS, from files that are replaced while it serves: certificate, key and the CA of its clients.

Called by   cluster.client.health_server, cluster.kubelet.server.
The apiserver has its own, since it already watches its files.
"""

import logging
import os
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

CHECK_INTERVAL = 5.0
"""Seconds between looks at the files; a look is a stat call each, made when somebody connects."""


class RenewedContext(ssl.SSLContext):
    """
    What the listener holds; each new connection takes the context of the files as they are now.

    While they cannot be used (a key that does not fit its certificate yet) the last good one stays. A context is made
    anew and not changed, because one that is in use cannot forget an authority.
    """

    _make: Callable[[], ssl.SSLContext]
    _files: tuple[Path, ...]
    _current: ssl.SSLContext
    _seen: tuple[tuple[int, int], ...]
    _checked: float

    @classmethod
    def of(cls, make: Callable[[], ssl.SSLContext], files: Sequence[Path]) -> "RenewedContext":
        """Raises OSError or ssl.SSLError when the files cannot be used."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._make, context._files = make, tuple(files)
        context._seen = context._look()
        context._current = make()
        context._checked = time.monotonic()
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        self._renew()
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def _renew(self) -> None:
        now = time.monotonic()
        if now - self._checked < CHECK_INTERVAL:
            return
        self._checked = now
        try:
            seen = self._look()
            if seen == self._seen:
                return
            self._current = self._make()
            self._seen = seen
            log.info("%s changed and were read again", ", ".join(map(str, self._files)))
        except (OSError, ssl.SSLError) as fault:
            log.warning("the serving certificate changed and cannot be used, the former stays in use: %s", fault)

    def _look(self) -> tuple[tuple[int, int], ...]:
        return tuple((status.st_ino, status.st_mtime_ns) for status in map(os.stat, self._files))
