"""etcd as Debian 12 has it: what clusters come from that were made before, or by others."""

import os
import pathlib
import tempfile

import pytest

from provisioner.bundle import debian
from provisioner.errors import ProvisionError


def older_etcd() -> str:
    """etcd 3.4.23, fetched once. Skips the test where no package can be fetched."""
    home = pathlib.Path(os.environ.get("HANSE_HOME", "~/.hanse")).expanduser()
    folder = home / "cache" / "tests" / "etcd-bookworm"
    program = folder / "usr" / "bin" / "etcd"
    if not program.exists():
        with tempfile.TemporaryDirectory() as work:
            try:
                debian.unpack_packages({"bookworm": ("etcd-server",)}, pathlib.Path(work), folder)
            except ProvisionError as error:
                pytest.skip(f"etcd of Debian 12 cannot be fetched: {error}")
    return str(program)
