"""The federation's name server: what it answers, in dnspython's reading of its bytes."""

import random
from collections import Counter
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import dns.tsig
import pytest

from cluster.dns.names import encode_name
from cluster.dns.wire import Type
from cluster.machinery.objects import Key
from federation.dns.recordsets import RecordSet, Target
from federation.dns_server.rate_limit import RateLimit
from federation.dns_server.responder import FederationResponder
from federation.dns_server.zone import FederationZone

ZONE = "example.com"
WEB = "web.shop.fed.svc.example.com"


def record(name: str, rtype: str, *values: str) -> RecordSet:
    return RecordSet(name, rtype, 5, tuple(map(Target, values)))


@pytest.fixture
def zone() -> FederationZone:
    zone = FederationZone(ZONE, {f"ns1.{ZONE}": ["192.0.2.53"]})
    zone.synced = True
    near = [Target("192.0.2.1", "a", None, ("198.51.100.0/24",)), Target("192.0.2.2", "b")]
    weighted = [Target("192.0.2.1", "a", 3), Target("192.0.2.2", "b", 1)]
    zone.put(Key("shop", "web"), [
        record(WEB, "A", "192.0.2.1", "192.0.2.2"), record(WEB, "AAAA", "2001:db8::1"),
        record("web.shop.fed.svc.r1.example.com", "CNAME", WEB),
        record("web.shop.fed.svc.z1.r1.example.com", "CNAME", "web.shop.fed.svc.r1.example.com"),
        RecordSet("geo.example.com", "A", 5, tuple(near)), RecordSet("some.example.com", "A", 5, tuple(weighted)),
        record("many.example.com", "A", *(f"198.51.100.{n}" for n in range(200))),
        record("loop.example.com", "CNAME", "loop.example.com"), record("stranger.example.org", "A", "192.0.2.66"),
    ])  # fmt: skip
    return zone


class Server:
    def __init__(self, zone: FederationZone, limit: int = 0) -> None:
        self.responder = FederationResponder(zone, RateLimit(limit, lambda: 1.0))

    def raw(self, data: bytes, source: str = "203.0.113.9", *, datagram: bool = True) -> list[bytes]:
        sent: list[bytes] = []
        self.responder.respond(data, source, sent.append, datagram=datagram)
        return sent

    def ask(self, name: str, rtype: str = "A", *, source: str = "203.0.113.9", tcp: bool = False, **given: Any) -> Any:
        query = dns.message.make_query(name, rtype, **given)
        (answer,) = self.raw(query.to_wire(), source, datagram=not tcp)
        read = dns.message.from_wire(answer)
        assert query.is_response(read)
        assert not read.flags & dns.flags.RA
        return read

    def values(self, name: str, rtype: str = "A", **given: Any) -> list[str]:
        return sorted(one.to_text() for rrset in self.ask(name, rtype, **given).answer for one in rrset)


def test_names_answer_with_the_chain_they_lead_along(zone: FederationZone) -> None:
    server = Server(zone)
    for _ in range(2):  # compiled at first, spliced then
        answer = server.ask("web.shop.fed.svc.z1.r1.example.com")
        assert [rrset.rdtype for rrset in answer.answer] == [5, 5, 1]
        assert answer.flags & dns.flags.AA
    assert server.values(WEB, "AAAA") == ["2001:db8::1"]
    assert server.values(ZONE, "NS") == [f"ns1.{ZONE}."]
    assert server.responder.fast_answers == 1


def test_the_clients_spelling_comes_back(zone: FederationZone) -> None:
    question = WEB.swapcase()
    assert question in Server(zone).ask(question).question[0].to_text()


def test_denials_say_whether_the_name_or_only_the_type_is_missing(zone: FederationZone) -> None:
    server = Server(zone)
    missing = server.ask("nobody.example.com")
    assert (missing.rcode(), missing.authority[0].ttl) == (dns.rcode.NXDOMAIN, 5)
    for name, rtype in ((WEB, "TXT"), ("shop.fed.svc.example.com", "A"), (ZONE, "A")):
        empty = server.ask(name, rtype)
        assert (empty.rcode(), len(empty.answer), len(empty.authority)) == (dns.rcode.NOERROR, 0, 1)
    assert server.ask("stranger.example.org").rcode() == dns.rcode.REFUSED
    zone.synced = False
    zone.forget_compiled()
    assert server.ask("nobody.example.com").rcode() == dns.rcode.SERVFAIL


def test_a_change_is_answered_at_once_and_the_serial_grows(zone: FederationZone) -> None:
    server, serial = Server(zone), zone.serial
    assert len(server.values(WEB)) == 2
    zone.put(Key("shop", "web"), [record(WEB, "A", "192.0.2.7")])
    assert server.values(WEB) == ["192.0.2.7"]
    assert zone.serial > serial
    zone.put(Key("shop", "web"), None)
    assert server.ask(WEB).rcode() == dns.rcode.NXDOMAIN


def test_a_client_gets_what_is_near_by_its_subnet_or_its_address(zone: FederationZone) -> None:
    server = Server(zone)
    option = dns.edns.ECSOption("198.51.100.0", 24)
    for _ in range(2):
        answer = server.ask("geo.example.com", use_edns=0, options=[option])
        assert [one.to_text() for one in answer.answer[0]] == ["192.0.2.1"]
        echoed = answer.options[0]
        assert (echoed.address, echoed.srclen, echoed.scopelen) == ("198.51.100.0", 24, 24)
    assert server.values("geo.example.com", source="198.51.100.7") == ["192.0.2.1"]
    assert server.values("geo.example.com") == ["192.0.2.2"]
    everybody = server.ask(WEB, use_edns=0, options=[option])
    assert everybody.options[0].scopelen == 0


def test_weights_decide_which_one_is_answered(zone: FederationZone) -> None:
    random.seed(3)
    server = Server(zone)
    counts = Counter(tuple(server.values("some.example.com")) for _ in range(2000))
    assert set(counts) == {("192.0.2.1",), ("192.0.2.2",)}
    assert 1350 < counts["192.0.2.1",] < 1650


def test_long_answers_are_cut_over_udp_and_whole_over_tcp(zone: FederationZone) -> None:
    server = Server(zone)
    for payload in (512, 1232, 4096):
        (cut,) = server.raw(dns.message.make_query("many.example.com", "A", use_edns=0, payload=payload).to_wire())
        assert len(cut) <= min(payload, 1232)
        assert dns.message.from_wire(cut).flags & dns.flags.TC
    assert len(server.values("many.example.com", tcp=True)) == 200


def test_a_source_that_asks_too_much_is_sent_to_tcp_or_not_answered(zone: FederationZone) -> None:
    server = Server(zone, limit=10)
    query = dns.message.make_query(WEB, "A").to_wire()
    answers = [server.raw(query) for _ in range(20)]
    assert all(len(one) == 1 for one in answers[:10])
    assert sum(map(len, answers[10:])) == 5
    assert all(dns.message.from_wire(one[0]).flags & dns.flags.TC for one in answers[10:] if one)
    assert server.raw(query, datagram=False)
    assert not server.raw(query, "203.0.113.10")  # the same /24
    assert server.raw(query, "203.0.112.10")
    assert [len(server.raw(query, f"2001:db8:0:{n:x}::1")) for n in range(11)][-1] == 0
    assert server.raw(query, "2001:db8:0:100::1")  # the next /56


def test_ten_thousand_broken_packets_do_no_harm_and_are_not_made_bigger(zone: FederationZone) -> None:
    server, rng = Server(zone), random.Random(5)
    option = dns.edns.ECSOption("198.51.100.0", 24)
    ixfr = dns.message.make_query(ZONE, "IXFR")
    ixfr.authority.append(dns.rrset.from_text(f"{ZONE}.", 0, "IN", "SOA", "a. b. 1 2 3 4 5"))
    signed = dns.message.make_query(ZONE, "AXFR")
    signed.use_tsig(dns.tsig.Key("fed", b"x" * 32, dns.tsig.HMAC_SHA256))
    whole = [
        message.to_wire()
        for message in (dns.message.make_query("geo.example.com", "A", use_edns=0, options=[option]), ixfr, signed)
    ]
    for number in range(10_000):
        base = whole[number % 3]
        broken = bytearray(base[: rng.randrange(len(base) + 1)] if rng.random() < 0.5 else base)
        for _ in range(rng.randrange(4) if broken else 0):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        for answer in server.raw(bytes(broken), datagram=rng.random() < 0.5):
            assert answer[2] & 0x80
            assert len(answer) <= (1232 if answer[3] & 0x0F in (0, 3) else len(broken))
    assert len(server.values(WEB)) == 2
    assert server.raw(b"\0\0\0\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1")[0][3] & 0x0F == dns.rcode.FORMERR


def test_what_is_no_address_is_left_away(zone: FederationZone) -> None:
    zone.put(
        Key("shop", "hand"), [record("x.example.com", "A", "not an address"), record("y.example.com", "A", "192.0.2.1")]
    )
    server = Server(zone)
    assert server.ask("x.example.com").rcode() == dns.rcode.NXDOMAIN
    assert server.values("y.example.com") == ["192.0.2.1"]
    assert encode_name("y.example.com") in {one.owner for one in zone.records()}
    assert zone.records()[0].type == Type.SOA
