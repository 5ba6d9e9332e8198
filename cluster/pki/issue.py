"""
Sign a leaf certificate. `issue_certificate` is the one function of the project that does.

Called by   provisioner (first certificates, renewals), cluster.controller_manager (answers CertificateSigningRequests),
            cluster.apiserver (a self-signed serving pair when none is given).
Not here    what belongs into which certificate: `cluster.pki.catalogue`.
"""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.pki.authority import BACKDATE, Authority, PkiError, key_usage, make_private_key, private_key_pem

LEAF_LIFETIME = dt.timedelta(days=90)

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Usage(StrEnum):
    """Extended key usages, spelled as in CertificateSigningRequests."""

    CLIENT = "client auth"
    SERVER = "server auth"


_USAGE_OIDS = {Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH, Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH}


@dataclass(frozen=True, slots=True)
class CertificateContent:
    """What a leaf says about its holder."""

    common_name: str
    organizations: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    usages: tuple[Usage, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return f"KeyPair(certificate_pem=<{len(self.certificate_pem)} bytes>, key_pem=<{len(self.key_pem)} bytes>)"


def issue_certificate(
    authority: Authority,
    content: CertificateContent,
    public_key: PublicKey,
    *,
    now: dt.datetime,
    lifetime: dt.timedelta = LEAF_LIFETIME,
) -> bytes:
    """
    Sign one leaf certificate; returns PEM.

    Args:
        authority: Who signs. The leaf never outlives it.
        content: Name, groups, alternative names and usages.
        public_key: The holder's; its private half is not needed here.
        now: Aware moment. The certificate starts five minutes earlier.
        lifetime: From `now` on.

    Raises:
        PkiError: The CA is expired, a name is malformed, or the content says nothing at all.
    """
    ends = min(now + lifetime, authority.certificate.not_valid_after_utc)
    if ends <= now:
        subject = authority.certificate.subject.rfc4514_string()
        raise PkiError(
            f"CA {subject} expired at {authority.certificate.not_valid_after_utc}; rotate it, then issue again"
        )
    if not content.common_name and not content.dns_names and not content.ip_addresses:
        raise PkiError("a certificate without name and addresses identifies nobody; give a common name")
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_name(content))
        .issuer_name(authority.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATE, authority.certificate.not_valid_before_utc))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            key_usage(digital_signature=True, key_encipherment=isinstance(public_key, rsa.RSAPublicKey)), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_key_identifier(authority), critical=False)
    )
    if content.usages:
        oids = [_USAGE_OIDS[usage] for usage in content.usages]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    if names := alternative_names(content):
        # RFC 5280, 4.2.1.6: critical when the subject is empty.
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not content.common_name)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


def issue_key_pair(
    authority: Authority,
    content: CertificateContent,
    *,
    now: dt.datetime,
    lifetime: dt.timedelta = LEAF_LIFETIME,
) -> KeyPair:
    """Make a key and sign its certificate. Raises PkiError as `issue_certificate`."""
    key = make_private_key()
    certificate_pem = issue_certificate(authority, content, key.public_key(), now=now, lifetime=lifetime)
    return KeyPair(certificate_pem, private_key_pem(key))


def subject_name(content: CertificateContent) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in content.organizations]
    if content.common_name:
        try:
            attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, content.common_name))
        except ValueError as error:
            raise PkiError(f"common name {content.common_name!r}: {error}; use 1 to 64 characters") from error
    return x509.Name(attributes)


def alternative_names(content: CertificateContent) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys(content.dns_names)]
    for address in dict.fromkeys(content.ip_addresses):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError as error:
            raise PkiError(f"{address!r} is no IP address; give host names as dns_names") from error
    return names


def _authority_key_identifier(authority: Authority) -> x509.AuthorityKeyIdentifier:
    try:
        subject = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject)
