"""
A federation's services on one host, with an embedded store: their keys, arguments and order. Pure but for `prepare`.
"""

import base64
import importlib.util
import json
import sys
from pathlib import Path
from urllib.parse import quote

from cluster.single_process.identity import Identity, ensure_identity, write_private
from federation.dns.key_files import read_key_file, write_new_key
from federation.dns.providers.choose import EMBEDDED
from federation.host.dns_provider import provider_flags
from federation.host.home import Description, Home
from federation.host.processes import Processes, Service
from federation.membership.invite import INFO_PATH

ADMIN, CONTROLLER_MANAGER, DNS_SERVER = "admin", "federation-controller-manager", "federation-dns"
USERS = dict.fromkeys((ADMIN, CONTROLLER_MANAGER, DNS_SERVER), "system:masters")
"""By user, its group: the services write whatever kinds users have, so nothing less would do."""
APISERVER = "apiserver"
SERVICES = (DNS_SERVICE := "dns-server", "controller-manager", APISERVER)
"""In the order in which they stop."""
_SERVICE_ADDRESS = "10.96.0.1"
"""In the certificate, where nobody asks for it: there is no Service network."""
AUTHENTICATION = "authentication.json"
_OPEN = {
    "apiVersion": "apiserver.config.k8s.io/v1",
    "kind": "AuthenticationConfiguration",
    "anonymous": {"enabled": True, "conditions": [{"path": INFO_PATH}]},
}
"""Who has no login yet may look at the federation's CA, and at nothing else."""


def context_name(name: str) -> str:
    return f"hanse-federation-{name}"


def url(description: Description) -> str:
    if description.on_hosts:
        return description.server
    address = _reachable(description.bind_address)
    return f"https://{f'[{address}]' if ':' in address else address}:{description.secure_port}"


def _reachable(address: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104


def processes(home: Home) -> Processes:
    return Processes(home.path / "run")


def prepare(home: Home, description: Description) -> list[Service]:
    """
    Keys and kubeconfigs, made once; then the services in the order of their start.

    Raises OSError, PkiError, KeyFileError.
    """
    data = Path(description.data_dir)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = ensure_identity(
        home.path, addresses=(_reachable(description.bind_address),), service_address=_SERVICE_ADDRESS, users=USERS
    )
    write_private(home.path / AUTHENTICATION, json.dumps(_OPEN).encode() + b"\n")
    for user, file in _kubeconfigs(home).items():
        write_private(file, _kubeconfig(description, identity, user))
    if key := home.transfer_key(description):
        write_new_key(key, f"{description.name}-transfer")
        read_key_file(key)
    return services(home, description, identity)


def _kubeconfigs(home: Home) -> dict[str, Path]:
    parts = {user: home.path / f"{user}.kubeconfig" for user in (CONTROLLER_MANAGER, DNS_SERVER)}
    return {ADMIN: home.kubeconfig, **parts}


def services(home: Home, description: Description, identity: Identity) -> list[Service]:
    """Those that this build has."""
    python, files = (sys.executable, "-P", "-m"), _kubeconfigs(home)
    store = quote(str(Path(description.data_dir) / "store.db"))
    found = [
        Service(APISERVER, (
            *python, "federation.apiserver", f"--etcd-servers=embedded://{store}",
            f"--bind-address={description.bind_address}", f"--secure-port={description.secure_port}",
            f"--cert-dir={home.path / 'pki'}", f"--tls-cert-file={identity.certificate}",
            f"--tls-private-key-file={identity.key}", f"--client-ca-file={identity.ca}",
            f"--token-auth-file={identity.token_file}", "--authorization-mode=RBAC",
            f"--service-account-key-file={identity.service_account_public}",
            f"--service-account-signing-key-file={identity.service_account_key}",
            f"--service-account-issuer={url(description)}", "--enable-bootstrap-token-auth=true",
            f"--authentication-config={home.path / AUTHENTICATION}",
        )),
        Service("controller-manager", (
            *python, "federation.controller_manager", f"--kubeconfig={files[CONTROLLER_MANAGER]}",
            "--leader-elect=false", f"--federation-name={description.name}", f"--dns-zone={description.dns_zone}",
            f"--cluster-signing-cert-file={identity.ca}",
            f"--cluster-signing-key-file={identity.ca_key}",
            *_metrics_flags(description, identity),
            *provider_flags(home, description),
        )),
        Service(DNS_SERVICE, (
            *python, "federation.dns_server", f"--kubeconfig={files[DNS_SERVER]}", f"--zone={description.dns_zone}",
            f"--bind-address={description.bind_address}", f"--port={description.dns_port}",
            *(f"--secondary={each}" for each in description.dns_secondaries.split(",") if each),
            *([f"--transfer-key-file={key}"] if (key := home.transfer_key(description)) else []),
        )),
    ]  # fmt: skip
    return [service for service in found if service.name in expected(description) and _is_there(service.argv[3])]


def _metrics_flags(description: Description, identity: Identity) -> list[str]:
    if not description.metrics_port:
        return []
    return [
        f"--secure-port={description.metrics_port}",
        f"--bind-address={description.bind_address}",
        f"--tls-cert-file={identity.certificate}",
        f"--tls-private-key-file={identity.key}",
        f"--client-ca-file={identity.ca}",
    ]


def expected(description: Description) -> list[str]:
    """Names in the order of their start; a zone that somebody else serves needs no name server here."""
    embedded = description.dns_provider == EMBEDDED
    return [name for name in reversed(SERVICES) if embedded or name != DNS_SERVICE]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(f"{module}.__main__") is not None
    except ModuleNotFoundError:
        return False


def _kubeconfig(description: Description, identity: Identity, user: str) -> bytes:
    name = context_name(description.name)
    authority = base64.b64encode(identity.ca.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": url(description), "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": identity.tokens[user]}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    return json.dumps(config, indent=2).encode() + b"\n"
