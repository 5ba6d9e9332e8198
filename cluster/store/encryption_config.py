"""
The file of `--encryption-provider-config`: which kinds are sealed, by which providers, with which keys.

Every fault of the file is told at once, with its path, and no message ever holds a secret.
Called by   cluster.apiserver.sealing.
Source: k8s.io/apiserver, pkg/apis/apiserver/validation/validation_encryption.go.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any

from cluster.machinery import decode
from cluster.machinery.field_errors import FieldError, invalid, required
from cluster.store.encryption import ENCRYPTED_HEAD, AesCbc, AesGcm, Chain, Cipher, Identity, Key, Provider, Secretbox

_API_VERSIONS = ("apiserver.config.k8s.io/v1", "v1")
_AES_SIZES, _SECRETBOX_SIZES = (16, 24, 32), (32,)
_CIPHERS: dict[str, tuple[Callable[[bytes], Cipher], tuple[int, ...], str]] = {
    "secretbox": (Secretbox, _SECRETBOX_SIZES, "Secretbox"),
    "aesgcm": (AesGcm, _AES_SIZES, "AES"),
    "aescbc": (AesCbc, _AES_SIZES, "AES"),
}
_MASKED = (
    "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be"
    " masked"
)
_EVENTS = (
    "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
)


def load(data: bytes, path: str) -> dict[str, Chain]:
    """
    The chains by resource name, as `encryption.Sealing` takes them.

    Args:
        data: The file's content, YAML or JSON.
        path: Its name, for messages.

    Raises:
        ValueError: It is no valid EncryptionConfiguration; says every fault, and none of the secrets.
    """
    try:
        found, duplicates = decode.decode_yaml(data)
    except ValueError:
        # The parser's message quotes the line, which may hold a key.
        raise ValueError(f"{path} is no YAML: write an EncryptionConfiguration (apiserver.config.k8s.io/v1)") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no object; write an EncryptionConfiguration (apiserver.config.k8s.io/v1)")
    if found.get("kind") != "EncryptionConfiguration" or found.get("apiVersion") not in _API_VERSIONS:
        raise ValueError(
            f"{path}: no kind {found.get('kind')!r} is registered for version {found.get('apiVersion')!r};"
            " write kind EncryptionConfiguration, apiVersion apiserver.config.k8s.io/v1"
        )
    reading = _Reading()
    chains = reading.chains(found.get("resources"))
    faults = [*duplicates, *map(str, reading.faults)]
    if faults:
        raise ValueError(f"{path} is no valid EncryptionConfiguration: {'; '.join(faults)}")
    return chains


class _Reading:
    """One pass over the file, collecting what is wrong."""

    def __init__(self) -> None:
        self.faults: list[FieldError] = []

    def chains(self, given: Any) -> dict[str, Chain]:
        chains: dict[str, Chain] = {}
        for at, entry in self._items(given, "resources"):
            path = f"resources[{at}]"
            names = [name for _, name in self._items(entry.get("resources"), f"{path}.resources", str)]
            self._check_names(names, f"{path}.resources")
            providers = [
                provider
                for number, one in self._items(entry.get("providers"), f"{path}.providers")
                if (provider := self._provider(one, f"{path}.providers[{number}]")) is not None
            ]
            if self.faults or not providers:
                continue
            chain = Chain(providers)
            for name in names:
                # The first entry that names a resource decides, as upstream.
                chains.setdefault(name, chain)
        return chains

    def _items(self, given: Any, path: str, kind: type = dict) -> list[tuple[int, Any]]:
        if not given:
            self.faults.append(required(path, f"at least one {path} is required"))
            return []
        if not isinstance(given, list) or not all(isinstance(one, kind) for one in given):
            self.faults.append(FieldError("FieldValueTypeInvalid", path, f"Invalid value: must be a list of {kind}"))
            return []
        return list(enumerate(given))

    def _check_names(self, names: list[str], path: str) -> None:
        for at, name in enumerate(names):
            if fault := _name_fault(name):
                self.faults.append(invalid(f"{path}[{at}]", name, fault))
        if len(set(names)) < len(names):
            self.faults.append(invalid(path, names, "the same resource cannot be specified multiple times"))
        plain, whole = [n for n in names if not n.startswith("*.")], [n for n in names if n.startswith("*.")]
        masking = "*.*" in whole and len(names) > 1
        if masking or any(f"*.{name.partition('.')[2]}" in whole for name in plain):
            self.faults.append(invalid(path, names, _MASKED))

    def _provider(self, given: dict[str, Any], path: str) -> Provider | None:
        kinds = [name for name in given if name in (*_CIPHERS, "identity", "kms")]
        unknown = [name for name in given if name not in kinds]
        if len(kinds) != 1 or unknown:
            why = (
                "more than one provider specified in a single element, should split into different list elements"
                if len(kinds) > 1
                else "provider does not contain any of the expected providers: AESGCM, AESCBC, Secretbox, Identity"
            )
            self.faults.append(FieldError("FieldValueInvalid", path, f"Invalid value: {sorted(given)}: {why}"))
            return None
        kind = kinds[0]
        if kind == "identity":
            return Provider(b"", "Identity", (Key(b"", Identity()),))
        if kind == "kms":
            self.faults.append(
                FieldError("FieldValueForbidden", f"{path}.kms", "Forbidden: use secretbox, aesgcm or aescbc")
            )
            return None
        make, sizes, title = _CIPHERS[kind]
        head = ENCRYPTED_HEAD + f"{kind}:v1:".encode()
        listed = given[kind].get("keys") if isinstance(given[kind], dict) else None
        keys = []
        for at, one in self._items(listed, f"{path}.{kind}.keys"):
            secret = self._secret(one, f"{path}.{kind}.keys[{at}]", sizes)
            if secret is not None:
                keys.append(Key(head + f"{one['name']}:".encode(), make(secret)))
        return Provider(head, title, tuple(keys)) if keys else None

    def _secret(self, key: dict[str, Any], path: str, sizes: tuple[int, ...]) -> bytes | None:
        name, text = key.get("name"), key.get("secret")
        if not isinstance(name, str) or not name:
            self.faults.append(required(f"{path}.name", "name is a mandatory field for a key"))
            return None
        if not isinstance(text, str) or not text:
            self.faults.append(required(f"{path}.secret", "secret is a mandatory field for a key"))
            return None
        try:
            secret = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self.faults.append(invalid(f"{path}.secret", "REDACTED", "secrets must be base64 encoded"))
            return None
        if len(secret) not in sizes:
            wanted = " ".join(map(str, sizes))
            why = f"secret is not of the expected length, got {len(secret)}, expected one of [{wanted}]"
            self.faults.append(invalid(f"{path}.secret", "REDACTED", why))
            return None
        return secret


def _name_fault(name: str) -> str:
    plural, _, group = name.partition(".")
    if name != name.lower():
        return "resource name should not contain capital letters"
    if name == "*":
        return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
    if name in ("apiserveripinfo", "serviceipallocations", "servicenodeportallocations"):
        return "resources which do not have REST API/s cannot be encrypted"
    if group == "events.k8s.io":
        return _EVENTS
    if group == "extensions":
        return "'extensions' group has been removed and cannot be used for encryption"
    if group == "*" and plural != "*":
        return "encrypting the same resource across groups is not supported"
    return ""
