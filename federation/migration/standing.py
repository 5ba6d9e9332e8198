"""What has become of an object in its clusters: Placements, looked at until they say what is waited for."""

import asyncio
import time
from collections.abc import Callable, Collection

from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound
from federation.api.refs import Ref, placement_key, placement_resource
from federation.controllers.placing.reports import Report, is_ready, reports_of
from federation.placement.record import Record, record_of

LOOK = 0.2  # seconds
STUCK = frozenset({"Conflict", "Failed"})


class Unfinished(Exception):
    """It is not as it was to be: what is missing, in words."""


class Placed:
    """One look at a Placement."""

    def __init__(self, ref: Ref, placement: Object | None) -> None:
        self.ref = ref
        self.record: Record | None = record_of(placement) if placement is not None else None
        self.reports: dict[str, Report] = reports_of(placement) if placement is not None else {}

    def holds(self, cluster: str) -> bool:
        """Whether the cluster has a copy, or may have one still."""
        return self.record is not None and cluster in self.record.holders()

    def lacks(self, cluster: str) -> str:
        """
        Why the cluster has not (all of) what it is to have; empty when it has.

        Raises Unfinished where it will not have it by itself.
        """
        if self.record is None:
            return f"{self.ref} is not placed"
        report = self.reports.get(cluster, Report())
        if report.state in STUCK:
            raise Unfinished(f"{self.ref} in {cluster}: {report.state}, {report.message}")
        assignment = next((one for one in self.record.clusters if one.cluster == cluster), None)
        if assignment is None:
            why = self.record.passed_over.get(cluster) or self.record.fault or "it was not chosen"
            return f"{self.ref} is not for {cluster}: {why}"
        if not is_ready(self.ref, assignment, report):
            return f"{self.ref} is not ready in {cluster}"
        return ""


async def look(federation: ApiClient, ref: Ref) -> Placed:
    """Raises ApiError."""
    key = placement_key(ref)
    try:
        return Placed(ref, await federation.get(placement_resource(ref), key.name, namespace=key.namespace))
    except NotFound:
        return Placed(ref, None)


async def until(federation: ApiClient, refs: Collection[Ref], lacks: Callable[[Placed], str], seconds: float) -> None:
    """Until `lacks` says nothing of any of them. Raises Unfinished with what it said last, and ApiError."""
    deadline = time.monotonic() + seconds
    for ref in refs:
        while said := lacks(await look(federation, ref)):
            if time.monotonic() > deadline:
                raise Unfinished(f"{said}, within {seconds:g} s")
            await asyncio.sleep(LOOK)
