"""Real name servers on loopback: with a zone of their own and keys that may change it, or following another's."""

import asyncio
import base64
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.ports import free_port

ZONE = "example.com"
SECRET = b"0123456789abcdef0123456789abcdef"
KEYS = ("fed-a", "fed-b")
ZONE_FILE = """$TTL 5
@ IN SOA ns1 hostmaster 1 7200 1800 86400 5
@ IN NS ns1
ns1 IN A 127.0.0.1
foreign IN A 192.0.2.99
"""
BIND = """
options {{ directory "{where}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file "{where}/pid";
  session-keyfile "{where}/session.key"; recursion no; dnssec-validation no; notify no; }};
controls {{ }};
{keys}
zone "{zone}" {{ type primary; file "{where}/zone"; allow-transfer {{ none; }}; update-policy {{ {policies} }}; }};
"""
KNOT = """
server:
    listen: 127.0.0.1@{port}
    rundir: {where}
database:
    storage: {where}/db
log:
  - target: stderr
    any: warning
key:
{keys}
acl:
  - id: changes
    key: [{names}]
    action: update
zone:
  - domain: {zone}
    storage: {where}
    file: zone
    acl: changes
    zonefile-sync: -1
    journal-content: all
"""

BIND_SECONDARY = """
options {{ directory "{where}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file "{where}/pid"; session-keyfile "{where}/session.key"; recursion no; dnssec-validation no; notify no;
  serial-query-rate 100; }};
controls {{ }};
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "{zone}" {{ type secondary; file "{where}/zone"; masterfile-format text;
  primaries {{ 127.0.0.1 port {primary} key {key}; }}; }};
"""
KNOT_SECONDARY = """
server:
    listen: 127.0.0.1@{port}
    rundir: {where}
database:
    storage: {where}/db
log:
  - target: stderr
    any: info
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: federation
    address: 127.0.0.1@{primary}
    key: {key}
acl:
  - id: notify
    key: {key}
    action: notify
zone:
  - domain: {zone}
    storage: {where}
    file: zone
    master: federation
    acl: notify
    zonefile-sync: -1
    journal-content: all
"""


def missing(server: str) -> str:
    """Why the server cannot be run here; empty when it can."""
    program = {"bind": "named", "knot": "knotd"}[server]
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin")
    return "" if found else f"{program} is not installed: make integration installs it"


@contextlib.asynccontextmanager
async def name_server(server: str, where: Path) -> AsyncIterator[int]:
    """The port of a running BIND or Knot that is primary of ZONE and lets KEYS change it."""
    port = free_port()
    (where / "zone").write_text(ZONE_FILE)
    secret = base64.b64encode(SECRET).decode()
    if server == "bind":
        keys = "\n".join(f'key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};' for key in KEYS)
        policies = " ".join(f"grant {key} zonesub ANY;" for key in KEYS)
        text = BIND.format(where=where, port=port, zone=ZONE, keys=keys, policies=policies)
        argv = ["/usr/sbin/named", "-g", "-n", "1", "-c", str(where / "conf")]
    else:
        keys = "\n".join(f"  - id: {key}\n    algorithm: hmac-sha256\n    secret: {secret}" for key in KEYS)
        text = KNOT.format(where=where, port=port, zone=ZONE, keys=keys, names=", ".join(KEYS))
        argv = ["/usr/sbin/knotd", "-c", str(where / "conf")]
    async with _running(where, text, argv):
        await asyncio.to_thread(_wait_for, port, where / "log")
        yield port


@contextlib.asynccontextmanager
async def secondary_server(server: str, where: Path, primary: int, key: str) -> AsyncIterator[int]:
    """The port of a BIND or Knot that follows ZONE of the primary at that port; it may take long until it answers."""
    port = free_port()
    text = {"bind": BIND_SECONDARY, "knot": KNOT_SECONDARY}[server].format(
        where=where, port=port, zone=ZONE, key=key, secret=base64.b64encode(SECRET).decode(), primary=primary
    )
    program = ["/usr/sbin/named", "-g", "-n", "1"] if server == "bind" else ["/usr/sbin/knotd"]
    async with _running(where, text, [*program, "-c", str(where / "conf")]):
        yield port


@contextlib.asynccontextmanager
async def _running(where: Path, conf: str, argv: list[str]) -> AsyncIterator[None]:
    (where / "db").mkdir()
    (where / "conf").write_text(conf)
    with (where / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    query = dns.message.make_query(ZONE, "SOA")
    while time.monotonic() < deadline:
        try:
            if dns.query.udp(query, "127.0.0.1", port=port, timeout=0.5).answer:
                return
        except (OSError, dns.exception.DNSException):
            time.sleep(0.1)
    raise RuntimeError(f"no answer on port {port}: {log.read_text()[-2000:]}")
