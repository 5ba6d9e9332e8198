"""
Who is no member of the cluster any more has nothing to show to etcd: the serial numbers of a host's certificates from
etcd's CA go to the list of those that count no longer, which members read at every handshake.

The list lies beside the CA and is a file like the certificates: Ansible lays it down on the members.
"""

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cluster.pki import catalogue
from cluster.pki.authority import load_authority
from cluster.pki.revoke import is_signed_by, make_revocations, revoked_serials
from provisioner.state import write_atomically

LIST = "etcd/ca.crl"
"""Below `pki/`, and on members below /etc/kubernetes/pki."""
_AUTHORITY = catalogue.authority_named("etcd-ca")


def revocations_pending(pki: Path) -> bool:
    """Whether there is no list, or one of a CA that is not trusted any more."""
    path, authority = pki / LIST, pki / f"{_AUTHORITY.path}.crt"
    if not path.exists() or not authority.exists():
        return True
    # Two while CAs are rotated; members read serial numbers, whichever of them signed the list.
    trusted = x509.load_pem_x509_certificates(authority.read_bytes())
    pems = (one.public_bytes(serialization.Encoding.PEM) for one in trusted)
    return not any(is_signed_by(path.read_bytes(), pem) for pem in pems)


def ensure_revocations(pki: Path, now: dt.datetime) -> None:
    """What was revoked stays so."""
    if revocations_pending(pki):
        _write(pki, _revoked(pki), now)


def revoke_host(pki: Path, host: str, now: dt.datetime) -> int:
    """All certificates that the host ever got from etcd's CA and that are still kept; returns how many are new."""
    known = _revoked(pki)
    found = _serials(pki / "hosts" / host, (pki / f"{_AUTHORITY.path}.crt").read_bytes())
    if found - known or revocations_pending(pki):
        _write(pki, known | found, now)
    return len(found - known)


def is_revoked(pki: Path, host: str) -> bool:
    """Whether none of the host's certificates counts for etcd."""
    return _serials(pki / "hosts" / host, (pki / f"{_AUTHORITY.path}.crt").read_bytes()) <= _revoked(pki)


def _revoked(pki: Path) -> frozenset[int]:
    path = pki / LIST
    return revoked_serials(path.read_bytes()) if path.exists() else frozenset()


def _serials(folder: Path, authority_pem: bytes) -> frozenset[int]:
    issuer = x509.load_pem_x509_certificate(authority_pem).subject
    certificates = [x509.load_pem_x509_certificate(path.read_bytes()) for path in sorted(folder.rglob("*.crt"))]
    return frozenset(one.serial_number for one in certificates if one.issuer == issuer)


def _write(pki: Path, serials: frozenset[int], now: dt.datetime) -> None:
    authority = load_authority(
        (pki / f"{_AUTHORITY.path}.crt").read_bytes(), (pki / f"{_AUTHORITY.path}.key").read_bytes()
    )
    write_atomically(pki / LIST, make_revocations(authority, serials, now=now), mode=0o644)
