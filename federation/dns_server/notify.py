"""
Tells secondaries that the zone changed, at once, until each has asked for what is new.

A secondary that said yes may still have failed to fetch the zone (we were just started, its clock is off, a packet
was lost), and would look again much later: it is told again, a few times, until it is seen asking.
Source: RFC 1996.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import ip_address

from cluster.client.metrics import Counter, Gauge
from cluster.dns.wire import CLASS_IN, HEADER, BadQuery, Type, encode_records
from federation.dns.secondaries import Secondary
from federation.dns_server.history import is_newer
from federation.dns_server.tsig import Key, Signer, answers_request
from federation.dns_server.zone import APEX_TTL, FederationZone

log = logging.getLogger(__name__)

NOTIFIED = Counter("federation_dns_notifies_total", "NOTIFY messages sent, by secondary and result.", ("to", "result"))
BEHIND = Gauge("federation_dns_secondaries_behind", "Secondaries that have not asked for the zone as it is now.")

START_PAUSE = 1.1
"""Seconds: what a secondary signs in the second of our start is not accepted (federation.dns_server.tsig)."""
FIRST_WAIT = 0.5  # seconds for an answer; doubles up to the last
LAST_WAIT = 15.0
REMIND = (2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds after a NOTIFY was answered: then it is sent again, unless the secondary came for the zone."""


class Notifier:
    """
    Args:
        source: address that is sent from, since secondaries know us by it; empty: whatever leads there.
        key: signs; None: unsigned, as secondaries that know us by address alone accept.
    """

    def __init__(self, zone: FederationZone, secondaries: Iterable[Secondary], source: str, key: Key | None) -> None:
        self._zone = zone
        self._source = source
        self._key = key
        self._followers = [_Follower(secondary) for secondary in secondaries]
        zone.on_serial(self._changed)
        BEHIND.set_function(lambda: float(sum(each.is_behind(zone.serial) for each in self._followers)))

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(START_PAUSE)
        async with asyncio.TaskGroup() as tasks:
            for follower in self._followers:
                tasks.create_task(self._follow(follower))

    def served(self, address: str, serial: int) -> None:
        """A secondary was told the serial, and fetches what it lacks."""
        for follower in self._followers:
            if follower.secondary.address == address:
                follower.serial = serial
                follower.came.set()

    def _changed(self) -> None:
        for follower in self._followers:
            follower.changed.set()

    async def _follow(self, follower: "_Follower") -> None:
        while True:
            await follower.changed.wait()
            follower.changed.clear()
            for pause in (*REMIND, None):
                if not await self._told(follower):
                    break  # meanwhile, it changed again
                if pause is None or not await follower.stays_away(self._zone.serial, pause):
                    break

    async def _told(self, follower: "_Follower") -> bool:
        """Send until it is answered; False: there is a newer serial to tell of."""
        wait = FIRST_WAIT
        while True:
            sent = time.monotonic()
            try:
                async with asyncio.timeout(wait):
                    await self._exchange(follower.secondary)
            except (OSError, TimeoutError) as error:
                NOTIFIED.inc(str(follower.secondary), "failed")
                log.debug("secondary %s did not answer a NOTIFY: %r", follower.secondary, error)
            else:
                NOTIFIED.inc(str(follower.secondary), "answered")
                return not follower.changed.is_set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, sent + wait - time.monotonic())):
                    await follower.changed.wait()
                return False
            wait = min(wait * 2, LAST_WAIT)

    async def _exchange(self, to: Secondary) -> None:
        """One NOTIFY and its answer. Raises OSError."""
        loop = asyncio.get_running_loop()
        identity = secrets.token_bytes(2)
        message = notify_message(self._zone, identity)
        signer = Signer(self._key) if self._key else None
        packet = signer.sign(message) if signer else message
        local = (self._source, 0) if self._source and not ip_address(self._source).is_unspecified else None
        family = socket.AF_INET6 if ":" in to.address else socket.AF_INET
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: _Answer(identity, self._key, signer.mac if signer else b""),
            local_addr=local, remote_addr=(to.address, to.port), family=family,
        )  # fmt: skip
        try:
            transport.sendto(packet)
            await protocol.done
        finally:
            transport.close()


class _Follower:
    def __init__(self, secondary: Secondary) -> None:
        self.secondary = secondary
        self.changed = asyncio.Event()
        self.came = asyncio.Event()
        self.serial: int | None = None
        """What it was told last when it asked."""

    def is_behind(self, serial: int) -> bool:
        return self.serial is None or is_newer(serial, self.serial)

    async def stays_away(self, serial: int, seconds: float) -> bool:
        """Whether the time passes without it having asked, or another change."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.is_behind(serial):
                    self.came.clear()
                    await _first(self.came, self.changed)
                    if self.changed.is_set():
                        return False
        return self.is_behind(serial)


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, identity: bytes, key: Key | None, mac: bytes) -> None:
        self._identity, self._key, self._mac = identity, key, mac
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.done.done() or len(data) < HEADER or data[:2] != self._identity or data[2] & 0xF8 != 0xA0:
            return
        try:
            if self._key is not None and not answers_request(data, self._key, self._mac, time.time()):
                return
        except BadQuery:
            return
        rcode = data[3] & 0x0F
        if rcode:
            self.done.set_exception(OSError(f"it answers a NOTIFY with rcode {rcode}"))
        else:
            self.done.set_result(None)

    def error_received(self, exc: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(exc)


def notify_message(zone: FederationZone, identity: bytes) -> bytes:
    """With our SOA, so that a secondary that has it need not ask (RFC 1996 §3.7)."""
    question = zone.apex + struct.pack("!HH", Type.SOA, CLASS_IN)
    body = encode_records(zone.apex, [zone.soa(APEX_TTL)])
    return identity + b"\x24\0\0\1\0\1\0\0\0\0" + question + body
