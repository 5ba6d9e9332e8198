"""Objects placed once as if they were new: what members have is moved to where their policies would put it today."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from federation.api.refs import Ref
from federation.controllers.placing.in_force import REBALANCE
from federation.migration.standing import Placed, look, until
from federation.placement.record import Record, where


@dataclass(frozen=True, slots=True)
class Rebalanced:
    ref: Ref
    before: str
    """As in `kubectl get placements`; empty where it was nowhere."""
    after: str


async def rebalance(
    federation: ApiClient, wanted: Sequence[tuple[Resource, str]], namespace: str, seconds: float
) -> list[Rebalanced]:
    """
    Until all are decided anew; members carry it out in their time, the new copies before the old ones go.

    Raises:
        Unfinished: one was not decided in time, or cannot be (its policy has a fault).
        ApiError: NotFound for an object that is not at the federation.
    """
    wish = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    refs = [Ref(one.group, one.kind, namespace if one.namespaced else "", name) for one, name in wanted]
    before = {ref: (await look(federation, ref)).record for ref in refs}
    annotation = {"metadata": {"annotations": {REBALANCE: wish}}}
    for (resource, name), ref in zip(wanted, refs, strict=True):
        await federation.patch(resource, name, annotation, namespace=ref.namespace, patch_type="merge")
    after: dict[Ref, Record] = {}

    def lacks(placed: Placed) -> str:
        record = placed.record
        if record is None or record.rebalanced != wish:
            fault = f": {record.fault}" if record is not None and record.fault else ""
            return f"{placed.ref} is not placed anew{fault}"
        after[placed.ref] = record
        return ""

    await until(federation, refs, lacks, seconds)
    return [Rebalanced(ref, _where(before[ref]), _where(after[ref])) for ref in refs]


def _where(record: Record | None) -> str:
    return where(record.clusters) if record is not None else ""
