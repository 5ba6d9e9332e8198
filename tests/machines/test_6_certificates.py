"""Certificates: told, and all new while the cluster serves and nothing restarts."""

import json
import re

from tests.machines.conftest import NAME, Operator


def test_every_certificate_is_told(cluster: Operator) -> None:
    done = cluster.provision("certs", "status", NAME, "--json")

    found = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0, done.err
    assert len({one["host"] for one in found}) == 6
    assert not any(one["due"] for one in found)


def test_all_are_new_and_nothing_restarts(cluster: Operator) -> None:
    pki = cluster.home / "clusters" / NAME / "pki"
    before = {path: path.read_bytes() for path in pki.rglob("*.crt")}

    done = cluster.provision("certs", "rotate", NAME)

    assert done.code == 0, done.err + done.out
    assert not re.search("restart", done.err + done.out), done.err + done.out
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert "apiserver.crt" in changed
    assert "ca.crt" not in changed
    assert cluster.provision("status", NAME).code == 0
    assert "Nothing to do" in cluster.provision("cluster", NAME).out
    cluster.kubectl("get", "nodes")


def test_what_a_rotation_would_do_and_what_secrets_are_sealed_with(cluster: Operator) -> None:
    planned = cluster.provision("certs", "rotate-ca", NAME, "--dry-run")
    assert planned.code == 0, planned.err
    assert planned.out.count("restart its member of etcd") == 6
    sealed = cluster.provision("secrets", "status", NAME, "--json")
    assert sealed.code == 0, sealed.err
    assert json.loads(sealed.out.splitlines()[-1])["keys"] == ["key1"]
