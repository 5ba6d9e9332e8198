"""
The operator's kubeconfig: rendered for a cluster, merged into the user's own without touching what else is in there.

Pure but for `merge_into_file` and `remove_from_file`.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.settings import SERVERS_EXTENSION
from provisioner.errors import ProvisionError
from provisioner.state import CLUSTER, write_atomically

Config = dict[str, Any]


def context_name(cluster: str, kind: str = CLUSTER) -> str:
    return f"hanse-{cluster}" if kind == CLUSTER else f"hanse-{kind}-{cluster}"


def render(name: str, server: str, servers: Sequence[str], pki: Path) -> Config:
    """
    A kubeconfig that needs no other file.

    Args:
        name: What context, cluster and user are called: `context_name`.
        server: URL for clients that know one.
        servers: Every apiserver, for our own clients, which fail over.
        pki: Holds ca.crt, admin.crt and admin.key.
    """
    extension = {"name": SERVERS_EXTENSION, "extension": {"servers": list(servers)}}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": _encoded(pki / "ca.crt"),
                    "extensions": [extension],
                },
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _encoded(pki / "admin.crt"),
                    "client-key-data": _encoded(pki / "admin.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def to_bytes(config: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(config), sort_keys=False).encode()


def merge(existing: Mapping[str, Any], ours: Mapping[str, Any], *, current: bool = True) -> Config:
    """`existing` with our cluster, user and context put in or replaced, and made current. Others stay as they are."""
    merged = dict(existing) or {"apiVersion": "v1", "kind": "Config", "preferences": {}}
    for section in ("clusters", "users", "contexts"):
        names = {entry["name"] for entry in ours[section]}
        kept = [entry for entry in merged.get(section) or [] if entry.get("name") not in names]
        merged[section] = [*kept, *ours[section]]
    if current:
        merged["current-context"] = ours["current-context"]
    return merged


def without(existing: Mapping[str, Any], name: str) -> Config:
    """`existing` without the cluster, user and context of that name."""
    rest = dict(existing)
    for section in ("clusters", "users", "contexts"):
        rest[section] = [entry for entry in rest.get(section) or [] if entry.get("name") != name]
    if rest.get("current-context") == name:
        rest["current-context"] = ""
    return rest


def user_file() -> Path:
    """The file kubectl writes to: the first of $KUBECONFIG, else ~/.kube/config."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first).expanduser() if first else Path.home() / ".kube" / "config"


def merge_into_file(path: Path, ours: Mapping[str, Any], *, current: bool = True) -> bool:
    """Returns whether the file had to change. Raises ProvisionError, and leaves it alone, when it is not understood."""
    existing = read(path)
    merged = merge(existing, ours, current=current)
    if merged == existing:
        return False
    write_atomically(path, to_bytes(merged), mode=0o600)
    return True


def refresh_in_file(path: Path, ours: Mapping[str, Any]) -> bool:
    """As `merge_into_file`, where our context is there already; which one is current stays. Returns whether it is."""
    existing = read(path)
    if not any(entry.get("name") == ours["current-context"] for entry in existing.get("contexts") or []):
        return False
    merged = {**merge(existing, ours), "current-context": existing.get("current-context", "")}
    if merged != existing:
        write_atomically(path, to_bytes(merged), mode=0o600)
    return True


def remove_from_file(path: Path, name: str) -> None:
    """`name` is a context's."""
    if not path.exists():
        return
    existing = read(path)
    rest = without(existing, name)
    if rest != existing:
        write_atomically(path, to_bytes(rest), mode=0o600)


def read(path: Path) -> Config:
    """{} when there is none."""
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _not_ours(path, f"it is no YAML: {str(error).splitlines()[0]}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _not_ours(path, "it is no mapping")
    return found


def _not_ours(path: Path, why: str) -> ProvisionError:
    return ProvisionError(
        f"cannot merge into {path}",
        why=why,
        next_step="Repair the file, or run with --no-merge and use the cluster's own.",
    )


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
