"""
The keys that Secrets are sealed with, in the file `encryption.yaml` on the operator's side: which there are, and the
same file with another one, in another order, or with one alone. Pure, but for the two that read and write it.

The first key seals; all of them open. Names count up (`key1`, `key2`), so the order of age is known from the file.
"""

import base64
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from cluster.pki import encryption_config
from provisioner.errors import ProvisionError
from provisioner.state import write_atomically

RETIRED = "encryption-retired.yaml"
"""Keys that were dropped, below pki/ on the operator's side alone: a snapshot from before needs them."""
_NAME = re.compile(r"key([1-9][0-9]{0,8})")
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SealingKey:
    name: str
    secret: str = field(repr=False)
    """base64 of 32 bytes."""

    @property
    def number(self) -> int:
        found = _NAME.fullmatch(self.name)
        return int(found[1]) if found else 0


def parse_keys(content: bytes, path: str) -> tuple[SealingKey, ...]:
    """
    The keys in order: the first seals.

    Args:
        content: Of the file.
        path: For messages, which never hold a key.

    Raises:
        ProvisionError: It is not of the form that `provision` writes, so somebody takes care of it by hand.
    """
    try:
        [entry] = yaml.safe_load(content)["resources"]
        first, last = entry["providers"]
        keys = tuple(SealingKey(str(one["name"]), str(one["secret"])) for one in first["secretbox"]["keys"])
        ours = entry["resources"] == ["secrets"] and last == {"identity": {}} and bool(keys)
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        ours, keys = False, ()
    if not ours or any(not key.number for key in keys) or len({key.name for key in keys}) < len(keys):
        raise ProvisionError(
            f"{path} was changed by hand", why="it is not one list of secretbox keys (key1, key2, …) for secrets",
            next_step="Rotate it by hand: add a key behind the first, move it to the front, write every Secret once.",
        )  # fmt: skip
    return keys


def newer_name(names: Sequence[str]) -> str:
    """One that none of these has: names of keys that are, and of those that were."""
    return f"key{max(int(found[1]) for name in names if (found := _NAME.fullmatch(name))) + 1}"


def make_key(name: str) -> SealingKey:
    return SealingKey(name, base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode())


def first(keys: Sequence[SealingKey], name: str) -> tuple[SealingKey, ...]:
    """The same keys, this one in front. Raises KeyError."""
    return (named(keys, name), *(key for key in keys if key.name != name))


def named(keys: Sequence[SealingKey], name: str) -> SealingKey:
    found = next((key for key in keys if key.name == name), None)
    if found is None:
        raise KeyError(name)
    return found


def read_keys(pki: Path) -> tuple[SealingKey, ...]:
    """Raises ProvisionError."""
    path = pki / encryption_config.FILE
    try:
        return parse_keys(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise ProvisionError(
            f"there is no {path}", why="the cluster was not made by `provision cluster` to its end",
            next_step="Run `provision cluster` again.",
        ) from error  # fmt: skip


def write_keys(pki: Path, keys: Sequence[SealingKey]) -> None:
    """At once or not at all."""
    content = encryption_config.render([(key.name, key.secret) for key in keys])
    write_atomically(pki / encryption_config.FILE, content, mode=0o600)


def retired_names(pki: Path) -> list[str]:
    return [name for name, _ in _read_retired(pki)]


def with_retired(pki: Path, keys: Sequence[SealingKey]) -> tuple[SealingKey, ...]:
    """These keys, and behind them those that were dropped."""
    names = {key.name for key in keys}
    return (*keys, *(SealingKey(name, secret) for name, secret in _read_retired(pki) if name not in names))


def retire(pki: Path, keys: Sequence[SealingKey]) -> None:
    """Remember keys that are about to be dropped; before they are, so that none is lost."""
    known = dict(_read_retired(pki)) | {key.name: key.secret for key in keys}
    content = yaml.safe_dump({"keys": [{"name": name, "secret": secret} for name, secret in known.items()]})
    write_atomically(pki / RETIRED, content.encode(), mode=0o600)


def _read_retired(pki: Path) -> list[tuple[str, str]]:
    path = pki / RETIRED
    if not path.exists():
        return []
    try:
        return [(str(one["name"]), str(one["secret"])) for one in yaml.safe_load(path.read_text())["keys"]]
    except (yaml.YAMLError, KeyError, TypeError):
        raise ProvisionError(
            f"cannot read {path}", why="it is not a list of keys with name and secret",
            next_step="Restore it from a backup of the cluster's folder, or move it away.",
        ) from None  # fmt: skip
