"""Ask etcd on a host about its health and members. Reads only."""

import asyncio
import json
from typing import NamedTuple

from cluster import settings
from provisioner.errors import ProvisionError
from provisioner.transports.base import CommandResult, Transport

HEALTH_PATIENCE = 60.0  # seconds for a quorum to form; it takes one or two when nothing is wrong
_ASK_AGAIN = 0.2  # seconds


class EtcdMember(NamedTuple):
    name: str
    id: str
    peer_urls: tuple[str, ...]
    is_learner: bool


async def etcdctl(transport: Transport, *arguments: str) -> CommandResult:
    """etcdctl of the current release, against the host's own member."""
    pki = settings.ETCD_PKI_DIR
    return await transport.run(
        [
            str(settings.CURRENT_RELEASE / "bin" / "etcdctl"),
            f"--endpoints=https://127.0.0.1:{settings.ETCD_CLIENT_PORT}",
            f"--cacert={pki}/ca.crt",
            f"--cert={pki}/healthcheck-client.crt",
            f"--key={pki}/healthcheck-client.key",
            "--command-timeout=3s",
            *arguments,
        ]
    )


async def is_healthy(transport: Transport) -> bool:
    """Whether the member answers a linearizable read, which needs the quorum."""
    return (await etcdctl(transport, "endpoint", "health")).exit_code == 0


async def wait_healthy(transport: Transport) -> None:
    """Raises ProvisionError after HEALTH_PATIENCE, with etcd's own words."""
    said = ""
    try:
        async with asyncio.timeout(HEALTH_PATIENCE):
            while True:
                result = await etcdctl(transport, "endpoint", "health")
                if result.exit_code == 0:
                    return
                said = (result.stderr or result.stdout).strip()[-300:]
                await asyncio.sleep(_ASK_AGAIN)
    except TimeoutError as error:
        raise ProvisionError(
            f"etcd is not healthy after {HEALTH_PATIENCE:g} s", why=said or "no answer",
            next_step="Read `journalctl -u etcd` on the host; TCP 2380 must be open between members.",
            host=transport.host,
        ) from error  # fmt: skip


async def members(transport: Transport) -> list[EtcdMember]:
    """Empty when etcd does not answer."""
    result = await etcdctl(transport, "member", "list", "-w", "json")
    if result.exit_code != 0:
        return []
    return [
        EtcdMember(m.get("name", ""), f"{m['ID']:x}", tuple(m.get("peerURLs", ())), m.get("isLearner", False))
        for m in json.loads(result.stdout)["members"]
    ]
