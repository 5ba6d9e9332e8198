"""
Pins of CAs: how somebody who has nothing but a short text knows the right CA when it is shown. Pure.

The form is kubeadm's: `sha256:` and the hexadecimal SHA-256 of the certificate's SubjectPublicKeyInfo in DER.
"""

import hashlib
import hmac
import re
from collections.abc import Collection

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cluster.pki.authority import PkiError

_PIN = re.compile(r"sha256:[0-9a-f]{64}")


def pin_of(certificate: x509.Certificate) -> str:
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"sha256:{hashlib.sha256(key).hexdigest()}"


def pins_of(bundle_pem: bytes) -> tuple[str, ...]:
    """Of every certificate in a bundle. Raises PkiError."""
    return tuple(pin_of(one) for one in _load(bundle_pem))


def check_pin(text: str) -> str:
    """The pin in lower case. Raises PkiError."""
    pin = text.strip().lower()
    if not _PIN.fullmatch(pin):
        raise PkiError(f"{text!r} is no pin of a CA; write sha256: and 64 hexadecimal digits")
    return pin


def pinned(bundle_pem: bytes, pins: Collection[str]) -> bytes:
    """The certificates of a bundle that are pinned, as PEM. Raises PkiError when none is."""
    good = [one for one in _load(bundle_pem) if any(hmac.compare_digest(pin_of(one), pin) for pin in pins)]
    if not good:
        raise PkiError(f"none of the CAs that were shown is pinned; wanted {', '.join(sorted(pins))}")
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in good)


def _load(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise PkiError(f"what was shown as CA is no PEM ({len(pem)} bytes)") from error
