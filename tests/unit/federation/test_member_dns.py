"""A member's own DNS settings: the federation's among them, once, and never over somebody else's."""

import json

import pytest

from cluster.dns.federations import read_config_map
from federation.membership.member_dns import MemberDnsError, Names, advice, with_block, with_keys, without_block

NAMES = Names("prod", "fed.example.com", (("192.0.2.1", 53), ("192.0.2.2", 10053)))
COREFILE = """.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
    }
    forward . /etc/resolv.conf
    cache 30
}
"""


def test_kube_dns_keys_get_the_federation_beside_what_is_there() -> None:
    before = {"federations": "test=t.example.com", "stubDomains": '{"corp.example": ["192.0.2.9"]}'}
    data = with_keys(before, NAMES, None)
    read = read_config_map(data)
    assert read.federations == {"test": "t.example.com", "prod": "fed.example.com"}
    assert read.stub_domains["fed.example.com"] == [("192.0.2.1", 53), ("192.0.2.2", 10053)]
    assert set(read.stub_domains) == {"corp.example", "fed.example.com"}
    assert with_keys(data, NAMES, "fed.example.com") == data
    moved = with_keys(data, Names("prod", "new.example.com", ()), "fed.example.com")
    assert read_config_map(moved).federations["prod"] == "new.example.com"
    assert json.loads(moved["stubDomains"]) == {"corp.example": ["192.0.2.9"]}


def test_what_somebody_else_said_of_the_zone_is_an_error() -> None:
    for data, why in (
        ({"federations": "prod=other.example.com"}, "other.example.com"),
        ({"stubDomains": '{"fed.example.com": ["192.0.2.77"]}'}, "other servers"),
        ({"stubDomains": "{"}, "cannot be read"),
    ):
        with pytest.raises(MemberDnsError, match=why):
            with_keys(data, NAMES, None)
    for line in ("fed.example.com:53 {", "dns://fed.example.com {", "a.example, FED.example.com. {"):
        with pytest.raises(MemberDnsError, match="already"):
            with_block(f"{COREFILE}{line}\n    forward . 192.0.2.7\n}}\n", NAMES)
    with pytest.raises(MemberDnsError, match="IPv4"):
        Names("prod", "fed.example.com", (("2001:db8::1", 53),))


def test_a_corefile_gets_one_block_and_is_as_before_without_it() -> None:
    once = with_block(COREFILE, NAMES)
    assert once.startswith(COREFILE)
    assert "forward . 192.0.2.1 192.0.2.2:10053" in once
    assert with_block(once, NAMES) == once
    other = with_block(once, Names("test", "t.example.com", (("192.0.2.3", 53),)))
    assert without_block(without_block(other, "prod"), "test") == COREFILE
    assert without_block("# federation prod: begin\n", "prod") == "# federation prod: begin\n"


def test_who_does_not_ask_is_told_what_to_add() -> None:
    text = "\n".join(advice(NAMES))
    assert "--configure-dns" in text
    assert "prod=fed.example.com" in text
    assert "forward . 192.0.2.1 192.0.2.2:10053" in text
