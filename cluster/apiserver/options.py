"""
The apiserver's flags, under upstream's names.

Unknown flags of upstream that change nothing here are accepted with a warning, so that a unit written for
kube-apiserver starts.
"""

import argparse
import sys
from dataclasses import dataclass

from cluster import settings
from cluster.apiserver import access_options
from cluster.apiserver.access_options import AccessOptions
from cluster.apiserver.audit import options as audit_flags
from cluster.apiserver.audit.options import AuditOptions
from cluster.apiserver.durations import duration


@dataclass(frozen=True, slots=True)
class Options:
    etcd_servers: tuple[str, ...]
    """
    etcd's members, or the one embedded store: embedded:///path/to/file.db, embedded://:memory:, with settings after
    a `?` (see cluster.store.embedded.address).
    """
    etcd_servers_file: str
    """Names etcd's members while the server runs, as they come and go; see cluster.store.opening. Not upstream's."""
    etcd_cafile: str
    etcd_certfile: str
    etcd_keyfile: str
    etcd_compaction_interval: float
    """Seconds; 0 never compacts."""
    encryption_provider_config: str
    encryption_provider_config_automatic_reload: bool
    bind_address: str
    advertise_address: str
    secure_port: int
    cert_dir: str
    tls_cert_file: str
    tls_private_key_file: str
    client_ca_file: str
    token_auth_file: str
    anonymous_auth: bool | None
    """None when the flag was not given: off, unless the authentication configuration says something else."""
    enable_bootstrap_token_auth: bool
    authorization_mode: tuple[str, ...]
    authorization_policy_file: str
    service_account_key_file: tuple[str, ...]
    service_account_signing_key_file: str
    service_account_issuer: tuple[str, ...]
    service_account_jwks_uri: str
    service_account_extend_token_expiration: bool
    service_account_max_token_expiration: float
    """Seconds; 0 for no limit."""
    api_audiences: tuple[str, ...]
    service_cluster_ip_range: str
    service_node_port_range: tuple[int, int]
    kubelet_client_certificate: str
    kubelet_client_key: str
    kubelet_certificate_authority: str
    kubelet_preferred_address_types: tuple[str, ...]
    requestheader_client_ca_file: str
    requestheader_allowed_names: tuple[str, ...]
    requestheader_extra_headers_prefix: tuple[str, ...]
    requestheader_group_headers: tuple[str, ...]
    requestheader_username_headers: tuple[str, ...]
    requestheader_uid_headers: tuple[str, ...]
    proxy_client_cert_file: str
    proxy_client_key_file: str
    enable_aggregator_routing: bool
    """Services that the apiserver calls are dialled at a ready endpoint instead of their cluster IP."""
    enable_admission_plugins: tuple[str, ...]
    disable_admission_plugins: tuple[str, ...]
    enable_priority_and_fairness: bool
    max_requests_inflight: int
    max_mutating_requests_inflight: int
    request_timeout: float
    """Seconds for everything but watches and streams."""
    event_ttl: float
    endpoint_reconciler_type: str
    shutdown_delay_duration: float
    access: AccessOptions
    audit: AuditOptions
    verbosity: int


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in ("true", "1")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program, description="Serves the Kubernetes API from etcd or an embedded store.", allow_abbrev=False
    )
    add = parser.add_argument
    for name, default in {
        "etcd-servers-file": "", "etcd-cafile": "", "etcd-certfile": "", "etcd-keyfile": "",
        "encryption-provider-config": "",
        "bind-address": "0.0.0.0",  # noqa: S104
        "advertise-address": "", "cert-dir": "/var/run/kubernetes", "tls-cert-file": "", "tls-private-key-file": "",
        "client-ca-file": "", "token-auth-file": "", "authorization-policy-file": "",
        "service-account-signing-key-file": "", "service-account-jwks-uri": "",
        "service-cluster-ip-range": settings.SERVICE_CIDR, "kubelet-client-certificate": "", "kubelet-client-key": "",
        "kubelet-certificate-authority": "", "requestheader-client-ca-file": "", "proxy-client-cert-file": "",
        "proxy-client-key-file": "", "endpoint-reconciler-type": "lease",
    }.items():  # fmt: skip
        add(f"--{name}", default=default)
    for name, words in {
        "etcd-servers": "", "authorization-mode": "", "api-audiences": "",
        "kubelet-preferred-address-types": "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP",
        "requestheader-allowed-names": "", "requestheader-extra-headers-prefix": "",
        "requestheader-group-headers": "", "requestheader-username-headers": "",
        "requestheader-uid-headers": "",
        "enable-admission-plugins": "", "disable-admission-plugins": "",
    }.items():  # fmt: skip
        add(f"--{name}", type=_words, default=_words(words))
    for name in ("service-account-key-file", "service-account-issuer"):
        add(f"--{name}", action="append", default=[])
    for name, flag in {
        "anonymous-auth": None, "enable-bootstrap-token-auth": False, "service-account-extend-token-expiration": True,
        "enable-priority-and-fairness": True,
        "enable-aggregator-routing": False,
        "encryption-provider-config-automatic-reload": False,
    }.items():  # fmt: skip
        add(f"--{name}", type=_flag, nargs="?", const=True, default=flag)
    for name, number in {
        "secure-port": settings.APISERVER_PORT, "max-requests-inflight": 400, "max-mutating-requests-inflight": 200,
    }.items():  # fmt: skip
        add(f"--{name}", type=int, default=number)
    for name, text in {
        "etcd-compaction-interval": "5m", "event-ttl": "1h", "shutdown-delay-duration": "0s", "request-timeout": "1m",
        "service-account-max-token-expiration": "0s",
    }.items():  # fmt: skip
        add(f"--{name}", type=duration, default=duration(text))
    add("--service-node-port-range", type=_ports, default=(30000, 32767))
    access_options.add_flags(parser, duration)
    audit_flags.add_flags(parser, duration, _flag)
    add("-v", "--v", dest="verbosity", type=int, default=0)
    return parser


def parse(argv: list[str], program: str = "kube-apiserver") -> Options:
    """Ends the process with a message when a flag is wrong or missing."""
    parser = _parser(program)
    given, unknown = parser.parse_known_args(argv)
    for word in unknown:
        if not word.startswith("--"):
            parser.error(f"{word!r} is no flag; values are given as --flag=value")
        sys.stderr.write(f"flag {word.partition('=')[0]} has no effect here\n")
    if not given.etcd_servers:
        parser.error(
            "--etcd-servers must be specified, e.g. --etcd-servers=http://127.0.0.1:2379, "
            "or without etcd --etcd-servers=embedded:///var/lib/hanse/store.db"
        )
    if bool(given.tls_cert_file) != bool(given.tls_private_key_file):
        parser.error("--tls-cert-file and --tls-private-key-file go together")
    values = vars(given)
    for name in ("service_account_key_file", "service_account_issuer"):
        values[name] = tuple(word for value in values[name] for word in value.split(","))
    if not values["api_audiences"]:
        values["api_audiences"] = values["service_account_issuer"][:1]
    try:
        values["audit"] = audit_flags.take(values)
        values["access"] = access_options.take(values)
    except ValueError as fault:
        parser.error(str(fault))
    access: AccessOptions = values["access"]
    if access.authorization_config and (given.authorization_mode or access.authorization_webhook.config_file):
        parser.error(
            "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags"
            " are defined"
        )
    if not access.authorization_config:
        given.authorization_mode = given.authorization_mode or ("AlwaysAllow",)
    if "AlwaysAllow" in given.authorization_mode:
        sys.stderr.write(
            "--authorization-mode is AlwaysAllow: whoever is authenticated may do everything; "
            "set --authorization-mode=Node,RBAC for more than a trial\n"
        )
    return Options(**values)
