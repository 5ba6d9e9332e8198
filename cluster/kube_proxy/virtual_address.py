"""
One address for all apiservers of a cluster, held by the master that has the Lease kube-system/api-virtual-address.

A master asks its own apiserver only: when that one is unhealthy the master cannot renew, and lets go of the address
before another may take it. Together with the announcement (gratuitous ARP) clients are served again within
LEASE + two retries, 7.4 s at most; a master that is stopped in order hands over in about 1 s.
"""

import asyncio
import logging
import random
import socket
import struct
import subprocess
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import orjson

from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.leader_election import ElectionSettings, LeaderElector, LeadershipLost
from cluster.client.metrics import Gauge
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError

log = logging.getLogger(__name__)

LEASE_NAMESPACE, LEASE_NAME = "kube-system", "api-virtual-address"
# Reads and deletes go on while etcd is full, and they need the address.
SETTINGS = ElectionSettings(lease_duration=5.0, renew_deadline=3.5, retry_period=1.0, keeps_when_full=True)  # seconds
ANNOUNCEMENTS = (0.0, 0.2, 1.0, 5.0)  # seconds after taking the address
REFRESH = 30.0  # seconds between later announcements, for switches that forget
UNHEALTHY_PAUSE = 1.0  # seconds
PROBE_TIMEOUT = 2.0  # seconds the local apiserver may take to say that it is ready
FAILED_PROBES = 2

HELD = Gauge("hanse_api_virtual_address_held", "1 while this master has the apiservers' common address.")


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    address: IPv4Interface
    interface: str

    def __str__(self) -> str:
        return f"{self.address} on {self.interface}"


class VirtualAddressError(Exception):
    """The address cannot be put on the interface. The text says what to change."""


def arp_announcement(mac: bytes, address: bytes) -> bytes:
    """An Ethernet frame that tells everybody on the link where the address is (ARP request for oneself, RFC 5227)."""
    broadcast = b"\xff" * 6
    ethernet = broadcast + mac + struct.pack("!H", 0x0806)
    return ethernet + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address + b"\0" * 6 + address


def _announce(wanted: VirtualAddress) -> None:
    mac = bytes.fromhex(Path(f"/sys/class/net/{wanted.interface}/address").read_text().strip().replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
        channel.bind((wanted.interface, 0))
        channel.send(arp_announcement(mac, wanted.address.ip.packed))


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise VirtualAddressError(
            f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}. "
            "Check --api-virtual-address and --api-virtual-address-interface; the process needs CAP_NET_ADMIN."
        )
    return done.stdout


def is_held(wanted: VirtualAddress) -> bool:
    rows: list[dict[str, Any]] = orjson.loads(_ip("-j", "-4", "address", "show", "dev", wanted.interface) or "[]")
    return any(a.get("local") == str(wanted.address.ip) for row in rows for a in row.get("addr_info", ()))


def take(wanted: VirtualAddress) -> None:
    """Raises VirtualAddressError."""
    _ip("address", "replace", str(wanted.address), "dev", wanted.interface)
    HELD.set(1)


def let_go(wanted: VirtualAddress) -> bool:
    """Tells whether it was there. Raises VirtualAddressError."""
    HELD.set(0)
    if not is_held(wanted):
        return False
    _ip("address", "del", str(wanted.address), "dev", wanted.interface)
    return True


async def _hold(wanted: VirtualAddress, client: ApiClient) -> None:
    """Have the address until cancelled, or until our apiserver is not ready: LeadershipLost then."""
    try:
        take(wanted)
        log.info("taken: %s", wanted)
        async with asyncio.TaskGroup() as tasks:
            announcing = tasks.create_task(_announce_for_ever(wanted))
            await _while_ready(client)
            announcing.cancel()
    finally:
        if let_go(wanted):
            log.info("let go: %s", wanted)
    raise LeadershipLost("the local apiserver is not ready: another master may have the address")


async def _announce_for_ever(wanted: VirtualAddress) -> None:
    waited = 0.0
    for when in ANNOUNCEMENTS:
        await asyncio.sleep(when - waited)
        waited = when
        _try_to_announce(wanted)
    while True:
        await asyncio.sleep(REFRESH)
        _try_to_announce(wanted)


def _try_to_announce(wanted: VirtualAddress) -> None:
    try:
        if not is_held(wanted):
            take(wanted)
            log.warning("somebody removed %s; it is back", wanted)
        _announce(wanted)
    except (OSError, VirtualAddressError) as error:
        log.warning("%s cannot be announced, trying again later: %s", wanted, error)


async def _while_ready(client: ApiClient) -> None:
    """Returns after FAILED_PROBES in a row."""
    failed = 0
    while failed < FAILED_PROBES:
        await asyncio.sleep(SETTINGS.retry_period / 2)
        failed = 0 if await _is_ready(client) else failed + 1


async def _is_ready(client: ApiClient) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await client.request("GET", "/readyz")
    except (ApiError, TimeoutError) as error:
        log.info("the local apiserver is not ready: %r", error)
        return False
    return True


async def keep_virtual_address(wanted: VirtualAddress, kubeconfig: str, server: str, identity: str) -> None:
    """
    Compete for the address until cancelled.

    Args:
        server: URL of the apiserver on this host.
        identity: name of this node, as the Lease's holder.
    """
    if let_go(wanted):
        log.warning("%s was left from an earlier run; removed", wanted)
    # The certificate names this node, and 127.0.0.1: kubeadm's apiserver certificate has both.
    config = replace(load_kubeconfig(kubeconfig), servers=(server,))
    async with ApiClient(config, user_agent="kube-proxy/api-virtual-address", connections=2) as client:
        while True:
            elector = LeaderElector(
                client, namespace=LEASE_NAMESPACE, name=LEASE_NAME, identity=identity, settings=SETTINGS
            )
            try:
                while not await _is_ready(client):  # noqa: ASYNC110  (another process's state)
                    await asyncio.sleep(UNHEALTHY_PAUSE * (1 + random.random()))  # noqa: S311  (spreads load)
                await elector.run(lambda: _hold(wanted, client))
            except LeadershipLost as lost:
                log.info("another master may have %s: %s", wanted, lost)
            except VirtualAddressError as error:
                # The other masters may be luckier; Services have to be served here in any case.
                log.error("%s", error)
            # A master that has just lost it lets the others go first.
            await asyncio.sleep(SETTINGS.retry_period)
