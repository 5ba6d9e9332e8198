"""Certificates, CAs and keys are replaced on hosts where they are lost or have ended."""

import base64
import datetime as dt
import json
import pathlib
import re
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cluster.pki.authority import Authority, load_authority
from cluster.pki.inspect import inspect_certificate
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair
from tests.machines.conftest import BIN, NAME, Done, Operator, carry_out, long_run, on_host, run, wait_for

HOSTS = 5


def pki_of(cluster: Operator) -> pathlib.Path:
    return cluster.home / "clusters" / NAME / "pki"


def authority_of(pki: pathlib.Path, path: str = "ca") -> Authority:
    return load_authority((pki / f"{path}.crt").read_bytes(), (pki / f"{path}.key").read_bytes())


def put(files: dict[str, bytes]) -> str:
    """A script that writes into files below /etc/kubernetes/pki as they are, owner and mode included."""
    return "\n".join(
        f"echo {base64.b64encode(content).decode()} | base64 -d > /etc/kubernetes/pki/{path}"
        for path, content in files.items()
    )


def answers(cluster: Operator) -> Done:
    return cluster.try_kubectl("get", "--raw", "/readyz", "--request-timeout=3s")


@pytest.fixture
def secrets(cluster: Operator) -> Iterator[str]:
    cluster.kubectl("create", "namespace", "sealed")
    items = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{n}", "namespace": "sealed"},
         "stringData": {"word": f"open-{n}"}}
        for n in range(40)
    ]  # fmt: skip
    cluster.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    yield "sealed"
    cluster.kubectl("delete", "namespace", "sealed", "--timeout=60s")


def heads(cluster: Operator) -> set[str]:
    """Which keys have sealed what etcd holds, read with etcdctl on a member."""
    pki = "/etc/kubernetes/pki/etcd"
    told = on_host(
        cluster, 1,
        f"/opt/hanse/current/bin/etcdctl --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt "
        f"--cert={pki}/healthcheck-client.crt --key={pki}/healthcheck-client.key "
        "get --prefix /registry/secrets/ --print-value-only | grep -a -o 'k8s:enc:[a-z]*:v1:[a-z0-9]*:' | sort -u",
    )  # fmt: skip
    return set(told.split())


@long_run
def test_the_key_of_secrets_is_replaced(cluster: Operator, secrets: str) -> None:
    before = heads(cluster)
    killed = run(
        [str(BIN / "provision"), "secrets", "rotate-key", NAME],
        env={**cluster.env, "PROVISION_FAILPOINT": "begun rewrite=kill"},
    )
    assert killed.code == -9
    cluster.kubectl("create", "secret", "generic", "late", "-n", secrets, "--from-literal=word=late")
    assert len(heads(cluster)) == 2

    done = carry_out(cluster, "encryption_key_rotation")

    assert done.code == 0, done.err + done.out
    assert len(heads(cluster)) == 1
    assert not heads(cluster) & before
    assert base64.b64decode(cluster.get("secret", "s7", "-n", secrets)["data"]["word"]) == b"open-7"
    assert cluster.provision("secrets", "rotate-key", NAME, "--rollback").code == 2
    assert "Nothing to do" in cluster.provision("cluster", NAME).out


@long_run
def test_a_thief_has_the_key_of_the_ca(cluster: Operator, tmp_path: pathlib.Path) -> None:
    stolen = {name: on_host(cluster, 1, f"cat /etc/kubernetes/pki/{name}").encode() for name in ("ca.crt", "ca.key")}
    thief = issue_key_pair(
        load_authority(stolen["ca.crt"], stolen["ca.key"]),
        CertificateContent("somebody", ("system:masters",), usages=(Usage.CLIENT,)), now=dt.datetime.now(dt.UTC),
    )  # fmt: skip
    (tmp_path / "thief.crt").write_bytes(thief.certificate_pem)
    (tmp_path / "thief.key").write_bytes(thief.key_pem)
    as_thief = (f"--client-certificate={tmp_path}/thief.crt", f"--client-key={tmp_path}/thief.key")
    assert cluster.try_kubectl("get", "secrets", "-A", *as_thief).code == 0

    done = carry_out(cluster, "ca_rotation")

    assert done.code == 0, done.err + done.out
    assert cluster.try_kubectl("get", "secrets", "-A", *as_thief).code != 0
    assert len(x509.load_pem_x509_certificates((pki_of(cluster) / "ca.crt").read_bytes())) == 1
    assert cluster.provision("verify", NAME).code == 0
    # Tokens of the old key are still in Pods, or none is and the rotation ends.
    ended = cluster.provision("certs", "rotate-ca", NAME)
    assert ended.code == 0 or "Kubelets renew tokens" in ended.err
    assert cluster.provision("certs", "rotate-ca", NAME, "--rollback").code in (0, 2)
    cluster.provision("certs", "rotate-ca", NAME)


@long_run
def test_every_certificate_has_expired(cluster: Operator) -> None:
    pki, now = pki_of(cluster), dt.datetime.now(dt.UTC)
    short = dt.timedelta(seconds=30)
    scripts = {number: put(_renewed(pki, pki / "hosts" / f"{NAME}-{number}", now, short)) for number in range(1, 6)}
    addresses = {number: _address(cluster, number) for number in scripts}
    _renewed(pki, pki, now, short)
    for number, script in scripts.items():
        _at(cluster, addresses[number], script)
    wait_for("the API refuses", lambda: answers(cluster).code != 0, 90)
    told = cluster.provision("certs", "status", NAME)
    assert told.code == 1
    assert "certs rotate --due" in told.err

    done = carry_out(cluster, "certificate_expired")

    assert done.code == 0, done.err + done.out
    assert cluster.provision("status", NAME).code == 0


@long_run
def test_a_ca_has_expired(cluster: Operator) -> None:
    pki = pki_of(cluster)
    addresses = {number: _address(cluster, number) for number in range(1, HOSTS + 1)}
    ending = _ending(authority_of(pki), seconds=20)
    (pki / "ca.crt").write_bytes(ending)
    for address in addresses.values():
        _at(cluster, address, put({"ca.crt": ending}))
    wait_for("the API refuses", lambda: answers(cluster).code != 0, 90)
    assert "rotate-ca" in cluster.provision("certs", "status", NAME).err
    refused = cluster.provision("certs", "rotate", NAME)
    assert refused.code == 1
    assert re.search(r"CA ca has expired.*rotate-ca", refused.err)

    done = carry_out(cluster, "certificate_expired")

    assert done.code == 0, done.err + done.out
    assert cluster.provision("verify", NAME).code == 0


def _renewed(pki: pathlib.Path, folder: pathlib.Path, now: dt.datetime, lifetime: dt.timedelta) -> dict[str, bytes]:
    """Every leaf in a folder anew, to last that long; written there and returned by path."""
    found: dict[str, bytes] = {}
    paths = folder.rglob("*.crt") if folder != pki else [pki / "admin.crt"]
    for path in sorted(paths):
        info = inspect_certificate(path.read_bytes())
        stem = {"etcd-ca": "etcd/ca", "front-proxy-ca": "front-proxy-ca"}.get(info.issuer, "ca")
        pair = issue_key_pair(authority_of(pki, stem), info.content, now=now, lifetime=lifetime)
        path.write_bytes(pair.certificate_pem)
        path.with_suffix(".key").write_bytes(pair.key_pem)
        name = str(path.relative_to(folder))
        found |= {name: pair.certificate_pem, name.removesuffix("crt") + "key": pair.key_pem}
    return found


def _ending(authority: Authority, *, seconds: float) -> bytes:
    """The same CA with the same key, until then."""
    old, now = authority.certificate, dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(old.subject).issuer_name(old.subject)
    builder = builder.public_key(old.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(old.not_valid_before_utc).not_valid_after(now + dt.timedelta(seconds=seconds))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return Authority(builder.sign(authority.key, hashes.SHA256()), authority.key).certificate_pem


def _address(cluster: Operator, number: int) -> str:
    node = cluster.get("node", f"{NAME}-{number}")
    [address] = [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
    return str(address)


def _at(cluster: Operator, address: str, script: str) -> None:
    """Without the API, which may not answer any more."""
    home = cluster.home / "clusters" / NAME
    argv = ["ssh", "-i", str(home / "ssh" / "id_ed25519"), f"-oUserKnownHostsFile={home / 'known_hosts'}"]
    done = run([*argv, f"root@{address}", "sh", "-es"], stdin=script, timeout=60)
    assert done.code == 0, done.err
