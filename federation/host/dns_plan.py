"""
What the federation's names shall answer, what they do answer, and what would be changed for it. Reads only.

A zone elsewhere is asked by its provider; of the federation's own, its name server.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rdatatype

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError
from federation.api.resources import DNS_RECORD_SETS
from federation.dns.explain import Step, explain
from federation.dns.key_files import KeyFileError
from federation.dns.ownership import Owner
from federation.dns.plan import Desired, Observed, plan_changes
from federation.dns.providers.choose import EMBEDDED, OptionsError, provider_of
from federation.dns.providers.provider import ProviderError
from federation.dns.recordsets import Group, RecordSet, Target, by_name, from_spec
from federation.errors import UnreachableError
from federation.host import control_plane
from federation.host.home import Description, Home

ASK_SECONDS = 2.0
AT_ONCE = 32
Wanted = dict[str, tuple[Group, str]]
"""Name -> what it shall answer, and of which Service."""


async def dns_plan(home: Home) -> list[Step]:
    """Raises UnreachableError, FederateError."""
    description = home.require()
    async with control_plane.client(home) as api:
        try:
            async with asyncio.timeout(10):
                uid, wanted = await _wanted(api)
        except (ApiError, TimeoutError) as fault:
            raise control_plane.silent(home, description, fault) from fault
    try:
        if description.dns_provider == EMBEDDED:
            observed = await _observed_here(description, uid, wanted)
            groups = {name: _values(group) for name, (group, _) in wanted.items()}
        else:
            provider = provider_of(home.provider(description), uid, None)
            if provider is None:
                raise ProviderError(f"there is no DNS provider {description.dns_provider}")
            observed = await provider.observe(wanted)
            groups = {name: provider.express(group) for name, (group, _) in wanted.items()}
    except (ProviderError, OptionsError, KeyFileError) as fault:
        raise UnreachableError(
            f"zone {description.dns_zone} cannot be read", why=str(fault), next_step="Mend that and ask again."
        ) from fault
    return sorted(_steps(groups, observed, wanted, uid), key=lambda step: step.name)


def _steps(groups: Mapping[str, Group], observed: Mapping[str, Observed], wanted: Wanted, uid: str) -> Iterator[Step]:
    """A Service at a time, as the controller goes about it."""
    for obj in {obj for _, obj in wanted.values()}:
        own = [name for name, (_, of) in wanted.items() if of == obj]
        desired = {name: Desired(groups[name], obj) for name in own}
        plan = plan_changes(desired, {name: observed[name] for name in own if name in observed}, uid, synced=True)
        yield from explain(plan, dict.fromkeys(own, obj))


async def _wanted(api: ApiClient) -> tuple[str, Wanted]:
    """The federation's uid, and every name that was ever written down; names of Services that are gone are empty."""
    namespace, sets, services = await asyncio.gather(
        api.get(resources.NAMESPACES, "kube-system"), api.list(DNS_RECORD_SETS), api.list(resources.SERVICES)
    )
    alive = {key_of(one) for one in services["items"] if not one["metadata"].get("deletionTimestamp")}
    wanted: Wanted = {}
    for one in sets["items"]:
        for name, group in by_name(from_spec(one["spec"])).items():
            if group and (name not in wanted or _is_alive(one, alive)):
                wanted[name] = (group if _is_alive(one, alive) else {}, str(key_of(one)))
    return str(namespace["metadata"]["uid"]), wanted


def _is_alive(record_set: Object, services: "set[Key]") -> bool:
    return key_of(record_set) in services


def _values(group: Group) -> Group:
    return {
        rtype: RecordSet(record.name, rtype, record.ttl, tuple(Target(one.value) for one in record.targets))
        for rtype, record in group.items()
    }


async def _observed_here(description: Description, uid: str, wanted: Wanted) -> Mapping[str, Observed]:
    """Raises ProviderError."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, group: Group, obj: str) -> Observed:
        found: Group = {}
        for rtype in group or ("A", "AAAA", "CNAME"):
            async with slots:
                ttl, values = await _ask(description, name, rtype)
            record = group.get(rtype)
            if record is not None and record.ttl == ttl and _may_answer(record, values):
                found[rtype] = _values(group)[rtype]
            elif values:
                found[rtype] = RecordSet(name, rtype, ttl, tuple(map(Target, values)))
        return Observed(found, Owner(uid, 0, obj) if found else None)

    seen = await asyncio.gather(*(one(name, group, obj) for name, (group, obj) in wanted.items()))
    return {name: found for name, found in zip(wanted, seen, strict=True) if found.group}


def _may_answer(record: RecordSet, values: Sequence[str]) -> bool:
    """Weights and places choose a part of what there is."""
    every = {target.value for target in record.targets}
    chosen = any(target.weight is not None or target.networks for target in record.targets)
    return bool(values) and (set(values) <= every if chosen else set(values) == every)


async def _ask(description: Description, name: str, rtype: str) -> tuple[int, list[str]]:
    where = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(description.bind_address, description.bind_address)  # noqa: S104
    query = dns.message.make_query(name, rtype, flags=0)
    try:
        answer = await dns.asyncquery.tcp(query, where, ASK_SECONDS, description.dns_port)
    except (OSError, EOFError, dns.exception.DNSException) as error:
        raise ProviderError(
            f"the name server at {where} port {description.dns_port} does not answer: {error}"
        ) from error
    wanted = dns.name.from_text(name)
    found = [one for one in answer.answer if one.name == wanted and one.rdtype == dns.rdatatype.from_text(rtype)]
    return (found[0].ttl, [rdata.to_text().rstrip(".") for rdata in found[0]]) if found else (0, [])
