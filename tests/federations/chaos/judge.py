"""
What must be when all is whole again: every template where it belongs, nothing else, and nothing of others touched.

Nothing lost, nothing resurrected, nothing twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from cluster.api.resources import CONFIG_MAPS, Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from federation.api.resources import PROPAGATION_POLICIES
from federation.placement.render import MANAGED, TEMPLATE_UID
from tests.fakes.fake_member import FakeMember
from tests.fakes.member.store import DELETED, Change
from tests.federations.chaos.schedule import NAMESPACE, TAKEN, TAKEN_IN
from tests.federations.chaos.user import GROUP_LABEL, RESOURCES, value_of
from tests.federations.world import World


@dataclass
class Judge:
    world: World
    foreign: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    """Objects of somebody else, by member, plural and name, as they have to stay."""
    deleted: list[tuple[str, str, str]] = field(default_factory=list)
    """Member, plural/name and the template's uid of every copy that went in this round."""
    stolen: set[tuple[str, str]] = field(default_factory=set)
    """Member and name of copies that somebody in the member deleted."""

    def settle(self) -> None:
        """Put things of others into the members, before the federation comes."""
        for name, member in self.world.members.items():
            member.api.create_namespace(NAMESPACE)
            for of, data in (("theirs", "theirs"), *([(TAKEN, "taken")] if name == TAKEN_IN else [])):
                metadata = {"name": of, "namespace": NAMESPACE}
                obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": data}}
                member.put(CONFIG_MAPS, obj)
                stored = member.get(CONFIG_MAPS, of, NAMESPACE)
                assert stored is not None
                self.foreign[name, "configmaps", of] = stored
            member.api.store.listeners.append(lambda change, name=name: self._changed(name, change))  # type: ignore[misc]

    def _changed(self, member: str, change: Change) -> None:
        if change.type != DELETED or change.stored.labels.get(MANAGED) != "true":
            return
        metadata = orjson.loads(change.stored.body)["metadata"]
        uid = (metadata.get("annotations") or {}).get(TEMPLATE_UID, "")
        self.deleted.append((member, f"{change.place[1]}/{change.stored.key.name}", uid))

    async def faults(self) -> list[str]:
        """Empty when all is as it must be. Raises ApiError while the federation's API is not there."""
        groups = await self._groups()
        wrong: list[str] = []
        for kind, resource in RESOURCES.items():
            templates = await _templates(self.world.api, resource)
            for name, template in templates.items():
                wrong += self._copies(kind, resource, name, template, groups)
            wrong += self._left_over(resource, templates)
        return [*wrong, *self._foreign_faults()]

    async def _groups(self) -> Mapping[str, list[str]]:
        """Members by group, as policies say now."""
        found = (await self.world.api.list(PROPAGATION_POLICIES, namespace=NAMESPACE))["items"]
        return {
            policy["metadata"]["name"].removeprefix("group-"):
                policy["spec"]["placement"]["clusterAffinity"]["clusterNames"]
            for policy in found
        }  # fmt: skip

    def _copies(
        self, kind: str, resource: Resource, name: str, template: Object, groups: Mapping[str, list[str]]
    ) -> Iterable[str]:
        group = template["metadata"]["labels"].get(GROUP_LABEL, "")
        chosen = groups.get(group, list(self.world.members))
        copies = {of: member.get(resource, name, NAMESPACE) for of, member in self.world.members.items()}
        copies = {of: copy for of, copy in copies.items() if (of, resource.plural, name) not in self.foreign}
        chosen = [of for of in chosen if of in copies]
        for of, copy in copies.items():
            if copy is None:
                if of in chosen and kind != "Deployment":
                    yield f"lost: {kind} {name} is not in {of}"
                continue
            if of not in chosen:
                yield f"left over: {kind} {name} is in {of}, and belongs to {chosen}"
            if value_of(copy) != value_of(template):
                yield f"stale: {kind} {name} has {value_of(copy)} in {of} and {value_of(template)} at the federation"
            uid = (copy["metadata"].get("annotations") or {}).get(TEMPLATE_UID)
            if uid != template["metadata"]["uid"]:
                yield f"resurrected: {kind} {name} in {of} is of template {uid}, not {template['metadata']['uid']}"
        if kind == "Deployment":
            there = {of: copy["spec"]["replicas"] for of, copy in copies.items() if copy is not None}
            if sum(there.values()) != template["spec"]["replicas"]:
                yield f"replicas: {name} has {there}, together not {template['spec']['replicas']}"

    def _left_over(self, resource: Resource, templates: Mapping[str, Object]) -> Iterable[str]:
        for of, member in self.world.members.items():
            for copy in member.objects(resource, NAMESPACE):
                name = copy["metadata"]["name"]
                managed = (copy["metadata"].get("labels") or {}).get(MANAGED) == "true"
                if managed and name not in templates:
                    yield f"resurrected: {copy['kind']} {name} is in {of}, and has no template"

    def _foreign_faults(self) -> Iterable[str]:
        for (of, plural, name), before in self.foreign.items():
            if self.world.members[of].get(CONFIG_MAPS, name, NAMESPACE) != before:
                yield f"touched: {plural}/{name} in {of} is somebody else's"

    async def needless_deletions(self, touched: set[str]) -> list[str]:
        """Copies that went in this round although nobody changed their template, and it is under no policy."""
        templates = await _templates(self.world.api, CONFIG_MAPS)
        quiet = {
            template["metadata"]["uid"]: name
            for name, template in templates.items()
            if name not in touched and not template["metadata"]["labels"].get(GROUP_LABEL)
        }
        return [
            f"deleted without need: {what} in {of}"
            for of, what, uid in self.deleted
            if uid in quiet and (of, quiet[uid]) not in self.stolen
        ]

    def begin_round(self) -> None:
        self.deleted.clear()
        self.stolen.clear()


async def _templates(api: ApiClient, resource: Resource) -> dict[str, Object]:
    found = (await api.list(resource, namespace=NAMESPACE, label_selector="chaos/name"))["items"]
    for one in found:
        one["kind"], one["apiVersion"] = resource.kind, resource.api_version
    return {one["metadata"]["name"]: one for one in found}


def meddle(member: FakeMember, name: str, value: int, *, steal: bool) -> bool:
    """Somebody in the member changes a copy, or deletes it. Whether there was one."""
    there = member.get(CONFIG_MAPS, name, NAMESPACE)
    if there is None or (there["metadata"].get("labels") or {}).get(MANAGED) != "true":
        return False
    if steal:
        member.remove(CONFIG_MAPS, name, NAMESPACE)
    else:
        member.put(CONFIG_MAPS, {**there, "data": {"value": str(value)}})
    return True
