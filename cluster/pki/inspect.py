"""
What a certificate says, and whether it is to be renewed. Pure.

Used by the provisioner (`certs status`, renewal on each run) and by the kubelet (when to ask for the next one).
"""

import datetime as dt
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.pki.authority import PkiError
from cluster.pki.issue import CertificateContent, Usage

RENEW_AT_REMAINING = 1 / 3
"""Share of the lifetime that is left when a certificate is renewed: 30 of 90 days."""

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)

_USAGES_BY_OID = {ExtendedKeyUsageOID.CLIENT_AUTH: Usage.CLIENT, ExtendedKeyUsageOID.SERVER_AUTH: Usage.SERVER}


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """One certificate in plain values."""

    content: CertificateContent
    issuer: str
    """The issuer's common name."""
    not_before: dt.datetime
    not_after: dt.datetime
    serial: int

    def days_left(self, now: dt.datetime) -> float:
        """Negative once expired."""
        return (self.not_after - now).total_seconds() / 86400


def inspect_certificate(certificate_pem: bytes) -> CertificateInfo:
    """Read the first certificate of a PEM file. Raises PkiError for anything else."""
    return describe(_load(certificate_pem))


def describe(certificate: x509.Certificate) -> CertificateInfo:
    names = _extension(certificate, x509.SubjectAlternativeName)
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    return CertificateInfo(
        content=CertificateContent(
            common_name=_attribute(certificate.subject, NameOID.COMMON_NAME),
            organizations=tuple(
                str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
            ),
            dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
            ip_addresses=tuple(str(a) for a in names.get_values_for_type(x509.IPAddress)) if names else (),
            usages=tuple(_USAGES_BY_OID[oid] for oid in usages if oid in _USAGES_BY_OID) if usages else (),
        ),
        issuer=_attribute(certificate.issuer, NameOID.COMMON_NAME),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=certificate.serial_number,
    )


def needs_renewal(
    certificate_pem: bytes,
    wanted: CertificateContent,
    authority_pem: bytes,
    *,
    now: dt.datetime,
    remaining: float = RENEW_AT_REMAINING,
) -> str:
    """
    Why the certificate must be issued anew; empty when it is good.

    Args:
        certificate_pem: What the host has.
        wanted: What the catalogue says it should be.
        authority_pem: The CA that should have signed it.
        now: Aware moment.
        remaining: Renew when less than this share of the lifetime is left.
    """
    try:
        certificate, authority = _load(certificate_pem), _load(authority_pem)
    except PkiError as error:
        return str(error)
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return f"it is not signed by {_attribute(authority.subject, NameOID.COMMON_NAME) or 'the CA'}"
    info = describe(certificate)
    lifetime = info.not_after - info.not_before
    if info.not_after <= now:
        return f"it expired at {info.not_after:%Y-%m-%d %H:%M}Z"
    if info.not_after - now < lifetime * remaining:
        return f"{info.days_left(now):.1f} days are left"
    have = info.content
    for what, a, b in (
        ("common name", {have.common_name}, {wanted.common_name}),
        ("groups", set(have.organizations), set(wanted.organizations)),
        ("names", set(have.dns_names), set(wanted.dns_names)),
        ("addresses", set(have.ip_addresses), set(wanted.ip_addresses)),
        ("usages", set(have.usages), set(wanted.usages)),
    ):
        if a != b:
            return f"its {what} are {', '.join(sorted(a)) or 'none'}, wanted are {', '.join(sorted(b)) or 'none'}"
    return ""


def _load(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise PkiError(f"it is no PEM certificate ({len(pem)} bytes)") from error


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
