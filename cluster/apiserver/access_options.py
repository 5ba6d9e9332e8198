"""
Flags about who may in and what he may do, beyond what every server has: OpenID issuers, webhooks, configuration files.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class OidcFlags:
    issuer_url: str = ""
    client_id: str = ""
    ca_file: str = ""
    username_claim: str = "sub"
    username_prefix: str = ""
    groups_claim: str = ""
    groups_prefix: str = ""
    signing_algs: tuple[str, ...] = ("RS256",)
    required_claims: tuple[str, ...] = ()
    """`key=value` each."""


@dataclass(frozen=True, slots=True)
class WebhookFlags:
    config_file: str
    version: str
    """`v1` or `v1beta1`."""
    allowed_ttl: float
    """Seconds that a good answer is remembered."""
    denied_ttl: float


@dataclass(frozen=True, slots=True)
class AccessOptions:
    oidc: OidcFlags
    authentication_config: str
    token_webhook: WebhookFlags
    authorization_config: str
    authorization_webhook: WebhookFlags
    admission_config: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def add_flags(parser: argparse.ArgumentParser, duration: Callable[[str], float]) -> None:
    """`duration` reads Go's durations."""
    add = parser.add_argument
    for name in (
        "authentication-config", "authorization-config", "admission-control-config-file", "oidc-issuer-url",
        "oidc-client-id", "oidc-ca-file", "oidc-username-prefix", "oidc-groups-claim", "oidc-groups-prefix",
        "authentication-token-webhook-config-file", "authorization-webhook-config-file",
    ):  # fmt: skip
        add(f"--{name}", default="")
    add("--oidc-username-claim", default="sub")
    add("--oidc-signing-algs", type=_words, default=("RS256",))
    add("--oidc-required-claim", action="append", default=[])
    for webhook in ("authentication-token", "authorization"):
        add(f"--{webhook}-webhook-version", choices=("v1", "v1beta1"), default="v1beta1")
    add("--authentication-token-webhook-cache-ttl", type=duration, default=120.0)
    add("--authorization-webhook-cache-authorized-ttl", type=duration, default=300.0)
    add("--authorization-webhook-cache-unauthorized-ttl", type=duration, default=30.0)


def take(values: dict[str, Any]) -> AccessOptions:
    """Takes these flags out of the parsed ones. Raises ValueError for those that do not go together."""
    pop = values.pop
    names = ("issuer_url", "client_id", "ca_file", "username_claim", "username_prefix", "groups_claim",
             "groups_prefix", "signing_algs")  # fmt: skip
    oidc = OidcFlags(
        **{name: pop(f"oidc_{name}") for name in names},
        required_claims=tuple(word for text in pop("oidc_required_claim") for word in text.split(",")),
    )
    config = pop("authentication_config")
    if config and oidc != OidcFlags():
        raise ValueError("authentication-config file and oidc-* flags are mutually exclusive")
    ttl = pop("authentication_token_webhook_cache_ttl")
    return AccessOptions(
        oidc,
        config,
        WebhookFlags(
            pop("authentication_token_webhook_config_file"), pop("authentication_token_webhook_version"), ttl, ttl
        ),
        pop("authorization_config"),
        WebhookFlags(
            pop("authorization_webhook_config_file"),
            pop("authorization_webhook_version"),
            pop("authorization_webhook_cache_authorized_ttl"),
            pop("authorization_webhook_cache_unauthorized_ttl"),
        ),
        pop("admission_control_config_file"),
    )
