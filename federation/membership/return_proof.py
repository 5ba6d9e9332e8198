"""
How an agent whose certificate has expired proves that it is the one it was: a token that it signs with the same key.

No TLS server accepts an expired certificate, and a bootstrap token has ended long before one. The token carries the
certificate and is good for minutes, for asking for a new certificate and for nothing else. Pure.
"""

import base64
import datetime as dt
from collections.abc import Sequence
from typing import Any

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.pki.authority import PkiError
from cluster.pki.inspect import describe
from cluster.pki.issue import Usage
from federation.api.kinds import GROUP as API_GROUP
from federation.membership import agents

TYPE = "hanse-member-return+jwt"
AUDIENCE = f"{API_GROUP}/return"
GOOD_FOR = dt.timedelta(minutes=5)
AWAY = dt.timedelta(days=365)
"""How long ago the certificate may have ended."""
MAX_BYTES = 8192


class ProofError(ValueError):
    """It proves nothing. The message says why."""


def make_proof(certificate_pem: bytes, key_pem: bytes, now: dt.datetime) -> str:
    """Raises PkiError."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise PkiError("the agent's certificate and key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError("the agent's key is not one of those it makes")
    shown = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    claims = {"aud": AUDIENCE, "iat": now, "exp": now + GOOD_FOR}
    return jwt.encode(claims, key, algorithm="ES256", headers={"typ": TYPE, "x5c": [shown]})


def is_proof(token: str) -> bool:
    """Whether it means to be one; others may know it if not."""
    return len(token) <= MAX_BYTES and _header(token).get("typ") == TYPE


def read_proof(token: str, authorities: Sequence[x509.Certificate], now: dt.datetime) -> tuple[str, tuple[str, ...]]:
    """
    (user, groups) of who returns.

    Args:
        authorities: CAs that agents' certificates are signed by.

    Raises ProofError.
    """
    certificate = _certificate(_header(token))
    if not any(_signed(certificate, one) for one in authorities):
        raise ProofError("the certificate is not the federation's")
    info = describe(certificate)
    name, groups = info.content.common_name, info.content.organizations
    if agents.cluster_of(name, groups) is None or Usage.CLIENT not in info.content.usages:
        raise ProofError("the certificate is none of a member's agent")
    if now < info.not_after:
        raise ProofError("the certificate has not ended: use it")
    if now > info.not_after + AWAY:
        raise ProofError(f"the certificate has ended on {info.not_after:%Y-%m-%d}, too long ago: invite it again")
    uid = agents.uid_of(groups)
    _check(token, certificate, now)
    return name, (agents.RETURNING, agents.uid_group(uid))


def _check(token: str, certificate: x509.Certificate, now: dt.datetime) -> None:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ProofError("the certificate's key is not one of those agents make")
    try:
        # Times are compared below, with a clock that is given.
        claims = jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            audience=AUDIENCE,
            options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "aud"]},
        )
        begins, ends = float(claims["iat"]), float(claims["exp"])
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise ProofError("it is not signed by the certificate's key") from error
    seconds = now.timestamp()
    if ends - begins > GOOD_FOR.total_seconds() or not begins - GOOD_FOR.total_seconds() <= seconds < ends:
        raise ProofError("it is not of now: compare the clocks")


def _header(token: str) -> dict[str, Any]:
    try:
        return jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        return {}


def _certificate(header: dict[str, Any]) -> x509.Certificate:
    shown = header.get("x5c")
    if not isinstance(shown, list) or len(shown) != 1 or not isinstance(shown[0], str):
        raise ProofError("it shows no certificate")
    try:
        return x509.load_der_x509_certificate(base64.b64decode(shown[0], validate=True))
    except ValueError as error:
        raise ProofError("what it shows is no certificate") from error


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
