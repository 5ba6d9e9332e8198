"""An etcd for a moment, beside a host's own member: over data that are a copy, on this host's own address alone."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from cluster import settings
from provisioner.operations import etcd
from provisioner.operations.units import stop_units
from provisioner.transports.base import Transport

UNIT = "hanse-etcd-scratch"
ENDPOINT = "https://127.0.0.1:12379"
PEERS = "https://127.0.0.1:12380"


@contextlib.asynccontextmanager
async def scratch_etcd(
    transport: Transport, folder: str, *, quota_bytes: int, flags: Sequence[str] = ()
) -> AsyncIterator[str]:
    """
    Yields where it is asked. Afterwards the folder is gone. Only clients with the cluster's certificates get in.

    Raises ProvisionError: the data cannot be opened.
    """
    await stop_units(transport, (UNIT,))
    try:
        await etcd.must(transport, ["chown", "-R", "hanse-etcd:", folder], "hand the data over")
        await etcd.must(transport, _starting(folder, quota_bytes, flags), "open the data")
        yield ENDPOINT
    finally:
        await stop_units(transport, (UNIT,))
        await transport.run(["rm", "-rf", folder])


def _starting(folder: str, quota_bytes: int, flags: Sequence[str]) -> list[str]:
    """Returns when it answers."""
    pki = settings.ETCD_PKI_DIR
    return [
        "systemd-run", f"--unit={UNIT}", "--uid=hanse-etcd", "--collect", "--property=Type=notify",
        "--property=TimeoutStartSec=120", "--quiet", str(settings.CURRENT_RELEASE / "bin" / "etcd"),
        f"--data-dir={folder}", *flags,
        f"--listen-client-urls={ENDPOINT}", f"--advertise-client-urls={ENDPOINT}", f"--listen-peer-urls={PEERS}",
        f"--initial-advertise-peer-urls={PEERS}", f"--initial-cluster=default={PEERS}",
        "--client-cert-auth=true", f"--trusted-ca-file={pki}/ca.crt",
        f"--cert-file={pki}/server.crt", f"--key-file={pki}/server.key",
        "--peer-client-cert-auth=true", f"--peer-trusted-ca-file={pki}/ca.crt",
        f"--peer-cert-file={pki}/peer.crt", f"--peer-key-file={pki}/peer.key",
        f"--quota-backend-bytes={quota_bytes}", "--log-level=warn",
    ]  # fmt: skip
