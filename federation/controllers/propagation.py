"""
Everything that brings templates into members, put together: what is read is read once, for all.

Called by the federation's controller manager.
"""

import asyncio

from cluster.api import resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from federation.api.resources import CLUSTER_PROPAGATION_POLICIES, KIND_RULES, PROPAGATION_POLICIES, SCALING_SCHEDULES
from federation.controllers.aggregate_status import AggregateStatus
from federation.controllers.end_namespaces import EndNamespaces
from federation.controllers.expire_jobs import ExpireJobs
from federation.controllers.keep_kind_rules import KeepKindRules
from federation.controllers.links.reporter import StatusReporter
from federation.controllers.links.sources import Sources, informers
from federation.controllers.place import Placer, PlacerSources
from federation.controllers.placing.kind_rule_book import KindRuleBook
from federation.controllers.placing.policy_book import PolicyInformers
from federation.controllers.propagate import Propagate
from federation.controllers.scale_on_schedule import ScaleOnSchedule
from federation.controllers.shadow_replica_sets import ShadowReplicaSets
from federation.controllers.templates import RETURN, Templates
from federation.controllers.watch_members import WatchMembers


async def run_propagation(client: ApiClient, members: WatchMembers) -> None:
    """Until cancelled. `members` runs beside it."""
    # A watch a kind: they would use up the connections of everybody else.
    async with ApiClient(client.config, user_agent="hanse-federation-propagation", connections=0) as reading:
        templates = Templates(reading)
        read = informers(reading)
        policies = PolicyInformers(
            Informer(reading, PROPAGATION_POLICIES, last_backoff=RETURN),
            Informer(reading, CLUSTER_PROPAGATION_POLICIES, last_backoff=RETURN),
            read["overrides"],
            read["cluster_overrides"],
        )
        kind_rules = Informer(reading, KIND_RULES, last_backoff=RETURN)
        rules = KindRuleBook(kind_rules)
        sources = Sources(templates, clusters=members.clusters, **read)
        reporter = StatusReporter(client, sources.placements, sources.cluster_placements)
        placer = Placer(
            client,
            PlacerSources(templates, sources.placements, sources.cluster_placements, members.clusters, policies, rules),
            isolated=lambda: members.isolated,
        )
        statuses = AggregateStatus(client, templates, sources.placements, sources.cluster_placements, rules)
        shadows = ShadowReplicaSets(client, statuses.template)
        statuses.listen(shadows.changed)
        templates.listen(lambda ref, _: shadows.changed(ref))
        expiring = ExpireJobs(client, templates, statuses.template)
        statuses.listen(expiring.changed)
        propagate = Propagate(sources, members.secrets, reporter)
        members.more_conditions = propagate.conditions
        schedules = Informer(reading, SCALING_SCHEDULES, last_backoff=RETURN)
        namespaces = Informer(reading, resources.NAMESPACES, last_backoff=RETURN)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(templates.run(), name="templates")
            tasks.create_task(namespaces.run(), name="namespaces")
            tasks.create_task(EndNamespaces(client, namespaces).run(), name="end namespaces")
            for informer in (*read.values(), policies.propagation, policies.cluster_propagation, kind_rules):
                tasks.create_task(informer.run(), name=informer.resource.qualified)
            tasks.create_task(placer.run(), name="placer")
            tasks.create_task(KeepKindRules(client, kind_rules, rules).run(), name="kind rules")
            tasks.create_task(schedules.run(), name="scaling schedules")
            tasks.create_task(ScaleOnSchedule(client, templates, schedules).run(), name="scale on schedule")
            tasks.create_task(reporter.run(), name="status of placements")
            tasks.create_task(statuses.run(), name="status of templates")
            tasks.create_task(shadows.run(), name="ReplicaSets for Helm")
            tasks.create_task(expiring.run(), name="finished jobs")
            tasks.create_task(propagate.run(), name="propagate")
