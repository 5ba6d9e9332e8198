"""
The zone's provider as the command line sees it: what was given for it is checked before anything is started.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from cluster.single_process.identity import write_private
from federation.dns.key_files import KeyFileError
from federation.dns.providers.choose import EMBEDDED, RFC2136, OptionsError, check_options, provider_of
from federation.dns.providers.provider import ProviderError
from federation.errors import UnreachableError, WrongInputError
from federation.host.home import Description, Home


async def settle_provider(
    home: Home, present: Description | None, wanted: Description, key_file: Path | None
) -> Sequence[str]:
    """
    Check the provider, ask it when it is new or different, and keep the key. Returns doubts, in words.

    A provider that was asked before is not asked again: a federation has to start while the world's DNS is down.
    Raises WrongInputError, UnreachableError, OSError.
    """
    options = home.provider(wanted)
    if key_file is not None:
        options = dataclasses.replace(options, key_file=key_file)
    elif wanted.dns_provider != RFC2136:
        options = dataclasses.replace(options, key_file=None)
    try:
        check_options(options)
        provider = provider_of(options, federation="", epoch=None)
    except (OptionsError, KeyFileError) as fault:
        raise WrongInputError(
            f"federation {home.name} cannot publish its names", why=str(fault),
            next_step="`federate init --help` tells what each provider needs.",
        ) from fault  # fmt: skip
    doubts: Sequence[str] = ()
    same = present is not None and _dns(present) == _dns(wanted) and key_file is None
    if provider is not None and not same:
        try:
            doubts = await provider.check()
        except ProviderError as fault:
            raise UnreachableError(
                f"zone {wanted.dns_zone} cannot be changed", why=str(fault),
                next_step="Mend that and run the same command again; nothing was started.",
            ) from fault  # fmt: skip
    if key_file is not None:
        _keep_key(home, key_file)
    return doubts


def _keep_key(home: Home, key_file: Path) -> None:
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(home.dns_key, key_file.read_bytes())


def provider_flags(home: Home, description: Description) -> list[str]:
    """Of the controller manager. Secrets are in files."""
    if description.dns_provider == EMBEDDED:
        return []
    servers = [f"--dns-server={server}" for server in description.dns_servers]
    keys = [f"--dns-key-file={home.dns_key}"] if description.dns_provider == RFC2136 else []
    zones = [f"--dns-zone-id={description.dns_zone_id}"] if description.dns_zone_id else []
    zones += ["--dns-private-zone"] if description.dns_private_zone else []
    return [f"--dns-provider={description.dns_provider}", *servers, *keys, *zones]


def _dns(description: Description) -> tuple[object, ...]:
    zone = description.dns_zone, description.dns_zone_id, description.dns_private_zone
    return description.dns_provider, description.dns_servers, *zone
