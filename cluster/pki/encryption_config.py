"""
The key that Secrets are sealed with in etcd, in the file that `--encryption-provider-config` names.

Made by the provisioner once a cluster, the same on all masters; read by the apiserver alone. `provision secrets
rotate-key` replaces it.
"""

import base64
import secrets
from collections.abc import Sequence

FILE = "encryption.yaml"
_KEY_BYTES = 32


def make_encryption_config() -> bytes:
    """A file with a fresh key. Values from before there was one are read too, and sealed when next written."""
    return render([("key1", base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode())])


def render(keys: Sequence[tuple[str, str]]) -> bytes:
    """The file with these (name, base64 of 32 bytes); the first one seals, all of them open."""
    listed = "".join(f"      - {{name: {name}, secret: {secret}}}\n" for name, secret in keys)
    return (
        "apiVersion: apiserver.config.k8s.io/v1\n"
        "kind: EncryptionConfiguration\n"
        "resources:\n"
        "- resources: [secrets]\n"
        "  providers:\n"
        "  - secretbox:\n"
        "      keys:\n"
        f"{listed}"
        "  - identity: {}\n"
    ).encode()
