"""
Makes a member's own DNS lead to the federation's names, when its administrator asks for that, and takes it back.

Hanse's cluster DNS and kube-dns take settings from the ConfigMap kube-system/kube-dns, by key: the federation's name
and zone (`federations`), and who is asked about the zone (`stubDomains`). CoreDNS has one text, the Corefile, in which
only the lines between our marks are ever touched. Whatever somebody else wrote about the zone stays, and is an error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.dns.federations import ConfigError, read_config_map
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Conflict, NotFound

NAMESPACE = "kube-system"
KUBE_DNS, COREDNS = "kube-dns", "coredns"
FEDERATIONS, STUBS, COREFILE = "federations", "stubDomains", "Corefile"
OURS = "federation.hanse.io/dns"
"""Annotation of the ConfigMap: by federation the zone that was put there for it, as JSON."""
TRIES = 5
CACHE = 5  # seconds that CoreDNS keeps answers


class MemberDnsError(Exception):
    """The member's DNS is as it was. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a member shall resolve."""

    federation: str
    zone: str
    servers: tuple[tuple[str, int], ...]
    """Name servers of the zone, address and port. Empty: the zone is found as every other."""

    def __post_init__(self) -> None:
        if any(":" in address for address, _ in self.servers):
            raise MemberDnsError("a member's DNS is told of IPv4 name servers alone")

    @property
    def texts(self) -> list[str]:
        return [address if port == 53 else f"{address}:{port}" for address, port in self.servers]


def advice(names: Names) -> list[str]:
    """What to add by hand, for who did not ask us to."""
    keys = [f'  {FEDERATIONS}: "{names.federation}={names.zone}"']
    keys += [f"  {STUBS}: '{json.dumps({names.zone: names.texts})}'"] if names.servers else []
    return [
        f"Pods in it do not know the names of {names.zone} yet. --configure-dns adds them to its DNS; or by hand,",
        f"in the ConfigMap {NAMESPACE}/{KUBE_DNS} (Hanse, kube-dns):",
        *keys,
        f"or in the Corefile of {NAMESPACE}/{COREDNS}:",
        *(f"  {line}" for line in _block(names)),
    ]


async def configure(member: ApiClient, names: Names) -> str:
    """
    The ConfigMap that holds it now, as namespace/name. Safe to repeat.

    Raises MemberDnsError; ApiError.
    """
    for _ in range(TRIES):
        found = await _config_map(member, COREDNS)
        if found is not None and COREFILE in (found.get("data") or {}):
            corefile = with_block(found["data"][COREFILE], names)
            changed = {**found, "data": {**found["data"], COREFILE: corefile}}
            name = COREDNS
        else:
            found = await _config_map(member, KUBE_DNS)
            present = found or _empty()
            ours = _ours(present).get(names.federation)
            changed = {**present, "data": with_keys(present.get("data") or {}, names, ours)}
            changed["metadata"] = _annotated(present, {**_ours(present), names.federation: names.zone})
            name = KUBE_DNS
        try:
            if found is None:
                await member.create(resources.CONFIG_MAPS, changed)
            elif changed != found:
                await member.update(resources.CONFIG_MAPS, changed)
        except Conflict:
            continue  # somebody else wrote it, or made it, just now
        return f"{NAMESPACE}/{name}"
    raise MemberDnsError(f"somebody else keeps changing {NAMESPACE}/{name}: try again")


async def take_back(member: ApiClient, federation: str) -> None:
    """Whatever `configure` put there for this federation is gone. Raises ApiError."""
    for name in (COREDNS, KUBE_DNS):
        for _ in range(TRIES):
            found = await _config_map(member, name)
            changed = None if found is None else _without(found, federation)
            if changed is None or changed == found:
                break
            try:
                await member.update(resources.CONFIG_MAPS, changed)
            except Conflict:
                continue
            break


def _without(found: Object, federation: str) -> Object:
    data = dict(found.get("data") or {})
    ours = _ours(found)
    zone = ours.pop(federation, None)
    if zone is not None:
        kept = [one for one in _pairs(data) if one != f"{federation}={zone}"]
        stubs = {name: servers for name, servers in _stubs(data).items() if name != zone}
        data = _put(data, FEDERATIONS, ",".join(kept))
        data = _put(data, STUBS, json.dumps(stubs) if stubs else "")
    if COREFILE in data:
        data[COREFILE] = without_block(data[COREFILE], federation)
    if data == (found.get("data") or {}):
        return found
    return {**found, "data": data, "metadata": _annotated(found, ours)}


def with_keys(data: Mapping[str, str], names: Names, ours: str | None) -> dict[str, str]:
    """kube-dns' keys with the federation among them; `ours`: the zone that we put there before. Pure."""
    try:
        present = read_config_map(data)
    except ConfigError as fault:
        raise MemberDnsError(f"ConfigMap {NAMESPACE}/{KUBE_DNS} cannot be read as it is: {fault}") from fault
    other = present.federations.get(names.federation)
    if other not in (None, names.zone, ours):
        raise MemberDnsError(f"{FEDERATIONS} says that {names.federation} is at {other}: remove that first")
    stubs = _stubs(data)
    if ours != names.zone and names.servers and stubs.get(names.zone) not in (None, names.texts):
        raise MemberDnsError(f"{STUBS} has other servers for {names.zone}: remove them first")
    if ours:
        stubs.pop(ours, None)
    if names.servers:
        stubs[names.zone] = names.texts
    pairs = [one for one in _pairs(data) if one.partition("=")[0].strip() != names.federation]
    found = _put(dict(data), FEDERATIONS, ",".join([*pairs, f"{names.federation}={names.zone}"]))
    return _put(found, STUBS, json.dumps(stubs) if stubs else "")


def with_block(corefile: str, names: Names) -> str:
    """The Corefile with our server block at its end, once. Raises MemberDnsError. Pure."""
    if not names.servers:
        return without_block(corefile, names.federation)
    rest = without_block(corefile, names.federation)
    for line in rest.splitlines():
        served = line.partition("#")[0].split("{")[0].replace(",", " ").split() if "{" in line else []
        if any(_zone_of(word) == names.zone for word in served) and not line.startswith((" ", "\t")):
            raise MemberDnsError(f"the Corefile serves {names.zone} already: remove that block first")
    return rest.rstrip("\n") + "\n" + "\n".join(_block(names)) + "\n"


def without_block(corefile: str, federation: str) -> str:
    """Pure."""
    begin, end = _marks(federation)
    lines = corefile.splitlines()
    if begin not in lines or end not in lines[lines.index(begin) :]:
        return corefile
    first = lines.index(begin)
    last = lines.index(end, first)
    return "\n".join([*lines[:first], *lines[last + 1 :]]) + "\n"


def _block(names: Names) -> list[str]:
    begin, end = _marks(names.federation)
    servers = " ".join(names.texts)
    return [begin, f"{names.zone}:53 {{", "    errors", f"    cache {CACHE}", f"    forward . {servers}", "}", end]


def _marks(federation: str) -> tuple[str, str]:
    return f"# federation {federation}: begin", f"# federation {federation}: end"


def _zone_of(word: str) -> str:
    """`dns://example.com.:53` -> example.com"""
    return word.rpartition("://")[2].partition(":")[0].rstrip(".").lower()


def _pairs(data: Mapping[str, str]) -> list[str]:
    return [one.strip() for one in (data.get(FEDERATIONS) or "").split(",") if one.strip()]


def _stubs(data: Mapping[str, str]) -> dict[str, list[str]]:
    text = (data.get(STUBS) or "").strip()
    found: dict[str, list[str]] = json.loads(text) if text else {}
    return found


def _put(data: dict[str, str], key: str, value: str) -> dict[str, str]:
    rest = {name: text for name, text in data.items() if name != key}
    return {**rest, key: value} if value else rest


def _ours(config_map: Object) -> dict[str, str]:
    text = (config_map["metadata"].get("annotations") or {}).get(OURS) or ""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _annotated(config_map: Object, ours: Mapping[str, str]) -> Object:
    metadata = config_map["metadata"]
    annotations = {key: text for key, text in (metadata.get("annotations") or {}).items() if key != OURS}
    if ours:
        annotations[OURS] = json.dumps(dict(sorted(ours.items())))
    return {**{key: value for key, value in metadata.items() if key != "annotations"},
            **({"annotations": annotations} if annotations else {})}  # fmt: skip


def _empty() -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": KUBE_DNS, "namespace": NAMESPACE}}


async def _config_map(member: ApiClient, name: str) -> Object | None:
    try:
        return await member.get(resources.CONFIG_MAPS, name, namespace=NAMESPACE)
    except NotFound:
        return None
