"""
Moving an application from one cluster to another: the new copy is ready before the old one goes.

A change of policies, in an order: Services and what Pods need are in both clusters first; then workloads are to be in
the new one, and the federation keeps the old replicas until the new ones are ready; the rest leaves the old one last.
When the new cluster does not get there in time, the policies are put back as they were, and the old copies never left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.api.refs import Ref, ref_of
from federation.api.resources import CLUSTER_PROPAGATION_POLICIES, PROPAGATION_POLICIES
from federation.migration.pins import MIGRATION, application_name, clusters_of, derived, is_pin, is_probe, moved
from federation.migration.promote import Refused
from federation.migration.standing import Placed, Unfinished, look, until
from federation.migration.templates import keeps_data
from federation.placement.workloads import pod_template


@dataclass(frozen=True, slots=True)
class Moving:
    """One policy that is changed or made."""

    before: Object | None
    """As it is stored; None when it is made for this."""
    pinned: Object
    """With the clusters of before."""
    refs: tuple[Ref, ...]
    handed_over: bool
    """Its objects are workloads."""


@dataclass(frozen=True, slots=True)
class Move:
    source: str
    target: str
    policies: tuple[Moving, ...]

    def lines(self) -> list[str]:
        workloads = [str(ref) for one in self.policies if one.handed_over for ref in one.refs]
        others = [str(ref) for one in self.policies if not one.handed_over for ref in one.refs]
        return [
            *(f"{one}: in both clusters until workloads have moved" for one in others),
            *(f"{one}: ready in {self.target}, then gone from {self.source}" for one in workloads),
            *(f"PropagationPolicy {_key(one.pinned)}: {'changed' if one.before else 'made'}" for one in self.policies),
        ]


@dataclass
class Mover:
    federation: ApiClient
    say: Callable[[str], None] = field(default=lambda _: None)

    async def plan(
        self, wanted: Sequence[tuple[Resource, str]], namespace: str, source: str, target: str, *, leave_data: bool
    ) -> Move:
        """Raises Refused, ApiError. Reads only."""
        if any(not resource.namespaced for resource, _ in wanted):
            raise Refused("what has no namespace moves by its ClusterPropagationPolicy: name the other cluster there")
        if source == target:
            raise Refused(f"{source} is where it is and where it is to go")
        templates = [await self._template(resource, name, namespace) for resource, name in wanted]
        if not templates:
            raise Refused("there is nothing to move: name objects, as in deployment/web")
        application = application_name(ref_of(templates[0]))
        found: dict[str, Moving] = {}
        for template in templates:
            for one in await self._policies(template, application, source):
                found.setdefault(_key(one.pinned), one)
        refs = [ref for one in found.values() for ref in one.refs]
        # Of a move that was killed, workloads may have arrived already.
        if not any([(await look(self.federation, ref)).holds(source) for ref in refs]):
            raise Refused(f"{', '.join(map(str, refs))} {'is' if len(refs) == 1 else 'are'} not in {source}")
        for template in templates:
            if keeps_data(template) and not leave_data:
                raise Refused(
                    f"{ref_of(template)} keeps data in PersistentVolumeClaims, which stay in {source}: copy the data "
                    "first, then say --leave-data"
                )
        return Move(source, target, tuple(found.values()))

    async def _template(self, resource: Resource, name: str, namespace: str) -> Object:
        try:
            found = await self.federation.get(resource, name, namespace=namespace)
        except NotFound:
            raise Refused(f'the federation has no {resource.qualified} "{name}" in namespace {namespace}') from None
        return {"apiVersion": resource.api_version, "kind": resource.kind, **found}

    async def _policies(self, template: Object, application: str, source: str) -> list[Moving]:
        """Those of the object's migration, or one made for it alone."""
        ref = ref_of(template)
        placed = await look(self.federation, ref)
        if placed.record is None:
            raise Refused(f"{ref} is not placed: `kubectl get placements -n {ref.namespace}` tells what is")
        policy = await self._policy(placed.record.policy)
        if policy is not None and is_pin(policy):
            label = f"{MIGRATION}={policy['metadata']['labels'][MIGRATION]}"
            all_of_it = await self.federation.list(PROPAGATION_POLICIES, namespace=ref.namespace, label_selector=label)
            return [self._moving(one) for one in all_of_it.get("items") or ()]
        if placed.record.evicting:
            raise Refused(f"{ref} is moving already: wait until its Placement evicts nothing")
        clusters = {one.cluster for one in placed.record.clusters}
        name = f"{application_name(ref)}-moved"
        made = derived(policy, name, application, template, clusters)
        return [Moving(None, made, (ref,), pod_template(template) is not None)]

    def _moving(self, policy: Object) -> Moving:
        namespace = policy["metadata"]["namespace"]
        refs = tuple(
            ref_of({**one, "metadata": {"name": one["name"], "namespace": namespace}})
            for one in policy["spec"]["resourceSelectors"]
            if not is_probe(one)
        )
        # Promotion puts workloads and the rest into policies of their own, and so does a move.
        workloads = not policy["metadata"]["name"].endswith("-parts") and any(_runs_pods(ref) for ref in refs)
        whole = {"apiVersion": PROPAGATION_POLICIES.api_version, "kind": PROPAGATION_POLICIES.kind, **policy}
        return Moving(whole, whole, refs, workloads)

    async def _policy(self, key: str) -> Object | None:
        if not key:
            return None
        namespace, _, name = key.rpartition("/")
        resource = PROPAGATION_POLICIES if namespace else CLUSTER_PROPAGATION_POLICIES
        return await self.federation.get(resource, name, namespace=namespace)

    async def carry_out(self, move: Move, seconds: float) -> None:
        """Raises Refused when it was put back, ApiError."""
        others = [one for one in move.policies if not one.handed_over]
        workloads = [one for one in move.policies if one.handed_over]
        try:
            await self._put(move, others, seconds, both=True)
            await self._wait(others, lambda placed: placed.lacks(move.target), seconds)
            if others:
                self.say(f"{_names(others)} in {move.source} and {move.target}.")
            await self._put(move, workloads, seconds, both=False)
            await self._wait(workloads, lambda placed: placed.lacks(move.target), seconds)
            if workloads:
                self.say(f"{_names(workloads)} ready in {move.target}.")
        except (Unfinished, ApiError, TimeoutError) as fault:
            await self._put_back(move)
            raise Refused(
                f"{str(fault) or 'it took too long'}; the policies are as they were, and {move.source} has what it had"
            ) from fault
        # From here on the new cluster serves: what is left to do is done by the federation even without us.
        await self._put(move, others, seconds, both=False)

        def lacks(placed: Placed) -> str:
            return f"{placed.ref} is still in {move.source}" if placed.holds(move.source) else ""

        try:
            await self._wait(move.policies, lacks, seconds)
        except Unfinished as fault:
            self.say(f"{fault}. The federation goes on removing it.")
        else:
            self.say(f"{_names(move.policies)} gone from {move.source}.")

    async def _put(self, move: Move, policies: Sequence[Moving], seconds: float, *, both: bool) -> None:
        for one in policies:
            wanted = moved(one.pinned, move.source, move.target, both=both)
            spec = wanted["spec"]
            failover = spec.get("failover") or {}
            # The old copy is ours to keep for as long as we may wait, and for putting it back.
            grace = max(int(failover.get("gracePeriodSeconds") or 600), int(seconds) + 60)
            metadata = {name: wanted["metadata"][name] for name in ("name", "namespace", "labels")}
            body = {
                "apiVersion": wanted["apiVersion"],
                "kind": wanted["kind"],
                "metadata": metadata,
                "spec": {**spec, "failover": {**failover, "gracePeriodSeconds": grace}},
            }
            await self.federation.patch(
                PROPAGATION_POLICIES, metadata["name"], body, namespace=metadata["namespace"], patch_type="apply",
                field_manager="federate", force=True,
            )  # fmt: skip
            self.say(f"PropagationPolicy {_key(one.pinned)}: {', '.join(clusters_of(wanted))}.")

    async def _wait(self, policies: Sequence[Moving], lacks: Callable[[Placed], str], seconds: float) -> None:
        await until(self.federation, [ref for one in policies for ref in one.refs], lacks, seconds)

    async def _put_back(self, move: Move) -> None:
        for one in move.policies:
            metadata = one.pinned["metadata"]
            if one.before is None:
                try:
                    await self.federation.delete(
                        PROPAGATION_POLICIES, metadata["name"], namespace=metadata["namespace"]
                    )
                except NotFound:
                    continue
            else:
                change = {"spec": {"placement": one.before["spec"].get("placement")}}
                await self.federation.patch(
                    PROPAGATION_POLICIES, metadata["name"], change, namespace=metadata["namespace"]
                )


def _runs_pods(ref: Ref) -> bool:
    return ref.kind in {
        "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob",
    }  # fmt: skip


def _names(policies: Sequence[Moving]) -> str:
    refs = [str(ref) for one in policies for ref in one.refs]
    return f"{', '.join(refs)} {'is' if len(refs) == 1 else 'are'}"


def _key(policy: Object) -> str:
    return f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"
