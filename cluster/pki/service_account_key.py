"""
The key pair that signs and verifies ServiceAccount tokens: `sa.key`, `sa.pub`. ECDSA P-256, so ES256.

Made by the provisioner once a cluster; read by the apiserver (signs and verifies) and the controller manager.
"""

import base64
import hashlib

from cryptography.hazmat.primitives import serialization

from cluster.pki.authority import make_private_key, private_key_pem

PRIVATE_FILE = "sa.key"
PUBLIC_FILE = "sa.pub"


def make_service_account_key() -> tuple[bytes, bytes]:
    """(private PEM, public PEM)."""
    key = make_private_key()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private_key_pem(key), public


def key_ids(public_pem: bytes) -> tuple[str, ...]:
    """
    What tokens that these keys signed name in their header, `kid`. Raises ValueError for what is no public key.

    Source: kubernetes/pkg/serviceaccount/jwt.go: SHA-256 over the DER of the public key.
    """
    end = b"-----END PUBLIC KEY-----\n"
    return tuple(_key_id(part + end) for part in public_pem.split(end) if part.strip())


def _key_id(public_pem: bytes) -> str:
    der = serialization.load_pem_public_key(public_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
