"""Certificates: all of them once, none twice, and only those that have to be anew."""

import dataclasses
import datetime as dt
import pathlib
import stat

import pytest

from cluster.pki.inspect import inspect_certificate
from cluster.store import encryption_config
from inventory.model import ClusterSpec, ControlPlaneSettings, FederationSettings
from inventory.sources.nspawn import local_cluster, local_federation
from provisioner.phases.issue_certificates import (
    host_files,
    hosts_with_certificates,
    issue_certificates,
    pending_certificates,
)

NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)


@pytest.fixture
def spec() -> ClusterSpec:
    return local_cluster("dev", 2, "10.89.0.0/24", "/key")


def test_what_is_pending_is_what_is_issued(spec: ClusterSpec, tmp_path: pathlib.Path) -> None:
    pending = [text for text in pending_certificates(spec, tmp_path, NOW) if text.startswith("issue ")]

    assert issue_certificates(spec, tmp_path, NOW) == len(pending)
    assert pending_certificates(spec, tmp_path, NOW) == []
    assert issue_certificates(spec, tmp_path, NOW) == 0


def test_a_new_host_lacks_certificates_and_the_others_do_not(spec: ClusterSpec, tmp_path: pathlib.Path) -> None:
    assert hosts_with_certificates(spec, tmp_path, NOW) == set()
    issue_certificates(spec, tmp_path, NOW)
    larger = local_cluster("dev", 3, "10.89.0.0/24", "/key", masters=1, etcd_members=1)

    assert hosts_with_certificates(larger, tmp_path, NOW) == {"dev-1", "dev-2"}


def test_keys_are_closed_to_others(spec: ClusterSpec, tmp_path: pathlib.Path) -> None:
    issue_certificates(spec, tmp_path, NOW)

    keys = list(tmp_path.rglob("*.key"))
    assert len(keys) > 10
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_every_file_of_a_host_exists_and_workers_get_no_ca_key(spec: ClusterSpec, tmp_path: pathlib.Path) -> None:
    issue_certificates(spec, tmp_path, NOW)

    master, worker = (host_files(host, tmp_path) for host in spec.hosts)

    assert all(pathlib.Path(source).exists() for source in (*master.values(), *worker.values()))
    assert {"ca.key", "sa.key", "etcd/server.key"} <= master.keys()
    assert not {"ca.key", "sa.key", "etcd/ca.key", "front-proxy-ca.key"} & worker.keys()
    assert "etcd/ca.key" not in master


def test_the_key_of_secrets_is_made_once_and_lies_on_masters_alone(spec: ClusterSpec, tmp_path: pathlib.Path) -> None:
    issue_certificates(spec, tmp_path, NOW)
    made = tmp_path / "encryption.yaml"
    content = made.read_bytes()

    assert set(encryption_config.load(content, str(made))) == {"secrets"}
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    master, worker = (host_files(host, tmp_path) for host in spec.hosts)
    assert (master["encryption.yaml"], "encryption.yaml" in worker) == (str(made), False)
    issue_certificates(spec, tmp_path, NOW)
    assert made.read_bytes() == content


def test_old_certificates_are_renewed_and_cas_stay(spec: ClusterSpec, tmp_path: pathlib.Path) -> None:
    issue_certificates(spec, tmp_path, NOW)
    authority = (tmp_path / "ca.crt").read_bytes()

    later = NOW + dt.timedelta(days=70)

    assert "20.0 days are left" in " ".join(pending_certificates(spec, tmp_path, later))
    assert issue_certificates(spec, tmp_path, later) > 10
    assert (tmp_path / "ca.crt").read_bytes() == authority


def test_a_new_name_of_the_api_concerns_the_apiservers_certificate_alone(
    spec: ClusterSpec, tmp_path: pathlib.Path
) -> None:
    issue_certificates(spec, tmp_path, NOW)
    named = dataclasses.replace(spec, control_plane=ControlPlaneSettings(extra_names=("api.example.com",)))

    (pending,) = pending_certificates(named, tmp_path, NOW)

    assert pending.startswith("issue apiserver for dev-1: its names are")


def test_a_pair_cut_off_between_key_and_certificate_is_made_anew(spec: ClusterSpec, tmp_path: pathlib.Path) -> None:
    issue_certificates(spec, tmp_path, NOW)
    (tmp_path / "hosts/dev-2/kube-proxy.crt").unlink()

    assert issue_certificates(spec, tmp_path, NOW) == 1


def test_hosts_of_a_federation_get_every_file_and_the_one_key_that_signs_for_agents(tmp_path: pathlib.Path) -> None:
    federation = local_federation("prod", 3, "10.89.0.0/24", "/key", FederationSettings(zone="fed.example.com"))
    issue_certificates(federation, tmp_path, NOW)
    assert pending_certificates(federation, tmp_path, NOW) == []

    files = host_files(federation.hosts[0], tmp_path)

    assert all(pathlib.Path(source).exists() for source in files.values())
    assert {"encryption.yaml", "sa.key", "etcd/ca.crt", "federation-dns.key", "ca.key"} <= files.keys()
    assert not {"etcd/ca.key", "front-proxy-ca.key"} & files.keys()
    assert inspect_certificate((tmp_path / "ca.crt").read_bytes()).content.common_name == "federation prod ca"
