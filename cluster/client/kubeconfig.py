"""
Read a kubeconfig: which servers, which CA, who we are.

Called by `cluster.client.rest` and by whoever needs to know an address before there is a client. Files that a
kubeconfig names are not read here but by the client, again and again, because certificates are renewed in place.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.settings import SERVERS_EXTENSION

MAX_KUBECONFIG_BYTES = 4 * 1024 * 1024
MAX_YAML_DEPTH = 32
"""PyYAML's C loader recurses on the C stack: depth is checked on the event stream, before anything is composed."""

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(Exception):
    """The kubeconfig cannot be used as it is. The message names the file, the fault and the remedy."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ClientConfig:
    """How to reach an apiserver and as whom. Never printed: it may hold a token or a key."""

    servers: tuple[str, ...]
    """Base URLs, e.g. https://10.0.0.1:6443, in order of preference. At least one."""
    ca_file: Path | None = None
    ca_data: bytes = b""
    """PEM. Without a file and data the system's authorities are used."""
    insecure: bool = False
    tls_server_name: str = ""
    cert_file: Path | None = None
    key_file: Path | None = None
    cert_data: bytes = b""
    key_data: bytes = b""
    token: str = ""
    token_file: Path | None = None
    username: str = ""
    password: str = ""
    namespace: str = "default"


def _composed(text: bytes, source: str) -> Any:
    """Parse YAML after a scan of its events: neither deep nesting nor aliases reach the composer."""
    if len(text) > MAX_KUBECONFIG_BYTES:
        raise KubeconfigError(
            f"{source}: {len(text)} bytes are more than the {MAX_KUBECONFIG_BYTES} a kubeconfig may have. "
            "Check that the path names a kubeconfig."
        )
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.AliasEvent):
                raise KubeconfigError(f"{source}: YAML aliases are not allowed. Write the value out in full.")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_YAML_DEPTH:
                    raise KubeconfigError(f"{source}: nested deeper than {MAX_YAML_DEPTH}. It is no kubeconfig.")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        return yaml.load(text, Loader=loader)  # noqa: S506  (a safe loader, either way)
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{source}: not YAML: {error}. Correct the file.") from error


def _named(config: Mapping[str, Any], section: str, name: str, inner: str, source: str) -> Mapping[str, Any]:
    for entry in config.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry.get(inner) or {}
    raise KubeconfigError(f"{source}: {section} has no entry {name!r}. Add it, or choose another context.")


def _data(section: Mapping[str, Any], key: str, source: str) -> bytes:
    try:
        return base64.b64decode(section.get(key) or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise KubeconfigError(f"{source}: {key} is not base64: {error}. Write the PEM file in base64.") from error


def _servers(cluster: Mapping[str, Any], source: str) -> tuple[str, ...]:
    first = str(cluster.get("server") or "")
    more: list[str] = []
    for extension in cluster.get("extensions") or []:
        if isinstance(extension, dict) and extension.get("name") == SERVERS_EXTENSION:
            more = [str(server) for server in (extension.get("extension") or {}).get("servers") or []]
    servers = tuple(dict.fromkeys(server.rstrip("/") for server in (first, *more) if server))
    if not servers:
        raise KubeconfigError(f"{source}: the cluster names no server. Set clusters[].cluster.server.")
    return servers


def parse_kubeconfig(text: bytes, *, source: str, base: Path, context: str = "") -> ClientConfig:
    """
    Choose a context of a kubeconfig.

    Args:
        source: How errors call the file.
        base: Where relative paths start: the directory of the file.
        context: Name of the context; empty takes current-context.

    Raises KubeconfigError.
    """
    config = _composed(text, source)
    if not isinstance(config, dict):
        raise KubeconfigError(f"{source}: a {type(config).__name__}, not a mapping. It is no kubeconfig.")
    context = context or str(config.get("current-context") or "")
    if not context:
        raise KubeconfigError(f"{source}: no current-context is set. Set it, or name a context.")
    chosen = _named(config, "contexts", context, "context", source)
    cluster = _named(config, "clusters", str(chosen.get("cluster") or ""), "cluster", source)
    user = _named(config, "users", str(chosen.get("user") or ""), "user", source) if chosen.get("user") else {}
    if user.get("exec") or user.get("auth-provider"):
        raise KubeconfigError(
            f"{source}: user {chosen.get('user')!r} logs in with a plugin, which is not supported here. "
            "Use a client certificate, a token or a tokenFile."
        )

    def path(section: Mapping[str, Any], key: str) -> Path | None:
        value = section.get(key)
        return base / str(value) if value else None

    return ClientConfig(
        servers=_servers(cluster, source),
        ca_file=path(cluster, "certificate-authority"),
        ca_data=_data(cluster, "certificate-authority-data", source),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        cert_file=path(user, "client-certificate"),
        key_file=path(user, "client-key"),
        cert_data=_data(user, "client-certificate-data", source),
        key_data=_data(user, "client-key-data", source),
        token=str(user.get("token") or ""),
        token_file=path(user, "tokenFile"),
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        namespace=str(chosen.get("namespace") or "default"),
    )


def load_kubeconfig(path: str | os.PathLike[str], context: str = "") -> ClientConfig:
    """Read a kubeconfig file. Raises KubeconfigError, also when the file cannot be read."""
    file = Path(path)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{file}: {error.strerror}. Check --kubeconfig and the file's mode.") from error
    return parse_kubeconfig(text, source=str(file), base=file.resolve().parent, context=context)


def in_cluster_config(environment: Mapping[str, str], directory: Path = SERVICE_ACCOUNT_DIR) -> ClientConfig:
    """What a container in a Pod has: the service environment and the mounted ServiceAccount."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise KubeconfigError("KUBERNETES_SERVICE_HOST is not set: this is no Pod. Give --kubeconfig.")
    namespace = directory / "namespace"
    return ClientConfig(
        servers=(f"https://{f'[{host}]' if ':' in host else host}:{port}",),
        ca_file=directory / "ca.crt",
        token_file=directory / "token",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
    )
