"""
The key that Secrets are sealed with in etcd, in the file that `--encryption-provider-config` names.

Made by the provisioner once a cluster, the same on all masters; read by the apiserver alone. To rotate it, add a key
behind the first on every master, then move it to the front, then write every Secret once.
"""

import base64
import secrets

FILE = "encryption.yaml"
_KEY_BYTES = 32


def make_encryption_config() -> bytes:
    """A file with a fresh key. Values from before there was one are read too, and sealed when next written."""
    key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    return (
        "apiVersion: apiserver.config.k8s.io/v1\n"
        "kind: EncryptionConfiguration\n"
        "resources:\n"
        "- resources: [secrets]\n"
        "  providers:\n"
        "  - secretbox:\n"
        "      keys:\n"
        f"      - {{name: key1, secret: {key}}}\n"
        "  - identity: {}\n"
    ).encode()
