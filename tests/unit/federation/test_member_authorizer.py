"""What an agent may ask for is decided by what is stored, and by nothing that it says."""

from typing import Any

import pytest

from cluster.api.resources import SECRETS, Resource
from cluster.apiserver.requests import Attributes, Decision, UserInfo
from cluster.machinery.objects import Object
from federation.api.resources import CLUSTERS, PLACEMENTS, placement_name
from federation.apiserver.member_authorizer import MemberAuthorizer
from federation.membership import agents

EAST = UserInfo(agents.user_of("east"), (agents.GROUP, agents.uid_group("uid-east"), "system:authenticated"))
COMER = UserInfo("system:bootstrap:abcdef", (agents.BOOTSTRAPPERS, "system:bootstrappers"))


class Stored:
    """What a watch cache would have."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}

    def put(self, resource: Resource, namespace: str, name: str, uid: str = "", **spec: Any) -> None:
        self.objects[resource.qualified, namespace, name] = {"metadata": {"name": name, "uid": uid}, "spec": spec}

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self.objects.get((resource.qualified, namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        return []

    def version(self, resource: Resource) -> int:
        return 0

    async def get_current(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self.get(resource, namespace, name)


def stored() -> Stored:
    found = Stored()
    found.put(CLUSTERS, "", "east", "uid-east", syncMode="Pull")
    for name, uid in (("mine", "s-1"), ("theirs", "s-2"), ("remade", "s-new")):
        found.put(SECRETS, "shop", name, uid)
    for name, uid, cluster in (("mine", "s-1", "east"), ("theirs", "s-2", "west"), ("remade", "s-old", "east")):
        template = {"kind": "Secret", "name": name, "uid": uid}
        place = placement_name("", "Secret", name)
        found.put(PLACEMENTS, "shop", place, template=template, clusters=[{"name": cluster}])
    return found


async def decided(verb: str, path: str, *, user: UserInfo = EAST, **more: str) -> Decision:
    """`path`: resource[/subresource][.group]"""
    resource, _, group = path.partition(".")
    plural, _, subresource = resource.partition("/")
    asked = Attributes(user, verb, group, "v1", plural, subresource, **more)
    return await MemberAuthorizer(stored()).authorize(asked)


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
async def test_a_secret_is_shown_where_a_placement_sends_it_and_as_it_was_when_that_was_decided(verb: str) -> None:
    async def shown(name: str) -> bool:
        if verb == "get":
            return (await decided(verb, "secrets", namespace="shop", name=name)).allowed
        return (await decided(verb, "secrets", namespace="shop", field_selector=f"metadata.name={name}")).allowed

    assert await shown("mine")
    assert not await shown("theirs")
    assert not await shown("remade")
    assert not await shown("unplaced")


async def test_secrets_are_never_shown_in_numbers() -> None:
    for selector in ("", "metadata.name!=mine", "type=Opaque", "(("):
        for namespace in ("", "shop"):
            assert (await decided("list", "secrets", namespace=namespace, field_selector=selector)).denied, selector
    assert (await decided("list", "secrets", field_selector="metadata.name=mine")).denied


async def test_a_certificate_is_worth_nothing_without_the_cluster_that_it_is_of() -> None:
    for groups in ((agents.GROUP,), (agents.GROUP, agents.uid_group("uid-old")),
                   (agents.GROUP, agents.uid_group("uid-old"), agents.uid_group("uid-east"))):  # fmt: skip
        user = UserInfo(EAST.name, groups)
        assert (await decided("list", "configmaps", user=user)).denied
    assert (await decided("list", "configmaps", user=UserInfo(agents.user_of("gone"), EAST.groups))).denied
    assert (await decided("list", "configmaps")).allowed


async def test_who_has_no_certificate_yet_asks_for_one_and_for_nothing_else() -> None:
    requests = "certificatesigningrequests.certificates.k8s.io"
    assert (await decided("create", requests, user=COMER)).allowed
    for verb, path in (("list", requests), ("update", requests), ("get", "configmaps"), ("get", "secrets"),
                       ("update", "certificatesigningrequests/approval.certificates.k8s.io"),
                       ("create", "leases.coordination.k8s.io")):  # fmt: skip
        assert (await decided(verb, path, user=COMER, name="x", namespace="shop")).denied, path


async def test_others_are_not_its_concern() -> None:
    judge = MemberAuthorizer(stored())
    assert not judge.concerns(UserInfo("alice", ("system:authenticated",)))
    assert all(judge.concerns(user) for user in (EAST, COMER, UserInfo("x", (agents.RETURNING,))))
