"""A federation whose zone a real name server elsewhere serves: set up by one command, cleaned up to the last name."""

import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.name
import dns.rcode
import dns.tsig
import dns.update
import psutil
import pytest

from cluster.testing import control_plane
from federation.controllers.record_sets import FINALIZER
from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint
from tests.integration.name_servers import SECRET, ZONE, missing, name_server
from tests.integration.test_federation_members import eventually, federate
from tests.integration.test_federation_names import World, apply, balance, obj, serve, template
from tests.ports import free_ports

KEY = 'key "{name}" {{ algorithm hmac-sha256; secret "{secret}"; }};'
SERVERS = [pytest.param(name, marks=pytest.mark.skipif(bool(missing(name)), reason=missing(name) or "installed"))
           for name in ("bind", "knot")]  # fmt: skip


def key_file(path: Path, name: str, secret: bytes = SECRET) -> Path:
    path.write_text(KEY.format(name=name, secret=base64.b64encode(secret).decode()))
    return path


async def answer(port: int, name: str, rtype: str = "A") -> list[str]:
    reply = await dns.asyncquery.udp(dns.message.make_query(name, rtype), "127.0.0.1", 2, port)
    found = sorted(one.to_text().strip('"') for rrset in reply.answer for one in rrset)
    return found or [dns.rcode.to_text(reply.rcode())]


def steps(home: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = federate(home, "dns", "plan")["steps"]
    return found


async def by_hand(port: int, name: str, address: str) -> None:
    """As somebody would who has the key."""
    key = dns.tsig.Key(dns.name.from_text("fed-a"), SECRET, dns.tsig.HMAC_SHA256)
    message = dns.update.UpdateMessage(ZONE, keyring=key)
    message.replace(dns.name.from_text(name), 5, "A", address)
    assert (await dns.asyncquery.tcp(message, "127.0.0.1", 5, port)).rcode() == dns.rcode.NOERROR


@pytest.fixture(params=SERVERS)
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    (tmp_path / "server").mkdir()
    async with name_server(request.param, tmp_path / "server") as port:
        yield port


@NEEDS_KUBECTL
async def test_names_are_in_the_zone_from_init_until_their_service_ends(port: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    api, dns_port = free_ports(2)
    given = ("init", "far", f"--dns-zone={ZONE}", "--dns-provider=rfc2136", f"--dns-server=127.0.0.1:{port}",
             f"--secure-port={api}", f"--dns-port={dns_port}")  # fmt: skip
    wrong = key_file(tmp_path / "wrong", "fed-a", b"another secret of 32 bytes......")
    refused = federate(home, *given, f"--dns-key-file={wrong}", code=4)
    assert "does not accept key fed-a" in refused["why"]
    with contextlib.ExitStack() as stack:
        stack.callback(federate, home, "destroy", "far")
        made = federate(home, *given, f"--dns-key-file={key_file(tmp_path / 'key', 'fed-a')}")
        assert (made["started"], made["warnings"]) == (["apiserver", "controller-manager"], [])
        secret = base64.b64encode(SECRET).decode()
        assert not any(secret in word for process in psutil.process_iter(["cmdline"])
                       for word in process.info["cmdline"] or ())  # fmt: skip
        assert (home / "federations" / "far" / "dns.key").stat().st_mode & 0o077 == 0
        host = Endpoint(home, f"https://127.0.0.1:{api}", home / "federations" / "far" / "kubeconfig")
        with control_plane() as plane:
            member = Endpoint(home, plane.url, plane.kubeconfig)
            federate(home, "join", "one", f"--kubeconfig={plane.kubeconfig}")
            eventually(lambda: federate(home, "status")["clusters"][0]["phase"] == "Ready", "the member is ready", 20)
            world = World(host, port, {"one": member})
            template(world, "web", "LoadBalancer")
            balance(world, "one", "web", "192.0.2.1")
            serve(world, "one", "web")
            name = f"web.shop.far.svc.{ZONE}"
            world.answers(["192.0.2.1"], name)
            owner = await answer(port, f"_fedowner.{name}", "TXT")
            assert "obj=shop/web" in owner[0]
            [record] = federate(home, "dns", "status")["records"]
            assert record["faults"] == []
            # a name that is somebody else's is told, not taken
            policy = {"hosts": ["foreign", "shop"], "serviceNames": ["web"]}
            apply(host, obj("federation.hanse.io/v1beta1", "DNSPolicy", "hosts", "shop", spec=policy))
            world.answers(["192.0.2.1"], f"shop.{ZONE}")
            assert await answer(port, f"foreign.{ZONE}") == ["192.0.2.99"]
            faults = {one["name"]: one["faults"] for one in federate(home, "dns", "status")["records"]}
            assert "belongs to somebody who left no owner record" in faults[f"foreign.{ZONE}"][0]
            assert [(one["name"], one["action"]) for one in steps(home)] == [(f"foreign.{ZONE}", "refused")]
            await by_hand(port, name, "192.0.2.66")
            [mended, _] = sorted(steps(home), key=lambda step: step["action"])
            assert (mended["action"], mended["why"]) == ("change", "A +192.0.2.1, -192.0.2.66")
            await by_hand(port, name, "192.0.2.1")
            # what goes away is out of the zone before the federation forgets that it was there
            assert host.did("get", "dnsrecordsets", "-n", "shop", "-o", "jsonpath={..finalizers}") == f'["{FINALIZER}"]'
            host.did("delete", "service", "web", "-n", "shop", "--wait=false")
            world.answers(["NXDOMAIN"], name)
            world.answers(["NXDOMAIN"], f"shop.{ZONE}")
            assert await answer(port, f"_fedowner.{name}", "TXT") == ["NXDOMAIN"]
            kept = ("get", "dnsrecordsets", "-n", "shop", "-o", "name")
            eventually(lambda: not host.did(*kept), "the DNSRecordSet is let go", 10)
