"""
The key pair that signs and verifies ServiceAccount tokens: `sa.key`, `sa.pub`. ECDSA P-256, so ES256.

Made by the provisioner once a cluster; read by the apiserver (signs and verifies) and the controller manager.
"""

from cryptography.hazmat.primitives import serialization

from cluster.pki.authority import make_private_key, private_key_pem

PRIVATE_FILE = "sa.key"
PUBLIC_FILE = "sa.pub"


def make_service_account_key() -> tuple[bytes, bytes]:
    """(private PEM, public PEM)."""
    key = make_private_key()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private_key_pem(key), public
