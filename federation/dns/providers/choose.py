"""Which provider the federation has, by how it was set up. What a provider needs is imported when it is the one."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.dns.key_files import KeyFileError, TsigSecret, read_key_file
from federation.dns.providers.provider import Provider
from federation.dns.secondaries import read_secondary

EMBEDDED, RFC2136, ROUTE53 = "embedded", "rfc2136", "route53"
PROVIDERS = (EMBEDDED, RFC2136, ROUTE53)


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    kind: str = EMBEDDED
    """One of PROVIDERS."""
    zone: str = ""
    servers: tuple[str, ...] = ()
    """RFC 2136: the zone's name servers as ADDRESS or ADDRESS:PORT, its primary first."""
    key_file: Path | None = None
    """RFC 2136: the TSIG key, as tsig-keygen writes it."""
    zone_id: str = ""
    """Route53: of the hosted zone; empty: the one that is called as the zone is."""
    private: bool = False
    """Route53: of zones of that name, the private one."""


class OptionsError(ValueError):
    """What was given for the provider cannot be used. Says what and what to give."""


def check_options(options: ProviderOptions) -> None:
    """Raises OptionsError, KeyFileError."""
    if options.kind not in PROVIDERS:
        raise OptionsError(f"{options.kind!r} is no DNS provider; there are {', '.join(PROVIDERS)}")
    if options.kind != ROUTE53 and (options.zone_id or options.private):
        raise OptionsError("--dns-zone-id and --dns-private-zone belong to the DNS provider route53")
    if options.kind == ROUTE53 and importlib.util.find_spec("boto3") is None:
        raise OptionsError("the DNS provider route53 needs the package boto3: pip install 'hanse[route53]'")
    given = {"--dns-server": options.servers, "--dns-key-file": options.key_file}
    if options.kind == RFC2136:
        if missing := [name for name, value in given.items() if not value]:
            raise OptionsError(f"the DNS provider rfc2136 needs {' and '.join(missing)}")
        for server in options.servers:
            split_server(server)
        _first_key(_key_file(options))
    elif wrong := [name for name, value in given.items() if value]:
        raise OptionsError(f"{' and '.join(wrong)} belong to the DNS provider rfc2136, not to {options.kind}")


def provider_of(options: ProviderOptions, federation: str, epoch: int | None) -> Provider | None:
    """
    None: the federation's own name server answers, and there is nothing to bring anywhere.

    Args:
        federation: our UID.
        epoch: of our leadership; None: nobody else ever leads.

    Raises OptionsError, KeyFileError.
    """
    check_options(options)
    if options.kind == RFC2136:
        from federation.dns.providers.followers import Server
        from federation.dns.providers.rfc2136 import Rfc2136Provider, Rfc2136Settings

        servers = tuple(Server(*split_server(server)) for server in options.servers)
        settings = Rfc2136Settings(servers, options.zone, _kept(_key_file(options)), federation, epoch)
        return Rfc2136Provider(settings)
    if options.kind == ROUTE53:
        from federation.dns.providers.route53 import Route53Provider, Route53Settings

        return Route53Provider(Route53Settings(options.zone, federation, epoch, options.zone_id, options.private))
    return None


def _key_file(options: ProviderOptions) -> Path:
    if options.key_file is None:
        raise OptionsError("the DNS provider rfc2136 needs --dns-key-file")
    return options.key_file


def split_server(text: str) -> tuple[str, int]:
    """(address, port) of `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1`, `[2001:db8::1]:53`. Raises OptionsError."""
    try:
        found = read_secondary(text)
        if found.name:
            raise ValueError(f"{text!r} has a name in front of the address")
    except ValueError as fault:
        raise OptionsError(f"that is no DNS server: {fault}") from fault
    return found.address, found.port


def _kept(path: Path) -> Callable[[], TsigSecret]:
    """Reads the key anew when the file is another one."""
    known: tuple[tuple[int, int], TsigSecret] | None = None

    def read() -> TsigSecret:
        nonlocal known
        try:
            found = path.stat()
        except OSError as error:
            raise KeyFileError(f"cannot read the TSIG key file {path}: {error.strerror}") from None
        version = (found.st_mtime_ns, found.st_ino)
        if known is None or known[0] != version:
            known = (version, _first_key(path))
        return known[1]

    return read


def _first_key(path: Path) -> TsigSecret:
    return read_key_file(path)[0]
