"""
A certificate authority: made once a cluster, loaded whenever something is to be signed.

Used by the provisioner (makes and keeps them) and by the controller manager (loads the cluster's to answer
CertificateSigningRequests). Pure: PEM in, PEM out; who stores the key decides about file modes.
"""

import datetime as dt
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

CA_LIFETIME = dt.timedelta(days=3652)
"""Ten years, as kubeadm's."""

BACKDATE = dt.timedelta(minutes=5)
"""How far before now a certificate starts, for hosts whose clocks are behind. Source: kubeadm."""

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class PkiError(ValueError):
    """Key material that cannot be used. The message names what is wrong, never the material itself."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: SigningKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return private_key_pem(self.key)


def make_authority(common_name: str, *, now: dt.datetime, lifetime: dt.timedelta = CA_LIFETIME) -> Authority:
    """
    Make a self-signed CA with an ECDSA P-256 key.

    Args:
        common_name: `kubernetes`, `etcd-ca`, … as in `cluster.pki.catalogue.AUTHORITIES`.
        now: Aware moment; the certificate starts five minutes earlier.
        lifetime: From `now` on.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        # Nothing below this CA may be a CA itself.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(digital_signature=True, key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def load_authority(certificate_pem: bytes, key_pem: bytes) -> Authority:
    """
    Load a CA; ours or one that the operator brings (ECDSA or RSA).

    Args:
        certificate_pem: The certificate. While CAs are rotated, a bundle: the one that belongs to the key is taken.
        key_pem: The key, not encrypted.

    Raises:
        PkiError: Not PEM, not a CA, or the key belongs to another certificate.
    """
    try:
        bundle = x509.load_pem_x509_certificates(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"the CA cannot be read: {error}; give an unencrypted PEM certificate and key") from error
    certificate = next((one for one in bundle if one.public_key() == key.public_key()), bundle[0])
    subject = certificate.subject.rfc4514_string()
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PkiError(f"the key of CA {subject} is a {type(key).__name__}; use ECDSA P-256 or RSA")
    if key.public_key() != certificate.public_key():
        raise PkiError(f"the key given for CA {subject} belongs to another certificate; give the matching pair")
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = x509.BasicConstraints(ca=False, path_length=None)
    if not constraints.ca:
        raise PkiError(f"certificate {subject} is no CA (basicConstraints CA:FALSE); give a CA certificate")
    return Authority(certificate, key)


def make_private_key() -> ec.EllipticCurvePrivateKey:
    """The key of a leaf: ECDSA P-256, which every client accepts (Ed25519 is refused by some)."""
    return ec.generate_private_key(ec.SECP256R1())


def private_key_pem(key: SigningKey) -> bytes:
    """Unencrypted PKCS #8. To be written with mode 0600 and never logged."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
