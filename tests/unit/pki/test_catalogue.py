"""The table of certificates: what each host gets, and what it says."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.x509 import verification

from cluster.pki.authority import Authority, PkiError, load_authority, make_authority, make_private_key
from cluster.pki.catalogue import (
    ADMIN,
    AUTHORITIES,
    CERTIFICATES,
    ClusterFacts,
    HostFacts,
    authority_named,
    certificates_for,
)
from cluster.pki.inspect import inspect_certificate, needs_renewal
from cluster.pki.issue import CertificateContent, Usage, issue_certificate, issue_key_pair
from cluster.pki.service_account_key import make_service_account_key
from cluster.pki.signing_request import make_signing_request, read_signing_request

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
MASTER = HostFacts("m1", ("192.0.2.11", "fd00::11"), is_control_plane=True, is_etcd=True)
NODE = HostFacts("n1", ("192.0.2.21",))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("kubernetes", now=NOW)


def test_every_leaf_names_a_known_authority_and_a_path_of_its_own() -> None:
    paths = [entry.path for entry in CERTIFICATES if entry.path] + [a.path for a in AUTHORITIES]

    assert {entry.authority for entry in CERTIFICATES} <= {a.name for a in AUTHORITIES}
    assert len(paths) == len(set(paths))


def test_a_node_gets_four_certificates_and_no_control_plane_ones() -> None:
    assert {e.name for e in certificates_for(NODE)} == {"kubelet-client", "kubelet-server", "kube-proxy", "cluster-dns"}


def test_a_host_of_a_federation_gets_what_its_services_need_and_nothing_of_a_cluster() -> None:
    alone = HostFacts("f1", ("192.0.2.31",), is_federation=True)
    own = {"federation-controller-manager", "federation-controller-manager-server", "federation-dns", "api-address"}
    served = {"apiserver", "front-proxy-client"}
    assert {e.name for e in certificates_for(alone)} == own | served
    etcd = {"apiserver-etcd-client", "etcd-server", "etcd-peer", "etcd-healthcheck-client"}
    quorum = HostFacts("f1", ("192.0.2.31",), is_federation=True, is_etcd=True)
    assert {e.name for e in certificates_for(quorum)} == own | served | etcd
    assert not own & {e.name for e in certificates_for(MASTER)}
    assert authority_named("ca").key_hosts(quorum)
    assert not authority_named("etcd-ca").key_hosts(quorum)


def test_only_masters_hold_the_key_of_the_cluster_ca_and_nobody_that_of_the_others() -> None:
    assert authority_named("ca").key_hosts(MASTER)
    assert not authority_named("ca").key_hosts(NODE)
    assert not authority_named("etcd-ca").key_hosts(MASTER)
    with pytest.raises(KeyError, match="no CA is called"):
        authority_named("other")


def test_apiserver_certificate_has_every_name_clients_use() -> None:
    entry = next(e for e in CERTIFICATES if e.name == "apiserver")

    content = entry.content(MASTER, ClusterFacts(extra_names=("192.0.2.100", "api.example.com")))

    assert set(content.dns_names) == {
        "m1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local", "api.example.com",
    }  # fmt: skip
    assert set(content.ip_addresses) == {"127.0.0.1", "::1", "10.96.0.1", "192.0.2.11", "fd00::11", "192.0.2.100"}


@pytest.mark.parametrize("entry", CERTIFICATES, ids=lambda e: e.name)
def test_what_is_issued_says_what_the_table_says(entry, authority) -> None:  # type: ignore[no-untyped-def]
    wanted = entry.content(MASTER, ClusterFacts())

    pair = issue_key_pair(authority, wanted, now=NOW, lifetime=entry.lifetime)

    info = inspect_certificate(pair.certificate_pem)
    assert info.content == wanted
    assert info.not_before == NOW - dt.timedelta(minutes=5)
    assert info.days_left(NOW) == 90
    assert needs_renewal(pair.certificate_pem, wanted, authority.certificate_pem, now=NOW) == ""
    assert pair.key_pem.startswith(b"-----BEGIN PRIVATE KEY")
    assert "PRIVATE" not in repr(pair)


def test_the_kubelet_is_known_by_name_and_group() -> None:
    content = next(e for e in CERTIFICATES if e.name == "kubelet-client").content(NODE, ClusterFacts())

    assert (content.common_name, content.organizations) == ("system:node:n1", ("system:nodes",))
    assert ADMIN.organizations == ("system:masters",)


@pytest.mark.parametrize(
    ("days", "change", "why"),
    [
        (59, {}, ""),
        (61, {}, "29.0 days are left"),
        (91, {}, "it expired at"),
        (0, {"dns_names": ("n1", "n1.example")}, "its names are n1, wanted are n1, n1.example"),
        (0, {"organizations": ()}, "its groups are system:nodes, wanted are none"),
        (0, {"usages": (Usage.CLIENT,)}, "its usages are server auth, wanted are client auth"),
    ],
)
def test_renewal_is_due(authority: Authority, days: int, change: dict[str, tuple[str, ...]], why: str) -> None:
    given = {"common_name": "system:node:n1", "organizations": ("system:nodes",), "dns_names": ("n1",)}
    usages = {"usages": (Usage.SERVER,)}
    pair = issue_key_pair(authority, CertificateContent(**given, **usages), now=NOW)  # type: ignore[arg-type]
    wanted = CertificateContent(**(given | usages | change))  # type: ignore[arg-type]

    found = needs_renewal(pair.certificate_pem, wanted, authority.certificate_pem, now=NOW + dt.timedelta(days=days))

    assert found.startswith(why)
    assert bool(found) == bool(why)


def test_certificate_of_another_ca_with_the_same_name_needs_renewal(authority: Authority) -> None:
    content = CertificateContent("x", usages=(Usage.CLIENT,))
    other = make_authority("kubernetes", now=NOW)
    pair = issue_key_pair(other, content, now=NOW)

    assert needs_renewal(pair.certificate_pem, content, authority.certificate_pem, now=NOW) == (
        "it is not signed by kubernetes"
    )
    assert "no PEM certificate" in needs_renewal(b"junk", content, authority.certificate_pem, now=NOW)


def test_a_leaf_never_outlives_its_ca() -> None:
    short = make_authority("kubernetes", now=NOW, lifetime=dt.timedelta(days=10))

    pem = issue_certificate(short, CertificateContent("x"), make_private_key().public_key(), now=NOW)

    assert inspect_certificate(pem).not_after == NOW + dt.timedelta(days=10)
    with pytest.raises(PkiError, match="expired"):
        issue_certificate(
            short, CertificateContent("x"), make_private_key().public_key(), now=NOW + dt.timedelta(days=11)
        )


def test_an_authority_survives_the_disk(authority: Authority) -> None:
    assert load_authority(authority.certificate_pem, authority.key_pem).certificate == authority.certificate
    assert "PRIVATE" not in repr(authority)


def test_a_ca_with_a_foreign_key_or_no_ca_at_all_is_refused(authority: Authority) -> None:
    other = make_authority("kubernetes", now=NOW)
    leaf = issue_key_pair(authority, CertificateContent("x"), now=NOW)

    with pytest.raises(PkiError, match="belongs to another certificate"):
        load_authority(authority.certificate_pem, other.key_pem)
    with pytest.raises(PkiError, match="is no CA"):
        load_authority(leaf.certificate_pem, leaf.key_pem)
    with pytest.raises(PkiError, match="cannot be read"):
        load_authority(b"", b"")


def test_a_request_comes_back_as_it_was_made(authority: Authority) -> None:
    content = CertificateContent("system:node:n1", ("system:nodes",), ("n1",), ("192.0.2.21",))
    key = make_private_key()

    request = read_signing_request(make_signing_request(content, key))

    assert request.content == content
    assert request.public_key == key.public_key()
    with pytest.raises(PkiError, match="cannot be read"):
        read_signing_request(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")


def test_service_account_key_is_a_pair() -> None:
    private, public = make_service_account_key()

    assert private.startswith(b"-----BEGIN PRIVATE KEY")
    assert public.startswith(b"-----BEGIN PUBLIC KEY")


def test_a_strict_verifier_accepts_a_server_certificate_for_its_names(authority: Authority) -> None:
    content = CertificateContent("x", dns_names=("n1",), ip_addresses=("192.0.2.21",), usages=(Usage.SERVER,))
    leaf = x509.load_pem_x509_certificate(issue_key_pair(authority, content, now=NOW).certificate_pem)
    policy = verification.PolicyBuilder().store(verification.Store([authority.certificate])).time(NOW)

    assert len(policy.build_server_verifier(x509.DNSName("n1")).verify(leaf, [])) == 2
    with pytest.raises(verification.VerificationError):
        policy.build_server_verifier(x509.DNSName("n2")).verify(leaf, [])
    with pytest.raises(verification.VerificationError):
        policy.build_client_verifier().verify(leaf, [])
