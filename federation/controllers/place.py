"""
The placer: for every template, which members shall have it. It alone writes what Placements say.

    placer = Placer(client, Sources(…))
    tasks.create_task(placer.run())

Woken for a template, a policy, a member, an autoscaler or what members report, it plans and writes where the plan is
another one. What it may have forgotten when it dies it reads again: Placements hold everything.
Not here    who gets what (federation.placement.plan), what becomes of who had it (placing.decide), how templates end
(placing.endings), who is woken (placing.wakes). Nothing here talks to members.
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cluster.client.controller import Requeue, run_workers
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from federation.api.refs import Ref, placement_key, ref_of_template
from federation.controllers.links.lanes import Lanes
from federation.controllers.placing import metrics
from federation.controllers.placing.ailing import Ailing
from federation.controllers.placing.decide import Circumstances, Decision, decide, merged
from federation.controllers.placing.endings import Endings
from federation.controllers.placing.fleet import LEAVING, Fleet, with_kind
from federation.controllers.placing.in_force import PoliciesInForce, wish_to_rebalance
from federation.controllers.placing.kind_rule_book import KindRuleBook
from federation.controllers.placing.kinships import Kinships
from federation.controllers.placing.needs import Needs
from federation.controllers.placing.neighbours import Neighbours
from federation.controllers.placing.policy_book import PolicyBook, PolicyInformers
from federation.controllers.placing.promises import Promises
from federation.controllers.placing.reports import NO_REPORT, Report, is_ready, reports_of
from federation.controllers.placing.scale import as_they_run, replicas_to_keep
from federation.controllers.placing.store import OLD_NEWS, PlacementStore
from federation.controllers.placing.wakes import Wakes
from federation.controllers.templates import Templates
from federation.placement.kind_rules import KindRule, read_as
from federation.placement.members import UNREACHABLE
from federation.placement.plan import plan, uses_capacity
from federation.placement.plans import Plan, Situation
from federation.placement.policies import PropagationPolicy
from federation.placement.record import Record, is_worth_a_write, record_of
from federation.placement.v1_preferences import with_annotations
from federation.placement.workloads import demand_of, is_divided

log = logging.getLogger(__name__)

WORKERS = 16
BASE_BACKOFF, MAX_BACKOFF = 0.01, 30.0  # seconds
ISOLATION_LOOK = 1.0  # seconds
RESYNC = 900.0  # seconds between looks at everything without a reason


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True)
class PlacerSources:
    """What the placer reads; whoever makes these runs them."""

    templates: Templates
    placements: Informer
    cluster_placements: Informer
    clusters: Informer
    policies: PolicyInformers
    rules: KindRuleBook


class Placer:
    """
    `run` in a task. Owned by one event loop.

    Args:
        isolated: whether the federation takes itself to be cut off from its members.
        now: the wall clock, which Placements and Clusters go by.
    """

    def __init__(
        self,
        client: ApiClient,
        sources: PlacerSources,
        *,
        isolated: Callable[[], bool] = lambda: False,
        now: Callable[[], dt.datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._sources, self._now, self._clock = client, sources, now, clock
        self.queue: Lanes[Ref] = Lanes(base_backoff=BASE_BACKOFF, max_backoff=MAX_BACKOFF)
        self.store = PlacementStore(client, sources.placements, sources.cluster_placements)
        self.needs, self.promises = Needs(), Promises()
        self.fleet = Fleet(sources.clusters, isolated, now)
        self.book = PolicyBook(sources.policies)
        self.policies = PoliciesInForce(self.book)
        self.ailing = Ailing(self.fleet, now)
        self.kinships = Kinships(sources.templates, sources.rules)
        self.neighbours = Neighbours(sources.templates, self.store)
        self.endings = Endings(client, sources.templates, self.store, self.fleet, now)
        self.wakes = Wakes(
            sources.templates,
            self.store,
            self.needs,
            self.kinships,
            at_once=self.queue.add,
            in_turn=self.queue.add_slow,
            asked_for=self.endings.asked_for.add,
            changed=self.policies.template_changed,
            minds=self.ailing.minds,
            neighbours=self.neighbours.of,
        )
        self._isolated = isolated
        self._started = False
        sources.placements.add_handler(None, self._reported)

    @property
    def idle(self) -> bool:
        """Whether everything that is known is decided and written; what waits for time to pass aside."""
        return self._started and not len(self.queue) and not self.queue.working

    async def run(self) -> None:
        """Work until cancelled; nothing is decided before everything is known."""
        await self._sources.templates.wait_synced()
        await self.store.wait_synced()
        for informer in (self._sources.clusters, *self._sources.policies.all()):
            await informer.wait_synced()
        await self._sources.rules.wait_synced()
        self._learn()
        self.wakes.start(self.fleet, self.book)
        self._sources.rules.listen(self.wakes.kind_changed)
        self.fleet.on_limits(self.queue.add_slow)
        self._started = True
        metrics.TOMBSTONES.set_function(lambda: self._sum(lambda spec: len(spec.get("tombstones") or ())))
        metrics.UNPLACED.set_function(lambda: self._sum(lambda spec: spec.get("unplaced") or 0))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_workers("placer", self.queue, self._once, workers=WORKERS), name="placer")
            tasks.create_task(self._mind_isolation(), name="placer, isolation")
            tasks.create_task(self._look_again(), name="placer, resync")

    def _learn(self) -> None:
        """What stored Placements say, before anything is decided: who needs whom, and what members still owe."""
        for placement in self.store.all():
            ref, record = ref_of_template(placement), record_of(placement)
            template = self.template(ref)
            policy = self.policies.of(ref, template, record) if template is not None else None
            self.needs.put(ref, self.kinships.needed(ref, template, policy), record.holders())
            rule = self._sources.rules.of(ref.group, ref.kind)
            if template is None or policy is None or not uses_capacity(with_annotations(policy, template)):
                continue
            reports = reports_of(placement)
            lacking = [
                one for one in record.clusters if not is_ready(ref, one, reports.get(one.cluster, NO_REPORT), rule)
            ]
            self.promises.promise(ref, (), lacking, demand_of(read_as(template, rule)))

    def _reported(self, _old: Object, placement: Object) -> None:
        """A member that runs what it was given will soon say so in its facts, too."""
        ref = ref_of_template(placement)
        if not self.promises.owed(ref):
            return
        reports, rule = reports_of(placement), self._sources.rules.of(ref.group, ref.kind)
        for one in record_of(placement).clusters:
            if is_ready(ref, one, reports.get(one.cluster, NO_REPORT), rule):
                self.promises.kept(ref, one.cluster, self._clock())

    async def _look_again(self) -> None:
        """Whatever happened that we did not hear of."""
        while True:
            await asyncio.sleep(RESYNC)
            self.wakes.everything()

    async def _mind_isolation(self) -> None:
        """Nobody is lost while the federation is cut off, and nothing says when that ends but a look."""
        while True:
            if self.fleet.answered_isolated and not self._isolated():
                self.fleet.answered_isolated = False
                self.wakes.holders_of(UNREACHABLE, self.fleet)
            await asyncio.sleep(ISOLATION_LOOK)

    def _sum(self, value: Callable[[Object], int]) -> float:
        return float(sum(value(placement["spec"]) for placement in self.store.all()))

    async def _once(self, ref: Ref) -> Requeue | None:
        again = await self.reconcile(ref)
        if self.store.doubts(ref):
            self.queue.add_after(ref, OLD_NEWS + 1.0)
        return Requeue(again) if again is not None else None

    # --- one object ----------------------------------------------------------------------------------------

    def template(self, ref: Ref) -> Object | None:
        """What is to be placed; None also for what is left alone with its namespace."""
        found = self._sources.templates.get(ref)
        if found is None or ref.namespace in ("", "default"):
            return found
        return found if self.endings.namespace_of(ref) is not None else None

    async def reconcile(self, ref: Ref) -> float | None:
        """Bring one Placement to what it has to be. Returns seconds after which time alone may change that."""
        template = self.template(ref)
        if template is None or template["metadata"].get("deletionTimestamp"):
            ending = self.endings.gone(ref) if template is None else self.endings.deleting(ref, template)
            record, again = await ending
            if template is None:
                self._forget(ref, record)
            self._note(ref, template, record)
            return again
        self.endings.asked_for.discard(ref)
        stored, moved = self.store.get(ref), self.store.outliving(ref)
        before = record_of(stored) if stored is not None else None
        if moved is not None:
            before = self._with_moved(before, template, moved)
        reports = self.store.reports(stored) if stored is not None else {}
        policy = self.policies.of(ref, template, before)
        keep = None if self.kinships.is_autoscaled(ref) else replicas_to_keep(template, before, reports, policy)
        if keep is not None and await self._scale(ref, template, keep):
            return None  # it is looked at again as it is then
        decision = self._decide(ref, template, before, policy, reports)
        record = decision.record
        if stored is None or moved is not None or is_worth_a_write(record_of(stored), record):
            await self.store.write(placement_key(ref), ref, stored, record)
            self._count(before, record)
        self.policies.placed(ref)
        if moved is not None:
            await self.store.delete(moved)
        self._note(ref, template, record)
        return decision.again

    async def _scale(self, ref: Ref, template: Object, replicas: int) -> bool:
        """Whether the template has so many now. Raises Conflict where somebody else was faster."""
        resource = self._sources.templates.resource_of(ref)
        if resource is None:
            return False
        version = {"resourceVersion": template["metadata"]["resourceVersion"]}
        body = {"metadata": version, "spec": {"replicas": replicas}}
        await self._client.patch(resource, ref.name, body, namespace=ref.namespace, patch_type="merge")
        log.info("%s keeps its %d replicas, its autoscaler is gone", ref, replicas)
        return True

    def _with_moved(self, before: Record | None, template: Object, moved: Object) -> Record:
        """The namespace is back, and with it the place of what its end left to be done."""
        known = before or Record(template["apiVersion"], template["metadata"]["uid"])
        return replace(known, tombstones=merged(known.tombstones, record_of(moved).tombstones))

    def _decide(
        self,
        ref: Ref,
        template: Object,
        before: Record | None,
        policy: PropagationPolicy,
        reports: Mapping[str, Report],
    ) -> Decision:
        started = time.perf_counter()
        rule = self._sources.rules.of(ref.group, ref.kind)
        template = read_as(template, rule)
        found, again = self._plan(ref, template, before, policy, reports, rule)
        around = Circumstances(
            now=self._now(),
            members=self.fleet.members,
            leaving=self.fleet.leaving,
            isolated=bool(before and before.evicting) and self.fleet.isolated(),
            reports=reports,
            follows=self._follows(ref),
            overrides_hash=self.book.overrides_hash(template),
            rebalanced=wish_to_rebalance(template),
            rule=rule,
            policy_gone=bool(before and before.policy and self.book.get(before.policy) is None),
        )
        overwrite = policy.overwrite or (not policy.key and self._strongest_overwrites(ref))
        decision = decide(ref, template, before, found, replace(policy, overwrite=overwrite), around)
        metrics.PLANNING.observe(time.perf_counter() - started)
        waits = [seconds for seconds in (again, decision.again) if seconds is not None]
        return replace(decision, again=min(waits) if waits else None)

    def _plan(
        self,
        ref: Ref,
        template: Object,
        before: Record | None,
        policy: PropagationPolicy,
        reports: Mapping[str, Report],
        rule: KindRule,
    ) -> tuple[Plan, float | None]:
        same = before is not None and before.uid == template["metadata"]["uid"]
        autoscaled = is_divided(template) and self.kinships.is_autoscaled(ref)
        held = before.clusters if before is not None and same else ()
        if is_divided(template) and not autoscaled:
            held = as_they_run(held, reports)
        lost, again = self.fleet.lost(policy, [one.cluster for one in held])
        unready, soon = self.ailing.look(ref, template, before if same else None, policy, reports, rule)
        again = min((seconds for seconds in (again, soon) if seconds is not None), default=None)
        together, apart = self.neighbours.look(ref, template, policy)
        situation = Situation(
            held=held,
            limits=self.fleet.limits(ref),
            lost=lost,
            unready=unready,
            together=together,
            apart=apart,
            displaced=before.displaced if before is not None and same else (),
            fresh=before is not None and same and wish_to_rebalance(template) not in ("", before.rebalanced),
            autoscaled=autoscaled,
        )
        definition = self.kinships.definition_of(ref)
        members = list(self.fleet.members.values())
        if definition is not None:
            going_to = self._clusters_of(definition)
            members = with_kind(self.fleet.members, ref, template["apiVersion"], going_to)
        counts = is_divided(template) and uses_capacity(with_annotations(policy, template))
        if counts:
            members = self.promises.less(members, self._clock())
        found = plan(template, members, policy, situation)
        self.neighbours.decided(ref, frozenset(one.cluster for one in found.assignments))
        if counts:
            self.promises.promise(ref, held, found.assignments, found.demand)
        return found, again

    def _clusters_of(self, ref: Ref) -> frozenset[str]:
        stored = self.store.get(ref)
        return frozenset(one["name"] for one in stored["spec"].get("clusters") or ()) if stored else frozenset()

    def _follows(self, ref: Ref) -> dict[str, str]:
        """Clusters where something is that needs this object, and the words for it."""
        clusters = [
            name
            for name in self.needs.clusters(ref)
            if (member := self.fleet.members.get(name)) is not None and member.phase != LEAVING
        ]
        if not clusters:
            return {}
        return dict.fromkeys(clusters, self.kinships.why_needed(ref, self.needs.dependents(ref)))

    def _strongest_overwrites(self, ref: Ref) -> bool:
        """What has no policy of its own and follows others is written as the strongest of theirs says."""
        if ref.kind in ("Namespace", "CustomResourceDefinition"):
            return False
        dependents = (self.template(one) for one in self.needs.dependents(ref))
        return self.policies.strongest_overwrites(one for one in dependents if one is not None)

    # --- afterwards ----------------------------------------------------------------------------------------

    def _forget(self, ref: Ref, record: Record | None) -> None:
        self.promises.forget(ref)
        self.policies.placed(ref)
        self.ailing.forget(ref)
        self.neighbours.forget(ref)
        if record is None or not (record.clusters or record.evicting):
            self.endings.asked_for.discard(ref)

    def _note(self, ref: Ref, template: Object | None, record: Record | None) -> None:
        """Who has to be where this object is now."""
        if template is not None:
            needed = self.kinships.needed(ref, template, self.policies.of(ref, template, record))
        else:
            needed = self.needs.needed_by(ref) or self.kinships.needed(ref, None, None)
        for one in self.needs.put(ref, needed, record.holders() if record is not None else ()):
            self.queue.add(one)

    def _count(self, before: Record | None, after: Record) -> None:
        known = {one.cluster for one in before.evicting} if before is not None else set[str]()
        for one in after.evicting:
            if one.cluster not in known:
                metrics.EVICTIONS.inc(one.reason)
