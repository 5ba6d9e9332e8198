"""Transfers and their signatures: dnspython is the secondary, and the attacker."""

import time
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.xfr
import dns.zone
import pytest

from cluster.machinery.objects import Key
from federation.dns.key_files import KeyFileError, TsigSecret, read_key_file, write_new_key
from federation.dns.recordsets import RecordSet, Target
from federation.dns_server import history, tsig
from federation.dns_server.history import Change, History, is_newer
from federation.dns_server.rate_limit import RateLimit
from federation.dns_server.responder import FederationResponder
from federation.dns_server.tsig import KeyRing
from federation.dns_server.zone import FederationZone

ZONE = "example.com"
SECRET = b"0123456789abcdef0123456789abcdef"
KEY = dns.tsig.Key("fed", SECRET, dns.tsig.HMAC_SHA256)
NOW = 1_800_000_000


class Clock:
    """Ours and dnspython's."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


class Primary:
    def __init__(self, clock: Clock, names: int = 0) -> None:
        self.zone = FederationZone(ZONE, {f"ns1.{ZONE}": ["192.0.2.53"]}, epoch=1000)
        self.zone.complete(1)
        clock.now -= 1  # what was signed in the second of the start is not accepted
        self.keys = KeyRing([TsigSecret("fed", "hmac-sha256", SECRET)], clock)
        clock.now += 1
        self.clock = clock
        self.allowed = True
        self.responder = FederationResponder(self.zone, RateLimit(0), self.keys, lambda _: self.allowed)
        for number in range(names):
            self.put(f"n{number}", "192.0.2.1")

    def put(self, name: str, *addresses: str) -> None:
        record = RecordSet(f"{name}.{ZONE}", "A", 5, tuple(map(Target, addresses)))
        self.zone.put(Key("shop", name), [record] if addresses else None)

    def raw(self, data: bytes, *, datagram: bool = False) -> list[bytes]:
        sent: list[bytes] = []
        more = self.responder.respond(data, "192.0.2.7", sent.append, datagram=datagram)
        return [*sent, *(more or ())]

    def ask(self, rtype: str, *, key: Any = KEY, serial: int | None = None, datagram: bool = False) -> list[bytes]:
        return self.raw(request(rtype, key=key, serial=serial).to_wire(), datagram=datagram)

    def fill(self, secondary: dns.zone.Zone, rtype: str, serial: int | None = None) -> int:
        """Carry out a transfer as a secondary; the number of messages it took."""
        query = request(rtype, serial=serial)
        wire = query.to_wire()
        context, count = None, 0
        with dns.xfr.Inbound(secondary, dns.rdatatype.from_text(rtype), serial) as inbound:
            for data in self.raw(wire):
                message = dns.message.from_wire(
                    data, keyring=KEY, request_mac=query.mac, xfr=True, tsig_ctx=context, multi=True, origin=None
                )
                assert message.had_tsig
                context, count = message.tsig_ctx, count + 1
                done = inbound.process_message(message)
        assert done
        return count


def request(rtype: str, *, key: Any = KEY, serial: int | None = None) -> dns.message.Message:
    query = dns.message.make_query(ZONE, rtype, flags=0)
    if serial is not None:
        text = f"{ZONE}. 0 IN SOA ns1.{ZONE}. hostmaster.{ZONE}. {serial} 0 0 0 0"
        query.authority.append(dns.rrset.from_text(f"{ZONE}.", 0, "IN", "SOA", text.split("SOA ")[1]))
    if key is not None:
        query.use_tsig(key)
    return query


def secondary() -> dns.zone.Zone:
    return dns.zone.Zone(ZONE, relativize=False)


def held(zone: dns.zone.Zone) -> set[tuple[str, str]]:
    return {(name.to_text(), rdata.to_text()) for name, _, rdata in zone.iterate_rdatas("A")}


def serial_of(zone: dns.zone.Zone) -> int:
    soa = zone.get_soa()
    return int(soa.serial)


def test_a_secondary_gets_everything_and_then_only_what_changed(clock: Clock) -> None:
    primary, copy = Primary(clock, names=1000), secondary()
    assert primary.fill(copy, "AXFR") > 2
    assert len(held(copy)) == 1001
    serial = serial_of(copy)
    primary.put("n1", "192.0.2.2", "192.0.2.3")
    primary.put("n2")
    primary.put("new", "192.0.2.4")
    assert primary.fill(copy, "IXFR", serial) == 1
    assert serial_of(copy) == serial + 3 == primary.zone.serial
    whole = secondary()
    primary.fill(whole, "AXFR")
    assert held(copy) == held(whole)
    assert ("n2.example.com.", "192.0.2.1") not in held(copy)


def test_who_is_too_far_behind_or_ahead_of_the_history_gets_everything_or_the_serial(clock: Clock) -> None:
    primary, copy = Primary(clock, names=10), secondary()
    primary.fill(copy, "IXFR", 5)
    assert len(held(copy)) == 11
    for serial in (primary.zone.serial, primary.zone.serial + 7):
        (only,) = primary.ask("IXFR", serial=serial)
        assert only[7] == 1  # one record
    primary.put("n1", "192.0.2.9")
    (over_udp,) = primary.ask("IXFR", serial=primary.zone.serial - 1, datagram=True)
    assert over_udp[7] == 1


def test_the_history_is_bounded_and_serials_go_round(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_RECORDS", 20)
    primary = Primary(clock)
    primary.zone.complete((1 << 32) - 1000 - 20)
    first = primary.zone.serial
    for number in range(50):
        primary.put("x", f"192.0.2.{number}")
    assert primary.zone.serial == (first + 50) % (1 << 32)
    assert is_newer(primary.zone.serial, first)
    assert primary.zone.history.since(first) is None
    kept = primary.zone.history.since((first + 46) % (1 << 32))
    assert kept is not None
    assert len(kept) == 4
    with pytest.raises(ValueError, match="does not follow"):
        primary.zone.history.add(Change(5, 6, (), ()))
    copy = secondary()
    primary.fill(copy, "AXFR")
    primary.put("x", "198.51.100.1")
    primary.fill(copy, "IXFR", serial_of(copy))
    assert ("x.example.com.", "198.51.100.1") in held(copy)
    assert is_newer(1, 0)
    assert not is_newer(0, 1)
    assert not is_newer(1 << 31, 0)
    assert not History().since(1)


def test_serials_follow_the_stores_versions_so_that_all_servers_and_restarts_agree(clock: Clock) -> None:
    def serial(versions: list[tuple[str, int]], complete: int) -> int:
        zone = FederationZone(ZONE, {f"ns1.{ZONE}": []}, epoch=NOW)
        zone.complete(complete)
        for name, version in versions:
            zone.put(Key("shop", name), [RecordSet(f"{name}.{ZONE}", "A", 5, (Target("192.0.2.1"),))], version)
        return zone.serial

    assert serial([("a", 10), ("b", 20)], 1) == serial([("b", 20)], 10) == serial([], 20) == NOW + 20


def test_a_choice_between_the_same_addresses_makes_no_new_serial_and_weight_0_is_not_transferred(clock: Clock) -> None:
    primary = Primary(clock)

    def say(*targets: Target) -> None:
        primary.zone.put(Key("shop", "w"), [RecordSet(f"w.{ZONE}", "A", 5, targets)])

    say(Target("192.0.2.1", "a", 1), Target("192.0.2.2", "b", 1))
    serial = primary.zone.serial
    say(Target("192.0.2.1", "a", 1), Target("192.0.2.2", "b", 9))
    assert primary.zone.serial == serial
    say(Target("192.0.2.1", "a", 1), Target("192.0.2.2", "b", 0))
    copy = secondary()
    primary.fill(copy, "AXFR")
    assert {address for name, address in held(copy) if name == "w.example.com."} == {"192.0.2.1"}
    assert primary.zone.serial == serial + 1


def test_beside_a_cname_nothing_is_transferred(clock: Clock) -> None:
    primary, copy = Primary(clock), secondary()
    both = [RecordSet(f"c.{ZONE}", "CNAME", 5, (Target("a.example.org"), Target("b.example.org"))),
            RecordSet(f"c.{ZONE}", "A", 5, (Target("192.0.2.1"),))]  # fmt: skip
    primary.zone.put(Key("shop", "c"), both)
    primary.fill(copy, "AXFR")
    assert [rdata.to_text() for rdata in copy.find_node(f"c.{ZONE}.").rdatasets[0]] == ["a.example.org."]
    assert len(copy.find_node(f"c.{ZONE}.").rdatasets) == 1


def rcode(data: bytes) -> int:
    return data[3] & 0x0F


def test_strangers_get_nothing(clock: Clock) -> None:
    primary = Primary(clock, names=3)
    other = dns.tsig.Key("other", SECRET, dns.tsig.HMAC_SHA256)
    for rtype, serial in (("AXFR", None), ("IXFR", 1)):
        (unsigned,) = primary.ask(rtype, key=None, serial=serial)
        assert rcode(unsigned) == dns.rcode.REFUSED
        (unknown,) = primary.ask(rtype, key=other, serial=serial)
        assert rcode(unknown) == dns.rcode.NOTAUTH
    (over_udp,) = primary.ask("AXFR", datagram=True)
    assert rcode(over_udp) == dns.rcode.REFUSED
    primary.allowed = False
    (elsewhere,) = primary.ask("AXFR")
    assert rcode(elsewhere) == dns.rcode.REFUSED
    primary.allowed = True
    primary.zone.synced = False
    (early,) = primary.ask("AXFR")
    assert rcode(early) == dns.rcode.SERVFAIL


def refused_as(primary: Primary, query: dns.message.Message, wire: bytes) -> str:
    """How dnspython understands the answer."""
    (answer,) = primary.raw(wire)
    assert rcode(answer) == dns.rcode.NOTAUTH
    try:
        dns.message.from_wire(answer, keyring=KEY, request_mac=query.mac)
    except dns.exception.DNSException as error:
        return type(error).__name__
    return "nothing"


def test_refusals_say_why_and_are_signed_for_who_has_the_key(clock: Clock) -> None:
    primary = Primary(clock)
    query = request("SOA")
    wire = query.to_wire()
    assert rcode(primary.raw(wire)[0]) == dns.rcode.NOERROR
    assert refused_as(primary, query, wire) == "PeerBadTime"  # the same once more
    clock.now += 301
    late = request("SOA")
    signed = late.to_wire()
    clock.now += 301
    assert refused_as(primary, late, signed) == "PeerBadTime"
    clock.now -= 602
    forged = request("SOA", key=dns.tsig.Key("fed", b"x" * 32, dns.tsig.HMAC_SHA256))
    assert refused_as(primary, forged, forged.to_wire()) == "PeerBadSignature"
    unknown = request("SOA", key=dns.tsig.Key("who", SECRET, dns.tsig.HMAC_SHA256))
    assert refused_as(primary, unknown, unknown.to_wire()) == "PeerBadKey"
    other = request("SOA", key=dns.tsig.Key("fed", SECRET, dns.tsig.HMAC_SHA512))
    assert rcode(primary.raw(other.to_wire())[0]) == dns.rcode.NOTAUTH


def test_what_was_signed_before_the_start_or_forgotten_is_not_accepted(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsig, "MAX_REMEMBERED", 5)
    wire = request("SOA").to_wire()
    clock.now += 1
    restarted = Primary(clock)
    assert rcode(restarted.raw(wire)[0]) == dns.rcode.NOTAUTH
    queries = []
    for _ in range(20):
        queries.append(request("SOA").to_wire())
        assert rcode(restarted.raw(queries[-1])[0]) == dns.rcode.NOERROR
        clock.now += 1
    assert all(rcode(restarted.raw(again)[0]) == dns.rcode.NOTAUTH for again in queries)


def test_updates_and_foreign_notifies_are_not_implemented_signed_or_not(clock: Clock) -> None:
    primary = Primary(clock)
    for opcode in (dns.opcode.NOTIFY, dns.opcode.UPDATE):
        for key in (None, KEY):
            query = request("SOA", key=key)
            query.set_opcode(opcode)
            (answer,) = primary.raw(query.to_wire())
            assert rcode(answer) == dns.rcode.NOTIMP
            assert dns.message.from_wire(answer, keyring=KEY, request_mac=query.mac).had_tsig is (key is not None)
    assert primary.zone.names == 2


def test_key_files_are_read_as_bind_writes_them_and_errors_show_no_secret(tmp_path: Any) -> None:
    path = tmp_path / "keys" / "transfer.key"
    write_new_key(path, "fed-transfer")
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    write_new_key(path, "another")
    assert path.read_text() == before
    (key,) = read_key_file(path)
    assert (key.name, key.algorithm, len(key.secret)) == ("fed-transfer", "hmac-sha256", 32)
    assert "secret" not in repr(key)
    text = "QUJDREVGR0hJSktMTU5PUA=="
    bad = {
        "": "no TSIG key",
        f'key "a" {{ algorithm hmac-md5; secret "{text}"; }};': "hmac-md5",
        'key "a" { algorithm hmac-sha256; secret "QUJD"; };': "at least 16",
        'key "a" { algorithm hmac-sha256; secret "QUJDREVGR0hJSktMTU5PU"; };': "base64",
        f'key "a" {{ secret "{text}"; }};': "algorithm",
    }
    for content, why in bad.items():
        path.write_text(content)
        with pytest.raises(KeyFileError, match=why) as raised:
            read_key_file(path)
        assert "QUJD" not in str(raised.value)
    with pytest.raises(KeyFileError, match="No such file"):
        read_key_file(tmp_path / "nothing")
    first = f"# old\nkey a {{ algorithm hmac-sha512; secret {text}; }};\n"
    path.write_text(first + f'key "B." {{ algorithm "hmac-sha256"; secret "{text}"; }};')
    assert [key.name for key in read_key_file(path)] == ["a", "b"]
