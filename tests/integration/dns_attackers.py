"""
Who would like to have the whole zone, or to change it, without a key: signed requests that were heard on their way,
forged, shortened, sent again, or sent at another time, to the federation's name server over real sockets.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.update

from cluster.dns.names import encode_name
from cluster.dns.server import DnsServer
from cluster.machinery.objects import Key
from federation.dns.key_files import TsigSecret
from federation.dns.recordsets import RecordSet, Target
from federation.dns_server.rate_limit import RateLimit
from federation.dns_server.responder import FederationResponder
from federation.dns_server.tsig import KeyRing, Signer, key_of
from federation.dns_server.zone import FederationZone

ZONE = "example.com"
SECRET = b"0123456789abcdef0123456789abcdef"
KEY = TsigSecret("fed", "hmac-sha256", SECRET)
NAME = len(encode_name(KEY.name))
ALGORITHM = len(encode_name(KEY.algorithm))  # bytes
MAC = 32  # bytes
BEHIND_MAC = 6  # bytes: ID, error, length of other data


@dataclass
class Clock:
    """The server's; requests are signed by it, too, so that time can pass in a test."""

    now: int = 1_800_000_000

    def __call__(self) -> float:
        return float(self.now)


def signed(message: dns.message.Message, now: int, key: TsigSecret = KEY) -> bytes:
    return Signer(key_of(key), clock=lambda: float(now)).sign(message.to_wire())


def request(rng: random.Random) -> dns.message.Message:
    """A transfer, an update or a question for the serial."""
    kind = rng.choice(("AXFR", "IXFR", "UPDATE", "SOA"))
    if kind == "UPDATE":
        update = dns.update.UpdateMessage(ZONE)
        update.add("evil", 5, "A", "192.0.2.66")
        update.id = rng.randrange(1 << 16)
        return update
    query = dns.message.make_query(ZONE, kind, flags=0, id=rng.randrange(1 << 16))
    if kind == "IXFR":
        text = f"ns1.{ZONE}. hostmaster.{ZONE}. 1 0 0 0 0"
        query.authority.append(dns.rrset.from_text(f"{ZONE}.", 0, "IN", "SOA", text))
    return query


Attack = Callable[[random.Random, int], Iterator[bytes]]
"""Messages, in order; the last one is the attack, those before it are what a secondary sent and somebody heard."""


def flipped(rng: random.Random, now: int) -> Iterator[bytes]:
    whole = signed(request(rng), now)
    at = rng.randrange(len(whole))
    yield whole
    yield whole[:at] + bytes((whole[at] ^ 1 << rng.randrange(8),)) + whole[at + 1 :]


def unheard_and_flipped(rng: random.Random, now: int) -> Iterator[bytes]:
    """The original was kept from arriving. A flip of a letter's case, or of the ID, would be the same message."""
    whole = signed(request(rng), now)
    at = rng.randrange(2, len(whole))
    while whole[at : at + 1].isalpha():
        at = rng.randrange(2, len(whole))
    yield whole[:at] + bytes((whole[at] ^ 1 << rng.randrange(8),)) + whole[at + 1 :]


def replayed(rng: random.Random, now: int) -> Iterator[bytes]:
    """Inside the time window, also under another ID, which a signature does not hold in the header."""
    whole = signed(request(rng), now - rng.randrange(299))
    yield whole
    yield rng.randbytes(2) + whole[2:] if rng.random() < 0.5 else whole


def truncated(rng: random.Random, now: int) -> Iterator[bytes]:
    whole = signed(request(rng), now)
    end = len(whole) - BEHIND_MAC
    start, kept = end - MAC, rng.randrange(MAC)
    length = start - 10 - ALGORITHM - 2  # where RDLENGTH is
    rdlength = int.from_bytes(whole[length : length + 2], "big") - (MAC - kept)
    yield (
        whole[:length] + rdlength.to_bytes(2, "big") + whole[length + 2 : start - 2]
        + kept.to_bytes(2, "big") + whole[start : start + kept] + whole[end:]
    )  # fmt: skip


def untimely(rng: random.Random, now: int) -> Iterator[bytes]:
    """Signed rightly at a wrong time, or with the time changed afterwards."""
    if rng.random() < 0.5:
        yield signed(request(rng), now + rng.choice((-1, 1)) * rng.randrange(301, 1_000_000))
        return
    whole = signed(request(rng), now)
    at = len(whole) - BEHIND_MAC - MAC - 10
    yield whole[:at] + (now + rng.randrange(1, 200)).to_bytes(6, "big") + whole[at + 6 :]


def other_key(rng: random.Random, now: int) -> Iterator[bytes]:
    name, secret = rng.choice((("fed", rng.randbytes(32)), ("guest", SECRET), ("fed.example.com", SECRET)))
    yield signed(request(rng), now, TsigSecret(name, "hmac-sha256", secret))


def guessed(rng: random.Random, now: int) -> Iterator[bytes]:
    whole = signed(request(rng), now)
    end = len(whole) - BEHIND_MAC
    yield whole[: end - MAC] + rng.choice((rng.randbytes(MAC), b"\0" * MAC)) + whole[end:]


def grafted(rng: random.Random, now: int) -> Iterator[bytes]:
    """The signature of one request under another."""
    heard, wanted = signed(request(rng), now), request(rng).to_wire()
    record = NAME + 10 + ALGORITHM + 10 + MAC + BEHIND_MAC
    yield heard
    yield wanted[:10] + (wanted[11] + 1).to_bytes(2, "big") + wanted[12:] + heard[-record:]


def unsigned(rng: random.Random, _: int) -> Iterator[bytes]:
    query = request(rng)
    while query.question[0].rdtype == dns.rdatatype.SOA and query.opcode() == dns.opcode.QUERY:
        query = request(rng)
    yield query.to_wire()


def garbled(rng: random.Random, now: int) -> Iterator[bytes]:
    whole = signed(request(rng), now)
    cut = whole[: rng.randrange(len(whole))] if rng.random() < 0.5 else whole + rng.randbytes(rng.randrange(1, 9))
    yield cut


ATTACKS: tuple[Attack, ...] = (
    flipped, unheard_and_flipped, replayed, truncated, untimely, other_key, guessed, grafted, unsigned, garbled,
)  # fmt: skip


async def attack(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Attacks tried by their kind, and those that got anything but a refusal, or more bytes than were spent."""
    rng, clock = random.Random(seed), Clock()
    keys = KeyRing([KEY], clock)
    clock.now += 400  # what the ring refuses for having been started does not count
    zone = FederationZone(ZONE, {f"ns1.{ZONE}": ["192.0.2.53"]})
    zone.complete(1)
    for index in range(20):
        record = RecordSet(f"n{index}.{ZONE}", "A", 5, (Target("192.0.2.1"),))
        zone.put(Key("shop", f"n{index}"), [record])
    tried: Counter[str] = Counter()
    succeeded: list[str] = []
    async with DnsServer(FederationResponder(zone, RateLimit(0), keys), "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for number in range(count):
            kind = ATTACKS[number % len(ATTACKS)]
            *before, last = kind(rng, clock.now)
            for message in before:
                (answer,) = await exchange(reader, writer, message)
                assert answer[3] & 0x0F in (dns.rcode.NOERROR, dns.rcode.NOTIMP), (kind.__name__, answer.hex())
            succeeded += [
                f"{kind.__name__}: {last.hex()} -> {answer.hex()}"
                for answer in await exchange(reader, writer, last)
                if answer[3] & 0x0F == dns.rcode.NOERROR or len(answer) > len(last) + MAC
            ]
            tried[kind.__name__] += 1
            clock.now += 1
        writer.close()
    assert zone.names == 22
    return tried, succeeded


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> list[bytes]:
    """All that is answered to a message, which may be nothing: a question behind it tells where the answers end."""
    end = dns.message.make_query(f"end.{ZONE}", "A", id=0).to_wire()
    for one in (message, end):
        writer.write(len(one).to_bytes(2, "big") + one)
    answers: list[bytes] = []
    async with asyncio.timeout(10):
        while True:
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = await reader.readexactly(size)
            if answer[12:17] == b"\3end\7":
                return answers
            answers.append(answer)
