"""
The keys behind ServiceAccount tokens: which algorithm goes with which key, and how they are published.

Called by   cluster.apiserver.service_account_tokens, /openid/v1/jwks, the apiserver's start (key files).
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cluster.machinery.objects import Object

_CURVE_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key with the algorithm that it, and nothing else, may be used with."""

    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    algorithm: str
    key_id: str

    @classmethod
    def from_public_key(cls, key: object) -> "VerificationKey":
        if isinstance(key, ec.EllipticCurvePublicKey):
            algorithm = _CURVE_ALGORITHMS.get(key.curve.name)
            if algorithm is None:
                raise ValueError(f"ServiceAccount key is on curve {key.curve.name}; use P-256")
        elif isinstance(key, rsa.RSAPublicKey):
            algorithm = "RS256"
        else:
            raise ValueError(f"ServiceAccount key is a {type(key).__name__}; use ECDSA P-256 or RSA")
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(key, algorithm, _base64url(hashlib.sha256(der).digest()))


def load_verification_keys(pem: bytes) -> list[VerificationKey]:
    """
    Every key of a `--service-account-key-file`: public keys, or private ones whose public half is meant.

    Raises ValueError when there is none.
    """
    keys = []
    for block in _pem_blocks(pem):
        try:
            if b"PUBLIC KEY" in block:
                public: object = serialization.load_pem_public_key(block)
            else:
                public = serialization.load_pem_private_key(block, password=None).public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(f"a ServiceAccount key cannot be read: {error}; give PEM keys") from error
        keys.append(VerificationKey.from_public_key(public))
    if not keys:
        raise ValueError("the ServiceAccount key file has no PEM key")
    return keys


def json_web_keys(keys: Sequence[VerificationKey]) -> Object:
    """/openid/v1/jwks."""
    published = []
    for key in keys:
        if isinstance(key.key, ec.EllipticCurvePublicKey):
            parameters: dict[str, Any] = ECAlgorithm.to_jwk(key.key, as_dict=True)
        else:
            parameters = RSAAlgorithm.to_jwk(key.key, as_dict=True)
        parameters.pop("key_ops", None)
        published.append({"use": "sig", "kid": key.key_id, "alg": key.algorithm, **parameters})
    return {"keys": published}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pem_blocks(pem: bytes) -> list[bytes]:
    blocks: list[bytes] = []
    current: list[bytes] = []
    for line in pem.splitlines():
        if line.startswith(b"-----BEGIN "):
            current = []
        current.append(line)
        # EC PARAMETERS precede a key in files that openssl wrote, and are no key.
        if line.startswith(b"-----END ") and b"KEY-----" in line:
            blocks.append(b"\n".join(current) + b"\n")
    return blocks
