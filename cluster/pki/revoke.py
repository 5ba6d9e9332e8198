"""
A CA's list of certificates that count no longer before their time is over. Pure: PEM in, PEM out.

etcd reads such a list at every handshake (--client-crl-file, --peer-crl-file) and compares serial numbers.
"""

import datetime as dt
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization

from cluster.pki.authority import BACKDATE, Authority, PkiError


def revoked_serials(crl_pem: bytes) -> frozenset[int]:
    """Raises PkiError when it is no list."""
    return frozenset(entry.serial_number for entry in _loaded(crl_pem))


def make_revocations(authority: Authority, serials: Iterable[int], *, now: dt.datetime) -> bytes:
    """
    The whole list, as PEM. It lasts as long as the CA: a new one follows each change, not each day.

    Args:
        serials: Of every certificate of this CA that does not count.
        now: Aware moment.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - BACKDATE)
        .next_update(authority.certificate.not_valid_after_utc)
    )
    for serial in sorted(set(serials)):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - BACKDATE).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def is_signed_by(crl_pem: bytes, ca_pem: bytes) -> bool:
    """Whether this CA made the list. Raises PkiError when it is no list."""
    key = x509.load_pem_x509_certificate(ca_pem).public_key()
    try:
        return _loaded(crl_pem).is_signature_valid(key)  # type: ignore[arg-type]  # a CA's key is one that signs
    except (InvalidSignature, TypeError):
        return False


def _loaded(crl_pem: bytes) -> x509.CertificateRevocationList:
    try:
        return x509.load_pem_x509_crl(crl_pem)
    except ValueError as error:
        raise PkiError(f"the list of revoked certificates cannot be read: {error}; remove it, a new one is made") from (
            error
        )
