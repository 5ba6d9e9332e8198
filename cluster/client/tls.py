"""
TLS towards the apiserver, with certificates that change on disk while we run.

Called by `cluster.client.rest` before each request. Certificates are renewed in place and nobody restarts a
service for that: a changed file makes a new context, and new connections use it.
"""

import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.client.kubeconfig import ClientConfig

CHECK_INTERVAL = 5.0  # seconds between looks at the files; a look is three stat calls


@contextmanager
def _as_file(path: Path | None, data: bytes) -> Iterator[str]:
    """A path for what the ssl module only takes as a path; data stays in memory and never reaches a disk."""
    if path is not None:
        yield str(path)
        return
    descriptor = os.memfd_create("hanse-pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def build_context(config: ClientConfig) -> ssl.SSLContext:
    """Raises OSError or ssl.SSLError when a file is missing or no PEM."""
    if config.insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        cafile = str(config.ca_file) if config.ca_file and not config.ca_data else None
        cadata = config.ca_data.decode("ascii") if config.ca_data else None
        context = ssl.create_default_context(cafile=cafile, cadata=cadata)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if config.cert_file or config.cert_data:
        with (
            _as_file(None if config.cert_data else config.cert_file, config.cert_data) as cert,
            _as_file(None if config.key_data else config.key_file, config.key_data) as key,
        ):
            context.load_cert_chain(cert, key)
    return context


class TlsFiles:
    """The current SSL context; made again when a file it came from has changed."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._files = [path for path in (config.ca_file, config.cert_file, config.key_file) if path is not None]
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[tuple[int, int], ...] = ()
        self._checked = 0.0

    def context(self) -> ssl.SSLContext:
        """
        The context for the next connection.

        While files are half replaced (a key that does not fit its certificate) the last good context stays.
        Raises OSError or ssl.SSLError only when there has never been a good one.
        """
        now = time.monotonic()
        if self._context is not None and now - self._checked < CHECK_INTERVAL:
            return self._context
        self._checked = now
        try:
            seen = tuple((stat.st_mtime_ns, stat.st_ino) for stat in (path.stat() for path in self._files))
            if self._context is None or seen != self._seen:
                self._context = build_context(self._config)
                self._seen = seen
        except (OSError, ssl.SSLError):
            if self._context is None:
                raise
        return self._context


class TokenFile:
    """A bearer token that is rotated on disk, read again every minute as client-go does."""

    PERIOD = 60.0  # seconds

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._read = -self.PERIOD

    def token(self) -> str:
        """Raises OSError when it could never be read."""
        now = time.monotonic()
        if now - self._read >= self.PERIOD:
            try:
                self._token = self._path.read_text().strip()
                self._read = now
            except OSError:
                if not self._token:
                    raise
        return self._token
