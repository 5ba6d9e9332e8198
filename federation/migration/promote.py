"""
Promotion: objects that run in one member become the federation's, and what runs goes on running.

The federation gets a template of each, stripped of what the member decides, and a policy that keeps it where it is. The
member's object is adopted when a dry run shows that nothing of it would change; this is asked before anything is
written, and if it turns out to be otherwise all the same, everything is taken back and the member keeps what it had.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError, Invalid, NotFound
from federation.api.refs import Ref, ref_of
from federation.api.resources import CLUSTER_PROPAGATION_POLICIES, PROPAGATION_POLICIES
from federation.controllers.links.member_api import MemberApi
from federation.controllers.links.rendering import change_between, marked
from federation.migration.pins import (
    MIGRATION,
    application_name,
    clusters_of,
    is_pin,
    is_probe,
    pin,
    policy_resource,
    priority_over,
    probe_of,
    selector_for,
    selectors_of,
    title_of,
)
from federation.migration.standing import Placed, Unfinished, until
from federation.migration.templates import FEDERATED, selects, template_of, why_not
from federation.placement.dependencies import apply_order, dependencies_of
from federation.placement.plans import Assignment
from federation.placement.render import render, seal
from federation.placement.workloads import is_divided, pod_template, replicas_of

POLICY_SECONDS = 20.0
"""For the federation to take up a policy, and to let go what was taken back."""
PROBES = "default"
"""Namespace of the ConfigMap that tells whether a policy for objects without a namespace is in force."""
_UNSUPPORTED = 415
_ORPHAN = {"propagationPolicy": "Orphan"}


class Refused(Exception):
    """Nothing was changed, or all is as it was. The message says why."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """One object on its way."""

    resource: Resource
    live: Object
    template: Object

    @property
    def ref(self) -> Ref:
        return ref_of(self.template)


@dataclass(frozen=True, slots=True)
class Promotion:
    """What will be done."""

    cluster: str
    namespace: str
    """Of the objects; empty for those that have none."""
    objects: tuple[Promoted, ...]
    """In the order in which they are made."""
    namespace_template: Object | None
    """None when the federation has the namespace."""
    policies: tuple[Object, ...]
    before: tuple[Object, ...] = ()
    """Policies of an earlier try, as they are stored."""

    def lines(self) -> list[str]:
        made = [f"Namespace {self.namespace}"] if self.namespace_template is not None else []
        made += [str(one.ref) for one in self.objects]
        return [*(f"{one}: adopted as it is in {self.cluster}" for one in made), *(
            f"{title_of(one)}: keeps them in {self.cluster}" for one in self.policies
        )]  # fmt: skip


@dataclass
class Promoter:
    """`member` is where the objects run; `say` hears what is done."""

    federation: ApiClient
    cluster: str
    member: ApiClient
    say: Callable[[str], None] = field(default=lambda _: None)

    # Deciding: reads only.

    async def plan(self, wanted: Sequence[tuple[Resource, str]], namespace: str) -> Promotion:
        """`wanted`: kinds and names. Raises Refused, ApiError."""
        if not wanted:
            raise Refused("there is nothing to promote: name objects, as in deployment/web")
        if len({resource.namespaced for resource, _ in wanted}) > 1:
            raise Refused("objects of a namespace and objects without one are promoted one after the other")
        namespace = namespace if wanted[0][0].namespaced else ""
        read = [await self._read(resource, name, namespace) for resource, name in wanted]
        application = application_name(ref_of(read[0]))
        found: dict[Ref, Promoted] = {}
        refusals = []
        for (resource, _), live in zip(wanted, read, strict=True):
            if why := why_not(resource, live):
                refusals.append(f"{resource.kind} {ref_of(live).name} of {self.cluster} cannot be promoted: {why}")
            else:
                found[ref_of(live)] = Promoted(resource, live, template_of(live))
        if refusals and (not found or any(FEDERATED not in one for one in refusals)):
            raise Refused("; ".join(refusals))  # what an earlier try has promoted is done; there has to be more to do
        for one in [*found.values()]:
            await self._add_dependencies(one, found)
        await self._add_services(found)
        order = {ref_of(one): at for at, one in enumerate(apply_order([one.template for one in found.values()]))}
        objects = tuple(sorted(found.values(), key=lambda one: order[one.ref]))
        policies, before = await self._policies(application, namespace, objects)
        for one in objects:
            await self._must_be_new(one, before)
            if where := await self._difference(one):
                raise Refused(f"{one.ref} of {self.cluster} cannot be adopted: {where} would change")
        return Promotion(self.cluster, namespace, objects, await self._namespace(namespace), policies, before)

    async def _read(self, resource: Resource, name: str, namespace: str) -> Object:
        try:
            live = await self.member.get(resource, name, namespace=namespace)
        except NotFound:
            where = f" in namespace {namespace}" if namespace else ""
            raise Refused(f'{self.cluster} has no {resource.qualified} "{name}"{where}') from None
        return {"apiVersion": resource.api_version, "kind": resource.kind, **live}

    async def _add_dependencies(self, one: Promoted, found: dict[Ref, Promoted]) -> None:
        for needed in dependencies_of(one.template):
            ref = Ref("", needed.kind, needed.namespace, needed.name)
            if ref in found:
                continue
            resource = next(r for r in resources.ALL if (r.group, r.kind) == ("", needed.kind))
            with contextlib.suppress(NotFound):  # it may be optional
                live = await self.member.get(resource, needed.name, namespace=needed.namespace)
                live = {"apiVersion": "v1", "kind": needed.kind, **live}
                if not why_not(resource, live):
                    found[ref] = Promoted(resource, live, template_of(live))
                    await self._add_dependencies(found[ref], found)

    async def _add_services(self, found: dict[Ref, Promoted]) -> None:
        """A Service of Pods that are promoted comes along: who calls it has to find them wherever they go."""
        workloads = [one.template for one in found.values() if pod_template(one.template) is not None]
        namespaces = {one["metadata"]["namespace"] for one in workloads if one["metadata"].get("namespace")}
        for namespace in namespaces:
            listed = await self.member.list(resources.SERVICES, namespace=namespace)
            for live in listed.get("items") or ():
                live = {"apiVersion": "v1", "kind": "Service", **live}
                if selects(live, workloads) and ref_of(live) not in found and not why_not(resources.SERVICES, live):
                    found[ref_of(live)] = Promoted(resources.SERVICES, live, template_of(live))

    async def _policies(
        self, application: str, namespace: str, objects: Sequence[Promoted]
    ) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
        """Those that will be written, and those of the same names that are there since an earlier try."""
        there = list((await self.federation.list(CLUSTER_PROPAGATION_POLICIES)).get("items", ()))
        if namespace:
            there += (await self.federation.list(PROPAGATION_POLICIES, namespace=namespace)).get("items", ())
        templates = [one.template for one in objects]
        priority = priority_over([*templates, probe_of(namespace or PROBES, application)], there)
        parts = {
            application: [one for one in templates if pod_template(one) is not None],
            f"{application}-parts": [one for one in templates if pod_template(one) is None],
        }
        made, before = [], []
        for name, some in parts.items():
            known = next((p for p in there if _is(p, namespace, name)), None)
            if known is not None:
                self._must_be_ours(known)
                before.append(known)
            selectors = [*map(selector_for, some)]
            # What an earlier try has promoted stays where it is.
            selectors += [one for one in selectors_of(known) if one not in selectors and not is_probe(one)]
            if selectors:
                made.append(pin(name, application, namespace, selectors, [self.cluster], priority))
        return tuple(made), tuple(before)

    def _must_be_ours(self, policy: Object) -> None:
        title = title_of(policy)
        if not is_pin(policy):
            raise Refused(f"{title} is there and not of a migration: rename it first")
        if clusters_of(policy) != [self.cluster]:
            raise Refused(f"{title} keeps an application of this name in {', '.join(clusters_of(policy))}")

    async def _must_be_new(self, one: Promoted, before: Sequence[Object]) -> None:
        """At the federation; what an earlier try left behind counts as new."""
        metadata = one.template["metadata"]
        if any(selector_for(one.template) in selectors_of(policy) for policy in before):
            return
        try:
            await self.federation.get(one.resource, metadata["name"], namespace=one.ref.namespace)
        except NotFound:
            return
        raise Refused(f"{one.ref} is at the federation already")

    async def _namespace(self, name: str) -> Object | None:
        if not name:
            return None
        with contextlib.suppress(NotFound):
            await self.federation.get(resources.NAMESPACES, name)
            return None
        live = await self.member.get(resources.NAMESPACES, name)
        return template_of({"apiVersion": "v1", "kind": "Namespace", **live})

    async def _difference(self, one: Promoted) -> str:
        """Where the member's object would change; asked by a dry run, as it is asked again when it is adopted."""
        replicas = replicas_of(one.template) if is_divided(one.template) else None
        rendered = render({**one.template}, Assignment(self.cluster, replicas))
        rendered["metadata"].setdefault("annotations", {})
        sealed, _ = seal(rendered)
        wanted = marked(sealed, generation=None, adopted=True, uid=one.live["metadata"]["uid"])
        try:
            result = await MemberApi(self.cluster, self.member).apply(one.resource, wanted, dry_run=True)
        except Invalid as fault:
            fields = [one.get("field") for one in (fault.details or {}).get("causes") or ()]
            return str(next(filter(None, fields), "a field that cannot be changed"))
        except ApiError as fault:
            if fault.http_code == _UNSUPPORTED:
                return ""  # it knows no server-side apply; whether it can be adopted is found out then
            raise
        return change_between(one.live, result)

    # Doing.

    async def carry_out(self, promotion: Promotion, seconds: float) -> None:
        """Raises Refused when everything had to be taken back, ApiError."""
        made: list[Promoted] = []
        try:
            await self._make_namespace(promotion)
            await self._make_policies(promotion)
            for one in promotion.objects:
                await self._create(one)
                made.append(one)
            refs = [one.ref for one in promotion.objects]
            await until(self.federation, refs, self._adopted, seconds)
        except (Unfinished, ApiError, TimeoutError) as fault:
            left = await self._take_back(promotion, made)
            raise Refused(f"{str(fault) or 'it took too long'}; {left}") from fault
        for one in promotion.objects:
            await self._tell(one)

    def _adopted(self, placed: Placed) -> str:
        lacking = placed.lacks(self.cluster)
        # Whether it is ready is not our affair: it runs as it ran before.
        report = placed.reports.get(self.cluster)
        return "" if report is not None and report.state == "Applied" else lacking or "it is on its way"

    async def _make_namespace(self, promotion: Promotion) -> None:
        if promotion.namespace_template is not None:
            await self.federation.create(resources.NAMESPACES, promotion.namespace_template)
            self.say(f"Namespace {promotion.namespace} is made at the federation.")

    async def _make_policies(self, promotion: Promotion) -> None:
        """
        And wait until the federation acts by them: an object that came first would for a moment go everywhere.

        A ConfigMap that nobody needs tells when. Its name stays in no policy.
        """
        *others, last = promotion.policies
        probe = probe_of(promotion.namespace or PROBES, last["metadata"]["labels"][MIGRATION])
        name, namespace = probe["metadata"]["name"], probe["metadata"]["namespace"]
        for policy in others:
            await _put(self.federation, policy)
        selectors = [*last["spec"]["resourceSelectors"], {**selector_for(probe), "namespace": namespace}]
        await _put(self.federation, {**last, "spec": {**last["spec"], "resourceSelectors": selectors}})
        key = f"{promotion.namespace}/{last['metadata']['name']}".lstrip("/")

        def lacks(placed: Placed) -> str:
            record = placed.record
            here = record is not None and [one.cluster for one in record.clusters] == [self.cluster]
            return "" if here and record is not None and record.policy == key else "the new policy is not in force"

        with contextlib.suppress(AlreadyExists):  # since an earlier try
            await self.federation.create(resources.CONFIG_MAPS, probe)
        try:
            await until(self.federation, [ref_of(probe)], lacks, POLICY_SECONDS)
        finally:
            await self.federation.delete(resources.CONFIG_MAPS, name, namespace=namespace)
        await _put(self.federation, last)

    async def _create(self, one: Promoted) -> None:
        try:
            await self.federation.create(one.resource, one.template)
        except ApiError as fault:
            if fault.http_code != 409:
                raise
            self.say(f"{one.ref} is at the federation since an earlier try.")
        else:
            self.say(f"{one.ref} is at the federation.")

    async def _tell(self, one: Promoted) -> None:
        metadata = one.live["metadata"]
        now = await self.member.get(one.resource, metadata["name"], namespace=one.ref.namespace)
        # Annotations alone count up a Deployment's generation: what runs by it is in its spec.
        same = now["metadata"]["uid"] == metadata["uid"] and now.get("spec") == one.live.get("spec")
        self.say(f"{one.ref} is adopted in {self.cluster}{', unchanged' if same else ''}.")

    async def _take_back(self, promotion: Promotion, made: Sequence[Promoted]) -> str:
        """Templates go and leave what the member has. Returns what remains, in words."""
        try:
            for one in reversed(made):
                metadata = one.template["metadata"]
                with contextlib.suppress(NotFound):
                    await self.federation.delete(
                        one.resource, metadata["name"], namespace=one.ref.namespace, options=_ORPHAN
                    )
            await until(
                self.federation, [one.ref for one in made],
                lambda placed: "" if placed.record is None else f"{placed.ref} is still being let go", POLICY_SECONDS,
            )  # fmt: skip
            known = {policy["metadata"]["name"]: policy for policy in promotion.before}
            for policy in promotion.policies:
                name = policy["metadata"]["name"]
                selectors = [one for one in selectors_of(known.get(name)) if not is_probe(one)]
                if selectors:
                    await _put(self.federation, {**policy, "spec": {**policy["spec"], "resourceSelectors": selectors}})
                    continue
                with contextlib.suppress(NotFound):
                    await self.federation.delete(policy_resource(policy), name, namespace=promotion.namespace)
        except (Unfinished, ApiError, TimeoutError) as fault:
            return f"taking it back did not end: {fault}. Nothing was deleted in {self.cluster}; run it again"
        kept = promotion.namespace_template is not None
        return "all is taken back" + (f", but for Namespace {promotion.namespace} at the federation" if kept else "")


def _is(policy: Object, namespace: str, name: str) -> bool:
    metadata = policy["metadata"]
    return (metadata.get("namespace") or "", metadata["name"]) == (namespace, name)


async def _put(federation: ApiClient, policy: Object) -> None:
    metadata = policy["metadata"]
    await federation.patch(
        policy_resource(policy), metadata["name"], policy, namespace=metadata.get("namespace") or "",
        patch_type="apply",
        field_manager="federate", force=True,
    )  # fmt: skip
