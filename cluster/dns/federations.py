"""
Settings for names of federations and for zones that are resolved elsewhere: from flags, and from the ConfigMap
kube-system/kube-dns, whose keys are kube-dns' own. Pure.

    federations          prod=fed.example.com,test=test.example.com
    stubDomains          {"fed.example.com": ["192.0.2.1:53", "192.0.2.2"]}
    upstreamNameservers  ["192.0.2.53"]
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.dns.names import MAX_LABEL, encode_name
from cluster.dns.server_addresses import Resolver, read_server

MAX_UPSTREAMS = 3
"""As in kube-dns."""


class ConfigError(ValueError):
    """A setting makes no sense. Says which and why."""


@dataclass(frozen=True, slots=True)
class NameSettings:
    federations: Mapping[str, str] = field(default_factory=dict)
    """Name -> DNS domain."""
    stub_domains: Mapping[str, Sequence[Resolver]] = field(default_factory=dict)
    """Zone -> who is asked about names in it, in this order."""
    upstream: Sequence[Resolver] = ()
    """Who is asked about all other names; empty: the host's resolvers."""

    def over(self, base: "NameSettings") -> "NameSettings":
        """These, and of the base what they leave open."""
        return NameSettings(
            {**base.federations, **self.federations},
            {**base.stub_domains, **self.stub_domains},
            self.upstream or base.upstream,
        )


def read_config_map(data: Mapping[str, str]) -> NameSettings:
    """Raises ConfigError; a key that is missing or empty sets nothing."""
    stubs = _json(data, "stubDomains")
    if not isinstance(stubs, dict | None):
        raise ConfigError("stubDomains has to be a JSON object of zones and their servers")
    upstream = read_resolvers("upstreamNameservers", _json(data, "upstreamNameservers") or [])
    if len(upstream) > MAX_UPSTREAMS:
        raise ConfigError(f"upstreamNameservers names {len(upstream)} servers; at most {MAX_UPSTREAMS} are allowed")
    return NameSettings(
        read_federations(data.get("federations") or ""),
        {_zone("stubDomains", zone): _needed(zone, read_resolvers(f"stubDomains {zone}", servers))
         for zone, servers in (stubs or {}).items()},
        upstream,
    )  # fmt: skip


def read_federations(text: str) -> dict[str, str]:
    """`NAME=DOMAIN,NAME=DOMAIN`. Raises ConfigError."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, domain = (each.strip() for each in part.partition("="))
        if not domain or not _is_label(name):
            raise ConfigError(f"federations: {part!r} is not NAME=DOMAIN, e.g. prod=fed.example.com")
        found[name.lower()] = _zone("federations", domain)
    return found


def read_forward_zone(text: str) -> tuple[str, list[Resolver]]:
    """`ZONE=ADDRESS[:PORT],ADDRESS…`. Raises ConfigError."""
    zone, _, servers = text.partition("=")
    return _zone("forwarded zone", zone), _needed(zone, read_resolvers(f"zone {zone}", servers.split(",")))


def _needed(zone: str, servers: list[Resolver]) -> list[Resolver]:
    if not servers:
        raise ConfigError(f"zone {zone} has no servers; write ZONE=ADDRESS[:PORT]")
    return servers


def read_resolvers(what: str, given: object) -> list[Resolver]:
    """Raises ConfigError."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        raise ConfigError(f"{what}: {given!r} is no list of servers")
    return [_resolver(what, str(each).strip()) for each in given if str(each).strip()]


def _resolver(what: str, text: str) -> Resolver:
    try:
        return read_server(text)
    except ValueError:
        raise ConfigError(f"{what}: {text!r} is not ADDRESS or ADDRESS:PORT, e.g. 192.0.2.1:53") from None


def _json(data: Mapping[str, str], key: str) -> object:
    """None: it is not set."""
    text = (data.get(key) or "").strip()
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise ConfigError(f"{key} is not JSON: {error}") from None


def _zone(what: str, text: str) -> str:
    stripped = text.strip().rstrip(".").lower()
    try:
        encode_name(stripped)
    except ValueError as error:
        raise ConfigError(f"{what}: {error}") from None
    if not stripped:
        raise ConfigError(f"{what}: the name of a zone is empty")
    return stripped


def _is_label(text: str) -> bool:
    return 1 <= len(text) <= MAX_LABEL and "." not in text and text.isascii()


def stub_zones(settings: NameSettings) -> Iterable[tuple[bytes, Sequence[Resolver]]]:
    return [(encode_name(zone), servers) for zone, servers in settings.stub_domains.items()]
