"""
Make, start, stop, look at and remove a federation's control plane on this host.

`init` may be killed anywhere and run again: what is there is kept, what died is started.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cluster.api.resources import Resource
from cluster.client.kubeconfig import KubeconfigError
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from cluster.pki.authority import PkiError
from federation.api.kinds import definitions
from federation.dns.key_files import KeyFileError
from federation.errors import FederateError, UnfitHostError, UnreachableError, WrongInputError
from federation.host import hosts
from federation.host.dns_provider import settle_provider
from federation.host.home import Description, Home
from federation.host.processes import Processes
from federation.host.services import APISERVER, SERVICES, expected, prepare, processes, url
from federation.membership.taints import as_text

START_SECONDS = 45.0
SETTLE_SECONDS = 1.5


async def init(home: Home, wanted: Description, key_file: Path | None = None) -> tuple[list[str], Sequence[str]]:
    """
    Make it, or bring back what died. Returns the names of services that had to be started, and doubts about its DNS.

    Args:
        key_file: a TSIG key to take over, for a zone elsewhere.

    Raises WrongInputError when it exists with another zone or store, UnfitHostError, FederateError.
    """
    present = home.read()
    if present is not None and _difference(present, wanted):
        raise WrongInputError(
            f"federation {home.name} exists and is another one", why=_difference(present, wanted),
            next_step=f"Leave these options out, or `federate destroy {home.name}` first.",
        )  # fmt: skip
    try:
        doubts = await settle_provider(home, present, wanted, key_file)
        home.write(wanted)
        services = prepare(home, wanted)
    except (OSError, PkiError, KeyFileError) as fault:
        raise UnfitHostError(
            f"cannot prepare federation {home.name}", why=str(fault), next_step="Check the paths and their owners."
        ) from fault
    running, started = processes(home), []
    for name in SERVICES:
        if name not in [service.name for service in services]:
            running.stop(name)
    for service in services:
        try:
            if running.start(service):
                started.append(service.name)
        except OSError as fault:
            raise UnfitHostError(f"cannot start {service.name}", why=str(fault), next_step="Run it again.") from fault
        if service.name == APISERVER:
            await _wait_ready(home, wanted, running)
    await check_alive(running, [name for name in started if name != APISERVER])
    return started, doubts


async def check_alive(running: Processes, names: Sequence[str]) -> None:
    """What ends does so at once, for a flag or a file that is wrong. Raises FederateError for it."""
    if not names:
        return
    await asyncio.sleep(SETTLE_SECONDS)
    for name in names:
        if running.running(name) is None:
            raise FederateError(
                f"{name} ended right after its start", why=running.last_words(name),
                next_step=f"See {running.log(name)}, then run the same command again.",
            )  # fmt: skip


def _difference(present: Description, wanted: Description) -> str:
    fields = [name for name in ("dns_zone", "data_dir") if getattr(present, name) != getattr(wanted, name)]
    return ", ".join(f"{name} is {getattr(present, name)}, not {getattr(wanted, name)}" for name in fields)


async def _wait_ready(home: Home, description: Description, running: Processes) -> None:
    deadline = time.monotonic() + START_SECONDS
    async with client(home) as api:
        while True:
            with contextlib.suppress(ApiError, TimeoutError):
                async with asyncio.timeout(1):
                    await api.request("GET", "/readyz")
                    return
            if running.running(APISERVER) is None:
                raise UnfitHostError(
                    f"the apiserver of federation {home.name} ended", why=running.last_words(APISERVER),
                    next_step=f"See {running.log(APISERVER)}; a port that is taken can be changed by --secure-port.",
                )  # fmt: skip
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"{url(description)} was not ready within {START_SECONDS:.0f} s", why=running.last_words(APISERVER),
                    next_step="Run the same command again.",
                )  # fmt: skip
            await asyncio.sleep(0.1)


def client(home: Home) -> ApiClient:
    """The administrator's. Raises FederateError."""
    try:
        return ApiClient.from_kubeconfig(home.kubeconfig, user_agent="federate")
    except KubeconfigError as fault:
        raise FederateError(
            f"cannot use the kubeconfig of federation {home.name}", why=str(fault),
            next_step=f"`federate init {home.name}` with its options writes it again.",
        ) from fault  # fmt: skip


def stop(home: Home) -> list[str]:
    """Names of services that ran."""
    running = processes(home)
    return [name for name in SERVICES if running.stop(name)]


def destroy(home: Home) -> None:
    """Stop it and remove what was made: keys, store, logs and the description, which goes last."""
    description = home.require()
    stop(home)
    data = Path(description.data_dir)
    try:
        for file in data.glob("store.db*"):
            file.unlink()
    except OSError as fault:
        raise FederateError(
            f"cannot remove the store of federation {home.name}", why=str(fault),
            next_step="Clear the way and run it again.",
        ) from fault  # fmt: skip
    home.forget(keep=data)


# What there is.


async def status(home: Home) -> dict[str, Any]:
    """
    Members, placements, DNS, and the services of this host or the hosts it has, as JSON can hold them.

    Raises UnreachableError when the apiserver does not answer.
    """
    description = home.require()
    found: dict[str, Any] = {
        "name": home.name,
        "server": url(description),
        "dnsZone": description.dns_zone,
        "services": {},
        "hosts": [],
    }
    if description.on_hosts:
        found["hosts"] = await asyncio.to_thread(hosts.states, home)
    else:
        running = processes(home)
        found["services"] = {name: _pid(running, name) for name in expected(description)}
    try:
        async with asyncio.timeout(10), client(home) as api:
            clusters, placements, wide, records = await asyncio.gather(
                *(_list(api, kind) for kind in ("Cluster", "Placement", "ClusterPlacement", "DNSRecordSet"))
            )
    except (ApiError, TimeoutError) as fault:
        raise silent(home, description, fault) from fault
    found["clusters"] = [_cluster(one) for one in clusters]
    states = (one.get("state", "Pending") for placement in (*placements, *wide) for one in _states(placement))
    counted = Counter(states)
    found["placements"] = {"total": len(placements) + len(wide)} | {
        name.lower(): counted[name] for name in ("Applied", "Pending", "Conflict", "Failed", "Deleting")
    }
    found["dns"] = _dns(records)
    return found


def _pid(running: Processes, name: str) -> int | None:
    process = running.running(name)
    return process.pid if process is not None else None


async def _list(api: ApiClient, kind: str) -> list[Object]:
    [definition] = [one for one in definitions() if one["spec"]["names"]["kind"] == kind]
    spec = definition["spec"]
    resource = Resource(
        spec["group"], spec["versions"][0]["name"], spec["names"]["plural"], kind, spec["scope"] == "Namespaced"
    )
    items: list[Object] = (await api.list(resource))["items"]
    return items


def _cluster(cluster: Object) -> dict[str, Any]:
    spec, status = cluster.get("spec") or {}, cluster.get("status") or {}
    return {
        "name": cluster["metadata"]["name"],
        "phase": status.get("phase") or "Pending",
        "cordoned": bool(spec.get("unschedulable")),
        "taints": [as_text(one) for one in spec.get("taints") or ()],
        "version": status.get("kubernetesVersion") or "",
        "region": status.get("region") or "",
        "nodes": status.get("nodes") or {},
        "lastProbe": status.get("lastProbeTime") or "",
    }


def _states(placement: Object) -> Iterable[Object]:
    """By cluster; those that are wanted and not yet reported count as pending."""
    reported = {one["name"]: one for one in (placement.get("status") or {}).get("clusters") or []}
    wanted = [one["name"] for one in (placement.get("spec") or {}).get("clusters") or []]
    return [*reported.values(), *({"name": name} for name in wanted if name not in reported)]


def _dns(record_sets: Sequence[Object]) -> dict[str, int]:
    """How many there are, how many serve an old answer because every new one looks dead, how many cannot be written."""
    records = [(one.get("spec") or {}).get("records") or [] for one in record_sets]
    return {
        "recordSets": len(record_sets),
        "records": sum(len(some) for some in records),
        "stale": sum(any(record.get("stale") for record in some) for some in records),
        "failing": sum(bool(_faults(one)) for one in record_sets),
    }


def _faults(record_set: Object) -> list[str]:
    conditions = (record_set.get("status") or {}).get("conditions") or []
    return [str(one.get("message") or one["type"]) for one in conditions if one.get("status") == "False"]


async def dns_records(home: Home) -> list[dict[str, Any]]:
    """Every name of the federation, what it answers, and what is wrong with it. Raises UnreachableError."""
    description = home.require()
    try:
        async with asyncio.timeout(10), client(home) as api:
            record_sets = await _list(api, "DNSRecordSet")
    except (ApiError, TimeoutError) as fault:
        raise silent(home, description, fault) from fault
    return [
        {
            "name": record["name"],
            "type": record["type"],
            "ttl": record["ttl"],
            "targets": [
                {key: target[key] for key in ("value", "cluster", "weight") if key in target}
                for target in record.get("targets") or []
            ],
            "stale": bool(record.get("stale")),
            "of": f"{one['metadata']['namespace']}/{one['metadata']['name']}",
            "faults": _faults(one),
        }
        for one in record_sets
        for record in (one.get("spec") or {}).get("records") or []
    ]


def silent(home: Home, description: Description, fault: Exception) -> UnreachableError:
    return UnreachableError(
        f"federation {home.name} does not answer at {url(description)}", why=str(fault) or "it took too long",
        next_step=f"`federate init {home.name}` starts what died.",
    )  # fmt: skip
