"""
A hosted zone of Amazon Route53.

A batch is carried out as one unit or not at all. A name's old sets are deleted with the exact values that were seen,
and made anew in the same batch, its owner record too: a name that somebody else made or changed meanwhile fails the
batch and stays as it is, as does one that a later leader has written. Nobody sees the name without records.
Not here    how records look there (route53_records), the calls (route53_api).
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cluster.client.metrics import Gauge
from federation.dns.ownership import Owner, next_generation, owner_name, read_owner
from federation.dns.plan import Change, Observed
from federation.dns.providers import route53_records as records
from federation.dns.providers.provider import ProviderError
from federation.dns.providers.route53_api import PACE, Rejected, Route53Api
from federation.dns.providers.route53_records import Set
from federation.dns.recordsets import Group, HealthCheck

log = logging.getLogger(__name__)

OWNER_TTL = 60  # seconds
MAX_RECORDS, MAX_CHARACTERS = 1000, 32_000
"""Of one batch: records, and characters of all values."""
KEPT = 30.0  # seconds that what the zone has is believed; a wrong belief fails the batch, and is asked for anew
SYNC_LOOK, SYNC_PATIENCE = 2.0, 120.0  # seconds between looks whether a change is everywhere; until an operator is told
LAG = Gauge("federation_dns_route53_sync_seconds", "Until the last change was on all of Route53's servers.")


@dataclass(frozen=True, slots=True)
class Route53Settings:
    zone: str
    federation: str
    """Our UID."""
    epoch: int | None
    """Of our leadership; None: nobody else ever leads."""
    zone_id: str = ""
    """Empty: the zone of that name."""
    private: bool = False
    pace: float = PACE
    """Seconds between calls."""


@dataclass(frozen=True, slots=True)
class _Work:
    """One name's change, as the API wants it."""

    change: Change
    before: tuple[Set, ...]
    after: tuple[Set, ...]

    @property
    def changes(self) -> list[dict[str, object]]:
        steps = [*(("DELETE", one) for one in self.before), *(("CREATE", one) for one in self.after)]
        return [{"Action": action, "ResourceRecordSet": one} for action, one in steps]

    @property
    def size(self) -> tuple[int, int]:
        values = [each["Value"] for one in (*self.before, *self.after) for each in one.get("ResourceRecords") or ()]
        return len(values), sum(map(len, values))


class Check(NamedTuple):
    """A health check as it was made."""

    address: str
    how: HealthCheck


class Route53Provider:
    def __init__(self, settings: Route53Settings) -> None:
        self._settings = settings
        self._api = Route53Api(settings.pace)
        self._zone_id = settings.zone_id
        self._sets: dict[str, list[Set]] = {}
        """Name -> what the zone has there."""
        self._until = 0.0
        """When that has to be asked for anew."""
        self._checks: dict[str, Check] = {}
        self._busy = asyncio.Lock()
        self._unsynced: asyncio.Queue[tuple[str, float]] = asyncio.Queue()

    def express(self, group: Group) -> Group:
        """See Provider."""
        return records.expressible(group)

    async def check(self) -> Sequence[str]:
        """See Provider. Whether the zone is there and may be read."""
        zone = await self._api.call("get_hosted_zone", Id=await self._zone())
        name = zone["HostedZone"]["Name"].rstrip(".")
        if name != self._settings.zone:
            raise ProviderError(f"hosted zone {self._zone_id} is {name}, not {self._settings.zone}")
        return ()

    async def _zone(self) -> str:
        if self._zone_id:
            return self._zone_id
        found = await self._api.zones(self._settings.zone)
        wanted = [one for one in found if bool(one["Config"].get("PrivateZone")) == self._settings.private]
        kind = "private" if self._settings.private else "public"
        if len(wanted) != 1:
            ids = ", ".join(one["Id"].removeprefix("/hostedzone/") for one in wanted) or "none"
            raise ProviderError(f"Route53 has these {kind} zones {self._settings.zone}: {ids}; name one by its id")
        self._zone_id = wanted[0]["Id"].removeprefix("/hostedzone/")
        return self._zone_id

    async def observe(self, names: Iterable[str]) -> Mapping[str, Observed]:
        """See Provider."""
        async with self._busy:
            await self._look()
            found = {name: await self._observed(name) for name in dict.fromkeys(names)}
        return {name: one for name, one in found.items() if one.group or one.owner}

    async def _look(self) -> None:
        if time.monotonic() < self._until:
            return
        started, sets = time.monotonic(), dict[str, list[Set]]()
        async for one in self._api.record_sets(await self._zone()):
            sets.setdefault(records.name_of(one), []).append(one)
        # A zone that takes long to list is not listed all the time.
        self._sets, self._until = sets, time.monotonic() + max(KEPT, 10 * (time.monotonic() - started))

    async def _observed(self, name: str) -> Observed:
        for one in self._sets.get(name, ()):
            identity = one.get("HealthCheckId")
            if identity and identity not in self._checks:
                config = (await self._api.call("get_health_check", HealthCheckId=identity))["HealthCheck"]
                self._checks[identity] = _read_check(config["HealthCheckConfig"])
        sets = self._sets.get(name, ())
        group = records.group_of(sets, {identity: check.how for identity, check in self._checks.items()})
        return Observed(group, self._owner(name))

    def _owner(self, name: str) -> Owner | None:
        texts = [text for one in self._sets.get(owner_name(name), ()) if one["Type"] == "TXT"
                 for text in records.texts(one)]  # fmt: skip
        return next((owner for text in texts if (owner := read_owner(text))), None)

    async def apply(self, changes: Iterable[Change]) -> Mapping[str, str]:
        """See Provider. Names share batches; of a batch that is rejected each is tried alone."""
        refused: dict[str, str] = {}
        async with self._busy:
            await self._look()
            work = []
            for change in changes:
                found = await self._prepare(change)
                if isinstance(found, str):
                    refused[change.name] = found
                else:
                    work.append(found)
            for batch in _batches(work):
                refused.update(await self._carry_out(batch))
        return refused

    async def _prepare(self, change: Change) -> _Work | str:
        """The API's words for it, or why it must not be done."""
        name, settings = change.name, self._settings
        if not name.endswith(f".{settings.zone}"):
            return f"{name} is not a name inside the zone {settings.zone}"
        before = change.before.owner if change.before else None
        generation = next_generation(settings.epoch, before.generation if before else None)
        if generation is None:
            return f"{name} was changed by a later leader; this one must not write any more"
        if before is not None and before.federation != settings.federation:
            return f"{name} belongs to federation {before.federation}"
        old = [one for one in self._sets.get(name, ()) if one["Type"] in records.MANAGED]
        marks = [one for one in self._sets.get(owner_name(name), ()) if one["Type"] == "TXT"]
        if before is None and (old or marks):
            return f"{name} is not ours"
        if before is not None and self._owner(name) != before:
            return f"{name} was changed meanwhile"
        after: list[Set] = []
        if change.after:
            group = records.expressible(change.after)
            after = records.sets_of(group, await self._make_checks(name, group, old, generation))
            text = Owner(settings.federation, generation, change.obj).text()
            value = [{"Value": f'"{text}"'}]
            after.append({"Name": f"{owner_name(name)}.", "Type": "TXT", "TTL": OWNER_TTL, "ResourceRecords": value})
        return _Work(change, (*old, *marks), tuple(after))

    async def _carry_out(self, batch: Sequence[_Work]) -> dict[str, str]:
        changes = [one for work in batch for one in work.changes]
        try:
            answer = await self._api.call(
                "change_resource_record_sets", HostedZoneId=await self._zone(), ChangeBatch={"Changes": changes}
            )
        except Rejected as rejected:
            self._until = 0.0
            if len(batch) == 1:
                name = batch[0].change.name
                return {name: f"{name} is not ours, or was changed meanwhile ({rejected})"}
            refused: dict[str, str] = {}
            for work in batch:
                refused.update(await self._carry_out([work]))
            return refused
        self._unsynced.put_nowait((answer["ChangeInfo"]["Id"], time.monotonic()))
        for work in batch:
            name = work.change.name
            for at in (name, owner_name(name)):
                kept = [one for one in self._sets.get(at, ()) if one not in work.before]
                self._sets[at] = [*kept, *(one for one in work.after if records.name_of(one) == at)]
            await self._forget_checks(work)
        return {}

    async def _make_checks(self, name: str, group: Group, old: Sequence[Set], generation: int) -> dict[str, str]:
        """Cluster -> id; those that are there already are kept. One that is made twice is one, by its reference."""
        there = {self._checks[identity]: identity for one in old if (identity := one.get("HealthCheckId"))}
        found = {}
        for cluster, wanted in records.clusters_to_check(group).items():
            check = Check(*wanted)
            if check not in there:
                # References of checks that were deleted cannot be used again: hence the generation.
                what = repr((self._settings.federation, name, cluster, check, generation))
                made = await self._api.call(
                    "create_health_check", CallerReference=hashlib.sha256(what.encode()).hexdigest()[:60],
                    HealthCheckConfig=_check_config(check),
                )  # fmt: skip
                there[check] = made["HealthCheck"]["Id"]
                self._checks[there[check]] = check
            found[cluster] = there[check]
        return found

    async def _forget_checks(self, work: _Work) -> None:
        before, after = ({one.get("HealthCheckId") for one in sets} for sets in (work.before, work.after))
        for identity in before - after - {None}:
            try:
                await self._api.call("delete_health_check", HealthCheckId=identity)
            except ProviderError as error:
                log.warning("health check %s stays: %s", identity, error)
            self._checks.pop(str(identity), None)

    async def run(self) -> None:
        """See Provider. Looks when changes have reached all of Route53's servers."""
        while True:
            identity, since = await self._unsynced.get()
            while True:
                try:
                    status = (await self._api.call("get_change", Id=identity))["ChangeInfo"]["Status"]
                except ProviderError as error:
                    log.warning("whether a change is on all servers is not known: %s", error)
                    break
                waited = time.monotonic() - since
                LAG.set(waited)
                if status == "INSYNC":
                    break
                if waited >= SYNC_PATIENCE:
                    log.warning("Route53 has not brought change %s to all servers after %.0f s", identity, waited)
                    break
                await asyncio.sleep(SYNC_LOOK)


def _batches(work: Sequence[_Work]) -> list[list[_Work]]:
    found: list[list[_Work]] = []
    count = characters = 0
    for one in work:
        more, longer = one.size
        if not found or count + more > MAX_RECORDS or characters + longer > MAX_CHARACTERS:
            found.append([])
            count = characters = 0
        found[-1].append(one)
        count, characters = count + more, characters + longer
    return found


def _check_config(check: Check) -> dict[str, object]:
    how = check.how
    path = {"ResourcePath": how.path} if how.protocol != "TCP" else {}
    return {
        "IPAddress": check.address, "Port": how.port, "Type": how.protocol, "RequestInterval": how.interval,
        "FailureThreshold": how.failures, **path,
    }  # fmt: skip


def _read_check(config: Mapping[str, object]) -> Check:
    port, interval, failures = (
        int(str(config.get(key, default)))
        for key, default in (("Port", 80), ("RequestInterval", 30), ("FailureThreshold", 3))
    )
    how = HealthCheck(str(config.get("Type")), port, str(config.get("ResourcePath") or ""), interval, failures)
    return Check(str(config.get("IPAddress") or ""), how)
