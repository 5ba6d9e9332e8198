"""
From a plan to the next Placement: what is new, what stays until its replacement is there, what has to go. Pure.

A cluster that had the object is, after every step, among `clusters`, `evicting` or `tombstones`, until it reported
that its copy is gone, or has itself left.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from cluster.machinery.objects import Object
from cluster.machinery.timestamps import format_time, parse_time
from federation.api.refs import Ref
from federation.controllers.placing.reports import GONE, Report, are_ready
from federation.placement import select
from federation.placement.kind_rules import NO_RULE, KindRule
from federation.placement.plans import Assignment, Plan
from federation.placement.policies import DIRECTLY, NEVER, PropagationPolicy
from federation.placement.record import (
    BACKGROUND,
    DELETED,
    EVICTED,
    NOT_SELECTED,
    ORPHAN,
    Evicting,
    Record,
    Tombstone,
)
from federation.placement.workloads import pod_template

_EVICTED = frozenset({select.LOST, select.TAINTED, select.UNREADY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is to be known beside template, policy and plan."""

    now: dt.datetime
    members: Collection[str]
    """Names of all clusters: others have left, and with them what they had."""
    leaving: Collection[str] = frozenset()
    isolated: bool = False
    """The federation takes itself to be cut off from its members."""
    reports: Mapping[str, Report] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)
    """Cluster -> why the object has to be there, whatever its policy says."""
    overrides_hash: str = ""
    rebalanced: str = ""
    """The wish to be placed anew that the plan fulfills."""
    rule: KindRule = NO_RULE
    """Of its kind."""
    policy_gone: bool = False
    """The policy that decided last time is not there any more."""


@dataclass(frozen=True, slots=True)
class Decision:
    record: Record
    again: float | None = None
    """Seconds after which time alone may change it."""


def decide(
    ref: Ref, template: Object, before: Record | None, plan: Plan, policy: PropagationPolicy, around: Circumstances
) -> Decision:
    """What the Placement shall be, the template being there. `before`: as it is stored."""
    metadata = template["metadata"]
    uid = metadata.get("uid") or ""
    old = before or Record(template["apiVersion"], uid)
    if old.uid != uid:
        old = end(old, DELETED, around.now)
    assigned = _assigned(plan, around)
    let_go = _let_go(old, plan, around)
    evicting, dropped, again = _leavers(ref, template, old, plan, assigned, policy, around, let_go)
    tombstones = [
        Tombstone(cluster, uid, why, format_time(around.now), ORPHAN if cluster in let_go else BACKGROUND)
        for cluster, why in sorted(dropped.items())
    ]
    names = {one.cluster for one in assigned} | {one.cluster for one in evicting}
    kept = [one for one in standing(old, around) if one.uid != uid or one.cluster not in names]
    record = Record(
        api_version=template["apiVersion"],
        uid=uid,
        generation=metadata.get("generation"),
        policy=policy.key,
        suspended=policy.suspended,
        suspended_in=policy.suspended_in,
        overwrite=policy.overwrite,
        delete_with_policy=policy.delete_with_policy,
        overrides_hash=around.overrides_hash,
        clusters=assigned,
        evicting=evicting,
        tombstones=merged(kept, tombstones),
        displaced=tuple(one for one in plan.displaced if one.cluster in around.members),
        passed_over={name: why for name, why in plan.passed_over.items() if name not in around.follows},
        unplaced=plan.unplaced,
        fault=plan.fault,
        lazy_policy=policy.lazy_spec,
        rebalanced=old.rebalanced if plan.fault else around.rebalanced,
        paths=around.rule.paths,
    )
    return Decision(record, again)


def end(record: Record, why: str, now: dt.datetime, propagation: str = BACKGROUND) -> Record:
    """Nothing is to be anywhere: every copy becomes a tombstone. Those that are there already stay as they are."""
    names = {one.cluster: None for one in record.clusters} | {one.cluster: None for one in record.evicting}
    new = [Tombstone(name, record.uid, why, format_time(now), propagation) for name in names]
    return replace(
        record,
        clusters=(),
        evicting=(),
        tombstones=merged(record.tombstones, new),
        displaced=(),
        passed_over={},
        unplaced=0,
        fault="",
        suspended=False,
    )


def standing(record: Record, around: Circumstances) -> tuple[Tombstone, ...]:
    """Tombstones that are not carried out yet, as far as is known."""
    return tuple(
        one
        for one in record.tombstones
        if one.cluster in around.members and not is_carried_out(one, around.reports.get(one.cluster))
    )


def is_carried_out(tombstone: Tombstone, report: Report | None) -> bool:
    return report is not None and report.state == GONE and report.uid == tombstone.uid


def merged(old: Collection[Tombstone], new: Collection[Tombstone]) -> tuple[Tombstone, ...]:
    """One a cluster and uid. The older word stands, unless the newer one deletes where the older would only let go."""
    found = {(one.cluster, one.uid): one for one in old}
    for one in new:
        known = found.get((one.cluster, one.uid))
        if known is None or (known.propagation == ORPHAN and one.why == DELETED):
            found[one.cluster, one.uid] = one
    return tuple(found.values())


def _assigned(plan: Plan, around: Circumstances) -> tuple[Assignment, ...]:
    found = {one.cluster: one for one in plan.assignments if one.cluster in around.members}
    for cluster, why in around.follows.items():
        if cluster in around.members:
            found.setdefault(cluster, Assignment(cluster, why=why))
    return tuple(found[name] for name in sorted(found))


def _let_go(old: Record, plan: Plan, around: Circumstances) -> Collection[str]:
    """
    Clusters that keep their copy, as something that is nobody's: their policy is gone, and its successor does not mean
    them. Who was to lose it before, or only gets no share of fewer replicas, is not among them.
    """
    if not around.policy_gone or old.delete_with_policy:
        return ()
    not_meant = {one.cluster for one in plan.evictions if one.reason == select.NOT_SELECTED}
    return not_meant & {had.cluster for had in old.clusters}


def _leavers(
    ref: Ref,
    template: Object,
    old: Record,
    plan: Plan,
    assigned: Collection[Assignment],
    policy: PropagationPolicy,
    around: Circumstances,
    let_go: Collection[str],
) -> tuple[tuple[Evicting, ...], dict[str, str], float | None]:
    """Those that keep their copy for now, those that lose it (cluster -> why), and seconds until that may change."""
    reasons = {one.cluster: one.reason for one in plan.evictions}
    known = {one.cluster: one for one in old.evicting}
    for had in old.clusters:
        reason = reasons.get(had.cluster, select.NOT_SELECTED)
        known[had.cluster] = Evicting(had.cluster, had.replicas, format_time(around.now), reason)
    names = {one.cluster for one in assigned}
    replaced = bool(assigned) and not plan.unplaced and are_ready(ref, assigned, around.reports, around.rule)
    waits = pod_template(template) is not None and not replaced
    evicting, dropped, again = [], {}, None
    for cluster, one in sorted(known.items()):
        if cluster in names or cluster not in around.members:
            continue
        evicted = one.reason in _EVICTED
        left = policy.failover.grace_period_seconds - (around.now - parse_time(one.since)).total_seconds()
        if cluster in around.leaving:
            evicting.append(one)  # whoever lets it go clears it
        elif cluster in let_go:
            dropped[cluster] = NOT_SELECTED  # it goes on as it is: nothing has to be there in its place
        elif (around.isolated and waits) or (evicted and policy.failover.purge == NEVER):
            evicting.append(one)  # who is cut off from everybody judges nobody
        elif waits and left > 0 and not (evicted and policy.failover.purge == DIRECTLY):
            evicting.append(one)
            again = left if again is None else min(again, left)
        else:
            dropped[cluster] = EVICTED if evicted else NOT_SELECTED
    return tuple(evicting), dropped, again
