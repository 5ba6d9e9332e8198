"""`federate` as an operator types it: makes a federation, brings back what died, says what is, and leaves nothing."""

import base64
import json
import os
import pathlib
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.query
import dns.tsig
import dns.xfr
import dns.zone
import psutil
import pytest

from federation.dns.key_files import read_key_file
from tests.integration.control_plane_processes import ROOT
from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint
from tests.ports import free_ports


@dataclass(frozen=True, slots=True)
class Operator:
    home: pathlib.Path

    @property
    def folder(self) -> pathlib.Path:
        return self.home / "federations" / "prod"

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "federation", *arguments],
            env={**os.environ, "HANSE_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def pid(self) -> int:
        return int(json.loads((self.folder / "run" / "apiserver.pid").read_text())["pid"])


@pytest.fixture
def operator(tmp_path: pathlib.Path) -> Iterator[Operator]:
    found = Operator(tmp_path / "hanse")
    try:
        yield found
    finally:
        found.run("stop", "prod")


def init(operator: Operator, *more: str) -> dict[str, Any]:
    port, dns, metrics = free_ports(3)
    ports = more or (f"--secure-port={port}", f"--dns-port={dns}", f"--metrics-port={metrics}")
    return operator.json("init", "prod", "--dns-zone=Fed.Example.com.", *ports)


def metrics_of(operator: Operator, port: int, token: str) -> tuple[int, str]:
    """Status and text that the controllers answer."""
    context = ssl.create_default_context(cafile=operator.folder / "pki" / "ca.crt")
    request = urllib.request.Request(f"https://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                found = answer.status, answer.read().decode()
            if "federation_tombstones" in found[1] or time.monotonic() > deadline:
                return found
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


@NEEDS_KUBECTL
def test_a_federation_from_its_making_to_its_end(operator: Operator) -> None:
    made = init(operator)
    assert "apiserver" in made["started"]
    assert stat.S_IMODE((operator.folder / "kubeconfig").stat().st_mode) == 0o600
    assert stat.S_IMODE((operator.folder / "pki" / "ca.key").stat().st_mode) == 0o600
    assert 'current-context": "hanse-federation-prod' in operator.run("kubeconfig").stdout
    found = operator.json("status")
    assert (found["clusters"], found["placements"]["total"], found["dnsZone"]) == ([], 0, "fed.example.com")
    assert found["services"]["apiserver"] == operator.pid()

    described = json.loads((operator.folder / "federation.json").read_text())
    token = json.loads((operator.folder / "kubeconfig").read_text())["users"][0]["user"]["token"]
    assert "federation_tombstones" in metrics_of(operator, described["metrics_port"], token)[1]
    assert metrics_of(operator, described["metrics_port"], "wrong")[0] in (401, 403)

    # Without its controllers, which would take away names that no Service asks for.
    os.kill(found["services"]["controller-manager"], signal.SIGKILL)
    record = {"name": "web.shop.prod.svc.fed.example.com", "type": "A", "ttl": 5, "stale": True}
    record_set = {
        "apiVersion": "federation.hanse.io/v1beta1",
        "kind": "DNSRecordSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"records": [{**record, "targets": [{"value": "192.0.2.1", "cluster": "east"}]}]},
    }
    api = Endpoint(operator.home, made["server"], operator.folder / "kubeconfig")
    api.did("create", "-f", "-", stdin=json.dumps(record_set))
    assert operator.json("status")["dns"] == {"recordSets": 1, "records": 1, "stale": 1, "failing": 0}
    said = operator.run("dns", "status").stdout
    assert said == "web.shop.prod.svc.fed.example.com 5 A 192.0.2.1 (east)  [serves its last answer]\n"

    login = operator.json("board")
    assert login["url"] == f"{made['server']}/board/"
    anybody = Endpoint(operator.home, made["server"], pathlib.Path("/dev/null"))
    viewer = (
        "--token",
        login["token"],
        "--server",
        made["server"],
        "--insecure-skip-tls-verify",
        "--kubeconfig=/dev/null",
    )
    assert anybody.kubectl(*viewer, "get", "clusters.federation,dnsrecordsets", "-A").returncode == 0
    for more in (("get", "secrets", "-A"), ("delete", "dnsrecordset", "web"), ("get", "configmaps")):
        assert "forbidden" in anybody.kubectl(*viewer, *more).stderr

    # A second run finds everything as it is.
    first = operator.pid()
    again = operator.json("init", "prod")
    assert "apiserver" not in again["started"]
    assert operator.pid() == first

    # What was killed is started again, with what it had stored.
    os.kill(first, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first)] if psutil.pid_exists(first) else [], timeout=10)
    down = operator.run("status")
    assert down.returncode == 4
    assert "does not answer" in down.stderr
    assert "apiserver" in operator.json("init", "prod")["started"]
    assert operator.json("status")["clusters"] == []

    other = operator.run("init", "prod", "--dns-zone=other.example.com")
    assert other.returncode == 2
    assert "dns_zone is fed.example.com, not other.example.com" in other.stderr

    last = operator.pid()
    assert operator.json("destroy", "prod")["destroyed"]
    assert not operator.folder.exists()
    assert not psutil.pid_exists(last)
    gone = operator.run("status", "prod")
    assert gone.returncode == 2
    assert "there is no federation prod" in gone.stderr


def test_destroying_leaves_what_others_keep_in_the_data_folder(operator: Operator, tmp_path: pathlib.Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "notes").write_text("mine")
    port, dns = free_ports(2)
    init(operator, f"--data-dir={data}", f"--secure-port={port}", f"--dns-port={dns}")
    assert (data / "store.db").exists()
    operator.json("destroy", "prod")
    assert [path.name for path in data.iterdir()] == ["notes"]


def test_a_port_that_is_taken_is_said_and_can_be_changed(operator: Operator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        failed = operator.run("init", "prod", "--dns-zone=fed.example.com", f"--secure-port={number}")
        assert failed.returncode == 3
        assert "address already in use" in failed.stderr
        assert "--secure-port" in failed.stderr
        [other] = free_ports(1)
        assert "apiserver" in operator.json("init", "prod", f"--secure-port={other}")["started"]
    operator.json("destroy", "prod")


def test_secondaries_get_a_key_that_is_made_for_them_and_kept_out_of_sight(operator: Operator) -> None:
    port, dns_port, secondary = free_ports(3)
    ports = (f"--secure-port={port}", f"--dns-port={dns_port}")
    refused = operator.run("init", "prod", "--dns-zone=fed.example.com", "--dns-secondary=ns2")
    assert (refused.returncode, "ns2" in refused.stderr) == (2, True)
    made = init(operator, *ports, f"--dns-secondary=ns2.fed.example.com=127.0.0.1:{secondary}")
    path = pathlib.Path(made["dnsTransferKeyFile"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (key,) = read_key_file(path)
    text = base64.b64encode(key.secret).decode()
    for process in psutil.process_iter(["cmdline"]):
        assert text not in " ".join(process.info["cmdline"] or ())
    assert all(text not in log.read_text() for log in (operator.folder / "run").glob("*.log"))
    signed = dns.tsig.Key(key.name, key.secret, dns.tsig.HMAC_SHA256)

    def transfer() -> dns.zone.Zone:
        zone = dns.zone.Zone("fed.example.com")
        query, _ = dns.xfr.make_query(zone, keyring=signed, serial=None)
        dns.query.inbound_xfr("127.0.0.1", zone, query, port=dns_port, timeout=5)
        return zone

    deadline = time.monotonic() + 15
    while True:
        try:
            zone = transfer()
            break
        except (OSError, dns.exception.DNSException):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert {str(one) for one in zone.find_rdataset("@", "NS")} == {"ns1", "ns2"}
    assert operator.json("init", "prod")["started"] == []
    assert operator.json("init", "prod", "--dns-secondary=")["started"] == ["dns-server"]
    with pytest.raises((OSError, dns.exception.DNSException)):
        transfer()
