"""
Apply nftables text in one transaction: through libnftables in this process, or through a child `nft` without it.

The library saves the fork and the reading of the whole ruleset: one change takes 0.1 ms instead of 15.
Needs CAP_NET_ADMIN. Not here    what the text says (rules.py, table.py).
"""

import ctypes
import ctypes.util
import logging
import subprocess
from typing import Protocol

from cluster.kube_proxy.rules import TABLE

log = logging.getLogger(__name__)

LIBRARY = "libnftables.so.1"


class NftablesError(Exception):
    """nft refused the text. `output` is its complaint, with the place."""

    def __init__(self, output: str) -> None:
        super().__init__(f"nftables refused the ruleset: {output.strip()[:2000]}")
        self.output = output


class Nftables(Protocol):
    def run(self, text: str) -> str:
        """Apply; returns what nft printed. Raises NftablesError, and then nothing of the text is in effect."""


class LibraryNftables:
    """
    libnftables by ctypes.

    Raises OSError when the library cannot be loaded.
    """

    def __init__(self, path: str = LIBRARY) -> None:
        library = ctypes.CDLL(path)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).restype = ctypes.c_char_p
            getattr(library, name).argtypes = [ctypes.c_void_p]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._library = library
        self._context = library.nft_ctx_new(0)
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, text: str) -> str:
        failed = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        output = (self._library.nft_ctx_get_output_buffer(self._context) or b"").decode()
        complaint = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode()
        if failed:
            raise NftablesError(complaint)
        return output


class ChildNftables:
    """`nft -f -`."""

    def run(self, text: str) -> str:
        done = subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NftablesError(done.stderr)
        return done.stdout


def open_nftables(library: str = "") -> Nftables:
    """
    The library when it can be loaded, else a child. `library`: its path; empty: the usual name, found
    through LD_LIBRARY_PATH.
    """
    try:
        return LibraryNftables(library or LIBRARY)
    except OSError as error:
        log.warning("libnftables cannot be loaded, using `nft` instead: %s", error)
        return ChildNftables()


def remove_table(nftables: Nftables) -> None:
    """Take the proxy's table away; fine when there is none."""
    nftables.run(f"add table ip {TABLE}\ndelete table ip {TABLE}\n")


def table_exists(nftables: Nftables) -> bool:
    """Whether the table is there; somebody may have flushed the whole ruleset."""
    return f"table ip {TABLE}" in nftables.run("list tables ip\n").splitlines()
