"""
PKCS #10 requests, as they travel in CertificateSigningRequest objects. Pure.

Made by the kubelet (renewal), read by the apiserver's admission and the controller manager's signer.
"""

import base64
import binascii
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from cluster.pki.authority import PkiError, SigningKey
from cluster.pki.issue import CertificateContent, PublicKey, alternative_names, subject_name


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What a request asks for. Its usages are in the API object, not here."""

    content: CertificateContent
    public_key: PublicKey
    other_names: tuple[str, ...] = ()
    """E-mail addresses and URIs among the alternative names; no signer of ours accepts any."""


def make_signing_request(content: CertificateContent, key: SigningKey) -> bytes:
    """PEM of a request for `content`, signed by the holder's key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject_name(content))
    if names := alternative_names(content):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read_signing_request(pem: bytes) -> SigningRequest:
    """
    Read a PEM request.

    Raises:
        PkiError: Not PEM, its signature does not match its key, or the key is neither ECDSA nor RSA of 2048 bits.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        valid = request.is_signature_valid
        key = request.public_key()
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names: x509.SubjectAlternativeName | None = extension.value
    except x509.ExtensionNotFound:
        names = None
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise PkiError(f"the certificate request cannot be read: {error}") from error
    if not valid:
        raise PkiError("the certificate request is not signed by the key it contains")
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise PkiError(f"the certificate request has a {type(key).__name__}; use ECDSA or RSA")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        raise PkiError(f"the certificate request has an RSA key of {key.key_size} bits; use at least 2048")
    subject = request.subject
    common_names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    content = CertificateContent(
        common_name=str(common_names[0].value) if common_names else "",
        organizations=tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
        ip_addresses=tuple(str(a) for a in names.get_values_for_type(x509.IPAddress)) if names else (),
    )
    return SigningRequest(content, key, _other_names(names))


def decode_request_field(value: object) -> bytes:
    """`spec.request` of a CertificateSigningRequest: base64 of PEM. Raises PkiError when it is not."""
    if not isinstance(value, str):
        raise PkiError(f"spec.request is a {type(value).__name__}, wanted base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PkiError(f"spec.request is not base64: {error}") from error


def _other_names(names: x509.SubjectAlternativeName | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return tuple(repr(name.value) for name in names if not isinstance(name, x509.DNSName | x509.IPAddress))
